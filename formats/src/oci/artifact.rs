//! Files in a registry as an artifact: a manifest of the OCI image specification 1.1 with an
//! `artifactType`, the empty config and a layer for each file, whose annotation
//! `org.opencontainers.image.title` is the file's path:
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidelines-for-artifact-usage>.
//!
//! Same files, same bytes: there is no time in a manifest.

use std::collections::BTreeSet;

use super::json::Json;
use super::{Document, INDEX_TYPE, MANIFEST_TYPE, descriptor};
use crate::digest::Sha256;
use crate::tree::Blob;
use crate::tuf::{Json as Read, Object, TargetPath};

/// Registries take no larger manifest, in bytes.
pub const LARGEST_MANIFEST: u64 = 4 << 20;
/// The content of the config of an artifact that needs none.
pub const EMPTY: &[u8] = b"{}";
/// The media type of [`EMPTY`].
pub const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The annotation with the path of a layer's file.
const TITLE: &str = "org.opencontainers.image.title";

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it lies: it leads nowhere else.
    pub path: TargetPath,
    /// Its media type.
    pub media_type: String,
    /// Its digest and size.
    pub blob: Blob,
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What kind of thing it is: a media type.
    pub kind: String,
    /// Its files, in the manifest's order; no path twice.
    pub files: Vec<File>,
}

/// Bytes that are not the manifest of files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// They are no JSON.
    #[error("it is no manifest: {0}")]
    Json(String),
    /// A member is missing, or is something else.
    #[error("it is no manifest: `{member}` is not {want}")]
    Shape {
        /// Where it is.
        member: String,
        /// What belongs there.
        want: &'static str,
    },
    /// It names manifests for several platforms.
    #[error("it is an index of manifests, and not one")]
    Index,
    /// It is another kind of document.
    #[error("it is a document of the type `{0}`")]
    OtherType(String),
    /// A layer without a path.
    #[error("its layer {0} has no name: it is an image, or another artifact than a directory")]
    NoTitle(usize),
    /// A path that leads elsewhere.
    #[error("its layer {0} has a name that does not stay in its directory")]
    Path(usize),
    /// One path for two files.
    #[error("it has `{0}` twice")]
    Twice(TargetPath),
}

impl Artifact {
    /// The manifest, with annotations for people.
    pub fn manifest(&self, annotations: &[(&'static str, &str)]) -> Document {
        let empty = Blob { sha256: Sha256::of(EMPTY), size: EMPTY.len() as u64 };
        let layer =
            |file: &File| descriptor(&file.media_type, &file.blob, [(TITLE, file.path.as_str())]);
        let annotations = annotations.iter().map(|(name, value)| (*name, Json::text(value)));
        let fields = [
            ("schemaVersion", Json::Number(2)),
            ("mediaType", Json::text(MANIFEST_TYPE)),
            ("artifactType", Json::text(&self.kind)),
            ("config", descriptor(EMPTY_TYPE, &empty, [])),
            ("layers", Json::List(self.files.iter().map(layer).collect())),
            ("annotations", Json::object(annotations)),
        ];
        let kept = |(name, value): &(&str, Json)| *name == "layers" || !value.is_empty();
        Document::new(&Json::object(fields.into_iter().filter(kept)))
    }

    /// Reads a manifest, of this program's or of another's.
    ///
    /// # Errors
    /// See [`ArtifactError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let json = Read::parse(bytes).map_err(|error| ArtifactError::Json(error.to_string()))?;
        let Read::Object(mut manifest) = json else { return Err(shape("", "an object")) };
        if manifest.get("schemaVersion") != Some(&Read::Integer(2)) {
            return Err(shape("schemaVersion", "2"));
        }
        let media_type = match manifest.remove("mediaType") {
            None => None,
            Some(Read::Text(text)) => Some(text),
            Some(_) => return Err(shape("mediaType", "a text")),
        };
        match media_type.as_deref() {
            None if manifest.contains_key("manifests") => return Err(ArtifactError::Index),
            Some(INDEX_TYPE) => return Err(ArtifactError::Index),
            None | Some(MANIFEST_TYPE) => {}
            Some(other) => return Err(ArtifactError::OtherType(shown(other))),
        }
        let kind = match (manifest.remove("artifactType"), manifest.remove("config")) {
            (Some(Read::Text(kind)), _) => kind,
            (Some(_), _) => return Err(shape("artifactType", "a text")),
            (None, Some(Read::Object(mut config))) => text(&mut config, "config.", "mediaType")?,
            (None, _) => return Err(shape("config", "an object")),
        };
        let Some(Read::List(layers)) = manifest.remove("layers") else {
            return Err(shape("layers", "a list"));
        };
        let mut seen = BTreeSet::new();
        let mut files = Vec::new();
        for (number, layer) in layers.into_iter().enumerate() {
            let file = file(number, layer)?;
            if !seen.insert(file.path.clone()) {
                return Err(ArtifactError::Twice(file.path));
            }
            files.push(file);
        }
        Ok(Self { kind, files })
    }
}

fn file(number: usize, layer: Read) -> Result<File, ArtifactError> {
    let place = format!("layers.{number}.");
    let Read::Object(mut layer) = layer else {
        return Err(shape(place.trim_end_matches('.'), "an object"));
    };
    let media_type = text(&mut layer, &place, "mediaType")?;
    let digest = text(&mut layer, &place, "digest")?;
    // Digits in lower case alone: the address of the blob has them as they stand here.
    let digest = digest.strip_prefix("sha256:").and_then(|digits| {
        digits.parse::<Sha256>().ok().filter(|digest| digest.to_string() == digits)
    });
    let sha256 = digest.ok_or_else(|| shape(&format!("{place}digest"), "a sha256"))?;
    let size = match layer.remove("size") {
        Some(Read::Integer(size)) => u64::try_from(size).ok(),
        _ => None,
    };
    let size = size.ok_or_else(|| shape(&format!("{place}size"), "a number of bytes"))?;
    let title = match layer.remove("annotations") {
        Some(Read::Object(mut annotations)) => annotations.remove(TITLE),
        _ => None,
    };
    let Some(Read::Text(title)) = title else { return Err(ArtifactError::NoTitle(number)) };
    let path = title.parse().map_err(|_| ArtifactError::Path(number))?;
    Ok(File { path, media_type, blob: Blob { sha256, size } })
}

fn text(members: &mut Object, place: &str, name: &str) -> Result<String, ArtifactError> {
    match members.remove(name) {
        Some(Read::Text(text)) => Ok(text),
        _ => Err(shape(&format!("{place}{name}"), "a text")),
    }
}

fn shape(member: &str, want: &'static str) -> ArtifactError {
    let member = if member.is_empty() { "the document" } else { member };
    ArtifactError::Shape { member: member.to_owned(), want }
}

/// What others wrote, for a message.
fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    fn artifact(paths: &[&str]) -> Artifact {
        let file = |path: &&str| File {
            path: path.parse().unwrap(),
            media_type: "application/json".to_owned(),
            blob: Blob { sha256: Sha256::of(path), size: path.len() as u64 },
        };
        Artifact { kind: "application/x".to_owned(), files: paths.iter().map(file).collect() }
    }

