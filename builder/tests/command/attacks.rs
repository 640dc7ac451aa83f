//! The table of attacks on `orlop verify` that `docs/testing.md` lists: whoever has the server, or the
//! directory, or some of the keys, against a user who has looked before. Each is refused with a reason, in
//! little memory, and the next honest state is taken.

mod table;

use std::fs;

use crate::project::Project;
use crate::releases::{Forger, copy, files, project, publish, verify};
use crate::server::Answer;
use table::{ATTACKS, Attack};

/// When nothing of what the tests sign is good any more.
const LATE: &str = "2100-01-01T00:00:00Z";

/// The project with its sites and with what a user has kept who has looked at 2.0.
fn scene() -> Project {
    let project = project();
    publish(&project, "1.0", "site");
    copy(&project.path("site"), &project.path("old"));
    publish(&project, "2.0", "site");
    copy(&project.path("site"), &project.path("new"));
    // A state beyond what any attack makes anybody trust.
    publish(&project, "3.0", "site");
    for _ in 0..2 {
        project.good(&["publish", "--refresh", "--to", "site", "--keys", "keys"]);
    }
    let first = verify(&project, &["new", "--root", "keys/1.root.json", "--state", "seen"]);
    assert_eq!(first.status, Some(0), "{}", first.stderr);
    project
}

