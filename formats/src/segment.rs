//! An image as a sequence of segments: small ones as bytes, file contents only as blobs to be
//! streamed. What plans an image (`erofs`, `cpio`) never holds a file's content; the one who
//! writes the segments fetches it from the store.

use std::iter;

use crate::tree::Blob;

/// How many bytes of small pieces are gathered into one segment before it is handed out.
const GATHERED_BYTES: usize = 64 << 10;

/// The next part of an image. Each begins where the one before it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The content of a blob, then zeros.
    Blob {
        /// What to stream.
        blob: Blob,
        /// How many zero bytes follow the content.
        padding: u64,
    },
}

impl Segment {
    /// How many bytes of the image it covers.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Blob { blob, padding } => blob.size + padding,
        }
    }
}

/// Joins neighbouring `Bytes`, so that a writer gets few large pieces instead of one per inode.
pub(crate) fn gather(pieces: impl Iterator<Item = Segment>) -> impl Iterator<Item = Segment> {
    let mut pieces = pieces.peekable();
    iter::from_fn(move || {
        let mut segment = pieces.next()?;
        if let Segment::Bytes(bytes) = &mut segment {
            while bytes.len() < GATHERED_BYTES
                && let Some(Segment::Bytes(more)) =
                    pieces.next_if(|piece| matches!(piece, Segment::Bytes(_)))
            {
                bytes.extend(more);
            }
        }
        Some(segment)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

    #[test]
    fn neighbouring_bytes_become_one_segment_and_blobs_stay_apart() {
        let blob = Segment::Blob { blob: Blob { sha256: Sha256::of("abc"), size: 3 }, padding: 1 };
        let bytes = |text: &str| Segment::Bytes(text.as_bytes().to_vec());
        let pieces = [bytes("a"), bytes("b"), blob.clone(), blob.clone(), bytes("c")];
        let gathered: Vec<_> = gather(pieces.into_iter()).collect();
        assert_eq!(gathered, [bytes("ab"), blob.clone(), blob, bytes("c")]);
        assert_eq!(gathered.iter().map(Segment::size).collect::<Vec<_>>(), [2, 4, 4, 1]);
    }

    #[test]
    fn a_segment_does_not_grow_without_bound() {
        let piece = Segment::Bytes(vec![7; 40 << 10]);
        let sizes: Vec<_> =
            gather(iter::repeat_n(piece, 3)).map(|segment| segment.size()).collect();
        assert_eq!(sizes, [80 << 10, 40 << 10]);
    }
}
