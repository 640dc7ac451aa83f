//! `blkid` is the judge, of what the makers of file systems make; those that are not everywhere are
//! made by hand from their headers.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::*;

const PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

#[expect(clippy::disallowed_methods, reason = "a test asks the outside judge")]
fn run(program: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(program)
        .env("PATH", PATH)
        .args(arguments)
        .arg(file)
        .output()
        .unwrap_or_else(|error| panic!("`{program}` must be installed: {error}"));
    // blkid's 2 is "nothing found".
    let code = output.status.code();
    assert!(code == Some(0) || program == "blkid" && code == Some(2), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn probe_file(path: &Path) -> Option<Found> {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    let mut read = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    };
    probe(&mut read, size)
}

/// What `blkid` calls it: type, UUID, label.
fn judged(path: &Path) -> (String, Option<String>, Option<String>) {
    let text = run("blkid", &["-p", "-o", "export"], path);
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)).map(|text| text.replace('\\', ""))
    };
    (value("TYPE=").unwrap_or_default(), value("UUID="), value("LABEL="))
}

#[test]
fn volumes_are_called_what_blkid_calls_them() {
    let directory = tempfile::tempdir().unwrap();
    for (program, arguments, mib, kind) in [
        ("mkfs.ext4", &["-q", "-L", "data one"][..], 8, Kind::Ext),
        ("mkfs.ext2", &["-q"], 4, Kind::Ext),
        ("mkfs.vfat", &["-F", "12", "-n", "STICK"], 2, Kind::Vfat),
        ("mkfs.vfat", &["-F", "16"], 16, Kind::Vfat),
        ("mkfs.vfat", &["-F", "32", "-s", "1", "-n", "A LABEL"], 48, Kind::Vfat),
        ("mkswap", &["-L", "more"], 4, Kind::Swap),
        ("mkswap", &["-p", "65536"], 4, Kind::Swap),
    ] {
        let path = directory.path().join("volume");
        File::create(&path).unwrap().set_len(mib << 20).unwrap();
        run(program, arguments, &path);
        let found = probe_file(&path).unwrap();
        let (_, uuid, label) = judged(&path);
        assert!(uuid.is_some(), "{program} {arguments:?}");
        assert_eq!((found.kind, found.uuid, found.label), (kind, uuid, label), "{program}");
    }
}

#[test]
fn what_was_made_by_hand_is_called_what_blkid_calls_it() {
    let directory = tempfile::tempdir().unwrap();
    let id: Vec<u8> = (1..=16).collect();
    let text = "01020304-0506-0708-090a-0b0c0d0e0f10";
    let xfs = [(0, &b"XFSB\0\0\x10\0"[..]), (32, &id), (108, b"logs")];
    let luks = [(0, &b"LUKS\xba\xbe\0\x02"[..]), (24, b"vault"), (168, text.as_bytes())];
    for (kind, parts, label, is_whole) in [
        (Kind::Xfs, &xfs[..], "logs", false),
        (Kind::Luks, &luks[..], "vault", false),
        (
            Kind::Btrfs,
            &[(0x10040, &b"_BHRfS_M"[..]), (0x10020, &id), (0x1012b, b"pool")],
            "pool",
            false,
        ),
        (
            Kind::Erofs,
            &[(1024, &[0xe2, 0xe1, 0xf5, 0xe0][..]), (1072, &id), (1088, b"root")],
            "root",
            false,
        ),
        (
            Kind::Iso9660,
            &[
                (0x8000, &b"\x01CD001\x01"[..]),
                (0x8028, b"CIDATA                          "),
                (0x8000 + 813, b"2026010203040500"),
                (0x8000 + 830, b"0000000000000000"),
                (0x8800, b"\xffCD001\x01"),
            ],
            "CIDATA",
            true,
        ),
    ] {
        let path = directory.path().join("volume");
        let file = File::create(&path).unwrap();
        file.set_len(20 << 20).unwrap();
        for (at, bytes) in parts {
            file.write_all_at(bytes, *at).unwrap();
        }
        let found = probe_file(&path).unwrap();
        let uuid = if kind == Kind::Iso9660 { "2026-01-02-03-04-05-00" } else { text };
        assert_eq!((found.kind, found.uuid.as_deref()), (kind, Some(uuid)));
        assert_eq!(found.label.as_deref(), Some(label));
        // The others have checksums that blkid looks at.
        if is_whole {
            let (_, uuid, label) = judged(&path);
            assert_eq!((found.uuid, found.label), (uuid, label));
        }
    }
}

