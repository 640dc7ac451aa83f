//! Copies between files that keep holes: an image is mostly holes, and reading them would cost
//! more than all the rest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{SeekFrom, copy_file_range, seek};
use rustix::io::Errno;

/// Bytes that are copied at once where the kernel cannot do it.
const BUFFER: usize = 1 << 20;

/// Copies all of `from` to the offset `at` of `to`, which holds zeros there. Holes stay holes.
/// Returns the size of `from`.
pub(crate) fn copy(from: &File, to: &File, at: u64) -> io::Result<u64> {
    let size = from.metadata()?.len();
    let mut position = 0;
    while position < size {
        let (start, end) = match next_data(from, position)? {
            Some((start, end)) => (start, end.min(size)),
            None => break,
        };
        copy_range(from, start, to, at + start, end.saturating_sub(start))?;
        position = end.max(position + 1);
    }
    Ok(size)
}

/// Writes `bytes` to the offset `at` of `to`, which holds zeros there; not the zeros at their end.
pub(crate) fn write(to: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    let zeros = [0; 4096];
    let mut end = bytes.len();
    // A comparison with zeros costs a tenth of writing them.
    while end >= zeros.len() && bytes[end - zeros.len()..end] == zeros {
        end -= zeros.len();
    }
    to.write_all_at(&bytes[..end], at)
}

/// The next range at or after `position` that is no hole.
fn next_data(file: &File, position: u64) -> io::Result<Option<(u64, u64)>> {
    match seek(file, SeekFrom::Data(position)) {
        Ok(start) => Ok(Some((start, seek(file, SeekFrom::Hole(start))?))),
        Err(Errno::NXIO) => Ok(None),
        // A file system that does not know about holes: everything is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some((position, u64::MAX))),
        Err(error) => Err(error.into()),
    }
}

fn copy_range(from: &File, start: u64, to: &File, at: u64, length: u64) -> io::Result<()> {
    let (mut read, mut write, mut left) = (start, at, length);
    while left > 0 {
        let chunk = usize::try_from(left.min(1 << 30)).unwrap_or(BUFFER);
        match copy_file_range(from, Some(&mut read), to, Some(&mut write), chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(copied) => left -= copied as u64,
            Err(Errno::INTR) => {}
            // Across file systems, or on one that cannot.
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_by_hand(from, read, to, write, left);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &File, start: u64, to: &File, at: u64, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut done = 0;
    while done < length {
        let chunk = usize::try_from(length - done).map_or(BUFFER, |left| left.min(BUFFER));
        from.read_exact_at(&mut buffer[..chunk], start + done)?;
        to.write_all_at(&buffer[..chunk], at + done)?;
        done += chunk as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn data_is_copied_and_holes_stay_holes() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(64 << 20).unwrap();
        from.write_all_at(b"begin", 0).unwrap();
        from.write_all_at(b"middle", 30 << 20).unwrap();
        from.write_all_at(b"end", (64 << 20) - 3).unwrap();
        to.set_len(100 << 20).unwrap();
        assert_eq!(copy(&from, &to, 1 << 20).unwrap(), 64 << 20);
        let mut bytes = [0; 6];
        for (text, offset) in [("begin", 0), ("middle", 30 << 20), ("end", (64 << 20) - 3)] {
            to.read_exact_at(&mut bytes[..text.len()], (1 << 20) + offset).unwrap();
            assert_eq!(&bytes[..text.len()], text.as_bytes());
        }
        assert!(to.metadata().unwrap().blocks() * 512 < 4 << 20);
    }

    #[test]
    fn copying_by_hand_gives_the_same_bytes() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let content: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 241).to_le_bytes()[0]).collect();
        from.write_all_at(&content, 0).unwrap();
        copy_by_hand(&from, 10, &to, 7, 2_999_990).unwrap();
        let mut bytes = vec![0; 2_999_990];
        to.read_exact_at(&mut bytes, 7).unwrap();
        assert!(bytes == content[10..]);
        assert_eq!(to.metadata().unwrap().len(), 2_999_997);
    }
}
