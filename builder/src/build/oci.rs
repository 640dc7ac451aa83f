//! Container images that lie in the root: of those that are made here, the components become a layer, and
//! the layer an archive in the store; those of others are there as they are.

use std::collections::{BTreeMap, BTreeSet};

use formats::architecture::Architecture;
use formats::digest::Sha256;
use formats::manifest;
use formats::oci::{Archive, Image};
use formats::segment::Segment;
use formats::tar;
use formats::tree::{Blob, Node, Tree, TreePath};

use crate::build::Request;
use crate::build::contents;
use crate::build::parts::{Compiled, Layer, Scope};
use crate::build::root::{self, EPOCH, SinkError};
use crate::compose::layers::Layers;
use crate::error::{Context as _, Error, Id, Result};
use crate::recipe::model::{Layers as How, Name, Oci};
use crate::source::cargo::Seen;
use crate::source::{image as source, local};
use crate::step::{Inputs, Kind, Step, Steps};
use crate::store::Store;
use crate::stored::StoredBlob;

/// The files in a container image.
#[derive(Debug)]
pub struct Inside {
    /// The image's name in the recipe.
    pub name: String,
    /// What it is called.
    pub reference: String,
    /// Its files.
    pub tree: Tree,
    /// The name of whoever answers for each path.
    pub components: BTreeMap<TreePath, String>,
}

/// Makes the archive of one image, and says where it goes and what is in it.
///
/// # Errors
/// Those of the sources; [`Id::TreeConflict`]; [`Id::ImageLayer`].
pub fn archive(
    request: &Request<'_>,
    steps: &mut Steps<'_>,
    seen: &Seen,
    name: &Name,
    oci: &Oci,
    built: &mut Compiled,
) -> Result<((TreePath, Node), Inside)> {
    let scope = Scope::Image(name);
    let mut parts = built.compile(request, steps, seen, &scope, &oci.go, &oci.cargo)?;
    for (owner, component) in &oci.local {
        let nodes = local::nodes(request.store, component)?;
        let component = scope.name('/', "local", owner);
        parts.push(Layer { owner: owner.to_string(), component, nodes });
    }
    let mut layers = Layers::default();
    for layer in &parts {
        layers.add(&layer.owner, layer.nodes.iter().cloned());
    }
    let (tree, owners, _) = layers.finish()?;
    let components = contents::components(&parts, &owners);

    let image = image(oci, request.recipe.arch);
    let inputs = Inputs::new()
        .with("reference", &image.reference)
        .with("architecture", image.architecture)
        .with_all("entrypoint", &image.entrypoint)
        .with_all("command", &image.command)
        .with_all(
            "environment",
            image.environment.iter().map(|(name, value)| format!("{name}={value}")),
        )
        .with("user", &image.user)
        .with("files", Sha256::of(manifest::text(&tree)));
    let step = Step::new(Kind::Oci, format!("oci {name}"), inputs);
    let complete = |blob: &StoredBlob| request.store.has(&blob.0);
    let blob = steps.run(&step, complete, || pack(request.store, name, &image, &tree))?;
    let (name, reference) = (name.to_string(), image.reference.to_string());
    let inside = Inside { name, reference, tree, components };
    Ok(((oci.at.0.clone(), Node::file(blob.0, 0o644)), inside))
}

/// Puts an image of somebody else into the root as it is, and says of which files it is there. Of parts
/// that several images have one is enough: those of `there` are not given again.
///
/// # Errors
/// Those of [`image`](crate::source::image).
pub fn foreign(
    request: &Request<'_>,
    steps: &mut Steps<'_>,
    name: &Name,
    oci: &Oci,
    there: &mut BTreeSet<TreePath>,
) -> Result<(Vec<(TreePath, Node)>, Inside)> {
    let (store, architecture) = (request.store, request.recipe.arch);
    let mut parts = match &oci.archive {
        Some(path) => {
            source::of_archive(store, name.as_str(), path, &oci.reference.0, architecture)?
        }
        None => source::of_lock(&request.lock.images, name.as_str())?.to_vec(),
    };
    source::check_layers(store, name.as_str(), &parts, request.jobs)?;
    if oci.layers == How::Plain {
        parts = source::unpacked(store, steps, name.as_str(), &parts)?;
    }
    let mut nodes = source::nodes(store, oci, &parts)?;
    nodes.retain(|(path, _)| there.insert(path.clone()));
    let (name, reference) = (name.to_string(), oci.reference.0.to_string());
    let inside = Inside { name, reference, tree: Tree::new(), components: BTreeMap::new() };
    Ok((nodes, inside))
}

