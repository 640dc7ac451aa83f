//! Root images as seekable zstd, the target `root.zst` of a release: independent frames of 256 KiB
//! of the image each, and behind the last one a table that says how long each is. `zstd -d` unpacks
//! the file as it is, and whoever has the table fetches the frames that it needs.
//!
//! The format is the Zstandard Seekable Format 0.1.0 of zstd's `contrib/seekable_format`
//! (`zstd_seekable_compression_format.md`); the frames are RFC 8878. Numbers are little-endian.
//!
//! ```text
//! frame, frame, ...       zstd
//! u32 0x184D2A5E, u32 n   a skippable frame with n bytes:
//! u32 packed, u32 size      for each frame its bytes in the file and in the image,
//!                           and a checksum of 32 bits if the flag says so: we write none
//! u32 frames                how many there are
//! u8 flags                  bit 7: checksums; bits 2 to 6 are zero
//! u32 0x8F92EAB1
//! ```

use std::io::Read;
use std::ops::Range;

use ruzstd::decoding::StreamingDecoder;

use crate::le::u32_at;

/// Bytes of the image in a frame, but for the last one.
pub const FRAME: u32 = 256 << 10;

/// The level of zstd at which frames are packed. Of frames this small level 19 makes 0.1 % less, for
/// half as much time again.
pub const LEVEL: i32 = 17;

/// Bytes of the end of a file that say how large the table is.
pub const FOOTER: usize = 9;

/// More frames than an image of [`crate::incoming::LARGEST`] has.
const MOST_FRAMES: u32 = 1 << 18;
/// What zstd may need for a frame's worth of bytes that cannot be packed, generously.
const MOST_PACKED: u32 = FRAME + (FRAME >> 8) + 64;

const SKIPPABLE: u32 = 0x184d_2a5e;
const SEEKABLE: u32 = 0x8f92_eab1;
const HEADER: usize = 8;
const CHECKSUMS: u8 = 0x80;
const RESERVED: u8 = 0x7c;

/// The table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The file does not end as one with a table does.
    #[error("the file does not end with a seek table")]
    NoTable,
    /// Bits that have no meaning yet are set.
    #[error("the seek table has flags that are not known: {0:#04x}")]
    Flags(u8),
    /// More than any image has.
    #[error("the seek table names {0} frames, more than any image has")]
    Frames(u32),
    /// Something about its length is not as its own end says.
    #[error("the seek table is not as long as its end says")]
    Length,
    /// One of them is empty or larger than ours.
    #[error("frame {number} of the seek table has {packed} bytes for {size} of the image")]
    Frame {
        /// Which.
        number: usize,
        /// In the file.
        packed: u32,
        /// In the image.
        size: u32,
    },
    /// The frames and the table are not the whole file.
    #[error("frames and seek table have {described} bytes, and the file {file}")]
    FileSize {
        /// What the table says.
        described: u64,
        /// What the file has.
        file: u64,
    },
    /// The frames are of another image.
    #[error("the frames hold {described} bytes, and the image has {image}")]
    ImageSize {
        /// What the table says.
        described: u64,
        /// What the image has.
        image: u64,
    },
}

/// Where each frame is, in the file and in the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeekTable {
    // Invariant: where each frame ends, in the file and in the image: both rise.
    ends: Vec<(u64, u64)>,
}

impl SeekTable {
    /// Of no frame yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next frame, of `packed` bytes for `size` of the image.
    ///
    /// # Errors
    /// [`TableError::Frame`].
    pub fn push(&mut self, packed: u32, size: u32) -> Result<(), TableError> {
        if !(1..=MOST_PACKED).contains(&packed) || !(1..=FRAME).contains(&size) {
            return Err(TableError::Frame { number: self.ends.len(), packed, size });
        }
        self.ends.push((self.packed_size() + u64::from(packed), self.size() + u64::from(size)));
        Ok(())
    }

    /// How many frames there are.
    pub fn frames(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of the image.
    pub fn size(&self) -> u64 {
        self.ends.last().map_or(0, |(_, size)| *size)
    }

    /// Bytes of all frames together, which begin the file.
    pub fn packed_size(&self) -> u64 {
        self.ends.last().map_or(0, |(packed, _)| *packed)
    }

    /// Bytes of the file, the table included.
    pub fn file_size(&self) -> u64 {
        self.packed_size() + (HEADER + self.ends.len() * 8 + FOOTER) as u64
    }

    /// The skippable frame that ends the file.
    pub fn encode(&self) -> Vec<u8> {
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let frames = number(self.ends.len() as u64);
        let mut bytes = SKIPPABLE.to_le_bytes().to_vec();
        bytes.extend((frames * 8 + number(FOOTER as u64)).to_le_bytes());
        for frame in 0..self.frames() {
            let [packed, size] = [self.in_file(frame..frame + 1), self.in_image(frame)];
            bytes.extend(number(packed.end - packed.start).to_le_bytes());
            bytes.extend(number(size.end - size.start).to_le_bytes());
        }
        bytes.extend(frames.to_le_bytes());
        bytes.push(0);
        bytes.extend(SEEKABLE.to_le_bytes());
        bytes
    }

    /// How many bytes the table has, its own frame included, of a file whose last [`FOOTER`] bytes
    /// are these.
    ///
    /// # Errors
    /// [`TableError::NoTable`], [`TableError::Flags`], [`TableError::Frames`]: so the size is bounded.
    pub fn length(footer: &[u8]) -> Result<usize, TableError> {
        let (frames, entry) = parse_footer(footer)?;
        Ok(HEADER + frames * entry + FOOTER)
    }

    /// Reads the table, of [`SeekTable::length`] bytes, of a file of `file` bytes that unpacks to an
    /// image of `image` bytes.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn parse(bytes: &[u8], file: u64, image: u64) -> Result<Self, TableError> {
        let footer = bytes.len().checked_sub(FOOTER).map(|at| &bytes[at..]);
        let (frames, entry) = parse_footer(footer.ok_or(TableError::NoTable)?)?;
        let content = frames * entry + FOOTER;
        if bytes.len() != HEADER + content || u32_at(bytes, 4) != u32::try_from(content).ok() {
            return Err(TableError::Length);
        }
        if u32_at(bytes, 0) != Some(SKIPPABLE) {
            return Err(TableError::NoTable);
        }
        let mut table = Self { ends: Vec::with_capacity(frames) };
        for entry in bytes[HEADER..HEADER + frames * entry].chunks_exact(entry) {
            let number = |at| u32_at(entry, at).unwrap_or(0);
            table.push(number(0), number(4))?;
        }
        let described = table.packed_size() + bytes.len() as u64;
        if described != file {
            return Err(TableError::FileSize { described, file });
        }
        if table.size() != image {
            return Err(TableError::ImageSize { described: table.size(), image });
        }
        Ok(table)
    }

