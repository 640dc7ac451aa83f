//! `orlop fetch`: everything that the lock names, into the store. Beside `lock` the only command
//! that uses the network, and what `build` calls when something is missing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::arguments::{Global, RecipeArgs};
use crate::commands::{lock as lock_command, print_json, shown};
use crate::error::{Error, Id, Result};
use crate::fetch::{self, Wanted};
use crate::http::Client;
use crate::lock::{self, Lock};
use crate::progress::Progress;
use crate::recipe::{self, Recipe};
use crate::settings::Settings;
use crate::source::cargo::{self, Seen};
use crate::source::deb::reach::Reach;
use crate::source::{deb, go, image};
use crate::store::{Looked, Store};

/// Downloads at once: mirrors ask not to be flooded.
const CONNECTIONS: usize = 4;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Refuse to make the lock (the default where `CI` is set)
    #[arg(long)]
    locked: bool,
}

/// What may be done about a missing lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// It is made.
    Make,
    /// It is an error, for this reason.
    Refuse(&'static str),
}

impl Locking {
    /// What `--locked` and the environment say.
    pub fn of(locked: bool, settings: &Settings) -> Self {
        match (locked, settings.ci) {
            (true, _) => Self::Refuse("`--locked` forbids to make it here"),
            (false, true) => Self::Refuse("it is not made where `CI` is set"),
            (false, false) => Self::Make,
        }
    }

    /// The same where `--offline` may say that there is no network to make it with.
    pub fn unless_offline(self, offline: bool) -> Self {
        match self {
            Self::Make if offline => Self::Refuse("`--offline` forbids to make it here"),
            other => other,
        }
    }
}

/// A recipe and its lock, which fits it.
#[derive(Debug)]
pub struct Loaded {
    /// The recipe.
    pub recipe: Recipe,
    /// Its lock.
    pub lock: Lock,
    /// Where that is.
    pub lock_path: PathBuf,
}

/// Fetches everything, compilers' modules included.
///
/// # Errors
/// Those of loading and fetching.
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let store = settings.store()?;
    let locking = Locking::of(args.locked, settings);
    let Loaded { recipe, lock, lock_path } = load(&args.recipe, locking, settings, progress)?;
    bring(&recipe, &lock, &store, settings, progress, &Seen::new())?;
    store.remember_root(&lock_path, Looked::AtAll)?;
    if global.json {
        return print_json(&serde_json::json!({
            "image": recipe.name.as_str(),
            "store": shown(store.root()),
            "packages": lock.packages.len(),
            "urls": lock.urls.len(),
            "images": lock.images.len(),
        }));
    }
    Ok(())
}

/// Reads and checks the recipe, and reads its lock; makes the lock if there is none and that is
/// allowed.
///
/// # Errors
/// Those of loading, checking and locking; [`Id::LockStale`], [`Id::LockMissing`].
pub fn load(
    args: &RecipeArgs,
    locking: Locking,
    settings: &Settings,
    progress: &Progress,
) -> Result<Loaded> {
    let (loaded, lock, lock_path) = load_whole(args, locking, settings, progress)?;
    Ok(Loaded { recipe: loaded.recipe, lock, lock_path })
}

/// As [`load`], with all that is known of the recipe.
///
/// # Errors
/// As [`load`].
pub fn load_whole(
    args: &RecipeArgs,
    locking: Locking,
    settings: &Settings,
    progress: &Progress,
) -> Result<(recipe::Loaded, Lock, PathBuf)> {
    let loaded = recipe::load(&args.recipe, args.profile.as_deref())?;
    for warning in &loaded.warnings {
        progress.warn(warning);
    }
    loaded.check()?;
    let path = lock::path(&loaded);
    let lock = match Lock::read(&path) {
        Err(error) if error.id() == Id::LockMissing => match locking {
            Locking::Make => lock_command::make(&loaded, BTreeMap::new(), &[], settings, progress)?,
            Locking::Refuse(why) => return Err(error.hint(why)),
        },
        result => result?,
    };
    lock.check_fresh(&loaded.recipe, &path)?;
    Ok((loaded, lock, path))
}

/// Brings what the lock and the components' own locks name into the store. What is `seen` of the
/// workspaces then was read after everything that takes long.
///
/// # Errors
/// Those of the sources.
pub fn bring(
    recipe: &Recipe,
    lock: &Lock,
    store: &Store,
    settings: &Settings,
    progress: &Progress,
    seen: &Seen,
) -> Result<()> {
    let mut components = Vec::new();
    for (name, go) in recipe.all_go() {
        let component = go::Component::load(go, recipe.arch)?;
        if !component.is_fetched(store)? {
            settings.caches.check_go()?;
            components.push((name, component));
        }
    }
    fetch_blobs(recipe, lock, store, settings, progress)?;
    for image in &lock.images {
        image::registry::fetch(image, &settings.environment, store, progress)?;
    }
    for (name, component) in components {
        fetch_go(&name, &component, store, settings, progress)?;
    }
    for (name, cargo) in recipe.all_cargo() {
        let component = cargo::Component::load(cargo, recipe.arch, seen)?;
        if !component.is_fetched(store)? {
            let task = progress.task(format!("fetch {name}"), None);
            seen.forget();
            component.fetch(&settings.environment, store)?;
            task.done("complete");
        }
    }
    Ok(())
}