#[test]
fn a_serial_number_of_fat_counts_where_blkid_sees_one() {
    let directory = tempfile::tempdir().unwrap();
    for (bits, mib, signature_at) in [("12", 2, 0x26), ("16", 16, 0x26), ("32", 48, 0x42)] {
        let path = directory.path().join(bits);
        File::create(&path).unwrap().set_len(mib << 20).unwrap();
        run("mkfs.vfat", &["-F", bits, "-s", "1", "-i", "1234abcd"], &path);
        for (signature, counts) in [(0x29, true), (0x28, true), (0, false), (0x2a, false)] {
            let file = File::options().write(true).open(&path).unwrap();
            file.write_all_at(&[signature], signature_at).unwrap();
            let uuid = probe_file(&path).unwrap().uuid;
            assert_eq!(uuid, judged(&path).1, "{bits} {signature:#x}");
            assert_eq!(uuid.is_some(), counts || bits == "32", "{bits} {signature:#x}");
        }
    }
}

#[test]
fn a_part_of_something_is_no_volume_and_two_formats_are_none() {
    let of = |parts: &[(usize, &[u8])]| {
        let mut disk = vec![0; 2 << 20];
        for (at, bytes) in parts {
            disk[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        let mut read = |at: u64, length: usize| {
            let at = usize::try_from(at).ok()?;
            disk.get(at..at.checked_add(length)?).map(<[u8]>::to_vec)
        };
        probe(&mut read, 2 << 20).map(|found| (found.kind, found.uuid))
    };
    let ext = (1024 + 0x38, &[0x53, 0xef][..]);
    let id = (1024 + 0x68, &[7; 16][..]);
    let md = [0xfc, 0x4e, 0x2b, 0xa9];
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[ext]), Some((Kind::Ext, None)));
    for at in [0, 4096, (2 << 20) - 8192, (2 << 20) - 65536] {
        assert_eq!(of(&[(at, &md), ext, id]), Some((Kind::RaidMember, None)), "{at}");
    }
    let label = [b"LABELONE".as_slice(), &[0; 16], b"LVM2 001"].concat();
    assert_eq!(of(&[(512, &label), ext, id]), Some((Kind::LvmMember, None)));
    assert_eq!(of(&[(4086, b"SWAPSPACE2"), ext, id]), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        parts in prop::collection::vec((0_usize..0x11000, prop::collection::vec(any::<u8>(), 1..40)), 0..20),
        mark in 0_usize..8,
        length in 0_usize..0x12000,
    ) {
        let marks: [(usize, &[u8]); 8] = [
            (0, b"XFSB"), (1080, &[0x53, 0xef]), (0x10040, b"_BHRfS_M"), (0x8000, b"\x01CD001"),
            (1024, &[0xe2, 0xe1, 0xf5, 0xe0]), (0, b"LUKS\xba\xbe\0\x01"), (4086, b"SWAPSPACE2"),
            (0x1fe, &[0x55, 0xaa]),
        ];
        let mut disk = vec![0; 0x12000];
        for (at, bytes) in &parts {
            disk[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        let (at, bytes) = marks[mark];
        disk[at..at + bytes.len()].copy_from_slice(bytes);
        disk.truncate(length);
        let mut read = |at: u64, length: usize| {
            let at = usize::try_from(at).ok()?;
            disk.get(at..at.checked_add(length)?).map(<[u8]>::to_vec)
        };
        let _ = probe(&mut read, length as u64);
    }
}
