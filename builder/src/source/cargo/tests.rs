//! Our own binaries: the same bytes anywhere, what their keys know, and what stops a build.

mod pinned;

use std::fs;

use formats::digest::Sha256;
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
    let store = Store::open(root.join("store")).unwrap();
    let caches = Caches::below(&root.join("caches"));
    let component = Component::load(cargo, Architecture::Amd64, &Seen::new()).unwrap();
    let built = component.build(&environment(), &toolchain(), &caches, &store, jobs)?;
    Ok((store, built["program"]))
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

/// A workspace whose library wants a crate of a registry, and the crate as a registry gives it.
fn workspace_with_crate(root: &Path) -> (model::Cargo, Vec<u8>) {
    let cargo = workspace(root);
    let given = archive(&[
        ("Cargo.toml", "[package]\nname = 'given'\nversion = '1.0.0'\nedition = '2024'\n"),
        ("src/lib.rs", "pub fn place() -> &'static str {\n    file!()\n}\n"),
    ]);
    let append = |path: &str, text: &str| {
        let text = format!("{}{text}", fs::read_to_string(root.join(path)).unwrap());
        fs::write(root.join(path), text).unwrap();
    };
    append("library/Cargo.toml", "[dependencies]\ngiven = '1'\n");
    append("library/src/lib.rs", "pub use given::place as given;\n");
    let main = "fn main() {\n    println!(\n        \"{} {:?} {}\",\n        library::given(),\n        \
        option_env!(\"BUILT_BY\"),\n        cfg!(debug_assertions)\n    );\n}\n";
    fs::write(root.join("program/src/main.rs"), main).unwrap();
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap().replace(
        "name = 'library'\nversion = '0.1.0'\n",
        "name = 'library'\nversion = '0.1.0'\ndependencies = ['given']\n",
    );
    let package = format!(
        "\n[[package]]\nname = 'given'\nversion = '1.0.0'\nsource = '{CRATES_IO}'\n\
         checksum = '{}'\n",
        Sha256::of(&given)
    );
    fs::write(root.join("Cargo.lock"), format!("{lock}{package}")).unwrap();
    (cargo, given)
}

/// A crate's archive: `given-1.0.0`.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(gzip);
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("given-1.0.0/{path}"), text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// As a store carried to a machine that has never seen a registry, and whose user has settings for
/// programs of his own (cargo#9506).
#[test]
fn crates_come_out_of_the_store_and_no_setting_of_the_user_into_the_program() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("home/deep/workspace");
    let (cargo, given) = workspace_with_crate(&root);
    let write = |path: &str, text: &str| {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let build = |environment: &Environment, caches: &str| {
        let store = Store::open(directory.path().join("store")).unwrap();
        let caches = Caches::below(&directory.path().join(caches));
        let component = Component::load(&cargo, Architecture::Amd64, &Seen::new()).unwrap();
        component.build(environment, &toolchain(), &caches, &store, 2).map(|built| {
            let blob = built["program"];
            (blob, store.read_blob(&blob).unwrap())
        })
    };
    let error = build(&environment(), "caches").unwrap_err();
    assert_eq!(error.id(), Id::CargoNotFetched, "{}", error.chain());
    assert!(error.to_string().ends_with("`given 1.0.0` among them"), "{error}");

    Store::open(directory.path().join("store")).unwrap().put_bytes(&given).unwrap();
    let (blob, bytes) = build(&environment(), "caches").unwrap();
    let program = directory.path().join("program");
    crate::process::write_program(&program, &bytes);
    let output = String::from_utf8(Command::new(&program).run().unwrap()).unwrap();
    let name = Sha256::of("https://github.com/rust-lang/crates.io-index").to_string();
    assert_eq!(output, format!("/cargo/{}/given-1.0.0/src/lib.rs None false\n", &name[..16]));

    let settings = "[env]\nBUILT_BY = 'me'\n[profile.node]\nopt-level = 0\n\
        debug-assertions = true\n[build]\nrustflags = ['--cfg', 'mine']\n\
        rustc-wrapper = '/absent'\n[source.crates-io]\nreplace-with = 'absent'\n";
    write("home/.cargo/config.toml", settings);
    write("home/deep/.cargo/config", settings);
    let rustup = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let rustup = rustup.or_else(|| Some(environment().home()?.join(".rustup"))).unwrap();
    let other = [
        ("CARGO_HOME", directory.path().join("home/.cargo").into_os_string()),
        ("CARGO_PROFILE_NODE_OPT_LEVEL", "0".into()),
        ("CARGO_BUILD_RUSTFLAGS", "--cfg mine".into()),
        ("RUSTFLAGS", "-Cdebuginfo=2".into()),
        ("BUILT_BY", "me".into()),
        ("HOME", directory.path().join("home").into_os_string()),
        ("PATH", environment().path()),
        ("RUSTUP_HOME", rustup.into_os_string()),
    ];
    let other = Environment::new(other.map(|(name, value)| (name.into(), value)));
    // A cache in the workspace changes nothing, either.
    assert_eq!(build(&other, "home/deep/workspace/.cache").unwrap().0, blob);
}

