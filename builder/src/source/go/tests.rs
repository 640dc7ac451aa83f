//! Go components: the same bytes anywhere, what their keys know, and what stops a build.

mod fetching;
mod pinned;
pub(crate) mod testing;

use std::fs;
use std::path::Path;

use formats::digest::Sha256;
use testing::{COMPILES, MadeUp, host};

use super::*;
use crate::environment::Environment;
use crate::process::Command;
use crate::process::write_program;
use crate::recipe::model::ImagePath;
use crate::source::Caches;

const PROGRAM: &str = "component.example/hello/cmd/hello";

/// A toolchain under this digest, which no store has.
fn toolchain(name: &str, sum: &str) -> Toolchain {
    Toolchain::new(name, sum)
}

/// A component with a program of its own, so that no module has to be fetched.
fn component(directory: &Path, toolchain: &str) -> model::Go {
    let module = directory.join("hello");
    fs::create_dir_all(module.join("cmd/hello")).unwrap();
    let gomod =
        format!("module component.example/hello\ngo 1.24\ntoolchain {toolchain}\ntool {PROGRAM}\n");
    fs::write(module.join("go.mod"), gomod).unwrap();
    let source = "package main\n\nvar text = \"unset\"\n\nfunc main() {\n\tprintln(text)\n\t\
        if text == \"panic\" {\n\t\tpanic(text)\n\t}\n}\n";
    fs::write(module.join("cmd/hello/main.go"), source).unwrap();
    model::Go {
        module,
        tags: BTreeSet::new(),
        stamp: BTreeMap::from([("main.text".to_owned(), "two words".to_owned())]),
        programs: BTreeMap::from([(
            PROGRAM.to_owned(),
            ImagePath::try_from("/usr/bin/hello".to_owned()).unwrap(),
        )]),
    }
}

fn load_text(gomod: &str, programs: &[&str], stamp: &[(&str, &str)]) -> Result<Component> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("go.mod"), gomod).unwrap();
    let at = ImagePath::try_from("/usr/bin/x".to_owned()).unwrap();
    Component::load(
        &model::Go {
            module: directory.path().to_owned(),
            tags: BTreeSet::new(),
            stamp: stamp.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            programs: programs.iter().map(|name| ((*name).to_owned(), at.clone())).collect(),
        },
        Architecture::Amd64,
    )
}

const GOMOD: &str = "module m.example/m\ngo 1.26\ntoolchain go1.26.11\nrequire (\n\
    a.example/v2 v2.4.2\nb.example v1.0.0\n)\n\
    tool (\na.example/v2/cmd/one\na.example/v2/cmd/two\nb.example/one\n)\n";

#[test]
fn the_same_program_comes_out_of_any_directory_and_any_number_of_jobs() {
    let mut blobs = Vec::new();
    for (name, jobs) in [("a", 1), ("a-longer-name/below", 2)] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join(name);
        fs::create_dir_all(&root).unwrap();
        let version = host().1;
        let component = Component::load(&component(&root, &version), Architecture::Amd64).unwrap();
        let proxy = MadeUp::new(root.join("proxy"));
        proxy.toolchain(&version, COMPILES);
        let path = std::env::var_os("PATH").unwrap();
        let environment = Environment::new([
            ("PATH".into(), path),
            ("GOPROXY".into(), proxy.url().into()),
            ("GOSUMDB".into(), "off".into()),
        ]);
        let store = Store::open(root.join("store")).unwrap();
        // Each time with an empty cache, so that nothing is taken over from the first build.
        let caches = Caches::below(&root.join("caches"));
        component.fetch(&environment, &caches, &store).unwrap();
        let toolchain = component.toolchain(&store).unwrap();
        let built = component.build(&toolchain, &environment, &caches, &store, jobs).unwrap();
        let blob = built[PROGRAM];
        let path = root.join("hello-program");
        let bytes = store.read_blob(&blob).unwrap();
        assert!(!contains(&bytes, root.to_str().unwrap()), "the directory is in the program");
        write_program(&path, &bytes);
        // `println` of Go writes to stderr: let the shell bring it to where we can see it.
        let line = format!("{} 2>&1", path.display());
        let output = Command::new("sh").args(["-c", &line]).run().unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), "two words\n");
        let outputs = fs::read_dir(&caches.go_build).unwrap();
        let left = outputs.filter(|entry| {
            entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("out-")
        });
        assert_eq!(left.count(), 0);
        blobs.push(blob);
    }
    assert_eq!(blobs[0], blobs[1]);
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn the_key_knows_all_that_shapes_a_program() {
    let directory = tempfile::tempdir().unwrap();
    let go = component(directory.path(), "go1.26.11");
    let made_by = |go: &model::Go, toolchain: &Toolchain| {
        Component::load(go, Architecture::Amd64).unwrap().inputs(toolchain).unwrap().digest()
    };
    let key = |go: &model::Go| made_by(go, &toolchain("go1.26.11", "h1:one"));
    let mut keys = vec![key(&go), made_by(&go, &toolchain("go1.26.11", "h1:other"))];
    assert_eq!(key(&go), keys[0]);

    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(key(&component(elsewhere.path(), "go1.26.11")), keys[0], "the place is no input");

    let tagged = model::Go { tags: BTreeSet::from(["no_zfs".to_owned()]), ..go.clone() };
    keys.push(key(&tagged));
    let stamped = BTreeMap::from([("main.text".to_owned(), "other".to_owned())]);
    keys.push(key(&model::Go { stamp: stamped, ..go.clone() }));
    fs::write(go.module.join("cmd/hello/main.go"), "package main\nfunc main() {}\n").unwrap();
    keys.push(key(&go));
    fs::write(go.module.join("go.sum"), "a v1.0.0 h1:x\n").unwrap();
    keys.push(key(&go));
    fs::write(go.module.join("cmd/hello/.hidden"), "go:embed all: takes it").unwrap();
    keys.push(key(&go));
    keys.push(key(&component(directory.path(), "go1.26.10")));
    let different: BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
}

