//! A delta applied: correct or refused. What is held is a window, a segment and a buffer, whatever
//! the delta says.

use std::io::{self, BufReader, Read};

use ruzstd::decoding::StreamingDecoder;

use super::{HEADER, Header, HeaderError, LENGTHS, SEGMENT, SLACK, WINDOW};
use crate::incoming::{Image, Incoming, IncomingError, Root, Slot};
use crate::le::u32_at;

/// How much of the new image is written at once: whole blocks of it, but for what errors leave.
const BUFFER: usize = 256 << 10;

/// How much of a delta is read at once.
const READ: usize = 64 << 10;

/// A delta was not applied, or what came of it is not what was wanted.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Its head is not that of a delta.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It is for those who have another image.
    #[error("the delta is for the image {wanted}, not for {there}")]
    OtherOld {
        /// What it reads.
        wanted: Box<Root>,
        /// What there is.
        there: Box<Root>,
    },
    /// It makes another image.
    #[error("the delta makes the image {made}, not {wanted}")]
    OtherNew {
        /// What it makes.
        made: Box<Root>,
        /// What is wanted.
        wanted: Box<Root>,
    },
    /// It does not come, or does not unpack.
    #[error("the delta cannot be read or unpacked: {0}")]
    Unpack(String),
    /// It says what cannot be done.
    #[error("the delta is damaged: {0}")]
    Damaged(&'static str),
    /// The old image is not there as it should be.
    #[error("cannot read the old image at byte {at}")]
    Old {
        /// Where.
        at: u64,
        /// Why not.
        source: io::Error,
    },
    /// The new image is not what was wanted, or cannot be written.
    #[error(transparent)]
    Incoming(#[from] IncomingError),
}

/// Makes the image `new` in `slot` out of `image`, which is `old`.
///
/// # Errors
/// See [`ApplyError`]. What was written to the slot by then is no image.
pub fn apply<S: Slot>(
    mut delta: impl Read,
    (old, image): (&Root, &(impl Image + ?Sized)),
    new: &Root,
    slot: S,
) -> Result<S, ApplyError> {
    let unpack = |error: &dyn std::fmt::Display| ApplyError::Unpack(error.to_string());
    let mut head = Vec::with_capacity(HEADER);
    let first = (&mut delta).take(HEADER as u64).read_to_end(&mut head);
    first.map_err(|error| unpack(&error))?;
    let header = Header::parse(&head)?;
    if header.old != *old {
        let (wanted, there) = (Box::new(header.old), Box::new(old.clone()));
        return Err(ApplyError::OtherOld { wanted, there });
    }
    if header.new != *new {
        let (made, wanted) = (Box::new(header.new), Box::new(new.clone()));
        return Err(ApplyError::OtherNew { made, wanted });
    }
    let mut source = BufReader::with_capacity(READ, delta);
    let decoder = StreamingDecoder::new_with_max_window_size(&mut source, WINDOW);
    let stream =
        Stream { decoder: decoder.map_err(|error| unpack(&error))?, left: new.size * 3 + SLACK };
    let mut output = Output {
        image,
        old_size: old.size,
        from: 0,
        buffer: Vec::with_capacity(BUFFER),
        incoming: Incoming::new(new, slot),
    };
    let mut stream = output.segments(stream)?;
    stream.end()?;
    drop(stream);
    match source.read(&mut [0]).map_err(|error| unpack(&error))? {
        0 => Ok(output.incoming.finish()?),
        _ => Err(ApplyError::Damaged("something follows its frame")),
    }
}

/// What the frame unpacks to.
struct Stream<R: Read> {
    decoder: StreamingDecoder<R, ruzstd::decoding::FrameDecoder>,
    // How many bytes may still come: few bytes of zstd unpack to many.
    left: u64,
}

impl<R: Read> Stream<R> {
    fn fill(&mut self, bytes: &mut Vec<u8>, length: usize) -> Result<(), ApplyError> {
        self.left = self
            .left
            .checked_sub(length as u64)
            .ok_or(ApplyError::Damaged("it unpacks to more than any delta of this image"))?;
        bytes.clear();
        bytes.reserve_exact(length);
        let read = (&mut self.decoder).take(length as u64).read_to_end(bytes);
        match read.map_err(|error| ApplyError::Unpack(error.to_string()))? {
            read if read == length => Ok(()),
            _ => Err(ApplyError::Damaged("it ends too early")),
        }
    }

    /// That nothing more comes.
    fn end(&mut self) -> Result<(), ApplyError> {
        match self.decoder.read(&mut [0]).map_err(|error| ApplyError::Unpack(error.to_string()))? {
            0 => Ok(()),
            _ => Err(ApplyError::Damaged("it goes on behind the end of the image")),
        }
    }
}

/// The new image on its way to the slot.
struct Output<'a, I: ?Sized, S> {
    image: &'a I,
    old_size: u64,
    // Where the copy before ended in the old image. Invariant: at most its size.
    from: u64,
    buffer: Vec<u8>,
    incoming: Incoming<'a, S>,
}

