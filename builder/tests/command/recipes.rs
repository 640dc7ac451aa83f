//! Recipes that are wrong.

use expect_test::{Expect, expect};

use crate::project::Project;

/// Changes the recipe and runs `orlop` with these words.
#[track_caller]
fn refused(from: &str, to: &str, words: &[&str], want: Expect) {
    let project = Project::locked();
    project.change(from, to);
    project.refused(words, want);
    assert_eq!(project.server.take_requests(), [""; 0], "a wrong recipe costs no request");
}

#[test]
fn an_unknown_key_is_shown_with_its_place_and_the_one_that_was_meant() {
    refused(
        "command-line =",
        "comand-line =",
        &["build"],
        expect![[r#"
        exit 3
        error[E0302]: `comand-line` is not a key of `kernel`
          recipe.toml:11:1
           11 | comand-line = ["console=ttyS0"]
              | ^^^^^^^^^^^
          hint: did you mean `command-line`?
    "#]],
    );
}

#[test]
fn a_value_of_the_wrong_type_is_shown_with_its_place() {
    refused(
        "packages = [\"ca-certificates\", \"runc\"]",
        "packages = \"runc\"",
        &["lock"],
        expect![[r#"
            exit 3
            error[E0303]: `debian.packages` must be a list, not a string
              recipe.toml:20:12
               20 | packages = "runc"
                  |            ^^^^^^
              hint: `orlop explain E0303` says more
        "#]],
    );
}

#[test]
fn a_size_without_its_unit_says_how_to_write_one() {
    refused(
        "\"8 MiB\"",
        "\"8\"",
        &["check"],
        expect![[r#"
        exit 3
        error[E0303]: `8` is not a size: write for example "768 MiB" or "2 GiB"
          recipe.toml:49:8
           49 | root = "8"
              |        ^^^
          hint: `orlop explain E0303` says more
    "#]],
    );
}

#[test]
fn what_is_not_toml_is_shown_with_its_place() {
    refused(
        "[os]",
        "[os",
        &["recipe", "show"],
        expect![[r#"
        exit 3
        error[E0301]: not TOML: unclosed table, expected `]`
          recipe.toml:4:4
           4 | [os
             |    ^
          hint: `orlop explain E0301` says more
    "#]],
    );
}

#[test]
fn a_key_that_is_missing_is_named() {
    refused(
        "id = \"orlopos\"\n",
        "",
        &["check"],
        expect![[r#"
        exit 3
        error[E0304]: `os` must have the key `id`
          recipe.toml:4:1
           4 | [os]
             | ^^^^
          hint: `orlop explain E0304` says more
    "#]],
    );
}

#[test]
fn an_unknown_profile_is_refused_with_those_there_are() {
    refused(
        "[os]",
        "[os]",
        &["build", "-p", "debgu"],
        expect![[r#"
        exit 3
        error[E0307]: `recipe.toml` and what it extends have no profile `debgu`
          hint: did you mean `debug`?
    "#]],
    );
}

#[test]
fn a_recipe_that_is_not_there_is_named() {
    refused(
        "[os]",
        "[os]",
        &["build", "other.toml"],
        expect![[r#"
        exit 3
        error[E0309]: cannot read the recipe `other.toml`: No such file or directory (os error 2)
          hint: name a recipe file, or make a project with `orlop init DIR`
    "#]],
    );
}

#[test]
fn a_parent_that_is_not_there_is_named() {
    refused(
        "schema = 1",
        "schema = 1\nextends = \"base.toml\"",
        &["check"],
        expect![[r#"
        exit 3
        error[E0305]: cannot read what it extends, `base.toml`: No such file or directory (os error 2)
          recipe.toml:2:11
           2 | extends = "base.toml"
             |           ^^^^^^^^^^^
          hint: `orlop explain E0305` says more
    "#]],
    );
}

#[test]
fn what_is_not_utf_8_and_what_only_a_shell_replaces_is_said_to_be_so() {
    let project = Project::locked();
    std::fs::write(project.path("latin.toml"), b"schema = 1 # caf\xe9\n").unwrap();
    project.refused(
        &["check", "latin.toml"],
        expect![[r#"
            exit 3
            error[E0309]: cannot read the recipe `latin.toml`: it is not text in UTF-8
              hint: save it as UTF-8
        "#]],
    );
    for parent in ["~/base.toml", "$HOME/base.toml"] {
        project.write("child.toml", format!("schema = 1\nextends = \"{parent}\"\n"));
        let ended = project.run(&["check", "child.toml"]);
        assert_eq!(ended.status, Some(3));
        assert!(ended.stderr.contains("hint: write the path itself"), "{}", ended.stderr);
    }
    std::fs::write(project.path("orlop.lock"), b"schema = 1 # caf\xe9\n").unwrap();
    project.refused(
        &["build"],
        expect![[r#"
            exit 4
            error[E0403]: `orlop.lock` is not a lock: it is not text in UTF-8
              hint: `orlop lock` makes it anew
        "#]],
    );
}

#[test]
fn check_tells_everything_at_once() {
    let project = Project::new();
    project.change("path = \"overlay\"", "path = \"overlays\"");
    project.change("\"console=ttyS0\"", "\"console=ttyS0\", \"panic=1\"");
    project.change("esp = \"36 MiB\"", "esp = \"8 MiB\"");
    project.refused(
        &["check"],
        expect![[r#"
        exit 3
        error[E0308]: 4 problems in the recipe

          `panic` is given by the builder
            recipe.toml:11:34
             11 | command-line = ["console=ttyS0", "panic=1"]
                |                                  ^^^^^^^^^
            hint: take it out of the recipe

          `DIR/project/overlays` does not exist
            recipe.toml:29:8
             29 | path = "overlays"
                |        ^^^^^^^^^^

          the ESP of 8 MiB cannot hold two UKIs of 2 MiB and the boot loader
            recipe.toml:48:7
             48 | esp = "8 MiB"
                |       ^^^^^^^
            hint: it takes at least 12 MiB

          the ESP of 8 MiB is too small for FAT32
            recipe.toml:48:7
             48 | esp = "8 MiB"
                |       ^^^^^^^
            hint: it takes at least 34 MiB
          hint: `orlop explain E0308` says more
    "#]],
    );
}

#[test]
fn a_build_says_what_check_would_say() {
    refused(
        "path = \"overlay\"",
        "path = \"overlays\"",
        &["build", "--offline"],
        expect![[r#"
            exit 3
            error[E0308]: `DIR/project/overlays` does not exist
              recipe.toml:29:8
               29 | path = "overlays"
                  |        ^^^^^^^^^^
              hint: `orlop explain E0308` says more
        "#]],
    );
}

#[test]
fn a_glob_that_is_none_is_refused() {
    refused(
        "\"/usr/share/doc/**\"",
        "\"/usr/[\"",
        &["build", "--offline"],
        expect![[r#"
            exit 3
            error[E0308]: `/usr/[` is not a glob: unclosed character class; missing ']'
              recipe.toml:22:9
               22 | drop = ["/usr/["]
                  |         ^^^^^^^^
              hint: `orlop explain E0308` says more
        "#]],
    );
}

#[test]
fn an_architecture_that_images_cannot_be_made_for_is_refused_before_anything_is_asked_for() {
    let project = Project::new();
    project.change("name = \"tiny\"", "name = \"tiny\"\narch = \"arm64\"");
    for words in [&["check"][..], &["lock"], &["build"]] {
        project.refused(
            words,
            expect![[r#"
                exit 3
                error[E0325]: no image can be made for `arm64` yet
                  recipe.toml:3:8
                   3 | arch = "arm64"
                     |        ^^^^^^^
                  hint: it lacks a C library and a linker for it, the kernel unpacked from its EFI form, a console on `ttyAMA0`, and a boot in QEMU as a test
            "#]],
        );
    }
    assert_eq!(project.server.take_requests(), [""; 0]);
    project.change("arm64", "x86_64");
    assert!(project.run(&["check"]).stderr.contains("`amd64`"));
    project.change("x86_64", "amd64");
    project.good(&["lock"]);
    let lock = String::from_utf8(project.read("orlop.lock")).unwrap();
    assert!(lock.contains("\"arch amd64\""), "{lock}");
}
