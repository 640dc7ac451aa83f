//! `orlop recipe`: looking at recipes.

use crate::arguments::RecipeArgs;
use crate::commands::print;
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
pub fn run(command: &Command) -> Result<()> {
    let Command::Show(args) = command;
    let loaded = recipe::load(&args.recipe, args.profile.as_deref())?;
    print(loaded.show())
}
