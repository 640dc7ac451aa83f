//! What is told of disks, root images, UKIs and builds, and what is refused.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use formats::digest::Sha256;
use formats::erofs;
use formats::gpt;
use formats::segment::Segment;
use formats::tree::{Blob, Node, Tree, TreePath};
use formats::verity::Verity;

use super::*;
use crate::image::disk::Slot;
use crate::image::tests::{Sample, uki};

/// A root image with its hash tree, and the root hash.
fn root_image() -> (Vec<u8>, Sha256) {
    let content = b"nothing much\n".repeat(1000);
    let mut tree = Tree::new();
    let blob = Blob { sha256: Sha256::of(&content), size: content.len() as u64 };
    tree.insert(TreePath::new("usr/file").unwrap(), Node::file(blob, 0o644)).unwrap();
    let uuid = *b"0123456789abcdef";
    let options = erofs::Options { epoch: 86_400, uuid, volume_name: "sample".to_owned() };
    let mut image = Vec::new();
    for segment in erofs::Plan::new(&tree, &options).unwrap().segments() {
        let end = image.len() + usize::try_from(segment.size()).unwrap();
        match segment {
            Segment::Bytes(bytes) => image.extend(bytes),
            Segment::Blob { .. } => image.extend(&content),
        }
        image.resize(end, 0);
    }
    let verity = Verity::of(&uuid, &image).unwrap();
    image.extend(verity.tree);
    (image, verity.root_hash)
}

/// The disk of a sample that has a root image in both slots.
fn sample_disk() -> (Sample, PathBuf) {
    let sample = Sample::new();
    fs::write(&sample.root, root_image().0).unwrap();
    let disk = sample.disk();
    (sample, disk)
}

fn check(path: &Path, want: &Expect) {
    want.assert_eq(&inspect(path).unwrap().to_string());
}

