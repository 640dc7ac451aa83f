//! Files from the web: members and directories of an archive, or the file as it is.
//!
//! What an archive says of owners and times is not taken over; of modes, only which files of a
//! directory may be executed.

use std::collections::BTreeMap;
use std::io::{Read, Write as _};

use formats::tree::{Blob, Node, TreePath};

use crate::archive::{self, Archive, Entry};
use crate::error::{Context as _, Error, Id, Result};
use crate::figures::bytes;
use crate::progress::{Mode, Progress};
use crate::recipe::model::{self, FileMode, ImagePath};
use crate::store::{Batch, Store};

/// How many similar members an error names.
const NEAR: usize = 3;
/// Of a file that it takes long to unpack, so that people are shown how far that is.
const LARGE: u64 = 16 << 20;

/// The nodes that this component gives the tree, sorted by path; the file itself is in the store
/// already, and so are the unpacked ones afterwards.
///
/// # Errors
/// [`Id::StoreMissing`] if the file was not fetched; [`Id::Archive`] if it is not an archive or
/// is broken; [`Id::ArchiveMember`] if it does not hold what the recipe wants of it.
pub fn nodes(
    store: &Store,
    url: &model::Url,
    blob: &Blob,
    progress: &Progress,
) -> Result<Vec<(TreePath, Node)>> {
    if let Some(ImagePath(at)) = url.unpack.get(FILE_ITSELF) {
        return Ok(vec![(at.clone(), Node::file(*blob, url.mode.unwrap_or_default().0))]);
    }
    opened(store, url, blob, progress, &|_| false, |archive| {
        let mut wanted = Wanted::new(url, archive);
        for (member, ImagePath(at)) in &url.unpack {
            wanted.take(member, at)?;
        }
        wanted.into_nodes(store)
    })
}

/// Gives `with` the archive, whose list of members is read; the content of small files for which `keep` says
/// so is in memory then.
///
/// # Errors
/// As [`nodes`], and what `with` fails with.
pub(super) fn opened<T>(
    store: &Store,
    url: &model::Url,
    blob: &Blob,
    progress: &Progress,
    keep: &dyn Fn(&str) -> bool,
    with: impl FnOnce(&Archive<'_>) -> Result<T>,
) -> Result<T> {
    let address = url.url.to_string();
    // Once for the list and once, at the most, for the members.
    let task = (blob.size >= LARGE)
        .then(|| progress.task(format!("unpack {address}"), Some(2 * blob.size)));
    let quiet = Progress::new(Mode::None).task("unpack", None);
    let file = store.open_blob(blob);
    let file = file.map_err(|error| error.within(format!("cannot unpack `{address}`")))?;
    let archive = Archive::open_keeping(&file, &address, task.as_ref().unwrap_or(&quiet), keep)?;
    let result = with(&archive)?;
    if let Some(task) = task {
        task.done(format!("{} read", bytes(blob.size)));
    }
    Ok(result)
}

/// What stands in `unpack` for the file itself.
pub const FILE_ITSELF: &str = ".";

/// Where the modes of files come from if the recipe says none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modes {
    /// All are 0644.
    Plain,
    /// 0755 for what the archive lets its owner execute: one mode would not fit all.
    Archive,
}

/// What is to be put at a path.
enum Want {
    Node(Node),
    File { member: usize, mode: u16 },
}

