//! A recipe with all that it refers to, copied to another directory: what of a build's paths could
//! get into its bytes is then another one.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::error::{Context as _, Id, Result};
use crate::lock;
use crate::recipe::Loaded;

/// What Cargo puts into a directory that can be made again (<https://bford.info/cachedir/>).
const CACHE: &str = "CACHEDIR.TAG";

/// The files and directories of a recipe, and the directory that has them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Project {
    recipe: PathBuf,
    // All that is referred to.
    all: BTreeSet<PathBuf>,
    // Of these the ones that all others are inside of.
    sources: BTreeSet<PathBuf>,
    // Of these the ones that go into the image as they are.
    whole: BTreeSet<PathBuf>,
    above: PathBuf,
}

impl Project {
    /// That of a recipe: its files, its lock, and what its components are made of.
    ///
    /// # Errors
    /// [`Id::Read`] if one of them is not there.
    pub(super) fn of(loaded: &Loaded) -> Result<Self> {
        let recipe = &loaded.recipe;
        let real = |path: &Path| {
            path.canonicalize().or_fail(Id::Read, || format!("cannot read `{}`", path.display()))
        };
        // A link to a recipe stands for what it is called here, so its directory counts.
        let named = |path: &Path| -> Result<PathBuf> {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let directory = real(directory.unwrap_or(Path::new(".")))?;
            Ok(path.file_name().map_or(directory.clone(), |name| directory.join(name)))
        };
        let lock = lock::path(loaded);
        let files = loaded.files.iter().chain([&lock]).map(|path| named(path));
        let components = recipe
            .all_go()
            .map(|(_, go)| &go.module)
            .chain(recipe.all_cargo().map(|(_, cargo)| &cargo.workspace))
            .chain(recipe.all_local().map(|(_, local)| &local.path))
            .chain(recipe.apparmor.values().map(|profile| &profile.profile))
            .chain(recipe.debian.keyring.iter().filter(|keyring| keyring.exists()));
        let all = files.chain(components.map(|path| named(path)));
        let whole = recipe.all_local().map(|(_, local)| named(&local.path));
        let whole = whole.collect::<Result<_>>()?;
        Ok(Self::new(named(&loaded.path)?, all.collect::<Result<_>>()?, whole))
    }

    fn new(recipe: PathBuf, all: BTreeSet<PathBuf>, whole: BTreeSet<PathBuf>) -> Self {
        let inside = |path: &PathBuf| {
            all.iter().any(|other| path != other && path.starts_with(other) && other.is_dir())
        };
        let sources: BTreeSet<_> = all.iter().filter(|path| !inside(path)).cloned().collect();
        let mut above = recipe.parent().map(Path::to_owned).unwrap_or_default();
        while sources.iter().any(|source| !source.starts_with(&above)) && above.pop() {}
        Self { recipe, all, sources, whole, above }
    }

