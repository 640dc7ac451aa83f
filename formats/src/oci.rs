//! Container images as archives that `ctr images import` and every other importer takes: the OCI
//! image layout <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md> in a
//! tar archive, with one manifest and one layer.
//!
//! The layer is a tar archive without compression: what lies in a node's root image is compressed
//! with it, and unpacking is then a copy. There is no time in an image: same files, same bytes.

#[cfg(feature = "tuf")]
mod artifact;
#[cfg(feature = "tuf")]
mod documents;
mod json;
mod packed;
mod reference;

use crate::architecture::Architecture;
use std::collections::BTreeMap;
use std::iter;

use json::Json;

use crate::digest::Sha256;
use crate::segment::{Segment, gather};
use crate::tar;
use crate::tree::{Blob, Node, Tree, TreePath};

#[cfg(feature = "tuf")]
pub use artifact::{Artifact, ArtifactError, EMPTY, EMPTY_TYPE, File, LARGEST_MANIFEST};
#[cfg(feature = "tuf")]
pub use documents::{Configuration, Descriptor, DocumentError, Listing, Names, Platform};
pub use packed::{FileError, Files, Packed, pack};
pub use reference::{Called, Location, Reference, ReferenceError};

/// The media type of [`Archive::manifest`].
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of [`Archive::config`].
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of [`Archive::layer`].
pub const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
/// The media type of an index of manifests.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// What an image says of the container that is made from it, beside its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What it is called.
    pub reference: Reference,
    /// What its programs run on.
    pub architecture: Architecture,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// More arguments, in whose place a pod may give others.
    pub command: Vec<String>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// `USER[:GROUP]`, names or numbers; empty for root.
    pub user: String,
    /// The directory that the program starts in; empty for `/`.
    pub working_directory: String,
}

impl Image {
    /// An image of this name which runs `entrypoint` as root in `/`.
    pub fn new(
        reference: Reference,
        architecture: Architecture,
        entrypoint: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            reference,
            architecture,
            entrypoint: entrypoint.into_iter().map(Into::into).collect(),
            command: Vec::new(),
            environment: BTreeMap::new(),
            user: String::new(),
            working_directory: String::new(),
        }
    }
}

/// A JSON document of an image, addressed by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The document.
    pub bytes: Vec<u8>,
    /// Its digest and size.
    pub blob: Blob,
}

impl Document {
    fn new(json: &Json) -> Self {
        let bytes = json.to_string().into_bytes();
        let blob = Blob { sha256: Sha256::of(&bytes), size: bytes.len() as u64 };
        Self { bytes, blob }
    }
}

/// An image's archive, decided and not yet written. Made only by [`Archive::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    // Invariant: `manifest` names `config` and `layer`, `index` names `manifest`, and `tar` holds
    // them all.
    config: Document,
    manifest: Document,
    index: Document,
    layout: Document,
    layer: Blob,
    tar: tar::Archive,
}

impl Archive {
    /// Plans the archive of an image for Linux with this one layer: a tar archive without
    /// compression, see [`crate::tar`].
    ///
    /// # Errors
    /// [`tar::TarError`] if the layer is larger than a tar archive can hold.
    pub fn new(image: &Image, layer: Blob) -> Result<Self, tar::TarError> {
        let config = Document::new(&config(image, &layer));
        let manifest = Document::new(&Json::object([
            ("schemaVersion", Json::Number(2)),
            ("mediaType", Json::text(MANIFEST_TYPE)),
            ("config", descriptor(CONFIG_TYPE, &config.blob, [])),
            ("layers", Json::List(vec![descriptor(LAYER_TYPE, &layer, [])])),
        ]));
        let reference = &image.reference;
        let names = [
            // containerd takes the whole name from the first one, others the tag from the second.
            ("io.containerd.image.name", reference.as_str()),
            ("org.opencontainers.image.ref.name", reference.tag()),
        ];
        let index = Document::new(&Json::object([
            ("schemaVersion", Json::Number(2)),
            ("mediaType", Json::text(INDEX_TYPE)),
            ("manifests", Json::List(vec![descriptor(MANIFEST_TYPE, &manifest.blob, names)])),
        ]));
        let layout = Document::new(&Json::object([("imageLayoutVersion", Json::text("1.0.0"))]));

        let mut tree = Tree::new();
        let blobs = [&config.blob, &manifest.blob, &layer];
        let blobs = blobs.map(|blob| (format!("blobs/sha256/{}", blob.sha256), *blob));
        let named = [("index.json", index.blob), ("oci-layout", layout.blob)];
        let named = named.map(|(path, blob)| (path.to_owned(), blob));
        for (path, blob) in blobs.into_iter().chain(named) {
            let path = TreePath::new(&path).expect("made of parts that are valid");
            tree.insert(path, Node::file(blob, 0o644)).expect("files lie in directories");
        }
        let tar = tar::Archive::new(&tree, 0)?;
        Ok(Self { config, manifest, index, layout, layer, tar })
    }

    /// The image's configuration: its digest is the image's id.
    pub fn config(&self) -> &Document {
        &self.config
    }

    /// The manifest: its digest is what a registry knows the image by.
    pub fn manifest(&self) -> &Document {
        &self.manifest
    }

    /// The layer.
    pub fn layer(&self) -> Blob {
        self.layer
    }

