//! Images that others have made, as far as it takes to know all their parts: an index that names a
//! manifest for each platform, a manifest that names configuration and layers, and of a configuration
//! what it says of the platform and of the layers
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.1/spec.md>). Docker's own types of the
//! same documents are read as well.
//!
//! What a document says is not believed because it is read: whoever reads one has compared its digest.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::{INDEX_TYPE, MANIFEST_TYPE};
use crate::architecture::Architecture;
use crate::digest::Sha256;
use crate::tree::Blob;

/// Docker's type of a manifest.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's type of an index.
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// All types of documents that name others.
const LISTINGS: [&str; 4] = [INDEX_TYPE, DOCKER_INDEX, MANIFEST_TYPE, DOCKER_MANIFEST];
/// So much of what others wrote stands in a message, in characters.
const SHOWN: usize = 80;

/// What one document says of another, or of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What kind of thing it is.
    pub media_type: String,
    /// Its digest and size.
    pub blob: Blob,
    /// What it is for, if that is said.
    pub platform: Option<Platform>,
    /// Words for programs.
    pub annotations: BTreeMap<String, String>,
}

/// What the programs of an image run on, in the words of Go's `GOOS` and `GOARCH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// Such as `linux`.
    pub os: String,
    /// Such as `amd64`.
    pub architecture: String,
    /// Such as `v8`; empty if none is said.
    pub variant: String,
}

impl Platform {
    /// Whether a node of this architecture runs it. Of variants, those that every processor of the
    /// architecture has.
    pub fn fits(&self, architecture: Architecture) -> bool {
        let variants: &[&str] = match architecture {
            Architecture::Amd64 => &["", "v1"],
            Architecture::Arm64 => &["", "v8"],
        };
        self.os == "linux"
            && self.architecture == architecture.oci()
            && variants.contains(&self.variant.as_str())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", shown(&self.os), shown(&self.architecture))?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", shown(&self.variant)) }
    }
}

/// An index or a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Its media type: as it says itself, or as what it is.
    pub media_type: String,
    /// What it names.
    pub names: Names,
}

/// What an index or a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// It names manifests, or other indexes.
    Index(Vec<Descriptor>),
    /// It names configuration and layers.
    Manifest {
        /// The configuration.
        config: Descriptor,
        /// The layers, the lowest first.
        layers: Vec<Descriptor>,
    },
}

/// What is of interest of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// What the image is for.
    pub platform: Platform,
    /// The digest of each layer when it is unpacked, the lowest first.
    pub layers: Vec<Sha256>,
}

/// Bytes that are not the document that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// They are no JSON, or not of the shape.
    #[error("it is not the JSON of an image: {0}")]
    Json(String),
    /// It is of a kind that is not read.
    #[error("it is a document of the type `{0}`")]
    OtherType(String),
    /// Docker's first form of manifests, which no registry takes any more.
    #[error("it is a manifest of schema 1, which containerd does not read either")]
    SchemaOne,
    /// It has neither layers nor manifests.
    #[error("it names neither layers nor manifests")]
    Neither,
    /// A digest is none, or not of SHA-256.
    #[error("`{0}` is no digest of SHA-256")]
    Digest(String),
    /// It is not of a container image: an artifact's configuration, say.
    #[error("its configuration does not say which platform it is for")]
    NoPlatform,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawListing {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<RawPlatform>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
struct RawConfiguration {
    #[serde(flatten)]
    platform: Option<RawPlatform>,
    rootfs: Option<RawLayers>,
}

#[derive(Deserialize)]
struct RawLayers {
    #[serde(default)]
    diff_ids: Vec<String>,
}

impl Listing {
    /// Reads an index or a manifest.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let raw: RawListing = json(bytes)?;
        if raw.schema_version == Some(1) {
            return Err(DocumentError::SchemaOne);
        }
        let said = raw.media_type.filter(|said| !said.is_empty());
        if let Some(other) = said.as_deref().filter(|said| !LISTINGS.contains(said)) {
            return Err(DocumentError::OtherType(shown(other)));
        }
        let all = |list: Vec<RawDescriptor>| -> Result<Vec<_>, _> {
            list.into_iter().map(Descriptor::try_from).collect()
        };
        // One that is both could be read as one thing here and as another on a node.
        let (usual, names) = match (raw.manifests, raw.config, raw.layers) {
            (Some(manifests), None, None) => (INDEX_TYPE, Names::Index(all(manifests)?)),
            (None, Some(config), Some(layers)) => {
                let (config, layers) = (config.try_into()?, all(layers)?);
                (MANIFEST_TYPE, Names::Manifest { config, layers })
            }
            _ => return Err(DocumentError::Neither),
        };
        Ok(Self { media_type: said.unwrap_or_else(|| usual.to_owned()), names })
    }
}

impl Configuration {
    /// Reads a configuration.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let raw: RawConfiguration = json(bytes)?;
        let platform = raw.platform.map(Platform::from);
        let platform = platform.filter(|it| !it.os.is_empty() && !it.architecture.is_empty());
        let platform = platform.ok_or(DocumentError::NoPlatform)?;
        let layers = raw.rootfs.map(|rootfs| rootfs.diff_ids).unwrap_or_default();
        let layers = layers.iter().map(|text| digest(text)).collect::<Result<_, _>>()?;
        Ok(Self { platform, layers })
    }
}

impl Descriptor {
    /// Whether what it names is an index or a manifest.
    pub fn is_listing(&self) -> bool {
        LISTINGS.contains(&self.media_type.as_str())
    }
}

impl TryFrom<RawDescriptor> for Descriptor {
    type Error = DocumentError;

