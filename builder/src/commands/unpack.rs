//! `orlop store unpack`: a recipe's packages as files of this host. Not an image: for programs that
//! are to be the same on every host, and to look at what packages hold.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use formats::architecture::Architecture;

use crate::arguments::{Global, RecipeArgs};
use crate::commands::fetch::{self, Loaded, Locking};
use crate::commands::{print, print_json, shown};
use crate::durable;
use crate::error::{Context as _, Error, Id, Result};
use crate::lock::model::Role;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::source::deb::extract;
use crate::start::Start;
use crate::unfinished;

/// Where scripts that start programs are, below the directory.
const PROGRAMS: &str = "start";

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The directory to make
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Add `start/PROGRAM`, which starts it with its own loader and libraries
    #[arg(long, value_name = "PROGRAM")]
    start: Vec<String>,
}

/// Unpacks what the lock has for the root. The directory appears whole or not at all.
///
/// # Errors
/// Those of locking and fetching; [`Id::OutputInTheWay`]; those of [`extract::all`];
/// [`Id::MissingTool`] if no package has a program that is to be started.
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let store = settings.store()?;
    let cannot = || format!("cannot make `{}`", args.output.display());
    let output = std::path::absolute(&args.output).or_fail(Id::Write, cannot)?;
    vacant(&output)?;
    let locking = Locking::of(false, settings);
    let Loaded { recipe, lock, .. } = fetch::load(&args.recipe, locking, settings, progress)?;
    fetch::fetch_blobs(&recipe, &lock, &store, settings, progress)?;

    let packages: Vec<_> = lock.packages.iter().filter(|p| p.role == Role::Root).collect();
    let task = progress.task("unpack", None);
    let parent = output.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).or_fail(Id::Write, cannot)?;
    let scratch = unfinished::directory(parent, unfinished::Kind::Unpacked, 0o755)
        .or_fail(Id::Write, cannot)?;
    extract::all(&packages, &store, scratch.path(), &|_| true)?;
    starts(&args.start, recipe.arch, scratch.path(), &output)?;
    // An empty directory gives way.
    durable::contents(scratch.path())
        .and_then(|()| durable::rename(scratch.path(), &output))
        .or_fail(Id::Write, cannot)?;
    scratch.keep();
    task.done(format!("{} packages", packages.len()));
    if global.json {
        return print_json(&serde_json::json!({
            "output": shown(&args.output),
            "packages": packages.len(),
        }));
    }
    print(args.output.display().to_string())
}

fn vacant(output: &Path) -> Result<()> {
    let mut entries = match fs::read_dir(output) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.or_fail(Id::Read, || format!("cannot read `{}`", output.display()))?,
    };
    if entries.next().is_none() {
        return Ok(());
    }
    let message = format!("`{}` is not empty", output.display());
    Err(Error::new(Id::OutputInTheWay, message).hint("name a directory that is not there yet"))
}

fn starts(
    names: &[String],
    architecture: Architecture,
    made: &Path,
    directory: &Path,
) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let programs = made.join(PROGRAMS);
    fs::create_dir(&programs)
        .or_fail(Id::Write, || format!("cannot make `{}`", programs.display()))?;
    for name in names {
        let mut places = ["usr/bin", "usr/sbin"].iter().map(|place| format!("{place}/{name}"));
        let program = places.find(|program| made.join(program).is_file()).ok_or_else(|| {
            Error::new(Id::MissingTool, format!("no package of the recipe has a program `{name}`"))
        })?;
        let start = Start {
            architecture,
            directory,
            libraries: &[architecture.libraries()],
            program: &program,
            before: &[],
            behind: &[],
        };
        start.write(&programs.join(name))?;
    }
    Ok(())
}
