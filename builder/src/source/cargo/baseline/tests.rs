//! A library that looks older, judged by the host's linker and loader.

use std::fs;
use std::path::Path;

use super::*;
use crate::process::Command;

/// A C library in small: one function that was always there, one that has become another, one
/// that is new.
const LIBRARY: &str = r#"
int always(void) { return 1; }
int old_changed(void) { return 2; }
int new_changed(void) { return 3; }
int recent(void) { return 4; }
__asm__(".symver old_changed, changed@GLIBC_2.2.5");
__asm__(".symver new_changed, changed@@GLIBC_2.38");
"#;

const VERSIONS: &str = "GLIBC_2.2.5 { global: always; changed; local: *; };\n\
                        GLIBC_2.38 { global: changed; recent; } GLIBC_2.2.5;\n";

const PROGRAM: &str = r#"
int always(void), changed(void), recent(void) __attribute__((weak));
int main(void) { return always() * 100 + changed() * 10 + (recent ? recent() : 0); }
"#;

fn cc(directory: &Path, arguments: &[&str]) {
    Command::new("cc").directory(directory).args(arguments).run().unwrap();
}

/// Links the program with the library in `link` and says what it returns with the one in `run`.
fn run(directory: &Path) -> i32 {
    let arguments = ["-O0", "program.c", "-Llink", "-lx", "-o", "program"];
    cc(directory, &arguments);
    let program = directory.join("program");
    let script = "LD_LIBRARY_PATH=run exec \"$0\"";
    let child = Command::new("sh").args(["-c", script]).arg(program).directory(directory);
    child.spawn(|_| ()).unwrap().wait().unwrap().code().unwrap()
}

#[test]
fn a_program_is_linked_with_the_old_of_two_versions_and_with_none_where_there_is_only_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for (name, text) in [("library.c", LIBRARY), ("versions", VERSIONS), ("program.c", PROGRAM)] {
        fs::write(directory.join(name), text).unwrap();
    }
    for name in ["run", "link"] {
        fs::create_dir(directory.join(name)).unwrap();
    }
    let arguments = ["-shared", "-fPIC", "library.c", "-Wl,--version-script=versions"];
    cc(directory, &[&arguments[..], &["-Wl,-soname,libx.so", "-o", "run/libx.so"]].concat());
    let mut library = fs::read(directory.join("run/libx.so")).unwrap();
    fs::write(directory.join("link/libx.so"), &library).unwrap();
    assert_eq!(run(directory), 134, "linked with the library as it is");

    let before = library.clone();
    lower(&mut library).unwrap();
    let differ = before.iter().zip(&library).filter(|(before, after)| before != after).count();
    assert!((1..=8).contains(&differ), "{differ} bytes were changed");
    fs::write(directory.join("link/libx.so"), &library).unwrap();
    assert_eq!(run(directory), 124);
    let symbols = Command::new("readelf").args(["-W", "--dyn-syms"]).arg(directory.join("program"));
    let symbols = String::from_utf8(symbols.run().unwrap()).unwrap();
    assert!(symbols.contains(" changed@GLIBC_2.2.5"), "{symbols}");
    assert!(symbols.lines().any(|line| line.ends_with(" recent")), "{symbols}");
    assert!(!symbols.contains("GLIBC_2.38"), "{symbols}");

    // An older library, which lacks the new symbol: the program starts and knows that.
    let arguments = ["-shared", "-fPIC", "-Dnew_changed=unused", "-Drecent=other"];
    let older = LIBRARY.replace("__asm__(\".symver new_changed, changed@@GLIBC_2.38\");\n", "");
    let older = older.replace("changed@GLIBC", "changed@@GLIBC");
    fs::write(directory.join("older.c"), older).unwrap();
    fs::write(directory.join("versions"), VERSIONS.lines().next().unwrap()).unwrap();
    let rest =
        ["older.c", "-Wl,--version-script=versions", "-Wl,-soname,libx.so", "-o", "run/libx.so"];
    fs::remove_file(directory.join("run/libx.so")).unwrap();
    cc(directory, &[&arguments[..], &rest].concat());
    let status = Command::new("sh")
        .args(["-c", "LD_LIBRARY_PATH=run exec ./program"])
        .directory(directory)
        .spawn(|_| ())
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(status.code(), Some(120));
}

#[test]
fn what_is_no_library_of_this_kind_is_an_error_or_stays_as_it_is() {
    assert!(lower(&mut b"no ELF file".to_vec()).is_err());
    // A library without versions.
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("library.c"), "int x(void) { return 1; }\n").unwrap();
    cc(directory.path(), &["-shared", "-nostdlib", "-fPIC", "library.c", "-o", "library.so"]);
    let library = fs::read(directory.path().join("library.so")).unwrap();
    let mut lowered = library.clone();
    lower(&mut lowered).unwrap();
    assert_eq!(lowered, library);
    // Cut anywhere, it is an error or nothing to do, and never a panic.
    for length in (0..library.len()).step_by(7) {
        drop(lower(&mut library[..length].to_vec()));
    }
}
