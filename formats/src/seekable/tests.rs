//! Tables and frames, proper and hostile.

use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

fn table(frames: &[(u32, u32)]) -> SeekTable {
    let mut table = SeekTable::new();
    for (packed, size) in frames {
        table.push(*packed, *size).unwrap();
    }
    table
}

#[test]
fn a_table_is_what_the_specification_shows() {
    let bytes = table(&[(7, FRAME), (0x102, 0x1000)]).encode();
    let want = [
        0x5e, 0x2a, 0x4d, 0x18, 25, 0, 0, 0, // the skippable frame
        7, 0, 0, 0, 0, 0, 4, 0, // 256 KiB in 7 bytes
        2, 1, 0, 0, 0, 0x10, 0, 0, // 4 KiB in 258
        2, 0, 0, 0, 0, 0xb1, 0xea, 0x92, 0x8f, // two frames, no checksums
    ];
    assert_eq!(bytes, want);
    assert_eq!(SeekTable::length(&bytes[bytes.len() - FOOTER..]), Ok(bytes.len()));
    let file = 7 + 0x102 + bytes.len() as u64;
    let image = u64::from(FRAME) + 0x1000;
    assert_eq!(SeekTable::parse(&bytes, file, image), Ok(table(&[(7, FRAME), (0x102, 0x1000)])));
}

#[test]
fn a_table_with_checksums_is_read_as_one_without() {
    let mut bytes = vec![0x5e, 0x2a, 0x4d, 0x18, 21, 0, 0, 0];
    bytes.extend([7, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4]);
    bytes.extend([1, 0, 0, 0, CHECKSUMS, 0xb1, 0xea, 0x92, 0x8f]);
    assert_eq!(SeekTable::parse(&bytes, 7 + 29, 4096), Ok(table(&[(7, 4096)])));
}

#[test]
fn a_table_that_does_not_fit_is_refused_with_the_reason() {
    let good = table(&[(7, FRAME), (9, 4096)]);
    let (file, image) = (good.file_size(), good.size());
    type Change = fn(&mut Vec<u8>);
    let cases: [(Change, &str); 11] = [
        (|bytes| bytes.clear(), "the file does not end with a seek table"),
        (|bytes| bytes[0] = 0x5f, "the file does not end with a seek table"),
        (|bytes| *bytes.last_mut().unwrap() = 0, "the file does not end with a seek table"),
        (|bytes| bytes[28] = 4, "the seek table has flags that are not known: 0x04"),
        (|bytes| bytes[4] += 1, "the seek table is not as long as its end says"),
        (|bytes| bytes[24] = 1, "the seek table is not as long as its end says"),
        (|bytes| bytes[28] = 0x80, "the seek table is not as long as its end says"),
        (
            |bytes| bytes[27] = 0xff,
            "the seek table names 4278190082 frames, more than any image has",
        ),
        (|bytes| bytes[8] = 0, "frame 0 of the seek table has 0 bytes for 262144 of the image"),
        (|bytes| bytes[22] = 4, "frame 1 of the seek table has 9 bytes for 266240 of the image"),
        (|bytes| bytes[8] = 8, "frames and seek table have 50 bytes, and the file 49"),
    ];
    for (change, want) in cases {
        let mut bytes = good.encode();
        change(&mut bytes);
        let error = SeekTable::parse(&bytes, file, image).unwrap_err();
        assert_eq!(error.to_string(), want);
    }
    let error = SeekTable::parse(&good.encode(), file, image + 4096).unwrap_err();
    assert_eq!(error.to_string(), "the frames hold 266240 bytes, and the image has 270336");
    for end in [&b""[..], &[0; FOOTER], &[0; FOOTER + 1]] {
        assert_eq!(SeekTable::length(end), Err(TableError::NoTable));
    }
}

#[test]
fn a_frame_unpacks_to_what_the_table_says_or_not_at_all() {
    let data: Vec<u8> = (0..=250).cycle().take(FRAME as usize).collect();
    let packed = compress_to_vec(data.as_slice(), CompressionLevel::Fastest);
    assert_eq!(unpack(&packed, FRAME).as_ref(), Ok(&data));
    let refused = |packed: &[u8], size| unpack(packed, size).unwrap_err().to_string();
    let damaged = "a frame of the image is damaged: ";
    let more = format!("{damaged}4097 bytes came of it, not 4096");
    assert_eq!(refused(&packed, 4096), more);
    assert_eq!(
        refused(&packed, FRAME + 1),
        format!("{damaged}262145 bytes are more than a frame holds")
    );
    assert_eq!(
        refused(&[&packed[..], &[0]].concat(), FRAME),
        format!("{damaged}1 bytes follow it")
    );
    let short = compress_to_vec(&data[..4096], CompressionLevel::Fastest);
    assert_eq!(refused(&short, 4097), format!("{damaged}4096 bytes came of it, not 4097"));
    // A window that nobody needs for a frame is not made room for.
    let huge = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xa0, 1, 0, 0];
    assert!(refused(&huge, FRAME).contains("window"), "{}", refused(&huge, FRAME));
    for length in 0..packed.len().min(64) {
        unpack(&packed[..length], FRAME).unwrap_err();
    }
}

proptest! {
    #[test]
    fn the_frames_of_a_range_hold_it_and_no_frame_too_many(
        sizes in prop::collection::vec((1_u32..5000, 1_u32..=FRAME), 1..20),
        start in 0_u64..3_000_000,
        length in 0_u64..3_000_000,
    ) {
        let table = table(&sizes);
        prop_assert_eq!(SeekTable::parse(&table.encode(), table.file_size(), table.size()), Ok(table.clone()));
        let wanted = start..start + length;
        let frames = table.covering(wanted.clone());
        let end = wanted.end.min(table.size());
        if length == 0 || start >= table.size() {
            prop_assert!(frames.is_empty());
        } else {
            prop_assert!(table.in_image(frames.start).contains(&start));
            prop_assert!(table.in_image(frames.end - 1).contains(&(end - 1)));
        }
        let packed: u32 = sizes[frames.clone()].iter().map(|(packed, _)| packed).sum();
        let bytes = table.in_file(frames);
        prop_assert_eq!(bytes.end - bytes.start, u64::from(packed));
    }

    #[test]
    fn no_table_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        drop(SeekTable::parse(&bytes, 100, 100));
        drop(SeekTable::length(&bytes));
    }
}

#[test]
fn frames_are_read_one_by_one_from_the_beginning() {
    let image: Vec<u8> = (0..=u8::MAX).cycle().take(FRAME as usize + 4096).collect();
    let mut file = Vec::new();
    for frame in image.chunks(FRAME as usize) {
        file.extend(compress_to_vec(frame, CompressionLevel::Fastest));
    }
    file.extend(b"the table");
    let mut source = &file[..];
    assert_eq!(read_frame(&mut source).unwrap(), image[..FRAME as usize]);
    assert_eq!(read_frame(&mut source).unwrap(), image[FRAME as usize..]);
    assert_eq!(source, b"the table");
    assert!(read_frame(&mut source).is_err());
    assert!(read_frame(&mut &file[..100]).is_err(), "cut short");
    let empty = compress_to_vec(&[][..], CompressionLevel::Fastest);
    assert!(read_frame(&mut &empty[..]).is_err());
    let larger = compress_to_vec(&vec![0; FRAME as usize + 1][..], CompressionLevel::Fastest);
    assert!(read_frame(&mut &larger[..]).is_err());
}
