//! Deltas that are applied, and those that are refused.

use std::io;
use std::sync::LazyLock;

use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;
use crate::incoming::testing::{Memory, root};
use crate::incoming::{Image, Root};

/// Bytes that no packer makes smaller, the same each time.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// The segments that these instructions make.
fn segments(old: &[u8], new: &[u8], instructions: &[Instruction]) -> Vec<u8> {
    encoded(old, new, instructions, Differences::Apart)
}

fn encoded(
    old: &[u8],
    new: &[u8],
    instructions: &[Instruction],
    differences: Differences,
) -> Vec<u8> {
    let mut encoder = Encoder::new(old, new, differences);
    let mut bytes = Vec::new();
    let mut sink = |piece: &[u8]| -> Result<(), ()> {
        bytes.extend(piece);
        Ok(())
    };
    for instruction in instructions {
        encoder.take(*instruction, &mut sink).unwrap();
    }
    encoder.finish(&mut sink).unwrap();
    bytes
}

fn delta(header: &Header, segments: &[u8]) -> Vec<u8> {
    let frame = compress_to_vec(segments, CompressionLevel::Fastest);
    [&header.encode()[..], &frame].concat()
}

fn applied(delta: &[u8], header: &Header, old: &[u8]) -> Result<Vec<u8>, ApplyError> {
    apply(delta, (&header.old, old), &header.new, Memory::default()).map(|slot| slot.data)
}

/// Two images, a delta from one to the other and its header.
struct Sample {
    old: Vec<u8>,
    new: Vec<u8>,
    header: Header,
    segments: Vec<u8>,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let old = noise(1, 40 * 4096);
    let mut new = old[10_000..130_000].to_vec();
    for at in (5..new.len()).step_by(997) {
        new[at] = new[at].wrapping_add(7);
    }
    new.extend(noise(2, 5000));
    new.extend(&old[..8000]);
    let wanted = new.len().next_multiple_of(4096);
    let zeros = wanted - new.len();
    new.resize(wanted, 0);
    let instructions = [
        Instruction { from: 10_000, copied: 120_000, literal: 5000 },
        Instruction { from: 0, copied: 8000, literal: zeros },
    ];
    let header = Header { old: root(1, &old), new: root(2, &new) };
    let segments = segments(&old, &new, &instructions);
    Sample { old, new, header, segments }
});

impl Sample {
    fn delta(&self) -> Vec<u8> {
        delta(&self.header, &self.segments)
    }
}

#[test]
fn copies_with_differences_and_literals_make_the_new_image() {
    let sample = &*SAMPLE;
    let delta = sample.delta();
    assert_eq!(applied(&delta, &sample.header, &sample.old).unwrap(), sample.new);
    assert!(delta.len() < 8000, "{}", delta.len());
}

#[test]
fn the_bytes_of_a_small_delta_are_what_the_page_says() {
    let old = vec![1; 4096];
    let mut new = old.clone();
    (new[2], new[4000]) = (0, 9);
    let instructions = [
        Instruction { from: 6, copied: 4000, literal: 1 },
        Instruction { from: 5, copied: 95, literal: 0 },
    ];
    let control = [&[0xa0, 0x1f, 1, 12][..], &[95, 0, 0xc1, 0x3e]].concat();
    let want = [
        &[8, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0][..],
        &control,
        // Two bytes stay, one less 1.
        &[2],
        &[255],
        &[9],
    ]
    .concat();
    assert_eq!(segments(&old, &new, &instructions), want);
    let header = Header { old: root(0, &old), new: root(0, &new) };
    let paired = encoded(&old, &new, &instructions, Differences::Paired);
    let behind = [&[8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0][..], &control].concat();
    assert_eq!(paired, [&behind[..], &[2, 255, 9]].concat());
    assert_eq!(applied(&delta(&header, &paired), &header, &old).unwrap(), new);
    let head = header.encode();
    assert_eq!((&head[..8], head.len()), (&b"orlop-d1"[..], 120));
    assert_eq!(head[8 + 48..8 + 56], [0, 0x10, 0, 0, 0, 0, 0, 0]);
    assert_eq!(applied(&delta(&header, &want), &header, &old).unwrap(), new);
}

#[test]
fn a_delta_of_more_than_a_segment_is_cut_into_some() {
    let old = noise(3, 3 << 20);
    // Every byte differs, none by the same; then more than the old image has.
    let mut new: Vec<u8> = old.iter().zip(noise(4, 3 << 20)).map(|(a, b)| a ^ (b | 1)).collect();
    new.extend(noise(5, 5 << 20));
    let instruction = Instruction { from: 0, copied: 3 << 20, literal: 5 << 20 };
    let bytes = segments(&old, &new, &[instruction]);
    let (mut at, mut found) = (0, 0);
    while at < bytes.len() {
        let length = |section: usize| {
            let at = at + section * 4;
            u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
        };
        let all: usize = (0..4).map(length).sum();
        assert!(all <= SEGMENT, "{all}");
        at += 16 + all;
        found += 1;
    }
    assert_eq!((at, found), (bytes.len(), 3));
    let header = Header { old: root(1, &old), new: root(1, &new) };
    assert!(applied(&delta(&header, &bytes), &header, &old).unwrap() == new);
}

