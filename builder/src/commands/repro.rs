//! `orlop repro`: whether a build comes out the same again.

use std::path::PathBuf;

use crate::arguments::{Global, RecipeArgs};
use crate::commands::fetch::{Locking, bring, load_whole};
use crate::commands::{print, print_json};
use crate::error::Result;
use crate::progress::Progress;
use crate::repro::{self, Disk, Programs, Published, Request};
use crate::settings::Settings;
use crate::source::cargo::Seen;

/// Where builds are made if `TMPDIR` names no other place: `/tmp` is often memory, and they take
/// gigabytes.
const WORK: &str = "/var/tmp";

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Build once, and compare with a build that somebody has published
    #[arg(long, value_name = "DIR|URL")]
    against: Option<String>,
    /// Download and compare `disk.raw` too, of which a report has no digest
    #[arg(long, requires = "against")]
    disk: bool,
    /// Take programs from the store where it has them, instead of compiling them
    #[arg(long)]
    without_programs: bool,
    /// Leave the builds that were made in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The directory to build in, which needs gigabytes [env: TMPDIR] [default: /var/tmp]
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Refuse to make the lock (the default where `CI` is set)
    #[arg(long)]
    locked: bool,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long, conflicts_with = "against")]
    dry_run: bool,
}

/// Builds, compares, prints what came of it, and fails if something differs.
///
/// # Errors
/// [`crate::error::Id::NotReproducible`]; those of locking, fetching, building and of a published
/// build.
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let store = settings.store()?;
    let locking = if args.against.is_some() {
        Locking::Refuse("the published build was made by the lock that is wanted")
    } else if args.dry_run {
        Locking::Refuse("`--dry-run` makes none")
    } else {
        Locking::of(args.locked, settings)
    };
    let (loaded, lock, lock_path) = load_whole(&args.recipe, locking, settings, progress)?;
    let variable = std::env::var_os("TMPDIR").filter(|value| !value.is_empty());
    let usual = || variable.map_or_else(|| PathBuf::from(WORK), PathBuf::from);
    let work = args.work.clone().unwrap_or_else(usual);
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let (work, keep) = (absolute(work), args.keep.clone().map(absolute));
    let request = Request {
        loaded: &loaded,
        lock: &lock,
        lock_path: &lock_path,
        store: &store,
        settings,
        programs: if args.without_programs { Programs::Taken } else { Programs::Compiled },
        work: &work,
        keep: keep.as_deref(),
        progress,
    };
    if args.dry_run {
        let plan = repro::plan_twice(&request)?;
        return if global.json { print_json(&plan) } else { print(repro::plan(&plan)) };
    }
    let fetch = || bring(&loaded.recipe, &lock, &store, settings, progress, &Seen::new());
    let verdict = match &args.against {
        Some(against) => {
            let disk = if args.disk { Disk::Download } else { Disk::LeaveOut };
            repro::against(&request, &Published::at(against), disk, fetch)?
        }
        None => {
            fetch()?;
            repro::twice(&request)?
        }
    };
    if global.json {
        print_json(&verdict)?;
    } else {
        print(repro::verdict(&verdict))?;
    }
    verdict.judge()
}
