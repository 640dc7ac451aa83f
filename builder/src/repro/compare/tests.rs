//! Planted differences of every kind: each is named, with who made it and nothing else as a cause.

mod lies;

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use formats::architecture::Architecture;
use formats::digest::Sha256;
use formats::erofs;
use formats::fat::Volume;
use formats::gpt::{Guid, Table};
use formats::segment::Segment;
use formats::tree::{Blob, Node, TreePath};
use formats::uki::{self, Uki};
use formats::verity::Verity;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::contents::{File as ContentsFile, SCHEMA};
use crate::image::disk::{Layout, Role, Slot};
use crate::image::efi::{Made, Padded, Ready, Unsigned};
use crate::image::{disk as image_disk, tests as images};
use crate::recipe::model::{Disk, Mib};
use crate::repro::files::testing::Memory;
use crate::repro::initrd::tests::{Entry, packed};
use crate::repro::origin::TREE;
use crate::stored::Hex;

const UUIDS: [&str; 2] =
    ["0e9d8a3e-7f0a-4b6f-9d0c-0d6c1b7c2f11", "5b0c55b1-60ff-4c0a-8a43-9c9d3f2b8f52"];

/// All that a small build is made of.
#[derive(Clone)]
struct Sample {
    tree: Tree,
    blobs: BTreeMap<Sha256, Vec<u8>>,
    epoch: u64,
    uuid: [u8; 16],
    initrd: Vec<Entry<'static>>,
    packed_at: u32,
    vmlinuz: Vec<u8>,
    stub: Vec<u8>,
    command_line: &'static str,
    licence: &'static str,
    created: &'static str,
    inner: &'static str,
}

impl Sample {
    fn new() -> Self {
        let mut sample = Self {
            tree: Tree::new(),
            blobs: BTreeMap::new(),
            epoch: 0,
            uuid: [7; 16],
            initrd: vec![
                (".", 0o040_755, 0, 0, ""),
                ("init", 0o100_755, 0, 0, "PID 1"),
                ("lib", 0o040_755, 0, 0, ""),
                ("lib/dm.ko", 0o100_644, 0, 0, "module"),
            ],
            packed_at: 0,
            vmlinuz: images::stub(),
            stub: images::stub(),
            command_line: "console=ttyS0",
            licence: "MIT",
            created: "1970-01-01T00:00:00Z",
            inner: "inner",
        };
        for directory in ["etc", "usr", "usr/bin"] {
            sample.tree.insert(path(directory), Node::directory(0o755)).unwrap();
        }
        sample.file("etc/motd", b"welcome\nbuilt never\nbye\n");
        sample.file("etc/list", b"a\nb\nc\n");
        sample.file("usr/bin/runc", &[0xF9; 9000]);
        sample.file("usr/pause.tar", b"an image\0");
        sample.tree.insert(path("link"), Node::symlink("etc")).unwrap();
        sample
    }

    fn file(&mut self, name: &str, content: &[u8]) {
        let blob = Blob { sha256: Sha256::of(content), size: content.len() as u64 };
        self.blobs.insert(blob.sha256, content.to_vec());
        self.tree.remove(&path(name));
        self.tree.insert(path(name), Node::file(blob, 0o644)).unwrap();
    }

    fn node(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        let mut node = self.tree.get(&path(name)).unwrap().clone();
        change(&mut node);
        self.tree.remove(&path(name));
        self.tree.insert(path(name), node).unwrap();
    }

    fn root(&self) -> (Vec<u8>, Sha256) {
        let options =
            erofs::Options { epoch: self.epoch, uuid: self.uuid, volume_name: "tiny".into() };
        let mut bytes = Vec::new();
        for segment in erofs::Plan::new(&self.tree, &options).unwrap().segments() {
            match segment {
                Segment::Bytes(piece) => bytes.extend(piece),
                Segment::Blob { blob, padding } => {
                    bytes.extend(&self.blobs[&blob.sha256]);
                    bytes.resize(bytes.len() + usize::try_from(padding).unwrap(), 0);
                }
            }
        }
        let verity = Verity::of(&self.uuid, &bytes).unwrap();
        bytes.extend(&verity.tree);
        (bytes, verity.root_hash)
    }

