//! Sparse files: which pieces of them an archive holds. All between is zeros.

use super::BLOCK;
use super::pax::{Records, decimal};

/// No map has more pieces: a larger one would take more memory than any file is worth.
const MAX_PIECES: u64 = 1 << 20;

/// A part of a file that the archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The pieces of a file, and how far it has been read. A file without holes is one piece.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Map {
    // Invariant: in order, without overlap, none empty, none beyond `size`.
    pieces: Vec<Piece>,
    size: u64,
    position: u64,
    current: usize,
}

impl Map {
    pub(super) fn whole(size: u64) -> Self {
        let piece = Piece { offset: 0, length: size };
        Self { pieces: if size > 0 { vec![piece] } else { Vec::new() }, size, ..Self::default() }
    }

    pub(super) fn new(mut pieces: Vec<Piece>, size: u64) -> Result<Self, &'static str> {
        // An empty one at the end of the map says how long the file is.
        pieces.retain(|piece| piece.length > 0);
        let mut end = 0;
        for piece in &pieces {
            if piece.offset < end {
                return Err("the pieces of a sparse file overlap");
            }
            const BEYOND: &str = "the pieces of a sparse file go beyond its end";
            end = piece.offset.checked_add(piece.length).ok_or(BEYOND)?;
            if end > size {
                return Err(BEYOND);
            }
        }
        Ok(Self { pieces, size, ..Self::default() })
    }

    /// Bytes of the file, holes included.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that the archive holds of it.
    pub(super) fn stored(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.length).sum()
    }

    /// Whether the next bytes are in the archive, and how many of at most `limit` are of that
    /// kind; none at the end.
    pub(super) fn next(&self, limit: usize) -> Option<(bool, usize)> {
        let (stored, end) = match self.pieces.get(self.current) {
            Some(piece) if piece.offset > self.position => (false, piece.offset),
            Some(piece) => (true, piece.offset + piece.length),
            None => (false, self.size),
        };
        let left = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        (left > 0).then_some((stored, left.min(limit)))
    }

    /// So many bytes were read, no more than [`Map::next`] said.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.position += bytes as u64;
        if let Some(piece) = self.pieces.get(self.current)
            && piece.offset + piece.length == self.position
        {
            self.current += 1;
        }
    }
}

/// Versions 0.0 and 0.1: the map stands in the records, piece by piece or as one list.
pub(super) fn map_in_records(records: &Records) -> Result<Vec<Piece>, &'static str> {
    const WRONG: &str = "the map of a sparse file is wrong";
    let numbers: Vec<u64> = match records.get("GNU.sparse.map") {
        Some(map) => map.split(|byte| *byte == b',').map(decimal).collect::<Result<_, _>>()?,
        None => {
            let offsets = records.values("GNU.sparse.offset");
            let mut lengths = records.values("GNU.sparse.numbytes");
            let mut numbers = Vec::new();
            for offset in offsets {
                numbers.extend([decimal(offset)?, decimal(lengths.next().ok_or(WRONG)?)?]);
            }
            if lengths.next().is_some() {
                return Err(WRONG);
            }
            numbers
        }
    };
    let (pairs, []) = numbers.as_chunks::<2>() else { return Err(WRONG) };
    if records.number("GNU.sparse.numblocks").transpose()?.is_some_and(|n| n != pairs.len() as u64)
    {
        return Err(WRONG);
    }
    Ok(pairs.iter().map(|[offset, length]| Piece { offset: *offset, length: *length }).collect())
}

/// Version 1.0: the content begins with blocks of numbers, one a line: how many pieces, then
/// offset and length of each. `block` gives the next block.
pub(super) fn map_in_content<E>(
    mut block: impl FnMut() -> Result<[u8; BLOCK], E>,
) -> Result<Result<Vec<Piece>, &'static str>, E> {
    const WRONG: &str = "the map of a sparse file is wrong";
    let (mut numbers, mut digits) = (Vec::new(), Vec::new());
    let mut wanted = 1;
    loop {
        for byte in block()? {
            match byte {
                b'0'..=b'9' if digits.len() < 20 => digits.push(byte),
                b'\n' if !digits.is_empty() => {
                    let Ok(number) = decimal(&digits) else { return Ok(Err(WRONG)) };
                    digits.clear();
                    if numbers.is_empty() {
                        if number > MAX_PIECES {
                            return Ok(Err("a sparse file has too many pieces"));
                        }
                        wanted += 2 * number;
                    }
                    numbers.push(number);
                }
                _ => return Ok(Err(WRONG)),
            }
            if numbers.len() as u64 == wanted {
                let (pairs, _) = numbers[1..].as_chunks::<2>();
                let piece =
                    |[offset, length]: &[u64; 2]| Piece { offset: *offset, length: *length };
                return Ok(Ok(pairs.iter().map(piece).collect()));
            }
        }
    }
}
