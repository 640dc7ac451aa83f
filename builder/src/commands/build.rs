//! `orlop build`: the images, from lock and store alone.

use std::path::PathBuf;

use crate::arguments::{BuildArgs, Global, RecipeArgs};
use crate::build::circle;
use crate::build::output::vacant;
use crate::build::owner::Owner;
use crate::build::{self, Built, Request};
use crate::commands::fetch::{Loaded, Locking, bring, load, require};
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::progress::Progress;
use crate::settings::{Settings, processors};
use crate::source::cargo::Seen;
use crate::step::Outcome;
use crate::store::Looked;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    build: BuildArgs,
}

/// Builds, and prints the output directory as the last line of stdout.
///
/// # Errors
/// Those of [`build::build`].
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let built = build(&args.recipe, &args.build, settings, progress)?;
    if global.json {
        return print_json(&serde_json::json!({
            "output": shown(&built.output),
            "report": built.report,
            "steps": built.steps,
            "warnings": built.warnings,
        }));
    }
    if args.build.explain {
        print(explain(&built))?;
    }
    print(built.output.display().to_string())
}

/// Builds what the arguments name. Missing locks and blobs are made and fetched if that is
/// allowed here.
///
/// # Errors
/// Those of locking, fetching and building, and of [`vacant`] before anything is fetched.
pub fn build(
    named: &RecipeArgs,
    args: &BuildArgs,
    settings: &Settings,
    progress: &Progress,
) -> Result<Built> {
    let held = (!args.offline).then(|| settings.store()).transpose()?;
    let locking = Locking::of(args.locked, settings);
    let Loaded { recipe, lock, lock_path } =
        load(named, locking.unless_offline(args.offline), settings, progress)?;
    let there = || settings.store_to("build from").map_err(|e| e.hint("`orlop fetch` fills one"));
    let store = held.map_or_else(there, Ok)?;
    let default = || PathBuf::from("orlop-out").join(recipe.name.as_str());
    let output = args.output.clone().unwrap_or_else(default);
    vacant(&output)?;
    circle::check(&recipe, &output, store.root())?;
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
        lock: &lock,
        store: &store,
        caches: &settings.caches,
        environment: &settings.environment,
        locked: matches!(locking, Locking::Refuse(_)),
        jobs: args.jobs.unwrap_or_else(processors).max(1),
        output: &output,
        progress,
    };
    let built = build::build(&request, &seen)?;
    let looked = if args.offline { Looked::AtSome } else { Looked::AtAll };
    store.remember_root(&lock_path, looked)?;
    if let Some(owner) = &owner {
        owner.remember()?;
    }
    Ok(built)
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
