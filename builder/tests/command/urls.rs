//! Files from the web: counted at `lock`, fetched once, and what is secret in their addresses shown
//! nowhere.

use std::fs;
use std::path::Path;

use expect_test::expect;
use formats::digest::Sha256;

use crate::project::{Ended, Project};
use crate::server::Answer;

/// `bob`, `s3cret`.
const LOGIN: &str = "Basic Ym9iOnMzY3JldA==";

/// A project whose recipe wants this file of the project's server.
fn project(address: impl FnOnce(&str) -> String, file: &[u8]) -> Project {
    let project = Project::new();
    let address = address(&project.server.url());
    let sha256 = Sha256::of(file);
    let table = format!("[url.tool]\nurl = \"{address}\"\nsha256 = \"{sha256}\"\n");
    let table = format!("{table}unpack = {{ \".\" = \"/usr/share/tool\" }}\n\n[local.init]");
    project.change("[local.init]", &table);
    project
}

fn asked(project: &Project) -> usize {
    let requests = project.server.take_requests();
    requests.iter().filter(|path| path.starts_with("/tool")).count()
}

#[test]
fn a_file_whose_length_the_server_does_not_say_is_counted_and_fetched_once() {
    let file = b"some bytes\n".repeat(1000);
    let project = project(|server| format!("{server}/tool"), &file);
    project.server.answer("/tool", Answer::Chunked(file.clone()));
    project.good(&["lock"]);
    assert_eq!(asked(&project), 1);
    let lock = String::from_utf8(project.read("orlop.lock")).unwrap();
    assert!(lock.contains(&format!("size = {}", file.len())), "{lock}");
    project.good(&["build", "-o", "out"]);
    assert_eq!(asked(&project), 0, "lock has it in the store");
    project.server.remove("/tool");
    project.good(&["lock"]);
    assert_eq!(asked(&project), 0, "what is in the store is not asked for");
}

#[test]
fn a_file_with_another_digest_is_refused_when_the_lock_is_made() {
    let project = project(|server| format!("{server}/tool"), b"right");
    project.server.answer("/tool", Answer::Chunked(b"wrong".to_vec()));
    project.refused(
        &["lock"],
        expect![[r#"
            exit 8
            error[E0801]: `MIRROR/tool` has sha256 `SHA256`, and `SHA256` was asked for
              hint: another mirror may have the right file (`--mirror URL`); for a `url`, check its `sha256`
        "#]],
    );
    assert!(!project.path("orlop.lock").exists());
    for page in [Answer::Page, Answer::Chunked(b"<html>log in".to_vec())] {
        project.server.answer("/tool", page);
        project.refused(
            &["lock"],
            expect![[r#"
                exit 5
                error[E0507]: the server answered with a web page instead of `MIRROR/tool`
                  hint: is there a login page or a filter between this host and the server?
                  hint: if `tool` is brought here by other means, `orlop store add FILE` puts it into the store
            "#]],
        );
    }
}

/// What `orlop` says, and every file but the recipe that it wrote.
#[track_caller]
fn silent(project: &Project, ended: &Ended) {
    let secret = |bytes: &[u8]| bytes.windows(6).any(|part| part == b"s3cret");
    assert!(!secret(ended.stdout.as_bytes()), "{}", ended.stdout);
    assert!(!secret(ended.stderr.as_bytes()), "{}", ended.stderr);
    let mut waiting = vec![project.path("")];
    waiting.extend(Some(project.store()).filter(|store| store.exists()));
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() && entry.file_name() != "recipe.toml" {
                assert!(!secret(&fs::read(&path).unwrap()), "{}", path.display());
            }
        }
    }
}

#[test]
fn a_password_in_an_address_opens_the_server_and_is_seen_nowhere() {
    let project = project(|server| server.replace("://", "://bob:s3cret@") + "/tool", b"file");
    project.server.answer("/tool", Answer::Private(LOGIN, b"file".to_vec()));
    silent(&project, &project.good(&["lock"]));
    let lock = String::from_utf8(project.read("orlop.lock")).unwrap();
    assert!(lock.contains(&format!("url = \"{}/tool\"", project.server.url())), "{lock}");
    fs::remove_dir_all(project.store()).unwrap();
    silent(&project, &project.good(&["fetch"]));
    silent(&project, &project.good(&["build", "-o", "out", "--explain"]));
    for words in [&["recipe", "show"][..], &["recipe", "show", "--json"], &["check"]] {
        silent(&project, &project.good(words));
    }

    fs::remove_dir_all(project.store()).unwrap();
    silent(&project, &project.run(&["build", "--offline", "-o", "out"]));
    project.server.remove("/tool");
    for words in [&["lock"][..], &["fetch", "--json"], &["build", "-o", "out"]] {
        let ended = project.run(words);
        assert_eq!(ended.status, Some(5), "{}", ended.stderr);
        silent(&project, &ended);
    }
    // What is wrong with a recipe is shown with the line that it stands in.
    let recipe = String::from_utf8(project.read("recipe.toml")).unwrap();
    for (from, to) in
        [("/tool\"", "/tool\" \"\""), ("http://bob", "gopher://bob"), ("url = ", "uri = ")]
    {
        project.write("recipe.toml", recipe.replacen(from, to, 1));
        let ended = project.run(&["check"]);
        assert_eq!(ended.status, Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains("recipe.toml:"), "{}", ended.stderr);
        silent(&project, &ended);
    }
}

#[test]
fn the_signature_in_an_address_is_asked_for_and_seen_nowhere() {
    let query = "?X-Amz-Expires=600&X-Amz-Signature=s3cret";
    let project = project(|server| format!("{server}/tool{query}"), b"file");
    let path = format!("/tool{query}");
    project.server.answer(&path, Answer::File(b"file".to_vec()));
    silent(&project, &project.good(&["lock"]));
    fs::remove_dir_all(project.store()).unwrap();
    silent(&project, &project.good(&["build", "-o", "out"]));
    silent(&project, &project.good(&["recipe", "show"]));
    project.server.remove(&path);
    fs::remove_dir_all(project.store()).unwrap();
    let ended = project.run(&["fetch", "--progress", "plain"]);
    assert!(ended.stderr.contains("MIRROR/tool?X-Amz-Expires=...&X-Amz-Signature=..."));
    silent(&project, &ended);
}

#[test]
fn the_users_netrc_is_read_by_lock_and_fetch() {
    let project = project(|server| format!("{server}/tool"), b"file");
    project.server.answer("/tool", Answer::Private(LOGIN, b"file".to_vec()));
    project.refused(
        &["lock"],
        expect![[r#"
            exit 5
            error[E0514]: the server of `MIRROR/tool` wants a name and a password
              hint: write the name and the password for `127.0.0.1` into `~/.netrc`
              hint: if `tool` is brought here by other means, `orlop store add FILE` puts it into the store
        "#]],
    );
    let netrc = project.home().join(Path::new(".netrc"));
    fs::write(netrc, "machine 127.0.0.1 login bob password s3cret\n").unwrap();
    silent(&project, &project.good(&["lock"]));
    fs::remove_dir_all(project.store()).unwrap();
    silent(&project, &project.good(&["fetch"]));
}
