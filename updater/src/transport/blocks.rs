//! The way by blocks: the hash tree says which are missing, and the frames that hold them are fetched by
//! ranges. Each block is held against the tree when it comes, so a place that lies is known by it.

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::ops::Range;

use formats::blocks::{Have, Plan, REQUEST, Request, Step, plan};
use formats::digest::Sha256;
use formats::incoming::{Incoming, IncomingError, Slot};
use formats::seekable::{FOOTER, SeekTable, unpack};
use formats::tuf::Found;
use formats::verity::{BLOCK, HashBlock, block_digest, leaves, tree_size};

use super::look::{Look, MOST_BLOCKS};
use super::slot::{BLOCK_BYTES, Writer};
use super::{Transport, TransportError};
use crate::client::{FetchError, Stream};
use crate::device::Device;

/// No tree file is larger: the tree of the largest image whose blocks are looked at, and its table.
const MOST_TREE: u64 = 16 << 20;

/// How much of the end of `root.zst` is asked for at first: the table of 512 MiB and more.
const TAIL: u64 = 20 << 10;

/// How much is copied at once.
const PIECE: u64 = 256 << 10;

/// How an image is made of blocks, and what is needed to do so.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) plan: Plan,
    table: SeekTable,
    leaves: Vec<Sha256>,
}

impl Transport<'_, '_> {
    /// Looks at what there is, and plans.
    pub(super) fn plan<D: Device + ?Sized>(
        &self,
        tree: &Found,
        whole: &Found,
        look: &mut Look<'_>,
        spare: &mut D,
    ) -> Result<Made, TransportError> {
        let root = &self.wanted.root;
        if root.blocks() > MOST_BLOCKS {
            return Err(TransportError::Blocks("the image is too large for it".to_owned()));
        }
        if look.leaves.is_none() {
            let packed = self.channel.target(tree, MOST_TREE)?;
            let unpacked = unpack_all(&packed, tree_size(root.blocks()))?;
            look.leaves = Some(leaves(&root.salt, &root.hash, root.blocks(), &unpacked)?);
        }
        let table = self.table(whole)?;
        look.blocks_of_running(self.meter)?;
        look.blocks_of_spare(spare, self.meter)?;
        let (running, of_spare, leaves) = look.all();
        let have = Have { running, spare: of_spare };
        let plan = plan(leaves, have, &table, REQUEST)
            .map_err(|error| TransportError::Blocks(error.to_string()))?;
        Ok(Made { plan, table, leaves: leaves.to_vec() })
    }

    /// The table at the end of the file.
    fn table(&self, whole: &Found) -> Result<SeekTable, TransportError> {
        let length = whole.file.length;
        let mut tail = self.tail(whole, TAIL.min(length))?;
        let footer = |tail: &[u8]| {
            let at = tail.len().saturating_sub(FOOTER);
            SeekTable::length(&tail[at..])
        };
        let needs = footer(&tail.0).map_err(|error| tail.1.lied(&error.to_string()))? as u64;
        if needs > tail.0.len() as u64 {
            tail = self.tail(whole, needs.min(length))?;
        }
        let at = tail.0.len().saturating_sub(usize::try_from(needs).unwrap_or(usize::MAX));
        let table = SeekTable::parse(&tail.0[at..], length, self.wanted.root.size);
        Ok(table.map_err(|error| tail.1.lied(&error.to_string()))?)
    }

    fn tail(&self, whole: &Found, bytes: u64) -> Result<(Vec<u8>, Stream<'_>), TransportError> {
        let length = whole.file.length;
        let mut stream = self.channel.mirrors().part(whole, length - bytes..length);
        let mut tail = Vec::new();
        match stream.read_to_end(&mut tail) {
            Ok(_) => Ok((tail, stream)),
            Err(error) => Err(self.cause(stream, || TransportError::Blocks(error.to_string()))),
        }
    }

