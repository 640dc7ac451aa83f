//! `orlop cluster`: a Kubernetes control plane on this host, until it is stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::arguments::Global;
use crate::cluster::events::Stdin;
use crate::cluster::{Events, Options, Report, Setup, parts, start};
use crate::commands::fetch::bring_go;
use crate::commands::{print, print_interrupted, print_json};
use crate::error::Result;
use crate::progress::Progress;
use crate::scaffold::search_paths;
use crate::settings::{Settings, processors};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: Options,
    /// How many things to compile at once [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
    /// Fetch nothing: modules that are not in the store are an error
    #[arg(long)]
    offline: bool,
}

/// Builds what is missing, starts the cluster, prints its kubeconfig's path when it is ready, and
/// stays until it is stopped: by a signal, or by the end of standard input if that is a pipe.
///
/// # Errors
/// Those of building and starting; [`crate::error::Id::ClusterEnded`].
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    // Its programs run out of the caches.
    let _in_use = settings.store()?;
    let fetching = if args.offline { Fetching::Forbidden } else { Fetching::Allowed };
    let jobs = args.jobs.unwrap_or_else(processors);
    let programs = programs(&args.options, fetching, jobs, settings, progress)?;
    let events = Events::watch(Stdin::Watched)?;
    let setup = Setup { programs: &programs, options: &args.options, now: settings.now };
    let Some(mut cluster) = start(&setup, &events, progress)? else {
        return if global.json { print_interrupted() } else { Ok(()) };
    };
    let report = cluster.report();
    if global.json {
        print_json(report)?;
    } else {
        progress.table(&usage(report));
        print(report.kubeconfig.display().to_string())?;
    }
    cluster.wait(&events)
}

/// Whether modules may be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetching {
    Allowed,
    Forbidden,
}

/// The programs of a cluster, built if they are not remembered.
///
/// # Errors
/// Those of finding, fetching and building the components.
pub(super) fn programs(
    options: &Options,
    fetching: Fetching,
    jobs: usize,
    settings: &Settings,
    progress: &Progress,
) -> Result<BTreeMap<&'static str, PathBuf>> {
    let directory = parts::find(options.components.as_deref(), &search_paths(), &options.with)?;
    let components = parts::load(&directory, &options.with)?;
    let store = settings.store()?;
    if fetching == Fetching::Allowed {
        for (name, component) in &components {
            bring_go(name, component, &store, settings, progress)?;
        }
    }
    let (environment, caches) = (&settings.environment, &settings.caches);
    parts::build(&components, environment, caches, &store, jobs.max(1), progress)
}

/// What to type next.
fn usage(report: &Report) -> String {
    let Report { kubectl, kubeconfig, node_config, logs, .. } = report;
    format!(
        "use it with   {} --kubeconfig {}\n\
         join a node   orlop run IMAGE --forward PORT:10250 --config {}\n\
         logs          {}\n\
         Ctrl-C ends it",
        kubectl.display(),
        kubeconfig.display(),
        node_config.display(),
        logs.display(),
    )
}