/// What is to be taken out of an archive, by image path.
pub(super) struct Wanted<'a> {
    url: &'a model::Url,
    archive: &'a Archive<'a>,
    nodes: BTreeMap<TreePath, Want>,
    /// Where links that were named lead: what stands there comes along unless it is taken anyway.
    ends: Vec<(String, TreePath)>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(url: &'a model::Url, archive: &'a Archive<'a>) -> Self {
        Self { url, archive, nodes: BTreeMap::new(), ends: Vec::new() }
    }

    /// Takes one line of `unpack`: a member, or a directory with all below it. A link that is named brings
    /// what it leads to within the archive, to where it leads in the image.
    pub(super) fn take(&mut self, member: &str, at: &TreePath) -> Result<()> {
        self.take_as(member, at, Modes::Plain)
    }

    /// As [`Wanted::take`], with the modes that files of whole directories have.
    pub(super) fn take_as(&mut self, member: &str, at: &TreePath, modes: Modes) -> Result<()> {
        let entries = self.archive.entries();
        let path = archive::normal(member).ok_or_else(|| self.missing(member))?;
        match entries.get(&path) {
            Some(Entry::Directory) => {}
            None if path.is_empty() => {}
            Some(entry) => {
                if let Entry::Symlink(target) = entry
                    && let Some(end) = archive::link(&path, target)
                    && let Some(end_at) = archive::link(at.as_str(), target)
                    && let Ok(end_at) = TreePath::new(&end_at)
                {
                    self.ends.push((end, end_at));
                }
                return self.put(&path, entry, at.clone(), modes);
            }
            None => return Err(self.missing(&path)),
        }
        self.put(&path, &Entry::Directory, at.clone(), Modes::Archive)?;
        let below = if path.is_empty() { path } else { format!("{path}/") };
        for (path, entry) in entries.range(below.clone()..) {
            let Some(inner) = path.strip_prefix(&below) else { break };
            let at = at.join(inner).or_fail(Id::ArchiveMember, || {
                format!("`{path}` in `{}` cannot have this name in an image", self.url.url)
            })?;
            self.put(path, entry, at, Modes::Archive)?;
        }
        Ok(())
    }

    /// What links lead to, link after link. A directory does not come along, nor what is no member: that
    /// may be elsewhere in the image.
    fn follow(&mut self) -> Result<()> {
        for _ in 0..archive::MAX_LINKS {
            for (end, at) in std::mem::take(&mut self.ends) {
                let leads = self.archive.entries().get(&end);
                let comes = matches!(leads, Some(Entry::File { .. } | Entry::Symlink(_)));
                if comes && !self.nodes.contains_key(&at) {
                    self.take_as(&end, &at, Modes::Archive)?;
                }
            }
        }
        Ok(())
    }

    /// The nodes, and all their content in the store: all of it or, if something fails, nothing.
    pub(super) fn into_nodes(mut self, store: &Store) -> Result<Vec<(TreePath, Node)>> {
        self.follow()?;
        let files = self.nodes.values().filter_map(|want| match want {
            Want::File { member, .. } => Some(*member),
            Want::Node(_) => None,
        });
        let mut contents = BTreeMap::new();
        let batch = store.batch();
        self.archive.read(&files.collect(), |member, content| {
            contents.insert(member, put(&batch, self.url, content)?);
            Ok(())
        })?;
        batch.finish()?;
        let nodes = self.nodes.into_iter().map(|(at, want)| match want {
            Want::Node(node) => Ok((at, node)),
            Want::File { member, mode } => {
                let blob = contents.get(&member).copied();
                let blob = blob.ok_or_else(|| Error::new(Id::Bug, "a member was not read"))?;
                Ok((at, Node::file(blob, mode)))
            }
        });
        nodes.collect()
    }

    /// Puts an entry at a path.
    fn put(&mut self, path: &str, entry: &Entry, at: TreePath, modes: Modes) -> Result<()> {
        let url = &self.url.url;
        let want = match entry {
            Entry::Directory => Want::Node(Node::directory(0o755)),
            Entry::Symlink(target) => Want::Node(Node::symlink(target)),
            Entry::File { member, executable } => {
                let executable = modes == Modes::Archive && *executable;
                let usual = FileMode(if executable { 0o755 } else { 0o644 });
                Want::File { member: *member, mode: self.url.mode.unwrap_or(usual).0 }
            }
            Entry::Other(what) => {
                let message = format!("`{path}` in `{url}` is {what}");
                return Err(Error::new(Id::ArchiveMember, message)
                    .hint("files, directories and links can be unpacked"));
            }
        };
        let is_directory = *entry == Entry::Directory;
        match self.nodes.insert(at.clone(), want) {
            Some(Want::Node(before)) if is_directory && before == Node::directory(0o755) => Ok(()),
            None => Ok(()),
            Some(_) => {
                let message = format!("two members of `{url}` would be `{at}`");
                Err(Error::new(Id::ArchiveMember, message).hint("unpack one of them elsewhere"))
            }
        }
    }

    pub(super) fn missing(&self, member: &str) -> Error {
        let message = format!("there is no `{member}` in `{}`", self.url.url);
        let error = Error::new(Id::ArchiveMember, message);
        let entries = self.archive.entries();
        let near = near(member, entries.keys().cloned().collect());
        let near: Vec<_> = near.iter().map(|name| format!("`{name}`")).collect();
        let error = match near.as_slice() {
            [] => error.hint("it holds no files"),
            near => error.hint(format!("it holds {}", near.join(", "))),
        };
        if member.contains(['*', '?']) {
            return error.hint("patterns are not understood: a directory stands for all below it");
        }
        error
    }
}

