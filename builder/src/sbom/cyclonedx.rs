//! An SBOM in CycloneDX 1.6. Files are in the component that answers for them; what a program is
//! made of are its dependencies.
//! <https://cyclonedx.org/docs/1.6/json/>

use formats::digest::Sha256;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{TIME, module_digest};
use crate::contents::{Component, Contents, Deb, File, Kind, Library, purl};

const IMAGE: &str = "image";

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
    let components: Vec<_> = components.chain(libraries).collect();
    let programs = contents.files.iter().filter(|file| !file.libraries.is_empty());
    let made_of =
        programs.map(|file| json!({ "ref": file_reference(file), "dependsOn": file.libraries }));
    let all: Vec<_> = contents.components.keys().collect();
    let whole = [json!({ "ref": IMAGE, "dependsOn": all })];
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
                "type": "operating-system",
                "bom-ref": IMAGE,
                "name": image,
                "version": version,
                "description": system,
                "purl": purl::image(contents),
            },
        },
        "components": components,
        "dependencies": whole.into_iter().chain(made_of).collect::<Vec<_>>(),
    })
}

fn file_reference(file: &File) -> String {
    format!("file:{}:{}", file.place, file.path)
}

fn hash(algorithm: &str, content: impl std::fmt::Display) -> Value {
    json!({ "alg": algorithm, "content": content.to_string() })
}

/// Properties of ours, under a name of ours.
fn properties<'a>(of: &[(&str, &'a str)]) -> Value {
    let one = |(name, value): &(&str, &'a str)| json!({ "name": format!("orlop:{name}"), "value": value });
    of.iter().map(one).collect::<Vec<_>>().into()
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
    let mut of = vec![("deb:source", deb.source.as_str()), ("deb:suite", deb.suite.as_str())];
    of.extend(deb.source_version.as_deref().map(|version| ("deb:source-version", version)));
    value["properties"] = properties(&of);
    value
}

fn of_library(id: &str, library: &Library) -> Value {
    if let Library::Deb(deb) = library {
        return of_deb(id, deb);
    }
    let (name, version) = library.named();
    let mut value = json!({
        "type": "library",
        "bom-ref": id,
        "name": name,
        "version": version,
        "purl": purl::library(library),
    });
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
    fn every_reference_leads_to_one_component() {
        let document = document(&sample(), &Sha256::of("root"));
        let mut all = Vec::new();
        references(&document, &mut all);
        let known: BTreeSet<_> = all.iter().map(String::as_str).collect();
        assert_eq!(known.len(), all.len());
        let dependencies = document["dependencies"].as_array().unwrap();
        assert!(dependencies.len() > 1);
        for dependency in dependencies {
            assert!(known.contains(dependency["ref"].as_str().unwrap()), "{dependency}");
            for on in dependency["dependsOn"].as_array().unwrap() {
                assert!(known.contains(on.as_str().unwrap()), "{on}");
            }
        }
    }
}
