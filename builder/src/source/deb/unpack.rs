//! Takes a `.deb` apart: paths and owners into a list, contents into the store. Nothing is written
//! elsewhere, no maintainer script is run, and memory does not grow with the package.
//!
//! Format: tar as dpkg-deb(1) writes it (ustar with GNU long names), and pax records.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};

use formats::tree::{Blob, Kind, Node, TreePath};
use tar::EntryType;

use super::contents::{Contents, Dropped, Entry};
use super::shell::{Deb, TarMember};
use crate::error::{Context as _, Error, Id, Result};
use crate::store::{Batch, Store};
use crate::stored::StoredBlob;

/// Files up to this size are read whole: one that the store has is then not written again.
const SMALL: u64 = 1 << 20;

/// Top-level directories that are links into `usr` on every merged system: what packages still
/// bring there belongs into `usr`.
pub(super) const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Unpacks `deb`; `name` is what errors call it. Files for which `wanted` says no are neither
/// hashed nor stored, but listed.
///
/// # Errors
/// [`Id::BadPackage`] if it is damaged or holds what an image may not, [`Id::StoreWrite`].
pub fn unpack(
    deb: &File,
    name: &str,
    store: &Store,
    wanted: &dyn Fn(&TreePath) -> bool,
) -> Result<Contents> {
    let deb = Deb::open(deb, name)?;
    let (control, alternatives) = deb.control()?;
    let mut data = Data {
        deb: &deb,
        batch: store.batch(),
        wanted,
        entries: BTreeMap::new(),
        dropped: BTreeMap::new(),
        links: BTreeMap::new(),
        copyright: (format!("usr/share/doc/{}/copyright", control.package), None),
    };
    deb.each(&deb.data, |path, member| data.take(path, member))?;
    data.link()?;
    data.batch.finish()?;
    let copyright = data.copyright.1.map(StoredBlob);
    let entries = data.entries.into_iter().map(|(path, node)| Entry { path, node }).collect();
    let dropped = data.dropped.into_iter();
    let dropped = dropped.map(|(path, size)| Dropped { path: path.as_str().to_owned(), size });
    Ok(Contents { control, entries, dropped: dropped.collect(), alternatives, copyright })
}

/// The second archive, as it is read.
struct Data<'a> {
    deb: &'a Deb<'a>,
    batch: Batch,
    wanted: &'a dyn Fn(&TreePath) -> bool,
    entries: BTreeMap<TreePath, Node>,
    dropped: BTreeMap<TreePath, u64>,
    // Every hard link with the file that it is another name of.
    links: BTreeMap<TreePath, TreePath>,
    // Where the file is that says under which licences the package is, and what it holds: kept also
    // if nobody wants it in the root.
    copyright: (String, Option<Blob>),
}

