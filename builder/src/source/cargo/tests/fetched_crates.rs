//! Crates: out of the store, of a registry by another name, and brought by the workspace.

use super::*;

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
            let blob = built.programs["program"].0;
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
    let missing = crates::missing(component.lock(), &store);
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
    let lock = Component::load(&cargo, Architecture::Amd64, &Seen::new()).unwrap().lock().clone();
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
        Component::load(&cargo, Architecture::Amd64, &Seen::new()).unwrap().lock().clone();
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
        assert_eq!(*component.lock(), Lockfile::default());
        keys.insert(component.inputs(&toolchain).unwrap().digest());
        let (_, built) = built(directory.path(), &cargo, 2).unwrap();
        programs.insert(built.programs["program"].0.sha256);
        let given = built.crates.iter().find(|one| one.name == "given").unwrap();
        // Nobody has seen the archive that the lock has the checksum of.
        assert_eq!((given.registry.as_deref(), given.sha256), (Some(CRATES_IO), None));
        assert_eq!(given.state.is_whole(), listed);
    }
    assert_eq!((keys.len(), programs.len()), (4, 4));
    // A file that no list names.
    write("vendor/given/build.rs", "fn main() {}\n");
    let component = Component::load(&cargo, Architecture::Amd64, &Seen::new()).unwrap();
    assert!(keys.insert(component.inputs(&toolchain).unwrap().digest()));
    assert!(!root.join("elsewhere").exists());
}
