//! Files and directories from beside the recipe, laid over the tree.
//!
//! Of the host only names, contents, symbolic links and the owner's right to execute are taken
//! over; owners, modes and times are not, so a checkout gives the same image for everybody. Other
//! modes and owners stand in the recipe. What version control keeps in a checkout is left out.
//!
//! Contents are hashed each time. Remembering digests by size and time would save two
//! milliseconds a megabyte and could miss a change; overlays are small.

mod attributes;

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use formats::tree::{Blob, Kind, Node, TreePath};

use super::files;
use crate::digest;
use crate::error::{Context as _, Error, Id, Result};
use crate::recipe::model;
use crate::store::{Batch, Store};
use attributes::Attributes;

/// What version control keeps: a checkout has them, an image does not.
const LEFT_OUT: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// Something that is laid over the tree, looked at and not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is on the host.
    pub kind: FoundKind,
    /// Its mode in the image.
    pub mode: u16,
    /// User and group in the image.
    pub owner: (u32, u32),
}

/// What something is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundKind {
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Symlink(String),
    /// A file.
    File {
        /// Where it is on the host.
        path: PathBuf,
        /// How many bytes it had.
        size: u64,
    },
}

/// The nodes that this component lays over the tree, sorted by path; contents are in the store
/// afterwards.
///
/// # Errors
/// Those of [`scan`]; [`Id::StoreWrite`].
pub fn nodes(store: &Store, local: &model::Local) -> Result<Vec<(TreePath, Node)>> {
    let batch = store.batch();
    let nodes = scan(local)?
        .into_iter()
        .map(|(at, found)| Ok((at, found.node(|path, size| content(&batch, path, size))?)))
        .collect::<Result<_>>()?;
    batch.finish()?;
    Ok(nodes)
}

/// What this component lays over the tree, by path; no file is read. A directory that holds
/// something and whose mode nobody said is not listed: it is made where there is none.
///
/// # Errors
/// [`Id::Read`] for what is not there, cannot be read, or cannot be in an image: devices,
/// sockets, pipes, names that are not UTF-8. [`Id::NoSuchFiles`] if a mode or an owner is said for
/// nothing.
pub fn scan(local: &model::Local) -> Result<BTreeMap<TreePath, Found>> {
    let top = &local.path;
    let meta =
        fs::metadata(top).or_fail(Id::Read, || format!("cannot read `{}`", top.display()))?;
    let mut attributes = Attributes::new(local)?;
    let mut found = BTreeMap::new();
    if !meta.is_dir() {
        found.insert(local.at.0.clone(), attributes.give(".", file(top, &meta)?));
        attributes.all_used()?;
        return Ok(found);
    }
    let directory = || Found { kind: FoundKind::Directory, mode: 0o755, owner: (0, 0) };
    let itself = attributes.give(".", directory());
    if itself != directory() {
        found.insert(local.at.0.clone(), itself);
    }
    let mut waiting: Vec<(PathBuf, TreePath, String)> =
        vec![(top.clone(), local.at.0.clone(), String::new())];
    while let Some((host, at, inner)) = waiting.pop() {
        let mut empty = true;
        for (name, path) in files::entries(&host)? {
            if LEFT_OUT.contains(&name.as_str()) {
                continue;
            }
            empty = false;
            let at = at.join(&name).or_fail(Id::Read, || format!("`{}`", path.display()))?;
            let inner = format!("{inner}{name}");
            let meta = fs::symlink_metadata(&path).or_fail(Id::Read, || cannot_read(&path))?;
            if meta.is_dir() {
                waiting.push((path, at, format!("{inner}/")));
            } else if meta.is_symlink() {
                let kind = FoundKind::Symlink(target(&path)?);
                let link = Found { kind, mode: 0o777, owner: (0, 0) };
                found.insert(at, attributes.give(&inner, link));
            } else {
                found.insert(at, attributes.give(&inner, file(&path, &meta)?));
            }
        }
        if inner.is_empty() {
            continue;
        }
        let said = attributes.give(&inner, directory());
        if empty || said != directory() {
            found.insert(at, said);
        }
    }
    attributes.all_used()?;
    Ok(found)
}

impl Found {
    /// The node in the image; `content` gives the blob of a file.
    ///
    /// # Errors
    /// What `content` fails with.
    pub fn node(&self, content: impl FnOnce(&Path, u64) -> Result<Blob>) -> Result<Node> {
        let kind = match &self.kind {
            FoundKind::Directory => Kind::Directory,
            FoundKind::Symlink(target) => Kind::Symlink(target.clone()),
            FoundKind::File { path, size } => Kind::File(content(path, *size)?),
        };
        let (uid, gid) = self.owner;
        Ok(Node { kind, mode: self.mode, uid, gid, xattrs: BTreeMap::new() })
    }
}

fn target(path: &Path) -> Result<String> {
    let target = fs::read_link(path).or_fail(Id::Read, || cannot_read(path))?;
    target.into_os_string().into_string().map_err(|_| {
        let message = format!("the target of the link `{}` is not UTF-8", path.display());
        Error::new(Id::Read, message)
    })
}

