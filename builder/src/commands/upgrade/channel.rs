//! What the channel says of the release: verified by the same code as `orlop verify`.

use std::fs::File;
use std::io::Read as _;

use formats::fleet::NEWEST;
use serde::Deserialize;
use upgrade::known::Known;

use super::Args;
use crate::commands::verify;
use crate::error::{Context as _, Id, Result};
use crate::progress::Progress;
use crate::release::verify::verify_each;
use crate::settings::{Settings, seconds};

/// What kubelet is built of, as a purl without a version.
const KUBELET: &str = "pkg:golang/k8s.io/kubernetes@";
/// Bytes of an SBOM; one of a node has some 2 MB.
const LARGEST_SBOM: u64 = 64 << 20;

/// An SBOM in SPDX, with the fields that are of interest here.
#[derive(Deserialize)]
struct Sbom {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(default)]
    external_refs: Vec<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    reference_locator: String,
}

/// Verifies the release, if a channel is named.
///
/// # Errors
/// Those of [`verify_each`].
pub(super) fn look(
    args: &Args,
    asked: &str,
    settings: &Settings,
    progress: &Progress,
) -> Result<Option<Known>> {
    let Some(place) = &args.channel else { return Ok(None) };
    let place = verify::place(place, settings, progress)?;
    let kept = args.trust.kept(&place, progress)?;
    let version = (asked != NEWEST).then_some(asked);
    let (mut kubelet, mut whole, mut uki) = (None, 0, 0);
    let verified = verify_each(&place, kept, version, seconds(), &mut |name, length, file| {
        match name {
            "root.zst" | "root.tree.zst" => whole += length,
            "uki.zst" | "uki.tree.zst" => uki += length,
            "sbom.spdx.json" => kubelet = kubelet_of(file)?,
            _ => {}
        }
        Ok(())
    })?;
    let (release, listed) = (verified.release, verified.listed);
    Ok(Some(Known { release, kubelet, whole: whole + uki, uki, listed }))
}

/// The version of kubelet that an SBOM names; one that is no SBOM names none.
fn kubelet_of(file: File) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = file.take(LARGEST_SBOM).read_to_end(&mut bytes);
    read.or_fail(Id::Read, || "cannot read the SBOM of the release")?;
    Ok(serde_json::from_slice::<Sbom>(&bytes).ok().and_then(|sbom| {
        let references = sbom.packages.into_iter().flat_map(|package| package.external_refs);
        let mut locators = references.map(|reference| reference.reference_locator);
        locators.find_map(|locator| {
            let version = locator.strip_prefix(KUBELET)?;
            Some(version.split(['?', '#']).next().unwrap_or(version).to_owned())
        })
    }))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    #[test]
    fn the_sbom_tells_which_kubelet_a_release_has() {
        for (text, want) in [
            (
                r#"{"packages":[{},{"externalRefs":[{"referenceLocator":
                "pkg:golang/k8s.io/kubernetes@v1.36.3?type=module"}]}]}"#,
                Some("v1.36.3"),
            ),
            (
                r#"{"packages":[{"externalRefs":[{"referenceLocator":"pkg:deb/debian/x@1"}]}]}"#,
                None,
            ),
            ("{}", None),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.rewind().unwrap();
            assert_eq!(kubelet_of(file).unwrap().as_deref(), want, "{text}");
        }
    }
}
