//! A log file that cannot grow without end: `x.log` and the one before it, `x.log.1`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

/// An append-only file which, when full, becomes the previous one.
#[derive(Debug)]
pub struct RotatedFile {
    path: PathBuf,
    limit: u64,
    /// Closed after a failure, and opened anew: it may be there again, or no longer be full.
    file: Option<File>,
    length: u64,
    /// The last byte is no line break, for a write came only so far.
    torn: bool,
}

impl RotatedFile {
    /// The file at `path`, which is opened or made with its directories when something is written.
    /// Neither it nor its predecessor becomes longer than `limit` bytes, unless what is appended at
    /// once is.
    pub fn new(path: PathBuf, limit: u64) -> Self {
        Self { path, limit, file: None, length: 0, torn: false }
    }

    /// Appends whole lines, each with its line break. After a failure some of them may be there; the
    /// next call begins on a new line.
    ///
    /// # Errors
    /// What the file system says.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        if self.length > 0 && self.length + lines.len() as u64 > self.limit {
            let mut previous = self.path.clone().into_os_string();
            previous.push(".1");
            std::fs::rename(&self.path, previous)?;
            self.torn = false;
            file = self.open()?;
        }
        let mut rest = lines;
        if self.torn {
            file.write_all(b"\n")?;
            (self.torn, self.length) = (false, self.length + 1);
        }
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    self.length += length as u64;
                    rest = &rest[length..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.file = Some(file);
        Ok(())
    }

    fn open(&mut self) -> io::Result<File> {
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        self.length = file.metadata()?.len();
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_hold_the_newest_lines_and_neither_exceeds_the_limit() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut file = RotatedFile::new(directory.path().join("logs/x.log"), 20);
        for number in 0..5 {
            file.append(format!("line {number}\n").as_bytes()).expect("written");
        }
        let read = |name: &str| {
            std::fs::read_to_string(directory.path().join("logs").join(name)).expect("readable")
        };
        assert_eq!(read("x.log.1"), "line 2\nline 3\n");
        assert_eq!(read("x.log"), "line 4\n");
    }

    #[test]
    fn a_file_that_exists_is_continued() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.log");
        RotatedFile::new(path.clone(), 10).append(b"first\n").expect("written");
        RotatedFile::new(path.clone(), 10).append(b"second\n").expect("written");
        assert_eq!(std::fs::read(&path).expect("readable"), b"second\n");
        assert_eq!(std::fs::read(path.with_extension("log.1")).expect("readable"), b"first\n");
    }

    #[test]
    fn a_write_that_was_torn_is_followed_by_a_new_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.log");
        std::fs::write(&path, "hal").expect("written");
        let mut file = RotatedFile { torn: true, ..RotatedFile::new(path.clone(), 100) };
        file.append(b"whole\n").expect("written");
        assert_eq!(std::fs::read(&path).expect("readable"), b"hal\nwhole\n");
    }
}
