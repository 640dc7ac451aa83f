//! `orlop check`: everything about a recipe that can be known without network.

use crate::arguments::{Global, RecipeArgs};
use crate::budget;
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::lock::{self, Lock};
use crate::progress::Progress;
use crate::recipe::model::Budget;
use crate::recipe::{self, Loaded};

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
    let budgets = loaded.budgets()?;
    let path = &lock::path(&loaded);
    let locked = path.exists();
    if locked {
        let lock = Lock::read(path)?;
        lock.check_fresh(&loaded.recipe, path)?;
        budget::check_lock(loaded.recipe.name.as_str(), &loaded.recipe.budget, &lock)?;
    } else {
        progress.warn(format!("there is no lock `{}`: `orlop lock` makes it", path.display()));
    }
    for (other, budget) in budgets.iter().filter(|(other, _)| other.as_deref() != profile) {
        check_packages(&loaded, other.as_deref(), budget)?;
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

/// Whether the packages of another profile are within its budget, if it has a lock that fits it:
/// what is wrong with that, the check of that profile says.
fn check_packages(loaded: &Loaded, profile: Option<&str>, budget: &Budget) -> Result<()> {
    let Ok(other) = recipe::load(&loaded.path, profile) else { return Ok(()) };
    let path = lock::path(&other);
    let lock = Lock::read(&path).ok().filter(|lock| lock.check_fresh(&other.recipe, &path).is_ok());
    match lock {
        Some(lock) => {
            budget::check_lock(other.recipe.name.as_str(), budget, &lock).map_err(|error| {
                match profile {
                    Some(name) => error.within(format!("profile `{name}`")),
                    None => error.within("without a profile"),
                }
            })
        }
        None => Ok(()),
    }
}
