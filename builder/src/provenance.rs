//! What a build was made of, and how: an in-toto statement with provenance of SLSA 1.0.
//!
//! It is not signed here and names no time and no machine: two builds of the same have the same. Of
//! the disk there is nothing, as in the report: it is put together of files that are named.
//! <https://slsa.dev/spec/v1.0/provenance>, <https://github.com/in-toto/attestation>

use std::collections::BTreeMap;

use formats::digest::Sha256;
use serde_json::{Value, json};

/// Something that went into a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// What it is called here.
    pub name: String,
    /// What the world calls it.
    pub uri: Option<String>,
    /// Which digest it has, and that in hexadecimal digits: `sha256`, `dirHash` of a Go module, or
    /// `gitCommit`. None of a compiler that does not say what it was built from.
    pub digest: Option<(&'static str, String)>,
}

/// The statement of a build that made `subjects` of `materials`, as `parameters` say.
pub fn statement(
    subjects: &BTreeMap<&str, Sha256>,
    materials: &[Material],
    parameters: Value,
) -> Value {
    let subject = |(name, digest): (&&str, &Sha256)| json!({ "name": name, "digest": { "sha256": digest.to_string() } });
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects.iter().map(subject).collect::<Vec<_>>(),
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://orlop.dev/build/v1",
                "externalParameters": parameters,
                "internalParameters": {},
                "resolvedDependencies": materials.iter().map(of_material).collect::<Vec<_>>(),
            },
            "runDetails": {
                "builder": {
                    "id": "https://orlop.dev/orlop",
                    "version": { "orlop": env!("CARGO_PKG_VERSION") },
                },
            },
        },
    })
}

fn of_material(material: &Material) -> Value {
    let mut value = json!({ "name": material.name });
    if let Some((algorithm, digest)) = &material.digest {
        value["digest"] = json!({ (*algorithm): digest });
    }
    if let Some(uri) = &material.uri {
        value["uri"] = uri.as_str().into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_what_was_made_and_what_of() {
        let subjects = BTreeMap::from([("root.img", Sha256::of("root"))]);
        let material = Material {
            name: "deb/crun".into(),
            uri: Some("pkg:deb/debian/crun@1".into()),
            digest: Some(("sha256", Sha256::of("deb").to_string())),
        };
        let value = statement(&subjects, &[material], json!({ "recipe": { "name": "tiny" } }));
        assert_eq!(value["subject"][0]["digest"]["sha256"], Sha256::of("root").to_string());
        let definition = &value["predicate"]["buildDefinition"];
        assert_eq!(definition["externalParameters"]["recipe"]["name"], "tiny");
        assert_eq!(definition["resolvedDependencies"][0]["uri"], "pkg:deb/debian/crun@1");
    }
}
