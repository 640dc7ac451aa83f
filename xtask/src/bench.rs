//! Figures for people: what builds and boots cost. CPU-seconds and bytes are steady on a busy machine,
//! wall time is not and is not shown. Nothing here is a test.

mod boot;
pub(crate) mod qemu;
mod update;
mod upgrade;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::command::{Usage, measure, program, workspace};
use crate::image;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// What `orlop build` costs: cold, nothing changed, one overlay file changed; and the commit of
    /// a node, and of one that is there already
    Build {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What a boot takes until PID 1, the CRI, kubelet and the first pod, in guest time that is the
    /// same on any host, beside the floor; and the memory of a node with two pods
    Boot(boot::Args),
    /// What an update of a node costs, from one with an older kernel, containerd or kubelet: bytes by
    /// delta, by blocks and whole, beside stock `ostree` and `zstd`; and what publishing, verifying and
    /// applying take
    Update(update::Args),
    /// What an upgrade costs a node in QEMU: bytes, blocks, memory; and the time until a pod runs again,
    /// by the firmware and by kexec, beside that of a plain restart
    Upgrade(upgrade::Args),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Figure {
    what: &'static str,
    cpu_seconds: f64,
    target_cpu_seconds: Option<f64>,
    peak_memory_bytes: u64,
    bytes_on_disk: u64,
}

pub(crate) fn run(command: &Command) -> Result<()> {
    let json = match command {
        Command::Build { json } => json,
        Command::Boot(args) => return boot::run(args),
        Command::Update(args) => return update::run(args),
        Command::Upgrade(args) => return upgrade::run_node(args),
    };
    let figures = build_figures(&image::orlop()?, true)?;
    if *json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
        return Ok(());
    }
    println!(
        "{:<44} {:>8} {:>8} {:>12} {:>14}",
        "orlop build recipes/base.toml", "CPU-s", "target", "peak MB", "MB on disk"
    );
    for figure in &figures {
        let target = figure.target_cpu_seconds.map_or("-".to_owned(), |t| format!("{t:.1}"));
        println!(
            "{:<44} {:>8.2} {:>8} {:>12.0} {:>14.1}",
            figure.what,
            figure.cpu_seconds,
            target,
            figure.peak_memory_bytes as f64 / 1e6,
            figure.bytes_on_disk as f64 / 1e6
        );
    }
    Ok(())
}

/// Takes the figures that do not take minutes, for a test that they can be taken.
pub(crate) fn try_out(orlop: &Path) -> Result<()> {
    build_figures(orlop, false)?;
    boot::try_out(orlop)
}

fn build_figures(orlop: &Path, with_compilers: bool) -> Result<Vec<Figure>> {
    image::build(orlop, "base")?;
    let scratch = tempfile::tempdir_in(workspace().join("target"))?;
    // A copy, so that a file of the overlay can be changed.
    let project = scratch.path().join("project");
    copy_tree(&workspace(), &project)?;
    let recipe = project.join("recipes/base.toml");
    let output = scratch.path().join("out");
    let user_store = crate::command::output(program(orlop).args(["store", "path"]))?;
    let user_store = Path::new(user_store.trim());
    let store = scratch.path().join("store");
    let build = |store: &Path| {
        let mut command = program(orlop);
        command
            .arg("--store")
            .arg(store)
            .args(["build", "--offline", "--no-commit"])
            .arg(&recipe)
            .arg("-o")
            .arg(&output);
        command
    };
    let figure = |what, usage: Usage, target| -> Result<Figure> {
        Ok(Figure {
            what,
            cpu_seconds: usage.cpu_seconds,
            target_cpu_seconds: target,
            peak_memory_bytes: usage.peak_memory,
            bytes_on_disk: disk_usage(&output)?,
        })
    };

    let mut figures = Vec::new();
    if with_compilers {
        // Their own caches are new; only what they have fetched is lent to them.
        let cache = scratch.path().join("cache");
        let caches = user_store.parent().context("the store has no parent")?;
        fs::create_dir_all(cache.join("orlop"))?;
        std::os::unix::fs::symlink(caches.join("go"), cache.join("orlop/go"))?;
        let store = scratch.path().join("compile-store");
        seed_store(user_store, &store, &FETCHED)?;
        let usage = measure(build(&store).env("XDG_CACHE_HOME", &cache))?;
        figures.push(figure("cold, and Go and Rust parts compiled", usage, None)?);
        fs::remove_dir_all(&output)?;
    }

    seed_store(user_store, &store, &[&FETCHED[..], &["go", "cargo"]].concat())?;
    let mut measured = |what, target| -> Result<()> {
        figures.push(figure(what, measure(&mut build(&store))?, Some(target))?);
        Ok(())
    };
    measured("cold, Go and Rust parts already built", 16.0)?;
    measured("nothing changed", 0.2)?;
    let motd = project.join("rootfs-overlays/base/etc/motd");
    fs::write(&motd, "a changed file\n")
        .with_context(|| format!("cannot write {}", motd.display()))?;
    measured("one overlay file changed", 1.0)?;
    // A node takes minutes to compile, so a trial does with the base.
    let name = if with_compilers { "node" } else { "base" };
    figures.extend(commit_figures(orlop, name, user_store, scratch.path())?);
    Ok(figures)
}