    /// Makes the image as it was planned.
    pub(super) fn by_blocks<D: Device + ?Sized>(
        &self,
        made: &Made,
        whole: &Found,
        spare: &mut D,
    ) -> Result<(), TransportError> {
        let root = &self.wanted.root;
        let writer = RefCell::new(Writer::new(spare, self.meter, root.size));
        let mut incoming = Incoming::new(root, Shared(&writer));
        let mut frames =
            Frames { transport: self, made, whole, next: 0, stream: None, current: None };
        let mut buffer = Vec::new();
        for step in made.plan.steps() {
            let bytes = step.blocks().start * BLOCK..step.blocks().end * BLOCK;
            for piece in pieces(bytes.clone()) {
                buffer.resize(usize::try_from(piece.end - piece.start).unwrap_or(0), 0);
                match step {
                    Step::Keep(_) => {
                        let read = writer.borrow().read_at(piece.start, &mut buffer);
                        let at = piece.start;
                        read.map_err(|why| TransportError::Spare { at, why })?;
                    }
                    Step::Copy(_, from) => {
                        let from = from * BLOCK + (piece.start - bytes.start);
                        let Some(running) = self.running else {
                            return Err(TransportError::Blocks("nothing runs".to_owned()));
                        };
                        let read = running.device.read_at(from, &mut buffer);
                        read.map_err(TransportError::Running)?;
                    }
                    Step::Fetch(_) => frames.fetch(piece, &mut buffer)?,
                }
                writer.borrow_mut().keep(matches!(step, Step::Keep(_)));
                incoming.data(&buffer).map_err(|error| self.not_written(error))?;
            }
        }
        incoming.finish().map(drop).map_err(|error| self.not_written(error))
    }

    fn not_written(&self, error: IncomingError) -> TransportError {
        match self.meter.cancel.check() {
            Err(cancelled) => cancelled.into(),
            Ok(()) => super::arrival(error),
        }
    }
}

/// A range in pieces that are held at once.
fn pieces(bytes: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let Range { start, end } = bytes;
    let step = usize::try_from(PIECE).unwrap_or(usize::MAX);
    (start..end).step_by(step).map(move |at| at..(at + PIECE).min(end))
}

/// All of a small file of frames.
fn unpack_all(packed: &[u8], size: u64) -> Result<Vec<u8>, TransportError> {
    let footer = &packed[packed.len().saturating_sub(FOOTER)..];
    let table = packed.len().saturating_sub(SeekTable::length(footer)?);
    let table = SeekTable::parse(&packed[table..], packed.len() as u64, size)?;
    let mut unpacked = Vec::new();
    for frame in 0..table.frames() {
        let bytes = packed_frame(packed, &table.in_file(frame..frame + 1));
        unpacked.extend(unpack(bytes, length_of(&table, frame))?);
    }
    Ok(unpacked)
}

fn packed_frame<'p>(packed: &'p [u8], bytes: &Range<u64>) -> &'p [u8] {
    let [start, end] = [bytes.start, bytes.end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
    packed.get(start..end).unwrap_or_default()
}

/// Bytes of the image that a frame holds.
fn length_of(table: &SeekTable, frame: usize) -> u32 {
    let bytes = table.in_image(frame);
    u32::try_from(bytes.end - bytes.start).unwrap_or(u32::MAX)
}

/// The slot, which is also read while it is written.
struct Shared<'s, 'a, 'm, D: ?Sized>(&'s RefCell<Writer<'a, 'm, D>>);

impl<D: Device + ?Sized> Slot for Shared<'_, '_, '_, D> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&mut *self.0.borrow_mut()).data(bytes)
    }

    fn tree(&mut self, block: &HashBlock) -> io::Result<()> {
        (&mut *self.0.borrow_mut()).tree(block)
    }
}

/// The frames that are fetched, one behind the other.
struct Frames<'t, 'a, 'm> {
    transport: &'t Transport<'a, 'm>,
    made: &'t Made,
    whole: &'t Found,
    /// The request after the one under way.
    next: usize,
    /// The request under way, and the frame that comes next of it.
    stream: Option<(Stream<'t>, usize)>,
    /// The frame that was unpacked last.
    current: Option<(usize, Vec<u8>)>,
}

