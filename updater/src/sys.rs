//! What the kernel offers and `rustix` lacks, each in a small file with a safe surface. Only these
//! files of the updater may say `unsafe`; every block answers why it is needed and why it is sound.

pub(crate) mod kexec;
pub(crate) mod signal;
