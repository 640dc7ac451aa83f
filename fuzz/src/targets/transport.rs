//! What moves a node from one root image to another.

use std::io;
use std::ops::Range;

use formats::blocks::{self, Have};
use formats::delta::{self, HEADER};
use formats::digest::Sha256;
use formats::incoming::Slot;
use formats::seekable::{self, FOOTER, SeekTable};
use formats::verity::{self, BLOCK, HashBlock};

use crate::seeds;

/// A slot in memory.
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

/// Whatever comes out is the image that was wanted.
pub(crate) fn delta(bytes: &[u8]) {
    let seeds::Pair { old, new, header } = &*seeds::PAIR;
    let apply = |delta: &[u8]| {
        let made = delta::apply(delta, (&header.old, &old[..]), &header.new, Memory::default());
        assert!(made.is_err() || made.is_ok_and(|slot| slot.0 == *new));
    };
    apply(bytes);
    if let Some(frame) = bytes.get(HEADER..) {
        let head = header.encode();
        apply(&[&head[..], frame].concat());
        apply(&[&head[..], &seeds::packed(frame)].concat());
    }
}

/// The end is a table, what is before it frames; all of it is a tree over 130 blocks or more.
pub(crate) fn root_zst(bytes: &[u8]) {
    let blocks = 130 + bytes.len() as u64 % 3;
    let digest = Sha256::of(bytes);
    drop(verity::leaves(&[2; 16], &digest, blocks, bytes));
    if let Some(top) = bytes.get(..4096) {
        let root = verity::block_digest(&[2; 16], top);
        drop(verity::leaves(&[2; 16], &root, blocks, bytes));
    }
    let Some(end) = bytes.len().checked_sub(FOOTER) else { return };
    let length = SeekTable::length(&bytes[end..]).ok();
    let Some(start) = length.and_then(|length| bytes.len().checked_sub(length)) else { return };
    for size in [2 * BLOCK, BLOCK] {
        let Ok(table) = SeekTable::parse(&bytes[start..], bytes.len() as u64, size) else {
            continue;
        };
        let leaves: Vec<_> =
            (0..size / BLOCK).map(|number| Sha256::of(number.to_le_bytes())).collect();
        let have = Have { running: &leaves[1..], spare: &[] };
        let plan = blocks::plan(&leaves, have, &table, 0).expect("a table of this image");
        for request in plan.requests() {
            drop(seekable::unpack(&bytes[in_memory(request.bytes.clone())], seekable::FRAME));
        }
        for frame in 0..table.frames() {
            let held = table.in_image(frame);
            let held = u32::try_from(held.end - held.start).expect("at most a frame");
            drop(seekable::unpack(&bytes[in_memory(table.in_file(frame..frame + 1))], held));
        }
    }
}

fn in_memory(range: Range<u64>) -> Range<usize> {
    let at = |at: u64| usize::try_from(at).expect("inside of the file");
    at(range.start)..at(range.end)
}
