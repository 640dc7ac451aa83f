//! From the name of an image to all its parts: which manifest is for this architecture, and what that
//! names. Where documents are read from is for others to know.

use std::collections::BTreeSet;

use formats::architecture::Architecture;
use formats::oci::{Configuration, Descriptor, Listing, Names, Platform};
use formats::tree::Blob;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Id, Result};

/// An index may name indexes, so deep at most.
const DEEPEST: usize = 4;
/// No manifest has more layers: containerd can lay no more on one another.
const MOST_LAYERS: usize = 127;
/// So many platforms are named in a message.
const SHOWN: usize = 8;

/// A part of an image: a document or a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub role: Role,
    /// Its media type.
    pub media_type: String,
    /// Its digest and size.
    pub blob: Blob,
}

/// What a part of an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It names manifests for several platforms.
    Index,
    /// It names configuration and layers.
    Manifest,
    /// It says how the image is run.
    Config,
    /// It has files.
    Layer,
}

impl Role {
    /// How it stands in a lock.
    pub fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Layer => "layer",
        }
    }
}

/// Reads the document that a descriptor names; its digest and size are compared then.
pub(super) type Read<'a> = dyn FnMut(&Descriptor) -> Result<Vec<u8>> + 'a;

/// All parts of the image that is one of `entries`, the one that a name stands for first. `name` is what
/// messages call the image.
///
/// # Errors
/// [`Id::ImagePlatform`], [`Id::ImageSource`]; what `read` fails with.
pub(super) fn find(
    entries: &[Descriptor],
    architecture: Architecture,
    name: &str,
    read: &mut Read<'_>,
) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut next = choose(entries, architecture, name)?;
    for _ in 0..DEEPEST {
        let bytes = read(&next)?;
        let listing = listing(name, &bytes)?;
        let media_type = listing.media_type;
        let part = |role| Part { role, media_type, blob: next.blob };
        match listing.names {
            Names::Index(entries) => {
                parts.push(part(Role::Index));
                next = choose(&entries, architecture, name)?;
            }
            Names::Manifest { config, layers } => {
                parts.push(part(Role::Manifest));
                let bytes = read(&config)?;
                let found = Configuration::parse(&bytes).map_err(|error| no_image(name, &error))?;
                if !found.platform.fits(architecture) {
                    return Err(other_platform(name, architecture, [&found.platform]));
                }
                if layers.is_empty() || layers.len() > MOST_LAYERS {
                    let message = format!("it has {} layers", layers.len());
                    return Err(no_image(name, &message));
                }
                if found.layers.len() != layers.len() {
                    let (says, has) = (found.layers.len(), layers.len());
                    let message =
                        format!("its configuration is for {says} layers, and it has {has}");
                    return Err(no_image(name, &message));
                }
                parts.push(of(Role::Config, config));
                parts.extend(layers.into_iter().map(|layer| of(Role::Layer, layer)));
                return Ok(parts);
            }
        }
    }
    Err(no_image(name, &format!("an index names an index, and so on, more than {DEEPEST} times")))
}

fn of(role: Role, descriptor: Descriptor) -> Part {
    Part { role, media_type: descriptor.media_type, blob: descriptor.blob }
}

/// The entry for this architecture; one that does not say what it is for, if there is no other.
fn choose(entries: &[Descriptor], architecture: Architecture, name: &str) -> Result<Descriptor> {
    let said = |entry: &&Descriptor| {
        entry.platform.as_ref().is_some_and(|platform| platform.fits(architecture))
    };
    if let Some(entry) = entries.iter().find(said) {
        return Ok(entry.clone());
    }
    let silent: Vec<_> = entries.iter().filter(|entry| entry.platform.is_none()).collect();
    match silent.as_slice() {
        [entry] => Ok((*entry).clone()),
        [] if entries.is_empty() => Err(no_image(name, &"an index of it names nothing")),
        [] => {
            let platforms = entries.iter().filter_map(|entry| entry.platform.as_ref());
            Err(other_platform(name, architecture, platforms))
        }
        _ => Err(no_image(name, &"its index does not say which manifest is for which platform")),
    }
}

fn other_platform<'a>(
    name: &str,
    architecture: Architecture,
    platforms: impl IntoIterator<Item = &'a Platform>,
) -> Error {
    // What attests to others is for no platform.
    let platforms: BTreeSet<_> = platforms.into_iter().filter(|it| it.os != "unknown").collect();
    let more = if platforms.len() > SHOWN { ", ..." } else { "" };
    let platforms: Vec<_> = platforms.iter().take(SHOWN).map(ToString::to_string).collect();
    let wanted = architecture.oci();
    let message = format!("{name} is not for linux/{wanted}, as the recipe is");
    let error = Error::new(Id::ImagePlatform, message);
    match platforms.as_slice() {
        [] => error,
        platforms => error.hint(format!("it is for {}{more}", platforms.join(", "))),
    }
}

/// What was to be an image is none.
pub(super) fn no_image(name: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(Id::ImageSource, format!("{name} is no container image")).caused_by(why.to_string())
}

/// Compares what was read with what was to be read.
pub(super) fn compared(name: &str, descriptor: &Descriptor, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let found = formats::digest::Sha256::of(&bytes);
    let wanted = descriptor.blob;
    if found == wanted.sha256 && bytes.len() as u64 == wanted.size {
        return Ok(bytes);
    }
    Err(damaged(name, &wanted, &format!("sha256:{found} of {} bytes", bytes.len())))
}

/// A part of an image is not what its digest and its size say.
pub(super) fn damaged(name: &str, wanted: &Blob, found: &str) -> Error {
    let Blob { sha256, size } = wanted;
    let message =
        format!("a part of {name} is damaged: sha256:{sha256} of {size} bytes is {found}");
    Error::new(Id::WrongDigest, message).hint("get the image once more, or from another place")
}

/// Reads an index or a manifest.
///
/// # Errors
/// [`Id::ImageSource`].
pub(super) fn listing(name: &str, bytes: &[u8]) -> Result<Listing> {
    Listing::parse(bytes).map_err(|error| no_image(name, &error))
}
