//! `orlop run`: boots an image, or a recipe that is built first.

use std::path::Path;

use crate::arguments::{BuildArgs, Global, RecipeArgs};
use crate::cluster::{self, node};
use crate::commands::build::build;
use crate::commands::cluster::{Fetching, programs};
use crate::commands::{print_interrupted, print_json};
use crate::error::Result;
use crate::node_config;
use crate::progress::Progress;
use crate::recipe::model::Mib;
use crate::run;
use crate::settings::{Settings, processors};

/// The disk of a node with a cluster beside it.
const CLUSTER_DISK: Mib = Mib(8192);

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: run::Options,
    /// A profile of the recipe, if a recipe is to be built and booted
    #[arg(short, long, value_name = "NAME")]
    profile: Option<String>,
}

/// Boots it and stays until the guest is gone.
///
/// # Errors
/// A wrong configuration, those of building, for a recipe, and of [`run::run`].
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let mut options = args.options.clone();
    if let Some(config) = &options.config {
        // Again before QEMU starts; but a build is long to wait for a word that is misspelt.
        node_config::load(config)?;
    }
    run::ports::check(&options.forward)?;
    if is_recipe(&options.image) {
        let recipe = RecipeArgs { recipe: options.image.clone(), profile: args.profile.clone() };
        options.image = build(&recipe, &BuildArgs::default(), settings, progress)?.output;
    }
    options.json = global.json;
    let summary = if options.cluster {
        with_cluster(&options, settings, progress)?
    } else {
        Some(run::run(&options, progress)?)
    };
    match summary {
        Some(summary) if global.json => print_json(&summary),
        None if global.json => print_interrupted(),
        _ => Ok(()),
    }
}

/// Nothing comes of it if it is interrupted before the guest starts.
fn with_cluster(
    options: &run::Options,
    settings: &Settings,
    progress: &Progress,
) -> Result<Option<run::Summary>> {
    node::check(options)?;
    // The cluster's programs run out of the caches.
    let _in_use = settings.store()?;
    let mut options = options.clone();
    if options.disk.is_none() {
        // Pods pull images; what is not written takes no room on the host.
        options.disk_size.get_or_insert(CLUSTER_DISK);
    }
    let components = options.components.clone();
    let cluster = cluster::Options { components, ..cluster::Options::default() };
    let programs = programs(&cluster, Fetching::Allowed, processors(), settings, progress)?;
    let setup = cluster::Setup { programs: &programs, options: &cluster, now: settings.now };
    node::run(&options, &setup, progress)
}

/// A TOML file, or a directory that holds a recipe and is not itself the output of a build.
fn is_recipe(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
        || (path.is_dir() && path.join(crate::recipe::FILE_NAME).is_file())
}
