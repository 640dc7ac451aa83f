//! Our own binaries: the same bytes anywhere, what their keys know, and what stops a build.

mod fetched_crates;
mod pinned;

use std::fs;

use formats::digest::Sha256;
use formats::tree::Blob;
use tar::EntryType;

use super::*;
use crate::cargo_workspace::{CRATES_IO, Crate};
use crate::recipe::model::ImagePath;

fn environment() -> Environment {
    Environment::new(std::env::vars_os())
}

fn toolchain() -> Toolchain {
    Toolchain::of_host(&environment())
}

/// A workspace of a program and a library, both of which name their source files when they panic.
fn workspace(root: &Path) -> model::Cargo {
    for (path, text) in [
        (
            "Cargo.toml",
            "[workspace]\nresolver = '3'\nmembers = ['program', 'library', 'other']\n\
             [profile.node]\ninherits = 'release'\npanic = 'abort'\nstrip = true\n",
        ),
        (
            "Cargo.lock",
            "version = 4\n\n[[package]]\nname = 'library'\nversion = '0.1.0'\n\n\
             [[package]]\nname = 'other'\nversion = '0.1.0'\n\n\
             [[package]]\nname = 'program'\nversion = '0.1.0'\ndependencies = ['library']\n",
        ),
        (
            "program/Cargo.toml",
            "[package]\nname = 'program'\nversion = '0.1.0'\nedition = '2024'\n\
             [dependencies]\nlibrary = { path = '../library' }\n",
        ),
        (
            "program/src/main.rs",
            "fn main() {\n    let arguments = std::env::args().count();\n    \
             println!(\"{} {}\", file!(), library::place());\n    \
             library::fail_if(arguments > 1);\n}\n",
        ),
        (
            "library/Cargo.toml",
            "[package]\nname = 'library'\nversion = '0.1.0'\nedition = '2024'\n",
        ),
        (
            "library/src/lib.rs",
            "pub fn place() -> &'static str {\n    file!()\n}\n\
             pub fn fail_if(fail: bool) {\n    assert!(!fail, \"failed\");\n}\n",
        ),
        ("other/Cargo.toml", "[package]\nname = 'other'\nversion = '0.1.0'\nedition = '2024'\n"),
        ("other/src/lib.rs", ""),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let at = ImagePath::try_from("/usr/bin/program".to_owned()).unwrap();
    model::Cargo {
        workspace: root.to_owned(),
        package: "program".to_owned(),
        programs: BTreeMap::from([("program".to_owned(), at)]),
    }
}

fn build(root: &Path, cargo: &model::Cargo, jobs: usize) -> Result<(Store, Blob)> {
    let (store, built) = built(root, cargo, jobs)?;
    Ok((store, built.programs["program"].0))
}

fn built(root: &Path, cargo: &model::Cargo, jobs: usize) -> Result<(Store, Built)> {
    let store = Store::open(root.join("store")).unwrap();
    let caches = Caches::below(&root.join("caches"));
    let component = Component::load(cargo, Architecture::Amd64, &Seen::new()).unwrap();
    let built = component.build(&environment(), &toolchain(), &caches, &store, jobs)?;
    Ok((store, built))
}

#[test]
fn the_same_static_program_comes_out_of_any_directory() {
    let mut blobs = Vec::new();
    for (name, jobs) in [("a", 1), ("a longer name/below", 2)] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join(name);
        let (store, blob) = build(&root, &workspace(&root.join("workspace")), jobs).unwrap();
        let bytes = store.read_blob(&blob).unwrap();
        let place = directory.path().to_str().unwrap().as_bytes();
        assert!(!bytes.windows(place.len()).any(|window| window == place));
        let path = directory.path().join("program");
        // Not written by this process: a child of another test, forked meanwhile, would hold the
        // file open for writing, and the kernel runs no such file.
        let install = Command::new("install").args(["-m", "755"]);
        install.arg(store.blob_path(&blob.sha256)).arg(&path).run().unwrap();
        let output = Command::new(&path).run().unwrap();
        assert_eq!(output, b"program/src/main.rs library/src/lib.rs\n");
        // A static program has no interpreter: no PT_INTERP among its program headers.
        let headers = Command::new("readelf").args(["-lW"]).arg(&path).run();
        let headers = String::from_utf8(headers.expect("install binutils")).unwrap();
        assert!(headers.contains("LOAD") && !headers.contains("INTERP"), "{headers}");
        blobs.push(blob);
    }
    assert_eq!(blobs[0], blobs[1]);
}

