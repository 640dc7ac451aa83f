//! Debian packages.

pub mod index;
pub mod mirror;
pub mod release;
pub mod resolve;
pub mod signature;
#[cfg(test)]
mod testing;
