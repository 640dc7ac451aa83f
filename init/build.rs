//! Keeps the program small.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwinding.ld");
    // The profile of what goes into an image. Without it go the tables by which a stack is taken
    // apart, 226 kB with the one to find them: a panic ends the program there, so nobody takes one
    // apart.
    if env::var("OPT_LEVEL").is_ok_and(|level| level == "z") {
        let package = env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins=-T{package}/no-unwinding.ld");
    }
}
