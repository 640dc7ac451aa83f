//! The files of a build: planned before the first is written, and recorded when they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;
use formats::tree::Blob;
use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Error, Id, Result};
use crate::image::efi::Content;
use crate::image::sparse;
use crate::store::Store;
use crate::stored::Hex;

/// What a file of a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// EROFS and its hash tree: what a slot holds.
    Root,
    /// The initial RAM disk.
    Initrd,
    /// The kernel.
    Kernel,
    /// The kernel's command line.
    CommandLine,
    /// The UKI of both slots, byte for byte as it is on the disk: padded and sealed.
    Uki,
    /// The whole disk.
    Disk,
    /// Every path of the root.
    Manifest,
    /// Every file, package, module and crate.
    Contents,
    /// The same as an SBOM of SPDX.
    Spdx,
    /// The same as an SBOM of CycloneDX.
    #[serde(rename = "cyclonedx")]
    CycloneDx,
    /// What the build was made of, and how.
    Provenance,
}

impl Kind {
    /// All kinds, in the order in which they are made.
    pub const ALL: [Self; 11] = [
        Self::Root,
        Self::Initrd,
        Self::Kernel,
        Self::CommandLine,
        Self::Uki,
        Self::Disk,
        Self::Manifest,
        Self::Contents,
        Self::Spdx,
        Self::CycloneDx,
        Self::Provenance,
    ];

    /// The name of the file.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Root => "root.img",
            Self::Initrd => "initrd",
            Self::Kernel => "vmlinuz",
            Self::CommandLine => "cmdline",
            Self::Uki => "uki.efi",
            Self::Disk => "disk.raw",
            Self::Manifest => "manifest.txt",
            Self::Contents => "contents.json",
            Self::Spdx => "sbom.spdx.json",
            Self::CycloneDx => "sbom.cdx.json",
            Self::Provenance => "provenance.json",
        }
    }
}

/// A file that a build will write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// What it is.
    pub kind: Kind,
    /// How many bytes it will have, if that is known before it is made.
    pub size: Option<u64>,
}

/// A file that a build has written, as its report tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Artifact {
    /// What it is.
    pub kind: KindName,
    /// Its name in the output directory.
    pub name: String,
    /// How many bytes it has.
    pub size: u64,
    /// Its digest. Of the disk there is none: it is put together of the others, and to digest the
    /// gigabytes of zeros in it costs more than to build it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Hex>,
}

/// A kind as a report has it: a later `orlop` may know more of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum KindName {
    /// One that we know.
    Known(Kind),
    /// Another one.
    Other(String),
}

/// Writes the planned files, each once and no other.
#[derive(Debug)]
pub struct Writer<'a> {
    directory: &'a Path,
    planned: &'a [Planned],
    made: BTreeMap<Kind, Artifact>,
}

impl<'a> Writer<'a> {
    /// Into `directory`, which has none of them.
    pub fn new(directory: &'a Path, planned: &'a [Planned]) -> Self {
        Self { directory, planned, made: BTreeMap::new() }
    }

    /// Where the file of this kind is.
    pub fn path(&self, kind: Kind) -> PathBuf {
        self.directory.join(kind.file_name())
    }

    /// Writes a file. Zeros at its end take no room.
    ///
    /// # Errors
    /// [`Id::Write`]; [`Id::Bug`] if it is not as planned.
    pub fn save(&mut self, kind: Kind, bytes: &[u8]) -> Result<()> {
        self.put(kind, bytes, bytes.len() as u64)?;
        self.record(kind, bytes.len() as u64, Some(Sha256::of(bytes)))
    }

    /// Writes a file that may end in many zeros.
    ///
    /// # Errors
    /// As [`Writer::save`].
    pub fn save_content(&mut self, kind: Kind, content: &Content) -> Result<()> {
        self.put(kind, content.bytes(), content.size())?;
        self.record(kind, content.size(), Some(content.sha256()))
    }

    /// Writes a file that is a blob of the store, whose digest is known.
    ///
    /// # Errors
    /// Those of the store and of [`Writer::save`].
    pub fn save_blob(&mut self, kind: Kind, blob: &Blob, store: &Store) -> Result<Vec<u8>> {
        let bytes = store.read_blob(blob)?;
        self.put(kind, &bytes, blob.size)?;
        self.record(kind, blob.size, Some(blob.sha256))?;
        Ok(bytes)
    }

    /// Writes a file that begins with `bytes` and is zero behind them.
    fn put(&self, kind: Kind, bytes: &[u8], size: u64) -> Result<()> {
        let path = self.path(kind);
        let write = || {
            let file = File::create_new(&path)?;
            file.set_len(size)?;
            sparse::write(&file, bytes, 0)
        };
        write().or_fail(Id::Write, || format!("cannot write `{}`", path.display()))
    }

