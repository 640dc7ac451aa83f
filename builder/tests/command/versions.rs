//! Builds become versions, and what can be done with those.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use builder::process::Command;
use expect_test::expect;
use serde_json::Value;

use crate::kills::{Numbers, kill_after};
use crate::project::{Project, start};

const REF: &str = "orlop/x86_64/tiny/dev";

/// Lines of stdout, in which digests are as they are.
fn raw(project: &Project, words: &[&str]) -> String {
    let child = start(project.command(words));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{words:?} {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(project: &Project, words: &[&str]) -> Value {
    serde_json::from_str(&raw(project, &[words, &["--json"]].concat())).unwrap()
}

/// The stock program, on this repository.
fn ostree(repository: &Path, words: &[&str]) -> String {
    let command = Command::new("ostree").env("LC_ALL", "C.UTF-8");
    let command = command.args(words).arg(format!("--repo={}", repository.display()));
    let said = command.run();
    let said = said.unwrap_or_else(|e| panic!("{}; the package `ostree` is needed", e.chain()));
    String::from_utf8(said).unwrap()
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn every_build_that_changes_something_is_a_version_beside_the_images() {
    let project = Project::locked();
    let built = json(&project, &["build"]);
    let version = &built["version"];
    assert_eq!((&version["ref"], &version["new"]), (&REF.into(), &true.into()));
    let first = version["commit"].as_str().unwrap().to_owned();
    let again = json(&project, &["build"])["version"].take();
    assert_eq!((&again["commit"], &again["objects"]), (&first.as_str().into(), &0.into()));

    project.write("overlay/etc/motd", "another\n");
    let told = project.good(&["build", "--progress", "plain"]);
    assert!(
        told.stderr.contains("commit                   orlop/x86_64/tiny/dev is "),
        "{}",
        told.stderr
    );
    let log = json(&project, &["log"]);
    let versions = log["refs"][0]["versions"].as_array().unwrap();
    assert_eq!((versions.len(), &versions[1]["commit"]), (2, &first.as_str().into()));
    let report: Value = serde_json::from_slice(&project.read("orlop-out/tiny/build.json")).unwrap();
    assert_eq!(versions[0]["root-hash"], report["root"]["hash"]);
    let lock = formats::digest::Sha256::of(project.read("orlop.lock")).to_string();
    assert_eq!(
        (&versions[0]["lock"], &report["lock"]),
        (&lock.as_str().into(), &lock.as_str().into())
    );
    ostree(&project.path("orlop-out/repo"), &["fsck", "--quiet"]);

    // The log for people.
    expect![[r#"
        orlop/x86_64/tiny/dev

        commit SHA256
            subject   tiny 1.0, kernel 6.0
            version   1.0
            kernel    6.0
            root hash SHA256
            lock      SHA256
            root      264.0 KiB
            UKI       8.5 KiB
    "#]]
    .assert_eq(&project.good(&["log", "-n", "1"]).stdout);
}

#[test]
fn a_build_can_be_committed_later_and_is_the_same_version() {
    let project = Project::locked();
    let version = json(&project, &["build", "--no-commit"])["version"].take();
    assert_eq!(version, Value::Null);
    assert!(!project.path("orlop-out/repo").exists());
    let later = raw(&project, &["commit", "orlop-out/tiny"]);
    project.good(&["build", "--repo", "other/repo", "-o", "out"]);
    let at_once = json(&project, &["log", REF, "--repo", "other/repo"]);
    assert_eq!(at_once["refs"][0]["versions"][0]["commit"], later.trim());
    // Another channel begins with the same version.
    let stable = raw(&project, &["commit", "orlop-out/tiny", "--channel", "stable"]);
    assert_eq!(stable, later);
    let refs = ostree(&project.path("orlop-out/repo"), &["refs"]);
    assert_eq!(refs.lines().count(), 2, "{refs}");
    project.refused(
        &["commit", "overlay"],
        expect![[r#"
        exit 8
        error[E0810]: `overlay` is not an image that orlop made: it is a directory without `build.json`
          hint: `orlop build` prints the directory of the image as the last line of its output
    "#]],
    );
    project.refused(
        &["commit", "orlop-out/tiny/disk.raw"],
        expect![[r#"
        exit 8
        error[E0810]: `orlop-out/tiny/disk.raw` is not an image that orlop made: it is a file, and the directory of a build is wanted
          hint: `orlop build` prints the directory of the image as the last line of its output
    "#]],
    );
    project.write("orlop-out/tiny/manifest.txt", "d 0755 0 0 /\n");
    project.refused(
        &["commit", "orlop-out/tiny"],
        expect![[r#"
        exit 8
        error[E0811]: `orlop-out/tiny/manifest.txt` is not what `build.json` says of it
          hint: `orlop explain E0811` says more
    "#]],
    );
}

#[test]
fn a_version_is_served_to_the_stock_program_checked_out_and_pruned() {
    let project = Project::locked();
    project.good(&["build"]);
    project.write("overlay/etc/motd", "another\n");
    let second = json(&project, &["build"])["version"]["commit"].take();
    let repository = project.path("orlop-out/repo");
    let mut all = Vec::new();
    files(&repository, &mut all);
    let served = all.into_iter().map(|path| {
        let name = path.strip_prefix(&repository).unwrap().display().to_string();
        (format!("/repo/{name}"), fs::read(path).unwrap())
    });
    project.server.serve(served.collect());
    let client = project.path("client");
    ostree(&client, &["init", "--mode=bare-user"]);
    let url = format!("{}/repo", project.server.url());
    ostree(&client, &["remote", "add", "--no-gpg-verify", "origin", &url]);
    ostree(&client, &["pull", "origin", REF]);
    let pulled = ostree(&client, &["rev-parse", &format!("origin:{REF}")]);
    assert_eq!(pulled.trim(), second.as_str().unwrap());
    ostree(&client, &["fsck", "--quiet"]);

    project.good(&["checkout", REF, "tree"]);
    assert_eq!(project.read("tree/etc/motd"), b"another\n");
    // A repository that was pulled, of another mode.
    let short = &second.as_str().unwrap()[..9];
    project.good(&["checkout", short, "pulled", "--repo", "client"]);
    assert_eq!(project.read("pulled/etc/motd"), b"another\n");

    let dry = json(&project, &["prune", "--keep", "1", "--dry-run"]);
    let pruned = json(&project, &["prune", "--keep", "1"]);
    assert_eq!((&pruned["commits"], &pruned["objects"]), (&1.into(), &dry["objects"]));
    let log = json(&project, &["log"]);
    assert_eq!(log["refs"][0]["versions"].as_array().unwrap().len(), 1);
    ostree(&repository, &["fsck", "--quiet"]);
}

#[test]
fn what_is_wrong_with_a_repository_or_a_version_is_named() {
    let project = Project::locked();
    project.good(&["build"]);
    project.write("notes/x", "x");
    project.refused(
        &["log", "--repo", "notes"],
        expect![[r#"
        exit 8
        error[E0812]: `notes` is not a repository of ostree: No such file or directory (os error 2)
          hint: `orlop build` and `orlop commit` make one; `--repo DIR` names it
    "#]],
    );
    project.refused(
        &["build", "--repo", "notes"],
        expect![[r#"
        exit 8
        error[E0812]: `notes` is not a repository of ostree: No such file or directory (os error 2)
          hint: `orlop build` and `orlop commit` make one; `--repo DIR` names it
          hint: `--no-commit` builds without a version
    "#]],
    );
    project.refused(
        &["checkout", "orlop/x86_64/tiny/stable", "tree"],
        expect![[r#"
        exit 2
        error[E0220]: the repository `orlop-out/repo` has no ref or commit `orlop/x86_64/tiny/stable`
          hint: there are `orlop/x86_64/tiny/dev`
    "#]],
    );
    project.refused(
        &["build", "--repo", "orlop-out/tiny/repo"],
        expect![[r#"
        exit 2
        error[E0212]: the images would be in `orlop-out/tiny` and their versions in `orlop-out/tiny/repo`, one in the other
          hint: name directories beside each other with `--output` and `--repo`
    "#]],
    );
    project.refused(
        &["build", "--repo", "overlay/repo"],
        expect![[r#"
        exit 3
        error[E0324]: `local.overlay` takes `DIR/project/overlay`, which holds the repository `overlay/repo`: what a build writes would be in the next one
          hint: move the files of the component into a directory of their own, or name another place with `--output`, `--store` or `--repo`
    "#]],
    );
    for words in [
        &["build", "--channel", "No"][..],
        &["build", "--channel", "a/b"],
        &["build", "--no-commit", "--repo", "x"],
        &["prune", "--keep", "0"],
        &["prune"],
    ] {
        let ended = project.run(words);
        assert_eq!(ended.status, Some(2), "{words:?} {}", ended.stderr);
    }
    let mut objects = Vec::new();
    files(&project.path("orlop-out/repo/objects"), &mut objects);
    let file = objects.iter().find(|path| path.extension().is_some_and(|e| e == "filez"));
    fs::write(file.unwrap(), "x").unwrap();
    let ended = project.run(&["checkout", REF, "tree", "--progress", "none"]);
    assert_eq!(ended.status, Some(8));
    assert!(ended.stderr.starts_with("error[E0813]: the object SHA256.file is damaged, in `"));
    assert!(!project.path("tree").exists());
    assert_eq!(project.run(&["checkout", REF, "overlay"]).status, Some(2));
}

#[test]
fn two_builds_at_once_into_one_repository_are_both_in_it() {
    let project = Project::locked();
    project.good(&["build", "--no-commit", "-o", "one"]);
    let builds = [("one", "a"), ("two", "b")].map(|(output, channel)| {
        let words = ["build", "-o", output, "--repo", "shared", "--channel", channel];
        start(project.command(&words))
    });
    for build in builds {
        let ended = project.end(build);
        assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    }
    let log = json(&project, &["log", "--repo", "shared"]);
    let names: Vec<_> = log["refs"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, ["orlop/x86_64/tiny/a", "orlop/x86_64/tiny/b"]);
    ostree(&project.path("shared"), &["fsck", "--quiet"]);
}

/// As by the kernel when memory is short.
#[test]
fn a_commit_that_is_killed_at_any_moment_leaves_whole_versions_and_the_next_one_is_right() {
    let project = Project::locked();
    for number in 0..400 {
        project.write(&format!("overlay/usr/share/many/{number}"), format!("{number}"));
    }
    project.good(&["build"]);
    let repository = project.path("orlop-out/repo");
    let first = ostree(&repository, &["rev-parse", REF]);
    for number in 0..400 {
        project.write(&format!("overlay/usr/share/many/{number}"), format!("new {number}"));
    }
    project.good(&["build", "--no-commit"]);
    let words = ["commit", "orlop-out/tiny"];
    let began = Instant::now();
    let want = raw(&project, &words);
    let most = u64::try_from(began.elapsed().as_micros()).unwrap();
    let mut numbers = Numbers(1);
    let mut killed = 0;
    for _ in 0..100 {
        ostree(&repository, &["reset", REF, first.trim()]);
        project.good(&["prune", "--keep", "1"]);
        let time = Duration::from_micros(numbers.below(most + 1));
        killed += u32::from(kill_after(&project, &words, time));
        ostree(&repository, &["fsck", "--quiet"]);
        let head = ostree(&repository, &["rev-parse", REF]);
        assert!(head == first || head == want, "after {time:?}");
        assert_eq!(raw(&project, &words), want, "after {time:?}");
        ostree(&repository, &["fsck", "--quiet"]);
        if killed == 12 {
            return;
        }
    }
    panic!("only {killed} of 100 were killed");
}
