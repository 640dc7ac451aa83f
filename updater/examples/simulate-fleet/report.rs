//! The figures, as text and as JSON: with and without waves and windows.

use std::fmt::Write as _;

use serde::Serialize;

use super::cost::Sizes;
use super::fleet::{Bad, Outcome, Settings, Withdrawn, simulate};
use super::server::Rate;

/// All figures of a call.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Outcomes {
    nodes: u32,
    seed: u64,
    check_interval_seconds: i64,
    waves: Vec<String>,
    windows: Vec<String>,
    sizes: Sizes,
    good: Vec<Good>,
    bad: Vec<Blast>,
}

/// A good release.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Good {
    waves: bool,
    windows: bool,
    bytes: u64,
    requests_per_second: Rate,
    seconds_until_99_percent: Option<i64>,
    most_restarting_at_once: u32,
}

/// A bad release.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Blast {
    waves: bool,
    windows: bool,
    withdrawn: String,
    withdrawn_after_seconds: Option<i64>,
    tried: u32,
}

/// The figures of these settings, and of the same without waves, windows, and both.
pub(crate) fn outcomes(settings: &Settings, bad: &[Bad]) -> Outcomes {
    let all = [(false, false), (true, false), (false, true), (true, true)];
    let run = |(waves, windows): (bool, bool), bad: Option<Bad>| -> Outcome {
        let mut settings = Settings { bad, ..settings.clone() };
        if !waves {
            settings.waves.clear();
        }
        if !windows {
            settings.windows.clear();
        }
        simulate(&settings)
    };
    let good = all.map(|(waves, windows)| {
        let outcome = run((waves, windows), None);
        Good {
            waves,
            windows,
            bytes: outcome.bytes,
            requests_per_second: outcome.rate,
            seconds_until_99_percent: outcome.most_after,
            most_restarting_at_once: outcome.most_on_trial,
        }
    });
    let blasts = bad.iter().flat_map(|bad| {
        all.map(|(waves, windows)| {
            let outcome = run((waves, windows), Some(*bad));
            let withdrawn = match bad.withdrawn {
                Withdrawn::After(seconds) => format!("{} h after it came", seconds / 3600),
                Withdrawn::At(percent) => format!("when {percent} % have fallen back"),
            };
            let withdrawn_after_seconds = outcome.withdrawn_after;
            Blast { waves, windows, withdrawn, withdrawn_after_seconds, tried: outcome.tried }
        })
    });
    Outcomes {
        nodes: settings.nodes,
        seed: settings.seed,
        check_interval_seconds: settings.interval,
        waves: settings
            .waves
            .iter()
            .map(|wave| format!("{}:{}", wave.percent, wave.after_hours))
            .collect(),
        windows: settings.windows.iter().map(ToString::to_string).collect(),
        sizes: settings.sizes,
        good: good.into(),
        bad: blasts.collect(),
    }
}

/// The figures for people.
pub(crate) fn text(outcomes: &Outcomes) -> String {
    let mut text = String::new();
    let nodes = outcomes.nodes;
    let mut line = |line: String| writeln!(text, "{line}").expect("a string takes all");
    line(format!(
        "{nodes} nodes that look each {}, waves {}, windows {}, seed {}",
        time(Some(outcomes.check_interval_seconds)),
        outcomes.waves.join(" "),
        outcomes.windows.join(", "),
        outcomes.seed,
    ));
    line(String::new());
    line(format!(
        "{:<22} {:>10} {:>10} {:>7} {:>7} {:>7} {:>10} {:>12}",
        "a good release",
        "GB",
        "MB a node",
        "peak/s",
        "99 %/s",
        "mean/s",
        "99 % after",
        "down at once"
    ));
    for good in &outcomes.good {
        let Rate { peak, percentile_99, mean } = good.requests_per_second;
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let bytes = good.bytes as f64;
        line(format!(
            "{:<22} {:>10.1} {:>10.2} {:>7} {:>7} {:>7.1} {:>10} {:>12}",
            with(good.waves, good.windows),
            bytes / 1e9,
            bytes / 1e6 / f64::from(nodes),
            peak,
            percentile_99,
            mean,
            time(good.seconds_until_99_percent),
            good.most_restarting_at_once,
        ));
    }
    line(String::new());
    line(format!(
        "{:<22} {:<30} {:>10} {:>10} {:>9}",
        "a bad release", "withdrawn", "after", "tried it", "of nodes"
    ));
    for blast in &outcomes.bad {
        line(format!(
            "{:<22} {:<30} {:>10} {:>10} {:>7.2} %",
            with(blast.waves, blast.windows),
            blast.withdrawn,
            time(blast.withdrawn_after_seconds),
            blast.tried,
            f64::from(blast.tried) * 100.0 / f64::from(nodes),
        ));
    }
    text
}

fn with(waves: bool, windows: bool) -> &'static str {
    match (waves, windows) {
        (false, false) => "at once",
        (true, false) => "in waves",
        (false, true) => "in windows",
        (true, true) => "in waves and windows",
    }
}

fn time(seconds: Option<i64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 5400 => format!("{} min", (seconds + 30) / 60),
        Some(seconds) => {
            let tenths = (seconds + 180) / 360;
            format!("{}.{} h", tenths / 10, tenths % 10)
        }
    }
}