fn image(oci: &Oci, architecture: Architecture) -> Image {
    Image {
        command: oci.command.clone(),
        environment: oci.environment.clone(),
        user: oci.user.clone(),
        ..Image::new(oci.reference.0.clone(), architecture, &oci.entrypoint)
    }
}

fn pack(store: &Store, name: &Name, image: &Image, tree: &Tree) -> Result<StoredBlob> {
    let cannot = || format!("cannot pack the image `oci.{name}`");
    let layer = tar::Archive::new(tree, EPOCH).or_fail(Id::ImageLayer, cannot)?;
    let layer = put(store, layer.segments())?;
    let archive = Archive::new(image, layer).or_fail(Id::ImageLayer, cannot)?;
    put(store, archive.segments()).map(StoredBlob)
}

fn put(store: &Store, segments: impl Iterator<Item = Segment>) -> Result<Blob> {
    let mut writer = store.writer()?;
    root::segments(segments, store, |bytes| std::io::Write::write_all(&mut writer, bytes))
        .map_err(|error| match error {
            SinkError::Store(error) => error,
            SinkError::Sink(error) => {
                Error::new(Id::StoreWrite, "cannot write an image to the store").caused_by(error)
            }
        })?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use serde_json::{Value, json};

    use super::*;

    fn oci() -> Oci {
        let text = "reference = 'orlop.dev/sample:1'\nat = '/sample.tar'\nentrypoint = ['/bin/a']\n\
                    command = ['-v']\nenvironment = { HOME = '/', PATH = '/bin' }\nuser = '1:2'\n";
        toml::from_str(text).unwrap()
    }

    fn packed(tree: &Tree, store: &Store) -> Result<StoredBlob> {
        let name = Name::try_from("sample".to_owned()).unwrap();
        pack(store, &name, &image(&oci(), Architecture::Amd64), tree)
    }

    /// The regular files of a tar archive, read by a crate that knows the format better.
    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = ::tar::Archive::new(archive);
        let mut files = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.header().entry_type().is_file() {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                files.insert(entry.path().unwrap().to_str().unwrap().to_owned(), content);
            }
        }
        files
    }

    #[test]
    fn an_image_can_be_followed_from_its_name_to_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut tree = Tree::new();
        let content = store.put_bytes(&[7; 5000]).unwrap();
        tree.insert(TreePath::new("bin/a").unwrap(), Node::file(content, 0o755)).unwrap();
        let archive = files(&store.read_blob(&packed(&tree, &store).unwrap().0).unwrap());

        let document = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let named = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let content = &archive[&format!("blobs/sha256/{digest}")];
            assert_eq!(digest, Sha256::of(content).to_string());
            assert_eq!(descriptor["size"], json!(content.len()));
            content
        };
        assert_eq!(document(&archive["oci-layout"]), json!({ "imageLayoutVersion": "1.0.0" }));
        let index = document(&archive["index.json"]);
        let names = &index["manifests"][0]["annotations"];
        assert_eq!(names["io.containerd.image.name"], "orlop.dev/sample:1");
        let manifest = document(named(&index["manifests"][0]));
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
        let config = document(named(&manifest["config"]));
        assert_eq!(
            config["config"],
            json!({
                "Entrypoint": ["/bin/a"],
                "Cmd": ["-v"],
                "Env": ["HOME=/", "PATH=/bin"],
                "User": "1:2",
            })
        );
        let layer = named(&manifest["layers"][0]);
        assert_eq!(
            config["rootfs"],
            json!({ "type": "layers", "diff_ids": [format!("sha256:{}", Sha256::of(layer))] })
        );
        assert_eq!(files(layer), BTreeMap::from([("bin/a".to_owned(), vec![7; 5000])]));
    }

    #[test]
    fn what_a_layer_cannot_hold_is_refused_with_the_image_and_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut tree = Tree::new();
        let target = "t".repeat(101);
        tree.insert(TreePath::new("bin/a").unwrap(), Node::symlink(target)).unwrap();
        let error = packed(&tree, &store).unwrap_err();
        assert_eq!(error.id(), Id::ImageLayer);
        assert_eq!(
            error.chain(),
            "cannot pack the image `oci.sample`: the target of /bin/a is not 1 to 100 bytes \
             without NUL"
        );
    }
}
