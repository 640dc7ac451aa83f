//! Whether a program names directories of this host. The compiler replaces those in the names of
//! source files; a text that holds one (`env!("CARGO_MANIFEST_DIR")`, a variable of `[env]` that is
//! `relative`, what a build script writes) it knows nothing of. Such a program would be another one
//! in another directory, and the key of its step does not know the directory.

use std::path::Path;

use crate::error::{Error, Id, Result};

/// Looks for `directories` of this host in the program `name`, which is these bytes.
///
/// # Errors
/// [`Id::CargoPackage`] if one is in it.
pub(super) fn check<'a>(
    name: &str,
    bytes: &[u8],
    directories: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let Some(directory) = directories.filter(|path| tells(path)).find(|path| holds(bytes, path))
    else {
        return Ok(());
    };
    let message = format!(
        "the program `{name}` names the directory `{directory}` of this host: made in another one \
         it would be another program"
    );
    Err(Error::new(Id::CargoPackage, message).hint(
        "a text of it has `env!(\"CARGO_MANIFEST_DIR\")`, `OUT_DIR`, a `relative` variable of \
         `[env]`, or what a build script has found: name files of the image there",
    ))
}

/// Whether a path tells where it was found: `/src` is also the middle of other paths.
fn tells(path: &str) -> bool {
    path.starts_with('/') && Path::new(path).components().count() > 2
}

fn holds(bytes: &[u8], path: &str) -> bool {
    bytes.windows(path.len()).any(|window| window == path.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_the_host_in_a_program_is_named() {
        let places = ["/home/me/work", "/src", "cache/crates", "/rustc/library"];
        for (text, named) in [
            ("/workspace/src/main.rs of cache/crates", None),
            ("x/home/me/workers", Some("/home/me/work")),
            ("x/rustc/library/core", Some("/rustc/library")),
        ] {
            let result = check("tool", text.as_bytes(), places.into_iter());
            let said = result.as_ref().err().map(Error::chain).unwrap_or_default();
            match named {
                None => assert_eq!(said, ""),
                Some(named) => assert!(said.contains(&format!("`{named}`")), "{said}"),
            }
        }
    }
}
