//! The other side: what stock `ostree` and `zstd` make of the same trees. Objects are deflated anew by
//! `ostree` itself, for ours are packed faster and so larger.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::report::{Made, Objects};
use super::trees::{Tree, Trees};
use crate::command::{measure, output, program, run};

/// From each older tree to today's: the static delta, and what a pull fetches without it.
pub(super) fn ostree(orlop: &Path, trees: &Trees, scratch: &Path) -> Result<Vec<(Made, Objects)>> {
    let ostree = Ostree::of(orlop, trees, scratch)?;
    trees.older.iter().map(|from| Ok((ostree.delta(from)?, ostree.pull(from)?))).collect()
}

/// A repository that `ostree` has written, with a commit of each tree.
struct Ostree {
    repository: PathBuf,
    client: PathBuf,
    // Commits by the names of trees.
    commits: BTreeMap<&'static str, String>,
    today: String,
}

#[derive(Debug, Deserialize)]
struct Committed {
    version: Version,
}

#[derive(Debug, Deserialize)]
struct Version {
    commit: String,
}

impl Ostree {
    /// Commits all trees and has `ostree` write them anew.
    fn of(orlop: &Path, trees: &Trees, scratch: &Path) -> Result<Self> {
        let [ours, unpacked, repository] =
            ["ours", "unpacked", "ostree"].map(|name| scratch.join(name));
        let commit = |tree: &Tree| -> Result<String> {
            let mut command = program(orlop);
            command.args(["commit", "--json", "--channel", tree.name]).arg(&tree.directory);
            let said = output(command.arg("--repo").arg(&ours))?;
            let Committed { version } = serde_json::from_str(&said)?;
            Ok(version.commit)
        };
        let mut commits = BTreeMap::new();
        for tree in &trees.older {
            commits.insert(tree.name, commit(tree)?);
        }
        let today = commit(&trees.today)?;
        for (from, to, mode) in
            [(&ours, &unpacked, "bare-user"), (&unpacked, &repository, "archive")]
        {
            run(in_repository(to).args(["init", "--mode", mode]))?;
            for commit in commits.values().chain([&today]) {
                run(in_repository(to)
                    .arg("pull-local")
                    .arg(from)
                    .arg(commit)
                    .stdout(std::io::stderr()))?;
            }
            fs::remove_dir_all(from)?;
        }
        Ok(Self { repository, client: scratch.join("client"), commits, today })
    }

    fn commit(&self, tree: &Tree) -> Result<&str> {
        let commit = self.commits.get(tree.name);
        Ok(commit.with_context(|| format!("no commit of `{}`", tree.name))?)
    }

    /// Its static delta from an older tree, with the options that it has by itself.
    fn delta(&self, from: &Tree) -> Result<Made> {
        let mut command = in_repository(&self.repository);
        command.args(["static-delta", "generate", "--from", self.commit(from)?]);
        let cost = measure(command.args(["--to", &self.today]))?.into();
        let deltas = self.repository.join("deltas");
        let bytes = files(&deltas)?.values().sum();
        ensure!(bytes > 0, "`ostree` made no delta");
        fs::remove_dir_all(deltas)?;
        Ok(Made { bytes, cost })
    }

    /// The objects that a pull fetches which has an older tree.
    fn pull(&self, from: &Tree) -> Result<Objects> {
        run(in_repository(&self.client).args(["init", "--mode", "bare-user"]))?;
        let address = format!("file://{}", self.repository.display());
        run(in_repository(&self.client).args([
            "remote",
            "add",
            "--no-gpg-verify",
            "there",
            &address,
        ]))?;
        let objects = |commit: &str| {
            let mut pull = in_repository(&self.client);
            pull.args(["pull", "--disable-static-deltas", "there", commit]);
            run(pull.stdout(std::io::stderr()))?;
            files(&self.client.join("objects"))
        };
        let (before, after) = (objects(self.commit(from)?)?, objects(&self.today)?);
        fs::remove_dir_all(&self.client)?;
        // In the repository a file of the client has a `z` behind its name: it is packed.
        let packed = files(&self.repository.join("objects"))?;
        let fetched = after.keys().filter(|name| !before.contains_key(*name));
        let fetched =
            fetched.filter_map(|name| packed.get(name).or(packed.get(&format!("{name}z"))));
        let bytes: Vec<u64> = fetched.copied().collect();
        Ok(Objects { bytes: bytes.iter().sum(), objects: bytes.len() })
    }
}

fn in_repository(repository: &Path) -> std::process::Command {
    let mut command = program("ostree");
    // As one word: a word of its own it takes for the subcommand.
    command.arg(format!("--repo={}", repository.display()));
    command
}

/// The files below a directory, with their bytes.
fn files(directory: &Path) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    let entries = fs::read_dir(directory).with_context(|| format!("no {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            let below = files(&entry.path())?;
            found.extend(below.into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else {
            found.insert(name, entry.metadata()?.len());
        }
    }
    Ok(found)
}

/// From each older root image to today's, a patch of `zstd` at its level 19 with both in sight.
pub(super) fn zstd(trees: &Trees, scratch: &Path) -> Result<Vec<Made>> {
    let [old, new, patch] = ["old", "new", "patch"].map(|name| scratch.join(name));
    write_data(&trees.today, &new)?;
    let made = trees.older.iter().map(|from| {
        write_data(from, &old)?;
        let mut command = program("zstd");
        command.args(["-19", "--long=28", "--force", "--quiet", "--patch-from"]).arg(&old);
        let cost = measure(command.arg(&new).arg("-o").arg(&patch))?.into();
        Ok(Made { bytes: fs::metadata(&patch)?.len(), cost })
    });
    made.collect()
}

/// The data of a tree's root image in a file of their own: without the hash tree, which a node makes
/// by itself and no packer can make smaller.
fn write_data(tree: &Tree, to: &Path) -> Result<()> {
    let image = tree.directory.join("root.img");
    let data = fs::File::open(&image).with_context(|| format!("no {}", image.display()))?;
    let mut file =
        fs::File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    std::io::copy(&mut data.take(tree.data), &mut file)?;
    Ok(())
}

/// What a program says that it is.
pub(super) fn version(name: &str) -> Result<String> {
    let said = output(program(name).arg("--version"))?;
    let digits = |word: &&str| word.trim_matches(['v', '\'', ',']).starts_with(char::is_numeric);
    let found = said.split_whitespace().find(digits).unwrap_or_default();
    Ok(found.trim_matches(['v', '\'', ',']).to_owned())
}
