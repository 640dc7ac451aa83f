//! The files of a build that is compared: read in pieces, for a disk has gigabytes of zeros.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// How much is compared at once.
const CHUNK: u64 = 1 << 20;

/// The files of a build.
pub trait Files {
    /// Their names.
    fn names(&self) -> BTreeSet<String>;

    /// How many bytes one has.
    ///
    /// # Errors
    /// Those of the file system.
    fn size(&self, name: &str) -> io::Result<u64>;

    /// So many bytes of one, from `offset` on.
    ///
    /// # Errors
    /// Those of the file system, also where the file ends before.
    fn read(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>>;

    /// Where one may hold something else than zeros, in order.
    ///
    /// # Errors
    /// Those of the file system.
    fn data(&self, name: &str) -> io::Result<Vec<Range<u64>>>;
}

/// The files of a build in a directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    names: BTreeSet<String>,
}

impl Directory {
    /// Those of these names that are there.
    pub(super) fn new(path: &Path, names: impl IntoIterator<Item = String>) -> Self {
        let names = names.into_iter().filter(|name| path.join(name).is_file()).collect();
        Self { path: path.to_owned(), names }
    }
}

impl Files for Directory {
    fn names(&self) -> BTreeSet<String> {
        self.names.clone()
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        Ok(self.path.join(name).metadata()?.len())
    }

    fn read(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        File::open(self.path.join(name))?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn data(&self, name: &str) -> io::Result<Vec<Range<u64>>> {
        let file = File::open(self.path.join(name))?;
        let (size, mut ranges, mut at) = (file.metadata()?.len(), Vec::new(), 0);
        while at < size {
            let start = match seek(&file, SeekFrom::Data(at)) {
                Err(Errno::NXIO) => break,
                // A file system that knows no holes.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                    return Ok(std::iter::once(0..size).collect());
                }
                start => start?,
            };
            at = seek(&file, SeekFrom::Hole(start))?;
            ranges.push(start..at);
        }
        Ok(ranges)
    }
}

/// A file, or a piece of one.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    files: &'a dyn Files,
    name: &'a str,
    start: u64,
    size: u64,
}

impl<'a> View<'a> {
    /// All of a file.
    pub(super) fn of(files: &'a dyn Files, name: &'a str) -> io::Result<Self> {
        Ok(Self { files, name, start: 0, size: files.size(name)? })
    }

    /// As much of a piece of it as there is.
    pub(super) fn part(self, start: u64, size: u64) -> Self {
        let start = start.min(self.size);
        Self { start: self.start + start, size: size.min(self.size - start), ..self }
    }

    pub(super) fn size(self) -> u64 {
        self.size
    }

    /// As many of so many bytes as there are.
    pub(super) fn read(self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let piece = self.part(offset, length);
        self.files.read(self.name, piece.start, piece.size)
    }

    pub(super) fn bytes(self) -> io::Result<Vec<u8>> {
        self.read(0, self.size)
    }

    /// Where it may hold something else than zeros, counted from its own start.
    fn data(self) -> io::Result<Vec<Range<u64>>> {
        let inside = |range: Range<u64>| {
            let place = |at: u64| at.saturating_sub(self.start).min(self.size);
            place(range.start)..place(range.end)
        };
        let ranges = self.files.data(self.name)?.into_iter().map(inside);
        Ok(ranges.filter(|range| !range.is_empty()).collect())
    }
}

/// The first byte from `from` on that differs; if one ends before the other, where it ends.
pub(super) fn first(one: View<'_>, two: View<'_>, from: u64) -> io::Result<Option<u64>> {
    let both = one.size.min(two.size);
    let (ones, twos) = (one.data()?, two.data()?);
    let holds = |ranges: &[Range<u64>], piece: &Range<u64>| {
        let after = ranges.partition_point(|range| range.end <= piece.start);
        ranges.get(after).is_some_and(|range| range.start < piece.end)
    };
    let mut at = from;
    while at < both {
        let piece = at..both.min((at / CHUNK + 1) * CHUNK);
        at = piece.end;
        if !holds(&ones, &piece) && !holds(&twos, &piece) {
            continue;
        }
        let length = piece.end - piece.start;
        let (one, two) = (one.read(piece.start, length)?, two.read(piece.start, length)?);
        if one != two {
            let same = super::content::same_bytes(&one, &two);
            return Ok(Some(piece.start + same as u64));
        }
    }
    Ok((one.size != two.size && from <= both.max(from)).then_some(both.max(from)))
}

#[cfg(test)]
pub(super) mod testing {
    use std::collections::BTreeMap;

    use super::*;

    /// The files of a build in memory.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Memory(pub(crate) BTreeMap<String, Vec<u8>>);

    impl Files for Memory {
        fn names(&self) -> BTreeSet<String> {
            self.0.keys().cloned().collect()
        }

        fn size(&self, name: &str) -> io::Result<u64> {
            Ok(self.0[name].len() as u64)
        }

        fn read(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
            let start = usize::try_from(offset).unwrap();
            Ok(self.0[name][start..start + usize::try_from(length).unwrap()].to_vec())
        }

        fn data(&self, name: &str) -> io::Result<Vec<Range<u64>>> {
            Ok(std::iter::once(0..self.size(name)?).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_differs_is_found_behind_holes_and_at_ends() {
        let directory = tempfile::tempdir().unwrap();
        let size = 9 * CHUNK + 5;
        for (name, at, size) in [
            ("plain", None, size),
            ("early", Some(3), size),
            ("late", Some(size - 1), size),
            ("edge", Some(4 * CHUNK), size),
            ("short", None, size - 7),
        ] {
            let file = File::create(directory.path().join(name)).unwrap();
            file.set_len(size).unwrap();
            if let Some(at) = at {
                file.write_all_at(b"x", at).unwrap();
            }
        }
        let names = ["plain", "early", "late", "edge", "short", "none"].map(str::to_owned);
        let files = Directory::new(directory.path(), names);
        assert_eq!(files.names().len(), 5);
        let first = |one, two, from| {
            let [one, two] = [one, two].map(|name| View::of(&files, name).unwrap());
            super::first(one, two, from).unwrap()
        };
        assert_eq!(first("plain", "plain", 0), None);
        assert_eq!(first("plain", "early", 0), Some(3));
        assert_eq!(first("plain", "early", 4), None);
        assert_eq!(first("late", "edge", 0), Some(4 * CHUNK));
        assert_eq!(first("late", "edge", 4 * CHUNK + 1), Some(size - 1));
        assert_eq!(first("short", "plain", 0), Some(size - 7));
        let [one, two] = ["plain", "late"].map(|name| View::of(&files, name).unwrap());
        let [one, two] = [one, two].map(|view| view.part(size - 3, 9));
        assert_eq!((one.size(), super::first(one, two, 0).unwrap()), (3, Some(2)));
    }
}
