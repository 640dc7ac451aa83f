//! Where an updater writes on a disk, with `fsck.vfat` and mtools as judges of what it leaves.
#![expect(clippy::disallowed_methods, reason = "judges are outside programs")]

#[path = "../../formats/src/boot_entries/firmware.rs"]
mod firmware;

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use formats::boot_entries::{Name, SECTOR_BYTES, Slot};
use formats::fat::{Alias, Content, Extent, Options, Piece, Plan};
use formats::gpt::{Guid, Partition, Table, types};
use tempfile::TempDir;
use updater::device::{Device, FileDevice, Part};
use updater::esp::{Esp, EspError, parts};

const MIB: u64 = 1 << 20;
const UKI: usize = 8192;

fn judge(program: &str, package: &str, arguments: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output = output.unwrap_or_else(|_| panic!("`{program}` is needed: install `{package}`"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && output.stderr.is_empty(), "{program}: {text}");
    text
}

fn assert_clean(image: &Path) {
    let text = judge("fsck.vfat", "dosfstools", &["-n", "-v", "-V", image.to_str().unwrap()]);
    for bad in ["differ", "wrong", "Bad", "bad ", "Unused", "not ", "Not ", "dirty", "Dirty"] {
        assert!(!text.contains(bad), "{bad}: {text}");
    }
}

#[derive(Clone)]
struct Sample {
    _directory: Rc<TempDir>,
    path: PathBuf,
    sector: u64,
}

impl Sample {
    /// A volume with these files.
    fn new(files: &[(&str, Option<&str>, usize)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("esp.img");
        let options = Options {
            size: 34 * MIB,
            first_lba: 2048,
            volume_id: 1,
            label: "ESP".to_owned(),
            epoch: 1_700_000_000,
        };
        let files = files.iter().map(|(path, alias, size)| formats::fat::File {
            path: (*path).to_owned(),
            alias: alias.map(|alias| Alias::new(alias).unwrap()),
            content: Content::Bytes(vec![7; *size]),
        });
        let plan = Plan::new(&options, files.collect()).unwrap();
        let file = File::create_new(&path).unwrap();
        file.set_len(34 * MIB).unwrap();
        for segment in plan.segments() {
            if let Piece::Bytes(bytes) = segment.piece {
                file.write_all_at(&bytes, segment.offset).unwrap();
            }
        }
        let sector = plan.directory_sector("EFI/Linux").unwrap_or(0);
        Self { _directory: Rc::new(directory), path, sector }
    }

    fn device(&self) -> FileDevice {
        FileDevice::new(File::options().read(true).write(true).open(&self.path).unwrap()).unwrap()
    }

    fn refused(&self) -> String {
        let error = Esp::find(&self.device()).unwrap_err();
        let source = std::error::Error::source(&error).map(|error| format!(": {error}"));
        format!("{error}{}", source.unwrap_or_default())
    }
}

const A: (&str, Option<&str>, usize) = ("EFI/Linux/2a.efi", Some("SLOTA"), UKI);
const B: (&str, Option<&str>, usize) = ("EFI/Linux/1b.efi", Some("SLOTB"), UKI);

#[test]
fn the_directory_is_rewritten_and_every_judge_is_content() {
    let sample = Sample::new(&[("EFI/BOOT/BOOTX64.EFI", None, 3000), A, B]);
    let mut device = sample.device();
    let esp = Esp::find(&device).unwrap();
    assert_eq!(esp.uki_size(), UKI as u64);
    assert_ne!(esp.uki(Slot::A).offset, esp.uki(Slot::B).offset);
    let mut directory = esp.directory(&device).unwrap();
    for names in [["2a+3.efi", "1b.efi"], ["2a.efi", "3b+3.efi"], ["999a+2-1.efi", "998b+0-3.efi"]]
    {
        let names = names.map(|name| name.parse::<Name>().unwrap());
        directory = directory.renamed(&names);
        esp.write(&mut device, &directory).unwrap();
        assert_eq!(esp.directory(&device).unwrap().names(), names);
        assert_clean(&sample.path);
        let image = sample.path.to_str().unwrap();
        let listing = judge("mdir", "mtools", &["-b", "-i", image, "::/EFI/Linux"]);
        assert_eq!(listing, names.map(|name| format!("::/EFI/Linux/{name}\n")).concat());
        for alias in ["SLOTA", "SLOTB"] {
            let path = format!("::/EFI/Linux/{alias}");
            assert_eq!(judge("mtype", "mtools", &["-i", image, &path]).len(), UKI);
        }
        assert_eq!(Esp::find(&device).unwrap(), esp, "the files stay where they are");
    }
}

#[test]
fn what_firmware_and_linux_left_is_swept_away() {
    let sample = Sample::new(&[A, B]);
    let mut device = sample.device();
    let mut bytes = vec![0; SECTOR_BYTES];
    device.read_at(sample.sector, &mut bytes).unwrap();
    firmware::rename(&mut bytes, "2a.efi", "2a+2-1.efi");
    firmware::rename(&mut bytes, "2a+2-1.efi", "2a+1-2.efi");
    firmware::torn_rename(&mut bytes, "4b.efi");
    device.write_at(sample.sector, &bytes).unwrap();
    let esp = Esp::find(&device).unwrap();
    let directory = esp.directory(&device).unwrap();
    assert_eq!(directory.names().map(|name| name.to_string()), ["2a+1-2.efi", "1b.efi"]);
    esp.write(&mut device, &directory).unwrap();
    assert_clean(&sample.path);
    let image = sample.path.to_str().unwrap();
    let listing = judge("mdir", "mtools", &["-b", "-i", image, "::/EFI/Linux"]);
    assert_eq!(listing, "::/EFI/Linux/2a+1-2.efi\n::/EFI/Linux/1b.efi\n");
}

/// Firmware that renames a sixth time gives the directory a second cluster, which is swept too.
#[test]
fn a_directory_that_firmware_made_longer_is_one_sector_again() {
    // As many files as make two sectors; then it is as if firmware had appended to it.
    let padding: Vec<_> = (0..14).map(|at| format!("EFI/Linux/PAD{at}")).collect();
    let mut files: Vec<_> = padding.iter().map(|path| (path.as_str(), None, 0)).collect();
    files.extend([A, B]);
    let sample = Sample::new(&files);
    let mut device = sample.device();
    let volume = std::fs::read(&sample.path).unwrap();
    let volume = formats::fat::Volume::parse_bytes(&volume).unwrap();
    let extent = volume.entry("EFI/Linux").unwrap().extents[0];
    assert_eq!(extent.length, 1024);
    let mut bytes = vec![0; 1024];
    device.read_at(extent.offset, &mut bytes).unwrap();
    // The padding becomes what is deleted.
    for record in bytes.chunks_mut(32).filter(|record| record.starts_with(b"PAD")) {
        record[0] = 0xE5;
    }
    device.write_at(extent.offset, &bytes).unwrap();
    let esp = Esp::find(&device).unwrap();
    let directory = esp.directory(&device).unwrap();
    esp.write(&mut device, &directory).unwrap();
    device.read_at(extent.offset, &mut bytes).unwrap();
    assert!(bytes[6 * 32..].iter().all(|byte| *byte == 0));
    assert_eq!(esp.directory(&device).unwrap(), directory);
    assert_clean(&sample.path);
}

#[test]
fn a_foreign_partition_is_refused_in_words() {
    let foreign = "this is a foreign EFI system partition: ";
    let said = |files: &[(&str, Option<&str>, usize)]| Sample::new(files).refused();
    let other = "`EFI/Linux` is not ours: `fedora.efi` is no boot entry of ours, such as `2a.efi` or \
                 `1b+3.efi`";
    assert_eq!(said(&[A, B, ("EFI/Linux/fedora.efi", None, 9)]), format!("{foreign}{other}"));
    assert_eq!(
        said(&[("EFI/BOOT/BOOTX64.EFI", None, 9)]),
        format!("{foreign}there is no `EFI/Linux`")
    );
    let one = "`EFI/Linux` is not ours: slot B has no boot entry";
    assert_eq!(said(&[A]), format!("{foreign}{one}"));
    let short = ("EFI/Linux/1b.efi", None, UKI - 512);
    assert_eq!(said(&[A, short]), format!("{foreign}the two UKIs are not of one size"));
    let odd = ("EFI/Linux/1b.efi", None, UKI - 1);
    assert_eq!(said(&[A, odd]), format!("{foreign}a UKI is not in one piece of whole sectors"));
    // A gap in the chain of the first UKI: its third cluster is the last one of the other.
    let sample = Sample::new(&[A, B]);
    let esp = Esp::find(&sample.device()).unwrap();
    let table = {
        let mut boot = [0; 512];
        sample.device().read_at(0, &mut boot).unwrap();
        u64::from(u16::from_le_bytes([boot[14], boot[15]])) * 512
    };
    let directory = esp.directory(&sample.device()).unwrap();
    let [a, b] = Slot::BOTH.map(|slot| u64::from(directory.entry(slot).first_cluster));
    let mut device = sample.device();
    let last = u32::try_from(b + 15).unwrap();
    device.write_at(table + (a + 14) * 4, &last.to_le_bytes()).unwrap();
    assert_eq!(sample.refused(), format!("{foreign}a UKI is not in one piece of whole sectors"));
    device.write_at(510, &[0]).unwrap();
    assert_eq!(
        sample.refused(),
        "the EFI system partition cannot be read: it is not a FAT32 volume"
    );
}

#[test]
fn the_partitions_of_a_whole_disk_are_found_by_their_names() {
    let sample = Sample::new(&[A, B]);
    let part = |name: &str, type_guid, number: u8, mib: u64, size: u64| Partition {
        type_guid,
        guid: Guid::from_uuid_bytes([number; 16]),
        name: name.to_owned(),
        first_lba: mib * 2048,
        last_lba: (mib + size) * 2048 - 1,
        attributes: 0,
    };
    let list = vec![
        part("ESP", types::ESP, 1, 1, 34),
        part("META", types::ORLOP_META, 2, 35, 1),
        part("ROOT-A", types::LINUX_DATA, 3, 36, 2),
        part("ROOT-B", types::LINUX_DATA, 4, 38, 2),
    ];
    let disk_of = |list: Vec<Partition>| {
        let file = tempfile::tempfile().unwrap();
        file.set_len(42 * MIB).unwrap();
        let table = Table::new(Guid::from_uuid_bytes([9; 16]), 42 * 2048, list).unwrap().encode();
        file.write_all_at(&table.head, 0).unwrap();
        file.write_all_at(&std::fs::read(&sample.path).unwrap(), MIB).unwrap();
        FileDevice::new(file).unwrap()
    };
    let disk = disk_of(list.clone());
    let found = parts(&disk).unwrap();
    let place = |mib: u64, size: u64| Extent { offset: mib * MIB, length: size * MIB };
    assert_eq!((found.esp, found.meta), (place(1, 34), place(35, 1)));
    assert_eq!(found.roots, [place(36, 2), place(38, 2)]);
    let esp = Part::new(disk, found.esp.offset, found.esp.length);
    assert_eq!(Esp::find(&esp).unwrap(), Esp::find(&sample.device()).unwrap());
    let error = parts(&disk_of(list[..3].to_vec())).unwrap_err();
    assert_eq!(error.to_string(), "the disk has no partition `ROOT-B`");
    let error = parts(&sample.device()).unwrap_err();
    assert_eq!(error.to_string(), "the disk has no partition table that can be read");
}

/// A device on which another process writes the directory each time that somebody has read it.
struct Shared {
    sample: Sample,
    writes: RefCell<Vec<[u8; SECTOR_BYTES]>>,
}

impl Device for Shared {
    fn size(&self) -> u64 {
        self.sample.device().size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.sample.device().read_at(offset, buffer)?;
        if (offset..offset + buffer.len() as u64).contains(&self.sample.sector)
            && let Some(next) = self.writes.borrow_mut().pop()
        {
            self.sample.device().write_at(self.sample.sector, &next)?;
        }
        Ok(())
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn who_looks_while_another_process_writes_looks_again() {
    let sample = Sample::new(&[A, B]);
    let esp = Esp::find(&sample.device()).unwrap();
    let directory = esp.directory(&sample.device()).unwrap();
    let sector = |names: [&str; 2]| {
        directory.renamed(&names.map(|name| name.parse::<Name>().unwrap())).sector()
    };
    let trial = sector(["2a.efi", "3b+2-1.efi"]);
    let promoted = sector(["2a.efi", "3b.efi"]);
    let foreign = b"\0".repeat(SECTOR_BYTES).try_into().unwrap();
    for writes in [vec![promoted], vec![trial, promoted], vec![promoted, foreign]] {
        let count = writes.len();
        sample.device().write_at(sample.sector, &trial).unwrap();
        let shared = Shared { sample: sample.clone(), writes: RefCell::new(writes) };
        assert_eq!(Esp::find(&shared).unwrap(), esp);
        assert!(shared.writes.borrow().is_empty(), "{count} writes");
    }
    // What stays foreign is foreign.
    let shared = Shared { sample: sample.clone(), writes: RefCell::new(vec![foreign]) };
    assert!(matches!(Esp::find(&shared), Err(EspError::Directory(_) | EspError::Foreign(_))));
}
