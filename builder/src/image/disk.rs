//! The disk: GPT, `ESP`, `META`, two root slots, `STATE`. [`Layout::plan`] decides where everything
//! goes, [`write()`] writes a sparse raw file once, from front to back of each partition.

mod layout;

use std::fs::File;
use std::path::Path;

use formats::fat::{Alias, Content, Piece, Plan};

pub(crate) use layout::ESP_MOST;
pub use layout::{Layout, Partition, Role, Slot};
pub(super) use layout::{mib, roomy};

use super::efi::Ready;
use super::sparse;
use super::state::State;
use crate::error::{Context as _, Error, Id, Result};

/// Where the files of the EFI system partition are.
///
/// The entries carry no boot counter yet: the loader counts a name such as `2a+3.efi` down at each
/// boot, and only a healthy boot that re-arms it keeps it from running out. As long as nothing on
/// the node re-arms, a counted entry would be gone after three boots. The higher generation boots
/// first; slot A has it.
pub mod esp {
    use super::Slot;

    /// The boot loader's settings.
    pub const LOADER_CONF: &str = "loader/loader.conf";
    /// The directory of both UKIs: one sector.
    pub const ENTRIES: &str = "EFI/Linux";

    /// The slot whose UKI lies at this path.
    pub fn slot(path: &str) -> Option<Slot> {
        let name = path.strip_prefix(ENTRIES)?.strip_prefix('/')?;
        formats::boot_entries::slot(name).map(|slot| match slot {
            formats::boot_entries::Slot::A => Slot::A,
            formats::boot_entries::Slot::B => Slot::B,
        })
    }

    /// The name of a slot's UKI on a new disk.
    pub const fn entry(slot: Slot) -> &'static str {
        match slot {
            Slot::A => "2a.efi",
            Slot::B => "1b.efi",
        }
    }

    /// The short name that a slot's UKI keeps for ever: how the updater tells whose it is.
    pub const fn alias(slot: Slot) -> &'static str {
        match slot {
            Slot::A => "SLOTA",
            Slot::B => "SLOTB",
        }
    }
}

/// No menu, and nobody at the console changes the kernel's command line. No `default` line either: it
/// would overrule the order of names, and with it the boot counters.
const LOADER_CONF: &str = "timeout 0\neditor no\n";

/// What goes onto the disk.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// systemd-boot.
    pub loader: &'a Ready,
    /// The UKI of both slots: its command line names [`Layout::root_partition`] of each. As large as
    /// `[disk] uki` says.
    pub uki: &'a Ready,
    /// The root image with its dm-verity tree: the same for both slots.
    pub root: &'a Path,
    /// The time of all files, in seconds since 1970.
    pub epoch: u64,
}

/// Writes the whole disk into `file`, whatever was in it before. What is zero stays a hole.
///
/// # Errors
/// [`Id::RootTooLarge`], [`Id::EspTooSmall`]: checked before the first byte. [`Id::Read`] and
/// [`Id::Write`].
pub fn write(layout: &Layout, inputs: &Inputs<'_>, file: &File) -> Result<()> {
    if inputs.uki.size() != layout.uki().bytes() {
        return Err(Error::new(Id::Bug, format!("the UKI was not padded to {}", layout.uki())));
    }
    let esp = esp_plan(layout, inputs)?;
    let cannot_read = || format!("cannot read `{}`", inputs.root.display());
    let root = File::open(inputs.root).or_fail(Id::Read, cannot_read)?;
    let root_size = root.metadata().or_fail(Id::Read, cannot_read)?.len();
    layout.check_root(root_size, &[])?;

    let cannot_write = || "cannot write the disk image";
    // Emptied first: what is not written reads as zeros.
    file.set_len(0).or_fail(Id::Write, cannot_write)?;
    file.set_len(layout.disk_size()).or_fail(Id::Write, cannot_write)?;
    let put =
        |bytes: &[u8], at: u64| sparse::write(file, bytes, at).or_fail(Id::Write, cannot_write);

    let table = layout.table()?.encode();
    put(&table.head, 0)?;
    put(&table.tail, table.tail_offset)?;
    let start = layout.partition(Role::Esp).start();
    for segment in esp.segments() {
        match segment.piece {
            Piece::Bytes(bytes) => put(&bytes, start + segment.offset)?,
            Piece::External(_) => put(inputs.uki.content().bytes(), start + segment.offset)?,
            Piece::Zeros => {}
        }
    }
    for slot in [Slot::A, Slot::B] {
        sparse::copy(&root, file, layout.partition(Role::Root(slot)).start())
            .or_fail(Id::Write, || {
                format!("cannot copy `{}` into the disk image", inputs.root.display())
            })?;
    }
    let partition = layout.partition(Role::State);
    State {
        size: partition.size.bytes(),
        uuid: layout.uuid("file system STATE"),
        hash_seed: layout.uuid("hash seed STATE"),
        // A superblock has 32 bits for it.
        epoch: u32::try_from(inputs.epoch).unwrap_or(u32::MAX),
    }
    .write(file, partition.start())
}

