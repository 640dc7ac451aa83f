//! A whole image as a version, before the stock program and before the library that it is made of.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::process::{judge, run};
use qemu_tests::{Orlop, workspace};

/// The stock program on a repository.
fn ostree(repository: &Path, words: &[&str]) -> Result<String> {
    let repository = format!("--repo={}", repository.display());
    judge("ostree", "ostree", words.iter().copied().chain([repository.as_str()]))
}

/// Nothing is wrong with what we wrote, all of it comes back by libostree, and the stock program
/// gives the same tree with the same metadata the same name.
pub(crate) fn judged(orlop: &Orlop) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let repository = directory.path().join("repo");
    let mut command = orlop.command();
    command.arg("commit").arg(orlop.image_directory()).arg("--repo").arg(&repository);
    let commit = run(&mut command)?;
    let commit = commit.trim();
    ostree(&repository, &["fsck", "--quiet"])?;

    let reader = workspace().join("target/judges/ostree/debug/ostree-manifest");
    let reader = reader.to_str().context("the checkout's name is text")?;
    let words = [repository.as_os_str(), commit.as_ref()];
    let read = judge(reader, "by `cargo xtask setup`", words)?;
    let manifest = fs::read_to_string(orlop.image("manifest.txt"))?;
    let odd = read.lines().zip(manifest.lines()).find(|(one, other)| one != other);
    ensure!(odd.is_none(), "libostree reads {odd:?}");
    ensure!(read == manifest, "libostree reads {} lines", read.lines().count());

    let archive = directory.path().join("tree.tar");
    let archive = archive.to_str().context("the directory's name is text")?;
    ostree(&repository, &["export", "-o", archive, commit])?;
    let theirs = directory.path().join("theirs");
    ostree(&theirs, &["init", "--mode=archive"])?;
    ostree(&theirs, &["config", "set", "archive.zlib-level", "1"])?;
    let log = run(orlop.command().args(["log", commit, "--json", "--repo"]).arg(&repository))?;
    let log: serde_json::Value = serde_json::from_str(&log)?;
    let subject = log["refs"][0]["versions"][0]["subject"].as_str().context("a subject")?;
    let subject = format!("--subject={subject}");
    let tree = format!("--tree=tar={archive}");
    let mut words = vec!["commit", "--branch=x", &tree, &subject];
    words.extend(["--timestamp=@0", "--no-bindings"]);
    let keys = [
        "orlop.disk-size",
        "orlop.kernel",
        "orlop.lock",
        "orlop.root-hash",
        "orlop.root-size",
        "orlop.uki-size",
        "version",
    ];
    let metadata = keys.map(|key| {
        let value = ostree(&repository, &["show", "--print-metadata-key", key, commit])?;
        Ok::<_, anyhow::Error>(format!("--add-metadata={key}={}", value.trim()))
    });
    let metadata: Vec<_> = metadata.into_iter().collect::<Result<_>>()?;
    words.extend(metadata.iter().map(String::as_str));
    let same = ostree(&theirs, &words)?;
    ensure!(same.trim() == commit, "the stock program says {}, and we {commit}", same.trim());
    Ok(())
}
