//! Every error id is provoked by some test of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use builder::error::Id;

use crate::project::repository;

/// Ids that no test can provoke, each with the reason.
const UNPROVOKED: [(Id, &str); 1] =
    [(Id::Bug, "a test that provokes it would have found a mistake, which is then mended")];

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What of a source file is test code.
fn tests_of(path: &Path, text: &str) -> String {
    let all_of_it = path.components().any(|part| part.as_os_str() == "tests")
        || path.file_name().is_some_and(|name| name == "tests.rs")
        || path.components().any(|part| part.as_os_str() == "qemu-tests");
    if all_of_it {
        return text.to_owned();
    }
    text.split_once("#[cfg(test)]\nmod tests {").map_or_else(String::new, |(_, tests)| tests.into())
}

#[test]
fn every_error_id_is_provoked_by_a_test() {
    let mut files = Vec::new();
    for directory in ["builder/src", "builder/tests", "qemu-tests"] {
        rust_files(&repository().join(directory), &mut files);
    }
    files.retain(|file| !file.ends_with("error/ids.rs") && !file.ends_with("command/ids.rs"));
    let tests: String =
        files.iter().map(|file| tests_of(file, &fs::read_to_string(file).unwrap())).collect();
    let words: Vec<_> = tests.split(|c: char| !c.is_ascii_alphanumeric() && c != ':').collect();
    let provoked = |id: &Id| {
        let name = format!("Id::{id:?}");
        words.iter().any(|word| word.trim_end_matches(':') == name || word.contains(id.code()))
    };
    let missing: Vec<_> = Id::ALL
        .iter()
        .filter(|id| UNPROVOKED.iter().all(|(unprovoked, _)| unprovoked != *id))
        .filter(|id| !provoked(id))
        .collect();
    assert!(missing.is_empty(), "no test provokes {missing:?}");
}
