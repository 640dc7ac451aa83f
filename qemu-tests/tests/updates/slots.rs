//! What stands in the slots of a node's disk, as the updater's own code reads it from outside, and what
//! must be so at any moment.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use formats::boot_entries::{Name, Slot, started_first};
use formats::digest::Sha256;
use formats::fat::Extent;
use formats::meta::Meta;
use qemu_tests::releases::Released;
use updater::device::{Device as _, FileDevice, Part};
use updater::esp::{Esp, Parts, parts};
use updater::meta::Store;

/// The disk of a machine that is off, or that nobody writes to.
pub(crate) struct Slots<'a> {
    disk: &'a Path,
    parts: Parts,
    esp: Esp,
}

/// What an update that was refused must leave as it was: digests of the whole ESP, of META, and of each
/// root as far as an image goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bytes {
    esp: Sha256,
    meta: Sha256,
    roots: [Sha256; 2],
}

impl<'a> Slots<'a> {
    pub(crate) fn of(disk: &'a Path) -> Result<Self> {
        let parts = parts(&device(disk)?)?;
        let esp = Esp::find(&Part::new(device(disk)?, parts.esp.offset, parts.esp.length))?;
        Ok(Self { disk, parts, esp })
    }

    fn read(&self, part: Extent, extent: Extent) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(extent.length)?];
        Part::new(device(self.disk)?, part.offset, part.length)
            .read_at(extent.offset, &mut bytes)?;
        Ok(bytes)
    }

    fn first(&self, part: Extent, length: u64) -> Result<Vec<u8>> {
        self.read(part, Extent { offset: 0, length: length.min(part.length) })
    }

    /// Where the partition of a slot's root begins on the disk.
    pub(crate) fn root(&self, slot: Slot) -> u64 {
        self.parts.roots[slot.index()].offset
    }

    /// Where a slot's UKI stands on the disk.
    pub(crate) fn uki(&self, slot: Slot) -> Extent {
        let extent = self.esp.uki(slot);
        Extent { offset: self.parts.esp.offset + extent.offset, ..extent }
    }

    /// Where the EFI system partition is on the disk.
    pub(crate) fn esp_at(&self) -> Range<u64> {
        let Extent { offset, length } = self.parts.esp;
        offset..offset + length
    }

    /// Where META is on the disk.
    pub(crate) fn meta_at(&self) -> u64 {
        self.parts.meta.offset
    }

    /// What META remembers.
    pub(crate) fn meta(&self) -> Result<Meta> {
        let Extent { offset, length } = self.parts.meta;
        let store = Store::read(&Part::new(device(self.disk)?, offset, length))?;
        Ok(store.meta().clone())
    }

    /// The names of the entries, that of slot A first.
    pub(crate) fn names(&self) -> Result<[Name; 2]> {
        let Extent { offset, length } = self.parts.esp;
        let esp = Part::new(device(self.disk)?, offset, length);
        Ok(self.esp.directory(&esp)?.names())
    }

    /// All that may not change.
    pub(crate) fn bytes(&self, image: &Released) -> Result<Bytes> {
        let Parts { esp, meta, roots } = self.parts;
        let length = std::fs::metadata(image.image.join("root.img"))?.len();
        let digest =
            |part: Extent, length| Ok::<_, anyhow::Error>(Sha256::of(self.first(part, length)?));
        Ok(Bytes {
            esp: digest(esp, esp.length)?,
            meta: digest(meta, meta.length)?,
            roots: [digest(roots[0], length)?, digest(roots[1], length)?],
        })
    }

    /// The release that a slot holds whole, if the loader lists what is in it.
    fn listed<'r>(&self, slot: Slot, releases: &[&'r Released]) -> Result<Option<&'r Released>> {
        let uki = self.read(self.parts.esp, self.esp.uki(slot))?;
        if !uki.starts_with(b"MZ") {
            return Ok(None);
        }
        for release in releases {
            if uki != std::fs::read(release.image.join("uki.efi"))? {
                continue;
            }
            let root = std::fs::read(release.image.join("root.img"))?;
            let held = self.first(self.parts.roots[slot.index()], root.len() as u64)?;
            ensure!(held == root, "slot {slot} lists {} and has another root", release.version);
            return Ok(Some(release));
        }
        bail!("the loader lists slot {slot}, whose UKI is that of no release")
    }

    /// At any moment: META can be read, whatever the loader lists is a release whole with its root, and
    /// there is one that it starts first. What that is, in words.
    pub(crate) fn judge(&self, releases: &[&Released]) -> Result<String> {
        let meta = self.meta()?;
        let names = self.names()?;
        let mut listed = Vec::new();
        for slot in Slot::BOTH {
            if let Some(release) = self.listed(slot, releases)? {
                listed.push((names[slot.index()], release));
            }
        }
        let there: Vec<_> = listed.iter().map(|(name, _)| *name).collect();
        let first = started_first(&there, None).context("the loader has nothing to start")?;
        let starts = listed.iter().find(|(name, _)| *name == first).context("an entry")?;
        let phase = meta.trial.as_ref().map(|trial| format!(", trial {:?}", trial.phase));
        let staged =
            meta.staged.as_ref().map(|staged| format!(", {} staged", staged.release.version));
        let (phase, staged) = (phase.unwrap_or_default(), staged.unwrap_or_default());
        Ok(format!("{first} of {} starts{phase}{staged}", starts.1.version))
    }
}

fn device(disk: &Path) -> Result<FileDevice> {
    let file = File::open(disk).with_context(|| format!("cannot open {}", disk.display()))?;
    Ok(FileDevice::new(file)?)
}
