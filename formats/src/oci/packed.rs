//! Images whose files are in memory: for those who have no store, such as tests.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write};

use super::{Archive, Image};
use crate::digest::Sha256;
use crate::segment::Segment;
use crate::tar::{self, TarError};
use crate::tree::{Blob, Node, Tree, TreeError, TreePath, TreePathError};

/// The files of an image, with their contents.
#[derive(Debug, Clone, Default)]
pub struct Files {
    // Invariant: `contents` has every blob of `tree`.
    tree: Tree,
    contents: BTreeMap<Sha256, Vec<u8>>,
}

/// A file cannot be where it was put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The path is none.
    #[error(transparent)]
    Path(#[from] TreePathError),
    /// Another file is in the way.
    #[error(transparent)]
    Place(#[from] TreeError),
}

impl Files {
    /// No file yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file of root's at `path`; directories that are missing are made.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn file(&mut self, path: &str, mode: u16, bytes: Vec<u8>) -> Result<(), FileError> {
        let blob = Blob { sha256: Sha256::of(&bytes), size: bytes.len() as u64 };
        self.tree.insert(TreePath::new(path)?, Node::file(blob, mode))?;
        self.contents.insert(blob.sha256, bytes);
        Ok(())
    }

    /// Puts a directory of root's at `path`.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn directory(&mut self, path: &str, mode: u16) -> Result<(), FileError> {
        Ok(self.tree.insert(TreePath::new(path)?, Node::directory(mode))?)
    }

    /// Puts a symbolic link to `target` at `path`.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), FileError> {
        Ok(self.tree.insert(TreePath::new(path)?, Node::symlink(target))?)
    }

    fn layer(&self) -> Result<Vec<u8>, TarError> {
        let archive = tar::Archive::new(&self.tree, 0)?;
        let mut layer = Vec::new();
        write(archive.segments(), |blob| &self.contents[&blob.sha256], &mut layer)
            .expect("memory takes everything");
        Ok(layer)
    }
}

/// An image in memory: its archive, and what a registry serves of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The archive without the layer's content.
    pub archive: Archive,
    /// The layer: a tar archive.
    pub layer: Vec<u8>,
}

/// Packs an image of these files.
///
/// # Errors
/// See [`TarError`].
pub fn pack(image: &Image, files: &Files) -> Result<Packed, TarError> {
    let layer = files.layer()?;
    let blob = Blob { sha256: Sha256::of(&layer), size: layer.len() as u64 };
    Ok(Packed { archive: Archive::new(image, blob)?, layer })
}

impl Packed {
    /// The image's blobs, manifest first: digest, media type and content.
    pub fn blobs(&self) -> [(Sha256, &'static str, &[u8]); 3] {
        let (manifest, config) = (self.archive.manifest(), self.archive.config());
        [
            (manifest.blob.sha256, super::MANIFEST_TYPE, manifest.bytes.as_slice()),
            (config.blob.sha256, super::CONFIG_TYPE, config.bytes.as_slice()),
            (self.archive.layer().sha256, super::LAYER_TYPE, self.layer.as_slice()),
        ]
    }

    /// Writes the whole archive.
    ///
    /// # Errors
    /// What `writer` fails with.
    pub fn write_to(&self, writer: &mut impl Write) -> io::Result<()> {
        write(self.archive.segments(), |_| &self.layer, writer)
    }
}

fn write<'c>(
    segments: impl Iterator<Item = Segment>,
    content: impl Fn(&Blob) -> &'c [u8],
    writer: &mut impl Write,
) -> io::Result<()> {
    for segment in segments {
        match segment {
            Segment::Bytes(bytes) => writer.write_all(&bytes)?,
            Segment::Blob { blob, padding } => {
                writer.write_all(content(&blob))?;
                io::copy(&mut io::repeat(0).take(padding), writer)?;
            }
        }
    }
    Ok(())
}
