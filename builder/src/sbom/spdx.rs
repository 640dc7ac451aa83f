//! An SBOM in SPDX 2.3. The image contains its components, those contain their files, and a program
//! is linked (`STATIC_LINK`) with each module and crate in it, on which its component depends.
//! <https://spdx.github.io/spdx-spec/v2.3/>
//!
//! A Debian package is generated from its source package, by which advisories go: a reader that takes
//! the release of the distribution from a package's purl passes over sources in that relation, and one
//! that does not finds them by their names.

use std::collections::{BTreeMap, BTreeSet};

use formats::deb::copyright;
use formats::digest::Sha256;
use serde_json::{Value, json};
use sha1::Digest as _;

use super::{TIME, debs, linked, module_digest, name_of, release, remark, source_id};
use crate::contents::{Component, Contents, Deb, File, Kind, Library, purl};
use crate::source::deb::contents::Source;

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
        let libraries = linked(contents, id).into_iter();
        relations.extend(libraries.map(|library| {
            relation(&reference, "DEPENDS_ON", &self::reference("Library", library))
        }));
        if let Component::Deb(deb) = component {
            relations.extend(relations_to_sources(&reference, deb));
        }
    }
    for (id, library) in &contents.libraries {
        let reference = reference("Library", id);
        packages.push(library_package(library, &reference));
        if let Library::Deb(deb) = library {
            relations.extend(relations_to_sources(&reference, deb));
        }
    }
    packages.extend(sources(contents).into_iter().map(|(id, (source, deb))| {
        let purl = purl::source(&source, deb);
        package(&reference("Source", &id), &source.name, Some(&source.version), Some(purl))
    }));
    if let Some(release) = release(contents) {
        // By what its name begins with, one scanner knows that it is the distribution.
        let distribution = reference("OperatingSystem", purl::DEBIAN);
        let mut value = package(&distribution, purl::DEBIAN, Some(release), None);
        value["primaryPackagePurpose"] = "OPERATING_SYSTEM".into();
        packages.push(value);
        relations.push(relation(IMAGE, "CONTAINS", &distribution));
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

/// The source package that advisories name, if its version is known.
fn advised(deb: &Deb) -> Option<Source> {
    let (name, version) = deb.advised();
    Some(Source { name: name.to_owned(), version: version?.to_owned() })
}

fn relations_to_sources(from: &str, deb: &Deb) -> Vec<Value> {
    let to = |source: &Source| reference("Source", &source_id(source));
    let advised = advised(deb);
    let generated = advised.iter().map(|source| relation(from, "GENERATED_FROM", &to(source)));
    generated.chain(deb.parts().map(|source| relation(from, "DEPENDS_ON", &to(source)))).collect()
}

/// All source packages, each with a package that has parts of it.
fn sources(contents: &Contents) -> BTreeMap<String, (Source, &Deb)> {
    let of = |deb| advised(deb).into_iter().chain(deb.parts().cloned()).map(move |one| (one, deb));
    debs(contents).flat_map(of).map(|(source, deb)| (source_id(&source), (source, deb))).collect()
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
    if let Some(cpe) = purl::kernel_cpe(deb)
        && let Some(references) = value["externalRefs"].as_array_mut()
    {
        references.push(json!({
            "referenceCategory": "SECURITY",
            "referenceType": "cpe23Type",
            "referenceLocator": cpe,
        }));
    }
    // One scanner reads these very words.
    let (source, version) = deb.advised();
    let version = version.unwrap_or(&deb.version);
    value["sourceInfo"] = format!("built package from: {source} {version}").into();
    if let Some(licence) = &deb.licence {
        value["licenseDeclared"] = licence.as_str().into();
    }
    value
}

fn library_package(library: &Library, reference: &str) -> Value {
    if let Library::Deb(deb) = library {
        return deb_package(deb, reference);
    }
    let (_, version) = library.named();
    let purl = purl::library(library);
    let mut value = package(reference, name_of(library), Some(version), purl);
    value["primaryPackagePurpose"] = "LIBRARY".into();
    if let Some(remark) = remark(library) {
        value["comment"] = remark.into();
    }
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
    let mut used: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for deb in debs(contents) {
        for name in copyright::references(deb.licence.as_deref().unwrap_or_default()) {
            used.entry(name).or_default().insert(&deb.name);
        }
    }
    let info = |(name, packages): (&str, BTreeSet<&str>)| {
        let packages: Vec<_> = packages.into_iter().collect();
        let elsewhere = || {
            let packages = packages.join(", ");
            format!(
                "The file `copyright` of the Debian packages {packages} has no text of this name."
            )
        };
        json!({
            "licenseId": name,
            "name": name.strip_prefix(copyright::REFERENCE),
            "extractedText": contents.licences.get(name).cloned().unwrap_or_else(elsewhere),
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
        assert_eq!(licences[0]["extractedText"], "Do as you like.");
    }

    #[test]
    fn scanners_find_the_release_and_the_sources_of_packages() {
        let document = document(&sample(), &Sha256::of("root"));
        let packages = document["packages"].as_array().unwrap();
        let named = |name: &str| {
            let mut found = packages.iter().filter(|one| one["name"] == name);
            let one = found.next().unwrap_or_else(|| panic!("{name} is not there"));
            assert!(found.next().is_none(), "{name}");
            one
        };
        let id = |one: &Value| one["SPDXID"].as_str().unwrap().to_owned();
        let system = named("debian");
        assert_eq!(system["versionInfo"], "13");
        assert!(id(system).starts_with("SPDXRef-OperatingSystem-"), "{system}");
        let (kernel, linux) = (named("linux-image-6.12"), named("linux"));
        assert_eq!(kernel["sourceInfo"], "built package from: linux 6.12.100-1");
        let cpe = &kernel["externalRefs"][1]["referenceLocator"];
        assert_eq!(*cpe, "cpe:2.3:o:linux:linux_kernel:6.12.100:*:*:*:*:*:*:*");
        let purl = &linux["externalRefs"][0]["referenceLocator"];
        assert_eq!(*purl, "pkg:deb/debian/linux@6.12.100-1?arch=source&distro=debian-13");
        let relations = document["relationships"].as_array().unwrap();
        let related = |from: &Value, kind: &str, to: &Value| {
            relations.contains(&relation(&id(from), kind, &id(to)))
        };
        assert!(related(kernel, "GENERATED_FROM", linux));
        let crun = packages.iter().find(|one| one["versionInfo"] == "1.21-1+b1").unwrap();
        assert!(related(crun, "DEPENDS_ON", named("golang-1.24")));
        assert!(related(named("go/tool"), "DEPENDS_ON", named("stdlib")));
        for name in ["own", "patched", "a.example/here"] {
            let one = named(name);
            assert!(one["externalRefs"].is_null() && one["checksums"].is_null(), "{one}");
        }
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