    /// Bytes of the archive: a multiple of 512.
    pub fn size(&self) -> u64 {
        self.tar.size()
    }

    /// The archive from its first byte to its last; the layer is the only blob in it.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        let documents = [&self.config, &self.manifest, &self.index, &self.layout];
        gather(self.tar.segments().flat_map(move |segment| {
            let Segment::Blob { blob, padding } = &segment else {
                return iter::once(segment).chain(None);
            };
            // A layer cannot be one of our documents: it ends with two empty blocks.
            let Some(document) = documents.iter().find(|document| document.blob == *blob) else {
                return iter::once(segment).chain(None);
            };
            let zeros = iter::repeat_n(0, usize::try_from(*padding).unwrap_or_default());
            let content = document.bytes.iter().copied().chain(zeros).collect();
            iter::once(Segment::Bytes(content)).chain(None)
        }))
    }
}

/// What the layers are and how to run them:
/// <https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md>.
fn config(image: &Image, layer: &Blob) -> Json {
    let texts = |texts: &[String]| Json::List(texts.iter().map(Json::text).collect());
    let environment = image.environment.iter();
    let environment = environment.map(|(name, value)| Json::Text(format!("{name}={value}")));
    let container = [
        ("Cmd", texts(&image.command)),
        ("Entrypoint", texts(&image.entrypoint)),
        ("Env", Json::List(environment.collect())),
        ("User", Json::text(&image.user)),
        ("WorkingDir", Json::text(&image.working_directory)),
    ];
    let container = container.into_iter().filter(|(_, value)| !value.is_empty());
    let diff_ids = Json::List(vec![Json::Text(format!("sha256:{}", layer.sha256))]);
    let root = Json::object([("diff_ids", diff_ids), ("type", Json::text("layers"))]);
    Json::object([
        ("architecture", Json::text(image.architecture.oci())),
        ("config", Json::object(container)),
        ("os", Json::text("linux")),
        ("rootfs", root),
    ])
}

/// <https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md>.
fn descriptor<const N: usize>(
    media_type: &str,
    blob: &Blob,
    annotations: [(&'static str, &str); N],
) -> Json {
    let annotations = Json::object(annotations.map(|(name, value)| (name, Json::text(value))));
    let fields = [
        ("mediaType", Json::text(media_type)),
        ("digest", Json::Text(format!("sha256:{}", blob.sha256))),
        ("size", Json::Number(blob.size)),
        ("annotations", annotations),
    ];
    Json::object(fields.into_iter().filter(|(_, value)| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn image() -> Image {
        Image::new(Reference::new("orlop.dev/pause:1").unwrap(), Architecture::Amd64, ["/pause"])
    }

    fn layer() -> Blob {
        Blob { sha256: Sha256::of("layer"), size: 5 }
    }

    fn text(document: &Document) -> &str {
        assert_eq!(document.blob.sha256, Sha256::of(&document.bytes));
        assert_eq!(document.blob.size, document.bytes.len() as u64);
        str::from_utf8(&document.bytes).unwrap()
    }

    #[test]
    fn the_documents_name_one_another() {
        let archive = Archive::new(&image(), layer()).unwrap();
        expect![[r#"{"architecture":"amd64","config":{"Entrypoint":["/pause"]},"os":"linux","rootfs":{"diff_ids":["sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85"],"type":"layers"}}"#]].assert_eq(text(&archive.config));
        expect![[r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:43c6e2e158dabfa2ac6a6e1f245245932ddde426122396532a24839a019ff586","size":186},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85","size":5}]}"#]].assert_eq(text(&archive.manifest));
        expect![[r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e29431b12301fd4ae00c9976d6e008c99047c4fe3a6e59bbd82e81ca9b012ef2","size":394,"annotations":{"io.containerd.image.name":"orlop.dev/pause:1","org.opencontainers.image.ref.name":"1"}}]}"#]].assert_eq(text(&archive.index));
        expect![[r#"{"imageLayoutVersion":"1.0.0"}"#]].assert_eq(text(&archive.layout));
    }

    #[test]
    fn what_is_set_stands_in_the_config() {
        let image = Image {
            command: vec!["--a".to_owned(), "\"b\"".to_owned()],
            environment: [("PATH".to_owned(), "/bin".to_owned())].into(),
            user: "65534:65534".to_owned(),
            working_directory: "/var".to_owned(),
            ..image()
        };
        let archive = Archive::new(&image, layer()).unwrap();
        expect![[r#"{"architecture":"amd64","config":{"Cmd":["--a","\"b\""],"Entrypoint":["/pause"],"Env":["PATH=/bin"],"User":"65534:65534","WorkingDir":"/var"},"os":"linux","rootfs":{"diff_ids":["sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85"],"type":"layers"}}"#]].assert_eq(text(&archive.config));
    }

    #[test]
    fn only_the_layer_is_left_to_be_fetched() {
        let archive = Archive::new(&image(), layer()).unwrap();
        let segments: Vec<_> = archive.segments().collect();
        let blobs = segments.iter().filter(|segment| matches!(segment, Segment::Blob { .. }));
        assert_eq!(blobs.collect::<Vec<_>>(), [&Segment::Blob { blob: layer(), padding: 512 - 5 }]);
        assert_eq!(segments.iter().map(Segment::size).sum::<u64>(), archive.size());
    }
}
