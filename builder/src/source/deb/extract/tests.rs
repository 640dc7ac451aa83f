//! Packages as files of this host: what is written, and what is refused.

use std::os::unix::fs::MetadataExt as _;

use formats::tree::Blob;

use super::super::made::{self, Tar};
use super::*;
use crate::lock::model::Role;

const EVERYTHING: fn(&TreePath) -> bool = |_| true;

/// A store with packages `a`, `b`, ... of these contents.
fn bench(data: Vec<Tar>) -> (tempfile::TempDir, Store, Vec<Package>) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let packages = data.into_iter().zip('a'..).map(|(data, name)| {
        let control = format!("Package: {name}\nVersion: 1\nArchitecture: amd64\n");
        package(&name.to_string(), store.put_bytes(&made::deb(&control, data)).unwrap())
    });
    let packages = packages.collect();
    fs::create_dir(directory.path().join("out")).unwrap();
    (directory, store, packages)
}

fn package(name: &str, blob: Blob) -> Package {
    let [name, version, architecture, source, suite, path] =
        [name, "1", "amd64", name, "trixie", "pool/a.deb"].map(str::to_owned);
    let required_by = BTreeSet::new();
    let role = Role::Compiler;
    Package { name, version, architecture, source, suite, path, blob, role, required_by }
}

fn extract(data: Vec<Tar>, wanted: fn(&TreePath) -> bool) -> (tempfile::TempDir, Result<()>) {
    let (directory, store, packages) = bench(data);
    let packages: Vec<_> = packages.iter().collect();
    let result = all(&packages, &store, &directory.path().join("out"), &wanted);
    (directory, result)
}

#[test]
fn packages_become_one_merged_system_of_files() {
    let first = Tar::new()
        .directory("./lib/", 0o700)
        .file("./lib/x.so.1", 0o600, b"library")
        .link(EntryType::Symlink, "./usr/lib/x.so", "x.so.1")
        .link(EntryType::Symlink, "./usr/lib64/ld.so", "/lib/x.so.1");
    let second = Tar::new()
        .file("./usr/bin/x", 0o4755, b"program")
        .link(EntryType::Link, "./bin/y", "./usr/bin/x")
        .file("./usr/share/doc/x", 0o644, b"words");
    let wanted: fn(&TreePath) -> bool = |path| !path.as_str().starts_with("usr/share");
    let (directory, result) = extract(vec![first, second], wanted);
    result.unwrap();
    let out = directory.path().join("out");
    let mode = |path: &str| fs::metadata(out.join(path)).unwrap().mode() & 0o7777;
    assert_eq!(fs::read(out.join("usr/lib/x.so")).unwrap(), b"library");
    assert_eq!(fs::read(out.join("lib/x.so.1")).unwrap(), b"library");
    // From the top of this directory, not of the host.
    assert_eq!(fs::read_link(out.join("usr/lib64/ld.so")).unwrap(), Path::new("../../lib/x.so.1"));
    assert_eq!(fs::read(out.join("lib64/ld.so")).unwrap(), b"library");
    // Nothing is set-id, whatever the package says, and nothing depends on the umask.
    assert_eq!([mode("bin/y"), mode("usr/lib/x.so.1"), mode("usr/lib")], [0o755, 0o644, 0o755]);
    assert!(!out.join("usr/share").exists());
}

#[test]
fn a_link_of_one_package_leads_no_other_package_out_of_the_directory() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    for target in [target, "../../.."] {
        let trap = Tar::new().link(EntryType::Symlink, "./usr/lib/trap", target);
        let walker = Tar::new().file("./usr/lib/trap/file", 0o644, b"x");
        let (directory, result) = extract(vec![trap, walker], EVERYTHING);
        assert_eq!(result.unwrap_err().id(), Id::BadPackage);
        assert!(!directory.path().join("file").exists());
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_file_and_what_stands_twice_is_refused() {
    for data in [
        vec![Tar::new().add(EntryType::Char, "./dev/null", 0o666, b"")],
        vec![Tar::new().file("./a", 0o644, b"1"), Tar::new().file("./a", 0o644, b"2")],
        vec![Tar::new().link(EntryType::Link, "./a", "./absent")],
        vec![Tar::new().file("../a", 0o644, b"1")],
    ] {
        let (_directory, result) = extract(data, EVERYTHING);
        assert_eq!(result.unwrap_err().id(), Id::BadPackage);
    }
}

#[test]
fn a_damaged_package_and_another_one_are_refused_before_anything_runs() {
    let (directory, store, mut packages) = bench(vec![Tar::new().file("./a", 0o644, b"1")]);
    let out = directory.path().join("out");
    packages[0].version = "2".to_owned();
    let error = all(&[&packages[0]], &store, &out, &EVERYTHING).unwrap_err();
    assert_eq!(error.id(), Id::BadPackage);

    packages[0].version = "1".to_owned();
    fs::remove_dir_all(&out).unwrap();
    fs::create_dir(&out).unwrap();
    let path = store.blob_path(&packages[0].blob.sha256);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let error = all(&[&packages[0]], &store, &out, &EVERYTHING).unwrap_err();
    assert_eq!(error.id(), Id::WrongDigest);
}
