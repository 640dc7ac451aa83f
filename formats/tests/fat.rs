//! `fsck.vfat` and mtools judge the FAT32 volumes.
#![expect(clippy::disallowed_methods, reason = "judges are outside programs")]

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use formats::fat::{Alias, Content, File, Options, Piece, Plan, Volume};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

/// Standard output of a judge that must be content.
fn judge(program: &str, package: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .env("MTOOLS_SKIP_CHECK", "0")
        .output()
        .unwrap_or_else(|_| panic!("`{program}` is needed: install the package `{package}`"));
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{program} {arguments:?}: {text}{errors}"
    );
    output.stdout
}

fn assert_clean(image: &Path) {
    let output = judge("fsck.vfat", "dosfstools", &["-n", "-v", "-V", image.to_str().unwrap()]);
    let text = String::from_utf8(output).unwrap();
    for bad in ["differ", "wrong", "Bad", "bad ", "Unused", "not ", "Not ", "dirty", "Dirty"] {
        assert!(!text.contains(bad), "{bad}: {text}");
    }
}

fn mtype(image: &Path, path: &str) -> Vec<u8> {
    judge("mtype", "mtools", &["-i", image.to_str().unwrap(), &format!("::/{path}")])
}

fn options(size: u64) -> Options {
    Options {
        size,
        first_lba: 2048,
        volume_id: 0xC0FF_EE01,
        label: "ESP".to_owned(),
        epoch: 1_700_000_000,
    }
}

fn file(path: &str, content: &[u8]) -> File {
    File { path: path.to_owned(), alias: None, content: Content::Bytes(content.to_vec()) }
}

/// Writes as the builder does: zeros stay holes.
fn write(plan: &Plan, size: u64, external: &[&[u8]], path: &Path) {
    let image = std::fs::File::create(path).unwrap();
    image.set_len(size).unwrap();
    for segment in plan.segments() {
        let bytes = match &segment.piece {
            Piece::Bytes(bytes) => bytes,
            Piece::External(id) => external[*id],
            Piece::Zeros => continue,
        };
        assert_eq!(bytes.len() as u64, segment.length);
        image.write_all_at(bytes, segment.offset).unwrap();
    }
}

#[test]
fn an_esp_as_the_builder_makes_it_is_clean_and_reads_back() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("esp.img");
    let uki: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let slot = |path: &str, alias: &str, id| File {
        path: path.to_owned(),
        alias: Some(Alias::new(alias).unwrap()),
        content: Content::External { id, size: 5_000_000 },
    };
    let files = vec![
        file("EFI/BOOT/BOOTX64.EFI", &[7; 124_416]),
        file("loader/loader.conf", b"timeout 0\n"),
        slot("EFI/Linux/2a.efi", "SLOTA", 0),
        slot("EFI/Linux/1b.efi", "SLOTB", 0),
    ];
    let plan = Plan::new(&options(128 * MIB), files).unwrap();
    write(&plan, 128 * MIB, &[&uki], &image);
    assert_clean(&image);
    assert_eq!(mtype(&image, "loader/loader.conf"), b"timeout 0\n");
    assert_eq!(mtype(&image, "EFI/Linux/2a.efi"), uki);
    assert_eq!(mtype(&image, "EFI/Linux/SLOTB"), uki);
    assert_eq!(mtype(&image, "EFI/BOOT/BOOTX64.EFI"), [7; 124_416]);
    let listing =
        judge("mdir", "mtools", &["-i", image.to_str().unwrap(), "-b", "-/", "-a", "::/"]);
    assert_eq!(
        String::from_utf8(listing).unwrap(),
        "::/EFI/\n::/loader/\n::/EFI/BOOT/\n::/EFI/Linux/\n::/EFI/BOOT/BOOTX64.EFI\n\
         ::/EFI/Linux/1b.efi\n::/EFI/Linux/2a.efi\n::/loader/loader.conf\n"
    );
    let long = judge("mdir", "mtools", &["-i", image.to_str().unwrap(), "::/EFI/Linux"]);
    let long = String::from_utf8(long).unwrap();
    assert!(long.contains("Volume in drive : is ESP"), "{long}");
    assert!(long.contains("Volume Serial Number is C0FF-EE01"), "{long}");
    assert!(long.contains("SLOTA          5000000 2023-11-14  22:13  2a.efi"), "{long}");
}

