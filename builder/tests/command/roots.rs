//! Roots that may not be, or cannot.

use expect_test::{Expect, expect};

use crate::archive::Package;
use crate::project::Project;

#[track_caller]
fn refused(change: impl FnOnce(&mut Project), want: Expect) {
    let mut project = Project::new();
    change(&mut project);
    project.server.serve(project.archive.publish());
    project.refused(&["build"], want);
    assert!(!project.path("orlop-out/tiny").exists());
}

#[test]
fn two_components_with_one_file_conflict() {
    refused(
        |project| project.ask_for("tiny-twin"),
        expect![[r#"
        exit 1
        error[E0102]: components conflict:
          /usr/sbin/runc comes from runc and from tiny-twin
          hint: list the path in `[tree] replace` if the later one is right
    "#]],
    );
}

#[test]
fn a_shell_is_never_part_of_a_root() {
    refused(
        |project| project.ask_for("tiny-shell"),
        expect![[r#"
            exit 1
            error[E0101]: the root may not hold this:
              /usr/bin/sh is a shell, from tiny-shell
              hint: leave out what a package brings with a glob in `[debian] drop`
        "#]],
    );
}

#[test]
fn a_setuid_program_is_never_part_of_a_root() {
    refused(
        |project| {
            project.ask_for("tiny-mount");
            project.change(
                "[tree.executables]",
                "[tree.executables]\n\"/usr/bin/*\" = \"tiny-mount\"",
            );
        },
        expect![[r#"
            exit 1
            error[E0101]: the root may not hold this:
              /usr/bin/mount is set-user-id or set-group-id, from tiny-mount
              hint: leave out what a package brings with a glob in `[debian] drop`
        "#]],
    );
}

#[test]
fn a_script_is_never_part_of_a_root() {
    refused(
        |project| {
            project.ask_for("tiny-script");
            project.change(
                "[tree.executables]",
                "[tree.executables]\n\"/usr/bin/*\" = \"tiny-script\"",
            );
        },
        expect![[r#"
            exit 1
            error[E0101]: the root may not hold this:
              /usr/bin/tool is a script for `/bin/sh -e`, from tiny-script
              hint: leave out what a package brings with a glob in `[debian] drop`
        "#]],
    );
}

#[test]
fn an_executable_that_nobody_answers_for_is_named_with_its_package() {
    refused(
        |project| project.ask_for("tiny-unasked"),
        expect![[r#"
            exit 1
            error[E0101]: the root may not hold this:
              /usr/bin/unasked is an executable that no component of the recipe answers for, from tiny-unasked
              hint: leave out what a package brings with a glob in `[debian] drop`
              hint: an executable that the node really needs has a line in `[tree.executables]`, here `"/usr/bin/unasked" = "tiny-unasked"`
        "#]],
    );
}

#[test]
fn an_unknown_module_is_named_with_a_near_one() {
    refused(
        |project| project.change("\"overlay\"", "\"overlai\""),
        expect![[r#"
        exit 3
        error[E0321]: this kernel has no module `overlai`
          hint: did you mean `overlay` instead of `overlai`?
    "#]],
    );
}

#[test]
fn a_root_without_pid_1_could_not_start() {
    refused(
        |project| {
            project.change("at = \"/usr/lib/orlop/init\"", "at = \"/usr/lib/orlop/pid1\"");
            project
                .change("\"/usr/lib/orlop/init\" = \"init\"", "\"/usr/lib/orlop/pid1\" = \"init\"");
        },
        expect![[r#"
            exit 3
            error[E0322]: the tree has no `/usr/lib/orlop/init`: nothing could start
              hint: a recipe that extends `base.toml` has it as `[cargo.init]`
        "#]],
    );
}

#[test]
fn a_root_that_is_too_large_names_what_weighs_most() {
    refused(
        |project| {
            project.archive.packages.push(
                Package::new("tiny-elephant", "1-1").file("usr/share/elephant", vec![7; 9 << 20]),
            );
            project.ask_for("tiny-elephant");
        },
        expect![[r#"
            exit 1
            error[E0110]: the root image has 9.4 MiB and a slot has 8 MiB
              hint: the heaviest parts are `tiny-elephant` 9 MiB, `systemd-boot-efi` 0.1 MiB, `kernel` 0.1 MiB, `system` 0.1 MiB, `runc` 0.1 MiB
              hint: raise `root` in `[disk]`, for example to "16 MiB"
        "#]],
    );
}

#[test]
fn a_uki_that_is_too_large_says_by_how_much() {
    refused(
        |project| {
            project.archive.packages[1] =
                project.archive.packages[1].clone().file("boot/vmlinuz-6.0", vec![0x4b; 3 << 20]);
        },
        expect![[r#"
            exit 1
            error[E0111]: the UKI has 3.1 MiB and may have 2 MiB
              hint: raise `uki` in `[disk]`, for example to "8 MiB", and `esp` to hold two of them
        "#]],
    );
}

#[test]
fn a_state_that_is_too_small_says_what_it_takes() {
    refused(
        |project| project.change("state = \"16 MiB\"", "state = \"1 MiB\""),
        expect![[r#"
            exit 3
            error[E0308]: the `STATE` of 1 MiB is too small for a file system
              recipe.toml:50:9
               50 | state = "1 MiB"
                  |         ^^^^^^^
              hint: it takes at least 16 MiB
        "#]],
    );
}

#[test]
fn a_recipe_without_a_boot_loader_says_which_package_has_it() {
    refused(
        |project| project.change("[\"systemd-boot-efi\"]", "[]"),
        expect![[r#"
        exit 8
        error[E0803]: no package of `[debian] tools` brings `/usr/lib/systemd/boot/efi/linuxx64.efi.stub`
          hint: add `systemd-boot-efi` to `[debian] tools`
    "#]],
    );
}

#[test]
fn a_kernel_package_without_a_kernel_is_refused() {
    refused(
        |project| {
            project.archive.packages[1] = Package::new("linux-image-6.0-cloud-amd64", "6.0-1")
                .file("usr/share/doc/linux/copyright", "free");
        },
        expect![[r#"
            exit 8
            error[E0802]: the kernel package holds no `boot/vmlinuz-*`
              hint: `orlop explain E0802` says more
        "#]],
    );
}

#[test]
fn a_package_that_is_another_one_inside_is_refused() {
    let project = Project::locked();
    let lock = String::from_utf8(project.read("orlop.lock")).unwrap();
    project.write("orlop.lock", lock.replace("version = \"1.1-1\"", "version = \"1.1-2\""));
    project.refused(
        &["build"],
        expect![[r#"
        exit 8
        error[E0829]: the lock names package `runc 1.1-2 amd64`, the file is `runc 1.1-1 amd64`
          hint: run `orlop lock`
    "#]],
    );
}

#[test]
fn a_build_that_fails_leaves_the_one_before_it() {
    let project = Project::locked();
    project.good(&["build"]);
    let disk = project.read("orlop-out/tiny/disk.raw");
    project.write("overlay/usr/bin/bash", "a shell");
    let ended = project.run(&["build"]);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    assert!(project.read("orlop-out/tiny/disk.raw") == disk);
    let there = std::fs::read_dir(project.path("orlop-out")).unwrap();
    let there: std::collections::BTreeSet<_> = there.map(|e| e.unwrap().file_name()).collect();
    assert_eq!(there, ["repo", "tiny"].map(Into::into).into());
}

#[test]
fn what_is_not_a_build_is_never_replaced_by_one() {
    let project = Project::locked();
    project.refused(
        &["build", "-o", "overlay"],
        expect![[r#"
        exit 2
        error[E0212]: cannot put the images into `overlay`: there are files that no build made: `etc`
          hint: name a directory that does not exist, that is empty, or that holds an older build and nothing else
    "#]],
    );
    project.refused(
        &["build", "-o", "recipe.toml"],
        expect![[r#"
        exit 2
        error[E0212]: cannot put the images into `recipe.toml`: it is not a directory
          hint: name a directory that does not exist, that is empty, or that holds an older build and nothing else
    "#]],
    );
    project.refused(
        &["build", "-o", "."],
        expect![[r#"
        exit 2
        error[E0212]: cannot put the images into `.`: it has no name of its own
          hint: name a directory that does not exist, that is empty, or that holds an older build and nothing else
    "#]],
    );
    // What other programs call so.
    project.write("theirs/build.json", r#"{ "scripts": {}, "files": ["thesis.txt"] }"#);
    project.write("theirs/thesis.txt", "mine");
    project.refused(
        &["build", "-o", "theirs"],
        expect![[r#"
        exit 2
        error[E0212]: cannot put the images into `theirs`: the `build.json` that is there is not the report of a build
          hint: name a directory that does not exist, that is empty, or that holds an older build and nothing else
    "#]],
    );
    assert_eq!(project.server.take_requests(), [""; 0]);
    assert_eq!(project.read("overlay/etc/motd"), b"hello\n");
    assert_eq!(project.read("theirs/thesis.txt"), b"mine");
    std::fs::create_dir(project.path("empty")).unwrap();
    project.good(&["build", "-o", "empty"]);
}

#[test]
fn what_a_user_put_beside_the_images_stays_and_a_link_to_them_too() {
    let project = Project::locked();
    std::fs::create_dir(project.path("images")).unwrap();
    std::os::unix::fs::symlink("images", project.path("latest")).unwrap();
    let built = project.good(&["build", "-o", "latest"]);
    assert_eq!(built.stdout, "latest\n");
    assert_eq!(std::fs::read_link(project.path("latest")).unwrap(), std::path::Path::new("images"));
    assert!(project.path("images/disk.raw").is_file());

    project.write("images/kept.qcow2", "mine");
    project.write("overlay/etc/motd", "goodbye\n");
    project.refused(
        &["build", "-o", "latest"],
        expect![[r#"
        exit 2
        error[E0212]: cannot put the images into `latest`: the build that is there has not made all of it: not `kept.qcow2`
          hint: name a directory that does not exist, that is empty, or that holds an older build and nothing else
    "#]],
    );
    assert_eq!(project.read("images/kept.qcow2"), b"mine");
}

#[test]
fn a_local_component_that_holds_what_the_build_writes_is_refused() {
    let project = Project::locked();
    project.change("path = \"overlay\"\nat = \"/\"", "path = \".\"\nat = \"/opt/me\"");
    project.refused(
        &["build"],
        expect![[r#"
        exit 3
        error[E0324]: `local.overlay` takes `DIR/project`, which holds the output directory `orlop-out/tiny`: what a build writes would be in the next one
          hint: move the files of the component into a directory of their own, or name another place with `--output`, `--store` or `--repo`
    "#]],
    );
    project.change("path = \".\"\nat", "path = \"orlop-out\"\nat");
    assert_eq!(project.run(&["build"]).status, Some(3));
    project.change("path = \"orlop-out\"\nat", "path = \"overlay\"\nat");
    std::os::unix::fs::symlink("overlay", project.path("link")).unwrap();
    assert_eq!(project.run(&["build", "-o", "link/images"]).status, Some(3));
    assert_eq!(project.run(&["build", "--store", "overlay/store"]).status, Some(3));
    project.good(&["build"]);
}

#[test]
fn an_output_that_cannot_be_made_is_named() {
    let project = Project::locked();
    project.refused(&["build", "-o", "/proc/orlop/images"], expect![[r#"
        exit 7
        error[E0702]: cannot make the output directory `/proc/orlop/images`: No such file or directory (os error 2)
          hint: `orlop explain E0702` says more
    "#]]);
}
