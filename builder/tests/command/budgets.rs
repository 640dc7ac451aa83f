//! `[budget]`: what is over its limit is not published, and told with figure, limit and culprits.

use expect_test::expect;

use crate::project::Project;

/// A project with this budget.
fn project(budget: &str) -> Project {
    let project = Project::new();
    project.change("[disk]\n", &format!("[budget]\n{budget}\n[disk]\n"));
    project.good(&["lock"]);
    project
}

#[test]
fn a_build_that_is_over_its_budget_is_not_published_and_says_what_is_heaviest() {
    let project = project("files = 4\nexecutables = 2\nroot = \"1 MB\"\nuki = \"1 B\"");
    project.refused(
        &["build"],
        expect![[r#"
            exit 1
            error[E0105]: `tiny` is over its budget:
              uki: 8,704 bytes, and 1 may be: 8,703 too many
                        5,000  /vmlinuz of boot
                        1,536  /linuxx64.efi.stub of boot
                          304  /lib/modules/dm-mod.ko of initrd
                          304  /lib/modules/dm-verity.ko of initrd
                           96  /etc/initrd-release of initrd
              files: 20, and 4 may be: 16 too many
                           10  deb/linux-image-6.0-cloud-amd64
                            4  made/system
                            1  deb/libtiny
                            1  deb/runc
                            1  deb/systemd-boot-efi
              hint: make it smaller, or raise the limit in `[budget]`, where the change will be seen
        "#]],
    );
    assert!(!project.path("orlop-out/tiny").exists());

    project.change("files = 4\n", "");
    project.change("uki = \"1 B\"\n", "");
    project.good(&["build"]);
    let budget = project.good(&["budget"]).stdout;
    let root = budget.lines().find(|line| line.starts_with("root ")).unwrap();
    assert!(root.split_whitespace().nth(2) == Some("1,000,000"), "{budget}");
    let files: Vec<_> = budget.lines().filter(|line| line.starts_with("files ")).collect();
    assert_eq!(files[0].split_whitespace().skip(2).collect::<Vec<_>>(), ["-", "-"]);

    // Nothing of the image changes, and the limit is there all the same.
    project.change("executables = 2\n", "executables = 1\n");
    let disk = project.read("orlop-out/tiny/disk.raw");
    project.refused(
        &["build"],
        expect![[r#"
        exit 1
        error[E0105]: `tiny` is over its budget:
          executables: 2, and 1 may be: 1 too many
                        1  deb/runc
                        1  local/init
          hint: make it smaller, or raise the limit in `[budget]`, where the change will be seen
    "#]],
    );
    assert!(project.read("orlop-out/tiny/disk.raw") == disk);
}

#[test]
fn the_figures_of_a_build_are_held_against_a_recipe_that_has_changed_since() {
    let project = project("packages = 9");
    project.good(&["build", "-o", "made"]);
    project.change("packages = 9", "packages = 1");
    let ended = project.run(&["budget", "--build", "made"]);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    let packages = ended.stdout.lines().find(|line| line.starts_with("packages ")).unwrap();
    assert_eq!(
        packages.split_whitespace().collect::<Vec<_>>(),
        ["packages", "4", "1", "-3"],
        "{}",
        ended.stdout
    );
    assert!(ended.stderr.contains("error[E0105]"), "{}", ended.stderr);
    // The lock alone tells as much.
    project.refused(
        &["check"],
        expect![[r#"
            exit 1
            error[E0105]: `tiny` is over its budget:
              packages: 4, and 1 may be: 3 too many
                        1,274  deb/linux-image-6.0-cloud-amd64
                          648  deb/runc
                          562  deb/ca-certificates
                          560  deb/libtiny
              hint: make it smaller, or raise the limit in `[budget]`, where the change will be seen
        "#]],
    );
}

#[test]
fn an_image_may_grow_from_its_base_by_so_much_and_no_more() {
    let project = project("base = \"base\"\nmax-growth = \"1%\"");
    project.refused(&["build"], expect![[r#"
        exit 7
        error[E0701]: cannot read the base of `[budget]`: cannot read `DIR/project/base`: No such file or directory (os error 2)
          recipe.toml:48:8
           48 | base = "base"
              |        ^^^^^^
          hint: `orlop explain E0701` says more
    "#]]);
    project.refused(
        &["budget", "--build", "base"],
        expect![[r#"
            exit 7
            error[E0701]: cannot read `base`: No such file or directory (os error 2)
              hint: `orlop explain E0701` says more
        "#]],
    );
    project.change("max-growth = \"1%\"\n", "");
    project.good(&["build", "-o", "base"]);
    project.change("base = \"base\"\n", "base = \"base\"\nmax-growth = \"1%\"\n");
    project.good(&["build"]);
    project.write("overlay/usr/share/large", vec![7; 200_000]);
    let ended = project.run(&["build"]);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    let culprit = ended.stderr.lines().nth(2).unwrap_or_default();
    assert_eq!(culprit.trim(), "200,000  local/overlay", "{}", ended.stderr);

    // Of another image neither is a build of this one nor anything to grow from.
    project.change("name = \"tiny\"", "name = \"other\"");
    project.refused(
        &["budget", "--build", "base"],
        expect![[r#"
        exit 2
        error[E0224]: `base` is a build of `tiny`, and the recipe is that of `other`
          hint: name the recipe of that image, or by `--build` a build of this one
    "#]],
    );
    project.refused(&["build"], expect![[r#"
        exit 3
        error[E0308]: cannot read the base of `[budget]`: `DIR/project/base` is a build of `tiny`, and this recipe is that of `other`
          recipe.toml:48:8
           48 | base = "base"
              |        ^^^^^^
          hint: name an earlier build of this image
    "#]]);
}

#[test]
fn an_image_may_grow_from_a_version_by_so_much_and_no_more() {
    let project = project("base-version = \"orlop/x86_64/tiny/dev\"\nmax-growth = \"1%\"");
    project.refused(&["build"], expect![[r#"
        exit 8
        error[E0812]: cannot read the base of `[budget]`: `orlop-out/repo` is not a repository of ostree: No such file or directory (os error 2)
          recipe.toml:48:16
           48 | base-version = "orlop/x86_64/tiny/dev"
              |                ^^^^^^^^^^^^^^^^^^^^^^^
          hint: `orlop build` and `orlop commit` make one; `--repo DIR` names it
    "#]]);
    project.change("max-growth = \"1%\"\n", "");
    project.good(&["build"]);
    project.change("tiny/dev\"\n", "tiny/dev\"\nmax-growth = \"1%\"\n");
    project.good(&["build"]);
    project.write("overlay/usr/share/large", vec![7; 200_000]);
    let ended = project.run(&["build"]);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    let culprit = ended.stderr.lines().nth(2).unwrap_or_default();
    assert_eq!(culprit.trim(), "200,000  local/overlay", "{}", ended.stderr);
    // What was not published is no version either.
    let log = project.good(&["log"]).stdout;
    assert_eq!(log.matches("\ncommit ").count(), 1, "{log}");
    // Another image is nothing to grow from, and the digits of a commit hide none.
    project.change("name = \"tiny\"", "name = \"other\"");
    let commit = project.read("orlop-out/repo/refs/heads/orlop/x86_64/tiny/dev");
    let commit = std::str::from_utf8(&commit).unwrap();
    let mut named = "orlop/x86_64/tiny/dev";
    for name in [named, &commit[..12]] {
        project.change(&format!("\"{named}\""), &format!("\"{name}\""));
        named = name;
        let ended = project.run(&["build", "--progress", "none"]);
        assert_eq!(ended.status, Some(3), "{}", ended.stderr);
        let said = format!("`{name}` is a version of `tiny`, and this recipe is that of `other`");
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    }
    project.change(&format!("\"{named}\""), "\"orlop/x86_64/tiny/dev\"");
    project.change("name = \"other\"", "name = \"tiny\"");
    // Somewhere else there are other versions.
    let ended = project.run(&["build", "--repo", "elsewhere", "--progress", "none"]);
    assert_eq!(ended.status, Some(8), "{}", ended.stderr);
    project.change("tiny/dev\"", "tiny/stable\"");
    project.refused(&["budget"], expect![[r#"
        exit 2
        error[E0220]: cannot read the base of `[budget]`: the repository `orlop-out/repo` has no ref or commit `orlop/x86_64/tiny/stable`
          recipe.toml:48:16
           48 | base-version = "orlop/x86_64/tiny/stable"
              |                ^^^^^^^^^^^^^^^^^^^^^^^^^^
          hint: there are `orlop/x86_64/tiny/dev`
    "#]]);
}

#[test]
fn growth_is_from_one_base_or_the_recipe_is_wrong() {
    let project = project("max-growth = \"1%\"");
    project.refused(
        &["check"],
        expect![[r#"
        exit 3
        error[E0308]: `budget.max-growth` says how much, and nothing says from where
          recipe.toml:48:1
           48 | max-growth = "1%"
              | ^^^^^^^^^^
          hint: `base` names the directory of a build, `base-version` a version
    "#]],
    );
    project
        .change("max-growth = \"1%\"", "base = \"a\"\nbase-version = \"b\"\nmax-growth = \"1%\"");
    project.refused(
        &["check"],
        expect![[r#"
        exit 3
        error[E0308]: `budget.base` and `budget.base-version` are two bases, and one is wanted
          recipe.toml:49:1
           49 | base-version = "b"
              | ^^^^^^^^^^^^
          hint: take out one of them
    "#]],
    );
}

#[test]
fn the_budgets_of_all_profiles_are_checked() {
    let project = project("files = 99");
    let profiles = "\n[profile.one.budget]\npackages = 9\n[profile.two.budget]\nuki = \"1 MB\"\n";
    let recipe = String::from_utf8(project.read("recipe.toml")).unwrap() + profiles;
    project.write("recipe.toml", &recipe);
    project.good(&["check"]);
    project.change("packages = 9", "packages = 1");
    project.refused(
        &["check", "-p", "two"],
        expect![[r#"
        exit 1
        error[E0105]: profile `one`: `tiny` is over its budget:
          packages: 4, and 1 may be: 3 too many
                    1,274  deb/linux-image-6.0-cloud-amd64
                      648  deb/runc
                      562  deb/ca-certificates
                      560  deb/libtiny
          hint: make it smaller, or raise the limit in `[budget]`, where the change will be seen
    "#]],
    );
    project.change("packages = 1", "max-growth = \"1%\"");
    project.refused(
        &["check"],
        expect![[r#"
        exit 3
        error[E0308]: `budget.max-growth` says how much, and nothing says from where
          recipe.toml:59:1
           59 | max-growth = "1%"
              | ^^^^^^^^^^
          hint: `base` names the directory of a build, `base-version` a version
    "#]],
    );
    project.change("max-growth = \"1%\"", "packages = -1");
    project.refused(
        &["check"],
        expect![[r#"
        exit 3
        error[E0303]: `-1` is no limit: no image could keep to it
          recipe.toml:59:12
           59 | packages = -1
              |            ^^
          hint: `orlop explain E0303` says more
    "#]],
    );
}

#[test]
fn a_budget_shapes_no_byte_of_a_build() {
    let project = project("root = \"700 MB\"");
    project.good(&["build", "-o", "one"]);
    project.change("root = \"700 MB\"\n", "root = \"600 MB\"\n");
    let again = project.good(&["build", "-o", "one", "--explain"]).stdout;
    assert!(again.contains("image                    remembered\n"), "{again}");
}

#[test]
fn what_is_no_limit_is_refused_where_it_stands() {
    let project = project("files = 9");
    for (wrong, said) in [
        ("files = 0", "`0` is no limit: no image could keep to it\n  recipe.toml:48:9"),
        ("files = -3", "`-3` is no limit: no image could keep to it\n  recipe.toml:48:9"),
        ("uki = \"0 MB\"", "`0 MB` is no limit: no image could keep to it\n  recipe.toml:48:7"),
        ("uki = \"+1 MB\"", "`+1 MB` is not a size"),
        ("max-growth = \"1000.5%\"", "`1000.5%` is no limit: at most 1000% are one"),
        ("max-growth = 2", "recipe.toml:48:14"),
        ("base-version = \"\"", "`budget.base-version` names no version\n  recipe.toml:48:1"),
    ] {
        project.change("files = 9", wrong);
        let ended = project.run(&["check"]);
        assert_eq!(ended.status, Some(3), "{wrong}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{wrong}: {}", ended.stderr);
        project.change(wrong, "files = 9");
    }
    project.change("files = 9", "root = \"62MB\"\nmax-growth = \"2\"\nfile = 3");
    project.refused(
        &["check"],
        expect![[r#"
        exit 3
        error[E0302]: 2 problems in the recipe

          `file` is not a key of `budget`
            recipe.toml:50:1
             50 | file = 3
                | ^^^^
            hint: did you mean `files`?

          `2` is no percentage: write for example "2%" or "0.25%"
            recipe.toml:49:14
             49 | max-growth = "2"
                |              ^^^
          hint: `orlop explain E0302` says more
    "#]],
    );
}

#[test]
fn what_a_download_takes_is_what_zstd_makes_of_it() {
    let project = project("disk = \"1 B\"");
    let ended = project.run(&["build", "--progress", "none"]);
    assert_eq!(ended.status, Some(6), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("error[E0601]"), "{}", ended.stderr);

    let zstd = builder::process::Command::new("sh").args(["-c", "command -v zstd"]).run();
    let zstd = String::from_utf8(zstd.expect("install zstd")).unwrap();
    std::fs::create_dir_all(project.path("bin")).unwrap();
    std::os::unix::fs::symlink(zstd.trim(), project.path("bin/zstd")).unwrap();
    let ended = project.run(&["build", "--progress", "none"]);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    let figure = ended.stderr.split(" bytes, and 1 may be").next().unwrap_or_default();
    let figure = figure.rsplit(' ').next().unwrap_or_default().replace(',', "");
    project.change("disk = \"1 B\"", &format!("disk = \"{figure} B\""));
    project.good(&["build"]);
    let packed = builder::process::Command::new("zstd").args(["-3", "-q", "-c"]);
    let files = ["root.img", "uki.efi"].map(|name| project.path(&format!("orlop-out/tiny/{name}")));
    assert_eq!(packed.args(files).run().unwrap().len().to_string(), figure);
}
