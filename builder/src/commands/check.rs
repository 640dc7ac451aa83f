//! `orlop check`: everything about a recipe that can be known without network.

use crate::arguments::{Global, RecipeArgs};
use crate::budget;
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::lock::{self, Lock};
use crate::progress::Progress;
use crate::recipe;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
}

/// Checks, and says what was checked.
///
/// # Errors
/// Everything that is wrong with the recipe, and a lock that does not fit it.
pub fn run(args: &Args, global: &Global, progress: &Progress) -> Result<()> {
    let profile = args.recipe.profile.as_deref();
    let loaded = recipe::load(&args.recipe.recipe, profile)?;
    for warning in &loaded.warnings {
        progress.warn(warning);
    }
    loaded.check()?;
    let path = &lock::path(&loaded);
    let locked = path.exists();
    if locked {
        let lock = Lock::read(path)?;
        lock.check_fresh(&loaded.recipe, path)?;
        budget::check_lock(&loaded.recipe, &lock)?;
    } else {
        progress.warn(format!("there is no lock `{}`: `orlop lock` makes it", path.display()));
    }
    let files: Vec<_> = loaded.files.iter().map(|file| shown(file)).collect();
    if global.json {
        return print_json(&serde_json::json!({
            "image": loaded.recipe.name.as_str(),
            "files": files,
            "locked": locked,
        }));
    }
    print(format!("`{}` is in order ({})", loaded.recipe.name, files.join(", ")))
}
