//! `orlop repro`: two builds under other conditions, or one beside a published build.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use expect_test::expect;
use serde_json::Value;

use crate::project::{Ended, Project};

/// Where builds are made: below the project, so that nothing stays elsewhere.
const WORK: &[&str] = &["--work", ".."];

fn repro(project: &Project, words: &[&str]) -> Ended {
    project.run(&[&["repro"], WORK, words].concat())
}

/// What a run left in its directory to build in.
fn left(project: &Project) -> Vec<PathBuf> {
    let entries = fs::read_dir(project.home()).unwrap().map(|entry| entry.unwrap().path());
    let ours = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(".orlop-");
    entries.filter(ours).collect()
}

/// A file whose content is another one each time that it is read.
fn with_a_random_file() -> Project {
    let project = Project::new();
    project.change(
        "[local.init]",
        "[local.random]\npath = \"/proc/sys/kernel/random/uuid\"\nat = \"/etc/id\"\n\n[local.init]",
    );
    project.good(&["lock"]);
    project
}

#[test]
fn a_build_is_the_same_under_other_conditions_and_nothing_of_it_stays() {
    let project = Project::locked();
    // A budget that none of the builds could be held against shapes no byte.
    project
        .change("[disk]\n", "[budget]\nbase-version = \"none\"\nmax-growth = \"1%\"\n\n[disk]\n");
    project.good(&["fetch"]);
    let ended = repro(&project, &[]);
    assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.starts_with("same: 14 files of `tiny`, byte for byte\n"),
        "{}",
        ended.stdout
    );
    for condition in ["umask", "locale", "time zone", "sources", "environment", "jobs"] {
        let line = format!("\n  other {condition}: ");
        assert!(ended.stdout.contains(&line), "no {condition} in\n{}", ended.stdout);
    }
    // What is done and what it takes is said before, and each build when it has ended.
    let said = &ended.stderr;
    let plan =
        said.find("builds `tiny` 2 times and compares; each build begins with an empty store");
    assert!(plan < said.find("the first build: image"), "{said}");
    assert!(said.contains("\nthe second build took "), "{said}");
    assert_eq!(left(&project), [""; 0].map(PathBuf::from));
    assert!(!project.path("orlop-out").exists());
}