    fn uki(&self, hash: Sha256, initrd: &[u8]) -> Ready {
        let line = self.line(hash);
        let sections = uki::Sections {
            osrel: b"ID=orlop\n",
            cmdline: line.as_bytes(),
            uname: b"6.0",
            linux: &self.vmlinuz,
            initrd,
        };
        let made = Made::new(uki::build(&self.stub, &sections).unwrap());
        made.pad(Mib(1), &Unsigned).unwrap().sign(&Unsigned).unwrap()
    }

    fn line(&self, hash: Sha256) -> String {
        format!("orlop.roothash={hash} {}", self.command_line)
    }

    fn contents(&self) -> Contents {
        let file = |place: &str, path: String, component: &str, content: &str| ContentsFile {
            place: place.into(),
            path,
            component: Some(component.into()),
            mode: "0644".into(),
            uid: 0,
            gid: 0,
            kind: contents::Kind::File {
                size: 1,
                sha256: Hex(Sha256::of(content)),
                sha1: String::new(),
            },
            libraries: Vec::new(),
        };
        let owner = |path: &str| match path {
            "/usr/bin/runc" => "deb/runc",
            "/usr/pause.tar" => "oci/pause",
            _ => "local/overlay",
        };
        let mut files: Vec<_> = self
            .tree
            .iter()
            .map(|(path, node)| {
                let path = path.to_string();
                let owner = owner(&path);
                file("root", path, owner, &format!("{node:?}"))
            })
            .collect();
        for (name, _, _, _, content) in &self.initrd {
            let owner = if *name == "init" { "cargo/init" } else { "deb/linux" };
            files.push(file("initrd", format!("/{name}"), owner, content));
        }
        files.push(file("boot", "/vmlinuz".into(), "deb/linux", &format!("{:?}", self.vmlinuz)));
        files.push(file("boot", "/stub".into(), "deb/systemd-boot-efi", "stub"));
        files.push(file("oci/pause", "/pause".into(), "oci/pause/cargo/pause", self.inner));
        files.sort_by(|one, two| (&one.place, &one.path).cmp(&(&two.place, &two.path)));
        let mut contents = crate::contents::tests::sample();
        contents.schema = SCHEMA;
        contents.files = files;
        contents.libraries.values_mut().for_each(|library| {
            if let contents::Library::Deb(deb) = library {
                deb.licence = Some(self.licence.into());
            }
        });
        contents
    }

    /// The files of the build but the disk.
    fn files(&self) -> Memory {
        let (root, hash) = self.root();
        let initrd = packed(&self.initrd, self.packed_at);
        let contents = self.contents();
        let sbom = crate::sbom::cyclonedx::document(&contents, &hash).to_string().into_bytes();
        let mut files: BTreeMap<String, Vec<u8>> = [
            (Kind::Root, root),
            (Kind::Kernel, self.vmlinuz.clone()),
            (Kind::CommandLine, self.line(hash).into_bytes()),
            (Kind::Uki, self.uki(hash, &initrd).content().clone().into_bytes()),
            (Kind::Initrd, initrd),
            (Kind::Manifest, manifest::text(&self.tree).into_bytes()),
            (Kind::Contents, serde_json::to_vec_pretty(&contents).unwrap()),
            (Kind::CycloneDx, sbom),
        ]
        .map(|(kind, bytes)| (kind.file_name().to_owned(), bytes))
        .into();
        let digests = |name: &str, bytes: &[u8]| json!({ "name": name, "sha256": Sha256::of(bytes).to_string() });
        let all: Vec<Value> = files.iter().map(|(name, bytes)| digests(name, bytes)).collect();
        let motd = format!("{:?}", self.tree.get(&path("etc/motd")));
        let material = json!({ "name": "local/overlay", "digest": Sha256::of(motd).to_string() });
        let definition = json!({ "resolvedDependencies": [material] });
        let provenance = json!({
            "subject": all,
            "created": self.created,
            "predicate": { "buildDefinition": definition },
        });
        files.insert(Kind::Provenance.file_name().into(), provenance.to_string().into_bytes());
        let all: Vec<Value> = files.iter().map(|(name, bytes)| digests(name, bytes)).collect();
        let line = self.line(hash);
        let report =
            json!({ "root": { "hash": hash.to_string() }, "command-line": line, "artifacts": all });
        files.insert(REPORT.into(), report.to_string().into_bytes());
        Memory(files)
    }