#[test]
fn a_disk_is_shown_with_its_slots_files_and_entries() {
    let (_sample, disk) = sample_disk();
    check(
        &disk,
        &expect![[r#"
            disk image, 71 MiB
              GUID          e4996fcd-3e3a-57d1-968f-6bf6bd11190d

            partition        at       size  PARTUUID                              content
              ESP         1 MiB     36 MiB  44de35ea-05f4-50a5-af6b-fec96974169a  FAT32
              META       37 MiB      1 MiB  f1f4f1e4-a2f5-5780-ab4f-f9ac0200d068  zeros
              ROOT-A     38 MiB      8 MiB  129bf0e7-a994-5d23-83e1-c09d144b013d  EROFS `sample`
              ROOT-B     46 MiB      8 MiB  0a983c5d-40b9-57d0-bf21-85e3c131520e  EROFS `sample`
              STATE      54 MiB     16 MiB  dbb70dae-6e52-5883-80f6-9230fdea684f  ext4 `STATE`, 16 MiB

            root image in ROOT-A and ROOT-B
              volume        sample
              UUID          30313233-3435-3637-3839-616263646566
              build time    1970-01-02 00:00:00 UTC
              EROFS         0.3 MiB in 3 inodes
              hash tree     <0.1 MiB, not checked
              root hash     c3c330071ab30eed89f0aa6ab94322b6b137a3cc91b4b0a3d84a0662690b4d7d

            files of the EFI system partition `ESP`
                 0.1 MiB  EFI/BOOT/BOOTX64.EFI
                 2.0 MiB  EFI/Linux/1b.efi
                 2.0 MiB  EFI/Linux/2a.efi
                <0.1 MiB  loader/loader.conf

            boot entry EFI/Linux/1b.efi
              slot          B
              kernel        6.12.117
              signature     none
              command line  orlop.root=partuuid:x,y ro

            boot entry EFI/Linux/2a.efi
              slot          A
              kernel        6.12.117
              signature     none
              command line  orlop.root=partuuid:x,y ro
        "#]],
    );
}

#[test]
fn a_root_image_is_shown_with_the_root_hash_that_its_tree_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.img");
    let (image, root_hash) = root_image();
    fs::write(&path, &image).unwrap();
    let Summary::Root(root) = inspect(&path).unwrap() else { panic!("no root image") };
    assert_eq!(root.root_hash.map(|hash| hash.0), Some(root_hash));
    assert_eq!(root.data_size + root.tree_size, image.len() as u64);
    check(
        &path,
        &expect![[r#"
            root image, 0.3 MiB
              volume        sample
              UUID          30313233-3435-3637-3839-616263646566
              build time    1970-01-02 00:00:00 UTC
              EROFS         0.3 MiB in 3 inodes
              hash tree     <0.1 MiB, not checked
              root hash     c3c330071ab30eed89f0aa6ab94322b6b137a3cc91b4b0a3d84a0662690b4d7d
        "#]],
    );

    let data = usize::try_from(root.data_size).unwrap();
    fs::write(&path, &image[..data]).unwrap();
    let Summary::Root(root) = inspect(&path).unwrap() else { panic!("no root image") };
    assert_eq!((root.root_hash, root.tree_size), (None, 0), "the tree was cut off");

    for (damage, what) in [
        (&image[..data - 1], "and only"),
        (&[&image[..1024 + 70], b"x", &image[1024 + 71..]].concat(), "its checksum is"),
    ] {
        fs::write(&path, damage).unwrap();
        let error = inspect(&path).unwrap_err();
        assert_eq!(error.id(), Id::DamagedImage);
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_slot_whose_superblock_is_damaged_is_told_and_no_error() {
    let (sample, disk) = sample_disk();
    let file = File::options().write(true).open(&disk).unwrap();
    let slot = sample.layout.partition(Role::Root(Slot::B)).start();
    file.write_all_at(b"x", slot + 1024 + 70).unwrap();
    let Summary::Disk(disk) = inspect(&disk).unwrap() else { panic!("no disk") };
    assert!(matches!(disk.partitions[2].content, FileSystem::Erofs(_)));
    assert!(matches!(disk.partitions[3].content, FileSystem::Damaged { .. }));
    assert!(Summary::Disk(disk).to_string().contains("damaged: the EROFS superblock"));
}

/// The report of a build, small and with every kind of line.
const REPORT_TEXT: &str = r#"{
  "schema": 3,
  "image": "base",
  "version": "0.1.0",
  "kernel": "6.12.117+deb13-cloud-amd64",
  "root": {
    "hash": "85ab71ae8bcbc062d6a1e5d8121aff8a72d37b409962b00734b0985d6f3f359b",
    "salt": "f07a60736e0a57dd9dcca97b37838978",
    "data-size": 89907200,
    "size": 90624000,
    "paths": 153
  },
  "command-line": "orlop.root=partuuid:2debb2b9-0613-5323-bbc1-2229294f77dc gpt ro panic=5 oops=panic console=ttyS0,115200 quiet",
  "components": { "base": 2738, "containerd": 53551356, "init": 1895616 },
  "dropped": {
    "/usr/share/doc/**": { "paths": 45, "bytes": 307986 },
    "/usr/lib/x86_64-linux-gnu/libnsl.so.1": { "paths": 1, "bytes": 96472 }
  },
  "packages": { "libc6": "2.41-12+deb13u4", "ca-certificates": "20250419+deb13u1" },
  "uki-size": 13014016,
  "initrd-size": 1182917,
  "disk-size": 1815085056,
  "artifacts": [
    { "kind": "command-line", "name": "cmdline", "size": 12 },
    { "kind": "root", "name": "root.img", "size": 3145728 }
  ]
}"#;

#[test]
fn a_build_is_shown_with_what_is_in_it_and_what_was_left_out() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(REPORT), REPORT_TEXT).unwrap();
    fs::write(directory.path().join("root.img"), vec![0; 3 << 20]).unwrap();
    check(
        directory.path(),
        &expect![[r#"
            build of `base`, version 0.1.0
              kernel        6.12.117+deb13-cloud-amd64
              root          86.4 MiB in 153 paths (EROFS 85.7 MiB, hash tree 0.7 MiB)
              root hash     85ab71ae8bcbc062d6a1e5d8121aff8a72d37b409962b00734b0985d6f3f359b
              salt          f07a60736e0a57dd9dcca97b37838978
              UKI           12.4 MiB, without padding
              initrd        1.1 MiB
              disk          1731 MiB
              command line  orlop.root=partuuid:2debb2b9-0613-5323-bbc1-2229294f77dc gpt ro panic=5
                            oops=panic console=ttyS0,115200 quiet

            components, 52.9 MiB of file content
                51.1 MiB  96.6 %  containerd
                 1.8 MiB   3.4 %  init
                <0.1 MiB   0.0 %  base

            Debian packages
              ca-certificates  20250419+deb13u1
              libc6            2.41-12+deb13u4

            left out of packages, 0.4 MiB in 46 paths
                 0.3 MiB    45 paths  /usr/share/doc/**
                 0.1 MiB     1 path   /usr/lib/x86_64-linux-gnu/libnsl.so.1

            files
                    gone  cmdline
                 3.0 MiB  root.img
        "#]],
    );
    let json = serde_json::to_value(inspect(directory.path()).unwrap()).unwrap();
    assert_eq!(
        (json["kind"].as_str(), json["report"]["image"].as_str()),
        (Some("build"), Some("base"))
    );
    assert_eq!(json["files"][0], serde_json::json!({ "name": "cmdline", "size": null }));

    let newer = REPORT_TEXT.replacen("\"schema\": 3", "\"schema\": 4, \"later\": 1", 1);
    fs::write(directory.path().join(REPORT), newer).unwrap();
    let error = inspect(directory.path()).unwrap_err();
    assert!(error.to_string().ends_with("it has schema 4, and this one knows 3"), "{error}");

    fs::write(directory.path().join(REPORT), "{}").unwrap();
    let error = inspect(directory.path()).unwrap_err();
    assert_eq!(error.id(), Id::DamagedImage);
    assert!(error.to_string().ends_with("is not the report of a build"), "{error}");
}

#[test]
fn a_uki_is_shown_with_its_sections() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("uki.efi");
    fs::write(&path, uki(5000)).unwrap();
    check(
        &path,
        &expect![[r#"
            unified kernel image, <0.1 MiB
              kernel        6.12.117
              signature     none
              command line  orlop.root=partuuid:x,y ro

            sections
                <0.1 MiB  .text
                <0.1 MiB  .osrel
                <0.1 MiB  .cmdline
                <0.1 MiB  .uname
                <0.1 MiB  .linux
                <0.1 MiB  .initrd

            os-release
              ID=orlop
              NAME=OrlopOS
              ORLOP_VERSION=7
        "#]],
    );
}

fn refused(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.img");
    fs::write(&path, bytes).unwrap();
    let error = inspect(&path).unwrap_err();
    assert_eq!(error.id(), Id::NotOurImage, "{error}");
    error.to_string().replace(&path.display().to_string(), "x.img")
}

#[test]
fn a_disk_of_ours_is_told_in_full() {
    let sample = Sample::new();
    let path = sample.disk();
    let Summary::Disk(disk) = inspect(&path).unwrap() else { panic!("no disk") };
    let names: Vec<_> = disk.partitions.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["ESP", "META", "ROOT-A", "ROOT-B", "STATE"]);
    assert_eq!(disk.partitions[1].content, FileSystem::Zeros);
    let state = FileSystem::Ext4 { label: "STATE".to_owned(), size: 16 << 20 };
    assert_eq!(disk.partitions[4].content, state);
    assert!(disk.esp_files.iter().all(|file| file.contiguous));
    let slots: Vec<_> = disk
        .entries
        .iter()
        .map(|(path, uki)| (path.as_str(), uki.as_ref().unwrap().slot))
        .collect();
    assert_eq!(slots, [("EFI/Linux/1b.efi", Some(Slot::B)), ("EFI/Linux/2a.efi", Some(Slot::A))]);
    let text = Summary::Disk(disk).to_string();
    for line in ["  ROOT-A ", "EFI/Linux/2a.efi", "6.12.117", "partuuid:x,y"] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let directory = inspect(sample.directory.path()).unwrap();
    assert_eq!(directory.to_string(), text, "a build's directory is its disk");
}

#[test]
fn a_uki_is_told_with_its_sections_and_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("uki.efi");
    fs::write(&path, uki(5000)).unwrap();
    let Summary::Uki(uki) = inspect(&path).unwrap() else { panic!("no UKI") };
    assert_eq!(uki.command_line.as_deref(), Some("orlop.root=partuuid:x,y ro"));
    assert_eq!(uki.kernel.as_deref(), Some("6.12.117"));
    assert_eq!(uki.os_release["NAME"], "OrlopOS");
    assert_eq!(uki.sections.last().unwrap().name, ".initrd");
    let json = serde_json::to_value(Summary::Uki(uki)).unwrap();
    assert_eq!((&json["kind"], &json["slot"]), (&"uki".into(), &serde_json::Value::Null));
}

#[test]
fn what_is_not_ours_says_what_it_is() {
    let prefix = "`x.img` is not an image that orlop made: it is ";
    let mut gpt = vec![0; 1 << 20];
    let table = Table::new(gpt::Guid::from_uuid_bytes([1; 16]), 2048, Vec::new()).unwrap();
    let head = table.encode().head;
    gpt[..head.len()].copy_from_slice(&head);
    for (bytes, what) in [
        (&b""[..], "an empty file"),
        (b"hello\n", "a text file"),
        (b"\x7FELF\x02\x01\x01\x00", "an ELF program"),
        (b"QFI\xFB\0\0\0\x03", "a qcow2 image"),
        (b"\x1F\x8B\x08\0\0\0\0\0", "a gzip file"),
        (&[0; 5000], "nothing but zeros"),
        (&[0xFE; 5000], "of no kind that is known"),
        (&gpt, "a disk without partitions"),
        (b"MZ", "an unusable EFI program"),
    ] {
        assert_eq!(refused(bytes), format!("{prefix}{what}"));
    }
    gpt[520] ^= 1;
    assert_eq!(refused(&gpt), format!("{prefix}a disk whose partition table is not usable"));
}

#[test]
fn an_esp_that_cannot_be_read_is_damage() {
    let sample = Sample::new();
    let path = sample.disk();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 512], sample.layout.partition(Role::Esp).start()).unwrap();
    let error = inspect(&path).unwrap_err();
    assert_eq!(error.id(), Id::DamagedImage);
    assert!(error.chain().ends_with("is damaged: it is not a FAT32 volume"), "{}", error.chain());
}

#[test]
fn an_entry_without_its_first_sector_is_told_as_unfinished() {
    let sample = Sample::new();
    let path = sample.disk();
    let Summary::Disk(disk) = inspect(&path).unwrap() else { panic!("no disk") };
    assert!(disk.entries["EFI/Linux/1b.efi"].is_some());
    // Zero the first sector of slot B's file wherever it is.
    let bytes = fs::read(&path).unwrap();
    let starts: Vec<_> =
        (0..bytes.len()).step_by(512).filter(|at| bytes[*at..].starts_with(b"MZ")).collect();
    let [_, second] = starts[..] else { panic!("{starts:?}") };
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 512], second as u64).unwrap();
    let Summary::Disk(disk) = inspect(&path).unwrap() else { panic!("no disk") };
    assert!(disk.entries["EFI/Linux/1b.efi"].is_none());
    assert!(disk.entries["EFI/Linux/2a.efi"].is_some());
    assert!(Summary::Disk(disk).to_string().contains("no UKI"));
}

#[test]
fn a_path_that_is_not_there_is_an_error_of_reading() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(inspect(&directory.path().join("x")).unwrap_err().id(), Id::Read);
    assert_eq!(inspect(directory.path()).unwrap_err().id(), Id::NotOurImage);
}
