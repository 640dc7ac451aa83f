//! `orlop lock`: decides on every version.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use formats::near::near;

use crate::arguments::{Global, RecipeArgs};
use crate::commands::{print, print_json};
use crate::error::{Error, Id, Result};
use crate::http::Client;
use crate::lock::model::UrlFile;
use crate::lock::{self, Lock};
use crate::progress::Progress;
use crate::recipe;
use crate::settings::Settings;
use crate::source::deb;
use crate::source::deb::mirror::Mirrors;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Say why a package is in the lock, instead of making one
    #[arg(long, value_name = "PACKAGE")]
    why: Option<String>,
}

/// Makes the lock, or explains one.
///
/// # Errors
/// Those of loading and resolving; [`Id::NotLocked`].
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let loaded = recipe::load(&args.recipe.recipe, args.recipe.profile.as_deref())?;
    let path = &lock::path(&loaded);
    if let Some(package) = &args.why {
        return why(path, package, global);
    }
    for warning in &loaded.warnings {
        progress.warn(warning);
    }
    // One that cannot be read is replaced: that is what the user asks for.
    let before = Lock::read(path).ok();
    let lock = make(&loaded, settings, progress)?;
    for line in before.map_or(Vec::new(), |before| changes(&before, &lock)) {
        progress.note(line);
    }
    print(path.display().to_string())
}

/// Resolves and writes the lock.
///
/// # Errors
/// Those of resolving; [`Id::Write`].
pub fn make(loaded: &recipe::Loaded, settings: &Settings, progress: &Progress) -> Result<Lock> {
    let (recipe, path) = (&loaded.recipe, &lock::path(loaded));
    let client = Client::new(settings.environment.access())?;
    let mirrors = Mirrors::find(&settings.mirrors, None, Path::new("/"))?;
    let get = |url: &str, limit: u64| client.get(url, limit);
    let task = progress.task("lock", None);
    let locked =
        deb::lock(&recipe.debian, &recipe.kernel.package, &mirrors, settings.now, &get, progress)?;
    for warning in &locked.warnings {
        progress.warn(warning);
    }
    let mut urls = Vec::new();
    for (name, file) in &recipe.url {
        let size = client.size(&file.url)?;
        let blob = formats::tree::Blob { sha256: file.sha256.0, size };
        urls.push(UrlFile { component: name.to_string(), url: file.url.clone(), blob });
    }
    let store = settings.store()?;
    for release in &locked.releases {
        store.put_bytes(release)?;
    }
    let lock = Lock {
        inputs: lock::inputs(recipe),
        suites: locked.suites,
        packages: locked.packages,
        urls,
    };
    lock.write(path)?;
    task.done(format!("{} packages in {}", lock.packages.len(), path.display()));
    Ok(lock)
}

/// What moved between two locks, one package a line.
fn changes(before: &Lock, now: &Lock) -> Vec<String> {
    let versions = |lock: &Lock| -> BTreeMap<String, String> {
        lock.packages.iter().map(|p| (p.name.clone(), p.version.clone())).collect()
    };
    let (before, now) = (versions(before), versions(now));
    let names: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    let line = |name: &&String| match (before.get(*name), now.get(*name)) {
        (Some(old), Some(new)) if old != new => Some(format!("{name}: {old} -> {new}")),
        (None, Some(new)) => Some(format!("{name}: added, {new}")),
        (Some(old), None) => Some(format!("{name}: removed, was {old}")),
        _ => None,
    };
    names.iter().filter_map(line).collect()
}

fn why(path: &Path, package: &str, global: &Global) -> Result<()> {
    let lock = Lock::read(path)?;
    let chains = deb::why::why(&lock.packages, package);
    if chains.is_empty() {
        let error =
            Error::new(Id::NotLocked, format!("`{package}` is not in `{}`", path.display()));
        let names = lock.packages.iter().map(|package| package.name.as_str());
        return Err(match near(package, names) {
            Some(meant) => error.hint(format!("did you mean `{meant}`?")),
            None => error.hint("nothing of the recipe needs it"),
        });
    }
    if global.json {
        return print_json(&chains);
    }
    let lines: Vec<_> = chains.iter().map(|chain| chain.join(" -> ")).collect();
    print(lines.join("\n"))
}
