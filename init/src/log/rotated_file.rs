//! A log file that cannot grow without end: `x.log` and the one before it, `x.log.1`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// An append-only file which, when full, becomes the previous one.
#[derive(Debug)]
pub struct RotatedFile {
    path: PathBuf,
    limit: u64,
    file: File,
    length: u64,
}

impl RotatedFile {
    /// Opens or makes `path` and its directories. Neither it nor its predecessor becomes longer
    /// than `limit` bytes, unless a single line is.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path, limit: u64) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), limit, file, length })
    }

    /// Appends `line` and a line break.
    ///
    /// # Errors
    /// What the file system says; the line is lost then.
    pub fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        let added = bytes.len() as u64;
        if self.length > 0 && self.length + added > self.limit {
            let mut previous = self.path.clone().into_os_string();
            previous.push(".1");
            std::fs::rename(&self.path, previous)?;
            self.file = OpenOptions::new().append(true).create(true).open(&self.path)?;
            self.length = 0;
        }
        self.file.write_all(&bytes)?;
        self.length += added;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_hold_the_newest_lines_and_neither_exceeds_the_limit() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("logs/x.log");
        let mut file = RotatedFile::open(&path, 20).expect("opened");
        for number in 0..5 {
            file.append(format!("line {number}").as_bytes()).expect("written");
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
        RotatedFile::open(&path, 10).and_then(|mut f| f.append(b"first")).expect("written");
        let mut file = RotatedFile::open(&path, 10).expect("opened");
        file.append(b"second").expect("written");
        assert_eq!(std::fs::read(&path).expect("readable"), b"second\n");
        assert_eq!(std::fs::read(path.with_extension("log.1")).expect("readable"), b"first\n");
    }
}
