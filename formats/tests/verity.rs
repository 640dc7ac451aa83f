//! dm-verity trees before the outside judge: `veritysetup`.

mod judge;

use std::fs;
use std::path::Path;

use formats::digest::Sha256;
use formats::verity::{Verity, tree_size};
use judge::Judge;
use tempfile::TempDir;

const VERITYSETUP: Judge = Judge { program: "veritysetup", package: "cryptsetup-bin" };

const BLOCK: usize = 4096;

/// Blocks of which no two are equal.
fn data(blocks: usize) -> Vec<u8> {
    (0..blocks).flat_map(|index| [&index.to_le_bytes()[..], &[7; BLOCK - 8]].concat()).collect()
}

/// A device which holds data and, behind it, the tree.
struct Device {
    bytes: Vec<u8>,
    data_blocks: usize,
    salt: &'static [u8],
    root_hash: Sha256,
}

impl Device {
    fn new(data_blocks: usize, salt: &'static [u8]) -> Self {
        let mut bytes = data(data_blocks);
        let Verity { root_hash, tree, data_blocks: counted } = Verity::of(salt, &bytes).unwrap();
        assert_eq!(counted, data_blocks as u64);
        assert_eq!(tree.len() as u64, tree_size(counted));
        bytes.extend(tree);
        Self { bytes, data_blocks, salt, root_hash }
    }

    /// Writes it to `path` and says how to ask for a verdict.
    fn question(&self, path: &Path) -> [String; 12] {
        let Self { bytes, data_blocks, salt, root_hash } = self;
        fs::write(path, bytes).unwrap();
        let salt: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = path.to_str().unwrap();
        [
            "verify".to_owned(),
            "--no-superblock".to_owned(),
            "--format=1".to_owned(),
            "--hash=sha256".to_owned(),
            "--data-block-size=4096".to_owned(),
            "--hash-block-size=4096".to_owned(),
            format!("--data-blocks={data_blocks}"),
            format!("--hash-offset={}", data_blocks * BLOCK),
            format!("--salt={}", if salt.is_empty() { "-" } else { &salt }),
            path.to_owned(),
            path.to_owned(),
            root_hash.to_string(),
        ]
    }
}

#[test]
fn veritysetup_accepts_trees_around_the_borders_of_their_levels() {
    let directory = TempDir::new().unwrap();
    for data_blocks in [1, 2, 127, 128, 129, 16384, 16385] {
        for salt in [&[][..], &[0xA5; 32]] {
            let device = Device::new(data_blocks, salt);
            VERITYSETUP.approve(device.question(&directory.path().join("device")), b"");
        }
    }
}

#[test]
fn veritysetup_refuses_one_flipped_bit_anywhere() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("device");
    let mut device = Device::new(129, b"salt");
    let tree = 129 * BLOCK;
    // First and last byte of data, the top level, first and last digest of the level below.
    for offset in [0, tree - 1, tree, tree + BLOCK, tree + 2 * BLOCK + 31] {
        device.bytes[offset] ^= 1;
        let output = VERITYSETUP.run(device.question(&path), b"");
        assert!(!output.status.success(), "byte {offset}");
        device.bytes[offset] ^= 1;
    }
    VERITYSETUP.approve(device.question(&path), b"");
}