fn file(path: &Path, meta: &Metadata) -> Result<Found> {
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
    let kind = FoundKind::File { path: path.to_owned(), size: meta.len() };
    Ok(Found { kind, mode: if executable { 0o755 } else { 0o644 }, owner: (0, 0) })
}

/// Most files are in the store from the last time: they are read and nothing is written.
fn content(batch: &Batch, path: &Path, size: u64) -> Result<Blob> {
    let blob = Blob { sha256: digest::of_file(path, |_| ())?, size };
    if batch.has(&blob) {
        return Ok(blob);
    }
    let mut file = File::open(path).or_fail(Id::Read, || cannot_read(path))?;
    batch.put(&mut file)
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

        fn local(&self, path: &str, at: &str) -> model::Local {
            let at = ImagePath::try_from(at.to_owned()).unwrap();
            model::Local {
                path: self.path(path),
                at,
                modes: BTreeMap::new(),
                owners: BTreeMap::new(),
            }
        }

        fn nodes(&self, path: &str, at: &str) -> Result<Vec<(TreePath, Node)>> {
            nodes(&self.store, &self.local(path, at))
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
            (path("etc.d"), Node::file(blob("etc.d"), 0o644)),
            (path("etc/hosts"), Node::file(blob("etc/hosts"), 0o644)),
            (path("etc/link"), Node::symlink("../nowhere")),
            (path("usr/bin/tool"), Node::file(blob("usr/bin/tool"), 0o755)),
        ];
        assert_eq!(found, want);
        assert!(fixture.store.has(&blob("usr/bin/tool")));
        assert_eq!(fixture.nodes("", "/").unwrap(), want, "the same when all is in the store");
    }

    /// The nodes of an overlay with these modes and owners, as `PATH MODE UID:GID`.
    fn said(
        fixture: &Fixture,
        path: &str,
        modes: &[(&str, &str)],
        owners: &[(&str, &str)],
    ) -> Result<Vec<String>> {
        let mut local = fixture.local(path, "/x");
        let pattern = |text: &str| model::Pattern::try_from(text.to_owned()).unwrap();
        for (glob, mode) in modes {
            let mode = model::FileMode::try_from((*mode).to_owned()).unwrap();
            local.modes.insert(pattern(glob), mode);
        }
        for (glob, owner) in owners {
            let owner = model::Owner::try_from((*owner).to_owned()).unwrap();
            local.owners.insert(pattern(glob), owner);
        }
        let line = |(path, node): (TreePath, Node)| {
            format!("{path} {:04o} {}:{}", node.mode, node.uid, node.gid)
        };
        Ok(nodes(&fixture.store, &local)?.into_iter().map(line).collect())
    }

    #[test]
    fn modes_and_owners_are_those_that_the_recipe_says() {
        let fixture = Fixture::new();
        for name in ["etc/key", "etc/cert", "etc/keys/a", "bin/a", "bin/below/b"] {
            fixture.write(name, 0o600);
        }
        symlink("key", fixture.path("etc/link")).unwrap();
        let modes = [
            ("**", "0640"),
            ("bin/*", "0755"),
            ("etc/key", "0600"),
            ("etc/keys/", "0700"),
            (".", "0711"),
        ];
        let owners = [("etc/**", "0:7"), ("etc/keys/", "5"), ("etc/link", "6:0")];
        assert_eq!(
            said(&fixture, "", &modes, &owners).unwrap(),
            [
                "/x 0711 0:0",
                "/x/bin/a 0755 0:0",
                "/x/bin/below/b 0640 0:0",
                "/x/etc/cert 0640 0:7",
                "/x/etc/key 0600 0:7",
                "/x/etc/keys 0700 5:5",
                "/x/etc/keys/a 0640 0:7",
                "/x/etc/link 0777 6:0",
            ]
        );
        let file = said(&fixture, "etc/key", &[(".", "0600")], &[(".", "1")]).unwrap();
        assert_eq!(file, ["/x 0600 1:1"]);
    }

    #[test]
    fn a_mode_that_is_said_for_nothing_is_an_error() {
        let fixture = Fixture::new();
        fixture.write("etc/key", 0o644);
        for glob in ["etc/kye", "etc/key/", "etc", "/etc/key"] {
            if let Ok(glob) = model::Pattern::try_from(glob.to_owned()) {
                let error = said(&fixture, "", &[(&glob.0, "0600")], &[]).unwrap_err();
                assert_eq!(error.id(), Id::NoSuchFiles);
                let start = format!("`{}` fits nothing in ", glob.0);
                assert!(error.to_string().starts_with(&start), "{error}");
            }
        }
        assert!(said(&fixture, "", &[], &[("none", "1")]).is_err());
    }

    #[test]
    fn what_version_control_keeps_is_not_part_of_an_image() {
        let fixture = Fixture::new();
        for name in ["a", ".gitignore", ".git/config", "b/.git", "b/.svn/x", "c/.hg/x"] {
            fixture.write(name, 0o644);
        }
        let found = fixture.nodes("", "/").unwrap();
        let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, [".gitignore", "a", "b", "c"]);
        assert_eq!(fixture.nodes("b", "/").unwrap(), []);
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