#[test]
fn crates_of_cargos_cache_are_believed_by_their_digest() {
    let directory = tempfile::tempdir().unwrap();
    let (cargo, given) = workspace_with_crate(&directory.path().join("workspace"));
    let component = Component::load(&cargo, Architecture::Amd64, &Seen::new()).unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let home = directory.path().join("home");
    let put = |registry: &str, bytes: &[u8]| {
        let path = home.join("registry/cache").join(registry);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("given-1.0.0.crate"), bytes).unwrap();
    };
    put("another-registry", b"of the same name");
    let missing = crates::missing(component.lock().unwrap(), &store);
    let error = crates::take(&missing, &home, &store).unwrap_err();
    assert_eq!(error.id(), Id::CargoNotFetched);
    assert!(!component.is_fetched(&store).unwrap());
    put("index.crates.io", &given);
    crates::take(&missing, &home, &store).unwrap();
    assert!(component.is_fetched(&store).unwrap());
}

#[test]
fn crates_are_unpacked_once_and_stay_as_the_lock_has_them() {
    let directory = tempfile::tempdir().unwrap();
    let (cargo, given) = workspace_with_crate(&directory.path().join("workspace"));
    let lock =
        Component::load(&cargo, Architecture::Amd64, &Seen::new()).unwrap().lock().unwrap().clone();
    let store = Store::open(directory.path().join("store")).unwrap();
    let blob = store.put_bytes(&given).unwrap();
    let crates = directory.path().join("crates");
    let place = crates::unpack(&lock, &crates, &store).unwrap().remove(CRATES_IO).unwrap();
    let source = place.join("given-1.0.0/src/lib.rs");
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&source).unwrap());
    let first = inode();
    fs::create_dir_all(place.join("left-1.0.0")).unwrap();
    crates::unpack(&lock, &crates, &store).unwrap();
    assert_eq!(inode(), first, "what is there is left alone");
    assert!(!place.join("left-1.0.0").exists());

    // A newer archive under the same name, and one that is damaged in the store.
    fs::write(place.join("given-1.0.0/.orlop-crate"), "other").unwrap();
    crates::unpack(&lock, &crates, &store).unwrap();
    assert!(!place.join("given-1.0.0/.orlop-crate").metadata().unwrap().permissions().readonly());
    fs::remove_dir_all(place.join("given-1.0.0")).unwrap();
    let path = store.blob_path(&blob.sha256);
    fs::remove_file(&path).unwrap();
    fs::write(&path, archive(&[("src/lib.rs", "other")])).unwrap();
    // As if it were not there: `fetch` brings it again.
    assert_eq!(crates::unpack(&lock, &crates, &store).unwrap_err().id(), Id::CargoNotFetched);
    assert!(!place.join("given-1.0.0/.orlop-crate").exists());
}

#[test]
fn a_crate_that_leaves_its_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (cargo, _) = workspace_with_crate(&directory.path().join("workspace"));
    let mut lock =
        Component::load(&cargo, Architecture::Amd64, &Seen::new()).unwrap().lock().unwrap().clone();
    let store = Store::open(directory.path().join("store")).unwrap();
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(gzip);
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "given-1.0.0/src", "/etc").unwrap();
    let bytes = builder.into_inner().unwrap().finish().unwrap();
    lock.crates[0].sha256 = store.put_bytes(&bytes).unwrap().sha256;
    let error = crates::unpack(&lock, &directory.path().join("crates"), &store).unwrap_err();
    assert_eq!(error.id(), Id::Archive);
    assert!(error.to_string().contains("`given-1.0.0/src`"), "{error}");
}

