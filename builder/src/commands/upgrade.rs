//! `orlop upgrade`: nodes of a Kubernetes cluster come to another release, one after the other.

mod channel;
mod plan;
mod progress;
mod result;
mod status;

use std::path::PathBuf;

use ring::rand::{SecureRandom as _, SystemRandom};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use upgrade::api::{Api, Refusal};
use upgrade::check::{Question, check};
use upgrade::known::Known;
use upgrade::node::Node;
use upgrade::pods::Losses;
use upgrade::rollout::{Drain, Terms};
use upgrade::run::{Ended, Run, Runtime};

use crate::arguments::Global;
use crate::cluster::options::Life;
use crate::commands::verify::Trust;
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::signals::Signals;
use progress::Show;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub struct Args {
    /// The nodes, in the order in which they are begun
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// The release: a version, or `newest`
    #[arg(long, value_name = "VERSION", required_unless_present = "status", value_parser = release)]
    to: Option<String>,
    /// All nodes with an updater of Orlop
    #[arg(long, conflicts_with_all = ["nodes", "selector"])]
    all: bool,
    /// Those of them that have these labels, such as `zone=a`
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "nodes")]
    selector: Option<String>,
    /// The directory of releases, or its address: the release is verified before anything is changed
    #[arg(long, value_name = "PLACE")]
    channel: Option<String>,
    #[command(flatten)]
    trust: Trust,
    /// How many nodes may be cordoned by an upgrade at once
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    max_unavailable: u16,
    /// How long the pods of a node may take to leave it, such as 90s, 15m, 2h
    #[arg(long, value_name = "TIME", default_value = "15m")]
    timeout: Life,
    /// How long a node may take until it is Ready with the release
    #[arg(long, value_name = "TIME", default_value = "1h")]
    node_timeout: Life,
    /// Evict pods with an `emptyDir` volume, too: its data is lost
    #[arg(long)]
    delete_emptydir_data: bool,
    /// Evict pods, too, that no controller makes anew
    #[arg(long)]
    force: bool,
    /// Evict no pods: the node ends them when it goes down
    #[arg(long, conflicts_with_all = ["delete_emptydir_data", "force"])]
    no_drain: bool,
    /// Say what would be done and what each node would fetch, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Say what each node runs and where it is on its way, and change nothing
    #[arg(long, conflicts_with_all = ["to", "channel", "dry_run"])]
    status: bool,
    /// How the status is printed
    #[arg(long, value_name = "FORMAT", default_value = "table", requires = "status")]
    format: Format,
    /// The kubeconfig [default: the files that `KUBECONFIG` names, or `~/.kube/config`]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// How the status is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

fn release(text: &str) -> Result<String, String> {
    let asked = formats::fleet::Asked { release: text.to_owned(), request: None };
    asked.version().map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// Upgrades nodes, or says what would be done, or how they are.
///
/// # Errors
/// [`Id::Kubeconfig`], [`Id::ApiServer`]; those of [`crate::release::verify::verify()`] with a channel;
/// what stands against it ([`plan::refuse`]); what came of the first node that failed ([`result::end`]);
/// [`Id::UpgradeStopped`].
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let runtime = Runtime::new().or_fail(Id::ApiServer, || "cannot speak with an API server")?;
    let api = runtime.block_on(Api::new(args.kubeconfig.as_deref(), args.context.as_deref()));
    let api = api.or_fail(Id::Kubeconfig, || "cannot use the kubeconfig")?;
    if args.status {
        return runtime.block_on(status::show(args, global, &api));
    }
    let asked = args.to.as_deref().unwrap_or(formats::fleet::NEWEST);
    let known = channel::look(args, asked, settings, progress)?;
    let terms = terms(args, known.as_ref().map_or(asked, |known| known.release.version.as_str()))?;
    let (names, checked) = runtime.block_on(look(args, &api, &terms, known.as_ref(), progress))?;
    checked.warnings.iter().for_each(|warning| progress.warn(warning));
    if !checked.problems.is_empty() {
        return Err(plan::refuse(checked.problems));
    }
    if args.dry_run {
        return plan::show(global, &terms, &checked);
    }
    let run = Run::new(api.clone(), terms.clone(), names);
    let stop = run.stop();
    let signals = [SIGINT, SIGTERM, SIGHUP];
    let _signals = Signals::watch([(&signals[..], Box::new(move || stop.stop()) as _)])
        .or_fail(Id::ApiServer, || "cannot watch for signals")?;
    let mut show = Show::new(progress);
    let ended = runtime.block_on(run.run(&mut |news| show.tell(&news)));
    drop(show);
    match ended.map_err(|refusal| unanswered(&api, refusal))? {
        Ended::Over(outcomes) => result::end(global, &terms, &outcomes),
        Ended::Stopped(shown) => result::stopped(global, &terms, &shown),
    }
}

