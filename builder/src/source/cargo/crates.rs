//! Crates of registries: in the store as the archives that `Cargo.lock` has the digests of, and
//! unpacked for a build as what Cargo calls directory sources.
//! <https://doc.rust-lang.org/cargo/reference/source-replacement.html>

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use formats::digest::Sha256;
use tar::EntryType;

use crate::cargo_workspace::{CRATES_IO, Crate, Lockfile, index};
use crate::digest;
use crate::error::{Context as _, Error, Id, Result};
use crate::source::caches::cannot_write;
use crate::store::Store;

/// Holds the digest of the archive that a directory was unpacked from. It is written last: without
/// it a directory is removed and made again. Cargo does not look at it.
const ORIGIN: &str = ".orlop-crate";

/// The kind under which the store remembers which crates a workspace needs.
const NOTES: &str = "crates";

/// The crates that are not in the store.
pub(super) fn missing<'a>(lock: &'a Lockfile, store: &Store) -> Vec<&'a Crate> {
    lock.crates.iter().filter(|one| store.find(&one.sha256).is_none()).collect()
}

/// Notes in the store that these crates are used: what clears up keeps what a note names.
///
/// # Errors
/// [`Id::StoreWrite`].
pub(super) fn note(lock: &Lockfile, store: &Store) -> Result<()> {
    let digests: Vec<_> = lock.crates.iter().map(|one| one.sha256.to_string()).collect();
    let list = serde_json::json!(digests).to_string();
    let key = Sha256::of(&list);
    match store.step(NOTES, &key) {
        Some(_) => Ok(()),
        None => store.put_step(NOTES, &key, list.as_bytes()),
    }
}

/// Gives the archives of crates to another store.
///
/// # Errors
/// [`Id::CargoNotFetched`], [`Id::StoreWrite`].
pub(super) fn lend(lock: &Lockfile, store: &Store, to: &Store) -> Result<()> {
    for one in &lock.crates {
        let blob = store.find(&one.sha256).ok_or_else(|| {
            let message = format!("the crate `{} {}` is not in the store", one.name, one.version);
            Error::new(Id::CargoNotFetched, message).hint("run `orlop fetch`")
        })?;
        store.lend(&blob, to)?;
    }
    Ok(())
}

/// Takes the archives of crates out of Cargo's cache in `home` into the store.
///
/// # Errors
/// [`Id::CargoNotFetched`] if one is not there as the lock has it; [`Id::StoreWrite`].
pub(super) fn take(crates: &[&Crate], home: &Path, store: &Store) -> Result<()> {
    let registries = fs::read_dir(home.join("registry/cache")).into_iter().flatten().flatten();
    let registries: BTreeSet<PathBuf> = registries.map(|entry| entry.path()).collect();
    let batch = store.batch();
    for one in crates {
        let file = format!("{}-{}.crate", one.name, one.version);
        let files = registries.iter().map(|registry| registry.join(&file));
        let mut files = files.filter(|file| file.is_file());
        let found = files
            .find(|file| digest::of_file(file, |_| ()).is_ok_and(|digest| digest == one.sha256));
        let Some(found) = found else {
            let message = format!(
                "Cargo has not brought `{} {}` with the checksum of `Cargo.lock` into `{}`",
                one.name,
                one.version,
                home.display()
            );
            return Err(Error::new(Id::CargoNotFetched, message).hint(
                "if the crates lie in a directory on this host (`[source]` in Cargo's \
                 configuration), move that into the workspace and its `.cargo/config.toml`",
            ));
        };
        let cannot = || format!("cannot read `{}`", found.display());
        let mut file = File::open(&found).or_fail(Id::Read, cannot)?;
        if batch.put(&mut file)?.sha256 != one.sha256 {
            let message = format!("`{}` changed while it was read", found.display());
            return Err(Error::new(Id::CargoNotFetched, message).hint("run `orlop fetch` again"));
        }
    }
    batch.finish()
}

