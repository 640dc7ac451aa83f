//! `orlop budget`: the figures of a build beside the limits of its recipe, and what is left.

use std::path::PathBuf;

use crate::arguments::{Global, RecipeArgs};
use crate::budget::{self, Line, grouped};
use crate::build::limits::Limits;
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::{recipe, repository};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The directory that `orlop build` made [default: `orlop-out/NAME`]
    #[arg(long, value_name = "DIR")]
    build: Option<PathBuf>,
    /// The repository, if growth is from a version [default: `repo` beside the build]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
}

/// Prints all figures, and fails if one is over its limit.
///
/// # Errors
/// [`Id::OverBudget`](crate::error::Id::OverBudget); those of reading recipe and build.
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let loaded = recipe::load(&args.recipe.recipe, args.recipe.profile.as_deref())?;
    for warning in &loaded.warnings {
        progress.warn(warning);
    }
    loaded.check_budget()?;
    let recipe = &loaded.recipe;
    let default = || PathBuf::from("orlop-out").join(recipe.name.as_str());
    let build = args.build.clone().unwrap_or_else(default);
    let beside = || build.with_file_name(repository::DIRECTORY);
    let limits = Limits {
        image: recipe.name.as_str(),
        budget: &recipe.budget,
        origins: &loaded.origins,
        repository: &args.repo.clone().unwrap_or_else(beside),
        environment: &settings.environment,
        progress,
    };
    let lines = limits.lines(&build)?;
    if global.json {
        let lines: Vec<_> = lines.iter().map(json).collect();
        let image = recipe.name.as_str();
        let build = shown(&build);
        print_json(&serde_json::json!({ "image": image, "build": build, "lines": lines }))?;
    } else {
        print(table(&lines))?;
    }
    budget::check(recipe.name.as_str(), &lines)
}

fn json(line: &Line) -> serde_json::Value {
    let left = line.limit.map(|limit| i128::from(limit) - i128::from(line.figure));
    let heaviest = line.heaviest.iter();
    let heaviest =
        heaviest.map(|(name, figure)| serde_json::json!({ "name": name, "figure": figure }));
    serde_json::json!({
        "what": line.item.name(),
        "figure": line.figure,
        "limit": line.limit,
        "left": left.map(|left| i64::try_from(left).unwrap_or(i64::MAX)),
        "heaviest": heaviest.collect::<Vec<_>>(),
    })
}

fn table(lines: &[Line]) -> String {
    let mut text = format!("{:<12} {:>15} {:>15} {:>15}\n", "", "figure", "limit", "left");
    for line in lines {
        let limit = line.limit.map_or("-".to_owned(), grouped);
        let left = match (line.limit, line.over()) {
            (Some(_), Some(over)) => format!("-{}", grouped(over)),
            (Some(limit), None) => grouped(limit - line.figure),
            _ => "-".to_owned(),
        };
        let (name, figure) = (line.item.name(), grouped(line.figure));
        text += &format!("{name:<12} {figure:>15} {limit:>15} {left:>15}\n");
    }
    text
}
