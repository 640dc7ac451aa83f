//! Whether layers can be unpacked to what their configuration says: containerd on a node refuses them
//! otherwise, when the first pod wants them.

use std::io::{self, Read};

use formats::digest::{Hasher, Sha256};
use formats::oci::Configuration;
use formats::tree::Blob;

use super::parts::{Part, Role, no_image};
use crate::archive::form::Packing;
use crate::error::{Context as _, Error, Id, Result};
use crate::store::{Purpose, Question, Store};

/// What a layer hashes to when it is unpacked.
const UNPACKED: Purpose = Purpose { name: "unpacked-layer", version: 1 };

/// Checks all layers of an image, which are in the store; those that were checked once are not read again.
///
/// # Errors
/// [`Id::ImageSource`] if one is packed in a way that containerd does not know, or becomes something else;
/// [`Id::StoreMissing`]; [`Id::WrongDigest`] if the store is damaged.
pub fn check(store: &Store, component: &str, parts: &[Part], jobs: usize) -> Result<()> {
    let name = format!("`oci.{component}`");
    let mut wanted = Vec::new();
    for part in parts.iter().filter(|part| part.role == Role::Config) {
        let bytes = store.read_blob(&part.blob)?;
        let configuration = Configuration::parse(&bytes);
        wanted.extend(configuration.map_err(|error| no_image(&name, &error))?.layers);
    }
    let layers: Vec<_> = parts.iter().filter(|part| part.role == Role::Layer).collect();
    let questions = layers.iter().map(|layer| {
        let facts = layer_packing(&name, layer)?.to_string().into_bytes();
        Ok(Question { blob: layer.blob, facts })
    });
    let questions = questions.collect::<Result<Vec<_>>>()?;
    let found = store.derived(UNPACKED, &questions, jobs, |question| {
        let layer = layers.iter().find(|layer| layer.blob == question.blob);
        let layer = layer.ok_or_else(|| Error::new(Id::Bug, "a layer that nobody has"))?;
        unpacked(store, &name, &layer.blob, layer_packing(&name, layer)?)
    })?;
    for ((layer, found), wanted) in layers.iter().zip(found).zip(wanted) {
        if found != wanted {
            let of = layer.blob.sha256;
            let why = format!(
                "its layer sha256:{of} becomes sha256:{found}, and its configuration says \
                 sha256:{wanted}"
            );
            return Err(no_image(&name, &why));
        }
    }
    Ok(())
}

/// How a layer is packed.
///
/// # Errors
/// [`Id::ImageSource`]: in a way that containerd does not know.
pub(super) fn layer_packing(name: &str, layer: &Part) -> Result<Packing> {
    packing(&layer.media_type).ok_or_else(|| {
        let why = format!("a layer is of the type `{}`", layer.media_type.escape_debug());
        no_image(name, &why).hint("containerd unpacks tar, plain or packed with gzip or zstd")
    })
}

fn packing(media_type: &str) -> Option<Packing> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Some(Packing::None),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Some(Packing::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd" => Some(Packing::Zstd),
        _ => None,
    }
}

/// What to say of a layer that cannot be unpacked.
pub(super) fn unreadable(name: &str, blob: &Blob, packing: Packing) -> String {
    format!("{name}: cannot unpack its layer sha256:{} with {packing}", blob.sha256)
}

fn unpacked(store: &Store, name: &str, blob: &Blob, packing: Packing) -> Result<Sha256> {
    let file = store.open_blob(blob)?;
    if packing == Packing::None {
        return Ok(blob.sha256);
    }
    let mut hasher = Hasher::new();
    let mut reader = packing.reader(&file);
    let mut buffer = vec![0; 1 << 16];
    let mut read = || -> io::Result<()> {
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(()),
                read => hasher.update(&buffer[..read]),
            }
        }
    };
    read().or_fail(Id::ImageSource, || unreadable(name, blob, packing))?;
    Ok(hasher.finish())
}
