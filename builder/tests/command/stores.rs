//! A store that is not what it should be.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;

use crate::project::Project;

/// All blobs of a store.
fn blobs(store: &Path) -> Vec<PathBuf> {
    let list = |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut blobs: Vec<_> = list(&store.join("blobs")).flat_map(|path| list(&path)).collect();
    blobs.sort();
    blobs
}

fn write(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Whatever is read is hashed: packages, programs, modules, certificates, the stub, the loader.
#[test]
fn a_damaged_blob_ends_a_build_and_reaches_no_image() {
    let project = Project::locked();
    project.good(&["build", "-o", "whole"]);
    let files = ["root.img", "disk.raw", "uki.efi", "initrd", "manifest.txt"];
    let whole = files.map(|name| Sha256::of(project.read(&format!("whole/{name}"))));
    let mut refused = 0;
    for forgetful in [false, true] {
        for path in blobs(&project.store()) {
            let content = fs::read(&path).unwrap();
            let mut damaged = content.clone();
            let Some(last) = damaged.last_mut() else { continue };
            *last ^= 1;
            write(&path, &damaged);
            if forgetful {
                fs::remove_dir_all(project.store().join("steps")).unwrap();
            }
            let ended = project.run(&["build", "--offline", "-o", "out", "--progress", "none"]);
            let name = path.file_name().unwrap().to_str().unwrap();
            if ended.status == Some(0) {
                let built = files.map(|name| Sha256::of(project.read(&format!("out/{name}"))));
                assert_eq!(built, whole, "{name}");
                fs::remove_dir_all(project.path("out")).unwrap();
            } else {
                refused += 1;
                assert_eq!(ended.status, Some(8), "{name}: {}", ended.stderr);
                assert!(ended.stderr.contains("is damaged: it has become"), "{}", ended.stderr);
                assert!(
                    ended.stderr.contains("hint: remove `DIR/store/blobs/"),
                    "{}",
                    ended.stderr
                );
                assert!(!project.path("out").exists());
            }
            write(&path, &content);
        }
    }
    assert!(refused > 20, "{refused}");
}

/// A flipped bit in a mode would be a wrong mode in the image, which its manifest attests.
#[test]
fn a_damaged_result_of_a_step_is_made_again() {
    let project = Project::locked();
    project.good(&["build", "-o", "whole"]);
    let files = ["root.img", "disk.raw", "manifest.txt"];
    let digests = |of: &str| files.map(|name| Sha256::of(project.read(&format!("{of}/{name}"))));
    let whole = digests("whole");
    let kinds = fs::read_dir(project.store().join("steps")).unwrap();
    for kind in kinds.map(|entry| entry.unwrap().path()) {
        for result in fs::read_dir(&kind).unwrap().map(|entry| entry.unwrap().path()) {
            let mut bytes = fs::read(&result).unwrap();
            let Some(at) = bytes.iter().rposition(|byte| *byte == b'4') else { continue };
            bytes[at] = b'5';
            fs::write(&result, bytes).unwrap();
        }
        project.good(&["build", "--offline", "-o", "out"]);
        assert_eq!(digests("out"), whole, "{}", kind.display());
        fs::remove_dir_all(project.path("out")).unwrap();
    }
}

#[test]
fn a_damaged_file_of_the_root_is_told_by_its_path_and_component() {
    let project = Project::locked();
    project.good(&["build"]);
    project.write("overlay/etc/motd", "another\n");
    for (content, path, from) in [
        ("runs containers", "/usr/sbin/runc", "runc"),
        ("OrlopOS", "/usr/lib/os-release", "system"),
    ] {
        let of_content = |path: &PathBuf| {
            let bytes = fs::read(path).unwrap();
            bytes.len() < 1000 && String::from_utf8_lossy(&bytes).contains(content)
        };
        let blob = blobs(&project.store()).into_iter().find(of_content).unwrap();
        let whole = fs::read(&blob).unwrap();
        write(&blob, &vec![b'x'; whole.len()]);
        let ended = project.run(&["build", "--offline", "--progress", "none"]);
        assert_eq!(ended.status, Some(8), "{}", ended.stderr);
        let named = format!("{path}, from {from}");
        assert!(ended.stderr.starts_with("error[E0801]: "), "{}", ended.stderr);
        assert!(ended.stderr.contains(&named), "{}", ended.stderr);
        write(&blob, &whole);
    }
}

/// Nor is a directory of the user made into a store.
#[test]
fn a_command_that_puts_nothing_in_makes_no_store_of_what_was_named_wrongly() {
    let project = Project::locked();
    project.write("mine/thesis.txt", "x");
    let list = |path: &Path| fs::read_dir(path).unwrap().count();
    for wrong in ["wrong", "mine"] {
        for (words, what) in [
            (&["store", "verify"][..], "verify"),
            (&["clean"], "clean"),
            (&["clean", "--older-than", "0d"], "clean"),
            (&["clean", "--dry-run"], "clean"),
            (&["build", "--offline"], "build from"),
        ] {
            let words = [words, &["--store", wrong, "--progress", "none"]].concat();
            let ended = project.run(&words);
            assert_eq!(ended.status, Some(7), "{words:?}");
            let said = format!("error[E0701]: there is no store `{wrong}` to {what}");
            assert!(ended.stderr.starts_with(&said), "{words:?}: {}", ended.stderr);
            assert!(!project.path("wrong").exists() && list(&project.path("mine")) == 1);
        }
        let path = project.good(&["store", "path", "--store", wrong]).stdout;
        assert_eq!(path, format!("{wrong}\n"));
        project.run(&["doctor", "--store", wrong]);
        assert!(!project.path("wrong").exists() && list(&project.path("mine")) == 1);
    }
}
