//! Disks of guests: over an image, kept, and of one's own.

use formats::erofs;
use formats::gpt::{Guid, Partition, types};
use formats::verity::Verity;

use super::*;

/// A disk of 1 MiB with these partitions, of a sector each.
fn gpt(names: &[&str]) -> Vec<u8> {
    gpt_of(types::LINUX_DATA, names)
}

fn gpt_of(type_guid: Guid, names: &[&str]) -> Vec<u8> {
    let partition = |(first_lba, name): (u64, &&str)| Partition {
        type_guid,
        guid: Guid::from_uuid_bytes(u128::from(first_lba).to_be_bytes()),
        name: (*name).to_owned(),
        first_lba,
        last_lba: first_lba,
        attributes: 0,
    };
    let partitions = (HEAD_SECTORS..).zip(names).map(partition).collect();
    let table = Table::new(Guid::from_uuid_bytes([1; 16]), 2048, partitions).unwrap().encode();
    let mut disk = table.head;
    disk.resize(usize::try_from(table.tail_offset).unwrap(), 0);
    disk.extend(table.tail);
    disk
}

fn ours() -> Vec<u8> {
    gpt(&Role::ALL.map(Role::name))
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("disk.raw"), ours()).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn prepare(&self, options: &Options) -> Result<Disk> {
        prepare(&Image::open(&options.image)?, options, self.0.path())
    }

    fn convert(&self, from: &str, to: &str) {
        let convert = Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]);
        convert.arg(self.path(from)).arg(self.path(to)).run().unwrap();
    }

    fn info(path: &Path) -> serde_json::Value {
        let info = Command::new("qemu-img").args(["info", "--output=json"]).arg(path).run();
        serde_json::from_slice(&info.expect("install `qemu-utils`")).unwrap()
    }
}

#[test]
fn the_guest_gets_an_overlay_of_the_size_asked_for() {
    let place = Place::new();
    let mut options = Options::new(place.path("disk.raw"));
    options.disk_size = Some(Mib(64));
    let disk = place.prepare(&options).unwrap();
    assert_eq!((disk.format, disk.fate), (Format::Qcow2, Fate::ThrownAway));
    let info = Place::info(&disk.path);
    assert_eq!(info["virtual-size"], 64 * 1024 * 1024);
    assert_eq!(info["backing-filename"], options.image.to_str().unwrap());
    assert_eq!(info["backing-filename-format"], "raw");
}

#[test]
fn an_image_for_another_machine_is_refused_in_words() {
    let place = Place::new();
    for (architecture, refused) in [(Architecture::Amd64, false), (Architecture::Arm64, true)] {
        let disk = gpt_of(architecture.root_type(), &Role::ALL.map(Role::name));
        fs::write(place.path("disk.raw"), disk).unwrap();
        for path in [place.path("disk.raw"), place.path("")] {
            let result = Image::open(&path).unwrap().check_architecture();
            assert_eq!(result.is_err(), refused);
            let Err(error) = result else { continue };
            assert_eq!(error.id(), Id::NotOurImage);
            let said = "disk.raw` is an image for arm64, which cannot be run";
            assert!(error.chain().ends_with(said), "{}", error.chain());
        }
    }
}

#[test]
fn a_kept_disk_is_made_once_continued_and_grown() {
    let place = Place::new();
    let mut options = Options::new(place.path("disk.raw"));
    options.disk = Some(place.path("kept"));
    let first = place.prepare(&options).unwrap();
    assert_eq!((first.format, first.fate), (Format::Qcow2, Fate::Kept));
    let bytes = fs::read(&first.path).unwrap();
    let second = place.prepare(&options).unwrap();
    assert_eq!((second.format, second.fate), (Format::Qcow2, Fate::Kept));
    assert_eq!(fs::read(&second.path).unwrap(), bytes);
    options.disk_size = Some(Mib(8));
    place.prepare(&options).unwrap();
    assert_eq!(Place::info(&second.path)["virtual-size"], 8 * 1024 * 1024);
    options.disk_size = Some(Mib(4));
    assert_eq!(place.prepare(&options).unwrap_err().id(), Id::DiskTooSmall);
}

