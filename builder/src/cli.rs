//! The command line: what can be typed, and how a failure is shown.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::arguments::Global;
use crate::commands;
use crate::error::{Error, Exit, Id, Result};
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
    /// Say what an image holds
    Inspect(commands::inspect::Args),
    /// Look at recipes
    #[command(subcommand)]
    Recipe(commands::recipe::Command),
    /// Look at node configurations
    #[command(subcommand)]
    Config(commands::config::Command),
    /// Look after the store
    #[command(subcommand)]
    Store(commands::store::Command),
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
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            // clap has said all: to stdout for --help and --version, to stderr for mistakes.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { 0 });
        }
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            show(&error);
            ExitCode::from(error.id().exit() as u8)
        }
    }
}

fn dispatch(cli: Cli) -> Result<()> {
    let global = &cli.global;
    let progress = Progress::new(global.progress);
    let settings = Settings::new(global);
    match cli.command {
        Command::Init(args) => commands::init::run(&args, &progress)?,
        Command::Check(args) => commands::check::run(&args, global, &progress)?,
        Command::Lock(args) => commands::lock::run(&args, global, &settings, &progress)?,
        Command::Fetch(args) => commands::fetch::run(&args, &settings, &progress)?,
        Command::Build(args) => commands::build::run(&args, global, &settings, &progress)?,
        Command::Run(args) => commands::run::run(&args, global, &settings, &progress)?,
        Command::Cluster(args) => commands::cluster::run(&args, global, &settings, &progress)?,
        Command::Inspect(args) => commands::inspect::run(&args, global)?,
        Command::Recipe(command) => commands::recipe::run(&command)?,
        Command::Config(command) => commands::config::run(&command, global)?,
        Command::Store(command) => commands::store::run(&command, &settings, &progress)?,
        Command::Doctor => commands::doctor::run(global, &settings)?,
        Command::Explain(args) => commands::explain::run(&args)?,
        Command::Completions(args) => commands::completions::run(&args, &mut Cli::command())?,
    }
    Ok(())
}

/// `error[E0301]: message: cause`, and what cures it.
fn show(error: &Error) {
    let mut stderr = std::io::stderr().lock();
    // There is nobody left to tell if stderr is closed.
    let _ = writeln!(stderr, "error[{}]: {}", error.id().code(), error.chain());
    for hint in error.hints() {
        let _ = writeln!(stderr, "  hint: {hint}");
    }
    if error.hints().is_empty() {
        let _ = writeln!(stderr, "  hint: `orlop explain {}` says more", error.id().code());
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
