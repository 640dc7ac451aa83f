//! What a maker of deltas must do, judged by what applies them and by `zstd`.

use std::fs;

use formats::delta::{HEADER, Header, apply};
use formats::digest::Sha256;
use formats::incoming::{Root, Slot};
use formats::seekable::{FOOTER, FRAME, SeekTable, unpack};
use formats::verity::{HashBlock, Verity};
use proptest::prelude::*;

use super::*;
use crate::process::Command;

const BLOCK: usize = 4096;

#[derive(Debug, Default)]
struct Memory(Vec<u8>);

impl Slot for Memory {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend(bytes);
        Ok(())
    }

    fn tree(&mut self, _: &HashBlock) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that no packer makes smaller, the same each time.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn whole_blocks(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(BLOCK).max(BLOCK), 0);
    bytes
}

fn root(image: &[u8]) -> Root {
    let salt = [3; 16];
    let hash = Verity::of(&salt, image).unwrap().root_hash;
    Root { hash, salt, size: image.len() as u64 }
}

fn made(old: &[u8], new: &[u8]) -> (Header, Vec<u8>) {
    let header = Header { old: root(old), new: root(new) };
    let mut delta = Vec::new();
    make(&header, old, new, &mut delta).unwrap();
    (header, delta)
}

/// The delta's bytes, after it has made the new image.
fn judged(old: &[u8], new: &[u8]) -> usize {
    let (header, delta) = made(old, new);
    let slot = apply(&*delta, (&header.old, old), &header.new, Memory::default()).unwrap();
    assert!(slot.0 == new);
    delta.len()
}

#[test]
fn what_was_moved_and_what_was_shifted_by_a_constant_costs_next_to_nothing() {
    let old = noise(1, 200 * BLOCK);
    // The second half first; addresses in it that point elsewhere by the same distance.
    let mut new = [&old[100 * BLOCK..], &old[..100 * BLOCK]].concat();
    for address in new.chunks_exact_mut(64) {
        let moved = u32::from_le_bytes(address[..4].try_into().unwrap()).wrapping_add(0x1230);
        address[..4].copy_from_slice(&moved.to_le_bytes());
    }
    let bytes = judged(&old, &new);
    // 12,800 addresses, some 30,000 bytes that differ.
    assert!(bytes < 16_000, "{bytes}");
    let bytes = judged(&old, &old);
    assert!(bytes < HEADER + 60, "{bytes}");
    // What is nowhere costs what it is.
    let bytes = judged(&old, &noise(2, 50 * BLOCK));
    assert!((50 * BLOCK..51 * BLOCK).contains(&bytes), "{bytes}");
}

#[test]
fn images_of_zeros_and_of_one_block_have_deltas() {
    let (zeros, one, many) = (vec![0; BLOCK], noise(3, BLOCK), vec![0; 300 * BLOCK]);
    for old in [&zeros, &one, &many] {
        for new in [&zeros, &one, &many] {
            judged(old, new);
        }
    }
}

#[test]
fn the_same_images_have_the_same_delta() {
    let old = noise(4, 60 * BLOCK);
    let mut new = old[5 * BLOCK..].to_vec();
    for at in (0..new.len()).step_by(777) {
        new[at] ^= 1;
    }
    let delta = made(&old, &new).1;
    assert_eq!(delta, made(&old, &new).1);
}

#[test]
fn images_that_are_not_those_of_the_header_make_no_delta() {
    let (one, two) = (noise(5, BLOCK), noise(6, 2 * BLOCK));
    let header = Header { old: root(&one), new: root(&two) };
    let failed =
        |old: &[u8], new: &[u8]| make(&header, old, new, io::sink()).unwrap_err().to_string();
    let text = "the old image has 8192 bytes, and its release says 4096";
    assert_eq!(failed(&two, &two), text);
    let text = "the new image has 4096 bytes, and its release says 8192";
    assert_eq!(failed(&one, &one), text);
}

#[test]
fn zstd_unpacks_an_image_of_frames_and_the_table_has_each() {
    let image = [noise(7, 3 * FRAME as usize), vec![1; 5 * BLOCK]].concat();
    let mut packed = Vec::new();
    let table = pack(&*image, &mut packed, 2).unwrap();
    for jobs in [0, 1, 3, 9] {
        let mut again = Vec::new();
        pack(&*image, &mut again, jobs).unwrap();
        assert!(again == packed, "{jobs}");
    }
    let end = packed.len() - FOOTER;
    let start = packed.len() - SeekTable::length(&packed[end..]).unwrap();
    let size = image.len() as u64;
    let read = SeekTable::parse(&packed[start..], packed.len() as u64, size).unwrap();
    assert_eq!((&read, read.frames()), (&table, 4));
    for frame in 0..table.frames() {
        let at = |range: std::ops::Range<u64>| {
            usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
        };
        let (there, held) = (at(table.in_file(frame..frame + 1)), at(table.in_image(frame)));
        let content = unpack(&packed[there], u32::try_from(held.len()).unwrap()).unwrap();
        assert!(content == image[held], "{frame}");
    }
    let directory = tempfile::tempdir().unwrap();
    let [file, unpacked] = ["root.zst", "root"].map(|name| directory.path().join(name));
    fs::write(&file, &packed).unwrap();
    let zstd = Command::new("zstd").args(["-q", "-d"]).arg(&file).arg("-o").arg(&unpacked);
    zstd.run().unwrap();
    assert_eq!(Sha256::of(fs::read(&unpacked).unwrap()), Sha256::of(&image));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Pieces of the old image from anywhere, changed a little or not at all, and new bytes.
    #[test]
    fn a_delta_that_was_made_is_applied(
        alphabet in prop_oneof![Just(2_u8), Just(250)],
        size in 1_usize..5,
        pieces in prop::collection::vec((0_usize..20_000, 0_usize..3000, 0_u8..4), 0..20),
    ) {
        let of = |seed, length| -> Vec<u8> {
            noise(seed, length).into_iter().map(|byte| byte % alphabet).collect()
        };
        let old = of(8, size * BLOCK);
        let mut new = Vec::new();
        for (number, (from, length, kind)) in (9..).zip(pieces) {
            let from = from.min(old.len());
            let mut piece = old[from..old.len().min(from + length)].to_vec();
            match kind {
                0 => piece = of(number, length),
                1 => piece.iter_mut().step_by(61).for_each(|byte| *byte = byte.wrapping_add(3)),
                2 => piece.iter_mut().for_each(|byte| *byte = byte.wrapping_add(3)),
                _ => {}
            }
            new.extend(piece);
        }
        judged(&old, &whole_blocks(new));
    }
}