/// What the compiler replaces in the names of source files stays in a text: the program would be
/// another one in each directory, under one key.
#[test]
fn a_program_that_names_the_directory_it_was_made_in_is_refused() {
    for (file, text) in [
        ("program/src/main.rs", "fn main() { println!(\"{}\", env!(\"CARGO_MANIFEST_DIR\")) }\n"),
        ("program/src/main.rs", "fn main() { println!(\"{}\", env!(\"HERE\")) }\n"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("workspace");
        let cargo = workspace(&root);
        fs::write(root.join(file), text).unwrap();
        fs::create_dir(root.join(".cargo")).unwrap();
        let here = "[env]\nHERE = { value = 'x', relative = true }\n";
        fs::write(root.join(".cargo/config.toml"), here).unwrap();
        let error = build(directory.path(), &cargo, 1).unwrap_err();
        assert_eq!(error.id(), Id::CargoPackage);
        let said = format!("names the directory `{}` of this host", root.display());
        assert!(error.chain().contains(&said), "{}", error.chain());
    }
}

#[test]
fn the_key_knows_all_that_shapes_a_program_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let cargo = workspace(directory.path());
    let toolchain = toolchain();
    let key = || {
        Component::load(&cargo, Architecture::Amd64, &Seen::new())
            .unwrap()
            .inputs(&toolchain)
            .unwrap()
            .digest()
    };
    let mut keys = vec![key()];
    let elsewhere = tempfile::tempdir().unwrap();
    let copy =
        Component::load(&workspace(elsewhere.path()), Architecture::Amd64, &Seen::new()).unwrap();
    assert_eq!(copy.inputs(&toolchain).unwrap().digest(), keys[0], "the place is no input");
    fs::write(directory.path().join("other/src/lib.rs"), "// Not a dependency.\n").unwrap();
    assert_eq!(key(), keys[0], "another package is no input");
    // A recipe in a package's own directory has them there.
    for file in ["build.json", "manifest.txt", "root.img"] {
        let output = directory.path().join("program/orlop-out/node");
        fs::create_dir_all(&output).unwrap();
        fs::write(output.join(file), "").unwrap();
    }
    Store::open(directory.path().join("program/store")).unwrap();
    assert_eq!(key(), keys[0], "what we make ourselves is no input");

    for (path, text) in [
        ("program/src/main.rs", "fn main() {}\n"),
        ("library/src/lib.rs", "pub fn other() {}\n"),
        ("program/src/data.bin", "data"),
        ("Cargo.lock", "version = 4\n"),
        (".cargo/config.toml", "[build]\n"),
        ("program/.sqlx/query-1.json", "{}"),
        ("rust-toolchain.toml", "[toolchain]\n"),
    ] {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        keys.push(key());
    }
    let mut newer = toolchain.clone();
    newer.facts[0].push_str("newer");
    keys.push(
        Component::load(&cargo, Architecture::Amd64, &Seen::new())
            .unwrap()
            .inputs(&newer)
            .unwrap()
            .digest(),
    );
    let different: BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
}

