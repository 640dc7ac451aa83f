//! The other commands, and the rules that hold for all of them.

use std::process::Stdio;

use builder::error::Id;
use expect_test::expect;

use crate::project::{Project, refusal, repository, start};

#[test]
fn what_is_not_an_image_of_ours_is_not_inspected_and_not_run() {
    let project = Project::new();
    project.write("x.img", "hello");
    project.refused(
        &["inspect", "x.img"],
        expect![[r#"
            exit 8
            error[E0810]: `x.img` is not an image that orlop made: it is a text file
              hint: `orlop build` prints the directory of the image as the last line of its output
        "#]],
    );
    project.refused(&["inspect", "overlay"], expect![[r#"
        exit 8
        error[E0810]: `overlay` is not an image that orlop made: it is a directory without `disk.raw`
          hint: `orlop build` prints the directory of the image as the last line of its output
    "#]]);
    project.refused(
        &["inspect", "none.img"],
        expect![[r#"
        exit 7
        error[E0701]: cannot read `none.img`: No such file or directory (os error 2)
          hint: `orlop explain E0701` says more
    "#]],
    );
    project.refused(
        &["run", "x.img"],
        expect![[r#"
            exit 8
            error[E0810]: `DIR/project/x.img` is not an image that orlop made: it is a text file
              hint: `orlop build` prints the directory of the image as the last line of its output
        "#]],
    );
    project.refused(
        &["run", "overlay"],
        expect![[r#"
            exit 8
            error[E0810]: `DIR/project/overlay` is not an image that orlop made: it is a directory without `disk.raw`
              hint: `orlop build` prints the directory of the image as the last line of its output
        "#]],
    );
    project.refused(
        &["run", "none.img"],
        expect![[r#"
        exit 7
        error[E0701]: cannot find the image `none.img`: No such file or directory (os error 2)
          hint: `orlop explain E0701` says more
    "#]],
    );
}

#[test]
fn every_error_id_is_explained() {
    let project = Project::new();
    let list = project.good(&["explain"]).stdout;
    assert_eq!(list.lines().count(), Id::ALL.len());
    for id in Id::ALL {
        let page = project.good(&["explain", &id.code().to_lowercase()]).stdout;
        assert_eq!(page.trim_end(), project_page(*id).trim_end());
        assert!(list.contains(&format!("{}: ", id.code())));
    }
    project.refused(
        &["explain", "E9999"],
        expect![[r#"
        exit 2
        error[E0210]: `E9999` is not an error id
          hint: `orlop explain` without an id lists them all
    "#]],
    );
}

fn project_page(id: Id) -> String {
    let path = repository().join(format!("docs/errors/{}.md", id.code()));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_new_project_passes_the_check_and_a_second_one_is_not_made_over_it() {
    let project = Project::new();
    let base = repository().join("recipes/base.toml");
    let init = ["init", "node-1", "--base", base.to_str().unwrap()];
    assert_eq!(project.good(&init).stdout, "node-1\n");
    let checked = project.good(&["check", "node-1"]);
    assert!(checked.stdout.starts_with("`node-1` is in order (node-1/recipe.toml, "));
    assert_eq!(
        checked.stderr,
        "warning: there is no lock `node-1/orlop.lock`: `orlop lock` makes it\n"
    );
    project.refused(
        &init,
        expect![[r#"
        exit 2
        error[E0201]: `node-1` is not empty: nothing is overwritten
          hint: name a directory that does not exist, or an empty one
    "#]],
    );
    project.refused(
        &["init", "other", "--base", "none.toml"],
        expect![[r#"
        exit 2
        error[E0202]: there is no recipe `none.toml`
          hint: `--base` takes the file of a recipe
    "#]],
    );
    assert!(!project.path("other").exists());
}

#[test]
fn a_completion_script_is_printed() {
    let project = Project::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = project.good(&["completions", shell]).stdout;
        assert!(script.contains("orlop") && script.contains("inspect"), "{shell}");
    }
}

#[test]
fn a_wrong_command_line_is_status_2_and_says_what_was_meant() {
    let project = Project::new();
    refusal(
        &project.run(&["biuld"]),
        expect![[r#"
        exit 2
        error: unrecognized subcommand 'biuld'

          tip: some similar subcommands exist: 'budget', 'build'

        Usage: orlop [OPTIONS] <COMMAND>

        For more information, try '--help'.
    "#]],
    );
    for words in [
        &[][..],
        &["build", "--ofline"],
        &["build", "--jobs", "many"],
        &["completions", "tcsh"],
        &["store"],
    ] {
        let ended = project.run(words);
        assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""), "{words:?}");
        assert!(ended.stderr.contains("--help"), "{words:?}: {}", ended.stderr);
    }
    assert!(project.good(&["--help"]).stdout.contains("Usage: orlop"));
    assert_eq!(project.good(&["--version"]).stdout, "orlop 0.1.0\n");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let project = Project::locked();
    for words in [&["explain"][..], &["recipe", "show"], &["completions", "bash"], &["build"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = project
            .command(words)
            .spawn(|command| {
                command.stdout(writer).stderr(Stdio::piped());
            })
            .unwrap();
        let ended = project.end(child);
        assert_eq!(ended.status, Some(0), "{words:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("error"), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let project = Project::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let command = project.command(&["explain"]);
    let child = command.spawn(|command| {
        command.stdout(full).stderr(Stdio::piped());
    });
    refusal(
        &project.end(child.unwrap()),
        expect![[r#"
        exit 7
        error[E0705]: cannot write to stdout: No space left on device (os error 28)
          hint: `orlop explain E0705` says more
    "#]],
    );
}

#[test]
fn without_a_home_there_must_be_another_place_for_the_store() {
    let project = Project::new();
    let bare =
        |words: &[&str]| start(project.command(words).env("HOME", "").env("ORLOP_STORE", ""));
    refusal(
        &project.end(bare(&["fetch"])),
        expect![[r#"
            exit 6
            error[E0603]: there is no place for the store: neither `HOME` nor `XDG_CACHE_HOME` is set
              hint: name one with `--store DIR` or `ORLOP_STORE`
        "#]],
    );
    for words in [&["check"][..], &["explain", "E0603"], &["recipe", "show"]] {
        let ended = project.end(bare(words));
        assert_eq!(ended.status, Some(0), "{words:?} needs no store: {}", ended.stderr);
    }
}

#[test]
fn a_store_that_cannot_be_made_is_named() {
    let project = Project::locked();
    let words = ["fetch", "--progress", "none", "--store", "recipe.toml"];
    refusal(
        &project.run(&words),
        expect![[r#"
            exit 7
            error[E0703]: cannot make the store at `recipe.toml`: File exists (os error 17)
              hint: name another place for the store with `--store DIR` or `ORLOP_STORE`, or make room there
        "#]],
    );
}