/// Makes `directory` hold the crates of the lock, one directory for each registry, and nothing
/// else. Gives the directories by registry. What is there already is left alone, so that Cargo
/// does not compile it again.
///
/// # Errors
/// [`Id::CargoNotFetched`] for what is not in the store; [`Id::WrongDigest`], [`Id::Archive`] for
/// what is damaged; [`Id::Write`].
pub(super) fn unpack(
    lock: &Lockfile,
    directory: &Path,
    store: &Store,
) -> Result<BTreeMap<String, PathBuf>> {
    let missing = missing(lock, store);
    if let Some(first) = missing.first() {
        let message = format!(
            "{} of {} crates of `Cargo.lock` are not in the store, `{} {}` among them",
            missing.len(),
            lock.crates.len(),
            first.name,
            first.version
        );
        return Err(Error::new(Id::CargoNotFetched, message).hint("run `orlop fetch`"));
    }
    let mut sources = lock.by_source();
    sources.entry(CRATES_IO).or_default();
    let mut directories = BTreeMap::new();
    for (source, crates) in sources {
        let place = directory.join(&Sha256::of(index(source)).to_string()[..16]);
        fs::create_dir_all(&place).map_err(|error| cannot_write(&place).caused_by(error))?;
        let wanted: BTreeMap<_, _> =
            crates.iter().map(|one| (format!("{}-{}", one.name, one.version), *one)).collect();
        for entry in
            fs::read_dir(&place).map_err(|error| cannot_write(&place).caused_by(error))?.flatten()
        {
            let origin = fs::read_to_string(entry.path().join(ORIGIN)).unwrap_or_default();
            let name = entry.file_name();
            let wanted = name.to_str().and_then(|name| wanted.get(name));
            if wanted.is_none_or(|one| one.sha256.to_string() != origin) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(|error| cannot_write(&path).caused_by(error))?;
            }
        }
        for (name, one) in wanted {
            if !place.join(&name).exists() {
                unpack_crate(one, &name, &place, store)?;
            }
        }
        directories.insert(source.to_owned(), place);
    }
    Ok(directories)
}

fn unpack_crate(one: &Crate, name: &str, place: &Path, store: &Store) -> Result<()> {
    let directory = place.join(name);
    let broken = || format!("cannot unpack the crate `{name}`");
    let blob = store.find(&one.sha256).ok_or_else(|| Error::new(Id::CargoNotFetched, broken()))?;
    let mut files = BTreeMap::new();
    let mut entries = tar::Archive::new(GzDecoder::new(store.open_blob(&blob)?));
    for entry in entries.entries().or_fail(Id::Archive, broken)? {
        let mut entry = entry.or_fail(Id::Archive, broken)?;
        let path = entry.path().or_fail(Id::Archive, broken)?.into_owned();
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::Directory | EntryType::XGlobalHeader) {
            continue;
        }
        // All is in a directory of the crate's name, and there are only files.
        let inner = path.strip_prefix(name).ok().and_then(Path::to_str);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let inner = inner.filter(|_| plain && matches!(kind, EntryType::Regular));
        let inner = inner.ok_or_else(|| {
            let message =
                format!("the crate `{name}` holds `{}`, which no crate may", path.display());
            Error::new(Id::Archive, message)
        })?;
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).or_fail(Id::Archive, broken)?;
        let at = directory.join(inner);
        let write = || -> io::Result<()> {
            if let Some(parent) = at.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&at, &content)?;
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(&at, fs::Permissions::from_mode(mode))
        };
        write().map_err(|error| cannot_write(&at).caused_by(error))?;
        files.insert(inner.to_owned(), Sha256::of(&content).to_string());
    }
    files.remove(".cargo-checksum.json");
    let checksums = serde_json::json!({ "files": files, "package": one.sha256.to_string() });
    let finish = || -> io::Result<()> {
        fs::write(directory.join(".cargo-checksum.json"), checksums.to_string())?;
        // The crate counts from here on.
        fs::write(directory.join(ORIGIN), one.sha256.to_string())
    };
    finish().map_err(|error| cannot_write(place).caused_by(error))?;
    Ok(())
}

/// The settings that make Cargo take crates from these directories, and registries by the names
/// that the manifests have for them.
///
/// # Errors
/// [`Id::CargoPackage`] if no crate of the lock comes from a registry that is named.
pub(super) fn settings(
    lock: &Lockfile,
    directories: &BTreeMap<String, PathBuf>,
    registries: &BTreeMap<&str, &str>,
) -> Result<String> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = String::new();
    for (number, (source, directory)) in directories.iter().enumerate() {
        let (name, registry) = match source.as_str() {
            CRATES_IO => ("crates-io".to_owned(), String::new()),
            source => {
                let registry = format!("registry = {}\n", quoted(index(source)));
                (format!("orlop-registry-{number}"), registry)
            }
        };
        text += &format!("[source.{name}]\n{registry}replace-with = \"orlop-{number}\"\n");
        let directory = quoted(&directory.to_string_lossy());
        text += &format!("[source.orlop-{number}]\ndirectory = {directory}\n");
    }
    for (name, wanted) in registries {
        let index = lock.other_registry(wanted).ok_or_else(|| {
            let message =
                format!("`{wanted}` is wanted of the registry `{name}`, and `Cargo.lock` has none");
            Error::new(Id::CargoPackage, message).hint("run `cargo update --workspace`")
        })?;
        text += &format!("[registries.{}]\nindex = {}\n", quoted(name), quoted(index));
    }
    Ok(text)
}
