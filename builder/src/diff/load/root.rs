//! A root image as a file: its paths, their content, and its blocks.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use formats::digest::{Hasher, Sha256};
use formats::erofs::Superblock;
use formats::erofs::read::{Content, Entry, Kind, WalkError, walk};
use formats::verity;

use super::commit::{LARGEST_PROGRAM, LARGEST_TEXT};
use crate::diff::fetch::BLOCK;
use crate::diff::side::{self, Node, ROOT, Side};
use crate::error::{Context as _, Error, Id, Result};
use crate::regular;

/// As much of a root image as its superblock may need.
const HEAD: u64 = 64 << 10;

/// How much is read at once.
const CHUNK: usize = 256 * BLOCK;

/// A root image, opened.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    file: File,
    offset: u64,
    pub(super) superblock: Superblock,
    pub(super) entries: Vec<Entry>,
}

impl Root {
    /// The one at `offset` of a file, where `room` bytes are for it.
    pub(super) fn open(path: &Path, offset: u64, room: u64) -> Result<Self> {
        let cannot = || format!("cannot read `{}`", path.display());
        let damaged = |what: String| {
            let message = format!("the root image `{}` is damaged: {what}", path.display());
            Error::new(Id::DamagedImage, message)
        };
        let file = regular::open_image(path).or_fail(Id::Read, cannot)?;
        let mut head = vec![0; usize::try_from(room.min(HEAD)).unwrap_or_default()];
        file.read_exact_at(&mut head, offset).or_fail(Id::Read, cannot)?;
        let superblock = Superblock::parse(&head).map_err(|error| damaged(error.to_string()))?;
        if superblock.image_size() > room {
            let size = superblock.image_size();
            return Err(damaged(format!("it has {size} bytes and only {room} are there")));
        }
        let read = |at: u64, buffer: &mut [u8]| file.read_exact_at(buffer, offset + at);
        let entries = walk(&superblock, read).map_err(|error| match error {
            WalkError::Read(error) => Error::new(Id::Read, cannot()).caused_by(error),
            WalkError::Wrong { .. } => damaged(error.to_string()),
        })?;
        Ok(Self { path: path.to_owned(), file, offset, superblock, entries })
    }

    /// Bytes of the hash tree.
    pub(super) fn tree_size(&self) -> u64 {
        verity::tree_size(self.superblock.image_size() / verity::BLOCK)
    }

    /// The root hash that the top of the hash tree amounts to, if there is a tree in `room`.
    pub(super) fn root_hash(&self, room: u64) -> Result<Option<Sha256>> {
        let size = self.superblock.image_size();
        let tree = self.tree_size();
        if size + tree > room || u64::from(self.superblock.block_size) != verity::BLOCK {
            return Ok(None);
        }
        let mut top = vec![0; BLOCK];
        let at = if tree == 0 { 0 } else { size };
        self.read(&mut top, at)?;
        if top.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut hasher = Hasher::new();
        hasher.update(self.superblock.uuid);
        hasher.update(&top);
        Ok(Some(hasher.finish()))
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> Result<()> {
        let cannot = || format!("cannot read `{}`", self.path.display());
        self.file.read_exact_at(buffer, self.offset + at).or_fail(Id::Read, cannot)
    }

    /// Hands on a file, piece by piece: an image can say of a file that it has as many bytes as the
    /// whole disk.
    fn pieces(&self, content: &Content, mut sink: impl FnMut(&[u8])) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        for extent in content.extents() {
            let mut done = 0;
            while done < extent.length {
                let rest = extent.length - done;
                let length = usize::try_from(rest).map_or(CHUNK, |rest| rest.min(CHUNK));
                self.read(&mut buffer[..length], extent.offset + done)?;
                sink(&buffer[..length]);
                done += length as u64;
            }
        }
        Ok(())
    }

    /// All of a file, if it has no more than `most` bytes.
    fn content(&self, content: &Content, most: usize) -> Result<Option<Vec<u8>>> {
        if content.size > most as u64 {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.pieces(content, |piece| bytes.extend_from_slice(piece))?;
        Ok(Some(bytes))
    }

    /// What [`Side::wants`], by path.
    pub(super) fn texts(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut texts = BTreeMap::new();
        for entry in &self.entries {
            let path = entry.path.to_string();
            if let Kind::File(content) = &entry.kind
                && Side::wants(&path)
            {
                let text = self.content(content, LARGEST_TEXT)?.unwrap_or_default();
                texts.insert(path, text);
            }
        }
        Ok(texts)
    }

    /// All paths, each file digested, and what programs say of themselves.
    pub(super) fn take(&self, side: &mut Side) -> Result<()> {
        let (mut files, mut programs) = (Vec::new(), BTreeMap::new());
        for entry in &self.entries {
            let path = entry.path.to_string();
            let node = match &entry.kind {
                Kind::Directory => Node::Directory,
                Kind::Symlink(target) => Node::Symlink(target.clone()),
                Kind::Other => Node::Other,
                Kind::File(content) => {
                    let program = entry.mode & 0o111 != 0;
                    let program =
                        if program { self.content(content, LARGEST_PROGRAM)? } else { None };
                    let mut hasher = Hasher::new();
                    match program {
                        Some(bytes) => {
                            hasher.update(&bytes);
                            if let Some(linked) = super::modules(&bytes)? {
                                programs.insert(path.clone(), linked);
                            }
                        }
                        None => self.pieces(content, |piece| hasher.update(piece))?,
                    }
                    Node::File { size: content.size, sha256: hasher.finish() }
                }
            };
            files.push(side::File {
                place: ROOT.to_owned(),
                path,
                component: None,
                mode: entry.mode,
                uid: entry.uid,
                gid: entry.gid,
                xattrs: entry.xattrs.clone(),
                node,
            });
        }
        side.files = Some(files);
        side.programs = Some(programs);
        side.read(&self.texts()?);
        Ok(())
    }

    /// A number for each block. The hash tree has a digest of each, but salted with the image's own
    /// UUID: those of two images are never equal.
    pub(super) fn blocks(&self) -> Result<Vec<u64>> {
        let size = self.superblock.image_size();
        let mut numbers = Vec::with_capacity(usize::try_from(size).unwrap_or_default() / BLOCK);
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        while at < size {
            let length = usize::try_from(size - at).map_or(CHUNK, |rest| rest.min(CHUNK));
            self.read(&mut buffer[..length], at)?;
            // Quick, and the same for equal bytes in one run of this program: more it need not be.
            numbers.extend(buffer[..length].chunks(BLOCK).map(|block| {
                let mut hasher = DefaultHasher::new();
                hasher.write(block);
                hasher.finish()
            }));
            at += length as u64;
        }
        Ok(numbers)
    }
}
