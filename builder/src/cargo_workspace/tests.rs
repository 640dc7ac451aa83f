//! The reader against Cargo's own: `cargo metadata` over made-up workspaces, and what is said of
//! those that cannot be.

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use super::*;
use crate::process::Command;

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// What a reader finds: each member's directory and programs.
type Members = BTreeMap<String, (PathBuf, BTreeSet<String>)>;

fn ours(root: &Path) -> Result<Members> {
    let workspace = Workspace::read(root)?;
    let members = workspace.members.iter().map(|(name, (directory, manifest))| {
        (name.clone(), (directory.clone(), manifest.programs(directory)))
    });
    Ok(members.collect())
}

fn metadata(root: &Path, more: &[&str]) -> Result<Value> {
    let home = tempfile::tempdir().unwrap();
    let command = Command::new("cargo").directory(Path::new("/")).env("CARGO_HOME", home.path());
    let command = command.args(["metadata", "--format-version=1", "--offline", "--quiet"]);
    let output = command.args(more).arg("--manifest-path").arg(root.join("Cargo.toml")).run()?;
    Ok(serde_json::from_slice(&output).unwrap())
}

fn directory_of(package: &Value) -> PathBuf {
    Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

fn cargos(root: &Path) -> Result<Members> {
    let metadata = metadata(root, &["--no-deps"])?;
    // Cargo looks above a package for the root of its workspace; we refuse to.
    assert_eq!(metadata["workspace_root"], root.to_str().unwrap());
    let members = metadata["packages"].as_array().unwrap().iter().map(|package| {
        let targets = package["targets"].as_array().unwrap().iter();
        let programs = targets.filter(|target| target["kind"][0] == "bin");
        let programs = programs.map(|target| target["name"].as_str().unwrap().to_owned()).collect();
        (package["name"].as_str().unwrap().to_owned(), (directory_of(package), programs))
    });
    Ok(members.collect())
}

/// The directories of `package` and of all path packages that Cargo's resolver leads it to, but
/// for tests.
fn resolved(root: &Path, package: &str) -> Result<BTreeSet<PathBuf>> {
    let metadata = metadata(root, &["--all-features"])?;
    let packages: BTreeMap<_, _> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package))
        .collect();
    let nodes: BTreeMap<_, _> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), node))
        .collect();
    let (first, _) = packages.iter().find(|(_, found)| found["name"] == package).unwrap();
    let mut waiting = vec![*first];
    let mut found = BTreeMap::new();
    while let Some(id) = waiting.pop() {
        if found.insert(id, directory_of(packages[id])).is_some() {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                waiting.push(dependency["pkg"].as_str().unwrap());
            }
        }
    }
    Ok(found.into_values().map(|path| path.strip_prefix(root).unwrap().to_owned()).collect())
}

/// Where packages of a made-up workspace may lie; the last is the root itself.
const PLACES: [&str; 9] = [
    "app",
    "crates/tool",
    "crates/net/tool",
    "crates/.hidden/x",
    "crates/old",
    "libs/a",
    "libs/a/inner",
    "tools/to-b",
    "",
];

const MEMBERS: [&str; 16] = [
    "app",
    "./app",
    "app/",
    "libs/../app",
    "crates/*",
    "crates/*/*",
    "crates/to*",
    "crates/**",
    "crates/**/*",
    "crates/t??l",
    "[cl]*/tool",
    "libs/[!b]",
    "**/tool",
    "*",
    "crates/none*",
    "tools/to-{a,b}",
];

const EXCLUDES: [&str; 6] = ["crates/old", "crates", "libs/a", "app", "./tools", "crates/ne"];

#[derive(Debug, Clone)]
struct Made {
    packages: BTreeMap<&'static str, MadePackage>,
    members: Vec<&'static str>,
    exclude: Vec<&'static str>,
    has_members: bool,
}

#[derive(Debug, Clone)]
struct MadePackage {
    /// The place of another package, and how it is depended on.
    dependencies: BTreeMap<&'static str, usize>,
    edition: &'static str,
    programs: usize,
}

fn made() -> impl Strategy<Value = Made> {
    let package = (
        prop::collection::btree_map(prop::sample::select(&PLACES[..8]), 0..8_usize, 0..3),
        prop::sample::select(vec!["", "2015", "2021", "2024"]),
        0..6_usize,
    );
    let package = package.prop_map(|(dependencies, edition, programs)| MadePackage {
        dependencies,
        edition,
        programs,
    });
    (
        prop::collection::btree_map(prop::sample::select(&PLACES[..]), package, 2..8),
        prop::collection::vec(prop::sample::select(&MEMBERS[..]), 0..4),
        prop::collection::vec(prop::sample::select(&EXCLUDES[..]), 0..2),
        any::<bool>(),
    )
        .prop_map(|(packages, members, exclude, has_members)| Made {
            packages,
            members,
            exclude,
            has_members,
        })
}

fn name_of(place: &str) -> String {
    if place.is_empty() { "root".to_owned() } else { place.replace(['/', '.'], "-") }
}

