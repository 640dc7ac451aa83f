//! An SBOM in SPDX 2.3. The image contains its components, those contain their files, and a program
//! is linked (`STATIC_LINK`) with each module and crate in it.
//! <https://spdx.github.io/spdx-spec/v2.3/>

use std::collections::{BTreeMap, BTreeSet};

use formats::deb::copyright;
use formats::digest::Sha256;
use serde_json::{Value, json};
use sha1::Digest as _;

use super::{TIME, module_digest};
use crate::contents::{Component, Contents, Deb, File, Kind, Library, purl};

const NONE: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";

/// The document. `root` is the image's root hash: no two images have one name.
pub fn document(contents: &Contents, root: &Sha256) -> Value {
    let Contents { image, version, .. } = contents;
    let mut packages = vec![image_package(contents)];
    let mut relations = vec![relation(DOCUMENT, "DESCRIBES", IMAGE)];
    for (id, component) in &contents.components {
        let reference = reference("Component", id);
        packages.push(component_package(contents, id, component, &reference));
        relations.push(relation(IMAGE, "CONTAINS", &reference));
    }
    for (id, library) in &contents.libraries {
        packages.push(library_package(library, &reference("Library", id)));
    }
    let mut files = Vec::new();
    for file in &contents.files {
        let Kind::File { sha256, sha1, .. } = &file.kind else { continue };
        let at = file_reference(file);
        files.push(json!({
            "SPDXID": at,
            "fileName": file_name(file),
            "fileTypes": [if file.is_executable() { "BINARY" } else { "OTHER" }],
            "checksums": [checksum("SHA1", sha1), checksum("SHA256", sha256.0)],
            "licenseConcluded": NONE,
            "copyrightText": NONE,
        }));
        let owner = file.component.iter().map(|id| reference("Component", id));
        relations.extend(owner.map(|owner| relation(&owner, "CONTAINS", &at)));
        let linked = file.libraries.iter().map(|id| reference("Library", id));
        relations.extend(linked.map(|library| relation(&at, "STATIC_LINK", &library)));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": format!("{image} {version}"),
        "documentNamespace": format!("https://orlop.dev/spdx/{image}/{root}"),
        "creationInfo": {
            "created": TIME,
            "creators": [concat!("Tool: orlop-", env!("CARGO_PKG_VERSION"))],
            "comment": "All times of a build are the epoch: the same input gives the same bytes.",
        },
        "packages": packages,
        "files": files,
        "relationships": relations,
        "hasExtractedLicensingInfos": licences(contents),
    })
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn checksum(algorithm: &str, value: impl std::fmt::Display) -> Value {
    json!({ "algorithm": algorithm, "checksumValue": value.to_string() })
}

/// An identifier of letters, digits, `.` and `-`. What cannot be told by these is told by a digest.
fn reference(kind: &str, id: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let name: String = id.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    let digest = Sha256::of(id).to_string();
    format!("SPDXRef-{kind}-{name}-{}", &digest[..8])
}

fn file_reference(file: &File) -> String {
    reference("File", &format!("{}{}", file.place, file.path))
}

/// Relative to the root; what is elsewhere begins with the name of its place.
fn file_name(file: &File) -> String {
    match file.place.as_str() {
        "root" => format!(".{}", file.path),
        place => format!("{place}{}", file.path),
    }
}

fn package(reference: &str, name: &str, version: Option<&str>, purl: Option<String>) -> Value {
    let mut package = json!({
        "SPDXID": reference,
        "name": name,
        "downloadLocation": NONE,
        "filesAnalyzed": false,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "supplier": NONE,
    });
    if let Some(version) = version {
        package["versionInfo"] = version.into();
    }
    if let Some(purl) = purl {
        package["externalRefs"] = json!([{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl,
        }]);
    }
    package
}

fn image_package(contents: &Contents) -> Value {
    let (name, version) = (&contents.image, &contents.version);
    let mut image = package(IMAGE, name, Some(version), Some(purl::image(contents)));
    image["primaryPackagePurpose"] = "OPERATING_SYSTEM".into();
    image["summary"] = contents.system.as_str().into();
    image
}

fn component_package(
    contents: &Contents,
    id: &str,
    component: &Component,
    reference: &str,
) -> Value {
    let mut value = match component {
        Component::Deb(deb) => deb_package(deb, reference),
        _ => package(reference, id, None, None),
    };
    let purpose = match component {
        Component::Go | Component::Cargo => Some("APPLICATION"),
        Component::Oci { .. } => Some("CONTAINER"),
        Component::Url { .. } => Some("ARCHIVE"),
        Component::Local | Component::Apparmor | Component::Made => Some("FILE"),
        Component::Deb(_) => None,
    };
    if let Some(purpose) = purpose {
        value["primaryPackagePurpose"] = purpose.into();
    }
    match component {
        Component::Url { url, sha256 } => {
            // An address with a place for a secret in it is none.
            if !url.contains(['$', '{', ' ']) {
                value["downloadLocation"] = url.as_str().into();
            }
            value["checksums"] = json!([checksum("SHA256", sha256.0)]);
        }
        Component::Oci { reference } => value["comment"] = reference.as_str().into(),
        _ => {}
    }
    let sums: BTreeSet<&str> = contents
        .files_of(id)
        .filter_map(|file| match &file.kind {
            Kind::File { sha1, .. } => Some(sha1.as_str()),
            _ => None,
        })
        .collect();
    if !sums.is_empty() {
        value["filesAnalyzed"] = true.into();
        let code = verification_code(contents, id);
        value["packageVerificationCode"] = json!({ "packageVerificationCodeValue": code });
    }
    value
}

