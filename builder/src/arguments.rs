//! Arguments that several commands share.

use std::path::PathBuf;

use crate::progress::Mode;
use crate::recipe::model::Name;

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where blobs and results of steps are kept [env: ORLOP_STORE] [default: `orlop/store` in the
    /// user's cache]
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// A Debian mirror to ask first; may be given more than once [default: the host's apt sources]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "ORLOP_DEBIAN_MIRROR",
        // It may hold a password, and help texts are pasted into reports.
        hide_env_values = true,
        value_delimiter = ' '
    )]
    pub mirror: Vec<String>,
    /// How progress is shown on stderr
    #[arg(long, global = true, value_name = "HOW", default_value = "auto")]
    pub progress: Mode,
    /// Print the result as one JSON object, and a failure as one on the last line of stderr
    #[arg(long, global = true)]
    pub json: bool,
}

/// What names a recipe.
#[derive(Debug, Clone, clap::Args)]
pub struct RecipeArgs {
    /// The recipe
    #[arg(default_value = "recipe.toml")]
    pub recipe: PathBuf,
    /// A profile of the recipe
    #[arg(short, long, value_name = "NAME")]
    pub profile: Option<String>,
}

/// Where a version goes.
#[derive(Debug, Clone, clap::Args)]
pub struct VersionArgs {
    /// The repository for versions [default: `repo` beside the images]
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// The channel: the last part of the ref that names the version
    #[arg(long, value_name = "NAME", default_value = "dev", value_parser = name)]
    pub channel: Name,
}

/// What names a repository.
#[derive(Debug, Clone, clap::Args)]
pub struct RepositoryArgs {
    /// The repository
    #[arg(long, value_name = "DIR", default_value = "orlop-out/repo")]
    pub repo: PathBuf,
}

fn name(text: &str) -> Result<Name, String> {
    Name::try_from(text.to_owned())
}

/// What a build is told.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct BuildArgs {
    /// The directory for the images [default: `orlop-out/NAME`]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// How many things to do at once [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Refuse to make or change the lock (the default where `CI` is set)
    #[arg(long)]
    pub locked: bool,
    /// Fetch nothing: what is not in the store is an error
    #[arg(long)]
    pub offline: bool,
    /// Say of each step whether it was done or remembered, and which input changed
    #[arg(long)]
    pub explain: bool,
    /// Hold the build against no budget: `orlop repro` asks for bytes, not for how many, and what a
    /// budget is held against is beside the images that the user has
    #[arg(long, hide = true)]
    pub no_budget: bool,
}
