//! What a build is as a commit, and how it comes into a repository.

use std::collections::BTreeMap;

use formats::digest::Sha256;
use formats::ostree::{Commit, FileHeader, Kind, Name, Plan, Reference, Value};
use formats::tree::{self, Tree};
use serde::Serialize;

use super::{Damaged, Repository};
use crate::build::report::Report;
use crate::build::root::EPOCH;
use crate::error::{Context as _, Error, Id, Result};
use crate::recipe::model;
use crate::store::{Purpose, Question, Store, StreamError};
use crate::stored::Hex;

/// Digests of files as ostree has them follow from blobs, and are remembered by the store.
const FILES: Purpose = Purpose { name: "ostree-files", version: 1 };

/// Keys of a commit's metadata. The first is the one that stock tools show.
pub(super) const VERSION: &str = "version";
pub(super) const KERNEL: &str = "orlop.kernel";
pub(super) const LOCK: &str = "orlop.lock";
pub(super) const ROOT_HASH: &str = "orlop.root-hash";
pub(super) const ROOT_SIZE: &str = "orlop.root-size";
pub(super) const UKI_SIZE: &str = "orlop.uki-size";
pub(super) const DISK_SIZE: &str = "orlop.disk-size";

/// A build, to be committed.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    /// The root.
    pub tree: &'a Tree,
    /// What was made of it.
    pub report: &'a Report,
    /// Which of the image's channels it is for.
    pub channel: &'a model::Name,
}

/// What came of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Committed {
    /// The ref.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The commit that it names now.
    pub commit: Hex,
    /// The version before it.
    pub parent: Option<Hex>,
    /// Whether it is new: not, if the ref named this very version already.
    pub new: bool,
    /// Objects that were not there, the commit included.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Other refs, which cannot be followed.
    #[serde(skip)]
    pub damaged: Vec<Damaged>,
}

impl Version<'_> {
    /// The ref of an image and channel.
    ///
    /// # Errors
    /// [`Id::Bug`] if a name could be no part of a ref.
    pub fn reference(&self) -> Result<Reference> {
        let machine = self.report.architecture.machine();
        let name = format!("orlop/{machine}/{}/{}", self.report.image, self.channel);
        name.parse().or_fail(Id::Bug, || "the name of a ref")
    }

    /// The commit, without its parent. Its time is that of all times in images.
    fn commit(&self, tree: Sha256, meta: Sha256) -> Commit {
        let Report { version, kernel, root, uki_size, disk_size, image, lock, .. } = self.report;
        // As text: what stock tools print of a number is not what they were given.
        let number = |bytes: u64| Value::text(bytes.to_string());
        let metadata = [
            (VERSION, Value::text(version)),
            (KERNEL, Value::text(kernel)),
            (ROOT_HASH, Value::text(root.hash.0.to_string())),
            (ROOT_SIZE, number(root.size)),
            (UKI_SIZE, number(*uki_size)),
            (DISK_SIZE, number(*disk_size)),
        ];
        let lock = lock.as_ref().map(|lock| (LOCK, Value::text(lock.0.to_string())));
        let metadata = metadata.into_iter().chain(lock);
        Commit {
            metadata: metadata.map(|(key, value)| (key.to_owned(), value)).collect(),
            parent: None,
            subject: format!("{image} {version}, kernel {kernel}"),
            body: String::new(),
            timestamp: EPOCH,
            tree,
            meta,
        }
    }
}