    /// A disk of this sample.
    fn disk(&self) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let root_path = directory.path().join("root");
        let (root, hash) = self.root();
        std::fs::write(&root_path, &root).unwrap();
        let sizes = Disk { esp: Mib(36), root: Mib(2), state: Mib(16), uki: Mib(1) };
        let seed = Uuid::from_u128(7);
        let layout =
            Layout::plan(Architecture::Amd64, &sizes, root.len() as u64, seed, &[]).unwrap();
        let uki = self.uki(hash, &packed(&self.initrd, 0));
        let loader = Padded::loader(self.stub.clone()).sign(&Unsigned).unwrap();
        let inputs = image_disk::Inputs { loader: &loader, uki: &uki, root: &root_path, epoch: 0 };
        let path = directory.path().join("disk");
        let file =
            File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        image_disk::write(&layout, &inputs, &file).unwrap();
        let mut bytes = vec![0; usize::try_from(layout.disk_size()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn compared(one: &Memory, two: &Memory) -> Comparison {
    compare(one, two, &BTreeSet::new()).unwrap()
}

/// The one cause of all that differs: file and place, component, step, look.
#[track_caller]
fn cause(comparison: &Comparison) -> (String, Option<&str>, Option<&str>, Option<Looks>) {
    let causes: Vec<_> = comparison.causes().collect();
    let places: Vec<_> =
        causes.iter().map(|cause| format!("{}: {}", cause.file, cause.place)).collect();
    assert_eq!(causes.len(), 1, "{places:#?}");
    let Difference { component, step, looks, .. } = causes[0];
    (places[0].clone(), component.as_deref(), step.as_deref(), *looks)
}

#[test]
fn a_build_is_the_same_as_itself() {
    let files = Sample::new().files();
    let comparison = compared(&files, &files);
    assert_eq!((comparison.differences.len(), comparison.compared.len()), (0, 10));
    assert_eq!(comparison.compared[0], "root.img");
    assert_eq!(comparison.compared[9], REPORT);
}

#[test]
fn each_planted_difference_has_one_cause_and_the_rest_follows_from_it() {
    type Change = fn(&mut Sample);
    let root = |place: &str| format!("root.img: {place}");
    let overlay = (Some("local/overlay"), Some(TREE));
    type Maker = (Option<&'static str>, Option<&'static str>);
    let cases: [(Change, String, Maker, Option<Looks>); 23] = [
        (
            |sample| sample.file("etc/motd", b"welcome\nbuilt 2026-11-29T10:00:00Z\nbye\n"),
            root("/etc/motd, content, line 2"),
            overlay,
            None,
        ),
        (
            |sample| sample.file("etc/list", b"b\na\nc\n"),
            root("/etc/list, content, order, line 1"),
            overlay,
            None,
        ),
        (|s| s.node("etc/motd", |node| node.uid = 7), root("/etc/motd, owner"), overlay, None),
        (|s| s.node("etc/motd", |node| node.gid = 7), root("/etc/motd, group"), overlay, None),
        (|s| s.node("etc/motd", |node| node.mode = 0o600), root("/etc/motd, mode"), overlay, None),
        (
            |s| s.node("etc/motd", |n| drop(n.xattrs.insert("user.x".into(), vec![1]))),
            root("/etc/motd, extended attribute user.x"),
            overlay,
            None,
        ),
        (|s| s.node("link", |n| *n = Node::symlink("usr")), root("/link, target"), overlay, None),
        (|s| s.node("link", |n| *n = Node::directory(0o777)), root("/link, type"), overlay, None),
        (
            |s| s.tree.remove(&path("etc/list")),
            root("/etc/list, is in one of them only"),
            overlay,
            None,
        ),
        (
            |sample| {
                let mut runc = vec![0xF9; 9000];
                runc[8000] = 0xF8;
                sample.file("usr/bin/runc", &runc);
            },
            root("/usr/bin/runc, content, byte 8000"),
            (Some("deb/runc"), Some("unpack runc")),
            None,
        ),
        (
            |sample| {
                sample.inner = "other";
                sample.file("usr/pause.tar", b"an imagE\0");
            },
            root("/usr/pause.tar, /pause"),
            (Some("oci/pause/cargo/pause"), Some("oci pause cargo pause")),
            None,
        ),
        (
            |sample| sample.epoch = 1_795_000_000,
            root("superblock, build time"),
            (None, Some("image")),
            Some(Looks::Time),
        ),
        (
            |sample| sample.uuid = [8; 16],
            root("superblock, UUID, the salt of the hash tree"),
            (None, Some("image")),
            Some(Looks::Uuid),
        ),
        (
            |sample| sample.initrd[1].3 = 1_795_000_000,
            "initrd: /init, time".into(),
            (Some("cargo/init"), Some("initrd")),
            Some(Looks::Time),
        ),
        (
            |sample| sample.initrd[1].4 = "PID one",
            "initrd: /init, content, line 1".into(),
            (Some("cargo/init"), Some("cargo init")),
            None,
        ),
        (
            |sample| sample.initrd[3].4 = "modulE",
            "initrd: /lib/dm.ko, content, line 1".into(),
            (Some("deb/linux"), Some("kernel")),
            None,
        ),
        (
            |sample| sample.initrd.swap(1, 3),
            "initrd: entries, order".into(),
            (None, Some("initrd")),
            None,
        ),
        (
            |sample| sample.packed_at = 1_795_000_000,
            "initrd: time of gzip".into(),
            (None, Some("initrd")),
            Some(Looks::Time),
        ),
        (
            |sample| sample.vmlinuz[0x410] ^= 1,
            "vmlinuz: section .text, byte 16".into(),
            (Some("deb/linux"), Some("kernel")),
            None,
        ),
        (
            |sample| sample.stub[0x410] ^= 1,
            "uki.efi: section .text, byte 16".into(),
            (Some("deb/systemd-boot-efi"), Some("unpack systemd-boot-efi")),
            None,
        ),
        (
            |sample| sample.stub[0x48] ^= 1,
            "uki.efi: PE header, TimeDateStamp".into(),
            (None, Some("image")),
            Some(Looks::Time),
        ),
        (
            |sample| sample.licence = "ISC",
            "contents.json: `libraries.deb/libc6-dev@1.21-1+b1.licence`".into(),
            (None, Some("image")),
            None,
        ),
        (
            |sample| sample.created = "2026-11-29T10:00:00Z",
            "provenance.json: `created`".into(),
            (None, Some("image")),
            Some(Looks::Time),
        ),
    ];
    let plain = Sample::new();
    let files = plain.files();
    for (change, place, (component, step), looks) in cases {
        let mut sample = plain.clone();
        change(&mut sample);
        let comparison = compared(&files, &sample.files());
        assert_eq!(cause(&comparison), (place, component, step, looks));
        assert!(comparison.differing.contains(&REPORT.to_owned()), "{comparison:?}");
    }
}

#[test]
fn a_time_and_a_random_uuid_in_a_file_look_like_what_they_are() {
    let sample = |text: &str| {
        let mut sample = Sample::new();
        sample.file("etc/motd", text.as_bytes());
        sample.files()
    };
    for (one, two, looks) in [
        ("at 2026-11-29T10:00:00Z", "at 2028-01-03T11:00:00Z", Looks::Time),
        (UUIDS[0], UUIDS[1], Looks::Uuid),
        ("in /var/tmp/one/x", "in /home/two/x", Looks::Path),
    ] {
        let comparison = compared(&sample(one), &sample(two));
        assert_eq!(cause(&comparison).3, Some(looks));
        let first = comparison.causes().next().unwrap();
        assert_eq!((first.one.as_deref(), first.two.as_deref()), (Some(one), Some(two)));
    }
}

#[test]
fn two_causes_are_told_one_by_one() {
    let mut sample = Sample::new();
    let files = sample.files();
    sample.command_line = "console=ttyS1";
    sample.node("etc/motd", |node| node.mode = 0o600);
    sample.epoch = 5;
    let comparison = compared(&files, &sample.files());
    let causes: Vec<_> =
        comparison.causes().map(|cause| format!("{}: {}", cause.file, cause.place)).collect();
    assert_eq!(
        causes[..3],
        ["root.img: superblock, build time", "root.img: /etc/motd, mode", "cmdline: line 1",]
    );
}

/// Somebody has changed bytes of a file, and nothing else of the build.
#[test]
fn a_changed_byte_of_a_root_image_is_told_by_what_it_belongs_to() {
    let sample = Sample::new();
    let files = sample.files();
    let options = erofs::Options { epoch: 0, uuid: sample.uuid, volume_name: "tiny".into() };
    let plan = erofs::Plan::new(&sample.tree, &options).unwrap();
    let runc = plan.content(&path("usr/bin/runc")).unwrap();
    let motd = plan.content(&path("etc/motd")).unwrap();
    // The first name of the root, behind its inode.
    let names = 4096 + 32;
    let image = plan.image_size();
    for (byte, want) in [
        (runc + 4321, "/usr/bin/runc, content, byte 4321".to_owned()),
        (motd, "/etc/motd, content, line 1".to_owned()),
        // The root's inode is the first, at block 1.
        (4096 + 4, "/, mode".to_owned()),
        (4096 + 6, "/, inode, number of links".to_owned()),
        (4096 + 12, "/, inode, time".to_owned()),
        (4096 + 20, "/, inode, inode number".to_owned()),
        (names + 8, format!("/, names of the directory, byte {}", names + 8)),
        (motd + 24, format!("padding, byte {}", motd + 24)),
        (runc + 9001, format!("padding, byte {}", runc + 9001)),
        (image + 100, "hash tree, byte 100".to_owned()),
        (1024 + 64, "superblock, volume name".to_owned()),
        (100, "superblock, byte 100".to_owned()),
    ] {
        let mut two = files.clone();
        two.0.get_mut("root.img").unwrap()[usize::try_from(byte).unwrap()] ^= 1;
        let comparison = compared(&files, &two);
        assert_eq!(cause(&comparison).0, format!("root.img: {want}"));
        assert_eq!(comparison.differing, ["root.img"]);
    }
    let mut two = files.clone();
    two.0.remove("manifest.txt");
    assert_eq!(cause(&compared(&files, &two)).0, "manifest.txt: is in one of them only");
    // The image has its tree itself.
    let mut one = two.clone();
    let runc = usize::try_from(runc).unwrap();
    one.0.get_mut("root.img").unwrap()[runc] ^= 1;
    assert_eq!(cause(&compared(&one, &two)).0, "root.img: /usr/bin/runc, content, byte 0");
    // Without one there is the byte.
    for files in [&mut one, &mut two] {
        files.0.get_mut("root.img").unwrap()[1024] = 0;
    }
    assert_eq!(cause(&compared(&one, &two)).0, format!("root.img: byte {runc}"));
    let longer = |more: usize| {
        let mut files = files.clone();
        let root = files.0.get_mut("root.img").unwrap();
        root.resize(root.len() + more, 0);
        files
    };
    for (one, two) in [(longer(0), longer(4096)), (longer(9), longer(8))] {
        assert_eq!(cause(&compared(&one, &two)).0, "root.img: size");
    }
    let mut two = longer(4096);
    *two.0.get_mut("root.img").unwrap().last_mut().unwrap() = 1;
    let place = cause(&compared(&longer(4096), &two)).0;
    assert!(place.starts_with("root.img: padding, byte "), "{place}");
    let mut two = files.clone();
    two.0.get_mut("root.img").unwrap().truncate(4096);
    assert_eq!(cause(&compared(&files, &two)).0, "root.img: size");
}

#[test]
fn a_changed_byte_of_a_disk_is_told_by_partition_and_field() {
    let sample = Sample::new();
    let disk = sample.disk();
    let with = |disk: Vec<u8>| {
        let mut files = sample.files();
        files.0.insert("disk.raw".into(), disk);
        files
    };
    let files = with(disk.clone());
    let table = Table::parse(&disk, disk.len() as u64 / 512).unwrap();
    let start =
        |role: Role| usize::try_from(table.partition(role.name()).unwrap().offset()).unwrap();
    let esp = start(Role::Esp);
    let entry = disk[esp..].windows(11).position(|window| window == b"SLOTA      ").unwrap() + esp;
    let state = start(Role::State) + 1024;
    let volume = Volume::parse_bytes(&disk[esp..start(Role::Meta)]).unwrap();
    let placed = volume.entry("EFI/Linux/2a.efi").unwrap().extents[0].offset;
    let uki = sample.uki(sample.root().1, &packed(&sample.initrd, 0));
    let uki = uki.content().clone().into_bytes();
    let inner = Uki::parse(&uki).unwrap().section(".linux").unwrap().as_ptr() as usize;
    let sectors = |at: usize, size: usize| {
        disk[esp + at..][..size].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let second_fat = (sectors(14, 2) + sectors(36, 4)) * 512;
    let root_bytes = sample.root().0.len();
    let root_end = start(Role::Root(Slot::A)) + root_bytes;
    let linux = esp + usize::try_from(placed).unwrap() + inner - uki.as_ptr() as usize;
    for (byte, want) in [
        (esp + 67, "partition ESP, boot sector, volume serial number"),
        (
            entry + 22,
            "partition ESP, /EFI/Linux, names of the directory, record of SLOTA, time of change",
        ),
        (start(Role::Meta) + 9, "partition META, byte 9"),
        (state + 0x68, "partition STATE, superblock, UUID"),
        (state + 0x30, "partition STATE, superblock, time of the last write"),
        (state + 0xEC, "partition STATE, superblock, seed of directory hashes"),
        (
            start(Role::Root(Slot::B)) + 1024 + 48,
            "partition ROOT-B, superblock, UUID, the salt of the hash tree",
        ),
        (linux + 0x410, "partition ESP, /EFI/Linux/2a.efi, section .linux, section .text, byte 16"),
        (disk.len() - 1, "backup of the partition table, byte 16895"),
        (3, "partition table, protective MBR, byte 3"),
        (512 + 24, "partition table, header, sector of this header"),
        (1024 + 128 * 5 + 3, "partition table, entry 6, byte 3"),
        (34 * 512 + 7, "padding, byte 17415"),
        (esp + 512 + 488, "partition ESP, FSInfo, byte 488"),
        (esp + 6 * 512 + 67, "partition ESP, backup of the boot sector, byte 67"),
        (esp + 9 * 512, "partition ESP, reserved sectors, byte 4608"),
        (esp + second_fat + 3, "partition ESP, FAT 2, byte 3"),
        (start(Role::Meta) - 1, "partition ESP, padding, byte 37748735"),
        (root_end, &format!("partition ROOT-A, padding, byte {root_bytes}")),
    ] {
        let mut two = disk.clone();
        two[byte] ^= 1;
        assert_eq!(cause(&compared(&files, &with(two))).0, format!("disk.raw: {want}"));
    }
    let mut longer = disk.clone();
    longer.resize(disk.len() + 512, 0);
    assert_eq!(cause(&compared(&files, &with(longer))).0, "disk.raw: size");
    let other = Guid::from_uuid_bytes([9; 16]);
    let changed = |disk_guid: Guid, root_a: Guid| {
        let mut partitions = table.partitions().to_vec();
        partitions[2].guid = root_a;
        let table = Table::new(disk_guid, table.disk_sectors(), partitions).unwrap().encode();
        let mut two = disk.clone();
        two[..table.head.len()].copy_from_slice(&table.head);
        let tail = usize::try_from(table.tail_offset).unwrap();
        two[tail..tail + table.tail.len()].copy_from_slice(&table.tail);
        let comparison = compared(&files, &with(two));
        cause(&comparison).0
    };
    let own = table.partitions()[2].guid;
    assert_eq!(changed(other, own), "disk.raw: partition table, GUID of the disk");
    assert_eq!(changed(table.disk_guid(), other), "disk.raw: partition table, GUID of ROOT-A");
}