#[test]
fn a_source_that_changes_is_one_line_of_what_shapes_a_program() {
    let directory = tempfile::tempdir().unwrap();
    let cargo = workspace(directory.path());
    let toolchain = toolchain();
    let lines = || {
        Component::load(&cargo, Architecture::Amd64, &Seen::new())
            .unwrap()
            .inputs(&toolchain)
            .unwrap()
            .lines()
            .to_vec()
    };
    let before = lines();
    fs::write(directory.path().join("library/src/lib.rs"), "pub fn other() {}\n").unwrap();
    let now = lines();
    let came: Vec<_> = now.iter().filter(|line| !before.contains(line)).collect();
    assert_eq!(came, [&format!("source library/src/lib.rs {}", Sha256::of("pub fn other() {}\n"))]);
    assert!(before.iter().any(|line| line.starts_with("toolchain rustc 1.")), "{before:?}");
}

#[test]
fn what_a_program_is_made_from_must_be_watched() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let cargo = workspace(&root);
    let component = Component::load(&cargo, Architecture::Amd64, &Seen::new()).unwrap();
    let sources = component.sources(|of| component.view.files(of)).unwrap();
    let target = root.join("target");
    let check = |list: &[PathBuf]| {
        let list: Vec<_> =
            list.iter().map(|path| path.to_str().unwrap().replace(' ', "\\ ")).collect();
        let text = format!("/x/program: {}\n", list.join(" "));
        component.check_sources(&text, &sources, &target)
    };
    // What build scripts name may be a directory.
    for directory in ["program/data/inner", "proto", "program/fixture", "program/built"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("program/fixture/Cargo.toml"), "").unwrap();
    fs::write(root.join("program/built/CACHEDIR.TAG"), "").unwrap();
    let good = [
        "program/src/main.rs",
        "library/src/lib.rs",
        "target/out/a b.rs",
        "Cargo.lock",
        "program",
        "program/data/inner",
    ];
    check(&good.map(|path| root.join(path))).unwrap();
    check(&[PathBuf::from("program/src/main.rs")]).unwrap();
    for bad in [
        "docs/page.md",
        "other/src/lib.rs",
        "a b/c.rs",
        "proto",
        "program/fixture",
        "program/built",
    ] {
        let error = check(&[root.join(good[0]), root.join(bad)]).unwrap_err();
        assert_eq!(error.id(), Id::CargoPackage);
        assert!(error.to_string().contains(&format!("{bad}`, which is not watched")), "{error}");
    }
    assert_eq!(check(&[PathBuf::from("/absent/file")]).unwrap_err().id(), Id::CargoPackage);
}

#[test]
fn what_the_compiler_says_is_shown_or_explained() {
    let directory = tempfile::tempdir().unwrap();
    let cargo = workspace(directory.path());
    fs::write(directory.path().join("library/src/lib.rs"), "nonsense\n").unwrap();
    let error = build(directory.path(), &cargo, 2).unwrap_err();
    assert_eq!(error.id(), Id::ToolFailed);
    assert!(error.to_string().contains("could not compile `library`"), "{error}");

    let words = "`cargo` failed with exit status: 101\n  error[E0463]: can't find crate for `std`";
    let error = explained(Error::new(Id::ToolFailed, words), Architecture::Amd64);
    assert_eq!(error.id(), Id::StaticRust);
    assert_eq!(error.hints(), ["run `rustup target add x86_64-unknown-linux-gnu`"]);
    // Cargo's words for a registry; for a git repository another test has them.
    let words = "`cargo` failed\n  attempting to make an HTTP request, but --offline was specified";
    assert_eq!(
        explained(Error::new(Id::ToolFailed, words), Architecture::Amd64).id(),
        Id::CargoNotFetched
    );
    let error = explained(
        Error::new(Id::ToolFailed, "`cargo build --offline mode` failed"),
        Architecture::Amd64,
    );
    assert_eq!(error.id(), Id::ToolFailed, "our own words explain nothing");
}