/// Brings what one Go component needs into the store. If all is there, nobody is asked.
///
/// # Errors
/// Those of [`go::Component::fetch`].
pub fn bring_go(
    name: &str,
    component: &go::Component,
    store: &Store,
    settings: &Settings,
    progress: &Progress,
) -> Result<()> {
    if component.is_fetched(store)? {
        return Ok(());
    }
    fetch_go(name, component, store, settings, progress)
}

fn fetch_go(
    name: &str,
    component: &go::Component,
    store: &Store,
    settings: &Settings,
    progress: &Progress,
) -> Result<()> {
    let task = progress.task(format!("fetch {name}"), None);
    component.fetch(&settings.environment, &settings.caches, store)?;
    task.done("complete");
    Ok(())
}

/// Brings what the lock names into the store.
///
/// # Errors
/// Those of [`fetch::all`], [`Id::NoMirror`].
pub fn fetch_blobs(
    recipe: &Recipe,
    lock: &Lock,
    store: &Store,
    settings: &Settings,
    progress: &Progress,
) -> Result<()> {
    // One that is in the root and compiles as well is fetched once.
    let all: BTreeMap<_, _> = lock.all_packages().map(|p| ((&p.name, p.blob.sha256), p)).collect();
    let packages: Vec<_> = all.into_values().filter(|p| !store.has(&p.blob)).collect();
    let urls: Vec<_> = lock.urls.iter().filter(|file| !store.has(&file.blob)).collect();
    if packages.is_empty() && urls.is_empty() {
        return Ok(());
    }
    let web = Client::new(settings.environment.access())?;
    let reach = match packages.as_slice() {
        [] => None,
        _ => Some(Reach::new(recipe, settings, progress)?),
    };
    let debs = reach.iter().flat_map(|reach| {
        packages.iter().map(|package| {
            let wanted = Wanted {
                name: format!("{} {}", package.name, package.version),
                urls: deb::blob_urls(package, &reach.mirrors),
                blob: package.blob,
            };
            (&reach.client, wanted)
        })
    });
    let files = urls.iter().map(|file| {
        let (name, blob) = (file.component.clone(), file.blob);
        // The lock has the address without what may be secret in it.
        let url = match recipe.url.iter().find(|(name, _)| name.as_str() == file.component) {
            Some((_, url)) => url.url.secret().to_owned(),
            None => file.url.clone(),
        };
        (&web, Wanted { name, urls: vec![url], blob })
    });
    let wanted: Vec<_> = debs.chain(files).collect();
    fetch::all(store, &wanted, progress, CONNECTIONS).map_err(|error| {
        let lacking = urls.iter().filter(|file| !store.has(&file.blob));
        let error = lacking.fold(error, |error, file| fetch::or_by_hand(error, &file.component));
        if error.id() == Id::NotFound && !packages.is_empty() {
            return error.hint(
                "mirrors drop old versions: `orlop lock` moves to the current ones, or name a \
                 mirror that keeps them with `--mirror URL`",
            );
        }
        error
    })
}

/// Checks that a build without network would find all files that the lock names.
///
/// # Errors
/// [`Id::StoreMissing`] with what is not there.
pub fn require(lock: &Lock, store: &Store) -> Result<()> {
    let all: BTreeMap<_, _> = lock.all_packages().map(|p| ((&p.name, p.blob.sha256), p)).collect();
    let packages = all.into_values().map(|package| {
        (format!("{} {}", package.name, package.version), package.path.clone(), &package.blob)
    });
    let files = lock.urls.iter().map(|file| (file.component.clone(), file.url.clone(), &file.blob));
    let images = lock.images.iter().flat_map(image::registry::needed);
    let needed: Vec<_> = packages.chain(files).chain(images).collect();
    let number = needed.len();
    let missing: Vec<_> = needed.into_iter().filter(|(.., blob)| !store.has(blob)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut message = format!(
        "the store `{}` lacks {} of {} files that the lock names:",
        store.root().display(),
        missing.len(),
        number
    );
    for (name, place, blob) in &missing {
        message += &format!("\n  {name} ({place}), sha256 {}", blob.sha256);
    }
    Err(Error::new(Id::StoreMissing, message)
        .hint("`orlop fetch` brings them; `orlop store add FILE` takes what was brought by hand"))
}
