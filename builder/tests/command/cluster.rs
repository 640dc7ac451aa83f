//! `orlop cluster` and `orlop run --cluster`, with a Go whose programs are shell scripts: what is
//! refused, and what is left when nothing comes of it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::process::Stdio;

use builder::process::Command;
use expect_test::expect;
use rustix::process::{Pid, Signal, kill_process};

use crate::made_up::{MadeUp, host};
use crate::project::{Ended, Project, refusal, start};

/// Stays until it is killed.
const STAYS: &str = "exec /bin/sleep 1000";

/// A project with components of a cluster whose modules are made up, and a toolchain that makes
/// `script` of every program. Temporary directories are made in `tmp`.
struct Cluster {
    project: Project,
    proxy: MadeUp,
}

impl Cluster {
    fn new(script: &str) -> Self {
        let project = Project::new();
        let proxy = MadeUp::new(project.path("proxy"));
        let go = format!(
            "[ \"$1\" = build ] || exec \"$GO\" \"$@\"\n\
             while [ \"$1\" != -o ]; do shift; done\n\
             out=$2; shift 2\n\
             for program; do\n\
             program=${{program%/v3}}\n\
             printf '%s\\n' '#!/bin/sh' '{script}' > \"$out${{program##*/}}\"\n\
             done\n"
        );
        proxy.toolchain("go1.99.1", &go);
        fs::create_dir_all(project.path("bin")).unwrap();
        symlink(host().0, project.path("bin/go")).unwrap();
        fs::create_dir(project.path("tmp")).unwrap();
        let cluster = Self { project, proxy };
        cluster.component("etcd", "go.etcd.io/etcd/server/v3", "v3.0.1", &[""]);
        let programs = [
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "kubectl",
        ]
        .map(|name| format!("/cmd/{name}"));
        let programs: Vec<_> = programs.iter().map(String::as_str).collect();
        cluster.component("kubernetes", "k8s.io/kubernetes", "v1.0.1", &programs);
        cluster
    }

    /// Makes up a module with these packages, and a component that builds them.
    fn component(&self, name: &str, module: &str, version: &str, packages: &[&str]) {
        let files: Vec<_> = packages.iter().map(|package| format!("{package}/main.go")).collect();
        let files: Vec<_> = files
            .iter()
            .map(|file| (file.trim_start_matches('/'), "package main\n\nfunc main() {}\n"))
            .collect();
        self.proxy.module(module, version, &format!("module {module}\n\ngo 1.24.0\n"), &files);
        let tools: Vec<_> =
            packages.iter().map(|package| format!("tool {module}{package}\n")).collect();
        let gomod = format!(
            "module component.example/{name}\n\ngo 1.24.0\n\ntoolchain go1.99.1\n\n{}\n\
             require {module} {version}\n",
            tools.concat()
        );
        let directory = format!("components/{name}");
        self.project.write(&format!("{directory}/go.mod"), gomod);
        let sums = Command::new(host().0)
            .directory(&self.project.path(&directory))
            .env("GOTOOLCHAIN", "local")
            .env("GOPROXY", self.proxy.url())
            .env("GOSUMDB", "off")
            .env("GOFLAGS", "-modcacherw")
            .env("GOMODCACHE", self.project.path("modules"))
            .args(["mod", "download"]);
        sums.run().unwrap();
    }

    /// `orlop cluster` with these words after those that every call has.
    fn command(&self, words: &[&str]) -> Command {
        let words = [&["cluster", "--components", "components"], words].concat();
        self.project
            .command(&words)
            .env("GOPROXY", self.proxy.url())
            .env("GOSUMDB", "off")
            .env("TMPDIR", self.project.path("tmp"))
    }

    fn run(&self, words: &[&str]) -> Ended {
        self.project.end(start(self.command(words)))
    }
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
    let cluster = Cluster::new(STAYS);
    refusal(
        &cluster.run(&["--dir", "overlay"]),
        expect![[r#"
            exit 2
            fetch etcd               complete
            fetch kubernetes         complete
            compile go etcd          1 programs
            compile go kubernetes    5 programs
            error[E0214]: `overlay` is not empty
              hint: `--dir` takes a directory that does not exist, or an empty one
        "#]],
    );
    refusal(
        &cluster.run(&["--dir", "recipe.toml"]),
        expect![[r#"
            exit 2
            error[E0214]: `recipe.toml` is not a directory
              hint: `--dir` takes a directory that does not exist, or an empty one
        "#]],
    );
}

#[test]
fn a_program_that_dies_at_the_start_is_named_with_its_last_words() {
    let cluster = Cluster::new("echo the disk is full >&2; exit 3");
    let dir = cluster.project.path("cluster");
    let ended = cluster.run(&["--dir", "cluster", "--progress", "none"]);
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
    let cluster = Cluster::new(STAYS);
    let project = &cluster.project;
    for end in [Signal::INT, Signal::TERM, Signal::HUP] {
        let command = cluster.command(&["--progress", "json"]);
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
    let cluster = Cluster::new(STAYS);
    let project = &cluster.project;
    let command = cluster.command(&["--progress", "none"]);
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
