//! [`Contents`](crate::contents::Contents) in the two forms that others read. Both are made of it
//! alone, so they say the same, and the same bytes come out of the same build.
//!
//! Scanners differ in what they go by; both forms have something for each of those that are in
//! common use. Grype takes the release of the distribution and the source package from the purl;
//! Trivy takes the release from a component that is an operating system, and the source package from
//! `sourceInfo` in SPDX and from properties of its own in CycloneDX; OSV-Scanner knows source
//! packages only, which are packages of their own in SPDX.

pub mod cyclonedx;
pub mod spdx;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::contents::{Component, Contents, Deb, Library, purl};
use crate::source::deb::contents::Source;

/// All times in all images are this one, and so are those of what is said of them.
const TIME: &str = "1970-01-01T00:00:00Z";

/// All Debian packages, those that programs are linked with among them.
fn debs(contents: &Contents) -> impl Iterator<Item = &Deb> {
    let components = contents.components.values().filter_map(|component| match component {
        Component::Deb(deb) => Some(deb),
        _ => None,
    });
    let libraries = contents.libraries.values().filter_map(|library| match library {
        Library::Deb(deb) => Some(deb),
        _ => None,
    });
    components.chain(libraries)
}

/// The release of Debian that an image is of: that of most of its packages.
fn release(contents: &Contents) -> Option<&str> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for deb in debs(contents) {
        *numbers.entry(purl::release(deb)).or_default() += 1;
    }
    let most = numbers.into_iter().max_by_key(|(name, number)| (*number, *name));
    most.map(|(name, _)| name)
}

/// The libraries that files of a component are linked with.
fn linked<'a>(contents: &'a Contents, component: &'a str) -> BTreeSet<&'a String> {
    contents.files_of(component).flat_map(|file| &file.libraries).collect()
}

/// The name under which a source package is a package of its own.
fn source_id(source: &Source) -> String {
    format!("source/{}@{}", source.name, source.version)
}

/// What scanners know a library by, beside its purl.
fn name_of(library: &Library) -> &str {
    match library {
        Library::GoStandard { .. } => "stdlib",
        _ => library.named().0,
    }
}

/// What is to be said of a library that is not as the world has it.
fn remark(library: &Library) -> Option<&'static str> {
    Some(match library {
        Library::GoModule { state, .. } if !state.is_whole() => {
            "a directory stood in for this module: its code may be other code"
        }
        Library::Crate { state, .. } if !state.is_whole() => {
            "the workspace has changed this crate: its code is other code"
        }
        Library::Crate { registry: None, git: None, .. } => "of the program's own workspace",
        Library::GoStandard { .. } => "Go's own library",
        _ => return None,
    })
}

/// The digest of a Go module, which `go.sum` has in base64, as hexadecimal digits. It is one of
/// SHA-256, over the digests of the module's files.
pub fn module_digest(sum: &str) -> Option<String> {
    let bytes = STANDARD.decode(sum.strip_prefix("h1:")?).ok().filter(|bytes| bytes.len() == 32)?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_digest_is_that_of_go_sum_in_digits() {
        // The example of in-toto's `dirHash`.
        let sum = "h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48=";
        let want = "2a1bb6127fb481c60f67692e22285fb306f3c6ffe62075e0ccf674d7c3adcb8f";
        assert_eq!(module_digest(sum).as_deref(), Some(want));
        for sum in ["", "h1:", "h1:AA==", "h2:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48="] {
            assert_eq!(module_digest(sum), None, "{sum}");
        }
    }
}
