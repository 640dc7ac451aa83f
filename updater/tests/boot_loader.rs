//! The boot loader is replaced on a disk that records every write and flush. After a power cut at any moment,
//! with any part of what was not flushed, firmware finds one whole loader, the old one or the new one, and
//! all else as it was; and another run comes to its end from there. `fsck.vfat` and mtools judge the ends.
#![expect(clippy::disallowed_methods, reason = "judges are outside programs")]

#[allow(dead_code, reason = "the model uses more of it")]
#[path = "model/disk.rs"]
mod disk;
#[path = "shared/loader.rs"]
#[expect(unreachable_pub, reason = "other tests share it")]
mod loader_file;

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use formats::digest::Sha256;
use formats::fat::{Alias, Content, FatError, File, Options, Piece, Plan, Volume};
use updater::boot_loader::{LoaderError, Outcome, Terms, installed, own_architecture, update};
use updater::esp::Esp;

use loader_file::{loader, signed, stub};

use disk::{Disk, Handle, Image, Numbers, SECTOR, cuts};

const SIZE: u64 = 34 << 20;
const UKI: usize = 8192;
const INSTALLED: &str = "EFI/systemd/systemd-bootx64.efi";

fn file(path: &str, alias: Option<&str>, bytes: Vec<u8>) -> File {
    let alias = alias.map(|alias| Alias::new(alias).unwrap());
    File { path: path.to_owned(), alias, content: Content::Bytes(bytes) }
}

/// An EFI system partition with this loader and these files more.
fn volume(loader: Option<&[u8]>, more: Vec<File>) -> Image {
    try_volume(loader, more).unwrap()
}

fn try_volume(loader: Option<&[u8]>, more: Vec<File>) -> Result<Image, FatError> {
    let options = Options {
        size: SIZE,
        first_lba: 2048,
        volume_id: 1,
        label: "ESP".to_owned(),
        epoch: 1_700_000_000,
    };
    let loader = loader.map(|bytes| file(own_architecture().boot_file(), None, bytes.to_vec()));
    let mut files: Vec<_> = loader.into_iter().collect();
    files.push(file("loader/loader.conf", None, b"timeout 0\n".to_vec()));
    files.push(file("EFI/Linux/2a.efi", Some("SLOTA"), vec![7; UKI]));
    files.push(file("EFI/Linux/1b.efi", Some("SLOTB"), vec![8; UKI]));
    files.extend(more);
    let mut image = Image::default();
    for segment in Plan::new(&options, files)?.segments() {
        if let Piece::Bytes(mut bytes) = segment.piece {
            bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
            image.write(segment.offset, &bytes);
        }
    }
    Ok(image.settled())
}

fn device(image: &Image) -> Handle {
    let disk = Disk { now: image.clone(), ..Disk::default() };
    Handle { disk: Rc::new(RefCell::new(disk)), area: 0, offset: 0, size: SIZE }
}

fn now(device: &Handle) -> Image {
    device.disk.borrow().now.clone()
}

/// The content of a file, as who only reads finds it.
fn content(image: &Image, path: &str) -> Vec<u8> {
    let read = |offset: u64, buffer: &mut [u8]| {
        let skip = usize::try_from(offset % SECTOR as u64).unwrap();
        let bytes = image.read(offset - skip as u64, skip + buffer.len());
        buffer.copy_from_slice(&bytes[skip..]);
        Ok::<_, std::convert::Infallible>(())
    };
    let volume = Volume::parse(read).unwrap();
    let extents = &volume.entry(path).unwrap_or_else(|| panic!("no {path}")).extents;
    let length = |extent: &formats::fat::Extent| usize::try_from(extent.length).unwrap();
    extents.iter().flat_map(|extent| image.read(extent.offset, length(extent))).collect()
}

fn assert_rest(image: &Image) {
    assert_eq!(content(image, "loader/loader.conf"), b"timeout 0\n");
    assert!(content(image, "EFI/Linux/2a.efi") == [7; UKI]);
    assert!(content(image, "EFI/Linux/1b.efi") == [8; UKI]);
}

fn judge(program: &str, package: &str, arguments: &[&str]) -> Vec<u8> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output = output.unwrap_or_else(|_| panic!("`{program}` is needed: install `{package}`"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && output.stderr.is_empty(), "{program}: {text}");
    output.stdout
}

/// `fsck.vfat` finds nothing to mend, and mtools reads this loader.
fn assert_clean(image: &Image, want: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("esp.img");
    write(image, &path);
    let path = path.to_str().unwrap();
    let text = judge("fsck.vfat", "dosfstools", &["-n", "-v", "-V", path]);
    let text = String::from_utf8(text).unwrap();
    for bad in
        ["differ", "wrong", "Bad", "bad ", "Unused", "not ", "Not ", "dirty", "Dirty", "eclaim"]
    {
        assert!(!text.contains(bad), "{bad}: {text}");
    }
    let name = format!("::/{}", own_architecture().boot_file());
    assert!(judge("mtype", "mtools", &["-i", path, &name]) == want);
}