    /// Records a file that was written to [`Writer::path`].
    ///
    /// # Errors
    /// [`Id::Bug`] if it is not as planned.
    pub fn record(&mut self, kind: Kind, size: u64, sha256: Option<Sha256>) -> Result<()> {
        let name = kind.file_name();
        let bug = |what: String| Err(Error::new(Id::Bug, format!("`{name}` {what}")));
        let Some(planned) = self.planned.iter().find(|planned| planned.kind == kind) else {
            return bug("was not planned".to_owned());
        };
        match planned.size {
            Some(wanted) if wanted != size => {
                return bug(format!("has {size} bytes, and {wanted} were planned"));
            }
            _ => {}
        }
        let artifact = Artifact {
            kind: KindName::Known(kind),
            name: name.to_owned(),
            size,
            sha256: sha256.map(Hex),
        };
        match self.made.insert(kind, artifact) {
            None => Ok(()),
            Some(_) => bug("was written twice".to_owned()),
        }
    }

    /// Name and digest of each file that was written so far and has one, sorted by name.
    pub fn digests(&self) -> BTreeMap<&str, Sha256> {
        let made = self.made.values();
        made.filter_map(|file| Some((file.name.as_str(), file.sha256?.0))).collect()
    }

    /// All files, sorted by name.
    ///
    /// # Errors
    /// [`Id::Bug`] if one is missing.
    pub fn finish(self) -> Result<Vec<Artifact>> {
        let missing = self.planned.iter().find(|planned| !self.made.contains_key(&planned.kind));
        if let Some(Planned { kind, .. }) = missing {
            return Err(Error::new(Id::Bug, format!("`{}` was not written", kind.file_name())));
        }
        let mut made: Vec<_> = self.made.into_values().collect();
        made.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    const PLAN: [Planned; 2] = [
        Planned { kind: Kind::Uki, size: Some(1 << 20) },
        Planned { kind: Kind::Initrd, size: None },
    ];

    #[test]
    fn a_blob_of_the_store_is_written_and_recorded_by_its_own_digest() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let blob = store.put_bytes(b"kernel").unwrap();
        let mut writer = Writer::new(directory.path(), &PLAN[1..]);
        assert_eq!(writer.save_blob(Kind::Initrd, &blob, &store).unwrap(), b"kernel");
        assert_eq!(std::fs::read(writer.path(Kind::Initrd)).unwrap(), b"kernel");
        let made = writer.finish().unwrap();
        assert_eq!((made[0].size, made[0].sha256), (6, Some(Hex(Sha256::of("kernel")))));
    }

    #[test]
    fn the_record_has_what_was_planned_and_the_digest_of_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(directory.path(), &PLAN);
        let mut uki = vec![7; 1 << 20];
        uki[100_000..].fill(0);
        writer.save(Kind::Uki, &uki).unwrap();
        writer.save(Kind::Initrd, b"x").unwrap();
        let made = writer.finish().unwrap();
        let text = serde_json::to_string(&made).unwrap();
        assert_eq!(
            text,
            format!(
                r#"[{{"kind":"initrd","name":"initrd","size":1,"sha256":"{}"}},{{"kind":"uki","name":"uki.efi","size":1048576,"sha256":"{}"}}]"#,
                Sha256::of("x"),
                Sha256::of(&uki)
            )
        );
        let path = directory.path().join("uki.efi");
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < 200_000, "it has no hole");
        assert!(std::fs::read(path).unwrap() == uki);
    }

    #[test]
    fn what_is_not_as_planned_is_our_own_mistake() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(directory.path(), &PLAN);
        writer.save(Kind::Initrd, b"x").unwrap();
        for (kind, size, want) in [
            (Kind::Disk, 1, "`disk.raw` was not planned"),
            (Kind::Uki, 1, "`uki.efi` has 1 bytes, and 1048576 were planned"),
            (Kind::Initrd, 1, "`initrd` was written twice"),
        ] {
            let error = writer.record(kind, size, None).unwrap_err();
            assert_eq!((error.id(), error.to_string().as_str()), (Id::Bug, want));
        }
        let error = writer.finish().unwrap_err();
        assert_eq!(error.to_string(), "`uki.efi` was not written");
    }

    #[test]
    fn a_kind_of_a_later_program_is_read_and_kept() {
        let text = r#"{"kind":"vmdk","name":"disk.vmdk","size":1,"format":"stream"}"#;
        let artifact: Artifact = serde_json::from_str(text).unwrap();
        assert_eq!(artifact.kind, KindName::Other("vmdk".to_owned()));
        assert_eq!(
            serde_json::to_string(&artifact).unwrap(),
            r#"{"kind":"vmdk","name":"disk.vmdk","size":1}"#
        );
    }
}
