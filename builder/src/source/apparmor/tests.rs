//! Profiles that a parser made of this host's programs compiles.

use std::collections::BTreeSet;

use super::*;
use crate::source::deb::made::{Tar, deb};

/// The file that the host's loader takes for a library of this name.
fn library_of_host(name: &str) -> Vec<u8> {
    let places = ["/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib/x86_64-linux-gnu"];
    let mut paths = places.iter().map(|place| Path::new(place).join(name));
    fs::read(paths.find(|path| path.exists()).unwrap()).unwrap()
}

fn package(name: &str, role: Role, data: Tar, store: &Store) -> Package {
    let control = format!("Package: {name}\nVersion: 1\nArchitecture: amd64\n");
    let blob = store.put_bytes(&deb(&control, data)).unwrap();
    let [name, version, architecture, source, suite, path] =
        [name, "1", "amd64", name, "trixie", "pool/a.deb"].map(str::to_owned);
    let required_by = BTreeSet::new();
    Package { name, version, architecture, source, suite, path, blob, role, required_by }
}

/// A lock whose parser is this program of the host.
fn lock(program: &str, store: &Store) -> Lock {
    let mut libc = Tar::new();
    for name in ["ld-linux-x86-64.so.2", "libc.so.6"] {
        let path = format!("./lib/x86_64-linux-gnu/{name}");
        libc = libc.file(&path, 0o755, &library_of_host(name));
    }
    let parser = Tar::new()
        .file("./sbin/apparmor_parser", 0o755, &fs::read(program).unwrap())
        .file("./usr/share/doc/apparmor/README", 0o644, b"");
    let packages = vec![
        package("apparmor", Role::Tool, parser, store),
        package("libc6", Role::Root, libc, store),
    ];
    let (inputs, suites, compilers) = (Vec::new(), Vec::new(), Vec::new());
    Lock {
        inputs,
        suites,
        packages,
        compilers,
        rustc: Vec::new(),
        urls: Vec::new(),
        images: Vec::new(),
    }
}

fn profile(text: &str) -> Result<Profile> {
    Profile::new(Path::new("/recipes/sample"), text.to_owned())
}

#[test]
fn a_profile_is_compiled_for_the_suite_s_kernel_and_asks_nothing_of_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let caches = Caches::below(&directory.path().join("a cache"));
    let lock = lock("/bin/echo", &store);
    let parser = Parser::find(Architecture::Amd64, &lock).unwrap();
    let blob = parser.compile(&profile("").unwrap(), &store, &caches).unwrap();
    let said = String::from_utf8(store.read_blob(&blob).unwrap()).unwrap();
    let base = said.split("--base ").nth(1).unwrap();
    let scratch = &base[..base.find("/tree/").unwrap()];
    assert_eq!(
        said.replace(scratch, "SCRATCH"),
        "--config-file /dev/null --base SCRATCH/tree/etc/apparmor.d --kernel-features \
         SCRATCH/tree/usr/share/apparmor-features/features --skip-cache --skip-kernel-load --Werror \
         --stdout SCRATCH/profile\n"
    );
    assert_eq!(fs::read_dir(&caches.compilers).unwrap().count(), 0, "nothing is left");
}

#[test]
fn what_the_parser_says_is_told_with_the_profile_s_path() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let caches = Caches::below(directory.path());
    // It refuses the arguments.
    let lock = lock("/bin/cat", &store);
    let parser = Parser::find(Architecture::Amd64, &lock).unwrap();
    let error = parser.compile(&profile("").unwrap(), &store, &caches).unwrap_err();
    assert_eq!(error.id(), Id::ToolFailed);
    let chain = error.chain();
    assert!(chain.starts_with("cannot compile `/recipes/sample`: "), "{chain}");
    assert!(chain.contains("unrecognized option"), "{chain}");
}

#[test]
fn without_the_parser_or_its_library_the_missing_package_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    for (name, hint) in
        [("apparmor", "add it to `[debian] tools`"), ("libc6", "add it to `[debian] packages`")]
    {
        let mut lock = lock("/bin/echo", &store);
        lock.packages.retain(|package| package.name != name);
        let error = Parser::find(Architecture::Amd64, &lock).unwrap_err();
        assert_eq!(error.id(), Id::Compilers);
        assert_eq!(error.to_string(), format!("profiles of AppArmor need the package `{name}`"));
        assert_eq!(error.hints(), [hint]);
    }
}

#[test]
fn only_files_of_the_package_are_taken_in() {
    for line in [
        "abi <abi/3.0>,",
        "  include <tunables/global>",
        "#include <abstractions/base> # as others do",
        "include if exists <local/x>",
        "# what to include, and the abi /of the kernel",
        "  /usr/include/** r, # include \"/etc/x\"",
        "profile abiword /usr/bin/abiword {",
        "",
    ] {
        assert!(profile(line).is_ok(), "{line}");
    }
    for line in [
        "abi \"/etc/apparmor.d/abi/3.0\",",
        "abi abi/3.0,",
        "#include \"/etc/x\"",
        "profile x { include /etc/x",
        "include if exists /etc/x",
        "include\"/etc/x\"",
        "include </../../etc/x>",
        "include",
    ] {
        let error = profile(&format!("\n{line}\n")).unwrap_err();
        assert_eq!(error.id(), Id::Compilers);
        assert_eq!(
            error.chain(),
            format!(
                "cannot compile `/recipes/sample`: line 2, `{line}`, takes in a file of this host"
            )
        );
    }
}
