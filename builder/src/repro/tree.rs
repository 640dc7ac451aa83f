//! What a root image holds: the tree that it has itself, or, if it cannot be walked, that of its
//! manifest; and where in it contents are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use formats::digest::{Hasher, Sha256};
use formats::erofs::read::{self, WalkError};
use formats::erofs::{Options, Plan, Superblock};
use formats::tree::{Blob, Kind, Node, Tree, TreePath};

use super::files::View;

/// The block with the superblock, which begins at [`SUPERBLOCK`].
pub(super) const BLOCK: u64 = 4096;
const SUPERBLOCK: usize = 1024;
/// A file that is held in memory to say where in it two differ.
pub(super) const MOST_CONTENT: u64 = 1 << 30;
/// How much is digested at once.
const CHUNK: u64 = 1 << 20;

/// What an image holds.
pub(super) struct Image<'a> {
    pub(super) view: View<'a>,
    pub(super) tree: Cow<'a, Tree>,
    /// Where contents are, if the image itself says so.
    pub(super) contents: Option<BTreeMap<TreePath, read::Content>>,
    pub(super) plan: Option<Plan>,
}

/// What both images hold: as they say themselves, or else as their manifests say.
pub(super) fn images<'a>(
    views: [View<'a>; 2],
    heads: [&[u8]; 2],
    manifests: Option<[&'a Tree; 2]>,
) -> io::Result<Option<[Image<'a>; 2]>> {
    let image = |index: usize, tree: Cow<'a, Tree>, contents| Image {
        view: views[index],
        plan: plan(&tree, heads[index]),
        tree,
        contents,
    };
    if let (Some(one), Some(two)) = (walk(views[0])?, walk(views[1])?) {
        let [one, two] = [(0, one), (1, two)]
            .map(|(index, (tree, contents))| image(index, Cow::Owned(tree), Some(contents)));
        return Ok(Some([one, two]));
    }
    Ok(manifests.map(|[one, two]| {
        [(0, one), (1, two)].map(|(index, tree)| image(index, Cow::Borrowed(tree), None))
    }))
}

/// The tree that an image holds and where its contents are; nothing if it cannot be walked, or has
/// what no tree of ours has.
fn walk(view: View<'_>) -> io::Result<Option<(Tree, BTreeMap<TreePath, read::Content>)>> {
    let Ok(superblock) = Superblock::parse(&view.read(0, BLOCK)?) else { return Ok(None) };
    if superblock.image_size() > view.size() {
        return Ok(None);
    }
    let read = |offset: u64, buffer: &mut [u8]| {
        let bytes = view.read(offset, buffer.len() as u64)?;
        if bytes.len() != buffer.len() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        buffer.copy_from_slice(&bytes);
        Ok(())
    };
    let entries = match read::walk(&superblock, read) {
        Ok(entries) => entries,
        Err(WalkError::Read(error)) => return Err(error),
        Err(WalkError::Wrong { .. }) => return Ok(None),
    };
    let (mut tree, mut contents) = (Tree::new(), BTreeMap::new());
    // Files may share what they hold. More than this, and it would never end.
    let mut room = view.size().saturating_mul(4);
    for read::Entry { path, mode, uid, gid, xattrs, kind } in entries {
        let kind = match kind {
            read::Kind::Directory => Kind::Directory,
            read::Kind::Symlink(target) => Kind::Symlink(target),
            read::Kind::Other => return Ok(None),
            read::Kind::File(content) => {
                let Some(rest) = room.checked_sub(content.size) else { return Ok(None) };
                room = rest;
                contents.insert(path.clone(), content);
                Kind::File(Blob { sha256: digest(view, &content)?, size: content.size })
            }
        };
        let node = Node { kind, mode, uid, gid, xattrs };
        if tree.insert(path, node).is_err() {
            return Ok(None);
        }
    }
    Ok(Some((tree, contents)))
}

fn digest(view: View<'_>, content: &read::Content) -> io::Result<Sha256> {
    let mut hasher = Hasher::new();
    for extent in content.extents() {
        let mut at = 0;
        while at < extent.length {
            let piece = view.read(extent.offset + at, CHUNK.min(extent.length - at))?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            hasher.update(&piece);
            at += piece.len() as u64;
        }
    }
    Ok(hasher.finish())
}

/// The plan of an image: its tree and what its own superblock says.
fn plan(tree: &Tree, head: &[u8]) -> Option<Plan> {
    let bytes = head.get(SUPERBLOCK..)?;
    let name = bytes.get(64..80)?.split(|byte| *byte == 0).next()?;
    let options = Options {
        epoch: u64::from_le_bytes(bytes.get(24..32)?.try_into().ok()?),
        uuid: bytes.get(48..64)?.try_into().ok()?,
        volume_name: String::from_utf8(name.to_vec()).ok()?,
    };
    Plan::new(tree, &options).ok()
}

impl Image<'_> {
    /// The content of a file as the image has it, if it is what the tree says.
    pub(super) fn content(&self, path: &TreePath, blob: &Blob) -> io::Result<Option<Vec<u8>>> {
        if blob.size > MOST_CONTENT {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        match &self.contents {
            Some(contents) => {
                for extent in contents.get(path).iter().flat_map(|content| content.extents()) {
                    bytes.extend(self.view.read(extent.offset, extent.length)?);
                }
            }
            None => {
                if let Some(start) = self.plan.as_ref().and_then(|plan| plan.content(path)) {
                    bytes = self.view.read(start, blob.size)?;
                }
            }
        }
        Ok((Sha256::of(&bytes) == blob.sha256).then_some(bytes))
    }
}
