//! The contents of a test's files, and images put together from them.

use std::collections::HashMap;

use formats::digest::Sha256;
use formats::segment::Segment;
use formats::tree::Blob;

/// What a store is to the builder.
#[derive(Debug, Default)]
pub(crate) struct Contents(HashMap<Sha256, Vec<u8>>);

impl Contents {
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Blob {
        let sha256 = Sha256::of(bytes);
        self.0.insert(sha256, bytes.to_vec());
        Blob { sha256, size: bytes.len() as u64 }
    }

    /// So many bytes, which `seed` makes different from others.
    pub(crate) fn add_pattern(&mut self, seed: usize, size: usize) -> Blob {
        let bytes: Vec<u8> =
            (0..size).map(|index| (index.wrapping_mul(31) / 7 + seed).to_le_bytes()[0]).collect();
        self.add(&bytes)
    }

    pub(crate) fn get(&self, blob: &Blob) -> &[u8] {
        &self.0[&blob.sha256]
    }

    pub(crate) fn assemble(&self, segments: impl Iterator<Item = Segment>) -> Vec<u8> {
        let mut image = Vec::new();
        for segment in segments {
            let end = image.len() + usize::try_from(segment.size()).unwrap();
            match segment {
                Segment::Bytes(bytes) => image.extend(bytes),
                Segment::Blob { blob, .. } => image.extend(self.get(&blob)),
            }
            image.resize(end, 0);
        }
        image
    }
}
