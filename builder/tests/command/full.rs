//! A disk that takes no more: whatever cannot be written is named, what was there before is there
//! still, and nothing half-done is left. Nothing can be mounted here, so a limit on the size of a
//! file stands for the disk: any write may be the one that fails.

use std::fs;
use std::path::Path;

use builder::process::Command;

use crate::project::{Ended, Project, start};

/// Runs `orlop` with a limit on files, in the shell's blocks of 512 or 1024 bytes.
fn with_limit(project: &Project, words: &[&str], blocks: u32) -> Ended {
    // A signal would end the program; without it write(2) says that there is no more room.
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mirror = format!("{}/debian", project.server.url());
    let command = project
        .placed(Command::new("/bin/sh"), &mirror)
        .args(["-c", &script, env!("CARGO_BIN_EXE_orlop"), "--progress", "none"])
        .args(words);
    project.end(start(command))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn where_nothing_more_can_be_written_nothing_half_done_is_left() {
    let project = Project::new();
    project.write("big", vec![7; 3 << 20]);
    project.good(&["lock"]);
    let lock = project.read("orlop.lock");
    let before = names(&project.path(""));
    let mut refused = Vec::new();
    for (words, ids) in [
        (&["lock"][..], &["E0702", "E0703"][..]),
        (&["fetch"], &["E0703"]),
        (&["store", "add", "big"], &["E0703"]),
        (&["build", "--no-commit"], &["E0702", "E0703"]),
    ] {
        for blocks in [0, 1, 8, 100, 1000, 10_000] {
            fs::remove_dir_all(project.store()).unwrap();
            if words[0] == "build" {
                project.good(&["fetch"]);
            }
            let ended = with_limit(&project, words, blocks);
            let told = format!("{words:?} {blocks}: {}", ended.stderr);
            if ended.status != Some(0) {
                assert_eq!(ended.status, Some(7), "{told}");
                let id = ended.stderr.get("error[".len().."error[E0000".len()).unwrap_or_default();
                assert!(ids.contains(&id), "{told}");
                assert!(ended.stderr.contains("File too large"), "{told}");
                refused.push(words[0]);
                // Where outputs are by default; there is nothing in it.
                drop(fs::remove_dir(project.path("orlop-out")));
                assert_eq!(names(&project.path("")), before, "{told}");
            }
            assert!(project.read("orlop.lock") == lock, "{told}");
            assert_eq!(names(&project.store().join("tmp")), [""; 0], "{told}");
            project.good(&["store", "verify"]);
            drop(fs::remove_dir_all(project.path("orlop-out")));
        }
    }
    for words in ["lock", "fetch", "store", "build"] {
        let times = refused.iter().filter(|refused| **refused == words).count();
        assert!(times > 1, "{words} was refused {times} times");
    }
    project.good(&["build"]);
}

#[test]
fn a_commit_for_which_there_is_no_room_leaves_the_versions_that_were_there() {
    let project = Project::locked();
    // What does not get smaller when it is deflated.
    let mut noise = 1_u32;
    let noise: Vec<u8> = (0..3 << 20)
        .map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        })
        .collect();
    project.good(&["build"]);
    let log = project.good(&["log"]).stdout;
    project.write("overlay/usr/share/noise", noise);
    project.good(&["build", "--no-commit"]);
    let mut refused = 0;
    for blocks in [0, 1, 8, 100, 1000] {
        let ended = with_limit(&project, &["commit", "orlop-out/tiny"], blocks);
        assert_eq!(ended.status, Some(7), "{blocks} {}", ended.stderr);
        refused += u32::from(ended.stderr.starts_with("error[E0708]"));
        assert_eq!(names(&project.path("orlop-out/repo/tmp")), [""; 0], "{blocks}");
        assert_eq!(project.good(&["log"]).stdout, log, "{blocks}");
    }
    assert!(refused > 1, "the store refused the others");
    project.good(&["commit", "orlop-out/tiny"]);
    assert_ne!(project.good(&["log"]).stdout, log);
    assert_eq!(project.good(&["prune", "--keep", "9"]).status, Some(0));
}

#[test]
fn a_release_for_which_there_is_no_room_leaves_what_was_published() {
    let project = crate::releases::project();
    crate::releases::publish(&project, "1.0", "site");
    let build = crate::releases::build(&project, "2.0");
    let words = ["publish", &build, "--to", "site", "--keys", "keys"];
    let root = ["verify", "site", "--root", "keys/1.root.json", "--version"];
    let mut refused = 0;
    for blocks in [0, 1, 2, 4, 8, 16, 64, 256, 1000] {
        let ended = with_limit(&project, &words, blocks);
        if ended.status != Some(0) {
            refused += 1;
            assert_eq!(ended.status, Some(7), "{blocks} {}", ended.stderr);
            assert!(ended.stderr.starts_with("error[E0702]"), "{blocks} {}", ended.stderr);
            project.good(&[&root[..], &["1.0"]].concat());
            assert_eq!(project.run(&[&root[..], &["2.0"]].concat()).status, Some(2));
        } else {
            break;
        }
    }
    assert!(refused > 2, "{refused}");
    if refused == 9 {
        project.good(&words);
    }
    project.good(&[&root[..], &["2.0"]].concat());
}