#[test]
fn a_delta_for_another_pair_is_refused_before_anything_is_written() {
    let sample = &*SAMPLE;
    let other = root(5, &[0; 4096]);
    let refused = |old: &Root, new: &Root| {
        let error = apply(&*sample.delta(), (old, &*sample.old), new, Never).unwrap_err();
        error.to_string()
    };
    let Header { old, new } = &sample.header;
    let text = format!("the delta is for the image {old}, not for {other}");
    assert_eq!(refused(&other, new), text);
    let text = format!("the delta makes the image {new}, not {other}");
    assert_eq!(refused(old, &other), text);
}

/// A slot that nobody may write to.
#[derive(Debug)]
struct Never;

impl crate::incoming::Slot for Never {
    fn data(&mut self, _: &[u8]) -> io::Result<()> {
        panic!("data");
    }

    fn tree(&mut self, _: &crate::verity::HashBlock) -> io::Result<()> {
        panic!("tree");
    }
}

#[test]
fn an_old_image_that_is_not_what_it_is_called_makes_no_new_one() {
    let sample = &*SAMPLE;
    let mut old = sample.old.clone();
    old[20_000] ^= 1;
    let error = applied(&sample.delta(), &sample.header, &old).unwrap_err().to_string();
    assert!(error.starts_with("what was written has the root hash "), "{error}");
    assert!(error.ends_with(&format!(", not {}", sample.header.new.hash)), "{error}");
}

#[test]
fn an_old_image_that_cannot_be_read_is_named_with_the_place() {
    struct Broken;
    impl Image for Broken {
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Err(io::Error::other("no disk"))
        }
    }
    let Sample { header: Header { old, new }, .. } = &*SAMPLE;
    let error = apply(&*SAMPLE.delta(), (old, &Broken), new, Memory::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the old image at byte 10000");
}

/// What a segment with these sections is refused for.
fn refused(sections: [&[u8]; 4]) -> String {
    let sample = &*SAMPLE;
    let lengths = sections.map(|section| u32::try_from(section.len()).unwrap().to_le_bytes());
    let bytes = [lengths.as_flattened(), &sections.concat()].concat();
    applied(&delta(&sample.header, &bytes), &sample.header, &sample.old).unwrap_err().to_string()
}

#[test]
fn hostile_segments_are_refused_with_the_reason() {
    let huge = [&[0xff; 9][..], &[1]].concat();
    let too_large = [&[0xff; 9][..], &[2]].concat();
    let (nothing, outside) =
        ("an instruction makes nothing or too much", "it reads outside of the old image");
    let more = "a segment has more than its instructions take";
    let empty: &[u8] = &[];
    for (control, gaps, values, literals, want) in [
        (empty, empty, empty, empty, "a segment without an instruction"),
        (empty, empty, empty, &[1], "a segment without an instruction"),
        (&[0, 0, 0], empty, empty, empty, nothing),
        (&[&huge[..], &[0, 0]].concat(), empty, empty, empty, nothing),
        (&[&huge[..], &[1, 0]].concat(), empty, empty, empty, nothing),
        (&[&[0][..], &huge, &[0]].concat(), empty, empty, empty, nothing),
        (&[&[1, 0][..], &huge].concat(), empty, empty, empty, outside),
        (&[1, 0, 1], empty, empty, empty, outside),
        // 163,840 bytes on: its end, and one more.
        (&[1, 0, 0x80, 0x80, 20], empty, empty, empty, outside),
        (&[1, 0, 0x82, 0x80, 20], empty, empty, empty, outside),
        (&[&too_large[..], &[0, 0]].concat(), empty, empty, empty, "a number is too large"),
        (&[0x80; 11], empty, empty, empty, "a number is too large"),
        (&[1, 0], empty, empty, empty, "a number is cut off"),
        (&[1, 0, 0x80], empty, empty, empty, "a number is cut off"),
        (&[1, 1, 0], empty, empty, empty, "literals are missing"),
        (&[1, 0, 0], &[0], empty, empty, "values are missing"),
        (&[1, 0, 0], &[0x80], empty, empty, "a number is cut off"),
        (&[1, 0, 0], &[1], &[1], empty, more),
        (&[1, 0, 0], &[0, 0], &[1, 1], empty, more),
        (&[1, 0, 0], &[0, 1, 0, 1], empty, empty, more),
        (&[2, 0, 0], &[0, 1, 0], empty, empty, "values are missing"),
        (&[1, 0, 0], empty, &[1], empty, more),
        (&[1, 0, 0], empty, empty, &[1], more),
        // And after it there is none.
        (&[1, 0, 0], empty, empty, empty, "it ends too early"),
    ] {
        let text = refused([control, gaps, values, literals]);
        assert_eq!(text, format!("the delta is damaged: {want}"), "{control:?} {gaps:?}");
    }
}

