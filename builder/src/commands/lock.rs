//! `orlop lock`: decides on every version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use formats::deb::{Version, date};
use formats::near::near;
use serde::Serialize;

use crate::arguments::{Global, RecipeArgs};
use crate::build::rustc;
use crate::commands::{print, print_json, shown};
use crate::error::{Error, Id, Result};
use crate::fetch;
use crate::http::Client;
use crate::lock::model::{Image, Rustc, Suite, UrlFile};
use crate::lock::{self, Lock};
use crate::progress::Progress;
use crate::recipe::{self, Recipe};
use crate::settings::Settings;
use crate::source::cargo::Seen;
use crate::source::deb::reach::Reach;
use crate::source::deb::release::Times;
use crate::source::{deb, image};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Say why a package is in the lock, instead of making one
    #[arg(long, value_name = "PACKAGE")]
    why: Option<String>,
    /// Take release files that are older than those the lock was made of
    #[arg(long, conflicts_with = "why")]
    allow_older: bool,
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
    let before = match Lock::read(path) {
        Ok(before) => Some(before),
        Err(error) if error.id() == Id::LockMissing => None,
        // It is replaced: that is what the user asks for.
        Err(error) => {
            progress.warn(format!("{error}: whether anything falls back is not looked at"));
            None
        }
    };
    let locked = before.iter().flat_map(|lock| &lock.suites);
    let dates: BTreeMap<_, _> =
        locked.map(|suite| (suite.name.clone(), suite.date.clone())).collect();
    let floor = if args.allow_older { BTreeMap::new() } else { dates };
    let rustc = before.as_ref().map_or(&[][..], |before| &before.rustc);
    let lock = make(&loaded, floor, rustc, settings, progress)?;
    for line in before.iter().flat_map(|before| fallen(before, &lock)) {
        progress.warn(line);
    }
    let changes = before.map_or(Vec::new(), |before| changes(&before, &lock));
    for change in &changes {
        let said = if change.older { Progress::warn } else { Progress::note };
        said(progress, change.to_string());
    }
    if global.json {
        return print_json(&serde_json::json!({
            "lock": shown(path),
            "packages": lock.packages.len(),
            "urls": lock.urls.len(),
            "images": lock.images.len(),
            "changes": changes,
        }));
    }
    print(path.display().to_string())
}

/// Resolves and writes the lock. `floor` has by suite the `Date` that a release file must have at
/// least, `rustc` what the lock before recorded.
///
/// # Errors
/// Those of resolving; [`Id::MissingTool`] without the compiler that is to be recorded;
/// [`Id::Write`].
pub fn make(
    loaded: &recipe::Loaded,
    floor: BTreeMap<String, String>,
    rustc: &[Rustc],
    settings: &Settings,
    progress: &Progress,
) -> Result<Lock> {
    loaded.check_architecture()?;
    let (recipe, path) = (&loaded.recipe, &lock::path(loaded));
    let rustc = recorded(recipe, rustc, settings, progress)?;
    let client = Client::new(settings.environment.access())?;
    let reach = Reach::new(recipe, settings, progress)?;
    let get = |url: &str, limit: u64| reach.client.get(url, limit);
    let task = progress.task("lock", None);
    let snapshot = recipe.debian.snapshot.map(|snapshot| snapshot.0);
    let times = Times { now: settings.now, snapshot, locked: floor };
    let wanted = deb::Wanted {
        architecture: recipe.arch,
        kernel: &recipe.kernel.package,
        compilers: &recipe.compilers().cloned().collect(),
    };
    let locked = deb::lock(&recipe.debian, wanted, &reach.mirrors, &times, &get, progress)?;
    for warning in &locked.warnings {
        progress.warn(warning);
    }
    let store = settings.store()?;
    let mut urls = Vec::new();
    for (name, file) in &recipe.url {
        // How long it is, the file tells; a server may not, or have a page for people instead.
        let task = progress.task(name.as_str(), None);
        let sha256 = file.sha256.0;
        let blob = fetch::pinned(&client, &store, &file.url, sha256, name.as_str(), &task)
            .map_err(|error| fetch::or_by_hand(error, name.as_str()))?;
        task.done(format!("{} bytes", blob.size));
        urls.push(UrlFile { component: name.to_string(), url: file.url.to_string(), blob });
    }
    let mut images = Vec::new();
    for (name, oci) in &recipe.oci {
        let Some(location) = &oci.registry else { continue };
        let task = progress.task(format!("oci.{name}"), None);
        let registry = image::registry::registry(&location.0, &settings.environment)?;
        let image = image::registry::resolve(&registry, &store, name.as_str(), recipe.arch)?;
        task.done(format!("{} parts", image.parts.len()));
        images.push(image);
    }
    for release in &locked.releases {
        store.put_bytes(release)?;
    }
    let lock = Lock {
        inputs: lock::inputs(recipe),
        suites: locked.suites,
        packages: locked.packages,
        compilers: locked.compilers,
        rustc,
        urls,
        images,
    };
    lock.write(path)?;
    task.done(format!("{} packages in {}", lock.all_packages().count(), path.display()));
    Ok(lock)
}