impl Made {
    fn write(&self, root: &Path) {
        let mut top = String::from("[workspace]\nresolver = '3'\n");
        if self.has_members || !self.members.is_empty() {
            top += &format!("members = {:?}\n", self.members);
        }
        top += &format!("exclude = {:?}\n[workspace.dependencies]\n", self.exclude);
        for place in self.packages.keys().filter(|place| !place.is_empty()) {
            top += &format!("{} = {{ path = '{place}' }}\n", name_of(place));
        }
        for (place, package) in &self.packages {
            let mut text = package.write(&root.join(place), place, &self.packages);
            if place.is_empty() {
                top.push_str(&text);
                text.clone_from(&top);
            }
            fs::write(root.join(place).join("Cargo.toml"), text).unwrap();
        }
        if !self.packages.contains_key("") {
            fs::write(root.join("Cargo.toml"), top).unwrap();
        }
    }
}

impl MadePackage {
    fn write(
        &self,
        directory: &Path,
        place: &str,
        all: &BTreeMap<&'static str, MadePackage>,
    ) -> String {
        let mut text = format!("[package]\nname = '{}'\nversion = '0.1.0'\n", name_of(place));
        if !self.edition.is_empty() {
            text += &format!("edition = '{}'\n", self.edition);
        }
        write(directory, &[("src/lib.rs", "")]);
        match self.programs {
            0 => {}
            1 => write(directory, &[("src/main.rs", "")]),
            2 => {
                write(directory, &[("src/main.rs", ""), ("src/bin/one.rs", "")]);
                write(directory, &[("src/bin/two/main.rs", ""), ("src/bin/no/other.rs", "")]);
            }
            3 => {
                write(directory, &[("src/main.rs", ""), ("src/bin/one.rs", "")]);
                text += "[[bin]]\nname = 'listed'\npath = 'src/main.rs'\n";
            }
            4 => {
                write(directory, &[("src/main.rs", ""), ("src/bin/one.rs", "")]);
                text += "autobins = false\n[[bin]]\nname = 'one'\n";
            }
            _ => {
                write(directory, &[("src/bin/one.rs", ""), ("src/bin/one-b.rs", "")]);
                text += "autobins = true\n[[bin]]\nname = 'one'\n";
            }
        }
        for (other, how) in &self.dependencies {
            // No circles: only on what comes later.
            if *other <= place && !place.is_empty() || !all.contains_key(other) {
                continue;
            }
            let name = name_of(other);
            let up = "../".repeat(Path::new(place).components().count());
            let path = format!("path = '{up}{other}'");
            text += &match how {
                0 => format!("[dependencies.{name}]\n{path}\n"),
                1 => format!("[dependencies]\n{name}.workspace = true\n"),
                2 => format!("[build-dependencies.{name}]\n{path}\n"),
                3 => format!("[dev-dependencies.{name}]\n{path}\n"),
                4 => format!("[target.'cfg(unix)'.dependencies.{name}]\n{path}\n"),
                5 => format!("[target.'cfg(windows)'.dependencies.{name}]\nworkspace = true\n"),
                6 => format!("[dependencies.{name}]\n{path}\noptional = true\n"),
                _ => format!("[dependencies.renamed]\npackage = '{name}'\n{path}\n"),
            }
            .replace("[dependencies]\n", &format!("[dependencies.{name}]\n"))
            .replace(&format!("{name}.workspace"), "workspace");
        }
        text
    }
}