/// Takes a member's content into the store. An error in reading it is the archive's.
fn put(batch: &Batch, url: &model::Url, content: &mut dyn Read) -> Result<Blob> {
    let mut writer = batch.writer()?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = content.read(&mut buffer);
        let read = read.or_fail(Id::Archive, || format!("cannot unpack `{}`", url.url))?;
        if read == 0 {
            return writer.finish();
        }
        let written = writer.write_all(&buffer[..read]);
        written.or_fail(Id::StoreWrite, || {
            format!("cannot write to the store `{}`", batch.store().root().display())
        })?;
    }
}

/// The members that a person most likely meant: of the same name first, then of similar paths.
fn near(missing: &str, mut members: Vec<String>) -> Vec<String> {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    members.retain(|member| !member.is_empty());
    members.sort_by_cached_key(|member| {
        let distance = strsim::damerau_levenshtein(member, missing);
        (name(member) != name(missing), distance, member.clone())
    });
    members.dedup();
    members.truncate(NEAR);
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::model::Digest;
    use tar::EntryType;

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind: EntryType, link: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(if name.ends_with(".sig") { 0o4666 } else { 0o4777 });
            header.set_uid(1000);
            header.set_size(content.len() as u64);
            if !link.is_empty() {
                header.set_link_name(link).unwrap();
            }
            builder.append_data(&mut header, name, content).unwrap();
        };
        add("./pkg/bin", EntryType::Directory, "", b"");
        add("./pkg/bin/runc", EntryType::Regular, "", b"program");
        add("./pkg/bin/runc.sig", EntryType::Regular, "", b"signature");
        add("./pkg/bin/alias", EntryType::Symlink, "runc", b"");
        add("./pkg/bin/hard", EntryType::Link, "pkg/bin/runc", b"");
        add(&format!("./pkg/{}", "long/".repeat(40)), EntryType::Directory, "", b"");
        add(&format!("./pkg/{}file", "long/".repeat(40)), EntryType::Regular, "", b"deep");
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// By the stock program, as an outside judge of the format.
    fn xz(bytes: &[u8]) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let command = crate::process::Command::new("xz").args(["-z", "-c"]).arg(&path);
        command.run().expect("the test needs xz: install xz-utils")
    }

    fn unpacked(file: &[u8], unpack: &[(&str, &str)]) -> Result<Vec<(TreePath, Node)>> {
        unpacked_with(file, unpack, Some(FileMode(0o755)))
    }

    fn unpacked_with(
        file: &[u8],
        unpack: &[(&str, &str)],
        mode: Option<FileMode>,
    ) -> Result<Vec<(TreePath, Node)>> {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let blob = store.put_bytes(file).unwrap();
        let url = model::Url {
            url: "https://mirror.example/pkg".into(),
            sha256: Digest(blob.sha256),
            unpack: unpack
                .iter()
                .map(|(from, to)| {
                    ((*from).to_owned(), ImagePath::try_from((*to).to_owned()).unwrap())
                })
                .collect(),
            mode,
        };
        let nodes = nodes(&store, &url, &blob, &Progress::new(Mode::None))?;
        for (_, node) in &nodes {
            if let formats::tree::Kind::File(blob) = node.kind {
                assert!(store.has(&blob));
            }
        }
        Ok(nodes)
    }

    fn file(at: &str, content: &[u8]) -> (TreePath, Node) {
        let sha256 = formats::digest::Sha256::of(content);
        let blob = Blob { sha256, size: content.len() as u64 };
        (TreePath::new(at).unwrap(), Node::file(blob, 0o755))
    }

    #[test]
    fn members_come_out_of_every_kind_of_archive() {
        let deep = format!("pkg/{}file", "long/".repeat(40));
        for archive in [tar(), gzip(&tar()), xz(&tar())] {
            let found = unpacked(
                &archive,
                &[
                    ("pkg/bin/runc", "/usr/bin/runc"),
                    ("./pkg/bin/alias", "/usr/bin/alias"),
                    (&deep, "/usr/lib/deep"),
                ],
            );
            let alias = (TreePath::new("usr/bin/alias").unwrap(), Node::symlink("runc"));
            let want = vec![alias, file("usr/bin/runc", b"program"), file("usr/lib/deep", b"deep")];
            assert_eq!(found.unwrap(), want);
        }
    }

    #[test]
    fn the_file_itself_is_a_dot() {
        assert_eq!(unpacked(b"abc", &[(".", "/opt/x")]).unwrap(), [file("opt/x", b"abc")]);
    }

    #[test]
    fn a_member_that_is_not_there_is_compared_with_those_that_are() {
        let error = unpacked(&tar(), &[("bin/runc", "/usr/bin/runc")]).unwrap_err();
        assert_eq!(error.id(), Id::ArchiveMember);
        assert_eq!(error.to_string(), "there is no `bin/runc` in `https://mirror.example/pkg`");
        assert_eq!(error.hints(), ["it holds `pkg/bin/runc`, `pkg/bin`, `pkg/long`"]);
        let error = unpacked(&tar(), &[("pkg/bin/*", "/usr/bin")]).unwrap_err();
        assert_eq!(
            error.hints()[1],
            "patterns are not understood: a directory stands for all below it"
        );
    }

    #[test]
    fn a_hard_link_is_the_file_that_it_names() {
        let found = unpacked(&tar(), &[("././pkg//bin/hard", "/usr/bin/hard")]).unwrap();
        assert_eq!(found, [file("usr/bin/hard", b"program")]);
    }

    #[test]
    fn a_directory_comes_with_all_below_it() {
        let node = |at: &str, node: Node| (TreePath::new(at).unwrap(), node);
        let bin = |signature: u16| {
            let (path, sig) = file("opt/x/runc.sig", b"signature");
            [
                node("opt/x", Node::directory(0o755)),
                node("opt/x/alias", Node::symlink("runc")),
                file("opt/x/hard", b"program"),
                file("opt/x/runc", b"program"),
                (path, Node { mode: signature, ..sig }),
            ]
        };
        for member in ["pkg/bin", "pkg/bin/", "./pkg/bin", ".//pkg/./bin//"] {
            let found = unpacked_with(&tar(), &[(member, "/opt/x")], None).unwrap();
            assert_eq!(found, bin(0o644), "{member}");
            let found = unpacked(&tar(), &[(member, "/opt/x")]).unwrap();
            assert_eq!(found, bin(0o755), "a mode that is given holds for all");
        }
        let all = unpacked_with(&tar(), &[("./", "/opt/y")], None).unwrap();
        let paths: Vec<_> = all.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths[..4], ["opt/y", "opt/y/pkg", "opt/y/pkg/bin", "opt/y/pkg/bin/alias"]);
        assert_eq!(all.len(), 7 + 40 + 1);
    }

    #[test]
    fn directories_may_share_a_place_and_files_may_not() {
        let wants = [("pkg/bin", "/opt/x"), ("pkg/bin/runc", "/opt/x/other")];
        assert_eq!(unpacked(&tar(), &wants).unwrap().len(), 6);
        let wants = [("pkg/bin", "/opt/x"), ("pkg/bin/runc.sig", "/opt/x/runc")];
        let error = unpacked(&tar(), &wants).unwrap_err();
        assert_eq!(error.id(), Id::ArchiveMember);
        let text = "two members of `https://mirror.example/pkg` would be `/opt/x/runc`";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn what_no_image_can_hold_is_not_unpacked() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::Fifo);
        header.set_size(0);
        builder.append_data(&mut header, "pkg/pipe", &b""[..]).unwrap();
        let archive = builder.into_inner().unwrap();
        for member in ["pkg/pipe", "pkg"] {
            let error = unpacked(&archive, &[(member, "/usr/x")]).unwrap_err();
            assert_eq!(error.id(), Id::ArchiveMember);
            assert_eq!(error.to_string(), "`pkg/pipe` in `https://mirror.example/pkg` is a pipe");
        }
    }

    #[test]
    fn what_is_no_archive_or_a_broken_one_is_said_to_be_so() {
        let mut broken = gzip(&tar());
        broken.truncate(broken.len() / 2);
        for bytes in [b"abc".to_vec(), Vec::new(), vec![0x1f, 0x8b, 1], gzip(b"abc"), broken] {
            let error = unpacked(&bytes, &[("absent", "/usr/x")]).unwrap_err();
            assert_eq!(error.id(), Id::Archive, "{bytes:?}: {}", error.chain());
        }
    }
}