    /// The frames that hold these bytes of the image: none for what it does not have.
    pub fn covering(&self, bytes: Range<u64>) -> Range<usize> {
        if bytes.is_empty() || bytes.start >= self.size() {
            return 0..0;
        }
        let first = self.ends.partition_point(|(_, size)| *size <= bytes.start);
        let last = self.ends.partition_point(|(_, size)| *size < bytes.end);
        first..(last + 1).min(self.frames())
    }

    /// Which bytes of the image a frame holds: none if there is no such frame.
    pub fn in_image(&self, frame: usize) -> Range<u64> {
        let end = |frame: usize| self.ends.get(frame).map_or(self.size(), |(_, size)| *size);
        frame.checked_sub(1).map_or(0, end)..end(frame)
    }

    /// Which bytes of the file these frames are.
    pub fn in_file(&self, frames: Range<usize>) -> Range<u64> {
        let start = |frame: usize| {
            let before = frame.checked_sub(1);
            let ends = |frame: usize| self.ends.get(frame).or(self.ends.last());
            before.and_then(ends).map_or(0, |(packed, _)| *packed)
        };
        let first = start(frames.start);
        first..start(frames.end).max(first)
    }
}

/// How many frames, and how many bytes the table has for each.
fn parse_footer(footer: &[u8]) -> Result<(usize, usize), TableError> {
    let [frames @ .., flags, _, _, _, _] = footer else { return Err(TableError::NoTable) };
    if u32_at(footer, 5) != Some(SEEKABLE) {
        return Err(TableError::NoTable);
    }
    let frames = u32_at(frames, 0).ok_or(TableError::NoTable)?;
    if flags & RESERVED != 0 {
        return Err(TableError::Flags(*flags));
    }
    if frames > MOST_FRAMES {
        return Err(TableError::Frames(frames));
    }
    let entry = if flags & CHECKSUMS == 0 { 8 } else { 12 };
    Ok((usize::try_from(frames).map_err(|_| TableError::Frames(frames))?, entry))
}

/// A frame does not unpack to what the table says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a frame of the image is damaged: {0}")]
pub struct FrameError(String);

/// Unpacks one frame, which holds `size` bytes of the image. No more than that is ever held,
/// whatever the frame says.
///
/// # Errors
/// See [`FrameError`].
pub fn unpack(frame: &[u8], size: u32) -> Result<Vec<u8>, FrameError> {
    let failed = |error: &dyn std::fmt::Display| FrameError(error.to_string());
    if size > FRAME {
        return Err(FrameError(format!("{size} bytes are more than a frame holds")));
    }
    let mut rest = frame;
    let decoder = StreamingDecoder::new_with_max_window_size(&mut rest, FRAME.into());
    let mut decoder = decoder.map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    let most = u64::from(size) + 1;
    (&mut decoder).take(most).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    drop(decoder);
    if bytes.len() as u64 != u64::from(size) {
        return Err(FrameError(format!("{} bytes came of it, not {size}", bytes.len())));
    }
    if !rest.is_empty() {
        return Err(FrameError(format!("{} bytes follow it", rest.len())));
    }
    Ok(bytes)
}

/// Unpacks the next frame of a file that is read from its beginning: at most [`FRAME`] bytes of the
/// image. No more of the source is read than the frame has, so the next frame or the table follows.
///
/// # Errors
/// See [`FrameError`]; what the source says is its text.
pub fn read_frame(source: &mut impl Read) -> Result<Vec<u8>, FrameError> {
    let failed = |error: &dyn std::fmt::Display| FrameError(error.to_string());
    let decoder = StreamingDecoder::new_with_max_window_size(source, FRAME.into());
    let decoder = decoder.map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    let most = u64::from(FRAME) + 1;
    decoder.take(most).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    match bytes.len() as u64 {
        0 => Err(FrameError("it holds nothing".to_owned())),
        length if length < most => Ok(bytes),
        _ => Err(FrameError(format!("it holds more than {FRAME} bytes"))),
    }
}

#[cfg(test)]
mod tests;
