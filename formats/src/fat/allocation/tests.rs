//! Volumes in memory, with any part of a step written: what is read back is old or new, and what is left
//! behind is mended.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::fat::{Alias, Content, File, Options, Piece, Plan};

const SIZE: u64 = 34_089_472;
/// Bytes of it that are held: what stands behind them is zero.
const HELD: usize = 1 << 20;
const LOADER: &str = "EFI/BOOT/BOOTX64.EFI";

fn noise(seed: u8, length: usize) -> Vec<u8> {
    let byte = |at: u32| {
        let [low, high, ..] = at.to_le_bytes();
        low.wrapping_mul(31) ^ high ^ seed
    };
    (0..).take(length).map(byte).collect()
}

/// A volume whose data area begins with these files; what is above has names of its own.
fn volume(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let options = Options {
        size: SIZE,
        first_lba: 2048,
        volume_id: 1,
        label: "ESP".to_owned(),
        epoch: 1_700_000_000,
    };
    let files = files.iter().map(|(path, content)| File {
        path: (*path).to_owned(),
        alias: path.ends_with("a.efi").then(|| Alias::new("SLOTA").unwrap()),
        content: Content::Bytes(content.clone()),
    });
    let mut image = vec![0; HELD];
    for segment in Plan::new(&options, files.collect()).unwrap().segments() {
        if let Piece::Bytes(bytes) = segment.piece {
            let at = usize::try_from(segment.offset).unwrap();
            image[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }
    image
}

fn sample() -> Vec<u8> {
    volume(&[
        (LOADER, noise(1, 3000)),
        ("loader/loader.conf", b"timeout 0\n".to_vec()),
        ("EFI/Linux/2a.efi", noise(2, 9000)),
    ])
}

type Reading<'a> = Box<dyn FnMut(u64, &mut [u8]) -> Result<(), Infallible> + 'a>;

fn allocation(image: &[u8]) -> Result<Allocation<Reading<'_>>, ReplaceError<Infallible>> {
    let read: Reading<'_> = Box::new(|offset, buffer: &mut [u8]| {
        let at = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&image[at..at + buffer.len()]);
        Ok(())
    });
    Ok(Allocation::read(read)?)
}

fn replacing(image: &[u8], content: &[u8]) -> Result<Vec<Step>, String> {
    let steps = allocation(image).and_then(|allocation| allocation.replace(LOADER, content));
    steps.map_err(|error| error.to_string())
}

