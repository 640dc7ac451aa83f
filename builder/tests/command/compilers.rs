//! What compiles Rust programs as the lock has it, and packages as files of this host.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use expect_test::expect;

use crate::archive::Package;
use crate::project::Project;

/// A project with a Cargo component, an archive with compilers, and a `rustc` of this version.
fn project(rustc: &str) -> Project {
    let mut project = Project::new();
    let compilers = [
        Package::new("gcc", "4:14-1").depends("gcc-14"),
        Package::new("gcc-14", "14-1").depends("libasan8, libtiny"),
        Package::new("libasan8", "14-1"),
        Package::new("libc6-dev", "2.41-12"),
    ];
    project.archive.packages.extend(compilers);
    project.server.serve(project.archive.publish());
    let recipe = String::from_utf8(project.read("recipe.toml")).unwrap();
    let component =
        "[cargo.a]\nworkspace = \"ws\"\npackage = \"a\"\nprograms = { a = \"/usr/bin/a\" }\n";
    project.write("recipe.toml", recipe + component);
    project.write(
        "ws/Cargo.toml",
        "[package]\nname = \"a\"\nversion = \"0.1.0\"\n\
         [profile.node]\ninherits = \"release\"\n",
    );
    project
        .write("ws/Cargo.lock", "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"0.1.0\"\n");
    project.write("ws/src/main.rs", "fn main() {}\n");
    compiler(&project, rustc);
    project
}

/// Puts a `rustc` into the path that says it is of this version.
fn compiler(project: &Project, version: &str) {
    let script = format!(
        "#!/bin/sh\necho 'rustc {version} (59807616e 2026-04-14)'\necho 'commit-hash: 59807616e'\n\
         echo 'host: x86_64-unknown-linux-gnu'\necho 'LLVM version: 22.1.2'\n"
    );
    for (name, text) in [("rustc", script.as_str()), ("cargo", "#!/bin/sh\n")] {
        // Renamed into its place: what a test beside this one starts meanwhile may hold it open.
        let path = project.path(&format!("bin/{name}"));
        project.write("bin/new", text);
        fs::set_permissions(project.path("bin/new"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(project.path("bin/new"), path).unwrap();
    }
}

#[test]
fn a_lock_holds_the_compilers_without_what_they_do_not_need_and_says_which_rustc_there_was() {
    let project = project("1.95.0");
    project.good(&["lock"]);
    let lock = String::from_utf8(project.read("orlop.lock")).unwrap();
    let of = |head: &str| {
        let tables = lock.split("\n\n").filter(|table| table.starts_with(head));
        let lines = tables.flat_map(|table| table.lines().nth(1));
        lines.collect::<Vec<_>>().join(" ")
    };
    // libtiny is part of the root and compiles as well.
    assert_eq!(
        of("[[compiler]]"),
        r#"name = "gcc" name = "gcc-14" name = "libc6-dev" name = "libtiny""#
    );
    assert_eq!(of("[[rustc]]"), r#"version = "rustc 1.95.0 (59807616e 2026-04-14)""#);
    assert_eq!(project.good(&["lock", "--why", "gcc-14"]).stdout, "recipe -> gcc -> gcc-14\n");
    // What is in two lists is fetched once.
    project.server.take_requests();
    project.good(&["fetch"]);
    let requests = project.server.take_requests();
    assert_eq!(requests.iter().filter(|path| path.contains("libtiny")).count(), 1, "{requests:?}");
    assert_eq!(requests.len(), 5 + 3, "{requests:?}");
}

#[test]
fn what_compiles_for_a_lock_stays_when_the_store_is_cleared_up() {
    let project = project("1.95.0");
    project.good(&["lock"]);
    project.good(&["fetch"]);
    project.good(&["clean", "--older-than", "0d"]);
    project.server.take_requests();
    project.good(&["fetch"]);
    assert_eq!(project.server.take_requests(), [""; 0]);
}

#[test]
fn a_build_that_is_to_use_the_lock_alone_refuses_another_rustc() {
    let project = project("1.95.0");
    project.good(&["lock"]);
    compiler(&project, "1.96.0");
    project.refused(
        &["build", "--locked"],
        expect![[r#"
            exit 4
            error[E0404]: Rust programs are compiled by `rustc 1.96.0 (59807616e 2026-04-14)` for `x86_64-unknown-linux-gnu`, the lock records `rustc 1.95.0 (59807616e 2026-04-14)` for `x86_64-unknown-linux-gnu`: their bytes may differ
              hint: use that compiler, or let `orlop lock` record this one
        "#]],
    );
    assert!(!project.path("orlop-out/tiny").exists());
}

#[test]
fn another_rustc_is_told_before_anything_is_compiled() {
    let project = project("1.95.0");
    project.good(&["lock"]);
    compiler(&project, "1.96.0");
    // The `cargo` that is here makes nothing: whoever is to know must know by then.
    let ended = project.run(&["build", "--progress", "plain"]);
    let (warning, failure) = (ended.stderr.find("warning: Rust"), ended.stderr.find("error["));
    assert!(warning.is_some() && warning < failure, "{}", ended.stderr);
}

#[test]
fn a_host_without_rustc_keeps_the_one_that_was_recorded_and_cannot_record_one() {
    let project = project("1.95.0");
    fs::remove_file(project.path("bin/rustc")).unwrap();
    project.refused(
        &["lock"],
        expect![[r#"
            exit 6
            error[E0601]: `rustc` is not on this host
              hint: `orlop doctor` names the package to install
        "#]],
    );
    compiler(&project, "1.95.0");
    project.good(&["lock"]);
    let lock = project.read("orlop.lock");
    fs::remove_file(project.path("bin/rustc")).unwrap();
    let ended = project.good(&["lock", "--progress", "plain"]);
    assert!(ended.stderr.contains("the lock keeps the one it had"), "{}", ended.stderr);
    assert!(project.read("orlop.lock") == lock);
}

#[test]
fn packages_can_be_unpacked_as_files_with_scripts_that_start_their_programs() {
    let project = Project::new();
    let words = ["store", "unpack", "-o", "tree", "--start", "runc", "--progress", "none"];
    assert_eq!(project.good(&words).stdout, "tree\n");
    assert_eq!(project.read("tree/usr/sbin/runc"), b"runs containers");
    assert_eq!(project.read("tree/sbin/runc"), b"runs containers", "a merged system");
    assert_eq!(project.read("tree/lib/libtiny.so.2"), b"a library");
    assert!(!project.path("tree/boot").exists(), "neither the kernel nor tools");
    let script = String::from_utf8(project.read("tree/start/runc")).unwrap();
    assert!(script.contains("/tree/usr/sbin/runc' \"$@\""), "{script}");
    let mode = fs::metadata(project.path("tree/start/runc")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);

    project.refused(
        &words[..4],
        expect![[r#"
            exit 2
            error[E0212]: `DIR/project/tree` is not empty
              hint: name a directory that is not there yet
        "#]],
    );
    project.refused(
        &["store", "unpack", "-o", "other", "--start", "qemu"],
        expect![[r#"
            exit 6
            error[E0601]: no package of the recipe has a program `qemu`
              hint: `orlop explain E0601` says more
        "#]],
    );
    assert!(!project.path("other").exists(), "whole or not at all");
}
