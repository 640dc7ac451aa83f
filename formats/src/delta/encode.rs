//! Segments out of instructions. What finds the instructions and what packs the segments is the
//! one who makes a delta.

use super::SEGMENT;

/// A segment is closed when its sections have this many bytes together: the packer knows all that
/// is before it, so little would be won by larger ones.
const ENOUGH: usize = SEGMENT / 2;

/// Differences and literals of so many bytes are taken at once, so that a segment that is not
/// closed yet has room for them.
const PIECE: usize = 1 << 20;

/// The most bytes that a varint of 64 bits has.
const VARINT: usize = 10;

const _: () = assert!(ENOUGH + (PIECE + VARINT + 1) + PIECE + 3 * VARINT < SEGMENT);

/// How many bytes are compared at once where images are alike.
const STRIDE: usize = 256;

/// A copy from the old image, and bytes behind it that the old image does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Where the copy begins in the old image.
    pub from: usize,
    /// How many bytes are copied.
    pub copied: usize,
    /// How many bytes of the new image follow that are not copied.
    pub literal: usize,
}

/// How it is written where the bytes that are copied differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differences {
    /// Gaps in one section, values in another: for many small files that differ by the same values
    /// in other places.
    Apart,
    /// Each value behind its gap: for large ones, in which both come again together.
    Paired,
}

/// Makes segments of instructions that follow each other.
#[derive(Debug)]
pub struct Encoder<'a> {
    old: &'a [u8],
    new: &'a [u8],
    differences: Differences,
    // How much of the new image has been taken.
    at: usize,
    // Where the copy before ended in the old image.
    from: usize,
    // Copied bytes of this segment since the last that differed.
    gap: u64,
    control: Vec<u8>,
    gaps: Vec<u8>,
    values: Vec<u8>,
    literals: Vec<u8>,
}

impl<'a> Encoder<'a> {
    /// Begins a delta from `old` to `new`.
    pub fn new(old: &'a [u8], new: &'a [u8], differences: Differences) -> Self {
        let [control, gaps, values, literals] = [const { Vec::new() }; 4];
        Self { old, new, differences, at: 0, from: 0, gap: 0, control, gaps, values, literals }
    }

    /// Takes the next instruction, and gives segments that are complete to `sink`.
    ///
    /// # Errors
    /// Those of the sink.
    ///
    /// # Panics
    /// The instruction reads behind the end of one of the images.
    pub fn take<E>(
        &mut self,
        instruction: Instruction,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Instruction { mut from, mut copied, mut literal } = instruction;
        while copied > 0 || literal > 0 {
            let copy = self.copy(from, copied);
            let taken = if copy == copied { literal.min(PIECE) } else { 0 };
            self.literals.extend(&self.new[self.at..self.at + taken]);
            // A literal alone leaves the place in the old image where it is.
            let start = if copy == 0 { self.from } else { from };
            put_varint(&mut self.control, copy as u64);
            put_varint(&mut self.control, taken as u64);
            put_varint(&mut self.control, zigzag(self.from, start));
            self.at += taken;
            self.from = start + copy;
            (from, copied, literal) = (from + copy, copied - copy, literal - taken);
            let held = [&self.control, &self.gaps, &self.values, &self.literals];
            if held.map(Vec::len).iter().sum::<usize>() >= ENOUGH {
                self.close(&mut sink)?;
            }
        }
        Ok(())
    }

    /// Gives the last segment to `sink`.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish<E>(mut self, sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.control.is_empty() { Ok(()) } else { self.close(sink) }
    }

    /// Notes how a copy of up to `most` bytes differs. How many bytes there is room for.
    fn copy(&mut self, from: usize, most: usize) -> usize {
        let old = &self.old[from..from + most];
        let new = &self.new[self.at..self.at + most];
        let full = self.gaps.len() + self.values.len() + PIECE;
        let mut done = 0;
        for (old, new) in old.chunks(STRIDE).zip(new.chunks(STRIDE)) {
            if self.gaps.len() + self.values.len() + STRIDE * (VARINT + 1) > full {
                break;
            }
            if old == new {
                self.gap += old.len() as u64;
            } else {
                for (old, new) in old.iter().zip(new) {
                    if old == new {
                        self.gap += 1;
                    } else {
                        put_varint(&mut self.gaps, std::mem::take(&mut self.gap));
                        let values = match self.differences {
                            Differences::Apart => &mut self.values,
                            Differences::Paired => &mut self.gaps,
                        };
                        values.push(new.wrapping_sub(*old));
                    }
                }
            }
            done += old.len();
        }
        self.at += done;
        done
    }

    fn close<E>(&mut self, mut sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let Self { control, gaps, values, literals, .. } = self;
        let sections = [control, gaps, values, literals];
        let lengths = sections.each_ref().map(|section| section.len());
        for length in lengths {
            // At most `SEGMENT`.
            sink(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes())?;
        }
        for section in sections {
            sink(section)?;
            section.clear();
        }
        self.gap = 0;
        Ok(())
    }
}

/// How far it is from one place to another, as a number without sign.
fn zigzag(from: usize, to: usize) -> u64 {
    if to >= from { (to - from) as u64 * 2 } else { (from - to) as u64 * 2 - 1 }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}
