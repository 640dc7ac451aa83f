//! Passphrases, and where they come from: a file, an open descriptor, or a person at a terminal.
//! Never a variable of the environment or a word of the command line, which others can read.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::terminal;
use crate::error::{Error, Id, Result};

/// The longest passphrase, in bytes.
const LONGEST: usize = 1024;

/// What somebody may do who wants none.
const WITHOUT: &str = "`--no-passphrase` makes a key that whoever reads its file can sign with";

/// A passphrase, of any bytes but a line feed. Its `Debug` does not tell it.
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// Where passphrases come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The first line of a file.
    File(PathBuf),
    /// The first line of what a descriptor gives that this process was started with.
    Descriptor(u32),
    /// The terminal, if standard input is one.
    Terminal,
}

/// What a passphrase is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To encrypt a new key: a person types it twice.
    New,
    /// To open a key that is there.
    Open,
}

impl Passphrase {
    /// The bytes, for whoever derives a key of them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The first line of what `reader` gives, without the end of the line.
    #[expect(clippy::unbuffered_bytes, reason = "a buffer would keep what nobody overwrites")]
    fn first_line(reader: impl Read) -> io::Result<Self> {
        let mut line = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
        for byte in reader.bytes() {
            match byte? {
                b'\n' => break,
                // No larger, or it would be copied, and its old place not be overwritten.
                _ if line.len() == LONGEST + 1 => break,
                byte => line.push(byte),
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if line.len() > LONGEST {
            return Err(io::Error::other(format!("its first line has more than {LONGEST} bytes")));
        }
        Ok(Self(line))
    }

    fn refuse_empty(self, purpose: Purpose) -> Result<Self> {
        if !self.0.is_empty() {
            return Ok(self);
        }
        let error = Error::new(Id::NoPassphrase, "the passphrase is empty");
        Err(if purpose == Purpose::New { error.hint(WITHOUT) } else { error })
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

impl Source {
    /// Gets the passphrase for the key in the file at `key`.
    ///
    /// # Errors
    /// [`Id::NoPassphrase`]: there is none, an empty one, or not the same one twice.
    pub fn get(&self, purpose: Purpose, key: &Path) -> Result<Passphrase> {
        match self {
            Self::File(path) => read(path, &format!("`{}`", path.display()), purpose),
            // A descriptor of ours has a name; to take it by its number would not be safe.
            Self::Descriptor(number) => {
                let path = PathBuf::from(format!("/proc/self/fd/{number}"));
                read(&path, &format!("descriptor {number}"), purpose)
            }
            Self::Terminal if io::stdin().is_terminal() => ask(purpose, key),
            Self::Terminal => {
                let message = format!(
                    "there is no terminal to ask for the passphrase of `{}` on",
                    key.display()
                );
                let error = Error::new(Id::NoPassphrase, message)
                    .hint("name where it is with `--passphrase-file FILE` or `--passphrase-fd N`");
                Err(match purpose {
                    Purpose::Open => error,
                    Purpose::New => error.hint(WITHOUT),
                })
            }
        }
    }
}

fn read(path: &Path, name: &str, purpose: Purpose) -> Result<Passphrase> {
    let read = File::open(path).and_then(Passphrase::first_line);
    let read = read.map_err(|error| {
        let message = format!("cannot read a passphrase from {name}");
        Error::new(Id::NoPassphrase, message).caused_by(error)
    });
    read?.refuse_empty(purpose)
}

fn ask(purpose: Purpose, key: &Path) -> Result<Passphrase> {
    let terminal = |error: io::Error| {
        Error::new(Id::NoPassphrase, "cannot ask on the terminal").caused_by(error)
    };
    let ask = |prompt: &str| {
        let mut tty = terminal::Silent::open()?;
        tty.prompt(prompt)?;
        Passphrase::first_line(tty)
    };
    let key: String = key.display().to_string().replace(char::is_control, "?");
    let first = ask(&format!("Passphrase for {key}: ")).map_err(terminal)?.refuse_empty(purpose)?;
    if purpose == Purpose::New {
        let again = ask("The same again: ").map_err(terminal)?;
        if first.0 != again.0 {
            let message = "the two passphrases are not the same";
            return Err(Error::new(Id::NoPassphrase, message).hint("type it again"));
        }
    }
    Ok(first)
}

#[cfg(test)]
impl From<&str> for Passphrase {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(content: &[u8]) -> Result<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, content).unwrap();
        let got = Source::File(path).get(Purpose::Open, Path::new("key.pem"))?;
        Ok(got.bytes().to_vec())
    }

    #[test]
    fn it_is_the_first_line_of_a_file_without_its_end() {
        for (content, want) in [
            (&b"a b"[..], &b"a b"[..]),
            (b" a \n", b" a "),
            (b"a\r\nb\n", b"a"),
            (b"\xff\r\r\n", b"\xff\r"),
        ] {
            assert_eq!(passphrase(content).unwrap(), want);
        }
        assert_eq!(passphrase(&[b'x'; LONGEST]).unwrap().len(), LONGEST);
    }

    #[test]
    fn one_that_is_empty_too_long_or_not_there_is_none() {
        for content in [&b""[..], b"\n", b"\r\nb", &[b'x'; LONGEST + 1], &[b'x'; 100_000]] {
            assert_eq!(passphrase(content).unwrap_err().id(), Id::NoPassphrase);
        }
        let error = Source::Descriptor(u32::MAX).get(Purpose::Open, Path::new("k")).unwrap_err();
        assert!(error.to_string().contains("descriptor 4294967295"), "{error}");
    }

    #[test]
    fn a_descriptor_gives_what_is_written_to_it() {
        use std::os::fd::AsRawFd as _;
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"hunter2\nrest").unwrap();
        drop(writer);
        let number = u32::try_from(reader.as_raw_fd()).unwrap();
        let got = Source::Descriptor(number).get(Purpose::New, Path::new("k")).unwrap();
        assert_eq!(got.bytes(), b"hunter2");
        assert_eq!(format!("{got:?}"), "Passphrase");
    }
}