    fn try_from(raw: RawDescriptor) -> Result<Self, DocumentError> {
        let RawDescriptor { media_type, digest: text, size, platform, annotations } = raw;
        let blob = Blob { sha256: digest(&text)?, size };
        let platform = platform.map(Platform::from);
        Ok(Self { media_type, blob, platform, annotations: annotations.unwrap_or_default() })
    }
}

impl From<RawPlatform> for Platform {
    fn from(raw: RawPlatform) -> Self {
        let RawPlatform { os, architecture, variant } = raw;
        Self { os, architecture, variant: variant.unwrap_or_default() }
    }
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes).map_err(|error| DocumentError::Json(long(&error.to_string())))
}

/// Digits in lower case alone: that is how blobs are named where they lie.
fn digest(text: &str) -> Result<Sha256, DocumentError> {
    let digits = text.strip_prefix("sha256:");
    let digest = digits.and_then(|digits| {
        digits.parse::<Sha256>().ok().filter(|digest| digest.to_string() == digits)
    });
    digest.ok_or_else(|| DocumentError::Digest(shown(text)))
}

/// What others wrote, for a message.
fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(SHOWN).collect()
}

/// A reason that repeats what others wrote.
fn long(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(2 * SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(text: &str, rest: &str) -> String {
        let digest = Sha256::of(text);
        format!(r#"{{"mediaType":"m","digest":"sha256:{digest}","size":{}{rest}}}"#, text.len())
    }

    fn descriptor(text: &str) -> Descriptor {
        Descriptor {
            media_type: "m".to_owned(),
            blob: Blob { sha256: Sha256::of(text), size: text.len() as u64 },
            platform: None,
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn an_index_names_manifests_with_their_platforms() {
        let platform = r#","platform":{"os":"linux","architecture":"arm64","variant":"v8"},
                          "annotations":{"a":"b"}"#;
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
            entry("a", platform),
            entry("b", "")
        );
        let Listing { media_type, names } = Listing::parse(text.as_bytes()).unwrap();
        assert_eq!(media_type, INDEX_TYPE);
        let Names::Index(entries) = names else { panic!("no index") };
        assert_eq!(entries[1], descriptor("b"));
        let found = entries[0].platform.clone().unwrap();
        assert_eq!(found.to_string(), "linux/arm64/v8");
        assert!(found.fits(Architecture::Arm64) && !found.fits(Architecture::Amd64));
        assert_eq!(entries[0].annotations["a"], "b");
    }

    #[test]
    fn a_manifest_names_its_configuration_and_its_layers() {
        for kind in [MANIFEST_TYPE, DOCKER_MANIFEST] {
            let text = format!(
                r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{},"layers":[{},{}]}}"#,
                entry("c", ""),
                entry("l", ""),
                entry("m", "")
            );
            let names = Names::Manifest {
                config: descriptor("c"),
                layers: vec![descriptor("l"), descriptor("m")],
            };
            let want = Listing { media_type: kind.to_owned(), names };
            assert_eq!(Listing::parse(text.as_bytes()), Ok(want));
        }
    }

    #[test]
    fn a_configuration_says_what_it_is_for_and_what_its_layers_become() {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"x","config":{{"Cmd":null}},
                "rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}},"history":[{{}}]}}"#,
            Sha256::of("l")
        );
        let found = Configuration::parse(text.as_bytes()).unwrap();
        assert_eq!(found.layers, [Sha256::of("l")]);
        assert!(found.platform.fits(Architecture::Amd64));
        for (variant, fits) in [("v1", true), ("v2", false), ("v3", false)] {
            let platform = Platform { variant: variant.to_owned(), ..found.platform.clone() };
            assert_eq!(platform.fits(Architecture::Amd64), fits, "{platform}");
        }
        let windows = Platform { os: "windows".to_owned(), ..found.platform };
        assert!(!windows.fits(Architecture::Amd64));
    }

    #[test]
    fn what_is_something_else_is_refused_with_the_reason() {
        let manifest = |config: &str| format!(r#"{{"config":{config},"layers":[]}}"#);
        let both = format!(r#"{{"manifests":[],"config":{},"layers":[]}}"#, entry("c", ""));
        let long = format!("sha256:{}", "A".repeat(64));
        for (text, want) in [
            ("<html>".to_owned(), "it is not the JSON of an image: expected value at line 1"),
            ("[]".to_owned(), "it is not the JSON of an image: "),
            ("{}".to_owned(), "it names neither layers nor manifests"),
            (both, "it names neither layers nor manifests"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), "it is a manifest of schema 1"),
            (r#"{"mediaType":"a\u001bb"}"#.to_owned(), "it is a document of the type `ab`"),
            (manifest(r#"{"digest":"md5:00","size":1}"#), "`md5:00` is no digest of SHA-256"),
            (manifest(&format!(r#"{{"digest":"{long}","size":1}}"#)), "`sha256:AAA"),
            (manifest(r#"{"digest":"sha256:00","size":-1}"#), "it is not the JSON of an image: "),
        ] {
            let error = Listing::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(want), "{text}: {error}");
        }
        for text in ["{}", r#"{"os":"linux"}"#, r#"{"os":"","architecture":"amd64"}"#] {
            assert_eq!(Configuration::parse(text.as_bytes()), Err(DocumentError::NoPlatform));
        }
    }

    proptest! {
        #[test]
        fn bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Listing::parse(&bytes), Configuration::parse(&bytes));
        }

        #[test]
        fn json_is_read_or_refused_and_nothing_of_it_rules_a_terminal(
            text in r#"\{("(manifests|config|layers|digest|size|mediaType)":|[\[\]{}0-9",:\\u]|\PC)*\}"#
        ) {
            let errors = [Listing::parse(text.as_bytes()).err(), Configuration::parse(text.as_bytes()).err()];
            for error in errors.into_iter().flatten() {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }
    }
}
