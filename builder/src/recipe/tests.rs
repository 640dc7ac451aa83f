//! Recipes in files: chains, profiles, messages, `show`.

mod show;

use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::error::{Error, Id};

/// The least that is a recipe.
const LEAST: &str = r#"schema = 1
name = "least"
[os]
id = "os"
name = "OS"
version = "1"
[kernel]
package = "linux"
[debian]
suites = ["trixie"]
components = ["main"]
keys = []
"#;

fn project(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn load_first(files: &[(&str, &str)], profile: Option<&str>) -> (TempDir, Result<Loaded>) {
    let directory = project(files);
    let loaded = load(&directory.path().join(files[0].0), profile);
    (directory, loaded)
}

/// The error as `main` shows it, the temporary directory left out.
fn shown(directory: &TempDir, error: &Error) -> String {
    let mut text = format!("error[{}]: {}\n", error.id().code(), error.chain());
    for hint in error.hints() {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    text.replace(&format!("{}/", directory.path().display()), "")
}

fn check_error(files: &[(&str, &str)], profile: Option<&str>, want: &Expect) {
    let (directory, loaded) = load_first(files, profile);
    want.assert_eq(&shown(&directory, &loaded.unwrap_err()));
}

#[test]
fn a_child_changes_what_its_parents_say() {
    let (directory, loaded) = load_first(
        &[
            (
                "worker/recipe.toml",
                "schema = 1\nextends = '../node.toml'\nname = 'worker'\n[kernel]\n\
                 modules = { remove = ['bridge'], add = ['vxlan'] }\n\
                 [local.overlay]\npath = '../files'\nat = '/'\n",
            ),
            (
                "node.toml",
                "schema = 1\nextends = 'base/base.toml'\nkernel.modules.add = ['bridge']\n",
            ),
            ("base/base.toml", &format!("{LEAST}[local.base]\npath = 'files'\nat = '/'\n")),
        ],
        None,
    );
    let loaded = loaded.unwrap();
    let root = fs::canonicalize(directory.path()).unwrap();
    assert_eq!(loaded.recipe.name.as_str(), "worker");
    assert_eq!(loaded.recipe.kernel.modules, ["vxlan".to_owned()].into());
    let paths: Vec<_> = loaded.recipe.local.values().map(|local| local.path.clone()).collect();
    assert_eq!(paths, [root.join("base/files"), root.join("files")]);
    let here = directory.path();
    let node = here.join("node.toml");
    let base = here.join("base/base.toml");
    assert_eq!(loaded.files, [here.join("worker/recipe.toml"), node, base.clone()]);
    let origin = Origin { file: base, line: 8 };
    assert_eq!(loaded.origins.of(&["kernel", "package"]), Some(origin));
    assert_eq!(loaded.origins.of(&["disk", "esp"]), None);
    assert_eq!(crate::lock::path(&loaded), here.join("worker/orlop.lock"));
}

#[test]
fn a_profile_lies_over_the_whole_chain() {
    let child = "schema = 1\nextends = 'base.toml'\nos.version = '2'\n\
                 [profile.big]\nos.version = '3'\ndebian.packages.add = ['a']\n\
                 [profile.loud]\nkernel.command-line.add = ['debug']\n";
    let base = format!(
        "{LEAST}packages = ['b']\n[profile.big]\nos.version = '4'\nos.name = 'Big'\n\
         debian.packages.remove = ['b']\n"
    );
    let files = [("child.toml", child), ("base.toml", &base)];
    let (directory, plain) = load_first(&files, None);
    let plain = plain.unwrap();
    let child = directory.path().join("child.toml");
    let big = load(&child, Some("big")).unwrap();
    let loud = load(&child, Some("loud")).unwrap();
    let versions = [&plain, &big, &loud].map(|loaded| loaded.recipe.os.version.as_str());
    assert_eq!(versions, ["2", "3", "2"]);
    assert_eq!(big.recipe.os.name, "Big");
    assert_eq!(big.recipe.debian.packages, ["a".to_owned()].into());
    assert_eq!(plain.profiles, ["big".to_owned(), "loud".to_owned()].into());
    // `loud` asks the resolver for nothing else, `big` does.
    assert_eq!(crate::lock::path(&plain), directory.path().join("child.lock"));
    assert_eq!(crate::lock::path(&loud), crate::lock::path(&plain));
    assert_eq!(crate::lock::path(&big), directory.path().join("child.big.lock"));
    assert_ne!(plain.digest(), loud.digest());
}

/// An image that has more than another is not over the other's budget.
#[test]
fn a_recipe_has_none_of_the_limits_of_what_it_extends() {
    let base =
        format!("{LEAST}[budget]\nroot = '80 MB'\nfiles = 9\n[profile.big.budget]\nfiles = 99\n");
    let child = "schema = 1\nextends = 'base.toml'\n[budget]\nuki = '14 MB'\n\
                 [profile.big.budget]\npackages = 7\n";
    let (directory, plain) = load_first(&[("child.toml", child), ("base.toml", &base)], None);
    let told = |loaded: &Loaded| {
        let budget = &loaded.recipe.budget;
        let number = |count: Option<model::Count>| count.map(model::Count::get);
        let (files, packages) = (number(budget.files), number(budget.packages));
        (budget.root.is_some(), budget.uki.is_some(), files, packages)
    };
    assert_eq!(told(&plain.unwrap()), (false, true, None, None));
    let load = |file: &str| load(&directory.path().join(file), Some("big")).unwrap();
    assert_eq!(told(&load("child.toml")), (false, true, None, Some(7)));
    assert_eq!(told(&load("base.toml")), (true, false, Some(99), None));
}

#[test]
fn the_digest_is_that_of_what_is_said_and_not_of_where() {
    let (_one, least) = load_first(&[("a/r.toml", LEAST)], None);
    let comment = LEAST.replace("[os]", "# c\n[ os ]");
    let split = [("b.toml", "schema = 1\nextends = 'p.toml'\n"), ("p.toml", &comment)];
    let (_two, same) = load_first(&split, None);
    let (_three, other) = load_first(&[("r.toml", &LEAST.replace("OS", "Os"))], None);
    assert_eq!(least.as_ref().unwrap().digest(), same.unwrap().digest());
    assert_ne!(least.unwrap().digest(), other.unwrap().digest());
}

#[test]
fn a_repeated_addition_is_a_warning_with_its_line() {
    let base = format!("{LEAST}packages = ['runc']\n");
    let child = "schema = 1\nextends = 'base.toml'\ndebian.packages.add = ['runc']\n";
    let (directory, loaded) = load_first(&[("child.toml", child), ("base.toml", &base)], None);
    let warnings = loaded.unwrap().warnings.join("\n");
    expect![[r"
        `debian.packages` has `runc` already, from base.toml:13
          child.toml:3:24
           3 | debian.packages.add = ['runc']
             |                        ^^^^^^"]]
    .assert_eq(&warnings.replace(&format!("{}/", directory.path().display()), ""));
}

#[test]
fn an_unknown_key_is_shown_with_what_was_meant() {
    let text = format!("{LEAST}[tree]\nreplaec = []\n[kernle]\n");
    check_error(
        &[("r.toml", &text)],
        None,
        &expect![[r#"
            error[E0302]: 2 problems in the recipe

              `kernle` is not a key of a recipe
                r.toml:15:2
                 15 | [kernle]
                    |  ^^^^^^
                hint: did you mean `kernel`?

              `replaec` is not a key of `tree`
                r.toml:14:1
                 14 | replaec = []
                    | ^^^^^^^
                hint: did you mean `replace`?
        "#]],
    );
    let text = LEAST.replace("package =", "colour = 1\npackage =");
    check_error(
        &[("r.toml", &text)],
        None,
        &expect![[r#"
            error[E0302]: `colour` is not a key of `kernel`
              r.toml:8:1
               8 | colour = 1
                 | ^^^^^^
              hint: its keys are `package`, `command-line`, `modules`, `modules-for-pods`, `modules-on-demand`, `modules-uncompressed`, `initrd-modules`
        "#]],
    );
}

#[test]
fn a_misspelt_key_is_not_reported_as_missing_too() {
    check_error(
        &[("r.toml", &LEAST.replace("package =", "pakage ="))],
        None,
        &expect![[r#"
            error[E0302]: `pakage` is not a key of `kernel`
              r.toml:8:1
               8 | pakage = "linux"
                 | ^^^^^^
              hint: did you mean `package`?
        "#]],
    );
}

#[test]
fn a_value_that_cannot_be_is_shown_in_the_file_that_has_it() {
    let child = "schema = 1\nextends = 'base.toml'\ndisk.esp = '12 apples'\n";
    check_error(
        &[("child.toml", child), ("base.toml", LEAST)],
        None,
        &expect![[r#"
            error[E0303]: `12 apples` is not a size: write for example "768 MiB" or "2 GiB"
              child.toml:3:12
               3 | disk.esp = '12 apples'
                 |            ^^^^^^^^^^^
        "#]],
    );
    let base = LEAST.replace("\"least\"", "\"Bad\"");
    check_error(
        &[("child.toml", "schema = 1\nextends = 'base.toml'\n"), ("base.toml", &base)],
        None,
        &expect![[r#"
            error[E0303]: `Bad` is not a name: use 1 to 32 of a-z, 0-9 and `-`, a letter first
              base.toml:2:8
               2 | name = "Bad"
                 |        ^^^^^
        "#]],
    );
}

#[test]
fn a_wrong_type_says_both_types_and_the_key() {
    for (lines, want) in [
        ("[tree]\nreplace = '/a'", "`tree.replace` must be a list, not a string"),
        ("[tree]\nreplace = [1]", "`tree.replace[]` must be a string, not a whole number"),
        ("[tree]\nreplace = ['a']", "`a` must begin with `/`: it is a path in the image"),
        (
            "[tree.symlinks]\nbin = 'usr/bin'",
            "`bin` must begin with `/`: it is a path in the image",
        ),
        ("[tree.symlinks]\n'/bin' = 1.5", "`tree.symlinks./bin` must be a string, not a float"),
        ("tree = 1", "`debian.tree` is not"),
        ("[users]\na = 1", "`users.a` must be a table, not a whole number"),
        ("[users.a]\nid = -1", "`users.a.id` must be a whole number from 0 to 4294967295"),
        ("[users.a]\nid = 4294967296", "`users.a.id` must be a whole number from 0 to 4294967295"),
        (
            "[users.a]\nid = 99999999999999999999",
            "must be a whole number, not a number that is too",
        ),
        ("[users.a]\nid = '0'", "`users.a.id` must be a whole number, not a string"),
        ("[users.A]\nid = 0", "`A` is not a name"),
        ("[users.a]", "`users.a` must have the key `id`"),
        ("[local.a]\npath = ''\nat = '/'", "`local.a.path` must be a path"),
        ("[local.a]\npath = 1\nat = '/'", "`local.a.path` must be a string, not a whole number"),
        ("keyring = []", "`debian.keyring` must be a string, not a list"),
        ("packages = { ad = [] }", "`debian.packages` must be a list, not a table"),
        ("[go.a]\nmodule = 'm'", "`go.a` must have the key `programs`"),
    ] {
        let (directory, loaded) = load_first(&[("r.toml", &format!("{LEAST}{lines}\n"))], None);
        let error = loaded.expect_err(lines);
        let shown = shown(&directory, &error);
        let line = shown.lines().next().unwrap_or_default();
        let place = shown.lines().nth(1).unwrap_or_default();
        if lines == "tree = 1" {
            assert_eq!(line, "error[E0302]: `tree` is not a key of `debian`");
            continue;
        }
        assert!(line.contains(want), "{lines}: {shown}");
        assert!(place.starts_with("  r.toml:1"), "{lines}: {shown}");
    }
}

#[test]
fn a_missing_key_says_which_table_lacks_it() {
    check_error(
        &[("r.toml", &LEAST.replace("package = \"linux\"\n", ""))],
        None,
        &expect![[r#"
            error[E0304]: `kernel` must have the key `package`
              r.toml:7:1
               7 | [kernel]
                 | ^^^^^^^^
        "#]],
    );
    check_error(
        &[("r.toml", &LEAST.replace("name = \"least\"\n", ""))],
        None,
        &expect![[r#"
            error[E0304]: a recipe must have the key `name`
              r.toml
        "#]],
    );
}

#[test]
fn the_schema_is_asked_for_before_all_else_in_every_file() {
    check_error(
        &[("r.toml", "schema = 2\nnovelty = 1\n")],
        None,
        &expect![[r#"
            error[E0303]: schema 2 is not known to this version of `orlop`
              r.toml:1:10
               1 | schema = 2
                 |          ^
              hint: it knows schema 1
        "#]],
    );
    let child = "extends = 'base.toml'\n";
    check_error(
        &[("r.toml", child), ("base.toml", LEAST)],
        None,
        &expect![[r#"
            error[E0304]: the file must have the key `schema`
              r.toml
              hint: write `schema = 1` as its first line
        "#]],
    );
}

#[test]
fn what_is_not_toml_is_shown_where_it_stops_to_be() {
    check_error(
        &[("r.toml", "schema = 1\nname = \"a\nb = 2\n")],
        None,
        &expect![[r#"
            error[E0301]: not TOML: invalid basic string, expected `"`
              r.toml:2:10
               2 | name = "a
                 |          ^
        "#]],
    );
    check_error(
        &[("r.toml", "schema = 1\nschema = 1\n")],
        None,
        &expect![[r#"
            error[E0301]: not TOML: duplicate key
              r.toml:2:1
               2 | schema = 1
                 | ^^^^^^
        "#]],
    );
}

#[test]
fn a_chain_that_has_no_end_is_refused() {
    check_error(
        &[
            ("a.toml", "schema = 1\nextends = 'b.toml'\n"),
            ("b.toml", "schema = 1\nextends = './sub/c.toml'\n"),
            ("sub/c.toml", "schema = 1\nextends = '../b.toml'\n"),
        ],
        None,
        &expect![[r#"
            error[E0305]: a recipe extends itself: `b.toml` extends `sub/c.toml` extends `b.toml`
              sub/c.toml:2:11
               2 | extends = '../b.toml'
                 |           ^^^^^^^^^^^
        "#]],
    );
}

#[test]
fn a_parent_that_cannot_be_read_is_shown_where_it_is_named() {
    check_error(
        &[("a.toml", "schema = 1\nextends = 'b.toml'\n")],
        None,
        &expect![[r#"
            error[E0305]: cannot read what it extends, `b.toml`: No such file or directory (os error 2)
              a.toml:2:11
               2 | extends = 'b.toml'
                 |           ^^^^^^^^
        "#]],
    );
    check_error(
        &[("a.toml", "schema = 1\nextends = ['b', 'c']\n")],
        None,
        &expect![[r#"
        error[E0305]: `extends` must be the path of one recipe file
          a.toml:2:11
           2 | extends = ['b', 'c']
             |           ^^^^^^^^^^
    "#]],
    );
}

#[test]
fn a_recipe_that_is_not_there_is_an_error_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let error = load(directory.path(), None).unwrap_err();
    expect![[r#"
        error[E0309]: cannot read the recipe `recipe.toml`: No such file or directory (os error 2)
          hint: name a recipe file, or make a project with `orlop init DIR`
    "#]]
    .assert_eq(&shown(&directory, &error));
}

#[test]
fn a_list_is_not_replaced_by_accident() {
    let base = format!("{LEAST}packages = ['runc']\n");
    let child = "schema = 1\nextends = 'base.toml'\n[debian]\npackages = [\n    'a',\n]\n";
    check_error(
        &[("child.toml", child), ("base.toml", &base)],
        None,
        &expect![[r#"
        error[E0306]: `debian.packages` is a list inherited from base.toml:13: say how to change it
          child.toml:4:12
           4 | packages = [
             |            ^
          hint: write { add = [..] }, { remove = [..] } or { set = [..] }
    "#]],
    );
    let child = "schema = 1\nextends = 'base.toml'\ndebian.packages.remove = ['rnuc']\n";
    check_error(
        &[("child.toml", child), ("base.toml", &base)],
        None,
        &expect![[r#"
        error[E0306]: `debian.packages` has no `rnuc` that could be removed
          child.toml:3:27
           3 | debian.packages.remove = ['rnuc']
             |                           ^^^^^^
          hint: did you mean `runc`?
    "#]],
    );
}

#[test]
fn a_profile_cannot_have_the_name_of_an_ending_of_locks() {
    check_error(
        &[("r.toml", &format!("{LEAST}[profile.toml]\n"))],
        None,
        &expect![[r#"
            error[E0307]: a profile cannot be called `toml`
              r.toml:13:10
               13 | [profile.toml]
                  |          ^^^^
              hint: locks of other recipes have names that end so
        "#]],
    );
    check_error(
        &[("r.toml", &format!("{LEAST}[profile.recipe]\n"))],
        None,
        &expect![[r#"
            error[E0307]: a profile cannot be called `recipe`
              r.toml:13:10
               13 | [profile.recipe]
                  |          ^^^^^^
              hint: locks of other recipes have names that end so
        "#]],
    );
}

#[test]
fn an_unknown_profile_names_those_there_are() {
    let text = format!("{LEAST}[profile.debug]\n[profile.pxe]\n");
    check_error(
        &[("r.toml", &text)],
        Some("debgu"),
        &expect![[r#"
        error[E0307]: `r.toml` and what it extends have no profile `debgu`
          hint: did you mean `debug`?
    "#]],
    );
    check_error(
        &[("r.toml", &text)],
        Some("other"),
        &expect![[r#"
        error[E0307]: `r.toml` and what it extends have no profile `other`
          hint: the profiles are `debug`, `pxe`
    "#]],
    );
    check_error(
        &[("r.toml", LEAST)],
        Some("other"),
        &expect![[r#"
        error[E0307]: `r.toml` and what it extends have no profile `other`
          hint: there are no profiles: leave out `-p`
    "#]],
    );
}

#[test]
fn a_profile_is_a_table_that_could_be_a_recipe() {
    for (lines, want) in [
        ("[profile]\ndebug = 1", "profile `debug` must be a table"),
        ("[profile.debug]\nextends = 'x'", "a profile cannot have the key `extends`"),
        ("[profile.debug.profile]", "a profile cannot have the key `profile`"),
        ("[profile.Debug]", "`Debug` is not a name"),
    ] {
        let (_directory, loaded) = load_first(&[("r.toml", &format!("{LEAST}{lines}\n"))], None);
        let error = loaded.expect_err(lines);
        assert_eq!(error.id(), Id::RecipeProfile);
        assert!(error.to_string().starts_with(want), "{lines}: {error}");
    }
}
