//! Our side: the trees are published, and an update is applied, all by the programs that people have.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::report::{Blocks, Cost, Publish, Uki};
use super::trees::{TODAY, Tree, Trees};
use crate::command::{cargo, measure, output, program, run, workspace};

/// Our figures.
pub(super) struct Ours {
    pub(super) publish: Publish,
    pub(super) whole_bytes: u64,
    pub(super) tree_bytes: u64,
    pub(super) ukis: Vec<Uki>,
    pub(super) verify: Cost,
    /// From each older tree: the delta's bytes, what it costs to apply, and the way by blocks.
    pub(super) applied: Vec<(u64, Cost, Blocks)>,
}

/// Publishes the trees and takes each way from the older ones to today's.
pub(super) fn measured(orlop: &Path, trees: &Trees, scratch: &Path) -> Result<Ours> {
    let (releases, publish) = Releases::publish(orlop, trees, scratch)?;
    let made = scratch.join("applied");
    let applied = trees.older.iter().map(|from| {
        let bytes = releases.size(&format!("delta/{}.delta", from.name))?;
        Ok((bytes, releases.apply(from, &trees.today, &made)?, releases.blocks(from)?))
    });
    Ok(Ours {
        publish,
        whole_bytes: releases.size("root.zst")?,
        tree_bytes: releases.size("root.tree.zst")?,
        ukis: releases.ukis()?,
        verify: releases.verify(orlop)?,
        applied: applied.collect::<Result<_>>()?,
    })
}

/// A directory of releases: the older trees, and today's with a delta from each.
struct Releases {
    directory: PathBuf,
    root: PathBuf,
    /// The program that applies, built as it would be for a node.
    update: PathBuf,
}

impl Releases {
    /// Publishes all trees, today's at last, and says what that costs.
    fn publish(orlop: &Path, trees: &Trees, scratch: &Path) -> Result<(Self, Publish)> {
        let (directory, keys) = (scratch.join("releases"), scratch.join("keys"));
        let mut make = program(orlop);
        make.args(["keys", "init", "--no-passphrase"]).arg(&keys);
        run(make.stdout(std::io::stderr()))?;
        let publish = |tree: &Tree, to: &Path, deltas: usize| -> Result<Cost> {
            let mut command = program(orlop);
            command.arg("publish").arg(&tree.directory).arg("--to").arg(to);
            command.arg("--keys").arg(&keys).args(["--version", tree.name]);
            Ok(measure(command.args(["--deltas", &deltas.to_string()]))?.into())
        };
        let mut without_deltas = None;
        for tree in &trees.older {
            without_deltas = Some(publish(tree, &directory, 0)?);
        }
        let deltas = trees.older.len();
        let whole = publish(&trees.today, &directory, deltas)?;
        let cost = Publish { deltas, whole, without_deltas };
        let root = keys.join("1.root.json");
        Ok((Self { directory, root, update: build_update()? }, cost))
    }

    /// A file of a release: its name has its digest in front.
    fn file(&self, version: &str, name: &str) -> Result<PathBuf> {
        let (below, name) = name.rsplit_once('/').unwrap_or(("", name));
        let directory = self.directory.join("targets").join(version).join(below);
        let found = names(&directory)?.into_iter().find(|(_, known)| known == name);
        let (file, _) = found.with_context(|| format!("the release {version} has no {name}"))?;
        Ok(directory.join(file))
    }

    /// Bytes of a file of today's release.
    fn size(&self, name: &str) -> Result<u64> {
        Ok(fs::metadata(self.file(TODAY, name)?)?.len())
    }

    /// All files of today's release that are of the UKI, deltas among them.
    fn ukis(&self) -> Result<Vec<Uki>> {
        let release = self.directory.join("targets").join(TODAY);
        let mut ukis = Vec::new();
        for directory in [release.clone(), release.join("delta")] {
            if !directory.exists() {
                continue;
            }
            for (file, name) in names(&directory)? {
                if name.starts_with("uki") || name.ends_with(".uki.delta") {
                    ukis.push(Uki { name, bytes: fs::metadata(directory.join(file))?.len() });
                }
            }
        }
        ukis.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(ukis)
    }

    /// What it costs a node to make today's root image of an older one, from file to file. The image
    /// that was made is compared with the one that was built.
    fn apply(&self, from: &Tree, to: &Tree, made: &Path) -> Result<Cost> {
        let mut command = self.update("delta", from)?;
        command.arg(self.file(TODAY, &format!("delta/{}.delta", from.name))?).arg(made);
        let cost = measure(&mut command)?.into();
        let image = to.directory.join("root.img");
        // Not read here: what this process has had in memory counts as that of what it starts next, for
        // the kernel takes the peak of who calls exec(2) along.
        let same = run(program("cmp").arg(made).arg(image).stdout(std::io::stderr()));
        same.context("what was applied is another image")?;
        Ok(cost)
    }

    /// What would be fetched of today's root image by blocks.
    fn blocks(&self, from: &Tree) -> Result<Blocks> {
        let mut command = self.update("blocks", from)?;
        command.arg(self.file(TODAY, "root.zst")?).arg(self.file(TODAY, "root.tree.zst")?);
        Ok(serde_json::from_str(&output(&mut command)?)?)
    }

    fn update(&self, way: &str, from: &Tree) -> Result<std::process::Command> {
        let mut command = program(&self.update);
        command.arg(way).arg(self.file(from.name, "release.json")?);
        command.arg(from.directory.join("root.img")).arg(self.file(TODAY, "release.json")?);
        Ok(command)
    }

    /// What it costs to verify today's release.
    fn verify(&self, orlop: &Path) -> Result<Cost> {
        let mut command = program(orlop);
        command.arg("verify").arg(&self.directory).arg("--root").arg(&self.root);
        Ok(measure(command.args(["--version", TODAY]))?.into())
    }
}

/// The files of a directory, each with its name without the digest in front.
fn names(directory: &Path) -> Result<Vec<(String, String)>> {
    let mut names = Vec::new();
    let entries = fs::read_dir(directory).with_context(|| format!("no {}", directory.display()))?;
    for entry in entries {
        let file = entry?.file_name().to_string_lossy().into_owned();
        match file.split_once('.') {
            Some((digest, name)) if digest.len() == 64 => {
                names.push((file.clone(), name.to_owned()));
            }
            Some(_) => bail!("`{file}` has no digest in front"),
            // The directory of deltas.
            None => {}
        }
    }
    Ok(names)
}

/// Builds `updater/examples/root-update.rs`, and says where it is.
fn build_update() -> Result<PathBuf> {
    let example = ["--package", "updater", "--example", "root-update"];
    run(cargo().args(["build", "--quiet", "--release"]).args(example))?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    Ok(target.join("release/examples/root-update"))
}