/// A disk with a root in slot A, which begins with `salt`.
fn with_root(salt: u8) -> Vec<u8> {
    let mut tree = formats::tree::Tree::new();
    let path = formats::tree::TreePath::new("a").unwrap();
    tree.insert(path, formats::tree::Node::directory(0o755)).unwrap();
    let options = erofs::Options { epoch: 0, uuid: [salt; 16], volume_name: "sample".to_owned() };
    let plan = erofs::Plan::new(&tree, &options).unwrap();
    let mut root = Vec::new();
    for segment in plan.segments() {
        let formats::segment::Segment::Bytes(bytes) = segment else { panic!("no files") };
        root.extend_from_slice(&bytes);
    }
    let tree = Verity::of(&[salt; 16], &root).unwrap().tree;
    root.extend(tree);
    let partition = |first_lba: u64, sectors: u64, name: &str| Partition {
        type_guid: types::LINUX_DATA,
        guid: Guid::from_uuid_bytes(u128::from(first_lba).to_be_bytes()),
        name: name.to_owned(),
        first_lba,
        last_lba: first_lba + sectors - 1,
        attributes: 0,
    };
    let mut first = HEAD_SECTORS;
    let partitions = Role::ALL.map(|role| {
        let sectors = 512;
        first += sectors;
        partition(first - sectors, sectors, role.name())
    });
    let start = usize::try_from(partitions[2].first_lba * SECTOR).unwrap();
    let table = Table::new(Guid::from_uuid_bytes([1; 16]), 8192, partitions.to_vec());
    let table = table.unwrap().encode();
    let mut disk = table.head;
    disk.resize(usize::try_from(table.tail_offset).unwrap(), 0);
    disk[start..start + root.len()].copy_from_slice(&root);
    disk.extend(table.tail);
    disk
}

#[test]
fn a_disk_kept_over_an_image_that_was_built_again_is_one_clear_error() {
    for (convert, name) in [(false, "disk.raw"), (true, "disk.qcow2")] {
        let place = Place::new();
        let image = |disk: &[u8]| {
            fs::write(place.path("disk.raw"), disk).unwrap();
            if convert {
                place.convert("disk.raw", "disk.qcow2");
            }
        };
        image(&with_root(1));
        let mut options = Options::new(place.path(name));
        options.disk = Some(place.path("kept"));
        place.prepare(&options).unwrap();
        place.prepare(&options).unwrap();
        let (disk, record) = (fs::read(place.path("kept")), fs::read(place.path("kept.base")));

        image(&with_root(2));
        let error = place.prepare(&options).unwrap_err();
        assert_eq!(error.id(), Id::OtherBase);
        assert!(error.chain().contains("the root hash was "), "{}", error.chain());
        image(&ours());
        let error = place.prepare(&options).unwrap_err();
        assert!(error.chain().ends_with("its partitions are others"), "{}", error.chain());
        assert_eq!(fs::read(place.path("kept")).unwrap(), disk.unwrap());
        assert_eq!(fs::read(place.path("kept.base")).unwrap(), record.unwrap());

        image(&with_root(1));
        place.prepare(&options).unwrap();
    }
}

#[test]
fn an_image_that_was_moved_is_found_again_by_the_disk_over_it() {
    let place = Place::new();
    fs::write(place.path("disk.raw"), with_root(1)).unwrap();
    let mut options = Options::new(place.path("disk.raw"));
    options.disk = Some(place.path("kept"));
    place.prepare(&options).unwrap();
    fs::copy(place.path("disk.raw"), place.path("moved.raw")).unwrap();
    fs::remove_file(place.path("disk.raw")).unwrap();
    options.image = place.path("moved.raw");
    place.prepare(&options).unwrap();
    let moved = options.image.canonicalize().unwrap();
    let info = Place::info(&place.path("kept"));
    assert_eq!(info["backing-filename"], moved.to_str().unwrap());
}

#[test]
fn a_kernel_from_the_image_finds_its_root_on_a_disk_of_ones_own() {
    let place = Place::new();
    fs::write(place.path("disk.raw"), with_root(1)).unwrap();
    let mut options = Options::new(place.path("disk.raw"));
    fs::copy(&options.image, place.path("mine.raw")).unwrap();
    options.disk = Some(place.path("mine.raw"));
    options.direct = true;
    place.prepare(&options).unwrap();
    fs::write(place.path("disk.raw"), with_root(2)).unwrap();
    assert_eq!(place.prepare(&options).unwrap_err().id(), Id::OtherBase);
    // Firmware starts what is on the disk itself.
    options.direct = false;
    place.prepare(&options).unwrap();
}

#[test]
fn a_raw_file_can_be_the_kept_disk() {
    let place = Place::new();
    let mut options = Options::new(place.path("disk.raw"));
    fs::copy(&options.image, place.path("kept.raw")).unwrap();
    options.disk = Some(place.path("kept.raw"));
    let disk = place.prepare(&options).unwrap();
    assert_eq!((disk.format, disk.fate), (Format::Raw, Fate::Kept));
}