impl Repository {
    /// Commits a version. If the ref names it already, nothing is written. `jobs` threads deflate;
    /// `advance` is told of bytes that went in.
    ///
    /// # Errors
    /// [`Id::RepositoryWrite`], [`Id::DamagedObject`], those of the store. The ref names what it
    /// did before then.
    pub fn add(
        &self,
        version: &Version<'_>,
        store: &Store,
        jobs: usize,
        advance: &(impl Fn(u64) + Sync),
    ) -> Result<Committed> {
        let digests = digests(version.tree, store, jobs)?;
        let plan = Plan::new(version.tree, |node, header| match &node.kind {
            tree::Kind::File(blob) => {
                let digest = digests.get(&(blob.sha256, header.encode())).copied();
                digest.ok_or_else(|| Error::new(Id::Bug, "a file of a tree was not digested"))
            }
            _ => Ok(header.digest_alone()),
        })?;
        let reference = version.reference()?;
        let head = self.head(&reference)?;
        let mut commit = version.commit(plan.tree(), plan.meta());
        let committed = Committed {
            reference: reference.to_string(),
            commit: Hex(commit.name().digest),
            parent: None,
            new: false,
            objects: 0,
            bytes: 0,
            damaged: Vec::new(),
        };
        if let Some(head) = head {
            let lost = !self.has(&Name { digest: head, kind: Kind::Commit });
            let parents = if lost { self.parents()? } else { vec![self.commit(&head)?.parent] };
            let is_head = |parent: &Option<Sha256>| {
                commit.parent = *parent;
                commit.name().digest == head
            };
            if let Some(parent) = parents.into_iter().find(is_head) {
                // Whatever somebody has removed because it was damaged comes back.
                let mut written = self.put_all(plan.objects(), store, jobs, advance)?;
                commit.parent = parent;
                if lost {
                    let bytes = commit.encode();
                    self.put_last(&commit.name(), &bytes)?;
                    written.objects += 1;
                    written.bytes += bytes.len() as u64;
                }
                return Ok(Committed {
                    commit: Hex(head),
                    parent: parent.map(Hex),
                    objects: written.objects,
                    bytes: written.bytes,
                    damaged: self.update_summary()?,
                    ..committed
                });
            }
            // A version that is not there any more comes before the new one all the same.
            commit.parent = Some(head);
        }
        self.check_name(&reference)?;
        let written = self.put_all(plan.objects(), store, jobs, advance)?;
        let (name, bytes) = (commit.name(), commit.encode());
        self.put_last(&name, &bytes)?;
        self.set_head(&reference, &name.digest)
            .or_fail(Id::RepositoryWrite, || self.cannot_write())?;
        let damaged = self.update_summary()?;
        Ok(Committed {
            commit: Hex(name.digest),
            parent: commit.parent.map(Hex),
            new: true,
            objects: written.objects + 1,
            bytes: written.bytes + bytes.len() as u64,
            damaged,
            ..committed
        })
    }
}

impl Repository {
    /// What a version may come after that is not there to say it.
    fn parents(&self) -> Result<Vec<Option<Sha256>>> {
        let commits = self.objects()?.into_iter().filter(|(name, ..)| name.kind == Kind::Commit);
        Ok([None].into_iter().chain(commits.map(|(name, ..)| Some(name.digest))).collect())
    }
}

/// The name that each file's object has, by blob and by what is hashed before it.
fn digests(tree: &Tree, store: &Store, jobs: usize) -> Result<BTreeMap<(Sha256, Vec<u8>), Sha256>> {
    let files = tree.iter().filter_map(|(_, node)| match &node.kind {
        tree::Kind::File(blob) => {
            let facts = FileHeader::of(node)?.encode();
            Some(Question { blob: *blob, facts })
        }
        _ => None,
    });
    let questions: Vec<_> = files.collect();
    let answers = store.derived(FILES, &questions, jobs, |question| {
        let mut hasher = formats::digest::Hasher::new();
        hasher.update(&question.facts);
        let read = store.stream(&question.blob, |bytes| {
            hasher.update(bytes);
            Ok(())
        });
        match read {
            Err(StreamError::Store(error)) => Err(error),
            Err(StreamError::Sink(error)) => {
                Err(Error::new(Id::Bug, "a hasher takes all").caused_by(error))
            }
            Ok(()) => Ok(hasher.finish()),
        }
    })?;
    let keys = questions.into_iter().map(|question| (question.blob.sha256, question.facts));
    Ok(keys.zip(answers).collect())
}
