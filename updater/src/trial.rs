//! A new release is tried: it is started once ([`oneshot`], [`kexec`]), judged ([`run`]), and stays or
//! is left. What both releases have to know of it is in [`note`]; [`ended`] says, after a fall-back,
//! why it came to that. `docs/trial.md` has the whole story.

pub mod command;
pub mod ended;
pub mod kexec;
pub mod note;
pub mod oneshot;
pub mod restart;
pub mod run;
