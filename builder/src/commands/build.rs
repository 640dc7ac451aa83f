//! `orlop build`: the images, from lock and store alone.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::arguments::{BuildArgs, Global, RecipeArgs, VersionArgs};
use crate::build::circle;
use crate::build::output::vacant;
use crate::build::owner::Owner;
use crate::build::{self, Built, Request, contents};
use crate::commands::fetch::{Locking, bring, load_whole, require};
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::figures;
use crate::progress::Progress;
use crate::recipe::model::Budget;
use crate::recipe::{self, Recipe};
use crate::repository::{self, Committed, Repository, Version};
use crate::settings::{Settings, processors};
use crate::source::cargo::Seen;
use crate::step::Outcome;
use crate::store::{Looked, Store};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    build: BuildArgs,
    #[command(flatten)]
    version: VersionArgs,
    /// Make images and no version of them
    #[arg(long, conflicts_with_all = ["repo", "channel"])]
    no_commit: bool,
}

/// Builds and commits, and prints the output directory as the last line of stdout.
///
/// # Errors
/// Those of [`build::build`] and of [`Repository::add`].
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let version = (!args.no_commit).then_some(&args.version);
    let (built, committed) =
        build_and_commit(&args.recipe, &args.build, version, settings, progress)?;
    if global.json {
        return print_json(&serde_json::json!({
            "output": shown(&built.output),
            "report": built.report,
            "version": committed,
            "steps": built.steps,
            "warnings": built.warnings,
        }));
    }
    if args.build.explain {
        print(explain(&built))?;
    }
    print(built.output.display().to_string())
}

/// Builds what the arguments name, and makes no version of it. Missing locks and blobs are made and
/// fetched if that is allowed here.
///
/// # Errors
/// Those of locking, fetching and building, and of [`vacant`] before anything is fetched.
pub fn build(
    named: &RecipeArgs,
    args: &BuildArgs,
    settings: &Settings,
    progress: &Progress,
) -> Result<Built> {
    build_and_commit(named, args, None, settings, progress).map(|(built, _)| built)
}

fn build_and_commit(
    named: &RecipeArgs,
    args: &BuildArgs,
    version: Option<&VersionArgs>,
    settings: &Settings,
    progress: &Progress,
) -> Result<(Built, Option<Committed>)> {
    let held = (!args.offline).then(|| settings.store()).transpose()?;
    let locking = Locking::of(args.locked, settings);
    let locked = matches!(locking, Locking::Refuse(_));
    let locking = locking.unless_offline(args.offline);
    let (loaded, lock, lock_path) = load_whole(named, locking, settings, progress)?;
    let recipe::Loaded { mut recipe, plain, origins, .. } = loaded;
    if args.no_budget {
        recipe.budget = Budget::default();
    }
    let there = || settings.store_to("build from").map_err(|e| e.hint("`orlop fetch` fills one"));
    let store = held.map_or_else(there, Ok)?;
    let default = || PathBuf::from("orlop-out").join(recipe.name.as_str());
    let output = args.output.clone().unwrap_or_else(default);
    vacant(&output)?;
    let asked = version.and_then(|args| args.repo.as_deref());
    let beside = output.with_file_name(repository::DIRECTORY);
    let version = match version {
        Some(args) if goes_to(asked, &beside, &output, progress)? => Some(&args.channel),
        _ => None,
    };
    let place = asked.unwrap_or(&beside);
    let version = version.map(|channel| (place, channel));
    circle::check(&recipe, &output, store.root(), version.map(|(place, _)| place))?;
    let owner = args.output.is_none().then(|| Owner::new(&store, &named.recipe, &output));
    if let Some(owner) = &owner {
        owner.check()?;
    }
    let seen = Seen::new();
    if args.offline {
        require(&lock, &store)?;
    } else {
        bring(&recipe, &lock, &store, settings, progress, &seen)?;
    }
    let request = Request {
        recipe: &recipe,
        origins: &origins,
        profile: profile_that_shapes(named, plain.as_ref(), &recipe)?,
        lock: &lock,
        store: &store,
        caches: &settings.caches,
        environment: &settings.environment,
        locked,
        jobs: args.jobs.unwrap_or_else(processors).max(1),
        output: &output,
        repository: place,
        progress,
    };
    let built = build::build(&request, &seen)?;
    let looked = if args.offline { Looked::AtSome } else { Looked::AtAll };
    store.remember_root(&lock_path, looked)?;
    if let Some(owner) = &owner {
        owner.remember()?;
    }
    let Some((place, channel)) = version else { return Ok((built, None)) };
    let version = Version { tree: &built.tree, report: &built.report, channel };
    let committed = commit(place, &version, &store, request.jobs, progress).map_err(|error| {
        let output = output.display();
        error.hint(format!("the images are in `{output}`; `orlop commit {output}` commits them"))
    })?;
    Ok((built, Some(committed)))
}

