//! Linker flags: no C library, no start files, a fixed address, nothing of what the linker adds
//! for programs larger than this one.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for flag in [
        "-nostdlib",
        "-nostartfiles",
        "-static",
        // After rustc's `-static-pie`: the program has nothing to relocate and nobody to do it.
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,norelro",
        "-Wl,-z,noexecstack",
        // One page holds it all: segments on pages of their own would be padding for the most part.
        "-Wl,-n",
        "-Wl,--no-eh-frame-hdr",
    ] {
        println!("cargo::rustc-link-arg-bins={flag}");
    }
}
