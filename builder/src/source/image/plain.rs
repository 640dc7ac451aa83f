//! An image whose layers are not packed any more: what a node unpacks then is copied only. It is another
//! image than the registry's, of another digest, with the same configuration.

use std::io::{Read as _, Write as _};

use formats::oci::{LAYER_TYPE, MANIFEST_TYPE};
use serde_json::json;

use super::layers::{layer_packing, unreadable};
use super::parts::{Part, Role};
use crate::archive::form::Packing;
use crate::error::{Context as _, Id, Result};
use crate::step::{Inputs, Kind, Step, Steps};
use crate::store::Store;
use crate::stored::StoredBlob;

/// The parts of the image with plain layers, all of which are in the store afterwards. What was unpacked
/// once is remembered.
///
/// # Errors
/// [`Id::ImageSource`], [`Id::StoreWrite`], [`Id::StoreMissing`].
pub fn unpacked(
    store: &Store,
    steps: &mut Steps<'_>,
    component: &str,
    parts: &[Part],
) -> Result<Vec<Part>> {
    let name = format!("`oci.{component}`");
    let mut plain = Vec::new();
    for part in parts {
        match part.role {
            Role::Index | Role::Manifest => {}
            Role::Config => plain.push(part.clone()),
            Role::Layer => {
                let packing = layer_packing(&name, part)?;
                let inputs = Inputs::new().with("layer", part.blob.sha256).with("packing", packing);
                let step = Step::new(Kind::Layer, format!("oci {component} layer"), inputs);
                let complete = |blob: &StoredBlob| store.has(&blob.0);
                let unpack = || unpack(store, &name, part, packing);
                let StoredBlob(blob) = steps.run(&step, complete, unpack)?;
                plain.push(Part { role: Role::Layer, media_type: LAYER_TYPE.to_owned(), blob });
            }
        }
    }
    let descriptor = |part: &Part| {
        json!({
            "mediaType": part.media_type,
            "digest": format!("sha256:{}", part.blob.sha256),
            "size": part.blob.size,
        })
    };
    let of = |role: Role| plain.iter().filter(move |part| part.role == role);
    let layers: Vec<_> = of(Role::Layer).map(descriptor).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": of(Role::Config).map(descriptor).next(),
        "layers": layers,
    });
    let blob = store.put_bytes(manifest.to_string().as_bytes())?;
    plain.insert(0, Part { role: Role::Manifest, media_type: MANIFEST_TYPE.to_owned(), blob });
    Ok(plain)
}

fn unpack(store: &Store, name: &str, layer: &Part, packing: Packing) -> Result<StoredBlob> {
    if packing == Packing::None {
        return Ok(StoredBlob(layer.blob));
    }
    let file = store.open_blob(&layer.blob)?;
    let mut writer = store.writer()?;
    let mut reader = packing.reader(&file);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = reader.read(&mut buffer);
        let read = read.or_fail(Id::ImageSource, || unreadable(name, &layer.blob, packing))?;
        if read == 0 {
            return writer.finish().map(StoredBlob);
        }
        let written = writer.write_all(&buffer[..read]);
        written.or_fail(Id::StoreWrite, || {
            format!("cannot write to the store `{}`", store.root().display())
        })?;
    }
}