/// The Rust compilers of this host. Where there are none, as on a machine that only looks for newer
/// packages, those of the lock before stay.
fn recorded(
    recipe: &Recipe,
    before: &[Rustc],
    settings: &Settings,
    progress: &Progress,
) -> Result<Vec<Rustc>> {
    match rustc::here(recipe, &settings.environment, &Seen::new()) {
        Ok(here) => Ok(here.into_iter().collect()),
        Err(error) if error.id() == Id::MissingTool && !before.is_empty() => {
            progress.warn("`rustc` is not on this host: the lock keeps the one it had");
            Ok(before.to_vec())
        }
        Err(error) => Err(error),
    }
}

/// A package that moved between two locks: its version before and now, nothing where it is not.
#[derive(Debug, Serialize)]
struct Change {
    package: String,
    before: Option<String>,
    now: Option<String>,
    older: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.package;
        let moves = if self.older { " goes back" } else { "" };
        match (&self.before, &self.now) {
            (Some(old), Some(new)) => write!(f, "{name}{moves}: {old} -> {new}"),
            (None, Some(new)) => write!(f, "{name}: added, {new}"),
            (Some(old), None) => write!(f, "{name}: removed, was {old}"),
            (None, None) => Ok(()),
        }
    }
}

/// Suites whose release file is older than before.
fn fallen(before: &Lock, now: &Lock) -> Vec<String> {
    let made = |suite: &Suite| date::parse(&suite.date).unwrap_or_default();
    let line = |old: &Suite| {
        let new = now.suites.iter().find(|new| new.name == old.name)?;
        let line = format!("suite {} goes back: {} -> {}", old.name, old.date, new.date);
        (made(new) < made(old)).then_some(line)
    };
    before.suites.iter().filter_map(line).collect()
}

fn changes(before: &Lock, now: &Lock) -> Vec<Change> {
    let versions = |lock: &Lock| -> BTreeMap<String, String> {
        lock.all_packages().map(|p| (p.name.clone(), p.version.clone())).collect()
    };
    let images = (before, now);
    let (before, now) = (versions(before), versions(now));
    let names: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    let version = |text: &Option<String>| text.as_ref()?.parse::<Version>().ok();
    let change = |name: &String| {
        let (before, now) = (before.get(name).cloned(), now.get(name).cloned());
        let older = version(&now).zip(version(&before)).is_some_and(|(now, before)| now < before);
        (before != now).then(|| Change { package: name.clone(), before, now, older })
    };
    let mut changes: Vec<_> = names.into_iter().filter_map(change).collect();
    changes.extend(moved_images(images));
    changes
}

/// Images whose name stands for something else than before. Digests are neither older nor newer.
fn moved_images((before, now): (&Lock, &Lock)) -> Vec<Change> {
    let targets = |lock: &Lock| -> BTreeMap<String, String> {
        let target = |image: &Image| {
            let part = image.parts.first()?;
            Some((format!("oci.{}", image.component), format!("sha256:{}", part.blob.sha256)))
        };
        lock.images.iter().filter_map(target).collect()
    };
    let (before, now) = (targets(before), targets(now));
    let names: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    let change = |name: &String| {
        let (before, now) = (before.get(name).cloned(), now.get(name).cloned());
        let differs = before != now;
        differs.then(|| Change { package: name.clone(), before, now, older: false })
    };
    names.into_iter().filter_map(change).collect()
}

fn why(path: &Path, package: &str, global: &Global) -> Result<()> {
    let lock = Lock::read(path)?;
    let mut chains = deb::why::why(&lock.packages, package);
    chains.extend(deb::why::why(&lock.compilers, package));
    if chains.is_empty() {
        let error =
            Error::new(Id::NotLocked, format!("`{package}` is not in `{}`", path.display()));
        let names = lock.all_packages().map(|package| package.name.as_str());
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
