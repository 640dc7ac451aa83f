//! What tests of transport share: releases, a server that errs, a disk that fails.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

pub mod disk;
pub mod loader;
pub mod server;
pub mod uki;
pub mod world;
