//! Deltas: what makes the root image, or the UKI, of one release of that of another. A delta is
//! copies out of the old image, from anywhere in it, with differences added byte by byte, and bytes
//! that the old image does not have; all of it packed as one frame of zstd.
//!
//! ```text
//! 8 bytes   "orlop-d1"
//! 56 bytes  the old image: root hash (32), salt (16), u64 bytes of data
//! 56 bytes  the new image, in the same way
//! one frame of zstd (RFC 8878) with a window of at most 64 MiB, and nothing behind it
//! ```
//!
//! What the frame holds is segments, one behind the other until the new image is whole. Numbers
//! are little-endian; a varint has seven bits in each byte, the lowest first, and the top bit of
//! all but the last set.
//!
//! ```text
//! u32 x 4   bytes of each of the four sections, at most 8 MiB together
//! control   instructions: varint c, varint l, varint s
//! gaps      varints, or a varint and a value by turns
//! values    bytes, or nothing
//! literals  bytes
//! ```
//!
//! An instruction moves on by `s` from where the copy before it ended in the old image (zigzag: 0,
//! -1, 1, -2, ...; the first begins at 0), copies `c` bytes from there, and then takes `l` bytes of
//! the literals. The bytes that are copied in a segment, one behind the other, are changed as gaps
//! and values say: so many stay as they are, to the next one the value is added modulo 256, and so
//! on; after the last value all stay. Values stand in their own section or each behind its gap, for
//! some images pack better in the one way and some in the other. Every instruction makes at least one byte, and all sections
//! are used up with the last one.
//!
//! Whoever applies one holds a segment and a window; the old image is read as it is needed, and the
//! new one is written strictly forward. What was written is the image that was wanted or is
//! refused ([`crate::incoming`]).

mod apply;
mod encode;
mod header;

pub use apply::{ApplyError, apply};
pub use encode::{Differences, Encoder, Instruction};
pub use header::{HEADER, Header, HeaderError};

/// The most that a frame may ask a node to hold while it is unpacked: 64 MiB.
pub const WINDOW: u64 = 64 << 20;

/// The most bytes of the sections of a segment: 8 MiB.
pub const SEGMENT: usize = 8 << 20;

/// The lengths of the sections, in front of them.
const LENGTHS: usize = 16;

/// What a stream of segments may have beside three bytes for each of the new image.
const SLACK: u64 = 1 << 16;

#[cfg(test)]
mod tests;
