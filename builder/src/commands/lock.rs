//! `orlop lock`: decides on every version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use formats::near::near;
use serde::Serialize;

use crate::arguments::{Global, RecipeArgs};
use crate::commands::{print, print_json, shown};
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
    let changes = before.map_or(Vec::new(), |before| changes(&before, &lock));
    for change in &changes {
        progress.note(change.to_string());
    }
    if global.json {
        return print_json(&serde_json::json!({
            "lock": shown(path),
            "packages": lock.packages.len(),
            "urls": lock.urls.len(),
            "changes": changes,
        }));
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

/// A package that moved between two locks: its version before and now, nothing where it is not.
#[derive(Debug, Serialize)]
struct Change {
    package: String,
    before: Option<String>,
    now: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.package;
        match (&self.before, &self.now) {
            (Some(old), Some(new)) => write!(f, "{name}: {old} -> {new}"),
            (None, Some(new)) => write!(f, "{name}: added, {new}"),
            (Some(old), None) => write!(f, "{name}: removed, was {old}"),
            (None, None) => Ok(()),
        }
    }
}

fn changes(before: &Lock, now: &Lock) -> Vec<Change> {
    let versions = |lock: &Lock| -> BTreeMap<String, String> {
        lock.packages.iter().map(|p| (p.name.clone(), p.version.clone())).collect()
    };
    let (before, now) = (versions(before), versions(now));
    let names: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    let change = |name: &String| {
        let (before, now) = (before.get(name).cloned(), now.get(name).cloned());
        (before != now).then(|| Change { package: name.clone(), before, now })
    };
    names.into_iter().filter_map(change).collect()
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
        return print_json(&serde_json::json!({ "package": package, "chains": chains }));
    }
    let lines: Vec<_> = chains.iter().map(|chain| chain.join(" -> ")).collect();
    print(lines.join("\n"))
}