#[test]
fn a_component_without_programs_or_package_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let cargo = workspace(directory.path());
    let none = model::Cargo { programs: BTreeMap::new(), ..cargo.clone() };
    assert_eq!(
        Component::load(&none, Architecture::Amd64, &Seen::new()).unwrap_err().id(),
        Id::CargoPackage
    );
    let unknown = model::Cargo { package: "unknown".to_owned(), ..cargo };
    assert_eq!(
        Component::load(&unknown, Architecture::Amd64, &Seen::new()).unwrap_err().id(),
        Id::CargoPackage
    );
}

#[test]
fn a_program_that_was_not_made_is_a_mistake_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(made(&directory.path().join("none")).unwrap_err().id(), Id::Bug);
}

/// A library with C in it, compiled as the crate `cc` does, but by a shell.
fn add_c(root: &Path) {
    let build = r#"fn main() {
    let out = std::env::var_os("OUT_DIR").unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/place.c");
    let script = "eval \"cc $CFLAGS -O2 -fPIC -c \\\"\\$0\\\"\" -o place.o && ar crs libplace.a place.o";
    let mut shell = std::process::Command::new("sh");
    let status = shell.args(["-c", script, source]).current_dir(&out).status().unwrap();
    assert!(status.success());
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=place");
}
"#;
    let library = "unsafe extern \"C\" {\n    fn place_of_c() -> *const std::ffi::c_char;\n}\n\
                   pub fn place() -> &'static str {\n    \
                   unsafe { std::ffi::CStr::from_ptr(place_of_c()) }.to_str().unwrap()\n}\n\
                   pub fn fail_if(_: bool) {}\n";
    let place = "const char *place_of_c(void) { return __FILE__; }\n";
    for (path, text) in [("build.rs", build), ("src/lib.rs", library), ("place.c", place)] {
        fs::write(root.join("library").join(path), text).unwrap();
    }
}

#[test]
fn a_program_with_c_in_it_names_no_directory_of_the_host_either() {
    let mut blobs = Vec::new();
    for name in ["a", "a longer name/below"] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join(name);
        let cargo = workspace(&root.join("workspace"));
        add_c(&root.join("workspace"));
        let (store, blob) = build(&root, &cargo, 1).unwrap();
        let bytes = store.read_blob(&blob).unwrap();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(has(b"/workspace/library/place.c\0"));
        assert!(!has(directory.path().to_str().unwrap().as_bytes()));
        blobs.push(blob);
    }
    assert_eq!(blobs[0], blobs[1]);
}

#[test]
fn what_components_share_is_read_once_until_something_is_compiled() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let cargo = workspace(&root.join("workspace"));
    fs::create_dir(root.join("bin")).unwrap();
    let script =
        format!("#!/bin/sh\necho asked >>'{}/asked'\necho 'rustc 1.0.0'\n", root.display());
    crate::process::write_program(&root.join("bin/rustc"), script.as_bytes());
    crate::process::write_program(&root.join("bin/cargo"), b"#!/bin/sh\n");
    let path = format!("{}:/usr/bin:/bin", root.join("bin").display());
    let environment = Environment::new([("PATH".into(), path.into())]);
    let asked = || fs::read_to_string(root.join("asked")).unwrap().lines().count();
    let seen = Seen::new();
    let toolchain = Toolchain::of_host(&environment);
    let key = |seen: &Seen| {
        ask(&environment, &cargo.workspace, seen).unwrap();
        let component = Component::load(&cargo, Architecture::Amd64, seen).unwrap();
        component.inputs(&toolchain).unwrap().digest()
    };
    let first = key(&seen);
    assert_eq!(asked(), 2, "once for the toolchain itself");
    fs::write(root.join("workspace/library/src/lib.rs"), "pub fn other() {}\n").unwrap();
    assert_eq!((key(&seen), asked()), (first, 2));
    assert_ne!(key(&Seen::new()), first);
    seen.forget();
    assert_ne!(key(&seen), first);
    assert_eq!(asked(), 4);
}
