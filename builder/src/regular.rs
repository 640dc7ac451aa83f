//! Files that others put there, opened without ever waiting: a pipe where a file should be would
//! block whoever opens it until somebody writes, and a device may have no end.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file, or what a link to one leads to.
///
/// # Errors
/// Those of open(2); [`ErrorKind::InvalidInput`] for anything else that is there.
pub fn open(path: &Path) -> io::Result<File> {
    opened(path, |kind| kind.is_file())
}

/// Opens a regular file or a block device: what an image can be in.
///
/// # Errors
/// As [`open`].
pub fn open_image(path: &Path) -> io::Result<File> {
    opened(path, |kind| kind.is_file() || kind.is_block_device())
}

/// Reads all of a regular file that has at most `most` bytes.
///
/// # Errors
/// As [`open`]; [`ErrorKind::FileTooLarge`]; those of read(2).
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let message = format!("it has more than {most} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn opened(path: &Path, wanted: impl Fn(std::fs::FileType) -> bool) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if wanted(file.metadata()?.file_type()) {
        return Ok(file);
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_or_a_device_is_refused_at_once_and_a_large_file_is_not_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), mode).unwrap();
        std::fs::write(path("file"), "four").unwrap();
        for (name, target) in [("to-pipe", "pipe"), ("to-zero", "/dev/zero"), ("to-file", "file")] {
            std::os::unix::fs::symlink(target, path(name)).unwrap();
        }
        for name in ["pipe", "to-pipe", "to-zero", "."] {
            assert_eq!(read(&path(name), 9).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
            assert!(open_image(&path(name)).is_err(), "{name}");
        }
        assert_eq!(read(&path("to-file"), 4).unwrap(), b"four");
        assert_eq!(read(&path("file"), 3).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }
}
