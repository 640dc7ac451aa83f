//! The command line: what can be typed, and how a failure is shown.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::arguments::Global;
use crate::commands;
use crate::error::{Error, Exit, Failure, Id, Result};
use crate::progress::Progress;
use crate::settings::Settings;

/// Builds immutable node images for containers: kernel, containerd and nothing else.
///
/// Results go to stdout, everything else to stderr. The exit status is 0 when all is well, 1 when
/// a check of an image failed, 2 for a wrong command line, 3 recipe, 4 lock, 5 fetch,
/// 6 environment, 7 input and output, 8 verification, 70 a mistake of orlop's own.
#[derive(Debug, Parser)]
#[command(name = "orlop", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Begin a project: a recipe of your own that extends one of ours
    Init(commands::init::Args),
    /// Check a recipe without network
    Check(commands::check::Args),
    /// Decide on every version, and write the lock
    Lock(commands::lock::Args),
    /// Bring everything that the lock names into the store
    Fetch(commands::fetch::Args),
    /// Build the images, from lock and store alone
    Build(commands::build::Args),
    /// Boot an image in QEMU; it is never changed by that
    Run(commands::run::Args),
    /// Run a Kubernetes control plane on this host, for nodes to join, until it is stopped
    Cluster(commands::cluster::Args),
    /// Print objects of Kubernetes to apply to a cluster
    #[command(subcommand)]
    Manifests(commands::manifests::Command),
    /// Say which versions a repository has
    Log(commands::log::Args),
    /// Write the files of a version into a directory
    Checkout(commands::checkout::Args),
    /// Commit a build that is there, as `orlop build` does
    Commit(commands::commit::Args),
    /// Remove old versions from a repository
    Prune(commands::prune::Args),
    /// Say what changed between two versions of a node
    Diff(commands::diff::Args),
    /// Say what an image holds
    Inspect(commands::inspect::Args),
    /// Say what of a recipe's budget a build takes, and what is left
    Budget(commands::budget::Args),
    /// Print what is in a build, for programs that look for what is known to be bad
    Sbom(commands::sbom::Args),
    /// Print what a build was made of, and how
    Provenance(commands::sbom::ProvenanceArgs),
    /// Build twice under other conditions, or once beside a published build, and compare
    Repro(commands::repro::Args),
    /// Make a release of a build, or sign again what is published
    Publish(commands::publish::Args),
    /// Publish a release of another directory or address, as it is
    Promote(commands::publish::PromoteArgs),
    /// Take a release away
    Withdraw(commands::publish::WithdrawArgs),
    /// Bring releases from a registry into a directory
    Pull(commands::pull::Args),
    /// Check a release as a node does, and say what is trusted and until when
    Verify(commands::verify::Args),
    /// Make and show the keys that sign releases
    #[command(subcommand)]
    Keys(commands::keys::Command),
    /// Serve the files of a directory by HTTP, for trying releases, until it is stopped
    Serve(commands::serve::Args),
    /// Bring nodes of a Kubernetes cluster to another release, one after the other
    Upgrade(commands::upgrade::Args),
    /// Look at recipes
    #[command(subcommand)]
    Recipe(commands::recipe::Command),
    /// Look at node configurations
    #[command(subcommand)]
    Config(commands::config::Command),
    /// Look after the store
    #[command(subcommand)]
    Store(commands::store::Command),
    /// Remove what was not used for a while from the store and the caches, and no lock needs
    Clean(commands::clean::Args),
    /// Say what this host has and what it lacks
    Doctor,
    /// Explain an error id, such as E0301
    Explain(commands::explain::Args),
    /// Print a completion script for a shell
    Completions(commands::completions::Args),
}

/// Runs the command that was typed.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    let asked = Asked::of(&words);
    let outcome = match Cli::try_parse_from(words) {
        Ok(cli) => dispatch(cli),
        Err(error) if asked.json && error.kind() == ErrorKind::DisplayVersion => {
            commands::print_json(&serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }))
        }
        Err(error) if asked.json && error.kind() == ErrorKind::DisplayHelp => {
            Err(Error::new(Id::NoJson, "help has no JSON").hint("leave out `--json`"))
        }
        Err(error) if error.use_stderr() && asked.failures_as_json => {
            show_json(&Failure::usage(&error.to_string()));
            return ExitCode::from(Exit::Usage as u8);
        }
        Err(error) => {
            // clap has said all: to stdout for --help and --version, to stderr for mistakes.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { 0 });
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if asked.failures_as_json {
                show_json(&Failure::new(&error));
            } else {
                show(&error);
            }
            ExitCode::from(error.id().exit() as u8)
        }
    }
}

