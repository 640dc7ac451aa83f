//! Where the lock of a recipe is. No two recipes of a folder, and no two profiles that ask for
//! different things, have one lock: the name of the recipe can be read off the name of its lock.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::inputs;
use crate::recipe::model::Name;
use crate::recipe::{FILE_NAME, Loaded, Recipe};

/// Names that no profile may have: they end the names of locks that are not of a profile.
pub(crate) const NOT_A_PROFILE: [&str; 2] = ["toml", "recipe"];

/// Where the lock of a recipe is: `orlop.lock` beside a `recipe.toml`, `NAME.lock` beside any other
/// `NAME.toml`. A profile that asks the resolver for the same shares the lock, so its packages
/// cannot drift; one that asks for something else has its own, `orlop.PROFILE.lock`.
///
/// A recipe whose name would give another one's lock has its whole name before `.lock`, as in
/// `orlop.toml.lock` or `orlop.debug.toml.lock`.
pub fn path(loaded: &Loaded) -> PathBuf {
    let same = |plain: &Recipe| inputs(plain) == inputs(&loaded.recipe);
    let shares = loaded.plain.as_ref().is_some_and(same);
    named(&loaded.path, loaded.profile.as_deref().filter(|_| !shares))
}

pub(super) fn named(recipe: &Path, profile: Option<&str>) -> PathBuf {
    let mut name = base(recipe.file_name().unwrap_or_default());
    if let Some(profile) = profile {
        name.push(".");
        name.push(profile);
    }
    name.push(".lock");
    recipe.with_file_name(name)
}

/// What stands before profile and `.lock`: another text for every name of a file. One that ends
/// as if with a profile would be taken for it, unless that can be none.
fn base(file: &OsStr) -> OsString {
    const SUFFIX: &[u8] = b".toml";
    if file == FILE_NAME {
        return "orlop".into();
    }
    match file.as_bytes().strip_suffix(SUFFIX) {
        Some(b"") => file.to_owned(),
        Some(b"orlop") => file.to_owned(),
        Some(stem) if ends_as_with_a_profile(stem) => file.to_owned(),
        Some(stem) => OsStr::from_bytes(stem).to_owned(),
        None => {
            let mut name = file.to_owned();
            name.push(".recipe");
            name
        }
    }
}

fn ends_as_with_a_profile(stem: &[u8]) -> bool {
    let mut parts = stem.rsplitn(2, |byte| *byte == b'.');
    let (last, before) = (parts.next(), parts.next());
    let last = last.and_then(|last| std::str::from_utf8(last).ok()).unwrap_or_default();
    before.is_some() && Name::try_from(last.to_owned()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_path_follows_the_recipe_and_a_profile_of_its_own() {
        for (recipe, profile, want) in [
            ("recipe.toml", None, "orlop.lock"),
            ("a/recipe.toml", Some("debug"), "a/orlop.debug.lock"),
            ("recipes/node.toml", None, "recipes/node.lock"),
            ("node.toml", Some("debug"), "node.debug.lock"),
            ("k8s-1.36.toml", Some("debug"), "k8s-1.36.debug.lock"),
            // Each of these would have the lock of another recipe of its folder.
            ("orlop.toml", None, "orlop.toml.lock"),
            ("node.debug.toml", None, "node.debug.toml.lock"),
            ("node", None, "node.recipe.lock"),
            ("node.tml", Some("debug"), "node.tml.recipe.debug.lock"),
        ] {
            assert_eq!(named(Path::new(recipe), profile), Path::new(want));
        }
    }

    #[test]
    fn no_two_recipes_of_a_folder_and_no_two_profiles_have_one_lock() {
        let words = ["orlop", "recipe", "toml", "a", "36", "A"];
        let mut files: Vec<String> = words.map(str::to_owned).into();
        for _ in 0..3 {
            let longer = |file: &String| words.map(|word| format!("{file}.{word}"));
            files = files.iter().cloned().chain(files.iter().flat_map(longer)).collect();
            files.sort();
            files.dedup();
        }
        files.extend([".toml".to_owned(), ".lock".to_owned()]);
        let mut seen: BTreeMap<PathBuf, (String, Option<&str>)> = BTreeMap::new();
        for file in files {
            for profile in [None, Some("a"), Some("orlop"), Some("lock")] {
                let who = (file.clone(), profile);
                if let Some(other) = seen.insert(named(Path::new(&file), profile), who.clone()) {
                    panic!("{who:?} and {other:?} have one lock");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_two_names_have_two_locks(
            one in "[a.]{1,6}(\\.toml)?", other in "[a.]{1,6}(\\.toml)?",
            profiles in any::<(bool, bool)>(),
        ) {
            let profile = |chosen: bool| chosen.then_some("a");
            let (first, second) = (profile(profiles.0), profile(profiles.1));
            let names = (base(OsStr::new(&one)), base(OsStr::new(&other)));
            let name = |base: OsString, profile: Option<&str>| {
                format!("{}{}", base.display(), profile.map_or(String::new(), |p| format!(".{p}")))
            };
            prop_assert_eq!(
                name(names.0, first) == name(names.1, second),
                (one, first) == (other, second)
            );
        }
    }
}
