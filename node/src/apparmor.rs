//! AppArmor: gives the kernel the profiles that lie in the root, compiled when the image was made.
//!
//! There is no compiler on a node. containerd wants one to be there, and calls it if its own profile
//! is not loaded; what it finds is this program, which knows the profiles of the image by their names
//! ([`load_named`]).
//!
//! The kernel's side is `security/apparmor/apparmorfs.c`: a profile is written to `.replace` at once.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};

use crate::root::Root;

/// The image's profiles, each in a file of its name.
const PROFILES: &str = "/usr/lib/orlop/apparmor";
/// Not there if the kernel was started without AppArmor.
const REPLACE: &str = "/sys/kernel/security/apparmor/.replace";
/// More than any profile has, as text or compiled.
const LIMIT: u64 = 1024 * 1024;

/// Loads all profiles of the image, if the kernel has AppArmor. Gives what people should know of it,
/// a line each.
pub(crate) fn load(root: &Root) -> Vec<String> {
    if !root.path(REPLACE).exists() {
        return Vec::new();
    }
    let names = match names(root) {
        Ok(names) => names,
        Err(error) => return vec![format!("cannot read `{PROFILES}`: {error}")],
    };
    let failed = names.iter().filter_map(|name| load_one(root, name).err());
    failed.map(|why| format!("{why}: pods that are to run with it do not start")).collect()
}

/// Loads the profile of the image that has the name of the one in this text.
///
/// # Errors
/// Why it cannot, in words.
pub(crate) fn load_named(root: &Root, path: &str) -> Result<(), String> {
    let text = root.read(path, LIMIT).map_err(|error| format!("cannot read `{path}`: {error}"))?;
    let text = text.ok_or_else(|| format!("there is no `{path}`"))?;
    let text = String::from_utf8_lossy(&text);
    let name = name(&text).ok_or_else(|| format!("`{path}` begins no profile"))?;
    if names(root).is_ok_and(|names| names.iter().any(|known| known == name)) {
        return load_one(root, name);
    }
    Err(format!(
        "`{name}` is no profile of this image, and a node has no compiler: add it to the recipe, or \
         load it from a pod that brings one"
    ))
}

fn names(root: &Root) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(root.path(PROFILES)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn load_one(root: &Root, name: &str) -> Result<(), String> {
    let load = || {
        let profile = root.read(format!("{PROFILES}/{name}"), LIMIT)?.unwrap_or_default();
        OpenOptions::new().write(true).open(root.path(REPLACE))?.write_all(&profile)
    };
    load().map_err(|error: io::Error| {
        format!("the kernel does not take AppArmor's profile `{name}`: {error}")
    })
}

/// What the first profile of a text is called (apparmor.d(5)).
fn name(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim_start);
    let rest = lines.find_map(|line| line.strip_prefix("profile "))?;
    rest.split_whitespace().next().map(|name| name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{Keep, PUBLIC};

    fn root(kernel: bool) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        for (name, content) in [("b", "compiled b"), ("a.d", "compiled a.d")] {
            let path = format!("{PROFILES}/{name}");
            root.write(path, content.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
        }
        if kernel {
            root.write(REPLACE, b"", PUBLIC, Keep::ThisBoot).unwrap();
        }
        (directory, root)
    }

    fn given(root: &Root) -> String {
        fs::read_to_string(root.path(REPLACE)).unwrap()
    }

    #[test]
    fn the_kernel_gets_each_profile_of_the_image_by_a_write_of_its_own() {
        let (_directory, root) = root(true);
        assert_eq!(load(&root), [""; 0]);
        // Each begins at the start of the file, so of the first one the end is left.
        assert_eq!(given(&root), "compiled b.d");
    }

    #[test]
    fn a_kernel_without_apparmor_is_left_alone_and_an_image_without_profiles_is_one() {
        let (_directory, root) = root(false);
        assert_eq!(load(&root), [""; 0]);
        assert!(!root.path(REPLACE).exists());
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        root.write(REPLACE, b"", PUBLIC, Keep::ThisBoot).unwrap();
        assert_eq!(load(&root), [""; 0]);
    }

    #[test]
    fn what_the_kernel_refuses_is_told_with_what_follows() {
        let (_directory, root) = root(true);
        fs::remove_file(root.path(REPLACE)).unwrap();
        fs::create_dir(root.path(REPLACE)).unwrap();
        let told = load(&root);
        let want = "the kernel does not take AppArmor's profile `a.d`: Is a directory (os error 21): \
                    pods that are to run with it do not start";
        assert_eq!((told.len(), told[0].as_str()), (2, want));
    }

    #[test]
    fn a_text_stands_for_the_profile_of_its_name_and_for_no_other() {
        let (_directory, root) = root(true);
        for (text, want) in [
            ("\n#include <x>\nprofile a.d flags=(complain) {\n}\n", Ok(())),
            ("profile \"b\" {}", Ok(())),
            (
                "profile ../apparmor/b {}",
                Err(
                    "`../apparmor/b` is no profile of this image, and a node has no compiler: add it \
                     to the recipe, or load it from a pod that brings one",
                ),
            ),
            ("# profile b", Err("`/tmp/x` begins no profile")),
        ] {
            root.write("/tmp/x", text.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
            assert_eq!(load_named(&root, "/tmp/x"), want.map_err(str::to_owned), "{text}");
        }
        assert_eq!(load_named(&root, "/tmp/y"), Err("there is no `/tmp/y`".to_owned()));
    }
}