#[test]
fn a_volume_that_is_full_to_the_last_cluster_is_clean() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("full.img");
    let size = 40 * MIB;
    let content = Content::External { id: 0, size: size * 2 };
    let file = |content| vec![File { path: "fill".to_owned(), alias: None, content }];
    let error = Plan::new(&options(size), file(content)).unwrap_err();
    let formats::fat::FatError::Full { available, .. } = error else { panic!("{error}") };
    // The root takes a cluster, and the file begins on a multiple of eight.
    let bytes = vec![1; usize::try_from(available - 8 * 512).unwrap()];
    let plan = Plan::new(&options(size), file(Content::Bytes(bytes.clone()))).unwrap();
    write(&plan, size, &[], &image);
    assert_clean(&image);
    assert_eq!(mtype(&image, "fill"), bytes);
}

#[test]
fn a_volume_that_mkfs_made_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("theirs.img");
    let image = path.to_str().unwrap();
    judge(
        "mkfs.vfat",
        "dosfstools",
        &["-C", "-F32", "-s2", "-n", "THEIRS", "-i", "12345678", image, "81920"],
    );
    let content = directory.path().join("content");
    std::fs::write(&content, [5; 100_000]).unwrap();
    let content = content.to_str().unwrap();
    judge("mmd", "mtools", &["-i", image, "::/EFI", "::/EFI/Linux"]);
    judge("mcopy", "mtools", &["-i", image, content, "::/EFI/Linux/some long name.efi"]);
    judge("mcopy", "mtools", &["-i", image, content, "::/lower.efi"]);
    let bytes = std::fs::read(&path).unwrap();
    let volume = Volume::parse_bytes(&bytes).unwrap();
    assert_eq!((volume.id, volume.label.as_str()), (0x1234_5678, "THEIRS"));
    assert_eq!(volume.cluster_bytes, 1024);
    for path in ["EFI/Linux/some long name.efi", "lower.efi"] {
        let entry = volume.entry(path).unwrap_or_else(|| panic!("{path} in {volume:?}"));
        let read = entry.extents.iter().flat_map(|extent| {
            let start = usize::try_from(extent.offset).unwrap();
            &bytes[start..start + usize::try_from(extent.length).unwrap()]
        });
        assert!(read.eq(&[5; 100_000]), "{path}");
    }
}

fn part() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_+~-]{1,14}(\\.[A-Za-z0-9]{1,5})?"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_list_of_files_is_clean_and_reads_back(
        list in prop::collection::vec(
            (prop::collection::vec(part(), 1..4), prop::collection::vec(any::<u8>(), 0..9000)),
            0..25,
        ),
    ) {
        // One content a path, in any case, and no file that is another one's directory.
        let mut files = BTreeMap::new();
        for (parts, content) in list {
            // A letter per level keeps files and directories apart.
            let (name, parents) = parts.split_last().unwrap();
            let parents = parents.iter().map(|part| format!("d{part}/").to_uppercase());
            files.insert(parents.collect::<String>() + &format!("f{name}").to_lowercase(), content);
        }
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("random.img");
        let list = files.iter().map(|(path, content)| file(path, content)).collect();
        let plan = Plan::new(&options(34 * MIB), list).unwrap();
        write(&plan, 34 * MIB, &[], &image);
        assert_clean(&image);
        let volume = Volume::parse_bytes(&std::fs::read(&image).unwrap()).unwrap();
        for (path, content) in &files {
            prop_assert_eq!(&mtype(&image, path), content);
            let extent = plan.file_extent(path).unwrap();
            prop_assert_eq!(extent.length, content.len() as u64);
            let entry = volume.entry(path).unwrap();
            prop_assert_eq!(&entry.path, path);
            prop_assert_eq!(&entry.extents[..], if content.is_empty() { &[][..] } else { std::slice::from_ref(&extent) });
        }
    }
}
