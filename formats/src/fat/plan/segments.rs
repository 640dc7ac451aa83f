//! What is written, and where: pieces in ascending order.

/// A run of bytes to write; runs come in ascending order and cover the volume once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it goes, from the volume's start, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// What it is.
    pub piece: Piece,
}

/// The content of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Zeros: may stay a hole of a sparse file.
    Zeros,
    /// The whole of the file that the caller named so.
    External(usize),
}

/// Collects segments in ascending order and fills what lies between.
#[derive(Default)]
pub(super) struct Segments {
    segments: Vec<Segment>,
    end: u64,
}

impl Segments {
    pub(super) fn bytes(&mut self, offset: u64, bytes: Vec<u8>) {
        self.push(offset, bytes.len() as u64, Piece::Bytes(bytes));
    }

    pub(super) fn push(&mut self, offset: u64, length: u64, piece: Piece) {
        if offset > self.end {
            let zeros =
                Segment { offset: self.end, length: offset - self.end, piece: Piece::Zeros };
            self.segments.push(zeros);
        }
        self.segments.push(Segment { offset, length, piece });
        self.end = offset + length;
    }

    pub(super) fn finish(mut self, size: u64) -> Vec<Segment> {
        if size > self.end {
            let zeros = Segment { offset: self.end, length: size - self.end, piece: Piece::Zeros };
            self.segments.push(zeros);
        }
        self.segments
    }
}