#[test]
fn a_disk_in_memory_is_the_image_itself_and_must_be_raw() {
    let place = Place::new();
    let mut options = Options::new(place.path("disk.raw"));
    options.pmem = true;
    let disk = place.prepare(&options).unwrap();
    assert_eq!((disk.format, disk.fate, disk.bytes), (Format::Raw, Fate::ThrownAway, 1 << 20));
    assert_eq!(disk.path, options.image.canonicalize().unwrap());
    place.convert("disk.raw", "disk.qcow2");
    options.image = place.path("disk.qcow2");
    let error = place.prepare(&options).unwrap_err();
    assert_eq!(error.id(), Id::NotOurImage);
    assert!(error.chain().ends_with("which cannot be memory"), "{}", error.chain());
}

#[test]
fn a_disk_does_not_shrink() {
    let place = Place::new();
    fs::write(place.path("disk.raw"), {
        let mut disk = ours();
        disk.resize(3 * 1024 * 1024, 0);
        disk
    })
    .unwrap();
    let mut options = Options::new(place.path("disk.raw"));
    options.disk_size = Some(Mib(2));
    let error = place.prepare(&options).unwrap_err();
    assert_eq!(error.id(), Id::DiskTooSmall);
    assert!(error.chain().starts_with("a disk of 2 MiB is too small"), "{}", error.chain());
    assert!(error.chain().ends_with("has 3 MiB"), "{}", error.chain());
}

#[test]
fn what_is_not_ours_is_refused_with_the_reason() {
    let place = Place::new();
    for (content, why) in [
        (Vec::new(), "an empty file"),
        (b"#!/bin/sh\n".to_vec(), "a text file"),
        (vec![0; 65536], "nothing but zeros"),
        (gpt(&[]), "a disk without partitions"),
        (gpt(&["ESP", "STATE"]), "a disk with the partitions `ESP`, `STATE`"),
    ] {
        fs::write(place.path("other"), content).unwrap();
        let error = place.prepare(&Options::new(place.path("other"))).unwrap_err();
        assert_eq!(error.id(), Id::NotOurImage);
        assert!(error.chain().ends_with(&format!("it is {why}")), "{}", error.chain());
    }
}

#[test]
fn a_disk_whose_first_table_was_torn_is_still_ours() {
    let place = Place::new();
    let mut torn = ours();
    torn[512..1024].fill(0);
    fs::write(place.path("disk.raw"), &torn).unwrap();
    place.convert("disk.raw", "disk.qcow2");
    for name in ["disk.raw", "disk.qcow2"] {
        place.prepare(&Options::new(place.path(name))).unwrap();
    }
    let tail = torn.len() - 1;
    torn[tail - 511] ^= 1;
    fs::write(place.path("disk.raw"), &torn).unwrap();
    place.convert("disk.raw", "disk.qcow2");
    for name in ["disk.raw", "disk.qcow2"] {
        let error = place.prepare(&Options::new(place.path(name))).unwrap_err();
        assert_eq!(error.id(), Id::NotOurImage);
    }
}

#[test]
fn a_qcow2_image_is_looked_into() {
    let place = Place::new();
    place.convert("disk.raw", "disk.qcow2");
    let disk = place.prepare(&Options::new(place.path("disk.qcow2"))).unwrap();
    assert_eq!(Place::info(&disk.path)["backing-filename-format"], "qcow2");
    fs::write(place.path("zeros"), vec![0; 65536]).unwrap();
    place.convert("zeros", "zeros.qcow2");
    let error = place.prepare(&Options::new(place.path("zeros.qcow2"))).unwrap_err();
    assert_eq!(error.id(), Id::NotOurImage);
}

#[test]
fn a_directory_needs_a_disk_and_only_a_direct_boot_needs_more() {
    let place = Place::new();
    let image = Image::open(place.0.path()).unwrap();
    place.prepare(&Options::new(place.0.path())).unwrap();
    let error = image.direct_boot().unwrap_err();
    assert_eq!(error.id(), Id::NotOurImage);
    assert!(error.chain().ends_with("a directory without `cmdline`"), "{}", error.chain());

    for (name, content) in [("cmdline", "ro console=x\n"), ("vmlinuz", ""), ("initrd", "")] {
        fs::write(place.path(name), content).unwrap();
    }
    let Boot::Direct { command_line, .. } = image.direct_boot().unwrap() else {
        panic!("not direct");
    };
    assert_eq!(command_line, "ro console=x");
    let alone = Image::open(&place.path("disk.raw")).unwrap();
    assert_eq!(alone.direct_boot().unwrap_err().id(), Id::NotOurImage);

    fs::remove_file(place.path("disk.raw")).unwrap();
    let error = Image::open(place.0.path()).unwrap_err();
    assert_eq!(error.id(), Id::NotOurImage);
    assert!(error.chain().ends_with("a directory without `disk.raw`"), "{}", error.chain());
}