/// A fixed seed: the same workspaces each time, among them all that are good and many that are
/// not.
#[test]
fn made_up_workspaces_are_read_as_cargo_reads_them() {
    let config = Config { cases: 128, failure_persistence: None, ..Config::default() };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, random);
    let (mut good, mut packages) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let outcome = runner.run(&made(), |made| {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        made.write(&root);
        match (ours(&root), cargos(&root)) {
            (Err(_), Err(_)) => {}
            (Ok(ours), Ok(cargos)) => {
                prop_assert_eq!(&ours, &cargos);
                good.set(good.get() + 1);
                let workspace = Workspace::read(&root).unwrap();
                for name in ours.keys() {
                    let cargos = resolved(&root, name).unwrap();
                    let ours = workspace.package(name).unwrap().directories;
                    prop_assert_eq!(ours.into_keys().collect::<BTreeSet<_>>(), cargos);
                    packages.set(packages.get() + 1);
                }
            }
            (Ok(ours), Err(error)) => prop_assert!(false, "{ours:?}\nCargo: {}", error.chain()),
            (Err(error), Ok(cargos)) => prop_assert!(false, "{}\n{cargos:?}", error.chain()),
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let counts = (*good.get_mut(), *packages.get_mut());
    assert!(counts.0 > 40 && counts.1 > 40, "too few of them can be: {counts:?}");
}

#[test]
fn what_a_package_is_built_from_is_found_however_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        &[
            (
                "Cargo.toml",
                "[workspace]\nmembers = ['init']\nexclude = ['nested']\n\
                 [workspace.dependencies]\nformats = { path = 'libs/formats' }\n\
                 [patch.crates-io]\nserde = { path = 'vendor/serde' }\n",
            ),
            (".cargo/config.toml", "[patch.crates-io]\nlibc = { path = 'vendor/libc' }\n"),
            (
                "init/Cargo.toml",
                "[package]\nname = 'init'\n[dependencies]\nformats.workspace = true\nserde = '1'\n\
                 [dependencies.inner]\npath = '../nested/inner'\n\
                 [target.'cfg(unix)'.build_dependencies]\ngen = { path = '../libs/gen' }\n\
                 [dev-dependencies]\ntesting = { path = '../libs/testing' }\n",
            ),
            ("libs/formats/Cargo.toml", "[package]\nname = 'formats'\n"),
            ("libs/gen/Cargo.toml", "[package]\nname = 'gen'\n"),
            ("libs/testing/Cargo.toml", "[package]\nname = 'testing'\n"),
            ("vendor/serde/Cargo.toml", "[package]\nname = 'serde'\n"),
            ("vendor/libc/Cargo.toml", "[package]\nname = 'libc'\n"),
            (
                "nested/Cargo.toml",
                "[workspace]\n[workspace.dependencies]\ndeep = { path = 'deep' }\n",
            ),
            (
                "nested/inner/Cargo.toml",
                "[package]\nname = 'inner'\n[dependencies]\ndeep.workspace = true\n",
            ),
            ("nested/deep/Cargo.toml", "[package]\nname = 'deep'\n"),
        ],
    );
    let workspace = Workspace::read(directory.path()).unwrap();
    let package = workspace.package("init").unwrap();
    let directories: Vec<_> =
        package.directories.keys().map(|path| path.to_str().unwrap()).collect();
    let (patches, own) = (["vendor/libc", "vendor/serde"], ["init", "libs/formats", "libs/gen"]);
    let nested = ["nested/deep", "nested/inner"];
    assert_eq!(directories, [&own[..], &nested[..], &patches[..]].concat());
    // What the nested workspace's root says is a cause, and so is what tests want.
    for manifest in ["nested/Cargo.toml", "libs/testing/Cargo.toml"] {
        assert!(package.manifests.contains(Path::new(manifest)), "{:?}", package.manifests);
    }
}

#[test]
fn what_cannot_be_built_from_the_workspace_alone_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        &[
            ("w/Cargo.toml", "[workspace]\nmembers = ['a', 'b', 'c']\nexclude = ['x']\n"),
            ("w/a/Cargo.toml", "[package]\nname = 'a'\n[dependencies]\no.path = '../../o'\n"),
            ("w/b/Cargo.toml", "[package]\nname = 'b'\n[dependencies]\nx.path = '../x'\n"),
            ("w/c/Cargo.toml", "[package]\nname = 'c'\n"),
            ("w/x/Cargo.toml", "[package]\nname = 'x'\nversion.workspace = true\n"),
            ("o/Cargo.toml", "[package]\nname = 'o'\n"),
            ("o/.keep", ""),
            ("broken/Cargo.toml", "[package"),
            ("absent/Cargo.toml", "[workspace]\nmembers = ['nowhere']\n"),
            ("two/Cargo.toml", "[workspace]\nmembers = ['a', 'b']\n"),
            ("two/a/Cargo.toml", "[package]\nname = 'same'\n"),
            ("two/b/Cargo.toml", "[package]\nname = 'same'\n"),
        ],
    );
    let read = |path: &str| Workspace::read(&directory.path().join(path));
    let workspace = read("w").unwrap();
    let refused = |package: &str| workspace.package(package).unwrap_err();
    assert!(refused("a").to_string().contains("is outside the workspace"), "{}", refused("a"));
    assert!(refused("b").to_string().contains("inherits from a workspace outside"));
    assert_eq!(refused("d").hints(), ["it has `a`, `b`, `c`"]);
    assert_eq!(workspace.package("c").unwrap().directories.len(), 1);
    // Cargo would take profile and lock from the workspace around it.
    let member = read("w/c").unwrap_err();
    assert!(member.to_string().contains("belongs to the workspace"), "{member}");
    read("w/x").unwrap();
    read("o").unwrap();
    assert_eq!(read("broken").unwrap_err().id(), Id::CargoPackage);
    assert_eq!(read("absent").unwrap_err().id(), Id::Read);
    assert!(read("two").unwrap_err().to_string().contains("are called `same`"));
}

#[test]
fn this_workspace_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let workspace = Workspace::read(root).unwrap();
    let package = workspace.package("init").unwrap();
    assert_eq!(package.directories.into_values().collect::<Vec<_>>(), ["cri", "formats", "init"]);
    assert!(package.programs.contains("init") && workspace.has_profile("node"));
    assert_eq!(
        workspace.package("builder").unwrap().programs,
        BTreeSet::from(["orlop".to_owned()])
    );
}