#[test]
fn what_a_frame_says_of_sizes_is_not_believed() {
    let sample = &*SAMPLE;
    let refused = |frame: &[u8]| {
        let delta = [&sample.header.encode()[..], frame].concat();
        applied(&delta, &sample.header, &sample.old).unwrap_err().to_string()
    };
    // A window of 128 MiB, and of 64 MiB for nothing.
    let window = |log: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 1, 0, 0];
    assert!(refused(&window(27)).contains("window"), "{}", refused(&window(27)));
    assert_eq!(refused(&window(26)), "the delta is damaged: it ends too early");
    // Sections of 4 GiB each, and of one byte more than they may have.
    let packed = |bytes: &[u8]| compress_to_vec(bytes, CompressionLevel::Fastest);
    let larger = "the delta is damaged: a segment is larger than it may be";
    assert_eq!(refused(&packed(&[0xff; 16])), larger);
    let one_more = u32::try_from(SEGMENT + 1).unwrap().to_le_bytes();
    assert_eq!(refused(&packed(&[&one_more[..], &[0; 12]].concat())), larger);
    // More than any delta of this image has.
    let most = u32::try_from(SEGMENT).unwrap().to_le_bytes();
    let text = "the delta is damaged: it unpacks to more than any delta of this image";
    assert_eq!(refused(&packed(&[&most[..], &[0; 12]].concat())), text);
    let whole = packed(&sample.segments);
    let text = "the delta is damaged: it goes on behind the end of the image";
    assert_eq!(refused(&packed(&[&sample.segments[..], &[0]].concat())), text);
    let text = "the delta is damaged: something follows its frame";
    assert_eq!(refused(&[&whole[..], &[0]].concat()), text);
    assert_eq!(refused(&[&whole[..], &whole].concat()), text);
}

#[test]
fn a_header_of_something_else_is_refused() {
    let good = SAMPLE.header.encode();
    assert_eq!(Header::parse(&good).as_ref(), Ok(&SAMPLE.header));
    let changed = |at: usize, byte| {
        let mut bytes = good;
        bytes[at] = byte;
        Header::parse(&bytes).unwrap_err().to_string()
    };
    assert_eq!(changed(0, b'O'), "not a delta of images");
    assert_eq!(changed(7, b'2'), "a delta of a form that is not known here");
    let text = "a delta of an image of 163841 bytes: none has so many";
    assert_eq!(changed(56, 1), text);
    let text = "a delta of an image of 9223372036854939648 bytes: none has so many";
    assert_eq!(changed(63, 0x80), text);
    for length in 0..HEADER {
        assert_eq!(Header::parse(&good[..length]), Err(HeaderError::NotDelta));
    }
}

#[test]
fn a_delta_that_was_cut_anywhere_is_refused() {
    let sample = &*SAMPLE;
    let delta = sample.delta();
    let ends = (0..HEADER + 40).chain((HEADER + 40..delta.len()).step_by(53));
    for end in ends {
        applied(&delta[..end], &sample.header, &sample.old).unwrap_err();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done to a delta, what comes out is the image that was wanted, or nothing.
    #[test]
    fn a_delta_that_was_changed_is_refused_or_makes_the_same_image(
        packed in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let sample = &*SAMPLE;
        let mut bytes = if packed { sample.delta() } else { sample.segments.clone() };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let delta = if packed { bytes } else { delta(&sample.header, &bytes) };
        if let Ok(made) = applied(&delta, &sample.header, &sample.old) {
            prop_assert!(made == sample.new);
        }
    }

    /// Instructions of any kind, between images of any kind.
    #[test]
    fn what_was_encoded_is_applied(
        pieces in prop::collection::vec((0_usize..8192, 0_usize..700, 0_usize..700), 1..12),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
    ) {
        let old = noise(6, 8192);
        let (mut new, mut instructions) = (Vec::new(), Vec::new());
        for (from, copied, literal) in pieces {
            let copied = copied.min(old.len() - from);
            new.extend(&old[from..from + copied]);
            new.extend(noise(7, literal));
            instructions.push(Instruction { from, copied, literal });
        }
        let literal = new.len().next_multiple_of(4096).max(4096) - new.len();
        new.extend(noise(8, literal));
        instructions.push(Instruction { from: 0, copied: 0, literal });
        for (at, byte) in changes {
            let at = at.index(new.len());
            new[at] = byte;
        }
        let header = Header { old: root(3, &old), new: root(4, &new) };
        for differences in [Differences::Apart, Differences::Paired] {
            let bytes = encoded(&old, &new, &instructions, differences);
            prop_assert!(applied(&delta(&header, &bytes), &header, &old).unwrap() == new);
        }
    }
}