#[test]
fn what_is_another_one_in_each_build_is_named_with_who_made_it() {
    let project = with_a_random_file();
    let ended = repro(&project, &["--json", "--keep", "kept"]);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    let verdict: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&verdict["same"], &verdict["remembered"]), (&false.into(), &Value::Array(vec![])));
    let differences = verdict["differences"].as_array().unwrap();
    let causes: Vec<_> = differences.iter().filter(|one| one["follows"].is_null()).collect();
    assert_eq!(causes.len(), 1, "{verdict:#}");
    let place = serde_json::json!([
        { "kind": "path", "name": "/etc/id" },
        { "kind": "content" },
        { "kind": "line", "number": 1 },
    ]);
    assert_eq!((&causes[0]["file"], &causes[0]["place"]), (&"root.img".into(), &place));
    for (field, want) in [("component", "local/random"), ("step", "tree"), ("looks", "uuid")] {
        assert_eq!(causes[0][field], want, "{:#}", causes[0]);
    }
    let [one, two] = ["one", "two"]
        .map(|side| fs::read(project.path(&format!("kept/{side}/images/root.img"))).unwrap());
    let value = |bytes: &[u8], side: &str| {
        let text = causes[0][side].as_str().unwrap().as_bytes();
        bytes.windows(text.len()).any(|window| window == text)
    };
    assert!(value(&one, "one") && value(&two, "two") && !value(&one, "two"));
    // The step `image` has other inputs: it is not to blame.
    let report = differences.iter().find(|one| one["file"] == "cmdline").unwrap();
    assert_eq!(report["follows"], "root.img");
    let inputs = report["inputs"].as_array().unwrap();
    assert!(inputs.iter().any(|line| line.as_str().unwrap().starts_with("- tree ")), "{report:#}");

    let ended = repro(&project, &["--progress", "none"]);
    assert_eq!(ended.status, Some(1));
    expect![[r#"
        error[E0106]: 12 of 14 files of `tiny` are not the same in two builds
          hint: `orlop explain E0106` says more
    "#]]
    .assert_eq(&ended.stderr);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines[1..3], ["root.img: /etc/id, content, line 1", "    looks like a random UUID"]);
    assert!(
        lines[7].starts_with("these differ because of that: cmdline, uki.efi, "),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_published_build_is_compared_with_one_from_its_lock() {
    let project = Project::locked();
    project.good(&["build", "-o", "published"]);
    let against = |words: &[&str]| repro(&project, &[&["--progress", "none"], words].concat());
    let same = against(&["--against", "published"]);
    assert_eq!(same.status, Some(0), "{}{}", same.stdout, same.stderr);
    assert!(same.stdout.starts_with("same: 14 files of `tiny`"), "{}", same.stdout);

    // On a server: what has no digest is not asked for unless that is wished.
    let names = fs::read_dir(project.path("published")).unwrap();
    let files: BTreeMap<_, _> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| (format!("/p/{name}"), project.read(&format!("published/{name}"))))
        .collect();
    project.server.serve(files.clone());
    project.server.take_requests();
    let address = format!("{}/p/", project.server.url());
    let same = against(&["--against", &address]);
    assert_eq!(same.status, Some(0), "{}{}", same.stdout, same.stderr);
    assert!(same.stdout.starts_with("same: 13 files of `tiny`"), "{}", same.stdout);
    assert!(same.stdout.contains("\nnot compared, for the report has no digest of it: disk.raw\n"));
    let asked = project.server.take_requests();
    assert!(asked.contains(&"/p/root.img".to_owned()), "{asked:?}");
    assert!(!asked.contains(&"/p/disk.raw".to_owned()), "{asked:?}");
    let same = against(&["--disk", "--against", &address]);
    assert!(same.stdout.starts_with("same: 14 files of `tiny`"), "{}{}", same.stdout, same.stderr);

    // Somebody changes a byte of a program on the server.
    let mut root = project.read("published/root.img");
    let at = root.windows(5).position(|window| window == b"PID 1").unwrap();
    root[at] ^= 1;
    let changed = [("/p/root.img".to_owned(), root)];
    project.server.serve(files.into_iter().chain(changed).collect());
    let ended = against(&["--against", &address]);
    assert_eq!(ended.status, Some(1), "{}{}", ended.stdout, ended.stderr);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(
        lines[..2],
        ["different: 1 of 13 files of `tiny`", "root.img: digest in its own build.json",]
    );
    let place = "root.img: /usr/lib/orlop/init, content, line 1";
    let at = lines.iter().position(|line| *line == place).expect(&ended.stdout);
    assert_eq!(
        lines[at + 1..at + 5],
        [
            "    published  QID 1",
            "    here       PID 1",
            "    component  local/init",
            "    step       tree",
        ]
    );
    assert!(ended.stderr.starts_with("error[E0106]: 1 of 13 files"), "{}", ended.stderr);
    assert_eq!(left(&project), [""; 0].map(PathBuf::from));
}

#[test]
fn a_build_of_another_lock_is_not_built_in_vain() {
    let project = Project::locked();
    project.good(&["build", "-o", "published"]);
    project.change(", \"runc\"]", "]");
    project.change("\"/usr/sbin/runc\" = \"runc\"\n", "");
    project.good(&["lock"]);
    let words = [&["repro", "--against", "published"], WORK].concat();
    project.refused(&words, expect![[r#"
        exit 4
        error[E0405]: `published` was made by another lock than `orlop.lock`: the sha256 of that is SHA256 there and SHA256 here
          libtiny 2.41-12 there, not here
          runc 1.1-1 there, not here
          hint: ask who published it for `orlop.lock`: a build holds the digest alone
    "#]]);
    project.change("name = \"tiny\"", "name = \"other\"");
    project.refused(&words, expect![[r#"
        exit 4
        error[E0405]: `published` is a build of `tiny` for amd64, and the recipe makes `other` for amd64
          hint: `orlop explain E0405` says more
    "#]]);
    let nothing = [&["repro", "--against", "overlay"], WORK].concat();
    project.refused(&nothing, expect![[r#"
        exit 8
        error[E0810]: `overlay` is not an image that orlop made: it is a directory without `build.json`
          hint: `orlop build` prints the directory of the image as the last line of its output
    "#]]);
}

#[test]
fn a_build_that_fails_says_which_and_fails_as_it_did() {
    let project = Project::locked();
    project.good(&["fetch"]);
    project.change("\"/usr/sbin/runc\" = \"runc\"\n", "");
    let ended = repro(&project, &["--progress", "none"]);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    let start = "error[E0101]: the first build failed: ";
    assert!(ended.stderr.starts_with(start), "{}", ended.stderr);
    assert_eq!(left(&project), [""; 0].map(PathBuf::from));
}
