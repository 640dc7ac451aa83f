//! Compilers that are made of this host's programs: how they are laid out and started.

use std::collections::BTreeSet;

use super::*;
use crate::lock::model::Role;
use crate::process::Command;
use crate::source::deb::made::{Tar, deb};

/// A program that prints its arguments, in the place of each compiler.
const PLACES: &[&str] = &[
    "./usr/bin/gcc",
    "./usr/bin/ar",
    "./usr/bin/as",
    "./usr/bin/ld.bfd",
    "./usr/libexec/gcc/x86_64-linux-gnu/14/cc1",
];

/// The file that the host's loader takes for a library of this name.
fn library_of_host(name: &str) -> Vec<u8> {
    let places = ["/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib/x86_64-linux-gnu"];
    let mut paths = places.iter().map(|place| Path::new(place).join(name));
    fs::read(paths.find(|path| path.exists()).unwrap()).unwrap()
}

fn package(name: &str, data: Tar, store: &Store) -> Package {
    let control = format!("Package: {name}\nVersion: 1\nArchitecture: amd64\n");
    let blob = store.put_bytes(&deb(&control, data)).unwrap();
    let [name, version, architecture, source, suite, path] =
        [name, "1", "amd64", name, "trixie", "pool/a.deb"].map(str::to_owned);
    let (role, required_by) = (Role::Compiler, BTreeSet::new());
    Package { name, version, architecture, source, suite, path, blob, role, required_by }
}

fn packages(store: &Store, without: &str) -> Vec<Package> {
    let libraries = ["ld-linux-x86-64.so.2", "libc.so.6"];
    let mut libc = Tar::new().file("./usr/lib/x86_64-linux-gnu/libc.a", 0o644, b"!<arch>\n");
    for name in libraries {
        let path = format!("./lib/x86_64-linux-gnu/{name}");
        libc = libc.file(&path, 0o755, &library_of_host(name));
    }
    let echo = fs::read("/bin/echo").unwrap();
    let mut gcc = Tar::new().file("./usr/libexec/gcc/x86_64-linux-gnu/14/lto1", 0o755, b"");
    for path in PLACES.iter().filter(|path| **path != without) {
        gcc = gcc.file(path, 0o755, &echo);
    }
    vec![package("gcc", gcc, store), package("libc6", libc, store)]
}

#[test]
fn programs_of_the_packages_start_with_what_belongs_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("a place's name");
    let store = Store::open(root.join("store")).unwrap();
    let caches = Caches::below(&root.join("caches"));
    let packages = packages(&store, "");
    let programs = install(Architecture::Amd64, &packages, &store, &caches).unwrap();
    let output = |name: &str| {
        let command = Command::new(programs.join(name)).env_clear().args(["-o", "a b"]);
        String::from_utf8(command.run().unwrap()).unwrap()
    };
    let sysroot = programs.parent().unwrap().to_str().unwrap();
    let want = format!("--sysroot={sysroot} -B{}/ -o a b -fuse-ld=bfd\n", programs.display());
    assert_eq!((output("cc"), output("gcc")), (want.clone(), want));
    assert_eq!((output("as"), output("cc1")), ("-o a b\n".to_owned(), "-o a b\n".to_owned()));
    assert_eq!(output("ld"), "-o a b --allow-shlib-undefined\n");
    assert!(!Path::new(sysroot).join("usr/libexec/gcc/x86_64-linux-gnu/14/lto1").exists());

    // What runs is the library of the package; the one to link with is another file.
    let run = fs::read(Path::new(sysroot).join("run/libc.so.6")).unwrap();
    assert_eq!(run, library_of_host("libc.so.6"));
    assert!(Path::new(sysroot).join("lib/x86_64-linux-gnu/libc.so.6").exists());

    // A second time nothing is done, and nothing was left beside it.
    let made = fs::metadata(&programs).unwrap().modified().unwrap();
    assert_eq!(install(Architecture::Amd64, &packages, &store, &caches).unwrap(), programs);
    assert_eq!(fs::metadata(&programs).unwrap().modified().unwrap(), made);
    assert_eq!(fs::read_dir(&caches.compilers).unwrap().count(), 1);
}

#[test]
fn packages_that_lack_something_are_no_compilers_and_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let caches = Caches::below(&directory.path().join("caches"));
    for without in PLACES {
        let error =
            install(Architecture::Amd64, &packages(&store, without), &store, &caches).unwrap_err();
        assert_eq!(error.id(), Id::Compilers, "{without}: {}", error.chain());
        assert_eq!(fs::read_dir(&caches.compilers).unwrap().count(), 0, "{without}");
    }
}