fn terms(args: &Args, release: &str) -> Result<Terms> {
    let may = Losses { unmanaged: args.force, data: args.delete_emptydir_data };
    let mut bytes = [0; 8];
    let drawn =
        SystemRandom::new().fill(&mut bytes).map_err(|_| "the host gives no random numbers");
    drawn.or_fail(Id::ApiServer, || "cannot name the request")?;
    Ok(Terms {
        release: release.to_owned(),
        request: format!("{:016x}", u64::from_be_bytes(bytes)),
        max_unavailable: args.max_unavailable.into(),
        drain: if args.no_drain { Drain::Leave } else { Drain::Evict(may) },
        drain_limit: args.timeout.time(),
        node_limit: args.node_timeout.time(),
    })
}

/// Looks at the cluster: which nodes are meant, and what stands against it.
async fn look(
    args: &Args,
    api: &Api,
    terms: &Terms,
    known: Option<&Known>,
    progress: &Progress,
) -> Result<(Vec<String>, upgrade::check::Checked)> {
    let refused = |refusal| unanswered(api, refusal);
    let nodes = api.nodes(None).await.map_err(refused)?;
    let names = select(args, api, &nodes, progress).await?;
    let (pods, budgets) = match terms.drain {
        Drain::Evict(_) => {
            (api.pods().await.map_err(refused)?, api.budgets().await.map_err(refused)?)
        }
        Drain::Leave => (Vec::new(), Vec::new()),
    };
    let server = api.version().await.map_err(refused)?;
    let (nodes, pods, budgets, server) = (&nodes[..], &pods[..], &budgets[..], server.as_str());
    let checked = check(&Question { terms, names: &names, nodes, pods, budgets, server, known });
    Ok((names, checked))
}

/// The nodes that are meant, in order.
async fn select(
    args: &Args,
    api: &Api,
    nodes: &[Node],
    progress: &Progress,
) -> Result<Vec<String>> {
    let mut names = Vec::new();
    if args.all || args.selector.is_some() {
        let chosen = choose(args, api, nodes).await?;
        let (ours, others): (Vec<_>, Vec<_>) =
            chosen.into_iter().partition(|node| node.status.is_some());
        names.extend(ours.into_iter().map(|node| node.name));
        if !others.is_empty() {
            let others: Vec<_> = others.into_iter().map(|node| node.name).collect();
            progress.note(format!("left out, without an updater of Orlop: {}", others.join(", ")));
        }
    } else {
        for name in &args.nodes {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    if names.is_empty() {
        return Err(Error::new(Id::UnfitNode, "no node is meant")
            .hint("name nodes, or give `--all` or `-l SELECTOR`"));
    }
    Ok(names)
}

/// All nodes, or those that a selector takes.
async fn choose(args: &Args, api: &Api, nodes: &[Node]) -> Result<Vec<Node>> {
    let Some(selector) = &args.selector else { return Ok(nodes.to_vec()) };
    match api.nodes(Some(selector)).await {
        Err(refusal) if refusal.is_mistake() => {
            Err(Error::new(Id::UnfitNode, format!("`{selector}` is no selector"))
                .caused_by(refusal)
                .hint("write it as `kubectl get nodes -l` takes it, such as `zone=a`"))
        }
        nodes => nodes.map_err(|refusal| unanswered(api, refusal)),
    }
}

/// What an upgrade cannot do without.
fn unanswered(api: &Api, refusal: Refusal) -> Error {
    Error::new(Id::ApiServer, format!("cannot ask the API server `{}`", api.server()))
        .caused_by(refusal)
}
