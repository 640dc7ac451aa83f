//! `orlop cluster` and `orlop run --cluster`, with a Go whose programs are shell scripts: what is
//! refused, and what is left when nothing comes of it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use expect_test::expect;
use rustix::process::{Pid, Signal, kill_process};

use crate::project::{Project, repository};

/// Stays until it is killed.
const STAYS: &str = "exec /bin/sleep 1000";

/// A project with a Go that fetches nothing and makes `script` of every program. Temporary
/// directories are made in `tmp`.
fn project(script: &str) -> Project {
    let project = Project::new();
    let go = format!(
        "#!/bin/sh\n\
         [ \"$1\" = build ] || exit 0\n\
         while [ \"$1\" != -o ]; do shift; done\n\
         out=$2; shift 2\n\
         for program; do\n\
         program=${{program%/v3}}\n\
         printf '%s\\n' '#!/bin/sh' '{script}' > \"$out${{program##*/}}\"\n\
         done\n"
    );
    project.write("bin/go", go);
    fs::set_permissions(project.path("bin/go"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(project.path("tmp")).unwrap();
    project
}

fn components() -> String {
    repository().join("recipes/components").to_str().unwrap().to_owned()
}

#[test]
fn components_that_are_not_there_are_named() {
    let project = Project::new();
    project.refused(
        &["cluster", "--components", "overlay"],
        expect![[r#"
            exit 6
            error[E0630]: `overlay` has no `etcd/go.mod`
              hint: `--components` takes a directory such as `recipes/components` of Orlop's repository
        "#]],
    );
    project.write("components/etcd/go.mod", "module m.example/m\n");
    project.refused(
        &["cluster", "--components", "components"],
        expect![[r#"
            exit 6
            error[E0630]: `components` has no `kubernetes/go.mod`
              hint: `--components` takes a directory such as `recipes/components` of Orlop's repository
        "#]],
    );
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let project = Project::new();
    for words in [
        &["cluster", "--certificate-life", "soon"][..],
        &["cluster", "--certificate-life", "0s"],
        &["cluster", "--token-life", "11000d"],
        &["cluster", "node.img"],
        &["run", "node.img", "--until", "ready"],
        &["run", "node.img", "--cluster", "--no-network"],
        &["run", "node.img", "--cluster", "--config", "node.toml"],
        &["run", "node.img", "--components", "components"],
    ] {
        let ended = project.run(words);
        assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""), "{words:?}");
    }
}

#[test]
fn a_cluster_is_not_made_where_something_is() {
    let project = project(STAYS);
    project.refused(
        &["cluster", "--dir", "overlay", "--components", &components()],
        expect![[r#"
            exit 2
            error[E0214]: `overlay` is not empty
              hint: `--dir` takes a directory that does not exist, or an empty one
        "#]],
    );
    project.refused(
        &["cluster", "--dir", "recipe.toml", "--components", &components()],
        expect![[r#"
            exit 2
            error[E0214]: `recipe.toml` is not a directory
              hint: `--dir` takes a directory that does not exist, or an empty one
        "#]],
    );
}

#[test]
fn a_program_that_dies_at_the_start_is_named_with_its_last_words() {
    let project = project("echo the disk is full >&2; exit 3");
    let dir = project.path("cluster");
    let ended = project.run(&[
        "cluster",
        "--dir",
        "cluster",
        "--components",
        &components(),
        "--progress",
        "none",
    ]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(6), ""));
    // Both are started at once, so either may be the first to die.
    let named = ["etcd", "kube-apiserver"].into_iter().find(|name| {
        let text =
            format!("error[E0631]: `{name}` ended with exit status: 3\n  the disk is full\n");
        ended.stderr.starts_with(&text)
    });
    let log = dir.join(format!("logs/{}.log", named.expect(&ended.stderr)));
    assert_eq!(fs::read_to_string(log).unwrap(), "the disk is full\n");
    assert!(!dir.join("egress.sock").exists());
}

#[test]
fn a_start_that_is_interrupted_leaves_nothing() {
    let project = project(STAYS);
    let words = ["cluster", "--progress", "json", "--components", &components()];
    for end in [Signal::INT, Signal::TERM, Signal::HUP] {
        let command = project.command(&words).env("TMPDIR", project.path("tmp"));
        let mut child = command
            .spawn(|command| {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            })
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let starts = lines.any(|line| line.unwrap().contains(r#""name":"start etcd"#));
        assert!(starts, "it did not come so far");
        kill_process(Pid::from_child(&child), end).unwrap();
        let ended = project.end(child);
        assert_eq!((ended.status, ended.stdout.as_str()), (Some(0), ""), "{end:?}");
        assert_eq!(fs::read_dir(project.path("tmp")).unwrap().count(), 0, "{end:?}");
    }
}

#[test]
fn the_end_of_a_pipe_on_standard_input_ends_it_too() {
    let project = project(STAYS);
    let words = ["cluster", "--progress", "none", "--components", &components()];
    let command = project.command(&words).env("TMPDIR", project.path("tmp"));
    let child = command
        .spawn(|command| {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        })
        .unwrap();
    // Waiting for its end closes its standard input.
    let ended = project.end(child);
    assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""));
    assert_eq!(fs::read_dir(project.path("tmp")).unwrap().count(), 0);
}

#[test]
fn an_image_without_a_kubelet_does_not_join() {
    let project = Project::locked();
    project.good(&["build", "-o", "node"]);
    project.refused(
        &["run", "--cluster", "node"],
        expect![[r#"
            exit 2
            error[E0215]: the image `node` has no kubelet to join a cluster
              hint: build a recipe that has one, such as one that extends `recipes/node.toml`
        "#]],
    );
}
