//! Files and directories from beside the recipe, laid over the tree.
//!
//! Of the host only names, contents, symbolic links and the owner's right to execute are taken
//! over; owners, modes and times are not, so a checkout gives the same image for everybody.
//!
//! Contents are hashed each time. Remembering digests by size and time would save two
//! milliseconds a megabyte and could miss a change; overlays are small.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use formats::tree::{Blob, Node, TreePath};

use super::files;
use crate::digest;
use crate::error::{Context as _, Error, Id, Result};
use crate::recipe::model;
use crate::store::Store;

/// The nodes that this component lays over the tree, sorted by path; contents are in the store
/// afterwards.
///
/// # Errors
/// [`Id::Read`] for what is not there, cannot be read, or cannot be in an image: devices,
/// sockets, pipes, names that are not UTF-8. [`Id::StoreWrite`].
pub fn nodes(store: &Store, local: &model::Local) -> Result<Vec<(TreePath, Node)>> {
    let top = &local.path;
    let meta =
        fs::metadata(top).or_fail(Id::Read, || format!("cannot read `{}`", top.display()))?;
    let mut found = BTreeMap::new();
    if !meta.is_dir() {
        found.insert(local.at.0.clone(), file(store, top, &meta)?);
        return Ok(found.into_iter().collect());
    }
    let mut waiting: Vec<(PathBuf, TreePath)> = vec![(top.clone(), local.at.0.clone())];
    while let Some((directory, at)) = waiting.pop() {
        for (name, path) in files::entries(&directory)? {
            let at = at.join(&name).or_fail(Id::Read, || format!("`{}`", path.display()))?;
            let meta = fs::symlink_metadata(&path).or_fail(Id::Read, || cannot_read(&path))?;
            let node = if meta.is_dir() {
                waiting.push((path, at.clone()));
                Node::directory(0o755)
            } else if meta.is_symlink() {
                symlink(&path)?
            } else {
                file(store, &path, &meta)?
            };
            found.insert(at, node);
        }
    }
    Ok(found.into_iter().collect())
}

fn symlink(path: &Path) -> Result<Node> {
    let target = fs::read_link(path).or_fail(Id::Read, || cannot_read(path))?;
    match target.to_str() {
        Some(target) => Ok(Node::symlink(target)),
        None => {
            let message = format!("the target of the link `{}` is not UTF-8", path.display());
            Err(Error::new(Id::Read, message))
        }
    }
}

fn file(store: &Store, path: &Path, meta: &Metadata) -> Result<Node> {
    let kind = meta.file_type();
    if !kind.is_file() {
        let what = match kind {
            kind if kind.is_socket() => "a socket",
            kind if kind.is_fifo() => "a pipe",
            _ => "a device",
        };
        let message = format!("`{}` is {what}, which an image cannot hold", path.display());
        return Err(Error::new(Id::Read, message)
            .hint("directories, files and symbolic links can be laid over a tree"));
    }
    let executable = meta.permissions().mode() & 0o100 != 0;
    let blob = content(store, path, meta.len())?;
    Ok(Node::file(blob, if executable { 0o755 } else { 0o644 }))
}

/// Most files are in the store from the last time: they are read and nothing is written.
fn content(store: &Store, path: &Path, size: u64) -> Result<Blob> {
    let blob = Blob { sha256: digest::of_file(path, |_| ())?, size };
    if store.has(&blob) {
        return Ok(blob);
    }
    let mut file = File::open(path).or_fail(Id::Read, || cannot_read(path))?;
    store.put(&mut file)
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read `{}`", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::model::ImagePath;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    struct Fixture {
        directory: tempfile::TempDir,
        store: Store,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir(directory.path().join("overlay")).unwrap();
            let store = Store::open(directory.path().join("store")).unwrap();
            Self { directory, store }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join("overlay").join(name)
        }

        fn write(&self, name: &str, mode: u32) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn nodes(&self, path: &str, at: &str) -> Result<Vec<(TreePath, Node)>> {
            let at = ImagePath::try_from(at.to_owned()).unwrap();
            nodes(&self.store, &model::Local { path: self.path(path), at })
        }
    }

    fn blob(text: &str) -> Blob {
        Blob { sha256: formats::digest::Sha256::of(text), size: text.len() as u64 }
    }

    #[test]
    fn a_directory_is_laid_over_with_names_contents_links_and_nothing_else() {
        let fixture = Fixture::new();
        fixture.write("etc/hosts", 0o600);
        fixture.write("usr/bin/tool", 0o4711);
        fixture.write("etc.d", 0o646);
        fs::create_dir(fixture.path("empty")).unwrap();
        symlink("../nowhere", fixture.path("etc/link")).unwrap();
        let found = fixture.nodes("", "/").unwrap();
        let path = |text| TreePath::new(text).unwrap();
        let want = vec![
            (path("empty"), Node::directory(0o755)),
            (path("etc"), Node::directory(0o755)),
            (path("etc.d"), Node::file(blob("etc.d"), 0o644)),
            (path("etc/hosts"), Node::file(blob("etc/hosts"), 0o644)),
            (path("etc/link"), Node::symlink("../nowhere")),
            (path("usr"), Node::directory(0o755)),
            (path("usr/bin"), Node::directory(0o755)),
            (path("usr/bin/tool"), Node::file(blob("usr/bin/tool"), 0o755)),
        ];
        assert_eq!(found, want);
        assert!(fixture.store.has(&blob("usr/bin/tool")));
        assert_eq!(fixture.nodes("", "/").unwrap(), want, "the same when all is in the store");
    }

    #[test]
    fn a_file_goes_where_it_is_sent_and_a_directory_below() {
        let fixture = Fixture::new();
        fixture.write("a", 0o644);
        let want = |at| vec![(TreePath::new(at).unwrap(), Node::file(blob("a"), 0o644))];
        assert_eq!(fixture.nodes("a", "/etc/b").unwrap(), want("etc/b"));
        assert_eq!(fixture.nodes("", "/etc").unwrap(), want("etc/a"));
    }

    #[test]
    fn a_file_that_changed_is_taken_anew() {
        let fixture = Fixture::new();
        fixture.write("a", 0o644);
        fixture.nodes("", "/").unwrap();
        fs::write(fixture.path("a"), "b").unwrap();
        let found = fixture.nodes("", "/").unwrap();
        assert_eq!(found[0].1, Node::file(blob("b"), 0o644));
        assert_eq!(fixture.store.read_blob(&blob("b")).unwrap(), b"b");
    }

    #[test]
    fn what_an_image_cannot_hold_is_refused_by_name() {
        let fixture = Fixture::new();
        let _socket = UnixListener::bind(fixture.path("socket")).unwrap();
        let error = fixture.nodes("", "/").unwrap_err();
        assert_eq!(error.id(), Id::Read);
        assert!(error.to_string().ends_with("/socket` is a socket, which an image cannot hold"));

        let fixture = Fixture::new();
        let file = fs::File::open(fixture.path("")).unwrap();
        rustix::fs::mknodat(&file, "pipe", rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
        let error = fixture.nodes("", "/").unwrap_err();
        assert!(error.to_string().ends_with("/pipe` is a pipe, which an image cannot hold"));

        let fixture = Fixture::new();
        fs::write(fixture.path("").join(OsStr::from_bytes(b"\xff")), "").unwrap();
        let error = fixture.nodes("", "/").unwrap_err();
        assert!(error.to_string().ends_with("is not UTF-8"), "{error}");

        let fixture = Fixture::new();
        assert_eq!(fixture.nodes("absent", "/").unwrap_err().id(), Id::Read);
    }
}
