//! `orlop clean`: removes what nobody needs any more from the store and the caches.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;

use crate::arguments::Global;
use crate::clean::{self, CATEGORIES, Category, Needed, Outcome, Places, Report, Verdict};
use crate::commands::{print, print_json};
use crate::error::Result;
use crate::progress::Progress;
use crate::settings::Settings;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Say what would go, and remove nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Remove what was not used for this long, such as 12h, 14d or 8w; 0d is all that no lock needs
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = age)]
    older_than: Duration,
    /// Only this; may be given more than once
    #[arg(long, value_name = "WHAT",
          value_parser = PossibleValuesParser::new(CATEGORIES.iter().map(|row| row.name)))]
    only: Vec<String>,
    /// Keep what this lock needs, beside those of this directory and those that were used with
    /// this store; may be given more than once
    #[arg(long, value_name = "LOCK")]
    keep: Vec<PathBuf>,
}

/// Removes, and says what.
///
/// # Errors
/// Those of [`Settings::store_alone_to`], of [`Needed::find`] and of removing.
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let outcome = if args.dry_run { Outcome::DryRun } else { Outcome::Removed };
    let store = match outcome {
        Outcome::DryRun => settings.store_to("clean")?,
        Outcome::Removed => settings.store_alone_to("clean")?,
    };
    let places = Places { store: store.root(), caches: &settings.caches.root };
    let needed = Needed::find(&store, Path::new("."), &args.keep)?;
    let items = clean::found::items(places, settings.now)?;
    let chosen = |row: &Category| args.only.is_empty() || args.only.iter().any(|n| n == row.name);
    let verdicts = clean::decide(&items, args.older_than, &needed, chosen);
    if outcome == Outcome::Removed {
        let task = progress.task("clean", None);
        for (item, verdict) in items.iter().zip(&verdicts) {
            if *verdict == Verdict::Remove {
                clean::remove(&item.path)?;
            }
        }
        drop(task);
    }
    let report = Report::new(&items, &verdicts, &needed, places, args.older_than, outcome);
    if global.json { print_json(&report) } else { print(report.to_string()) }
}

/// `14d`: a number and a unit.
fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time: write it like 90m, 12h, 14d or 8w");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, want) in [("0d", 0), ("90s", 90), ("14d", 14 * 86_400), ("2w", 14 * 86_400)] {
            assert_eq!(age(text), Ok(Duration::from_secs(want)), "{text}");
        }
        for text in ["", "d", "14", "-1d", "1.5d", "14 d", "14D", "99999999999999999w", "1dd"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
