//! `orlop recipe`: looking at recipes.

use crate::arguments::{Global, RecipeArgs};
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::recipe;

/// What to look at.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print the recipe as it is after `extends` and profile, each value with its file and line
    Show(RecipeArgs),
}

/// Prints it.
///
/// # Errors
/// Those of loading.
pub fn run(command: &Command, global: &Global) -> Result<()> {
    let Command::Show(args) = command;
    let loaded = recipe::load(&args.recipe, args.profile.as_deref())?;
    if global.json {
        return print_json(&serde_json::json!({
            "files": loaded.files.iter().map(|file| shown(file)).collect::<Vec<_>>(),
            "profile": loaded.profile,
            "recipe": loaded.recipe,
            "origins": loaded.value_origins(),
        }));
    }
    print(loaded.show())
}
