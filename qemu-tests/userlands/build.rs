//! Compiles `part.c` as the crate `cc` does: with what `CC` and `AR` name.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

fn main() {
    let out = env::var_os("OUT_DIR").unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("part.c");
    let run = |program: &str, arguments: &[&OsStr]| {
        let program = env::var_os(program).unwrap();
        let mut command = Command::new(&program);
        assert!(command.args(arguments).current_dir(&out).status().unwrap().success());
    };
    let words = ["-O2", "-fPIC", "-c", "-o", "part.o"].map(OsStr::new);
    run("CC", &[&words[..], &[source.as_os_str()]].concat());
    run("AR", &["crs", "libpart.a", "part.o"].map(OsStr::new));
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=part");
    println!("cargo:rustc-env=SAID={:?}", std::hint::black_box(7.5_f64) % std::hint::black_box(2.0));
    println!("cargo:rerun-if-changed=part.c");
}
