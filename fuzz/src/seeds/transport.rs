//! Two small root images, a delta between them, and one of them as it is fetched by blocks.

use std::sync::LazyLock;

use formats::delta::{Differences, Encoder, HEADER, Header, Instruction};
use formats::incoming::Root;
use formats::seekable::SeekTable;
use formats::verity::Verity;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// The images that the target `delta` is about.
pub(crate) struct Pair {
    pub(crate) old: Vec<u8>,
    pub(crate) new: Vec<u8>,
    pub(crate) header: Header,
}

/// What a release says of the tree of [`Pair::new`].
fn root(salt: u8, image: &[u8]) -> Root {
    let salt = [salt; 16];
    let hash = Verity::of(&salt, image).expect("whole blocks").root_hash;
    Root { hash, salt, size: image.len() as u64 }
}

/// They are the same in every run.
pub(crate) static PAIR: LazyLock<Pair> = LazyLock::new(|| {
    let old: Vec<u8> = (0..=250).cycle().take(3 * 4096).collect();
    let mut new = old[1000..9000].to_vec();
    (new[3], new[7000]) = (9, 9);
    new.resize(2 * 4096, 7);
    let header = Header { old: root(1, &old), new: root(2, &new) };
    Pair { old, new, header }
});

/// As a frame of a delta or of an image.
pub(crate) fn packed(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

/// A whole delta, and what its frame holds behind a header.
pub(crate) fn delta() -> Vec<Vec<u8>> {
    [Differences::Apart, Differences::Paired].into_iter().flat_map(deltas).collect()
}

fn deltas(differences: Differences) -> [Vec<u8>; 2] {
    let Pair { old, new, header } = &*PAIR;
    let mut encoder = Encoder::new(old, new, differences);
    let mut segments = Vec::new();
    let mut sink = |bytes: &[u8]| -> Result<(), std::convert::Infallible> {
        segments.extend(bytes);
        Ok(())
    };
    for instruction in [
        Instruction { from: 1000, copied: 5000, literal: 0 },
        Instruction { from: 6000, copied: 3000, literal: new.len() - 8000 },
    ] {
        let Ok(()) = encoder.take(instruction, &mut sink);
    }
    let Ok(()) = encoder.finish(&mut sink);
    let whole = [&header.encode()[..], &packed(&segments)].concat();
    let bare = [&[0; HEADER][..], &segments].concat();
    [whole, bare]
}

/// A frame and its table; the tree over 130 blocks.
pub(crate) fn root_zst() -> Vec<Vec<u8>> {
    let image = &PAIR.new;
    let frame = packed(image);
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut table = SeekTable::new();
    table.push(length(&frame), length(image)).expect("a frame");
    let file = [&frame[..], &table.encode()].concat();
    vec![file, Verity::of(&[2; 16], &[7; 130 * 4096]).expect("whole blocks").tree]
}
