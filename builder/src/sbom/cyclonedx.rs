//! An SBOM in CycloneDX 1.6. Files are in the component that answers for them; what a program is
//! made of are its dependencies, and those of its component: many readers know components of the
//! first level only.
//! <https://cyclonedx.org/docs/1.6/json/>
//!
//! The one component that is an operating system is the distribution, by whose release scanners look
//! for advisories; the image is a platform. Nothing is said of what the distribution depends on: one
//! scanner takes all that it finds there for packages of the distribution.

use std::collections::BTreeMap;

use formats::deb::Version;
use formats::digest::Sha256;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{TIME, debs, linked, module_digest, name_of, release, remark, source_id};
use crate::contents::{Component, Contents, Deb, File, Kind, Library, purl};
use crate::source::deb::contents::Source;

const IMAGE: &str = "image";

/// Of the distribution that packages are of.
const DISTRIBUTION: &str = "distribution";

/// The document. `root` is the image's root hash: no two images have one serial number.
pub fn document(contents: &Contents, root: &Sha256) -> Value {
    let Contents { image, version, system, .. } = contents;
    let serial = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{image} {root}").as_bytes());
    let components = contents.components.iter().map(|(id, component)| {
        let mut value = of_component(id, component);
        let files: Vec<_> = contents
            .files_of(id)
            .filter(|file| file.kind != Kind::Directory)
            .map(of_file)
            .collect();
        if !files.is_empty() {
            value["components"] = files.into();
        }
        value
    });
    let libraries = contents.libraries.iter().map(|(id, library)| of_library(id, library));
    let distribution = release(contents).map(of_distribution);
    let sources = built_in(contents);
    let sources = sources.iter().map(|(id, (source, deb))| of_source(id, source, deb));
    let roots = distribution.iter().map(|_| DISTRIBUTION).collect::<Vec<_>>();
    let components: Vec<_> =
        distribution.into_iter().chain(components).chain(libraries).chain(sources).collect();
    let all = roots.into_iter().chain(contents.components.keys().map(String::as_str));
    let mut dependencies = vec![json!({ "ref": IMAGE, "dependsOn": all.collect::<Vec<_>>() })];
    let mut depends = |from: String, on: Vec<String>| {
        if !on.is_empty() {
            dependencies.push(json!({ "ref": from, "dependsOn": on }));
        }
    };
    for (id, component) in &contents.components {
        let mut on: Vec<_> = linked(contents, id).into_iter().cloned().collect();
        if let Component::Deb(deb) = component {
            on.extend(deb.parts().map(source_id));
        }
        depends(id.clone(), on);
    }
    for (id, library) in &contents.libraries {
        if let Library::Deb(deb) = library {
            depends(id.clone(), deb.parts().map(source_id).collect());
        }
    }
    for file in &contents.files {
        depends(file_reference(file), file.libraries.clone());
    }
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{serial}"),
        "version": 1,
        "metadata": {
            "timestamp": TIME,
            "tools": {
                "components": [{
                    "type": "application",
                    "name": "orlop",
                    "version": env!("CARGO_PKG_VERSION"),
                }],
            },
            "component": {
                "type": "platform",
                "bom-ref": IMAGE,
                "name": image,
                "version": version,
                "description": system,
                "purl": purl::image(contents),
            },
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn of_distribution(release: &str) -> Value {
    json!({
        "type": "operating-system",
        "bom-ref": DISTRIBUTION,
        "name": purl::DEBIAN,
        "version": release,
    })
}

/// Source packages of which parts are in packages of other sources: nothing else leads to them. Each
/// with such a package.
fn built_in(contents: &Contents) -> BTreeMap<String, (&Source, &Deb)> {
    let parts = debs(contents).flat_map(|deb| deb.parts().map(move |source| (source, deb)));
    parts.map(|(source, deb)| (source_id(source), (source, deb))).collect()
}

fn of_source(id: &str, source: &Source, deb: &Deb) -> Value {
    json!({
        "type": "library",
        "bom-ref": id,
        "name": source.name,
        "version": source.version,
        "purl": purl::source(source, deb),
    })
}

fn file_reference(file: &File) -> String {
    format!("file:{}:{}", file.place, file.path)
}

fn hash(algorithm: &str, content: impl std::fmt::Display) -> Value {
    json!({ "alg": algorithm, "content": content.to_string() })
}

/// Properties of ours, under a name of ours.
fn properties(of: &[(&str, &str)]) -> Value {
    of.iter().map(|(name, value)| property("orlop", name, value)).collect::<Vec<_>>().into()
}

fn property(space: &str, name: &str, value: &str) -> Value {
    json!({ "name": format!("{space}:{name}"), "value": value })
}

/// The properties by which Trivy knows the source package of a package.
/// <https://trivy.dev/latest/docs/supply-chain/sbom/>
fn for_trivy(deb: &Deb) -> Vec<Value> {
    let property = |name: &str, value: &str| property("aquasecurity:trivy", name, value);
    let (source, version) = deb.advised();
    let version: Option<Version> = version.unwrap_or(&deb.version).parse().ok();
    let mut properties = vec![property("SrcName", source)];
    let Some(version) = version else { return properties };
    properties.push(property("SrcVersion", version.upstream()));
    if !version.revision().is_empty() {
        properties.push(property("SrcRelease", version.revision()));
    }
    if version.epoch() > 0 {
        properties.push(property("SrcEpoch", &version.epoch().to_string()));
    }
    properties
}

fn of_component(id: &str, component: &Component) -> Value {
    let kind = match component {
        Component::Deb(deb) => return of_deb(id, deb),
        Component::Go | Component::Cargo => "application",
        Component::Oci { .. } => "container",
        Component::Url { .. } => "file",
        Component::Local | Component::Apparmor | Component::Made => "data",
    };
    let mut value = json!({ "type": kind, "bom-ref": id, "name": id });
    match component {
        Component::Url { url, sha256 } => {
            value["hashes"] = json!([hash("SHA-256", sha256.0)]);
            if !url.contains(['$', '{', ' ']) {
                value["externalReferences"] = json!([{ "type": "distribution", "url": url }]);
            }
        }
        Component::Oci { reference } => value["description"] = reference.as_str().into(),
        _ => {}
    }
    value
}

fn of_deb(id: &str, deb: &Deb) -> Value {
    let mut value = json!({
        "type": "library",
        "bom-ref": id,
        "name": deb.name,
        "version": deb.version,
        "purl": purl::deb(deb),
        "hashes": [hash("SHA-256", deb.sha256.0)],
    });
    if let Some(licence) = &deb.licence {
        value["licenses"] = json!([{ "expression": licence }]);
    }
    if let Some(cpe) = purl::kernel_cpe(deb) {
        value["cpe"] = cpe.into();
    }
    let mut of = vec![("deb:source", deb.source.as_str()), ("deb:suite", deb.suite.as_str())];
    of.extend(deb.source_version.as_deref().map(|version| ("deb:source-version", version)));
    let own = of.into_iter().map(|(name, value)| property("orlop", name, value));
    value["properties"] = own.chain(for_trivy(deb)).collect::<Vec<_>>().into();
    value
}

fn of_library(id: &str, library: &Library) -> Value {
    if let Library::Deb(deb) = library {
        return of_deb(id, deb);
    }
    let (_, version) = library.named();
    let mut value = json!({
        "type": "library",
        "bom-ref": id,
        "name": name_of(library),
        "version": version,
    });
    if let Some(purl) = purl::library(library) {
        value["purl"] = purl.into();
    }
    if let Some(remark) = remark(library) {
        value["description"] = remark.into();
    }
    let sum = match library {
        Library::GoModule { sum, .. } => module_digest(sum),
        Library::Crate { sha256, .. } => sha256.map(|sha256| sha256.0.to_string()),
        _ => None,
    };
    if let Some(sum) = sum {
        value["hashes"] = json!([hash("SHA-256", sum)]);
    }
    value
}

fn of_file(file: &File) -> Value {
    let owner = format!("{}:{}", file.uid, file.gid);
    let mut of = vec![
        ("file:place", file.place.as_str()),
        ("file:mode", file.mode.as_str()),
        ("file:owner", owner.as_str()),
    ];
    let mut value = Map::new();
    match &file.kind {
        Kind::File { sha256, sha1, .. } => {
            let hashes = json!([hash("SHA-1", sha1), hash("SHA-256", sha256.0)]);
            value.insert("hashes".to_owned(), hashes);
        }
        Kind::Symlink { target } => of.push(("file:target", target)),
        Kind::Directory => {}
    }
    value.insert("type".to_owned(), "file".into());
    value.insert("bom-ref".to_owned(), file_reference(file).into());
    value.insert("name".to_owned(), file.path.as_str().into());
    value.insert("properties".to_owned(), properties(&of));
    value.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::contents::tests::sample;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("bom-ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_one_component_and_all_are_reached_from_the_image() {
        let contents = sample();
        let document = document(&contents, &Sha256::of("root"));
        let mut all = Vec::new();
        references(&document, &mut all);
        let known: BTreeSet<_> = all.iter().map(String::as_str).collect();
        assert_eq!(known.len(), all.len());
        let mut edges = BTreeMap::new();
        for dependency in document["dependencies"].as_array().unwrap() {
            let from = dependency["ref"].as_str().unwrap();
            assert!(known.contains(from), "{dependency}");
            let on: BTreeSet<_> = dependency["dependsOn"]
                .as_array()
                .unwrap()
                .iter()
                .map(|on| on.as_str().unwrap())
                .collect();
            assert!(on.is_subset(&known), "{dependency}");
            assert!(edges.insert(from, on).is_none(), "{dependency}");
        }
        let (mut reached, mut waiting) = (BTreeSet::new(), vec![IMAGE]);
        while let Some(from) = waiting.pop() {
            if reached.insert(from) {
                waiting.extend(edges.get(from).into_iter().flatten());
            }
        }
        let listed = document["components"].as_array().unwrap().iter();
        let listed: BTreeSet<_> = listed.map(|one| one["bom-ref"].as_str().unwrap()).collect();
        assert!(listed.len() > contents.components.len() + contents.libraries.len());
        assert!(listed.is_subset(&reached), "{:?}", listed.difference(&reached));
    }

    #[test]
    fn scanners_find_the_release_and_the_sources_of_packages() {
        let document = document(&sample(), &Sha256::of("root"));
        assert_eq!(document["metadata"]["component"]["type"], "platform");
        let components = document["components"].as_array().unwrap();
        let of = |key: &str, value: &str| {
            let mut found = components.iter().filter(|one| one[key] == value);
            let one = found.next().unwrap_or_else(|| panic!("{value} is not there"));
            assert!(found.next().is_none(), "{value}");
            one
        };
        let system = of("type", "operating-system");
        assert_eq!((&system["name"], &system["version"]), (&"debian".into(), &"13".into()));
        let properties = |one: &Value| -> Vec<(String, String)> {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let all = one["properties"].as_array().unwrap().iter();
            let all = all.map(|one| (text(&one["name"]), text(&one["value"])));
            let trivy = "aquasecurity:trivy:";
            all.filter_map(|(name, value)| Some((name.strip_prefix(trivy)?.to_owned(), value)))
                .collect()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let kernel = of("name", "linux-image-6.12");
        let source = [("SrcName", "linux"), ("SrcVersion", "6.12.100"), ("SrcRelease", "1")];
        assert_eq!(properties(kernel), source.map(|(name, value)| pair(name, value)));
        assert_eq!(kernel["cpe"], "cpe:2.3:o:linux:linux_kernel:6.12.100:*:*:*:*:*:*:*");
        let crun = properties(of("bom-ref", "deb/crun"));
        assert_eq!(crun.last(), Some(&pair("SrcEpoch", "2")), "{crun:?}");
        // Parts of it are in a package of another source.
        assert_eq!(
            of("name", "golang-1.24")["purl"],
            "pkg:deb/debian/golang-1.24@1.24.4-1?arch=source&distro=debian-13"
        );
        assert_eq!(of("name", "stdlib")["purl"], "pkg:golang/stdlib@1.26.1");
        for name in ["own", "patched", "a.example/here"] {
            let one = of("name", name);
            assert!(one["purl"].is_null() && one["hashes"].is_null(), "{one}");
        }
    }
}