#[test]
fn a_program_must_be_a_tool_of_the_component() {
    let error = load_text(GOMOD, &["a.example/v2/cmd/onn"], &[]).unwrap_err();
    assert_eq!(error.id(), Id::GoModule);
    assert!(error.to_string().ends_with("go.mod` has no `tool a.example/v2/cmd/onn` line"));
    assert_eq!(error.hints(), ["did you mean `a.example/v2/cmd/one`?"]);
    let error = load_text(GOMOD, &["quite.example/other"], &[]).unwrap_err();
    assert_eq!(error.hints(), ["run `go get -tool PACKAGE@VERSION` in its directory"]);
    assert_eq!(load_text(GOMOD, &[], &[]).unwrap_err().id(), Id::GoModule);
    let error = load_text("module m\n", &["a"], &[]).unwrap_err();
    assert!(error.chain().ends_with("go.mod`: there is no `go` line"), "{}", error.chain());
}

#[test]
fn programs_of_one_stamp_and_different_names_are_built_together() {
    let programs = ["a.example/v2/cmd/one", "a.example/v2/cmd/two", "b.example/one"];
    let groups = |stamp: &[(&str, &str)]| -> Vec<(String, Vec<String>)> {
        let component = load_text(GOMOD, &programs, stamp).unwrap();
        let groups = component.groups().unwrap();
        let names = |group: &Group<'_>| group.programs.values().map(|p| (*p).to_owned()).collect();
        groups.iter().map(|group| (group.linker_flags.clone(), names(group))).collect()
    };
    let plain = "-s -w -buildid=";
    assert_eq!(
        groups(&[]),
        [
            (plain.to_owned(), programs[..2].iter().map(ToString::to_string).collect()),
            (plain.to_owned(), vec![programs[2].to_owned()]),
        ]
    );
    let stamped = groups(&[("a.V", "{version}"), ("b.T", "x y")]);
    let flags: Vec<_> = stamped.iter().map(|group| group.0.as_str()).collect();
    let want = ["v2.4.2", "v1.0.0"].map(|v| format!("{plain} -X a.V={v} -X 'b.T=x y'"));
    assert_eq!(flags, want);
}

#[test]
fn a_stamp_that_cannot_be_passed_on_is_refused() {
    let error = load_text(GOMOD, &["b.example/one"], &[("a.V", "'\"")]).unwrap_err();
    assert_eq!(error.to_string(), "the stamp `a.V` holds both kinds of quotes");
    let own = "module m\ngo 1.26\ntoolchain go1.26.11\ntool m/cmd\n";
    let error = load_text(own, &["m/cmd"], &[("a.V", "{version}")]).unwrap_err();
    assert_eq!(error.id(), Id::GoModule);
    for (word, want) in [("a=b", "a=b"), ("a=b c", "'a=b c'"), ("it's", "\"it's\"")] {
        assert_eq!(quoted(word).as_deref(), Some(want));
    }
}

#[test]
fn executables_have_the_names_that_go_gives_them() {
    for (package, name) in [
        ("a.example/cmd/containerd", "containerd"),
        ("a.example/tool/v2", "tool"),
        ("a.example/tool/v1", "v1"),
        ("a.example/tool/v02", "v02"),
        ("a.example/tool/vx", "vx"),
        ("main", "main"),
    ] {
        assert_eq!(executable_name(package), name, "{package}");
    }
}
