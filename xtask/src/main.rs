//! All automation of this repository: `cargo xtask COMMAND`. CI calls `test` and nothing else.

#![expect(clippy::print_stdout, reason = "this is a command: its results go to stdout")]

mod bench;
mod cluster;
mod command;
mod fuzz;
mod image;
mod judges;
mod kata;
mod picture;
mod quickstart;
mod setup;
mod simulate;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

/// Automation of the Orlop repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// From a fresh machine to a node that has booted: installs what is missing, builds, boots
    Quickstart,
    /// Install what this host lacks for building, running and testing
    Setup(setup::Args),
    /// Build the images that tests and figures work with: `target/images`
    Images(image::Args),
    /// Run the tests; without options, everything that CI runs
    Test(test::Args),
    /// Formatting, lints and house rules; no tests
    Check,
    /// House rules alone: file sizes, links, licences, names that must not stand in the tree
    Tidy,
    /// Run a Kubernetes control plane on loopback until Ctrl-C, for nodes and `kubectl`
    Cluster(cluster::Args),
    /// Hunt for inputs that make a parser panic or hang
    Fuzz(fuzz::Args),
    /// Make the picture of `docs/diff.md` of two builds
    Picture(picture::Args),
    /// A fleet that takes a release by policy: what it costs the server, and whom a bad one reaches
    SimulateFleet(simulate::Args),
    /// Run a pod in a virtual machine with a release of Kata that is given: by hand, for it is a large file
    KataCheck(kata::Args),
    /// Measure; prints figures and never judges
    #[command(subcommand)]
    Bench(bench::Command),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Quickstart => quickstart::run_all(),
        Command::Setup(args) => setup::run(&args),
        Command::Images(args) => image::run_all(&args),
        Command::Test(args) => return test::run_command(&args),
        Command::Check => test::check(),
        Command::Tidy => tidy::run(),
        Command::Cluster(args) => cluster::run(&args),
        Command::Fuzz(args) => fuzz::run_targets(&args),
        Command::Picture(args) => picture::run(&args),
        Command::SimulateFleet(args) => simulate::run_fleet(&args),
        Command::KataCheck(args) => kata::run_check(&args),
        Command::Bench(command) => bench::run(&command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
