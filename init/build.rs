//! Keeps the program small.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The profile of what goes into an image. Without it goes a table to find how a stack is taken
    // apart, 30 kB: a panic ends the program there, so nobody takes one apart.
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level == "z") {
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
}