#[test]
fn a_registry_that_the_user_has_a_name_for_is_known_from_the_lock() {
    let given = Crate {
        name: "ours".to_owned(),
        version: "1.0.0".to_owned(),
        source: "sparse+https://r.example/index/".to_owned(),
        sha256: Sha256::of("a"),
    };
    let lock = Lockfile { crates: vec![given.clone()], git: Vec::new() };
    let directories = BTreeMap::from([
        (CRATES_IO.to_owned(), PathBuf::from("/crates/a\"b")),
        (given.source, PathBuf::from("/crates/c")),
    ]);
    let settings =
        |wanted| crates::settings(&lock, &directories, &BTreeMap::from([("corp", wanted)]));
    assert_eq!(
        settings("ours").unwrap(),
        "[source.crates-io]\nreplace-with = \"orlop-0\"\n\
         [source.orlop-0]\ndirectory = \"/crates/a\\\"b\"\n\
         [source.orlop-registry-1]\nregistry = \"sparse+https://r.example/index/\"\n\
         replace-with = \"orlop-1\"\n[source.orlop-1]\ndirectory = \"/crates/c\"\n\
         [registries.\"corp\"]\nindex = \"sparse+https://r.example/index/\"\n"
    );
    assert_eq!(settings("theirs").unwrap_err().id(), Id::CargoPackage);
}

/// Cargo goes by times: `mv`, `cp -p`, `rsync -a` and `tar -x` bring files that are older than what
/// was compiled (cargo#6529).
#[test]
fn a_source_with_an_older_time_is_compiled_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let cargo = workspace(&directory.path().join("workspace"));
    let source = directory.path().join("workspace/library/src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    let mut built = BTreeSet::new();
    for (text, time) in [
        (text.clone(), 1_000_000_000),
        (text.replace("failed", "refused"), 900_000_000),
        (text.replace("failed", "declined"), 800_000_000),
    ] {
        fs::write(&source, text).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
        fs::File::options().write(true).open(&source).unwrap().set_modified(time).unwrap();
        built.insert(build(directory.path(), &cargo, 2).unwrap().1.sha256);
    }
    assert_eq!(built.len(), 3);
}

#[test]
fn a_workspace_that_brings_its_crates_is_built_with_them_and_watches_them() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("workspace");
    let (cargo, _) = workspace_with_crate(&root);
    let toolchain = toolchain();
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = 'vendored'\n[source.vendored]\ndirectory = 'vendor'\n\
         [target.x86_64-unknown-linux-gnu]\nlinker = '/absent'\n[build]\nbuild-dir = 'elsewhere'\n",
    );
    let manifest = "[package]\nname = 'given'\nversion = '1.0.0'\nedition = '2024'\n";
    write("vendor/given/Cargo.toml", manifest);
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap();
    let checksum = lock.split('\'').rev().nth(1).unwrap();
    let (mut keys, mut programs) = (BTreeSet::new(), BTreeSet::new());
    for (source, listed) in [
        ("pub fn place() -> &'static str {\n    \"one\"\n}\n", true),
        // As patched by hand, with new digests and with none: Cargo itself sees no change.
        ("pub fn place() -> u8 {\n    2\n}\n", true),
        ("pub fn place() -> u8 {\n    3\n}\n", false),
        ("pub fn place() -> u8 {\n    4\n}\n", false),
    ] {
        write("vendor/given/src/lib.rs", source);
        let files = format!(
            r#""Cargo.toml":"{}","src/lib.rs":"{}""#,
            Sha256::of(manifest),
            Sha256::of(source)
        );
        let files = if listed { files } else { String::new() };
        let checksums = format!(r#"{{"files":{{{files}}},"package":"{checksum}"}}"#);
        write("vendor/given/.cargo-checksum.json", &checksums);
        let component = Component::load(&cargo, Architecture::Amd64, &Seen::new()).unwrap();
        assert_eq!(*component.lock().unwrap(), Lockfile::default());
        keys.insert(component.inputs(&toolchain).unwrap().digest());
        programs.insert(build(directory.path(), &cargo, 2).unwrap().1.sha256);
    }
    assert_eq!((keys.len(), programs.len()), (4, 4));
    // A file that no list names.
    write("vendor/given/build.rs", "fn main() {}\n");
    let component = Component::load(&cargo, Architecture::Amd64, &Seen::new()).unwrap();
    assert!(keys.insert(component.inputs(&toolchain).unwrap().digest()));
    assert!(!root.join("elsewhere").exists());
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