/// What a version costs, where the contents are in the store and nothing is known of them.
fn commit_figures(
    orlop: &Path,
    name: &str,
    user_store: &Path,
    scratch: &Path,
) -> Result<Vec<Figure>> {
    let image = image::build(orlop, name)?;
    let (store, repository) = (scratch.join("commit-store"), scratch.join("repo"));
    seed_blobs(user_store, &store, &fs::read_to_string(image.join("manifest.txt"))?)?;
    let commit = |what, target| -> Result<Figure> {
        let mut command = program(orlop);
        command.arg("--store").arg(&store).arg("commit").arg(&image);
        let usage = measure(command.arg("--repo").arg(&repository))?;
        Ok(Figure {
            what,
            cpu_seconds: usage.cpu_seconds,
            target_cpu_seconds: Some(target),
            peak_memory_bytes: usage.peak_memory,
            bytes_on_disk: disk_usage(&repository)?,
        })
    };
    Ok(vec![commit("the first commit of a node", 3.0)?, commit("the same node again", 0.1)?])
}

/// What `fetch` brings, by the kinds of its steps; `qemu_tests::store::seed` has them too.
const FETCHED: [&str; 3] = ["go-toolchain", "go-modules", "crates"];

/// A store that holds the packages of the lock and the results of these kinds of steps only.
fn seed_store(from: &Path, to: &Path, kinds: &[&str]) -> Result<()> {
    let mut text = fs::read_to_string(workspace().join("recipes/base.lock"))?;
    for kind in kinds {
        let directory = from.join("steps").join(kind);
        copy_tree(&directory, &to.join("steps").join(kind))?;
        for entry in fs::read_dir(&directory)? {
            text += &fs::read_to_string(entry?.path())?;
            text.push('\n');
        }
    }
    seed_blobs(from, to, &text)
}

/// Lends a store the blobs whose digests stand in this text.
fn seed_blobs(from: &Path, to: &Path, text: &str) -> Result<()> {
    let words = text.split(|c: char| !c.is_ascii_hexdigit());
    let digests: BTreeSet<_> = words.filter(|word| word.len() == 64).collect();
    for digest in digests {
        let name = Path::new("blobs").join(&digest[..2]).join(digest);
        if from.join(&name).exists() {
            fs::create_dir_all(to.join("blobs").join(&digest[..2]))?;
            fs::copy(from.join(&name), to.join(&name))?;
        }
    }
    Ok(())
}

/// Copies a directory without what git, compilers and `orlop` keep in it.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        if [".git", "target", "orlop-out"].iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Bytes that the files of a directory take on the disk, holes not counted.
fn disk_usage(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        bytes += std::os::unix::fs::MetadataExt::blocks(&entry.metadata()?) * 512;
        if entry.file_type()?.is_dir() {
            bytes += disk_usage(&entry.path())?;
        }
    }
    Ok(bytes)
}