    #[test]
    fn a_manifest_has_a_kind_the_empty_config_and_a_layer_for_each_file() {
        let manifest = artifact(&["a/b \"c\""]).manifest(&[("n", "v")]);
        expect![[r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/x","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[{"mediaType":"application/json","digest":"sha256:9f842d090d993143e48dacf57f11fae6015bde4572122651ed77b36b6d6a7ac5","size":7,"annotations":{"org.opencontainers.image.title":"a/b \"c\""}}],"annotations":{"n":"v"}}"#]]
            .assert_eq(str::from_utf8(&manifest.bytes).unwrap());
        assert_eq!(manifest.blob.sha256, Sha256::of(&manifest.bytes));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(paths in proptest::collection::btree_set("[a-z \"é]{1,9}(/[a-z.]{3,9})?", 0..9)) {
            let paths: Vec<_> = paths.iter().map(String::as_str).collect();
            prop_assume!(paths.iter().all(|path| path.parse::<TargetPath>().is_ok()));
            let artifact = artifact(&paths);
            prop_assert_eq!(Artifact::parse(&artifact.manifest(&[]).bytes), Ok(artifact));
        }

        #[test]
        fn bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Artifact::parse(&bytes);
        }
    }

    #[test]
    fn what_is_not_the_manifest_of_files_is_refused_with_the_reason() {
        let layer = |digest: &str, rest: &str| {
            format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"c"}},"layers":[{{"mediaType":"x","digest":"{digest}"{rest}}}]}}"#
            )
        };
        let good = format!("sha256:{}", Sha256::of("x"));
        let titled = |title: &str| {
            let rest = format!(
                r#","size":1,"annotations":{{"org.opencontainers.image.title":"{title}"}}"#
            );
            layer(&good, &rest)
        };
        assert_eq!(Artifact::parse(titled("a/b").as_bytes()).unwrap().kind, "c");
        let twice = titled("a").replacen("\"layers\":[", "\"layers\":[$,", 1);
        let inner = twice.split("$,").nth(1).unwrap().trim_end_matches("]}");
        let twice = twice.replacen('$', inner, 1);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let typed = |kind: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{kind}"}}"#);
        for (text, want) in [
            ("<html>".to_owned(), "it is no manifest: it is not the JSON"),
            ("[]".to_owned(), "it is no manifest: `the document` is not an object"),
            ("{}".to_owned(), "it is no manifest: `schemaVersion` is not 2"),
            (index.to_owned(), "it is an index of manifests, and not one"),
            (typed(INDEX_TYPE), "it is an index of manifests, and not one"),
            (typed("a\\u001bb"), "it is a document of the type `ab`"),
            (typed(MANIFEST_TYPE), "it is no manifest: `config` is not an object"),
            (
                r#"{"schemaVersion":2,"artifactType":"x"}"#.to_owned(),
                "it is no manifest: `layers` is not a list",
            ),
            (layer("md5:00", ""), "it is no manifest: `layers.0.digest` is not a sha256"),
            (
                layer(&good.to_uppercase().replace("SHA", "sha"), ""),
                "it is no manifest: `layers.0.digest` is not a sha256",
            ),
            (
                layer(&good, r#","size":-1"#),
                "it is no manifest: `layers.0.size` is not a number of bytes",
            ),
            (layer(&good, r#","size":1"#), "its layer 0 has no name: it is an image, or"),
            (titled("../a"), "its layer 0 has a name that does not stay in its directory"),
            (titled("/a"), "its layer 0 has a name that does not stay in its directory"),
            (titled("a\\\\b"), "its layer 0 has a name that does not stay in its directory"),
            (twice, "it has `a` twice"),
        ] {
            let error = Artifact::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(want), "{text}: {error}");
        }
    }
}