impl<'t> Frames<'t, '_, '_> {
    /// Fills `buffer` with these bytes of the image: whole blocks, each as the tree says.
    fn fetch(&mut self, bytes: Range<u64>, buffer: &mut [u8]) -> Result<(), TransportError> {
        let mut at = bytes.start;
        let mut rest = &mut *buffer;
        while !rest.is_empty() {
            let frame = self.made.table.covering(at..at + 1).start;
            let skip = at - self.made.table.in_image(frame).start;
            let unpacked = self.frame(frame)?;
            let piece = unpacked.get(usize::try_from(skip).unwrap_or(usize::MAX)..);
            let piece = piece.filter(|piece| !piece.is_empty());
            let piece =
                piece.ok_or_else(|| TransportError::Blocks("a frame is short".to_owned()))?;
            let length = piece.len().min(rest.len());
            let (now, later) = rest.split_at_mut(length);
            now.copy_from_slice(&piece[..length]);
            at += length as u64;
            rest = later;
        }
        let first = usize::try_from(bytes.start / BLOCK).unwrap_or(usize::MAX);
        let salt = &self.transport.wanted.root.salt;
        for (block, digest) in buffer.chunks(BLOCK_BYTES).zip(&self.made.leaves[first..]) {
            if block_digest(salt, block) != *digest {
                return Err(self.lied("a block of it is not the one that was signed").into());
            }
        }
        Ok(())
    }

    /// A frame. Those before it that were only on the way are passed over.
    fn frame(&mut self, wanted: usize) -> Result<&[u8], TransportError> {
        let made = self.made;
        if self.current.as_ref().is_none_or(|(frame, _)| *frame != wanted) {
            let packed = loop {
                let (frame, packed) = self.next_packed(wanted)?;
                if frame == wanted {
                    break packed;
                }
            };
            let unpacked = unpack(&packed, length_of(&made.table, wanted));
            let unpacked = unpacked.map_err(|error| self.lied(&error.to_string()))?;
            self.current = Some((wanted, unpacked));
        }
        Ok(self.current.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default())
    }

    /// The next frame that comes, packed.
    fn next_packed(&mut self, wanted: usize) -> Result<(usize, Vec<u8>), TransportError> {
        let requests = self.made.plan.requests();
        let under_way = |next: usize| next.checked_sub(1).and_then(|at| requests.get(at));
        let ended = |(_, frame): &(Stream<'_>, usize)| {
            under_way(self.next).is_none_or(|request| *frame >= request.frames.end)
        };
        if self.stream.as_ref().is_none_or(ended) {
            let no = || TransportError::Blocks(format!("frame {wanted} was not planned"));
            let Request { frames, bytes } = requests.get(self.next).ok_or_else(no)?;
            let mirrors = self.transport.channel.mirrors();
            self.stream = Some((mirrors.part(self.whole, bytes.clone()), frames.start));
            self.next += 1;
        }
        let Some((stream, at)) = &mut self.stream else {
            return Err(TransportError::Blocks("no request is under way".to_owned()));
        };
        let frame = *at;
        let bytes = self.made.table.in_file(frame..frame + 1);
        let mut packed = vec![0; usize::try_from(bytes.end - bytes.start).unwrap_or(0)];
        match stream.read_exact(&mut packed) {
            Ok(()) => {
                *at += 1;
                Ok((frame, packed))
            }
            Err(error) => Err(match (self.transport.meter.cancel.check(), stream.take_failure()) {
                (Err(cancelled), _) => cancelled.into(),
                (_, Some(failure)) => failure.into(),
                (_, None) => TransportError::Blocks(error.to_string()),
            }),
        }
    }

    fn lied(&self, how: &str) -> FetchError {
        match &self.stream {
            Some((stream, _)) => stream.lied(how),
            None => self.transport.channel.mirrors().no_place(self.whole),
        }
    }
}