impl<I: Image + ?Sized, S: Slot> Output<'_, I, S> {
    /// Applies segments until the image is whole.
    fn segments<R: Read>(&mut self, mut stream: Stream<R>) -> Result<Stream<R>, ApplyError> {
        let (mut lengths, mut sections) = (Vec::new(), Vec::new());
        while self.missing() > 0 {
            stream.fill(&mut lengths, LENGTHS)?;
            let length = |section: usize| {
                u32_at(&lengths, section * 4).and_then(|length| usize::try_from(length).ok())
            };
            let each = [0, 1, 2, 3].map(|section| length(section).unwrap_or(usize::MAX));
            let all = each.iter().try_fold(0_usize, |sum, length| sum.checked_add(*length));
            let all = all.filter(|all| *all <= SEGMENT);
            let all = all.ok_or(ApplyError::Damaged("a segment is larger than it may be"))?;
            stream.fill(&mut sections, all)?;
            let (control, rest) = sections.split_at(each[0]);
            let (gaps, rest) = rest.split_at(each[1]);
            let (values, literals) = rest.split_at(each[2]);
            let mut differences = Differences::new(Varints(gaps), values)?;
            self.segment(Varints(control), &mut differences, literals)?;
        }
        self.flush()?;
        Ok(stream)
    }

    fn segment(
        &mut self,
        mut control: Varints<'_>,
        differences: &mut Differences<'_>,
        mut literals: &[u8],
    ) -> Result<(), ApplyError> {
        if control.0.is_empty() {
            return Err(ApplyError::Damaged("a segment without an instruction"));
        }
        while !control.0.is_empty() {
            let [copied, literal, step] = [control.next()?, control.next()?, control.next()?];
            let made = copied.checked_add(literal);
            if !made.is_some_and(|made| (1..=self.missing()).contains(&made)) {
                return Err(ApplyError::Damaged("an instruction makes nothing or too much"));
            }
            self.step(step)?;
            self.copy(copied, differences)?;
            let taken = usize::try_from(literal).ok().and_then(|at| literals.split_at_checked(at));
            let (taken, rest) = taken.ok_or(ApplyError::Damaged("literals are missing"))?;
            literals = rest;
            self.put(taken)?;
        }
        if !literals.is_empty() || !differences.are_used_up() {
            return Err(ApplyError::Damaged("a segment has more than its instructions take"));
        }
        Ok(())
    }

    /// How many bytes of the new image have not been made.
    fn missing(&self) -> u64 {
        self.incoming.missing() - self.buffer.len() as u64
    }

    /// Moves on in the old image, or back.
    fn step(&mut self, zigzag: u64) -> Result<(), ApplyError> {
        let distance = zigzag.div_ceil(2);
        let to = if zigzag.is_multiple_of(2) {
            self.from.checked_add(distance)
        } else {
            self.from.checked_sub(distance)
        };
        let to = to.filter(|to| *to <= self.old_size);
        self.from = to.ok_or(ApplyError::Damaged("it reads outside of the old image"))?;
        Ok(())
    }

    fn copy(&mut self, mut left: u64, differences: &mut Differences<'_>) -> Result<(), ApplyError> {
        if left > self.old_size - self.from {
            return Err(ApplyError::Damaged("it reads outside of the old image"));
        }
        while left > 0 {
            let start = self.buffer.len();
            let room = BUFFER - start;
            let length = usize::try_from(left).map_or(room, |left| left.min(room));
            self.buffer.resize(start + length, 0);
            let piece = &mut self.buffer[start..];
            let read = self.image.read_at(self.from, piece);
            read.map_err(|source| ApplyError::Old { at: self.from, source })?;
            differences.apply(piece)?;
            self.from += length as u64;
            left -= length as u64;
            self.flush_if_full()?;
        }
        Ok(())
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), ApplyError> {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(BUFFER - self.buffer.len()));
            self.buffer.extend(piece);
            bytes = rest;
            self.flush_if_full()?;
        }
        Ok(())
    }

    fn flush_if_full(&mut self) -> Result<(), ApplyError> {
        if self.buffer.len() == BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ApplyError> {
        self.incoming.data(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// How what is copied in a segment differs from the old image.
struct Differences<'a> {
    gaps: Varints<'a>,
    // None if each stands behind its gap.
    values: Option<&'a [u8]>,
    // Bytes until the next one that differs; none differs any more.
    next: Option<u64>,
}

impl<'a> Differences<'a> {
    fn new(gaps: Varints<'a>, values: &'a [u8]) -> Result<Self, ApplyError> {
        let values = Some(values).filter(|values| !values.is_empty());
        let mut differences = Self { gaps, values, next: None };
        differences.advance()?;
        Ok(differences)
    }

    fn advance(&mut self) -> Result<(), ApplyError> {
        self.next = if self.gaps.0.is_empty() { None } else { Some(self.gaps.next()?) };
        Ok(())
    }

    /// Changes the next bytes that were copied.
    fn apply(&mut self, mut bytes: &mut [u8]) -> Result<(), ApplyError> {
        while let Some(gap) = self.next {
            let place = usize::try_from(gap).ok().filter(|gap| *gap < bytes.len());
            let Some(place) = place else {
                self.next = Some(gap - bytes.len() as u64);
                return Ok(());
            };
            let values = self.values.as_mut().unwrap_or(&mut self.gaps.0);
            let (value, rest) =
                values.split_first().ok_or(ApplyError::Damaged("values are missing"))?;
            bytes[place] = bytes[place].wrapping_add(*value);
            *values = rest;
            bytes = &mut bytes[place + 1..];
            self.advance()?;
        }
        Ok(())
    }

    fn are_used_up(&self) -> bool {
        self.next.is_none() && self.values.is_none_or(<[u8]>::is_empty)
    }
}

/// Varints that follow each other.
struct Varints<'a>(&'a [u8]);

impl Varints<'_> {
    fn next(&mut self) -> Result<u64, ApplyError> {
        let mut value = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let Some((byte, rest)) = self.0.split_first() else {
                return Err(ApplyError::Damaged("a number is cut off"));
            };
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ApplyError::Damaged("a number is too large"))
    }
}
