//! A disk that remembers every write and flush, and what it holds after a power cut at any moment.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use updater::device::Device;

pub(crate) const SECTOR: usize = 512;

type Sectors = BTreeMap<u64, [u8; SECTOR]>;
/// What one write brings: each sector's number and content.
type Written = Vec<(u64, [u8; SECTOR])>;

/// What a disk holds, and the firmware's variable. Copies share what was there at the beginning.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    base: Rc<Sectors>,
    changed: Sectors,
    pub(crate) one_shot: Option<String>,
}

impl Image {
    pub(crate) fn sector(&self, number: u64) -> [u8; SECTOR] {
        let sector = self.changed.get(&number).or_else(|| self.base.get(&number));
        sector.copied().unwrap_or([0; SECTOR])
    }

    pub(crate) fn put(&mut self, number: u64, sector: [u8; SECTOR]) {
        self.changed.insert(number, sector);
    }

    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        assert!(offset.is_multiple_of(SECTOR as u64));
        let first = offset / SECTOR as u64;
        let mut bytes = Vec::with_capacity(length.next_multiple_of(SECTOR));
        for number in (first..).take(length.div_ceil(SECTOR)) {
            bytes.extend_from_slice(&self.sector(number));
        }
        bytes.truncate(length);
        bytes
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (number, sector) in sectors(offset, bytes) {
            self.put(number, sector);
        }
    }

    /// All sectors that were ever written.
    pub(crate) fn sectors(&self) -> impl Iterator<Item = (u64, [u8; SECTOR])> {
        let mut sectors = (*self.base).clone();
        sectors.extend(self.changed.clone());
        sectors.into_iter()
    }

    /// The same, as what is there at the beginning.
    pub(crate) fn settled(&self) -> Self {
        let mut base = (*self.base).clone();
        base.extend(self.changed.clone());
        Self { base: Rc::new(base), changed: Sectors::new(), one_shot: self.one_shot.clone() }
    }
}

fn sectors(offset: u64, bytes: &[u8]) -> Written {
    let first = offset / SECTOR as u64;
    let (chunks, rest) = bytes.as_chunks::<SECTOR>();
    assert!(offset.is_multiple_of(SECTOR as u64) && rest.is_empty(), "whole sectors are written");
    (first..).zip(chunks.iter().copied()).collect()
}

/// What was done to the machine.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Sectors were written by one write to an area, and may be lost.
    Write(usize, Written),
    /// All that was written to the area is there.
    Flush(usize),
    /// The variable was changed, at once.
    Variable(Option<String>),
}

/// A machine's disk with its log.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What the machine sees: every write done.
    pub(crate) now: Image,
    pub(crate) log: Vec<Event>,
    /// Writes to come after which the device fails, if it shall.
    pub(crate) fails_after: Option<usize>,
    /// Sectors that cannot be read until they are written again.
    pub(crate) unreadable: BTreeSet<u64>,
}

impl Disk {
    pub(crate) fn write(&mut self, area: usize, offset: u64, bytes: &[u8]) {
        self.log.push(Event::Write(area, sectors(offset, bytes)));
        for (number, _) in sectors(offset, bytes) {
            self.unreadable.remove(&number);
        }
        self.now.write(offset, bytes);
    }

    pub(crate) fn set_variable(&mut self, value: Option<String>) {
        if self.now.one_shot != value {
            self.log.push(Event::Variable(value.clone()));
            self.now.one_shot = value;
        }
    }
}

/// A partition of it.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) disk: Rc<RefCell<Disk>>,
    /// Which: flushing one does nothing for another.
    pub(crate) area: usize,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl Device for Handle {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        assert!(offset + buffer.len() as u64 <= self.size);
        let skip = usize::try_from(offset % SECTOR as u64).unwrap();
        let start = self.offset + offset - skip as u64;
        let first = start / SECTOR as u64;
        let last = (self.offset + offset + buffer.len() as u64).div_ceil(SECTOR as u64);
        if self.disk.borrow().unreadable.range(first..last).next().is_some() {
            return Err(io::Error::other("a sector cannot be read"));
        }
        let bytes = self.disk.borrow().now.read(start, skip + buffer.len());
        buffer.copy_from_slice(&bytes[skip..]);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(offset + bytes.len() as u64 <= self.size);
        let mut disk = self.disk.borrow_mut();
        if let Some(left) = &mut disk.fails_after {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => return Err(io::Error::other("the device fails")),
            }
        }
        disk.write(self.area, self.offset + offset, bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.borrow_mut().log.push(Event::Flush(self.area));
        Ok(())
    }
}

/// A generator of numbers, the same in each run (xorshift64*).
#[derive(Debug, Clone)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// Every content that the disk can have after a power cut: after each event, with every subset of the
/// writes that were not flushed (up to 12 of them; of more, `random` subsets), whole and torn between
/// sectors. Calls `judge` with each and the number of events before it.
pub(crate) fn cuts(
    begin: &Image,
    log: &[Event],
    random: usize,
    numbers: &mut Numbers,
    mut judge: impl FnMut(usize, Image),
) {
    /// Subsets of so many writes are all tried.
    const ALL: usize = 12;
    let mut durable = begin.clone();
    let mut pending: Vec<(usize, Written)> = Vec::new();
    judge(0, durable.clone());
    for (at, event) in log.iter().enumerate() {
        match event {
            Event::Variable(value) => durable.one_shot.clone_from(value),
            Event::Flush(area) => {
                for (_, sectors) in pending.extract_if(.., |(one, _)| one == area) {
                    sectors.into_iter().for_each(|(number, sector)| durable.put(number, sector));
                }
            }
            Event::Write(area, sectors) => pending.push((*area, sectors.clone())),
        }
        let with = |kept: &dyn Fn(usize, usize) -> bool| {
            let mut image = durable.clone();
            for (which, (_, sectors)) in pending.iter().enumerate() {
                for (number, sector) in
                    sectors.iter().enumerate().filter(|(at, _)| kept(which, *at)).map(|(_, s)| s)
                {
                    image.put(*number, *sector);
                }
            }
            image
        };
        // After a flush nothing new can have come about but that more is there.
        if pending.is_empty() {
            judge(at + 1, with(&|_, _| true));
            continue;
        }
        if pending.len() <= ALL {
            for subset in 0_u64..1 << pending.len() {
                judge(at + 1, with(&|which, _| subset >> which & 1 == 1));
            }
        } else {
            for _ in 0..random {
                let subset = numbers.next();
                judge(at + 1, with(&|which, _| subset >> (which % 64) & 1 == 1));
            }
        }
        let longest = pending.iter().map(|(_, sectors)| sectors.len()).max().unwrap_or(0);
        if longest > 1 {
            // Torn: a beginning, an end, or any sectors.
            for end in 1..longest {
                judge(at + 1, with(&|_, at| at < end));
                judge(at + 1, with(&|_, at| at >= end));
            }
            for _ in 0..random {
                let mask = numbers.next();
                judge(at + 1, with(&|which, at| mask >> ((at + 7 * which) % 64) & 1 == 1));
            }
        }
    }
}
