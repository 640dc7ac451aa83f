//! `orlop repro`: two builds under other conditions, or one beside a published build.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use expect_test::expect;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::project::{Ended, Project};
use crate::server::Answer;

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
    let ended = repro(&project, &["--profile", "debug"]);
    assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.starts_with("same: 12 files of `tiny`, byte for byte\n"),
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
        error[E0106]: 10 of 12 files of `tiny` are not the same in two builds
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
    assert!(same.stdout.starts_with("same: 12 files of `tiny`"), "{}", same.stdout);

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
    assert!(
        same.stdout.starts_with(
            "same as far as compared: 11 of 12 files of `tiny`, byte for byte\n\
             not compared: disk.raw, which `--disk` downloads\n"
        ),
        "{}",
        same.stdout
    );
    // Once, so that what is compared is what was downloaded by it.
    let asked = project.server.take_requests();
    let times = |path: &str| asked.iter().filter(|asked| *asked == path).count();
    let want = [("/p/build.json", 1), ("/p/root.img", 1), ("/p/disk.raw", 0)];
    assert_eq!(want.map(|(path, _)| (path, times(path))), want, "{asked:?}");
    let same = against(&["--disk", "--against", &address]);
    assert!(same.stdout.starts_with("same: 12 files of `tiny`"), "{}{}", same.stdout, same.stderr);

    // Somebody changes a byte of a program on the server.
    let mut root = project.read("published/root.img");
    let at = root.windows(5).position(|window| window == b"PID 1").unwrap();
    root[at] ^= 1;
    let changed = [("/p/root.img".to_owned(), root)];
    let with = |changes: &[(String, Vec<u8>)]| {
        project.server.serve(files.clone().into_iter().chain(changes.to_vec()).collect());
    };
    with(&changed);
    let ended = against(&["--against", &address]);
    assert_eq!(ended.status, Some(1), "{}{}", ended.stdout, ended.stderr);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(
        lines[..2],
        ["different: 1 of 11 files of `tiny`", "root.img: digest in its own build.json",]
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
    assert!(ended.stderr.starts_with("error[E0106]: 1 of 11 files"), "{}", ended.stderr);

    // And leaves out what would tell: digests, a file, the provenance.
    let mut report: Value = serde_json::from_slice(&files["/p/build.json"]).unwrap();
    let artifacts = report["artifacts"].as_array_mut().unwrap();
    artifacts.retain(|file| file["name"] != "uki.efi");
    for file in artifacts.iter_mut() {
        file.as_object_mut().unwrap().remove("sha256");
    }
    artifacts.push(serde_json::json!({ "kind": "key", "name": "secret", "size": 1 << 30 }));
    let report = ("/p/build.json".to_owned(), report.to_string().into_bytes());
    with(&[changed[0].clone(), report]);
    project.server.remove("/p/provenance.json");
    let ended = project.run(&["repro", "--work", "..", "--against", &address]);
    assert_eq!(ended.status, Some(1), "{}{}", ended.stdout, ended.stderr);
    for line in [
        place,
        "uki.efi: is in one of them only",
        "provenance.json: is in one of them only",
        "build.json: `artifacts[initrd].sha256`, is in one of them only",
        "not compared: disk.raw, which `--disk` downloads",
        "not compared, for no build here has it: secret",
    ] {
        assert!(ended.stdout.contains(&format!("\n{line}\n")), "no {line} in {}", ended.stdout);
    }
    let word = "will differ: it has no provenance that says by which recipe it was made\n";
    assert!(ended.stderr.contains(word), "{}", ended.stderr);
    assert_eq!(left(&project), [""; 0].map(PathBuf::from));
}

/// What a server sends instead of a build, and a build that cannot be compared.
#[test]
fn what_is_no_published_build_is_named_before_anything_is_built() {
    let project = Project::locked();
    project.good(&["fetch"]);
    let address = format!("{}/p", project.server.url());
    let with = |report: &[u8]| {
        project.server.serve([("/p/build.json".to_owned(), report.to_vec())].into());
    };
    let refused = |want: &str| {
        let ended = repro(&project, &["--progress", "none", "--against", &address]);
        let stderr = ended.stderr.replace("MIRROR/p", "ADDRESS");
        assert!(stderr.starts_with(want), "{stderr}\nis not {want}");
        assert!(!stderr.contains('\u{1b}'), "{stderr:?}");
    };
    with(b"<!DOCTYPE html><title>not found</title>");
    refused("error[E0507]: the server answered with a web page instead of `ADDRESS/build.json`\n");
    with(br#"{ "schema": 1, "image": "tiny" }"#);
    refused("error[E0811]: `build.json` of `ADDRESS` has schema 1 of an older `orlop`, and this ");
    with(br#"{ "schema": 9 }"#);
    refused("error[E0811]: `build.json` of `ADDRESS` is of a newer `orlop`: it has schema 9, ");
    with(br#"{ "schema": 3, "image": "\u001b[2J", "version": [] }"#);
    refused("error[E0811]: `build.json` of `ADDRESS` is not the report of a build: invalid type: ");
    with(b"\x1f\x8b\x08\0");
    refused("error[E0811]: `build.json` of `ADDRESS` is not the report of a build: ");

    project.good(&["build", "-o", "published"]);
    let report = String::from_utf8(project.read("published/build.json")).unwrap();
    with(report.replacen("\"tiny\"", "\"\\u001b[2J\"", 1).as_bytes());
    refused("error[E0405]: `ADDRESS` is a build of `\\u{1b}[2J` for amd64, and the recipe makes ");
    with(report.as_bytes());
    project.server.answer("/p/cmdline", Answer::Page);
    refused("error[E0507]: the server answered with a web page instead of `ADDRESS/cmdline`\n");
    with(report.as_bytes());
    project.server.answer("/p/cmdline", Answer::File(b"short".to_vec()));
    refused("error[E0801]: `ADDRESS/cmdline` offers 5 bytes instead of ");

    // A lock that is made now is not the one that was used then.
    fs::remove_file(project.path("orlop.lock")).unwrap();
    project.server.take_requests();
    refused("error[E0402]: there is no lock `orlop.lock`\n");
    // Nor does a run that is to do nothing make one.
    let ended = repro(&project, &["--dry-run"]);
    assert!(ended.stderr.contains("error[E0402]: "), "{}", ended.stderr);
    assert!(!project.path("orlop.lock").exists());
    assert_eq!(project.server.take_requests(), [""; 0]);
    assert_eq!(left(&project), [""; 0].map(PathBuf::from));
}

#[test]
fn a_signal_ends_the_build_too_and_nothing_of_it_stays() {
    let project = Project::locked();
    project.good(&["fetch"]);
    let words = ["--progress", "json", "repro", "--work", ".."];
    let mut child = project
        .command(&words)
        .spawn(|command| _ = command.stdout(Stdio::null()).stderr(Stdio::piped()))
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = |line: &String| line.contains("\"name\":\"the first build: ");
    lines.find(|line| begun(line.as_ref().unwrap())).unwrap().unwrap();
    assert_eq!(left(&project).len(), 1);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    // Nobody has stderr any more: the builds have ended.
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(!rest.iter().any(|line| line.contains("\"error\"")), "{rest:#?}");
    assert_eq!(child.wait().unwrap().signal(), Some(15));
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