/// SHA-1 over the sorted digests of all files, in digits.
fn verification_code(contents: &Contents, id: &str) -> String {
    let sums = contents.files_of(id).filter_map(|file| match &file.kind {
        Kind::File { sha1, .. } => Some(sha1.as_str()),
        _ => None,
    });
    let mut sums: Vec<_> = sums.collect();
    sums.sort_unstable();
    let digest = sha1::Sha1::digest(sums.concat());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn deb_package(deb: &Deb, reference: &str) -> Value {
    let mut value = package(reference, &deb.name, Some(&deb.version), Some(purl::deb(deb)));
    value["supplier"] = "Organization: Debian".into();
    value["checksums"] = json!([checksum("SHA256", deb.sha256.0)]);
    let of = deb.source_version.as_ref().map_or(String::new(), |version| format!(" {version}"));
    value["sourceInfo"] = format!("built from the source package {}{of}", deb.source).into();
    if let Some(licence) = &deb.licence {
        value["licenseDeclared"] = licence.as_str().into();
    }
    value
}

fn library_package(library: &Library, reference: &str) -> Value {
    if let Library::Deb(deb) = library {
        return deb_package(deb, reference);
    }
    let (name, version) = library.named();
    let mut value = package(reference, name, Some(version), Some(purl::library(library)));
    value["primaryPackagePurpose"] = "LIBRARY".into();
    let sum = match library {
        Library::GoModule { sum, .. } => module_digest(sum),
        Library::Crate { sha256, .. } => sha256.map(|sha256| sha256.0.to_string()),
        _ => None,
    };
    if let Some(sum) = sum {
        value["checksums"] = json!([checksum("SHA256", sum)]);
    }
    value
}

/// The names that SPDX has no licence for, with the packages that use them.
fn licences(contents: &Contents) -> Vec<Value> {
    let components = contents.components.values().filter_map(|component| match component {
        Component::Deb(deb) => Some(deb),
        _ => None,
    });
    let libraries = contents.libraries.values().filter_map(|library| match library {
        Library::Deb(deb) => Some(deb),
        _ => None,
    });
    let mut used: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for deb in components.chain(libraries) {
        for name in copyright::references(deb.licence.as_deref().unwrap_or_default()) {
            used.entry(name).or_default().insert(&deb.name);
        }
    }
    let info = |(name, packages): (&str, BTreeSet<&str>)| {
        let packages: Vec<_> = packages.into_iter().collect();
        json!({
            "licenseId": name,
            "name": name.strip_prefix(copyright::REFERENCE),
            "extractedText": format!(
                "The text stands in the file `copyright` of the Debian packages {}.",
                packages.join(", ")
            ),
        })
    };
    used.into_iter().map(info).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::tests::sample;

    #[test]
    fn every_name_that_is_spoken_of_is_in_the_document_once() {
        let document = document(&sample(), &Sha256::of("root"));
        let ids = |key: &str| -> Vec<String> {
            let list = document[key].as_array().unwrap().iter();
            list.map(|value| value["SPDXID"].as_str().unwrap().to_owned()).collect()
        };
        let all = [ids("packages"), ids("files"), vec![DOCUMENT.to_owned()]].concat();
        let known: BTreeSet<_> = all.iter().map(String::as_str).collect();
        assert_eq!(known.len(), all.len());
        for relation in document["relationships"].as_array().unwrap() {
            for key in ["spdxElementId", "relatedSpdxElement"] {
                assert!(known.contains(relation[key].as_str().unwrap()), "{relation}");
            }
        }
        let licences = document["hasExtractedLicensingInfos"].as_array().unwrap();
        assert_eq!(licences[0]["licenseId"], "LicenseRef-Debian-odd");
    }

    #[test]
    fn names_that_differ_only_by_what_spdx_does_not_take_stay_apart() {
        assert_ne!(reference("File", "root/a b"), reference("File", "root/a-b"));
    }

    #[test]
    fn a_packages_code_is_that_of_all_its_files() {
        let contents = sample();
        // sha1sum of the two digests in order, as the specification has it.
        let sums = ["aa".repeat(20), "bb".repeat(20)].concat();
        let digest = sha1::Sha1::digest(sums);
        let want: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(verification_code(&contents, "deb/crun"), want);
    }
}