#[test]
fn each_attack_is_refused_with_its_reason_in_little_memory_and_does_no_lasting_harm() {
    let project = scene();
    let [old, new] = ["old", "new"].map(|name| files(&project.path(name)));
    let root = ["--root", "keys/1.root.json", "--state", "state"];
    let documented =
        fs::read_to_string(crate::project::repository().join("docs/testing.md")).unwrap();
    let mut wrong = Vec::new();
    for Attack { name, does, says, says_over_http } in ATTACKS {
        let mut forger = Forger::new(&project, &new);
        does(&mut forger, &old);
        let site = project.path("attacked");
        for (path, bytes) in &forger.files {
            let path = site.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let served = forger.files.iter();
        let served = served.map(|(path, bytes)| (format!("/site/{path}"), bytes.clone()));
        project.server.serve(served.collect());
        let url = format!("{}/site", project.server.url());
        for (place, says) in [("attacked", *says), (&url, says_over_http.unwrap_or(says))] {
            drop(fs::remove_dir_all(project.path("state")));
            copy(&project.path("seen"), &project.path("state"));
            let ended = verify(&project, &[&[place][..], &root].concat());
            if ![Some(8), Some(5)].contains(&ended.status) || !ended.stderr.contains(says) {
                wrong.push(format!("{name} {place}: {:?} {}", ended.status, ended.stderr));
            }
            // An owner's own new root is of the other history, not of the one that follows.
            if !forger.files.contains_key("metadata/2.root.json") {
                let ended = verify(&project, &[&["site"][..], &root].concat());
                if ended.status != Some(0) {
                    wrong.push(format!("after {name}: {}", ended.stderr));
                }
            }
        }
        if !documented.contains(&format!("| {name} |")) {
            wrong.push(format!("docs/testing.md does not list: {name}"));
        }
        fs::remove_dir_all(&site).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Without what was seen before nobody can tell that a state is old, as long as its time is not over.
#[test]
fn what_is_kept_tells_an_old_state_from_the_newest() {
    let project = scene();
    let root = ["--root", "keys/1.root.json"];
    let old = |words: &[&str]| verify(&project, &[&["old"][..], &root, words].concat());
    assert_eq!(old(&[]).status, Some(0));
    let refused = old(&["--state", "seen"]);
    assert!(refused.stderr.contains("a rollback"), "{}", refused.stderr);
    let late = old(&["--at", LATE]);
    assert!(late.stderr.contains("it expired at"), "{}", late.stderr);
    // The root is asked for once.
    let again = verify(&project, &["site", "--state", "seen"]);
    assert_eq!((again.status, again.stderr.as_str()), (Some(0), ""));
    let first = verify(&project, &["site", "--state", "other"]);
    assert!(first.status == Some(0) && !project.path("other/none").exists());
    assert!(project.path("other/root.json").exists());
}

/// Whoever had the online keys has driven versions up as far as they go: the owner replaces these keys, and
/// users who were shown the attacker's metadata go on.
#[test]
fn versions_that_an_attacker_has_driven_up_fall_once_the_keys_are_replaced() {
    let project = scene();
    let mut forger = Forger::new(&project, &files(&project.path("new")));
    let last = u64::try_from(i64::MAX).unwrap();
    (forger.timestamp.version, forger.snapshot.version) = (last, last);
    forger.publish();
    for (path, bytes) in &forger.files {
        project.write(&format!("attacked/{path}"), bytes);
    }
    let look = |place| verify(&project, &[place, "--state", "seen"]);
    assert_eq!(look("attacked").status, Some(0), "all of it is signed");
    let refused = look("site").stderr;
    assert!(refused.contains("and 9223372036854775807 is trusted: a rollback"), "{refused}");

    let mut keys = String::from_utf8(project.read("keys/keys.toml")).unwrap();
    for role in ["snapshot", "timestamp"] {
        let key = format!("new-{role}");
        let new = project.good(&["keys", "new", &key, "-d", "keys", "--no-passphrase", "--json"]);
        drop(new);
        let command = project.command(&["keys", "public", &format!("keys/{key}.pem"), "--json"]);
        let value: serde_json::Value = serde_json::from_slice(&command.run().unwrap()).unwrap();
        let public = value["public"].as_str().unwrap();
        keys = keys.replace(&format!("[\"{role}\"]"), &format!("[\"{key}\"]"));
        keys += &format!("\n[key.{key}]\npublic = \"{public}\"\nfile = \"{key}.pem\"\n");
    }
    project.write("keys/keys.toml", keys);
    for role in ["snapshot", "timestamp"] {
        project.good(&["keys", "rotate", role, "--keys", "keys"]);
    }
    project.good(&["publish", "--refresh", "--to", "site", "--keys", "keys"]);
    let ended = look("site");
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
}

/// What in a directory is no file would keep a reader for ever.
#[test]
fn a_pipe_or_a_device_in_place_of_a_file_is_not_waited_for() {
    let project = scene();
    let path = project.path("new/metadata/timestamp.json");
    for target in ["pipe", "/dev/zero"] {
        fs::remove_file(&path).unwrap();
        if target == "pipe" {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        } else {
            std::os::unix::fs::symlink(target, &path).unwrap();
        }
        let ended = verify(&project, &["new", "--root", "keys/1.root.json"]);
        assert_eq!(ended.status, Some(7), "{}", ended.stderr);
        assert!(ended.stderr.contains("it is not a regular file"), "{}", ended.stderr);
    }
}

#[test]
fn a_server_that_never_ends_its_answer_is_left() {
    let project = scene();
    let files = files(&project.path("new"));
    let served = files.iter().map(|(path, bytes)| (format!("/site/{path}"), bytes.clone()));
    project.server.serve(served.collect());
    let image = Forger::new(&project, &files).path("2.0", "root.zst");
    let url = format!("{}/site", project.server.url());
    for (path, says) in [
        ("metadata/2.root.json", "has more than 524288 bytes"),
        ("metadata/timestamp.json", "has more than 16384 bytes"),
        (&image, " offers more bytes instead of "),
    ] {
        project.server.answer(&format!("/site/{path}"), Answer::Endless);
        let ended = verify(&project, &[url.as_str(), "--root", "keys/1.root.json"]);
        assert!([Some(5), Some(8)].contains(&ended.status), "{path} {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{path} {}", ended.stderr);
        match files.get(path) {
            Some(bytes) => {
                project.server.answer(&format!("/site/{path}"), Answer::File(bytes.clone()));
            }
            None => project.server.remove(&format!("/site/{path}")),
        }
    }
}
