//! Go components as a user meets them: fetched once, carried, built where nothing is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use builder::process::Command;
use expect_test::expect;

use crate::made_up::{MadeUp, RESOLVES, host};
use crate::project::{Ended, Project, refusal, start};

const PROGRAM: &str = "component.example/tool";

/// Behind [`RESOLVES`]: what comes out is a program of Go, which says what it is made of.
const IS_A_PROGRAM: &str = "for package in $packages; do\n    \
    /bin/cat \"${GO%/*}/gofmt\" > \"$out${package##*/}\" || exit 1\ndone";

/// A project with a Go program, and the proxy that has its toolchain.
fn project() -> (Project, MadeUp) {
    let project = Project::new();
    let proxy = MadeUp::new(project.path("proxy"));
    proxy.toolchain("go1.99.1", &format!("{RESOLVES}\n{IS_A_PROGRAM}"));
    project.write("tool/main.go", "package main\n\nfunc main() {}\n");
    // The toolchain is newer than any, and its `go` line one that this host's Go understands.
    project.write(
        "tool/go.mod",
        format!("module {PROGRAM}\n\ngo 1.24.0\n\ntoolchain go1.99.1\n\ntool {PROGRAM}\n"),
    );
    project.change("[tree]\n", &format!(
        "[go.tool]\nmodule = \"tool\"\n[go.tool.programs]\n\"{PROGRAM}\" = \"/usr/bin/tool\"\n[tree]\n"
    ));
    fs::create_dir_all(project.path("bin")).unwrap();
    symlink(host().0, project.path("bin/go")).unwrap();
    project.good(&["lock"]);
    project.server.take_requests();
    (project, proxy)
}

/// Runs it with a proxy on disk, for which Go asks no checksum database.
fn end(project: &Project, command: Command, proxy: &str) -> Ended {
    project.end(start(command.env("GOPROXY", proxy).env("GOSUMDB", "off")))
}

#[test]
fn a_store_is_carried_to_a_machine_without_network_and_builds_the_same_image() {
    let (project, proxy) = project();
    let url = proxy.url();
    let fetched = end(&project, project.command(&["fetch"]), &url);
    assert_eq!(fetched.status, Some(0), "{}", fetched.stderr);
    let build = |output: &str, home: &Path, go: &str| {
        let command = project.command(&["build", "--offline", "-o", output]);
        let built = end(&project, command.env("HOME", home), go);
        assert_eq!(built.status, Some(0), "{}", built.stderr);
        project.read(&format!("{output}/disk.raw"))
    };
    // Nothing is kept of the first build but what came from outside.
    let blobs = |project: &Project| fs::read_dir(project.store().join("blobs")).unwrap().count();
    let before = blobs(&project);
    let copy = Command::new("/bin/cp").arg("-r").args([project.store(), project.path("carried")]);
    copy.run().unwrap();
    let first = build("first", &project.path("home"), &url);
    assert!(blobs(&project) > before);

    fs::remove_dir_all(project.path("proxy")).unwrap();
    fs::remove_dir_all(project.store()).unwrap();
    fs::rename(project.path("carried"), project.store()).unwrap();
    let second = build("second", &project.path("another-home"), "off");
    assert!(first == second, "the images differ");
}

#[test]
fn a_home_that_cannot_be_written_is_told_before_anything_is_fetched() {
    let (project, proxy) = project();
    for home in ["/dev/null", "/proc/nobody"] {
        let command = project.command(&["fetch", "--progress", "none"]).env("HOME", home);
        let ended = end(&project, command, &proxy.url());
        let want = expect![[r#"
            exit 7
            error[E0702]: cannot write to the cache `HOME/.cache/orlop/go`: Not a directory (os error 20)
              hint: `XDG_CACHE_HOME` names another directory for caches
        "#]];
        let stderr = ended.stderr.replace(home, "HOME");
        let stderr = stderr
            .replace("No such file or directory (os error 2)", "Not a directory (os error 20)");
        refusal(&Ended { stderr, ..ended }, want);
        assert_eq!(project.server.take_requests(), [""; 0]);
    }
    let command = project.command(&["fetch"]).env("HOME", "/dev/null");
    let command = command.env("XDG_CACHE_HOME", project.path("caches"));
    let ended = end(&project, command, &proxy.url());
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
}
