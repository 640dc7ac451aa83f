//! Images of a registry: `lock` finds out what a name stands for and writes it down, `fetch` brings it by
//! digest.

use formats::architecture::Architecture;
use formats::oci::{Called, Descriptor, LARGEST_MANIFEST, Location};
use formats::tree::Blob;

use super::parts::{self, Part, Role, no_image};
use crate::environment::Environment;
use crate::error::Result;
use crate::fetch;
use crate::lock::model::Image;
use crate::progress::Progress;
use crate::registry::{Plain, Purpose, Registry};
use crate::store::Store;

/// The registry of an image, asked with the logins that the user has for it.
///
/// # Errors
/// Those of [`Registry::new`].
pub fn registry(location: &Location, environment: &Environment) -> Result<Registry> {
    let (access, logins) = (environment.access(), environment.registries());
    Registry::new(location, Purpose::Pull, Plain::Loopback, access, logins)
}

/// Finds out of which parts the image is that the registry has under its name. Its documents are in the
/// store afterwards.
///
/// # Errors
/// [`crate::error::Id::ImagePlatform`], [`crate::error::Id::ImageSource`]; those of [`Registry`].
pub fn resolve(
    registry: &Registry,
    store: &Store,
    component: &str,
    architecture: Architecture,
) -> Result<Image> {
    let location = registry.location();
    let name = format!("`oci.{component}` at `{location}`");
    let (bytes, sha256) = registry.manifest()?;
    let top = Descriptor {
        media_type: parts::listing(&name, &bytes)?.media_type,
        blob: Blob { sha256, size: bytes.len() as u64 },
        platform: None,
        annotations: Default::default(),
    };
    let mut documents = vec![bytes.clone()];
    let found = parts::find(std::slice::from_ref(&top), architecture, &name, &mut |wanted| {
        if wanted.blob == top.blob {
            return Ok(bytes.clone());
        }
        if wanted.blob.size > LARGEST_MANIFEST {
            let why = format!("a document of it has more than {LARGEST_MANIFEST} bytes");
            return Err(no_image(&name, &why));
        }
        let bytes = if wanted.is_listing() {
            registry.manifest_called(&Called::Digest(wanted.blob.sha256))?.0
        } else {
            registry.bytes(&wanted.blob)?
        };
        let bytes = parts::compared(&name, wanted, bytes)?;
        documents.push(bytes.clone());
        Ok(bytes)
    })?;
    for document in documents {
        store.put_bytes(&document)?;
    }
    let (component, location) = (component.to_owned(), location.clone());
    Ok(Image { component, location, parts: found })
}

/// Brings all parts of an image into the store that are not there; if all are, nobody is asked.
///
/// # Errors
/// [`crate::error::Id::WrongDigest`]; those of [`Registry`] and of the store.
pub fn fetch(
    image: &Image,
    environment: &Environment,
    store: &Store,
    progress: &Progress,
) -> Result<()> {
    let missing: Vec<_> = image.parts.iter().filter(|part| !store.has(&part.blob)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let registry = registry(&image.location, environment)?;
    let bytes = missing.iter().fold(0u64, |sum, part| sum.saturating_add(part.blob.size));
    let task = progress.task(format!("oci.{}", image.component), Some(bytes));
    for part in &missing {
        if store.has(&part.blob) {
            // One layer twice.
            continue;
        }
        match part.role {
            Role::Index | Role::Manifest => {
                let called = Called::Digest(part.blob.sha256);
                let (bytes, _) = registry.manifest_called(&called)?;
                task.advance(bytes.len() as u64);
                store.put_bytes(&bytes)?;
            }
            Role::Config | Role::Layer => {
                fetch::from_registry(&registry, store, &part.blob, &task)?
            }
        }
    }
    task.done(format!("{} parts, {bytes} bytes", missing.len()));
    Ok(())
}

/// The files of an image that a build needs, each with what people call it.
pub fn needed(image: &Image) -> impl Iterator<Item = (String, String, &Blob)> {
    image.parts.iter().map(|Part { role, blob, .. }| {
        (format!("oci.{} {}", image.component, role.name()), image.location.to_string(), blob)
    })
}
