//! The build: lock and store in, images out. Nothing here can reach the network, and nothing but
//! the recipe, the lock and the blobs they name shapes a byte of what comes out.

pub mod artifact;
pub mod boot;
pub mod circle;
pub mod contents;
pub mod kernel;
pub mod limits;
pub mod oci;
pub mod output;
pub mod owner;
pub mod packages;
pub mod parts;
pub mod report;
pub mod root;
pub mod rustc;
pub mod tree;
pub mod written;

use std::path::{Path, PathBuf};

use formats::digest::Sha256;
use formats::tree::Tree;

use crate::budget;
use crate::build::contents::Sources;
use crate::build::limits::Limits;
use crate::build::output::Output;
use crate::build::report::Report;
use crate::environment::Environment;
use crate::error::Result;
use crate::lock::Lock;
use crate::lock::model::Role;
use crate::progress::Progress;
use crate::recipe::model::Budget;
use crate::recipe::{Origins, Recipe};
use crate::source::Caches;
use crate::source::cargo::Seen;
use crate::step::{Kind, Outcome, Record, Step, Steps};
use crate::store::Store;

/// What a build works with. Nothing of it but `recipe` and `lock` may shape the images; their
/// provenance names `profile` as well.
#[derive(Debug)]
pub struct Request<'a> {
    /// What to build.
    pub recipe: &'a Recipe,
    /// Where each of its values was written.
    pub origins: &'a Origins,
    /// The profile that is laid over the recipe already, by its name, if it shapes a byte.
    pub profile: Option<&'a str>,
    /// The blobs to build it from.
    pub lock: &'a Lock,
    /// Where they are.
    pub store: &'a Store,
    /// Where compilers keep what they know.
    pub caches: &'a Caches,
    /// Where compilers are found.
    pub environment: &'a Environment,
    /// Whether a compiler that the lock does not record is an error.
    pub locked: bool,
    /// How many things to do at once.
    pub jobs: usize,
    /// The directory that will hold the images.
    pub output: &'a Path,
    /// Where versions are: the budget may be held against one.
    pub repository: &'a Path,
    /// Who watches.
    pub progress: &'a Progress,
}

/// A build that is done.
#[derive(Debug)]
pub struct Built {
    /// The directory that holds the images.
    pub output: PathBuf,
    /// What is in them.
    pub report: Report,
    /// The root that they hold.
    pub tree: Tree,
    /// Which steps were done, and why.
    pub steps: Vec<Record>,
    /// Worth a look. All have been shown.
    pub warnings: Vec<String>,
}

/// Builds all images of a recipe. If the output directory already holds this very build, it is
/// left as it is. What was `seen` of workspaces just before is not read again.
///
/// # Errors
/// The ids of all parts; the output directory is untouched then.
pub fn build(request: &Request<'_>, seen: &Seen) -> Result<Built> {
    let show = |warnings: &[String]| warnings.iter().for_each(|text| request.progress.warn(text));
    // Before anything is compiled: who has another compiler than the lock need not wait to know.
    let mut warnings = rustc::check(request, seen)?;
    show(&warnings);
    let mut built = images(request, seen)?;
    show(&built.warnings);
    warnings.append(&mut built.warnings);
    Ok(Built { warnings, ..built })
}

/// The build without that look at the compiler. The warnings are yet to be shown.
fn images(request: &Request<'_>, seen: &Seen) -> Result<Built> {
    let recipe = request.recipe;
    let mut steps = Steps::new(request.store, request.recipe.name.as_str());
    let parts = parts::gather(request, &mut steps, seen)?;
    let tree = tree::compose(request, &mut steps, &parts)?;
    let in_root = request.lock.packages.iter().filter(|package| package.role != Role::Tool);
    let packages = in_root.map(|package| (package.name.clone(), package.version.clone())).collect();
    let lock = Sha256::of(request.lock.to_toml());
    let plan = boot::Plan::new(recipe, &parts, &tree, packages, lock)?;

    let initrd = plan.initrd(&mut steps, request.store).map_err(|error| tree.blame(error))?;
    let sources = Sources { request, parts: &parts, tree: &tree };
    let inputs = plan.inputs().with("contents", sources.digest()?);
    let image_step = Step::new(Kind::Image, "image", inputs.with("orlop", output::own_identity()));
    let destination = Output::new(request.store, request.output)?;
    let mut warnings = parts.warnings.clone();
    warnings.extend(tree.warnings.iter().cloned());
    if request.store.is_read_only() {
        warnings.push(format!(
            "the store `{}` cannot be written: what is done now is not remembered",
            request.store.root().display()
        ));
    }
    let limits = Limits {
        image: recipe.name.as_str(),
        budget: &recipe.budget,
        origins: request.origins,
        repository: request.repository,
        environment: request.environment,
        progress: request.progress,
    };
    if let Some(report) = destination.holds(&image_step) {
        steps.record("image", Outcome::Hit);
        // Limits shape no byte: they may be others than when the images were made.
        if recipe.budget != Budget::default() {
            budget::check(&report.image, &limits.lines(request.output)?)?;
        }
        let output = request.output.to_owned();
        let (tree, steps) = (tree.tree, steps.records().to_vec());
        return Ok(Built { output, report, tree, steps, warnings });
    }

    let task = request.progress.task("image", Some(plan.bytes_to_write()));
    let directory = destination.begin()?;
    let written = plan.write(request.store, &initrd, &directory, &sources, &task);
    let (report, contents) = written.map_err(|error| tree.blame(error))?;
    limits.check(directory.path(), &report, &contents)?;
    steps.miss(&image_step)?;
    warnings.extend(destination.publish(directory, &image_step, &report)?);
    task.done(report.summary());
    let output = request.output.to_owned();
    let (tree, steps) = (tree.tree, steps.records().to_vec());
    Ok(Built { output, report, tree, steps, warnings })
}
