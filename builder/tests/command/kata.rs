//! Layout tests: an image that takes what it needs of a release of Kata, by the whole way from recipe to root,
//! and what is said where that cannot be.

use std::fs;

use expect_test::expect;
use formats::digest::Sha256;
use serde_json::{Value, json};

use crate::kata_release::MadeRelease;
use crate::project::Project;
use crate::server::Answer;

const PATH: &str = "/kata-static.tar.zst";

/// A project whose image takes this of a release that its server has.
fn project(kata: &str, release: &[u8]) -> Project {
    let project = Project::new();
    add(&project, kata, release);
    project
}

fn add(project: &Project, kata: &str, release: &[u8]) {
    let (server, sha256) = (project.server.url(), Sha256::of(release));
    let table = format!(
        "[kata]\n{kata}\n\n[url.kata]\nurl = \"{server}{PATH}\"\nsha256 = \"{sha256}\"\n\n[local.init]"
    );
    project.change("[local.init]", &table);
    let executables = "[tree.executables]\n\"/opt/kata/*/**\" = \"kata\"";
    project.change("[tree.executables]", executables);
    project.server.answer(PATH, Answer::Chunked(release.to_vec()));
}

/// The paths of an image below `/opt/kata`.
fn taken(project: &Project, out: &str) -> Vec<String> {
    let manifest = String::from_utf8(project.read(&format!("{out}/manifest.txt"))).unwrap();
    let words = manifest.lines().flat_map(|line| line.split(' '));
    let below = words.filter_map(|word| word.strip_prefix("/opt/kata/"));
    below.map(|path| path.rsplit('/').next().unwrap().to_owned()).collect()
}

#[test]
fn an_image_takes_of_a_release_what_its_hypervisor_needs_and_only_that_is_made_anew() {
    let release = MadeRelease::new().pack();
    let project = project("hypervisor = \"qemu\"", &release);
    project.good(&["lock"]);
    project.good(&["build", "-o", "qemu"]);
    assert!(taken(&project, "qemu").contains(&"qemu-system-x86_64".to_owned()));
    project.change("hypervisor = \"qemu\"", "hypervisor = \"dragonball\"");
    // The lock says which release it is, not what of it is taken.
    let ended = project.good(&["build", "--offline", "--explain", "-o", "dragonball"]);
    let mut lines = ended.stdout.lines().skip_while(|line| !line.starts_with("url kata "));
    assert_eq!(lines.next(), Some("url kata                 done, because this changed:"));
    let names = taken(&project, "dragonball");
    assert!(
        !names.iter().any(|name| name.contains("qemu") || name.contains("virtiofsd")),
        "{names:?}"
    );
}

#[test]
fn a_diff_shows_what_kata_costs_in_bytes_files_and_ways_in() {
    let release = MadeRelease::new().pack();
    let project = Project::new();
    project.good(&["build", "-o", "without"]);
    add(&project, "hypervisor = \"qemu\"", &release);
    project.good(&["lock"]);
    project.good(&["build", "-o", "with"]);
    let diff = project.good(&["diff", "without", "with", "--json"]).stdout;
    let diff: Value = serde_json::from_str(&diff).unwrap();
    let named = |list: &str, key: &str, name: &str| {
        let found = diff[list].as_array().unwrap().iter().find(|one| one[key] == name);
        found.unwrap_or_else(|| panic!("no {name} in {}", diff[list])).clone()
    };
    let executables = named("surface", "what", "executables");
    let programs = [
        "/opt/kata/bin/qemu-system-x86_64",
        "/opt/kata/libexec/virtiofsd",
        "/opt/kata/runtime-rs/bin/containerd-shim-kata-v2",
    ];
    assert_eq!(executables["added"], json!(programs));
    assert_eq!(executables["removed"], json!([]));
    for nothing in ["set-id files", "file capabilities"] {
        assert_eq!(named("surface", "what", nothing)["added"], json!([]), "{nothing}");
    }
    let kata = named("components", "name", "url/kata");
    assert_eq!(kata["before"], Value::Null);
    let files = diff["files"].as_array().unwrap();
    let of_kata = files.iter().filter(|file| file["after"]["component"] == "url/kata");
    let bytes = of_kata.clone().map(|file| file["after"]["size"].as_u64().unwrap_or(0));
    assert_eq!(kata["after"].as_u64(), Some(bytes.sum()));
    let paths: Vec<_> = of_kata.map(|file| file["path"].as_str().unwrap()).collect();
    for path in programs.iter().chain(&["/etc/containerd/conf.d/kata.toml"]) {
        assert!(paths.contains(path), "{path}: {paths:?}");
    }
}