/// Where everything goes on the EFI system partition; the UKI of each slot is external.
fn esp_plan(layout: &Layout, inputs: &Inputs<'_>) -> Result<Plan> {
    let file = |path: &str, content: &[u8]| formats::fat::File {
        path: path.to_owned(),
        alias: None,
        content: Content::Bytes(content.to_vec()),
    };
    let mut files = vec![
        file(layout.architecture().boot_file(), inputs.loader.content().bytes()),
        file(esp::LOADER_CONF, LOADER_CONF.as_bytes()),
    ];
    for (id, slot) in [Slot::A, Slot::B].into_iter().enumerate() {
        files.push(formats::fat::File {
            path: format!("{}/{}", esp::ENTRIES, esp::entry(slot)),
            alias: Some(Alias::new(esp::alias(slot)).or_fail(Id::Bug, || "the slots' aliases")?),
            content: Content::External { id, size: inputs.uki.size() },
        });
    }
    let plan = layout.esp_plan(files, inputs.epoch)?;
    if plan.directory_sector(esp::ENTRIES).is_none() {
        return Err(Error::new(Id::Bug, format!("`{}` is not one sector", esp::ENTRIES)));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use formats::architecture::Architecture;
    use uuid::Uuid;

    use super::*;
    use crate::image::tests::{self, Sample, judge};
    use crate::recipe::model::{Disk, Mib};

    #[test]
    fn every_judge_is_content_with_every_part_of_the_disk() {
        let sample = Sample::new();
        let disk = sample.disk();
        let text = judge("sgdisk", "gdisk", &["-v"], &disk);
        assert!(text.contains("No problems found."), "{text}");
        assert!(!text.contains("Caution") && !text.contains("Warning"), "{text}");

        let esp = sample.extract(&disk, Role::Esp);
        judge("fsck.vfat", "dosfstools", &["-n", "-v", "-V"], &esp);
        let state = sample.extract(&disk, Role::State);
        judge("e2fsck", "e2fsprogs", &["-fn"], &state);
        let root = std::fs::read(&sample.root).unwrap();
        for slot in [Slot::A, Slot::B] {
            let bytes = std::fs::read(sample.extract(&disk, Role::Root(slot))).unwrap();
            assert!(bytes.starts_with(&root));
            assert!(bytes[root.len()..].iter().all(|byte| *byte == 0));
        }
        let meta = std::fs::read(sample.extract(&disk, Role::Meta)).unwrap();
        assert!(meta.len() == 1 << 20 && meta.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn mtools_finds_the_files_of_the_esp_at_their_fixed_size() {
        let sample = Sample::new();
        let disk = sample.disk();
        let esp = sample.extract(&disk, Role::Esp);
        let listing = judge("mdir", "mtools", &["-b", "-/", "-a", "::/", "-i"], &esp);
        assert_eq!(
            listing,
            "::/EFI/\n::/loader/\n::/EFI/BOOT/\n::/EFI/Linux/\n::/EFI/BOOT/BOOTX64.EFI\n\
             ::/EFI/Linux/1b.efi\n::/EFI/Linux/2a.efi\n::/loader/loader.conf\n"
        );
        let settings = judge("mtype", "mtools", &["::/loader/loader.conf", "-i"], &esp);
        assert_eq!(settings, "timeout 0\neditor no\n");
        for alias in ["SLOTA", "SLOTB"] {
            let copy = sample.directory.path().join(alias);
            let source = format!("::/EFI/Linux/{alias}");
            let arguments = ["-i", esp.to_str().unwrap(), &source];
            judge("mcopy", "mtools", &arguments, &copy);
            let bytes = std::fs::read(copy).unwrap();
            assert_eq!(bytes.len() as u64, sample.layout.uki().bytes());
            assert!(bytes == sample.inputs().uki.content().clone().into_bytes(), "{alias}");
        }
    }

    #[test]
    fn equal_inputs_give_equal_bytes_also_over_an_old_file() {
        let sample = Sample::new();
        let (one, two) = (sample.disk(), sample.directory.path().join("two.raw"));
        std::fs::write(&two, vec![0xFF; 150 << 20]).unwrap();
        let file = File::options().write(true).open(&two).unwrap();
        write(&sample.layout, &sample.inputs(), &file).unwrap();
        judge("cmp", "diffutils", &[one.to_str().unwrap()], &two);
    }

    #[test]
    fn the_image_is_sparse() {
        let sample = Sample::new();
        let meta = std::fs::metadata(sample.disk()).unwrap();
        assert_eq!(meta.len(), sample.layout.disk_size());
        // Two UKIs of 2 MiB, two roots of 3 MB with a hole of 2, tables.
        assert!(meta.blocks() * 512 < 14 << 20, "{}", meta.blocks() * 512);
    }

    #[test]
    fn what_is_padded_to_another_size_is_our_own_mistake() {
        let sample = Sample::new();
        let loader = tests::loader(4096);
        let inputs = Inputs { uki: &loader, ..sample.inputs() };
        let file = tempfile::tempfile().unwrap();
        assert_eq!(write(&sample.layout, &inputs, &file).unwrap_err().id(), Id::Bug);
        assert_eq!(file.metadata().unwrap().len(), 0, "nothing was written");
    }

    #[test]
    fn a_root_that_grew_after_planning_is_refused() {
        let sample = Sample::new();
        let file = File::options().write(true).open(&sample.root).unwrap();
        file.set_len(9 << 20).unwrap();
        let disk = tempfile::tempfile().unwrap();
        let error = write(&sample.layout, &sample.inputs(), &disk).unwrap_err();
        assert_eq!(error.id(), Id::RootTooLarge);
        assert_eq!(disk.metadata().unwrap().len(), 0, "nothing was written");
    }

    #[test]
    fn a_loader_that_fills_the_esp_is_refused() {
        let sample = Sample::new();
        let loader = tests::loader(40 << 20);
        let inputs = Inputs { loader: &loader, ..sample.inputs() };
        let error = write(&sample.layout, &inputs, &tempfile::tempfile().unwrap()).unwrap_err();
        assert_eq!(error.id(), Id::EspTooSmall);
    }

    #[test]
    fn the_default_sizes_of_a_recipe_are_enough_for_two_ukis() {
        let disk = Disk::default();
        let layout =
            Layout::plan(Architecture::Amd64, &disk, Mib(700).bytes(), Uuid::nil(), &[]).unwrap();
        assert_eq!(layout.uki(), disk.uki);
    }
}