    /// Whether it can be copied to below `to`.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn can_be_copied(&self, to: &Path) -> std::result::Result<(), String> {
        let to = to.canonicalize().unwrap_or_else(|_| to.to_owned());
        match self.sources.iter().find(|source| to.starts_with(source)) {
            Some(source) => Err(format!("the builds are made inside of `{}`", source.display())),
            None => Ok(()),
        }
    }

    /// Copies all of it below `to`, and says where the recipe is then. What git and Cargo keep there
    /// is left out, but where it goes into the image; all files were changed at `changed`, in seconds
    /// since 1970.
    ///
    /// # Errors
    /// [`Id::Write`].
    pub(super) fn copy(&self, to: &Path, changed: u64) -> Result<PathBuf> {
        let place = |path: &Path| to.join(path.strip_prefix(&self.above).unwrap_or(path));
        let changed = UNIX_EPOCH + Duration::from_secs(changed);
        let times = FileTimes::new().set_modified(changed);
        // What was left out with a directory, and is referred to all the same, comes after all
        // others.
        for source in self.sources.iter().chain(&self.all) {
            let target = place(source);
            if target.symlink_metadata().is_ok() {
                continue;
            }
            let copy = || {
                target.parent().map_or(Ok(()), fs::create_dir_all)?;
                // A link that is referred to stands for what it leads to, which need not be copied.
                let real = source.canonicalize()?;
                let whole = self.whole.iter().any(|whole| source.starts_with(whole));
                self.copy_into(&real, source, &target, (whole, times))
            };
            let cannot = || format!("cannot copy `{}` to `{}`", source.display(), target.display());
            copy().or_fail(Id::Write, cannot)?;
        }
        Ok(place(&self.recipe))
    }

    /// Whether a path is copied with something that the recipe refers to.
    fn has(&self, real: &Path) -> bool {
        let inside =
            |source: &PathBuf| source.canonicalize().is_ok_and(|source| real.starts_with(source));
        self.sources.iter().any(inside)
    }

    /// Copies `from`, which the recipe knows as `called`.
    fn copy_into(
        &self,
        from: &Path,
        called: &Path,
        to: &Path,
        (whole, times): (bool, FileTimes),
    ) -> io::Result<()> {
        let whole = whole || self.whole.contains(called);
        let kind = from.symlink_metadata()?.file_type();
        if kind.is_symlink() {
            return match from.canonicalize() {
                // What it leads to is not copied with it.
                Ok(real) if !whole && !self.has(&real) => match real.is_file() {
                    true => fs::copy(&real, to).map(drop),
                    false => symlink(real, to),
                },
                _ => symlink(fs::read_link(from)?, to),
            };
        }
        if !kind.is_dir() {
            // Sockets and the like are no sources.
            return if kind.is_file() {
                fs::copy(from, to)?;
                File::open(to)?.set_times(times)
            } else {
                Ok(())
            };
        }
        if !whole && from.join(CACHE).is_file() {
            return Ok(());
        }
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != ".git" {
                self.copy_into(
                    &entry.path(),
                    &called.join(&name),
                    &to.join(&name),
                    (whole, times),
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn a_project_is_copied_with_what_is_beside_it_and_without_what_can_be_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().canonicalize().unwrap();
        let (from, to) = (top.join("from"), top.join("to"));
        for name in [
            "recipes/node.toml",
            "recipes/node.lock",
            "crate/Cargo.toml",
            "crate/src/main.rs",
            "crate/target/CACHEDIR.TAG",
            "crate/target/debug/x",
            "crate/.git/HEAD",
            "unrelated/y",
        ] {
            let path = from.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let main = from.join("crate/src/main.rs");
        fs::set_permissions(&main, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("main.rs", from.join("crate/src/link.rs")).unwrap();
        let recipe = from.join("recipes/node.toml");
        let sources = ["recipes/node.toml", "recipes/node.lock", "crate", "crate/src"];
        let all = sources.iter().map(|name| from.join(name)).collect();
        let project = Project::new(recipe, all, BTreeSet::new());
        assert_eq!(project.sources.len(), 3, "what is in another is copied with that");
        assert_eq!(project.copy(&to, CHANGED).unwrap(), to.join("recipes/node.toml"));
        let mut found = Vec::new();
        let mut waiting = vec![to.clone()];
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                found.push(path.strip_prefix(&to).unwrap().display().to_string());
            }
        }
        found.sort();
        assert_eq!(
            found,
            [
                "crate/Cargo.toml",
                "crate/src/link.rs",
                "crate/src/main.rs",
                "recipes/node.lock",
                "recipes/node.toml",
            ]
        );
        let copied = to.join("crate/src/main.rs").metadata().unwrap();
        assert_eq!((copied.mtime(), copied.mode() & 0o777), (1_000_000_000, 0o755));
        let link = fs::read_link(to.join("crate/src/link.rs")).unwrap();
        assert_eq!(link, Path::new("main.rs"));
    }

    const CHANGED: u64 = super::super::conditions::CHANGED;

    #[test]
    fn what_goes_into_an_image_is_copied_whole_and_a_link_as_what_it_leads_to() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().canonicalize().unwrap();
        let (from, to) = (top.join("p"), top.join("to"));
        for name in [
            "real/r.toml",
            "w/target/CACHEDIR.TAG",
            "w/target/out/x",
            "w/o/c/CACHEDIR.TAG",
            "readme",
            "shared/x",
        ] {
            let path = from.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        symlink("real/r.toml", from.join("r.toml")).unwrap();
        symlink("w/o", from.join("overlay")).unwrap();
        for (target, link) in
            [("../readme", "w/readme"), ("../shared", "w/shared"), ("../readme", "w/o/readme")]
        {
            symlink(target, from.join(link)).unwrap();
        }
        let paths = |names: &[&str]| names.iter().map(|name| from.join(name)).collect();
        let all = paths(&["r.toml", "w", "w/target/out", "overlay"]);
        let whole = paths(&["w/target/out", "overlay"]);
        let recipe = Project::new(from.join("r.toml"), all, whole).copy(&to, CHANGED).unwrap();
        assert_eq!(fs::read_to_string(recipe).unwrap(), "real/r.toml");
        for (name, want) in [
            ("overlay/c/CACHEDIR.TAG", true),
            ("w/target/out/x", true),
            ("w/target/CACHEDIR.TAG", false),
            ("w/o/c", false),
        ] {
            assert_eq!(to.join(name).exists(), want, "{name}");
        }
        // What leads out of all sources leads there all the same, but for a link that is in the
        // image.
        assert_eq!(fs::read_to_string(to.join("w/readme")).unwrap(), "readme");
        assert_eq!(fs::read_link(to.join("w/shared")).unwrap(), from.join("shared"));
        assert_eq!(fs::read_link(to.join("overlay/readme")).unwrap(), Path::new("../readme"));
    }
}