fn write(image: &Image, path: &Path) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(SIZE).unwrap();
    for (number, sector) in image.sectors() {
        file.write_all_at(&sector, number * SECTOR as u64).unwrap();
    }
}

fn numbers() -> Numbers {
    let given = std::env::var("ORLOP_TEST_SEED").ok();
    Numbers(given.map_or(0x0123_4567_89AB_CDEF, |text| text.parse().expect("a number")))
}

/// Cuts the power everywhere in a replacement, and once more in what mends that. How many contents of the
/// disk were judged.
fn judge_cuts(begin: &Image, paths: &[&str], old: &[u8], new: &[u8]) -> usize {
    let device = device(begin);
    update(&mut device.clone(), new, Terms::default()).unwrap();
    let log = device.disk.borrow().log.clone();
    let (mut judged, mut seen, mut numbers) = (0, HashSet::new(), numbers());
    let mut again = Vec::new();
    let mut look = |image: &Image, what: &str| {
        judged += 1;
        for path in paths {
            let found = content(image, path);
            assert!(found == old || found == new, "{what}: `{path}` has {} bytes", found.len());
        }
        assert_rest(image);
        let changed: Vec<u8> = image.sectors().flat_map(|(_, sector)| sector).collect();
        seen.insert(Sha256::of(&changed))
    };
    cuts(begin, &log, 10, &mut numbers, |at, image| {
        if look(&image, &format!("cut after event {at} of {}", log.len())) {
            again.push(image);
        }
    });
    // One of a kind, spread over all moments.
    let step = (again.len() / 60).max(1);
    let mut numbers = self::numbers();
    let sample = again.into_iter().step_by(step).map(|image| image.settled());
    for (number, cut) in sample.enumerate() {
        let device = self::device(&cut);
        update(&mut device.clone(), new, Terms::default()).unwrap();
        let end = now(&device);
        for path in paths {
            assert!(content(&end, path) == new);
        }
        if number % 6 == 0 {
            assert_clean(&end, new);
        }
        let log = device.disk.borrow().log.clone();
        cuts(&cut, &log, 1, &mut numbers, |at, image| {
            look(&image, &format!("and again after event {at} of {}", log.len()));
        });
    }
    judged
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was judged is worth seeing with --nocapture")]
fn no_power_cut_leaves_a_machine_without_a_whole_loader() {
    let mut judged = 0;
    let first = own_architecture().boot_file();
    // Longer, shorter, and in both places.
    for (old, new) in [((5000, "257.9-1"), (9000, "257.13-1")), ((9000, "257"), (700, "258~rc1"))] {
        let [old, new] = [old, new].map(|(size, version)| loader(version, size));
        let begin = volume(Some(&old), Vec::new());
        judged += judge_cuts(&begin, &[first], &old, &new);
    }
    let (old, new) = (loader("257", 3000), loader("258", 4000));
    let begin = volume(Some(&old), vec![file(INSTALLED, None, old.clone())]);
    judged += judge_cuts(&begin, &[first, INSTALLED], &old, &new);
    println!("{judged} contents of the disk");
    assert!(judged >= 1000, "{judged}");
}

/// The judge must see what is wrong: one that writes in place.
#[test]
fn the_model_finds_what_a_careless_replacement_would_do() {
    let (old, new) = (loader("257", 5000), loader("258", 5000));
    let begin = volume(Some(&old), Vec::new());
    let device = device(&begin);
    let esp = Esp::find(&device).unwrap();
    let [extent] = esp.loader() else { panic!("in one piece") };
    let mut padded = new.clone();
    padded.resize(padded.len().next_multiple_of(SECTOR), 0);
    device.disk.borrow_mut().write(0, extent.offset, &padded);
    let log = device.disk.borrow().log.clone();
    let mut torn = 0;
    cuts(&begin, &log, 10, &mut numbers(), |_, image| {
        let found = content(&image, own_architecture().boot_file());
        torn += usize::from(found != old && found != new);
    });
    assert!(torn > 5, "{torn}");
}

fn updated(image: &Image, new: &[u8], terms: Terms) -> Result<(Outcome, Image), String> {
    let device = device(image);
    let outcome = update(&mut device.clone(), new, terms);
    let end = now(&device);
    match outcome {
        Ok(outcome) => Ok((outcome, end)),
        Err(error) => {
            assert!(device.disk.borrow().log.is_empty(), "something was written");
            let source = std::error::Error::source(&error).map(|error| format!(": {error}"));
            Err(format!("{error}{}", source.unwrap_or_default()))
        }
    }
}

#[test]
fn the_same_is_left_as_it_is_and_what_is_worse_is_taken_by_force_only() {
    let own = loader("257.13-1~deb13u1", 3000);
    let image = volume(Some(&own), Vec::new());
    let (force, dry) =
        (Terms { force: true, ..Terms::default() }, Terms { dry_run: true, ..Terms::default() });
    let plain = Terms::default();
    let path = own_architecture().boot_file();

    let (same, end) = updated(&image, &own, plain).unwrap();
    assert_eq!((same.replaced, same.before.as_str()), (vec![], "257.13-1~deb13u1"));
    assert!(end.sectors().eq(image.sectors()), "nothing is written");

    let newer = loader("257.14-1", 3000);
    let (would, end) = updated(&image, &newer, dry).unwrap();
    assert_eq!((would.replaced, would.offered.as_str()), (vec![path.to_owned()], "257.14-1"));
    assert!(end.sectors().eq(image.sectors()), "nothing is written");
    let (_, end) = updated(&image, &newer, plain).unwrap();
    assert_clean(&end, &newer);

    let older = loader("257.9-1", 9000);
    let told = "systemd-boot 257.9-1 of this image is older than 257.13-1~deb13u1, which is installed: \
                `--force` takes it all the same";
    assert_eq!(updated(&image, &older, plain).unwrap_err(), told);
    assert_eq!(updated(&image, &older, dry).unwrap_err(), told, "not even in words");
    let (_, end) = updated(&image, &older, force).unwrap();
    assert_clean(&end, &older);

    let odd = updated(&image, &loader("258_1", 9), plain);
    let odd = odd.unwrap_err();
    assert!(odd.starts_with("it cannot be told whether systemd-boot 258_1 of this image"), "{odd}");
    let sealed = volume(Some(&signed(own.clone())), Vec::new());
    let told = updated(&sealed, &newer, plain).unwrap_err();
    assert!(told.starts_with("the boot loader that is installed is signed, and that of"), "{told}");
    // The same version, signed by its owner.
    let (_, end) = updated(&image, &signed(own.clone()), plain).unwrap();
    assert_clean(&end, &signed(own));
}

#[test]
fn what_is_not_ours_or_has_no_room_is_refused_in_words_and_nothing_is_written() {
    let new = loader("258", 5000);
    let plain = Terms::default();
    let told = updated(&volume(None, Vec::new()), &new, plain).unwrap_err();
    let path = own_architecture().boot_file();
    assert_eq!(told, format!("this is a foreign EFI system partition: there is no `{path}`"));
    let told = updated(&volume(Some(b"GRUB"), Vec::new()), &new, plain).unwrap_err();
    let alone = format!("`{path}` of the EFI system partition is left alone: it is not ");
    assert!(told.starts_with(&alone), "{told}");
    let told = updated(&volume(Some(&stub()), Vec::new()), &new, plain).unwrap_err();
    assert_eq!(told, format!("{alone}systemd-boot"));
    let own = loader("257", 5000);
    let told = updated(&volume(Some(&own), Vec::new()), b"none", plain).unwrap_err();
    assert!(
        told.starts_with("the boot loader of this image cannot be used: it is not a"),
        "{told}"
    );
    let told = updated(&Image::default(), &new, plain).unwrap_err();
    assert_eq!(told, "the EFI system partition cannot be read: it is not a FAT32 volume");

    // All but some sectors are taken.
    let rest = |size: u64| {
        let big = file("big", None, vec![1; usize::try_from(size).unwrap()]);
        try_volume(Some(&own), vec![big])
    };
    let Err(FatError::Full { needed, available }) = rest(SIZE) else { panic!("it does not fit") };
    let tight = rest(SIZE - (needed - available) - 16_384).unwrap();
    let full = updated(&tight, &loader("258", 64_000), plain).unwrap_err();
    let want = format!("the EFI system partition has no room: the new `{path}` takes ");
    assert!(full.starts_with(&want) && full.ends_with(" are free"), "{full}");
}

#[test]
fn a_device_that_fails_at_any_write_leaves_a_whole_loader() {
    let (old, new) = (loader("257", 5000), loader("258", 6000));
    let begin = volume(Some(&old), Vec::new());
    let mut failures = 0;
    for writes in 0.. {
        let device = device(&begin);
        device.disk.borrow_mut().fails_after = Some(writes);
        let outcome = update(&mut device.clone(), &new, Terms::default());
        let found = content(&now(&device), own_architecture().boot_file());
        match outcome {
            Ok(_) => break,
            Err(LoaderError::Io { what, .. }) => {
                assert_eq!(what, "write to the EFI system partition");
                assert!(found == old || found == new);
                failures += 1;
            }
            Err(error) => panic!("{error}"),
        }
        let device = self::device(&now(&device).settled());
        update(&mut device.clone(), &new, Terms::default()).unwrap();
        assert_clean(&now(&device), &new);
    }
    assert!(failures >= 6, "{failures}");
}

#[test]
fn the_version_that_is_installed_is_told() {
    let own = loader("257.13-1~deb13u1", 3000);
    let version = |image: &Image| {
        let device = device(image);
        let esp = Esp::find(&device).unwrap();
        installed(&device, esp.loader()).map(|loader| loader.version)
    };
    assert_eq!(version(&volume(Some(&own), Vec::new())).unwrap(), "257.13-1~deb13u1");
    assert!(matches!(version(&volume(Some(b"x"), Vec::new())), Err(LoaderError::Other { .. })));
    assert!(matches!(version(&volume(None, Vec::new())), Err(LoaderError::None(_))));
}
