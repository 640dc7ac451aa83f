//! STATE as it is in a new image: a small empty file system at the start of its partition, which
//! the kernel grows when it is mounted.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use formats::state::{LEAST_SIZE, Sink, State};
use formats::superblock::ext4::{SIZE, copies};

/// As images have it; what lies behind is grown into.
const LARGEST: u64 = 64 << 20;
const BLOCK: u64 = 4096;
/// Where the kernel gives a random UUID.
const RANDOM: &str = "/proc/sys/kernel/random/uuid";

/// Makes the file system anew. Until the very end there is none on the device.
///
/// # Errors
/// When the device is too small or cannot be written.
pub(super) fn reset(device: &Path) -> io::Result<()> {
    let size = File::open(device)?.seek(SeekFrom::End(0))?;
    if size < LEAST_SIZE {
        let text = format!("it has {size} bytes, and {LEAST_SIZE} are the least");
        return Err(io::Error::other(text));
    }
    make(device, size.min(LARGEST) / BLOCK * BLOCK)
}

pub(super) fn make(device: &Path, size: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(device)?;
    let end = file.seek(SeekFrom::End(0))?;
    // What is no file system must not be mended by copies of the one before.
    for at in std::iter::once(0).chain(copies(end).into_iter().map(|(_, at)| at)) {
        let length = (end - at).min(BLOCK);
        file.write_all_at(&vec![0; usize::try_from(length).unwrap_or(SIZE)], at)?;
    }
    file.sync_all()?;
    let state = State { size, uuid: random()?, hash_seed: random()?, epoch: 0 };
    let mut device = Device { file: &file, first: Vec::new() };
    state.write(&mut device).map_err(io::Error::other)?;
    let first = device.first;
    file.sync_all()?;
    file.write_all_at(&first, 0)?;
    file.sync_all()
}

fn random() -> io::Result<[u8; 16]> {
    let text = std::fs::read_to_string(RANDOM)?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).map_err(io::Error::other)?;
    Ok(number.to_be_bytes())
}

/// All but the first block, which makes a file system of the rest, goes to the device at once.
#[derive(Debug)]
struct Device<'f> {
    file: &'f File,
    first: Vec<u8>,
}

impl Device<'_> {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let first = usize::try_from(BLOCK.saturating_sub(at)).unwrap_or(0).min(bytes.len());
        let (first, rest) = bytes.split_at(first);
        if !first.is_empty() {
            self.first.resize(self.first.len().max(usize::try_from(BLOCK).unwrap_or(0)), 0);
            let at = usize::try_from(at).unwrap_or(0);
            self.first[at..at + first.len()].copy_from_slice(first);
        }
        self.file.write_all_at(rest, at + first.len() as u64)
    }
}

impl Sink for Device<'_> {
    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(at, bytes)
    }

    fn zeros(&mut self, mut at: u64, mut length: u64) -> io::Result<()> {
        let zeros = vec![0; 1 << 20];
        while length > 0 {
            let part = usize::try_from(length).unwrap_or(usize::MAX).min(zeros.len());
            self.write(at, &zeros[..part])?;
            at += part as u64;
            length -= part as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test asks the outside judge")]
    fn judge(file: &tempfile::NamedTempFile) -> String {
        let output = std::process::Command::new("e2fsck")
            .arg("-fn")
            .arg(file.path())
            .output()
            .expect("`e2fsck` must be installed: package e2fsprogs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        text
    }

    /// A partition with something on it.
    fn used(mib: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        for at in 0..mib {
            file.as_file().write_all_at(&[0xa5; 8192], at << 20).unwrap();
        }
        file.as_file().set_len(mib << 20).unwrap();
        file
    }

    #[test]
    fn whatever_was_there_it_is_an_empty_file_system() {
        for (mib, blocks) in [(16, "4096"), (40, "10240"), (300, "16384")] {
            let file = used(mib);
            reset(file.path()).unwrap();
            let text = judge(&file);
            assert!(
                text.contains("STATE: 11/") && text.contains(&format!("/{blocks} blocks")),
                "{text}"
            );
        }
    }

    #[test]
    fn no_copy_of_the_file_system_before_is_left() {
        let file = used(160);
        make(file.path(), 160 << 20).unwrap();
        reset(file.path()).unwrap();
        let mut copy = [1; SIZE];
        file.as_file().read_exact_at(&mut copy, 128 << 20).unwrap();
        assert_eq!(copy, [0; SIZE]);
    }

    #[test]
    fn two_are_not_the_same_and_one_that_is_too_small_is_refused() {
        let (one, other) = (used(16), used(16));
        reset(one.path()).unwrap();
        reset(other.path()).unwrap();
        assert_ne!(std::fs::read(one.path()).unwrap(), std::fs::read(other.path()).unwrap());
        let error = reset(used(15).path()).unwrap_err().to_string();
        assert_eq!(error, "it has 15728640 bytes, and 16777216 are the least");
    }
}
