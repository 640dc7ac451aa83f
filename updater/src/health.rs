//! Whether a release works: what it is asked ([`gate`]), by whom ([`probe`]), and what is made of the
//! answers ([`judge`]). `docs/trial.md` says the same for people.
//!
//! Nothing in [`judge`] reads a clock or a file: answers and times go in, a verdict comes out.

pub mod gate;
pub mod judge;
pub mod probe;

pub use gate::{Asked, Gate, Node};
pub use judge::{Judge, Verdict};
pub use probe::{Cluster, Prober};
