//! `orlop diff`: what changed between two versions of a node.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::arguments::{BuildArgs, Global, RecipeArgs, RepositoryArgs};
use crate::build::output::REPORT;
use crate::commands::fetch::Locking;
use crate::commands::{build, fetch, print, print_json};
use crate::diff::load::{self, Loaded, Named, Versions};
use crate::diff::render::document::Document;
use crate::diff::render::{html, markdown, text};
use crate::diff::side::Kind;
use crate::diff::{Difference, compare};
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::unfinished;

/// Where what is built for a comparison is, beside what is built for good.
const SCRATCH: &str = "orlop-out";

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory that `orlop build` made, a ref or commit, a disk or root image, a lock or a
    /// recipe
    before: OsString,
    /// The same; what it has and the first has not is new
    after: OsString,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Show long lists whole
    #[arg(long)]
    all: bool,
    /// Fail with status 1 if anything differs
    #[arg(long)]
    exit_code: bool,
    /// Build no recipe: compare what its lock says
    #[arg(long)]
    no_build: bool,
    /// A profile of the recipes
    #[arg(short, long, value_name = "NAME")]
    profile: Option<String>,
    /// Refuse to make or change a lock (the default where `CI` is set)
    #[arg(long)]
    locked: bool,
    /// Fetch nothing: what is not in the store is an error
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    repository: RepositoryArgs,
}

/// How a difference is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For a comment of a pull request.
    Markdown,
    /// A page of its own.
    Html,
}

/// Compares, and prints what differs.
///
/// # Errors
/// Those of reading both sides and of [`compare`]; [`Id::Differs`] with `--exit-code`;
/// [`Id::NoJson`] for `--json` and another format.
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let format = match (global.json, args.format) {
        (true, Format::Text | Format::Json) => Format::Json,
        (true, Format::Markdown | Format::Html) => {
            let message = "what `--format` asks for is no JSON";
            return Err(Error::new(Id::NoJson, message).hint("leave out `--json` or `--format`"));
        }
        (false, format) => format,
    };
    let (before, after) = load_both(args, settings, progress)?;
    let fetch = load::fetch(&before, &after)?;
    let difference = compare(&before.side, &after.side, fetch)?;
    show(&difference, format, args.all)?;
    if args.exit_code && difference.different {
        let (before, after) = (&difference.before.named, &difference.after.named);
        let message = format!("`{before}` and `{after}` differ");
        return Err(Error::new(Id::Differs, message)
            .hint("leave out `--exit-code` where that is no failure"));
    }
    Ok(())
}

fn show(difference: &Difference, format: Format, all: bool) -> Result<()> {
    let document = || Document::new(difference);
    match format {
        Format::Json => print_json(difference),
        Format::Text => print(text(&document(), all)),
        Format::Markdown => print(markdown(&document())),
        Format::Html => print(html(&document(), difference)),
    }
}

fn load_both(args: &Args, settings: &Settings, progress: &Progress) -> Result<(Loaded, Loaded)> {
    let (before, after) = (Named::of(&args.before)?, Named::of(&args.after)?);
    // With a lock, a lock is compared: a build would tell nothing that it could be compared with.
    let is_lock = |named: &Named| matches!(named, Named::Lock(_));
    let resolve = args.no_build || is_lock(&before) || is_lock(&after);
    let mut reader = Reader { args, settings, progress, resolve, versions: None };
    Ok((reader.load(&before)?, reader.load(&after)?))
}

/// What somebody may mean who gives the name of an image: its recipe, or its build.
fn meant(name: &str) -> Option<String> {
    let is_name = !name.is_empty() && !name.contains(['/', '.']);
    let recipes = [format!("{name}.toml"), format!("recipes/{name}.toml")];
    let recipe = recipes.into_iter().find(|path| Path::new(path).is_file());
    let recipe = recipe.map(|path| format!("the recipe `{path}`"));
    let build = Path::new(SCRATCH).join(name);
    let build = build.join(REPORT).is_file().then(|| format!("the build `{}`", build.display()));
    let all: Vec<_> = recipe.into_iter().chain(build).collect();
    (is_name && !all.is_empty()).then(|| format!("there is {}", all.join(", and ")))
}

struct Reader<'a> {
    args: &'a Args,
    settings: &'a Settings,
    progress: &'a Progress,
    resolve: bool,
    versions: Option<Versions>,
}

impl Reader<'_> {
    fn load(&mut self, named: &Named) -> Result<Loaded> {
        match named {
            Named::Build(path) => load::build(path, &path.display().to_string()),
            Named::Image(path) => load::image(path),
            Named::Lock(path) => load::lock(path),
            Named::Recipe(path) if self.resolve => self.resolved(path),
            Named::Recipe(path) => self.built(path),
            Named::Version(name) => self.version(name).map_err(|error| {
                let error = load::no_path(error, name);
                let hint = meant(name).filter(|_| error.id() != Id::DamagedObject);
                hint.into_iter().fold(error, Error::hint)
            }),
        }
    }

    fn version(&mut self, name: &str) -> Result<Loaded> {
        let versions = match self.versions.take() {
            Some(versions) => versions,
            None => Versions::open(&self.args.repository.repo, self.progress)?,
        };
        self.versions.insert(versions).load(name)
    }

    fn recipe(&self, path: &Path) -> RecipeArgs {
        RecipeArgs { recipe: path.to_owned(), profile: self.args.profile.clone() }
    }

    fn resolved(&self, path: &Path) -> Result<Loaded> {
        let locking = Locking::of(self.args.locked, self.settings);
        let locking = locking.unless_offline(self.args.offline);
        let loaded = fetch::load(&self.recipe(path), locking, self.settings, self.progress)?;
        Ok(load::resolved(&path.display().to_string(), &loaded.recipe, &loaded.lock))
    }

    /// What the recipe is now, in a directory that goes when it was read: the user's own build stays.
    fn built(&self, path: &Path) -> Result<Loaded> {
        let cannot = || format!("cannot make a directory in `{SCRATCH}` to build in");
        fs::create_dir_all(SCRATCH).or_fail(Id::Write, cannot)?;
        let kind = unfinished::Kind::Compared;
        let scratch = unfinished::directory(Path::new(SCRATCH), kind, 0o755);
        let scratch = scratch.or_fail(Id::Write, cannot)?;
        let output: PathBuf = scratch.path().join("build");
        let build_args = BuildArgs {
            output: Some(output.clone()),
            locked: self.args.locked,
            offline: self.args.offline,
            ..BuildArgs::default()
        };
        build::build(&self.recipe(path), &build_args, self.settings, self.progress)?;
        let mut loaded = load::build(&output, &path.display().to_string())?;
        loaded.side.kind = Kind::Recipe;
        Ok(loaded)
    }
}
