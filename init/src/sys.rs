// replaced at merge
//! System calls which `rustix` lacks.

pub mod signals;
