//! Container images of others, which a node has from the start: from an archive or a directory beside
//! the recipe, or from a registry. They are kept as they are, each document and each layer a blob of the
//! store, so their digests are those that pods may name.
//!
//! Of an image for several platforms the one for the recipe's architecture is taken, with the index that
//! names it. Nothing of an image is believed but by its digest.

mod layers;
mod layout;
mod parts;
mod plain;
pub mod registry;

use formats::digest::Sha256;
use formats::oci::{INDEX_TYPE, Reference};
use formats::tree::{Node, TreePath};
use serde_json::json;

pub use layers::check as check_layers;
pub use layout::of_archive;
pub use parts::{Part, Role};
pub use plain::unpacked;

use crate::error::{Context as _, Error, Id, Result};
use crate::lock::model::Image;
use crate::recipe::model::Oci;
use crate::store::Store;

/// Where the blobs are, in the directory in which an image's index is.
const BLOBS: &str = "blobs/sha256";
/// The annotation by which containerd, and `orlop-node`, know the whole name of an image; containerd writes it
/// into layouts, too.
const NAME: &str = "io.containerd.image.name";

/// The parts of an image of a registry, as the lock has them.
///
/// # Errors
/// [`Id::Bug`]: the lock was compared with the recipe before.
pub fn of_lock<'a>(images: &'a [Image], component: &str) -> Result<&'a [Part]> {
    let image = images.iter().find(|image| image.component == component);
    let image = image.map(|image| image.parts.as_slice());
    image.ok_or_else(|| Error::new(Id::Bug, format!("the lock does not know `oci.{component}`")))
}

/// What an image brings to the root: its index, at the place that the recipe says, and beside that its
/// blobs.
///
/// # Errors
/// [`Id::StoreWrite`]; [`Id::RecipeValue`] if the place cannot have files beside it.
pub fn nodes(store: &Store, oci: &Oci, parts: &[Part]) -> Result<Vec<(TreePath, Node)>> {
    let at = &oci.at.0;
    let beside = at.parent().unwrap_or(TreePath::ROOT);
    let beside = beside.join(BLOBS).or_fail(Id::RecipeValue, || format!("`{at}`"))?;
    let index = store.put_bytes(index(&oci.reference.0, parts).as_bytes())?;
    let mut nodes = vec![(at.clone(), Node::file(index, 0o644))];
    for part in parts {
        let digest = part.blob.sha256.to_string();
        let path = beside.join(&digest).or_fail(Id::Bug, || "a digest")?;
        nodes.push((path, Node::file(part.blob, 0o644)));
    }
    Ok(nodes)
}

/// The index by which a node finds an image: once by its name, and once by its digest, for pods that name
/// it so.
fn index(reference: &Reference, parts: &[Part]) -> String {
    let target = parts.first();
    let by_digest = |digest: Sha256| format!("{}@sha256:{digest}", reference.repository());
    let names = target.map(|part| [reference.to_string(), by_digest(part.blob.sha256)]);
    let manifests = names.into_iter().flatten().zip(target.into_iter().cycle());
    let manifests: Vec<_> = manifests
        .map(|(name, part)| {
            json!({
                "mediaType": part.media_type,
                "digest": format!("sha256:{}", part.blob.sha256),
                "size": part.blob.size,
                "annotations": { NAME: name },
            })
        })
        .collect();
    json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests }).to_string()
}

#[cfg(test)]
mod tests;