/// The name of the profile, unless `plain`, the recipe without it, differs by nothing but its budget:
/// that shapes no byte.
fn profile_that_shapes<'a>(
    named: &'a RecipeArgs,
    plain: Option<&Recipe>,
    recipe: &Recipe,
) -> Result<Option<&'a str>> {
    let plain = plain.map(contents::parameters).transpose()?;
    let same = plain == Some(contents::parameters(recipe)?);
    Ok(named.profile.as_deref().filter(|_| !same))
}

/// Whether a version goes into the repository that was `named`, or that beside the images, which can
/// be known before anything is built. Not, if nobody named a place and that beside the images cannot
/// be written, as where only they are mounted.
fn goes_to(
    named: Option<&Path>,
    beside: &Path,
    output: &Path,
    progress: &Progress,
) -> Result<bool> {
    if named.is_none() && repository::is_out_of_reach(beside) {
        progress.warn(format!(
            "no version is committed: `{}` cannot be written, and no `--repo` names another place",
            beside.display()
        ));
        return Ok(false);
    }
    let place = named.unwrap_or(beside);
    circle::apart(output, place)?;
    repository::check_place(place)
        .map_err(|error| error.hint("`--no-commit` builds without a version"))?;
    Ok(true)
}

/// Commits a version to the repository at `place`, which is made if there is none. What was there
/// already is passed over in silence.
///
/// # Errors
/// Those of [`Repository::open_or_make`] and [`Repository::add`].
pub(crate) fn commit(
    place: &Path,
    version: &Version<'_>,
    store: &Store,
    jobs: usize,
    progress: &Progress,
) -> Result<Committed> {
    let repository = Repository::open_or_make(place, progress)?;
    let task = OnceLock::new();
    let begin = || progress.task("commit", None);
    let committed = repository.add(version, store, jobs, &|bytes| {
        task.get_or_init(begin).advance(bytes);
    })?;
    committed.damaged.iter().for_each(|one| progress.warn(one.warning()));
    if committed.new || committed.objects > 0 {
        let Committed { reference, commit, objects, bytes, .. } = &committed;
        let digits = commit.0.to_string();
        let size = figures::bytes(*bytes);
        task.get_or_init(begin);
        if let Some(task) = task.into_inner() {
            let short = &digits[..12];
            task.done(format!("{reference} is {short}, {objects} new objects, {size}"));
        }
    }
    Ok(committed)
}

fn explain(built: &Built) -> String {
    let mut text = String::new();
    for record in &built.steps {
        let (word, lines) = match &record.outcome {
            Outcome::Hit => ("remembered", &[][..]),
            Outcome::First => ("done, for the first time", &[][..]),
            Outcome::Lost => ("done, its result was gone", &[][..]),
            Outcome::Changed { lines } => ("done, because this changed:", lines.as_slice()),
        };
        text += &format!("{:<24} {word}\n", record.step);
        for line in lines {
            text += &format!("    {line}\n");
        }
    }
    text
}