fn apply(image: &mut [u8], write: &Write) {
    let at = usize::try_from(write.offset).unwrap();
    image[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
}

fn apply_all(image: &mut [u8], steps: &[Step]) {
    steps.iter().flatten().for_each(|write| apply(image, write));
}

fn content(image: &[u8], path: &str) -> Vec<u8> {
    let volume = Volume::parse_bytes(image).unwrap();
    let extents = &volume.entry(path).unwrap().extents;
    let piece = |extent: &Extent| {
        let at = usize::try_from(extent.offset).unwrap();
        image[at..at + usize::try_from(extent.length).unwrap()].to_vec()
    };
    extents.iter().flat_map(piece).collect()
}

/// Nothing is left behind: the copies agree, every cluster in use belongs to something, and the count of
/// the free ones is right.
fn assert_clean(image: &[u8]) {
    let mut allocation = allocation(image).unwrap();
    assert!(allocation.changed.is_empty());
    assert_eq!(allocation.tell_free().unwrap(), Step::new());
}

#[test]
fn a_file_gets_another_content_of_any_size_and_the_others_stay() {
    let mut image = sample();
    // Longer, shorter, of whole clusters, of one byte; each time what was there before is free again.
    for (seed, size) in [(3, 5000), (4, 1024), (5, 1), (6, 70_000), (7, 3000)] {
        let new = noise(seed, size);
        let steps = replacing(&image, &new).unwrap();
        apply_all(&mut image, &steps);
        assert_eq!(content(&image, LOADER), new);
        assert_eq!(content(&image, "EFI/Linux/2a.efi"), noise(2, 9000));
        assert_eq!(content(&image, "loader/loader.conf"), b"timeout 0\n");
        assert_clean(&image);
    }
    assert_eq!(allocation(&image).unwrap().mend().unwrap(), Vec::<Step>::new());
}

#[test]
fn after_any_part_of_any_step_the_content_is_old_or_new_and_the_rest_is_mended() {
    let (old, new) = (noise(1, 3000), noise(9, 4100));
    let begin = sample();
    let steps = replacing(&begin, &new).unwrap();
    let mut judged = 0;
    let mut judge = |image: &[u8], turned: bool| {
        judged += 1;
        let found = content(image, LOADER);
        assert!(found == *if turned { &new } else { &old }, "{judged}");
        assert_eq!(content(image, "EFI/Linux/2a.efi"), noise(2, 9000));
        let mut mended = image.to_vec();
        apply_all(&mut mended, &allocation(image).unwrap().mend().unwrap());
        assert!(content(&mended, LOADER) == found);
        assert_clean(&mended);
        let mut again = image.to_vec();
        apply_all(&mut again, &replacing(image, &new).unwrap());
        assert!(content(&again, LOADER) == new);
        assert_clean(&again);
    };
    // Which step names the file is seen by what it changes.
    let mut image = begin;
    let mut turned = false;
    for step in &steps {
        let sectors: Vec<Write> = step
            .iter()
            .flat_map(|write| {
                write.bytes.chunks(SECTOR_BYTES).zip(0_u64..).map(|(bytes, at)| Write {
                    offset: write.offset + at * SECTOR,
                    bytes: bytes.to_vec(),
                })
            })
            .collect();
        let subsets = 1_u32 << sectors.len().min(8);
        let turns = {
            let mut whole = image.clone();
            step.iter().for_each(|write| apply(&mut whole, write));
            !turned && content(&whole, LOADER) == new
        };
        for subset in 0..subsets {
            let mut torn = image.clone();
            let kept = sectors.iter().enumerate().filter(|(at, _)| subset >> (at % 8) & 1 == 1);
            kept.for_each(|(_, write)| apply(&mut torn, write));
            judge(&torn, turned || (turns && subset == subsets - 1));
        }
        assert!(!turns || sectors.len() == 1, "one sector decides");
        step.iter().for_each(|write| apply(&mut image, write));
        turned |= turns;
    }
    assert!(turned && judged > 250, "{judged}");
}

#[test]
fn a_content_goes_into_pieces_where_there_is_no_room_for_it_whole() {
    let mut image = sample();
    let free = {
        let allocation = allocation(&image).unwrap();
        let first = FIRST..FIRST + allocation.reader.boot.clusters;
        first.filter(|cluster| !is_set(&allocation.taken, *cluster)).collect::<Vec<_>>()
    };
    // All that is free but every third one is marked bad, and so is all behind the first thirty.
    let tables = allocation(&image).unwrap().reader.boot.tables;
    let bad = free.iter().enumerate().filter(|(at, _)| at % 3 != 0 || *at >= 30);
    for (_, cluster) in bad {
        for table in &tables {
            let place = usize::try_from(*table).unwrap() + *cluster as usize * 4;
            image[place..place + 4].copy_from_slice(&BAD.to_le_bytes());
        }
    }
    let steps = allocation(&image).unwrap().mend().unwrap();
    apply_all(&mut image, &steps);
    let new = noise(8, 10 * 512);
    let steps = replacing(&image, &new).unwrap();
    apply_all(&mut image, &steps);
    assert_eq!(content(&image, LOADER), new);
    assert_eq!(Volume::parse_bytes(&image).unwrap().entry(LOADER).unwrap().extents.len(), 10);
    assert_clean(&image);
    let full = replacing(&image, &noise(8, 9 * 512)).unwrap_err();
    let want =
        "the new `EFI/BOOT/BOOTX64.EFI` takes 4608 bytes beside the old one, and 3072 are free";
    assert_eq!(full, want);
}

#[test]
fn what_no_replacement_leaves_is_refused() {
    let image = sample();
    let new = noise(1, 512);
    let said = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut image = image.clone();
        change(&mut image);
        replacing(&image, &new).unwrap_err()
    };
    let boot = allocation(&image).unwrap().reader.boot;
    let table = usize::try_from(boot.tables[0]).unwrap();
    let differ = "the allocation tables do not fit the files";
    assert_eq!(said(&|image| image[40] = 0x80), differ, "only one copy is written");
    let chain = |path: &str| {
        let volume = Volume::parse_bytes(&image).unwrap();
        (volume.entry(path).unwrap().extents[0].offset - boot.data_offset) / 512 + 2
    };
    let shared = |image: &mut Vec<u8>| {
        let at = table + usize::try_from(chain("EFI/Linux/2a.efi")).unwrap() * 4;
        let into = u32::try_from(chain(LOADER)).unwrap() + 2;
        image[at..at + 4].copy_from_slice(&into.to_le_bytes());
    };
    // It must still be long enough for its file, or that is what is told.
    let short = said(&shared);
    assert_eq!(short, "the clusters of `EFI/Linux/2a.efi` are damaged");
    let mut crossed = volume(&[(LOADER, noise(1, 9000)), ("EFI/Linux/2a.efi", noise(2, 3000))]);
    let offset = |path: &str| {
        let volume = Volume::parse_bytes(&crossed).unwrap();
        u32::try_from((volume.entry(path).unwrap().extents[0].offset - boot.data_offset) / 512 + 2)
            .unwrap()
    };
    let (from, into) = (offset("EFI/Linux/2a.efi"), offset(LOADER) + 1);
    let at = table + from as usize * 4;
    crossed[at..at + 4].copy_from_slice(&into.to_le_bytes());
    assert_eq!(replacing(&crossed, &new).unwrap_err(), "two files have clusters in common");
    assert_eq!(replacing(&image, &[]).unwrap_err(), "no file can have 0 bytes");
    let other = volume(&[("EFI/BOOT/other", noise(1, 5))]);
    assert_eq!(replacing(&other, &new).unwrap_err(), "there is no file `EFI/BOOT/BOOTX64.EFI`");
    let empty = volume(&[(LOADER, Vec::new())]);
    assert_eq!(replacing(&empty, &new).unwrap_err(), "there is no file `EFI/BOOT/BOOTX64.EFI`");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn contents_follow_each_other_and_nothing_is_lost(
        sizes in prop::collection::vec(1..20_000_usize, 1..5),
        more in 0..6000_usize,
    ) {
        let mut image = volume(&[(LOADER, noise(0, 100)), ("EFI/Linux/2a.efi", noise(2, more + 1))]);
        for (seed, size) in (1..).zip(sizes) {
            let new = noise(seed, size);
            let steps = replacing(&image, &new).unwrap();
            apply_all(&mut image, &steps);
            prop_assert!(content(&image, LOADER) == new);
            prop_assert!(content(&image, "EFI/Linux/2a.efi") == noise(2, more + 1));
            assert_clean(&image);
        }
    }

    #[test]
    fn changed_bytes_do_not_make_the_planner_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut image = sample();
        let boot = allocation(&image).unwrap().reader.boot;
        let (tables, data) = (boot.tables.clone(), boot.data_offset);
        let places: Vec<u64> = (0..96)
            .chain(tables.iter().flat_map(|table| *table..table + 200))
            .chain(data..data + 6 * SECTOR)
            .collect();
        for (index, value) in changes {
            image[usize::try_from(*index.get(&places)).unwrap()] = value;
        }
        // Whatever it is, what is planned stays inside the volume.
        if let Ok(steps) = read_bounded(&image) {
            prop_assert!(steps.iter().flatten().all(|write| write.offset < SIZE));
        }
    }
}

/// As [`replacing`], of bytes that may say that they are more than there are.
fn read_bounded(image: &[u8]) -> Result<Vec<Step>, ()> {
    let read = |offset: u64, buffer: &mut [u8]| {
        let start = usize::try_from(offset).map_err(drop)?;
        let end = start.checked_add(buffer.len()).ok_or(())?;
        buffer.copy_from_slice(image.get(start..end).ok_or(())?);
        Ok::<_, ()>(())
    };
    let allocation = Allocation::read(read).map_err(drop)?;
    allocation.replace(LOADER, &noise(1, 5000)).map_err(drop)
}
