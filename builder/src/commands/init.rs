//! `orlop init`: the beginning of a project.

use std::path::PathBuf;

use crate::arguments::Global;
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::progress::Progress;
use crate::scaffold;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the project; it must not exist or be empty
    directory: PathBuf,
    /// The recipe to extend [default: `recipes/node.toml` of the checkout that orlop comes from]
    #[arg(long, value_name = "RECIPE")]
    base: Option<PathBuf>,
}

/// Makes the project and says what to do next.
///
/// # Errors
/// Those of [`scaffold::init`].
pub fn run(args: &Args, global: &Global, progress: &Progress) -> Result<()> {
    scaffold::init(&args.directory, args.base.as_deref(), &scaffold::search_paths())?;
    let directory = args.directory.display();
    progress.note(format!(
        "made a project; next: cd {directory} && orlop lock && orlop build && orlop run"
    ));
    if global.json {
        return print_json(&serde_json::json!({ "directory": shown(&args.directory) }));
    }
    print(directory.to_string())
}