/// In which form results and failures are wanted. Read off the words themselves: it must be known
/// of a command line that cannot be parsed, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    json: bool,
    failures_as_json: bool,
}

impl Asked {
    fn of(words: &[OsString]) -> Self {
        let ours: Vec<_> = words.iter().take_while(|word| *word != "--").collect();
        let json = ours.iter().any(|word| *word == "--json");
        let after = ours.windows(2).any(|pair| pair[0] == "--progress" && pair[1] == "json");
        let progress = after || ours.iter().any(|word| *word == "--progress=json");
        Self { json, failures_as_json: json || progress }
    }
}

/// The last line of stderr.
fn show_json(failure: &Failure) {
    if let Ok(line) = serde_json::to_string(failure) {
        // There is nobody left to tell if stderr is closed.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

fn dispatch(cli: Cli) -> Result<()> {
    let global = &cli.global;
    let progress = Progress::new(global.progress);
    let settings = Settings::new(global);
    match cli.command {
        Command::Init(args) => commands::init::run(&args, global, &progress)?,
        Command::Check(args) => commands::check::run(&args, global, &progress)?,
        Command::Lock(args) => commands::lock::run(&args, global, &settings, &progress)?,
        Command::Fetch(args) => commands::fetch::run(&args, global, &settings, &progress)?,
        Command::Build(args) => commands::build::run(&args, global, &settings, &progress)?,
        Command::Run(args) => commands::run::run(&args, global, &settings, &progress)?,
        Command::Cluster(args) => commands::cluster::run(&args, global, &settings, &progress)?,
        Command::Manifests(command) => commands::manifests::run(&command, global)?,
        Command::Log(args) => commands::log::run(&args, global, &progress)?,
        Command::Checkout(args) => commands::checkout::run(&args, global, &progress)?,
        Command::Commit(args) => commands::commit::run(&args, global, &settings, &progress)?,
        Command::Prune(args) => commands::prune::run(&args, global, &progress)?,
        Command::Diff(args) => commands::diff::run(&args, global, &settings, &progress)?,
        Command::Inspect(args) => commands::inspect::run(&args, global)?,
        Command::Budget(args) => commands::budget::run(&args, global, &settings, &progress)?,
        Command::Sbom(args) => commands::sbom::run(&args, global)?,
        Command::Provenance(args) => commands::sbom::provenance(&args, global)?,
        Command::Repro(args) => commands::repro::run(&args, global, &settings, &progress)?,
        Command::Publish(args) => commands::publish::run(&args, global, &settings, &progress)?,
        Command::Promote(args) => commands::publish::promote(&args, global, &settings, &progress)?,
        Command::Withdraw(args) => commands::publish::withdraw(&args, global, &progress)?,
        Command::Pull(args) => commands::pull::run(&args, global, &settings, &progress)?,
        Command::Verify(args) => commands::verify::run(&args, global, &settings, &progress)?,
        Command::Keys(command) => commands::keys::run(&command, global, &progress)?,
        Command::Serve(args) => commands::serve::run(&args, global, &progress)?,
        Command::Upgrade(args) => commands::upgrade::run(&args, global, &settings, &progress)?,
        Command::Recipe(command) => commands::recipe::run(&command, global)?,
        Command::Config(command) => commands::config::run(&command, global)?,
        Command::Store(command) => commands::store::run(&command, global, &settings, &progress)?,
        Command::Clean(args) => commands::clean::run(&args, global, &settings, &progress)?,
        Command::Doctor => commands::doctor::run(global, &settings)?,
        Command::Explain(args) => commands::explain::run(&args, global)?,
        Command::Completions(args) => {
            commands::completions::run(&args, global, &mut Cli::command())?
        }
    }
    Ok(())
}

/// `error[E0301]: message: cause`, and what cures it.
fn show(error: &Error) {
    let mut stderr = std::io::stderr().lock();
    // There is nobody left to tell if stderr is closed.
    let _ = writeln!(stderr, "error[{}]: {}", error.id().code(), error.chain());
    for hint in error.cures() {
        let _ = writeln!(stderr, "  hint: {hint}");
    }
}

/// `orlop inspect x | head -1` is no failure.
fn is_broken_pipe(error: &Error) -> bool {
    let io =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    error.id() == Id::Stdout && io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
