//! Keeps the program small.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A table to find in how a stack is taken apart, 30 kB: where a panic ends the program nobody
    // takes one apart.
    if std::env::var("CARGO_CFG_PANIC").is_ok_and(|panic| panic == "abort") {
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
}
