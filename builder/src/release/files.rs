//! The files of a release, of those of a build.

use std::path::Path;

use formats::delta::Header;
use formats::digest::Sha256;
use formats::incoming::{Root, SALT};
use formats::release::{Delta, Image, Release, ReleaseError, SCHEMA, Uki, UkiDelta, Wave};
use formats::verity::{Verity, VerityError};
use uuid::Uuid;

use super::image::is_image;
use crate::build::artifact::Kind;
use crate::build::report::Report;
use crate::build::written;
use crate::delta;
use crate::error::{Context as _, Error, Id, Result};

/// What is said of a release beside its build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Its version; that of the recipe if there is none.
    pub version: Option<String>,
    /// The commit with the same tree.
    pub commit: Option<String>,
    /// Never falls on a node; that of the release before if there is none.
    pub epoch: Option<u64>,
    /// Nodes of an older release take another one first.
    pub min_from: Option<String>,
    /// Who takes it when.
    pub waves: Vec<Wave>,
}

/// A release before it has deltas.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) release: Release,
    /// The root image's data.
    pub(super) data: Vec<u8>,
    /// The UKI.
    pub(super) uki: Vec<u8>,
    /// How many bytes it has when it is packed.
    packed_uki: usize,
    /// Its files by their names in the directory of the version.
    pub(super) files: Vec<(String, Vec<u8>)>,
}

/// The packed root image.
pub(super) const ROOT: &str = "root.zst";
/// The packed UKI.
pub(super) const UKI: &str = "uki.zst";

/// Files of a build that are published as they are.
const AS_THEY_ARE: [Kind; 3] = [Kind::Spdx, Kind::CycloneDx, Kind::Provenance];

/// Reads a build, and packs its root image and its UKI by up to `jobs` threads.
pub(super) fn draft(build: &Path, terms: &Terms, jobs: usize) -> Result<Draft> {
    let report = written::report(build)?;
    let uki = written::file(build, Kind::Uki)?;
    let hashed = hashed(&uki).or_fail(Id::DamagedImage, || {
        format!("the UKI of `{}` is none that a disk could have", build.display())
    })?;
    let release = describe(&report, terms, &uki, &hashed);
    let root = release.root().map_err(|error| {
        Error::new(Id::DamagedImage, format!("`{}` cannot be released", build.display()))
            .caused_by(error)
    })?;
    release.check().map_err(|error| {
        Error::new(Id::ReleaseTerms, format!("`{}` cannot be released so", build.display()))
            .caused_by(error)
    })?;
    let mut data = written::file(build, Kind::Root)?;
    let size = usize::try_from(root.size).unwrap_or(usize::MAX);
    let tree = data.split_off(size.min(data.len()));
    // What is signed is what nodes will hold the image against.
    is_image(&data, &root).or_fail(Id::DamagedImage, || {
        format!("the root image of `{}` is not what its report says", build.display())
    })?;
    let pack = |bytes: &[u8]| {
        let mut packed = Vec::new();
        let made = delta::pack(bytes, &mut packed, jobs);
        made.or_fail(Id::Write, || "cannot pack root image and UKI").map(|_| packed)
    };
    let images =
        [(ROOT, &data), ("root.tree.zst", &tree), (UKI, &uki), ("uki.tree.zst", &hashed.tree)];
    let packed = images.map(|(name, bytes)| pack(bytes).map(|packed| (name.to_owned(), packed)));
    let mut files = packed.into_iter().collect::<Result<Vec<_>>>()?;
    let packed_uki = files.iter().find(|(name, _)| name == UKI).map_or(0, |(_, it)| it.len());
    for kind in AS_THEY_ARE {
        files.push((kind.file_name().to_owned(), written::file(build, kind)?));
    }
    Ok(Draft { release, data, uki, packed_uki, files })
}

/// The hash tree over a UKI, which no build has: on a disk there is none. Its salt is the beginning of
/// the UKI's digest, so it depends on nothing else.
fn hashed(uki: &[u8]) -> Result<Verity, VerityError> {
    Verity::of(&salt(uki), uki)
}

fn salt(uki: &[u8]) -> [u8; SALT] {
    let mut salt = [0; SALT];
    salt.copy_from_slice(&Sha256::of(uki).as_bytes()[..SALT]);
    salt
}

fn describe(report: &Report, terms: &Terms, uki: &[u8], hashed: &Verity) -> Release {
    let Terms { version, commit, epoch, min_from, waves } = terms.clone();
    Release {
        schema: SCHEMA,
        image: report.image.clone(),
        version: version.unwrap_or_else(|| report.version.clone()),
        architecture: report.architecture.to_string(),
        kernel: report.kernel.clone(),
        commit,
        root: Image {
            hash: report.root.hash.0.to_string(),
            salt: report.root.salt.clone(),
            data_size: report.root.data_size,
            size: report.root.size,
        },
        uki: Uki {
            hash: hashed.root_hash.to_string(),
            salt: Uuid::from_bytes(salt(uki)).simple().to_string(),
            size: uki.len() as u64,
        },
        epoch: epoch.unwrap_or(0),
        min_from,
        waves,
        deltas: Vec::new(),
    }
}

impl Draft {
    /// Adds the deltas from an older release, whose root image is `old` and whose UKI is `old_uki`. That
    /// of the UKI is left out where the UKI itself is no larger: of another kernel little is alike, for
    /// kernels are packed.
    pub(super) fn add_delta(&mut self, from: &Release, old: &[u8], old_uki: &[u8]) -> Result<()> {
        let cannot = || format!("cannot make a delta from {}", from.version);
        let make = |named: fn(&Release) -> Result<Root, ReleaseError>, old: &[u8], new: &[u8]| {
            let root = |release: &Release| named(release).or_fail(Id::DamagedImage, cannot);
            let header = Header { old: root(from)?, new: root(&self.release)? };
            let mut bytes = Vec::new();
            delta::make(&header, old, new, &mut bytes).or_fail(Id::Write, cannot)?;
            Ok::<_, Error>(bytes)
        };
        let root = make(Release::root, old, &self.data)?;
        let uki = make(Release::uki, old_uki, &self.uki)?;
        let uki = (uki.len() < self.packed_uki).then_some(uki);
        self.release.deltas.push(Delta {
            from: from.version.clone(),
            hash: from.root.hash.clone(),
            size: root.len() as u64,
            uki: uki
                .as_ref()
                .map(|uki| UkiDelta { hash: from.uki.hash.clone(), size: uki.len() as u64 }),
        });
        self.files.push((format!("delta/{}.delta", from.version), root));
        self.files.extend(uki.map(|uki| (format!("delta/{}.uki.delta", from.version), uki)));
        Ok(())
    }
}
