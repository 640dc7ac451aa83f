//! Debian packages.

pub mod index;
pub mod mirror;
pub mod release;
pub mod signature;
#[cfg(test)]
mod testing;
