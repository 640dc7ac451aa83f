//! Makes what moves a node from one root image to another: deltas, and the image as seekable zstd.
//! The formats and how they are applied are in [`formats::delta`] and [`formats::seekable`]; here is
//! what a node does not do: finding what is alike, and packing.
//!
//! The same images give the same bytes, with any number of threads: zstd is compiled in, in the
//! version of `Cargo.lock`.

mod frames;
mod matches;

use std::io::{self, Write};

use formats::delta::{Differences, Encoder, Header, Instruction, WINDOW};
use libsais::SuffixArrayConstruction;

use matches::Suffixes;

pub use frames::{PackError, pack};

/// The level of zstd: what is left of two images is small, so the best is not dear.
const LEVEL: i32 = 19;

/// A delta cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// Places in the old image are numbers of 31 bits while it is sorted.
    #[error("deltas are made of images up to 2 GiB, and the old one has {0} bytes")]
    TooLarge(u64),
    /// An image is not the one that the header names.
    #[error("the {which} image has {seen} bytes, and its release says {named}")]
    OtherSize {
        /// `old` or `new`.
        which: &'static str,
        /// What there is.
        seen: u64,
        /// What the header has.
        named: u64,
    },
    /// The suffixes of the old image were not sorted.
    #[error("cannot sort the old image: {0}")]
    Sort(String),
    /// The delta cannot be packed or written.
    #[error("cannot write the delta")]
    Write(#[source] io::Error),
}

/// Writes the delta that makes `new` of `old` to `sink`. It takes one thread and, beside both
/// images, some five times the bytes of the old one.
///
/// # Errors
/// See [`DeltaError`].
pub fn make(
    header: &Header,
    old: &[u8],
    new: &[u8],
    mut sink: impl Write,
) -> Result<(), DeltaError> {
    for (which, image, root) in [("old", old, &header.old), ("new", new, &header.new)] {
        let seen = image.len() as u64;
        if seen != root.size {
            return Err(DeltaError::OtherSize { which, seen, named: root.size });
        }
    }
    if i32::try_from(old.len()).is_err() {
        return Err(DeltaError::TooLarge(old.len() as u64));
    }
    let sort = SuffixArrayConstruction::for_text(old).in_owned_buffer32().single_threaded();
    let sorted = sort.run().map_err(|error| DeltaError::Sort(error.to_string()))?.into_vec();
    let mut instructions = Vec::new();
    matches::instructions(&Suffixes::new(old, &sorted), new, |found| instructions.push(found));
    drop(sorted);
    let pack = |differences| pack_instructions(old, new, &instructions, differences);
    let frames = [pack(Differences::Apart), pack(Differences::Paired)];
    let [apart, paired] = frames.map(|frame| frame.map_err(DeltaError::Write));
    let (apart, paired) = (apart?, paired?);
    let smaller = if paired.len() < apart.len() { &paired } else { &apart };
    let written = sink.write_all(&header.encode()).and_then(|()| sink.write_all(smaller));
    written.and_then(|()| sink.flush()).map_err(DeltaError::Write)
}

fn pack_instructions(
    old: &[u8],
    new: &[u8],
    instructions: &[Instruction],
    differences: Differences,
) -> io::Result<Vec<u8>> {
    let mut packer = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
    packer.window_log(WINDOW.ilog2())?;
    let mut encoder = Encoder::new(old, new, differences);
    for instruction in instructions {
        encoder.take(*instruction, |bytes| packer.write_all(bytes))?;
    }
    encoder.finish(|bytes| packer.write_all(bytes))?;
    packer.finish()
}

#[cfg(test)]
mod tests;