#[test]
fn a_release_that_cannot_be_had_is_taken_from_a_file() {
    let release = MadeRelease::new().pack();
    let project = project("hypervisor = \"qemu\"", &release);
    project.server.remove(PATH);
    project.refused(
        &["lock"],
        expect![[r#"
            exit 5
            error[E0502]: the server has no `MIRROR/kata-static.tar.zst` (404 Not Found)
              hint: if `kata` is brought here by other means, `orlop store add FILE` puts it into the store
        "#]],
    );
    project.write("brought", &release);
    project.good(&["store", "add", "brought"]);
    project.good(&["lock"]);
    project.good(&["build", "-o", "out"]);
    fs::remove_dir_all(project.store()).unwrap();
    let ended = project.run(&["fetch"]);
    assert_eq!(ended.status, Some(5));
    assert!(ended.stderr.contains("`orlop store add FILE`"), "{}", ended.stderr);
}

#[test]
fn another_release_than_the_pinned_one_is_refused_and_not_kept() {
    let release = MadeRelease::new().pack();
    let project = project("hypervisor = \"qemu\"", &release);
    let mut other = release.clone();
    *other.last_mut().unwrap() ^= 1;
    for wrong in [other, release[..release.len() / 2].to_vec()] {
        project.server.answer(PATH, Answer::Chunked(wrong.clone()));
        let ended = project.run(&["lock"]);
        assert_eq!(ended.status, Some(8), "{}", ended.stderr);
        assert!(ended.stderr.contains("error[E0801]"), "{}", ended.stderr);
        let name = Sha256::of(&wrong).to_string();
        let kept = project.store().join("blobs").join(&name[..2]).join(&name);
        assert!(!kept.exists());
    }
    // One that is in the store by another name is not it either.
    project.write("brought", &release[..release.len() / 2]);
    project.good(&["store", "add", "brought"]);
    assert_eq!(project.run(&["lock"]).status, Some(8));
}

#[test]
fn a_release_without_what_the_hypervisor_needs_is_told_by_what_it_lacks() {
    let release = MadeRelease::new().without("bin/firecracker").pack();
    let firecracker = "hypervisor = \"firecracker\"\nsnapshotter = \"devmapper\"";
    let project = project(firecracker, &release);
    project.good(&["lock"]);
    project.good(&["fetch"]);
    project.refused(
        &["build", "--offline"],
        expect![[r#"
            exit 5
            error[E0513]: `opt/kata/share/defaults/kata-containers/runtime-rs/configuration-rs-fc.toml` in `MIRROR/kata-static.tar.zst` names `/opt/kata/bin/firecracker` as `path`, and the release has no such file
              hint: releases differ in what they hold: docs/kata.md says which one has what
        "#]],
    );
}

#[test]
fn a_recipe_that_cannot_be_is_told_before_anything_is_fetched() {
    let release = MadeRelease::new().pack();
    for (kata, wants) in [
        ("hypervisor = \"qemuu\"", &["`qemuu` is no hypervisor of Kata: did you mean `qemu`?"][..]),
        ("guest = \"confidential\"", &["`kata` must have the key `hypervisor`"]),
        (
            "hypervisor = \"firecracker\"",
            &["shares no files with its guests", "name one as `kata.snapshotter`"],
        ),
        (
            "hypervisor = \"dragonball\"\nguest = \"confidential\"",
            &["`dragonball` runs no confidential guests"],
        ),
        (
            "hypervisor = \"qemu\"\npayload = \"katta\"",
            &["there is no `url.katta`", "`url.kata` puts nothing into the image"],
        ),
        ("hypervisor = \"qemu\"\nat = \"/\"", &["`/` is not a place for the files of Kata"]),
        ("hypervisor = \"qemu\"\nat = \"/etc/motd\"", &["/etc/motd"]),
    ] {
        let project = project(kata, &release);
        for words in [&["check"][..], &["build"]] {
            let ended = project.run(words);
            assert_eq!(ended.status, Some(3), "{kata}: {}", ended.stderr);
            for want in wants {
                assert!(ended.stderr.contains(want), "{kata}: {}", ended.stderr);
            }
        }
        let asked = project.server.take_requests();
        assert!(!asked.iter().any(|path| path.starts_with(PATH)), "{asked:?}");
    }
}

#[test]
fn a_class_is_printed_for_each_handler_of_the_recipe() {
    let project = project("hypervisor = \"cloud-hypervisor\"", b"");
    let printed = project.good(&["manifests", "kata"]).stdout;
    assert!(
        printed.contains("kind: RuntimeClass\n") && printed.contains("handler: kata\n"),
        "{printed}"
    );
    project.change("[kata]\nhypervisor = \"cloud-hypervisor\"\n", "");
    project.refused(
        &["manifests", "kata"],
        expect![[r#"
            exit 3
            error[E0308]: `recipe.toml` has no `[kata]`
              hint: `recipes/worker.toml` has, and docs/kata.md explains it
        "#]],
    );
}
