//! The trees that updates go between: nodes by recipes of `xtask/update`, which extend those of this
//! repository and pin one older part. They are built below `target/update`, where images and locks stay
//! for the next run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::super::copy_tree;
use super::report::Skipped;
use crate::command::{line, program, run, workspace};

/// The node that updates lead to, and the version under which it is published.
pub(super) const TODAY: &str = "today";

/// What can be older in a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in super::super) enum Part {
    Kernel,
    Containerd,
    Kubelet,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
        }
    }

    /// Recipes of nodes in which it is older. The first that can be had is taken.
    fn recipes(self) -> &'static [&'static str] {
        match self {
            Self::Kernel => &["older-kernel", "kernel-of-the-release"],
            Self::Containerd => &["older-containerd"],
            Self::Kubelet => &["older-kubelet"],
        }
    }

    /// Whether these recipes ask for other packages than today's, and so have locks of their own.
    fn has_own_lock(self) -> bool {
        self == Self::Kernel
    }
}

/// A build.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// What is older in it, and the version under which it is published.
    pub(super) name: &'static str,
    pub(super) directory: PathBuf,
    /// Bytes of the root image without its hash tree.
    pub(super) data: u64,
    pub(super) versions: Versions,
}

/// What updates are about, as a tree has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Versions {
    pub(super) kernel: String,
    pub(super) containerd: Option<String>,
    pub(super) kubernetes: Option<String>,
}

/// All trees of a run.
#[derive(Debug)]
pub(super) struct Trees {
    pub(super) today: Tree,
    pub(super) older: Vec<Tree>,
    /// What cannot be had here.
    pub(super) skipped: Vec<Skipped>,
}

#[derive(Debug, Deserialize)]
struct BuildReport {
    kernel: String,
    root: Root,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Root {
    data_size: u64,
}

#[derive(Debug, Deserialize)]
struct Contents {
    libraries: BTreeMap<String, serde_json::Value>,
}

/// Where the recipes are copied to and everything is kept: no file of the repository changes.
pub(super) fn place() -> Result<PathBuf> {
    let place = workspace().join("target/update");
    copy_tree(&workspace().join("xtask/update"), &place)?;
    Ok(place)
}

fn recipe(place: &Path, name: &str) -> PathBuf {
    place.join(format!("{name}.toml"))
}

impl Trees {
    /// The node as it would be locked now, and of the older ones those that can be had.
    pub(super) fn of_nodes(orlop: &Path, parts: &[Part]) -> Result<Self> {
        let place = place()?;
        let newest = recipe(&place, TODAY);
        // Others are locked with it, so that no other package comes in between.
        let locks = !fits(orlop, &newest);
        if locks {
            lock(orlop, &newest)?;
        }
        let today = build(orlop, TODAY, &newest)?;
        let (mut older, mut skipped) = (Vec::new(), Vec::new());
        for part in parts {
            let mut why = Vec::new();
            for candidate in part.recipes() {
                let recipe = recipe(&place, candidate);
                let locked = if !part.has_own_lock() {
                    copy_lock(&newest.with_extension("lock"), &recipe)
                } else if locks || !fits(orlop, &recipe) {
                    lock(orlop, &recipe)
                } else {
                    Ok(())
                };
                match locked.and_then(|()| build(orlop, part.name(), &recipe)) {
                    Ok(tree) if tree.versions == today.versions => {
                        why.push(format!("`{candidate}` is no older"));
                    }
                    Ok(tree) => {
                        older.push(tree);
                        why.clear();
                        break;
                    }
                    Err(error) => why.push(format!("`{candidate}`: {error:#}")),
                }
            }
            if !why.is_empty() {
                skipped.push(Skipped { of: part.name(), why });
            }
        }
        Ok(Self { today, older, skipped })
    }
}

/// The recipe of a node in which this part is older, locked and fetched.
pub(in super::super) fn recipe_of(orlop: &Path, part: Part) -> Result<PathBuf> {
    let trees = Trees::of_nodes(orlop, &[part])?;
    if let Some(tree) = trees.older.first() {
        return Ok(tree.directory.with_extension("toml"));
    }
    let why = trees.skipped.iter().flat_map(|skipped| &skipped.why).cloned().collect::<Vec<_>>();
    bail!("no node with an older {} is to be had: {}", part.name(), why.join("; "))
}

/// Whether there is a lock of this recipe, and it is not stale.
fn fits(orlop: &Path, recipe: &Path) -> bool {
    let check = program(orlop).arg("check").arg(recipe).output();
    recipe.with_extension("lock").exists() && check.is_ok_and(|output| output.status.success())
}

/// Locks a recipe. What `orlop` says against it is the error: it is the reason that is shown.
fn lock(orlop: &Path, recipe: &Path) -> Result<()> {
    let mut command = program(orlop);
    command.arg("lock").arg(recipe);
    eprintln!("$ {}", line(&command));
    let output = command.output().with_context(|| line(&command))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().skip_while(|line| !line.starts_with("error"));
    bail!("{}", lines.map(str::trim).collect::<Vec<_>>().join("; "))
}

fn copy_lock(from: &Path, recipe: &Path) -> Result<()> {
    let to = recipe.with_extension("lock");
    fs::copy(from, &to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(())
}

/// Fetches and builds what is locked.
fn build(orlop: &Path, name: &'static str, recipe: &Path) -> Result<Tree> {
    let directory = recipe.with_extension("");
    run(program(orlop).arg("fetch").arg(recipe).stdout(std::io::stderr()))?;
    let mut build = program(orlop);
    build.args(["build", "--no-commit"]).arg(recipe).arg("-o").arg(&directory);
    run(build.stdout(std::io::stderr()))?;
    tree(name, directory)
}

/// What a build says of itself.
fn tree(name: &'static str, directory: PathBuf) -> Result<Tree> {
    let read = |file: &str| {
        let path = directory.join(file);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let report: BuildReport = serde_json::from_slice(&read("build.json")?)?;
    let contents: Contents = serde_json::from_slice(&read("contents.json")?)?;
    let module = |path: &str| {
        let start = format!("go/{path}@");
        contents.libraries.keys().find_map(|name| Some(name.strip_prefix(&start)?.to_owned()))
    };
    let versions = Versions {
        kernel: report.kernel,
        containerd: module("github.com/containerd/containerd/v2"),
        kubernetes: module("k8s.io/kubernetes"),
    };
    Ok(Tree { name, data: report.root.data_size, directory, versions })
}