impl Data<'_> {
    fn take(&mut self, path: TreePath, member: &mut TarMember<'_, '_>) -> Result<()> {
        let kind = member.header().entry_type();
        let is_directory = kind == EntryType::Directory;
        let path = merged(path, kind == EntryType::Symlink);
        let known = self.entries.get(&path).map(|node| node.kind == Kind::Directory);
        let twice = known.is_some_and(|directory| !(directory && is_directory))
            || self.dropped.contains_key(&path) && !is_directory
            || self.links.contains_key(&path);
        if twice {
            return Err(self.deb.bad(format!("{path} stands twice in it")));
        }
        let wanted = (self.wanted)(&path);
        if kind == EntryType::Link {
            let target = member.link_name_bytes().unwrap_or_default();
            let target = merged(self.deb.path(&target)?, false);
            let origin = self.links.get(&target).cloned().unwrap_or(target);
            let there = matches!(
                self.entries.get(&origin).map(|node| &node.kind),
                Some(Kind::File(_) | Kind::Symlink(_))
            );
            if !there && !self.dropped.contains_key(&origin) {
                return Err(self.no_file(&path, &origin));
            }
            if !wanted {
                self.dropped.insert(path.clone(), 0);
            }
            self.links.insert(path, origin);
            return Ok(());
        }
        if !wanted {
            // Refused all the same: who drops paths does not look what they are.
            if !matches!(kind, EntryType::Directory | EntryType::Symlink) && !kind.is_file() {
                return Err(self.refused(&path, kind));
            }
            if self.copyright.0 == path.as_str() && kind.is_file() && member.size() <= SMALL {
                self.copyright.1 = Some(self.content(&path, member)?);
            }
            self.dropped.insert(path, member.size());
            return Ok(());
        }
        let node = self.node(&path, kind, member)?;
        if let (true, Kind::File(blob)) = (self.copyright.0 == path.as_str(), &node.kind) {
            self.copyright.1 = Some(*blob);
        }
        self.entries.insert(path, node);
        Ok(())
    }

    fn node(
        &self,
        path: &TreePath,
        kind: EntryType,
        member: &mut TarMember<'_, '_>,
    ) -> Result<Node> {
        let damaged = |error: io::Error| self.deb.bad(format!("{path}: {error}"));
        let xattrs = xattrs(member).map_err(damaged)?;
        let header = member.header();
        let mode = header.mode().map_err(damaged)? & 0o7777;
        let id = |id: io::Result<u64>| {
            let id = id.map_err(damaged)?;
            u32::try_from(id).map_err(|_| self.deb.bad(format!("{path}: owner {id} is too large")))
        };
        let (uid, gid) = (id(header.uid())?, id(header.gid())?);
        let (kind, mode) = match kind {
            EntryType::Directory => (Kind::Directory, mode),
            EntryType::Symlink => {
                let target = member.link_name_bytes().unwrap_or_default();
                let target = std::str::from_utf8(&target).ok().filter(|target| !target.is_empty());
                let target = target
                    .ok_or_else(|| self.deb.bad(format!("{path}: its target is not UTF-8 text")))?;
                (Kind::Symlink(target.to_owned()), 0o777)
            }
            kind if kind.is_file() => (Kind::File(self.content(path, member)?), mode),
            kind => return Err(self.refused(path, kind)),
        };
        // At most 0o7777.
        let mode = u16::try_from(mode).unwrap_or_default();
        Ok(Node { kind, mode, uid, gid, xattrs })
    }

    fn no_file(&self, link: &TreePath, origin: &TreePath) -> Error {
        self.deb.bad(format!("{link} is a hard link to {origin}, which is not a file in it"))
    }

    fn refused(&self, path: &TreePath, kind: EntryType) -> Error {
        let what = match kind {
            EntryType::Block | EntryType::Char => "a device node".to_owned(),
            EntryType::Fifo => "a pipe".to_owned(),
            kind => format!("of tar's type {:?}", char::from(kind.as_byte())),
        };
        self.deb.bad(format!("{path} is {what}: an image may not hold that"))
    }

    /// Puts a file's content into the store.
    fn content(&self, path: &TreePath, member: &mut TarMember<'_, '_>) -> Result<Blob> {
        let damaged = |error: io::Error| self.deb.bad(format!("{path}: {error}"));
        let size = member.size();
        let blob = if size <= SMALL {
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).map_err(damaged)?;
            self.batch.put_bytes(&bytes)?
        } else {
            let mut writer = self.batch.writer()?;
            let mut buffer = vec![0; 1 << 16];
            loop {
                let read = member.read(&mut buffer).map_err(damaged)?;
                if read == 0 {
                    break writer.finish()?;
                }
                writer.write_all(&buffer[..read]).or_fail(Id::StoreWrite, || {
                    format!("cannot write to the store `{}`", self.batch.store().root().display())
                })?;
            }
        };
        if blob.size != size {
            return Err(self.deb.bad(format!("{path} is cut short")));
        }
        Ok(blob)
    }

    /// Gives every hard link the inode of its file. A file may be dropped and its other name
    /// wanted: then the archive is read a second time for it.
    fn link(&mut self) -> Result<()> {
        let links = std::mem::take(&mut self.links);
        let links = links.into_iter().filter(|(link, _)| !self.dropped.contains_key(link));
        let links: Vec<_> = links.collect();
        let missing: BTreeSet<_> = links
            .iter()
            .map(|(_, origin)| origin)
            .filter(|origin| !self.entries.contains_key(*origin))
            .collect();
        let mut origins = BTreeMap::new();
        if !missing.is_empty() {
            self.deb.each(&self.deb.data, |path, member| {
                let kind = member.header().entry_type();
                let path = merged(path, kind == EntryType::Symlink);
                if missing.contains(&path) {
                    let node = self.node(&path, kind, member)?;
                    origins.insert(path, node);
                }
                Ok(())
            })?;
        }
        for (link, origin) in links {
            let node = self.entries.get(&origin).or_else(|| origins.get(&origin)).cloned();
            let node = node.filter(|node| node.kind != Kind::Directory);
            let node = node.ok_or_else(|| self.no_file(&link, &origin))?;
            self.entries.insert(link, node);
        }
        Ok(())
    }
}

/// `lib/x` is `usr/lib/x`. A link at the top, which is how the merge itself is written down, stays.
pub(super) fn merged(path: TreePath, is_symlink: bool) -> TreePath {
    let (top, rest) = path.as_str().split_once('/').unwrap_or((path.as_str(), ""));
    if !MERGED.contains(&top) || (is_symlink && rest.is_empty()) {
        return path;
    }
    TreePath::new(&format!("usr/{path}", path = path.as_str())).unwrap_or(path)
}

/// Extended attributes: pax records, as tar --xattrs writes them.
fn xattrs(member: &mut TarMember<'_, '_>) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut xattrs = BTreeMap::new();
    let Some(records) = member.pax_extensions()? else { return Ok(xattrs) };
    for record in records {
        let record = record?;
        let key = record.key().map_err(io::Error::other)?;
        if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            xattrs.insert(name.to_owned(), record.value_bytes().to_vec());
        }
    }
    Ok(xattrs)
}

#[cfg(test)]
mod tests;
