//! A fleet of nodes and a server of static files, in a time that nobody waits for: what a release costs
//! the server, when the nodes have it, and how many have tried a bad one before it is withdrawn. What each
//! node does is decided by the code that a node runs: `updater::policy`, `updater::eligible` and
//! `formats::blocks::choose`. What a server and a machine take is a model: the arguments.
//!
//! `cargo xtask simulate-fleet` calls it; `docs/fleets.md` has the figures of one run.

#![expect(clippy::print_stdout, reason = "this is a command: its results go to stdout")]

mod cost;
mod fleet;
mod report;
mod server;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser;
use formats::node_config::{Interval, Window};
use formats::release::Wave;

use cost::{Image, Sizes};
use fleet::{Bad, Settings, Withdrawn};

/// Simulate a fleet that takes a release by policy from static files
#[derive(Debug, Parser)]
#[command(name = "simulate-fleet", bin_name = "cargo xtask simulate-fleet")]
struct Args {
    /// How many nodes there are: 1 to 1,000,000
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    nodes: u32,
    /// Which machines they are: the same number gives the same figures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// `update.check-interval` of the nodes
    #[arg(long, default_value = "1h")]
    check_interval: Interval,
    /// The release's waves, as `orlop publish` takes them
    #[arg(long = "wave", value_name = "PERCENT:HOURS", value_parser = wave,
          default_values = ["1:0", "10:24", "50:48", "100:72"])]
    waves: Vec<Wave>,
    /// `update.window` of the nodes
    #[arg(long = "window", default_values = ["02:00-06:00"])]
    windows: Vec<Window>,
    /// When it is published: hours after a Monday's midnight, in UTC
    #[arg(long, default_value_t = 9)]
    published: u16,
    /// How many percent of the nodes run a release from which there is no delta
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    late: u8,
    /// What a node fetches in a second, in Mbit
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    bandwidth: u32,
    /// Sizes of the root image in MB: the delta, what is missing by blocks, the hash tree, the whole
    #[arg(long, default_value = "7.67,9.5,1.2,51.6", value_parser = image)]
    root: Image,
    /// The same of the UKI
    #[arg(long, default_value = "4.3,9.6,0.1,12.4", value_parser = image)]
    uki: Image,
    /// Requests of ranges for what is missing by blocks
    #[arg(long, default_value_t = 60)]
    ranges: u32,
    /// A bad release: withdrawn so many hours after it was published
    #[arg(long, default_value_t = 8)]
    withdrawn_after: u32,
    /// A bad release: withdrawn when so many percent of the nodes have reported that they fell back
    #[arg(long, default_value_t = 0.1)]
    withdrawn_at: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn wave(text: &str) -> Result<Wave, String> {
    let wave = text.split_once(':').and_then(|(percent, hours)| {
        Some(Wave { percent: percent.parse().ok()?, after_hours: hours.parse().ok()? })
    });
    wave.filter(|wave| (1..=100).contains(&wave.percent))
        .ok_or_else(|| format!("`{text}` is not PERCENT:HOURS, such as 10:24"))
}

fn image(text: &str) -> Result<Image, String> {
    let sizes: Option<Vec<u64>> = text
        .split(',')
        .map(|size| {
            let size = size.trim().parse::<f64>().ok()?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is in range"
            )]
            (0.0..=1e6).contains(&size).then_some((size * 1e6) as u64)
        })
        .collect();
    match sizes.as_deref() {
        Some([delta, blocks, tree, whole]) => {
            Ok(Image { delta: *delta, blocks: *blocks, tree: *tree, whole: *whole })
        }
        _ => Err(format!("`{text}` is not four sizes in MB, such as 7.67,9.5,1.2,51.6")),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let rise = |pair: &[Wave]| {
        pair[0].percent < pair[1].percent && pair[0].after_hours < pair[1].after_hours
    };
    if !args.waves.windows(2).all(rise) {
        eprintln!("error: the waves do not rise in shares and in hours");
        return ExitCode::FAILURE;
    }
    let outcomes = report::outcomes(&settings(&args), &withdrawals(&args));
    if args.json {
        match serde_json::to_string_pretty(&outcomes) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        }
    } else {
        print!("{}", report::text(&outcomes));
    }
    ExitCode::SUCCESS
}

/// Waves and windows as they are asked for; each run leaves out what it is without.
fn settings(args: &Args) -> Settings {
    Settings {
        nodes: args.nodes,
        seed: args.seed,
        interval: i64::from(args.check_interval.seconds()),
        waves: args.waves.clone(),
        windows: args.windows.clone(),
        published: i64::from(args.published) * 3600,
        late: args.late,
        bandwidth: u64::from(args.bandwidth) * 125_000,
        sizes: Sizes { root: args.root, uki: args.uki, ranges: args.ranges },
        bad: None,
    }
}

fn withdrawals(args: &Args) -> [Bad; 2] {
    [
        Bad { withdrawn: Withdrawn::After(i64::from(args.withdrawn_after) * 3600) },
        Bad { withdrawn: Withdrawn::At(args.withdrawn_at) },
    ]
}
