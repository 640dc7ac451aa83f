//! The file system of `STATE` in an image: [`formats::state`] says what is in it, here it goes into
//! the disk's file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

pub use formats::state::LEAST_SIZE;
use formats::state::{Sink, StateError};
use uuid::Uuid;

use crate::error::{Context as _, Id, Result};

/// An empty file system, as arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Bytes: a multiple of 4096, at least [`LEAST_SIZE`].
    pub size: u64,
    /// The file system's UUID.
    pub uuid: Uuid,
    /// What the hashes of directory indexes begin with.
    pub hash_seed: Uuid,
    /// The time of everything in it, in seconds since 1970.
    pub epoch: u32,
}

impl State {
    /// Writes it at `offset` of `file`, which holds zeros there; what is zero stays a hole.
    ///
    /// # Errors
    /// [`Id::Write`]; [`Id::Bug`] if a size breaks the rules of [`State::size`].
    pub fn write(&self, file: &File, offset: u64) -> Result<()> {
        let message = || "cannot write the file system of `STATE`";
        let state = formats::state::State {
            size: self.size,
            uuid: self.uuid.into_bytes(),
            hash_seed: self.hash_seed.into_bytes(),
            epoch: self.epoch,
        };
        let mut region = Region { file, offset, end: offset + self.size };
        match state.write(&mut region) {
            Err(error @ StateError::Size(_)) => Err(error).or_fail(Id::Bug, message),
            other => other.or_fail(Id::Write, message),
        }
    }
}

/// A region of a file; zeros are there already.
#[derive(Debug)]
struct Region<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
}

impl Sink for Region<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = self.offset + offset;
        if at + bytes.len() as u64 > self.end {
            return Err(io::Error::other("a block beyond the end of the partition"));
        }
        // Bitmaps and tables are mostly zeros too: they come as data.
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        self.file.write_all_at(bytes, at)
    }

    fn zeros(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Command;

    fn state(size: u64) -> State {
        State {
            size,
            uuid: Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888),
            hash_seed: Uuid::from_u128(0x9999_aaaa_bbbb_cccc_dddd_eeee_ffff_0000),
            epoch: 1_700_000_000,
        }
    }

    fn written(state: &State, offset: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(offset + state.size).unwrap();
        state.write(file.as_file(), offset).unwrap();
        file
    }

    fn judge(program: &str, arguments: &[&str], file: &tempfile::NamedTempFile) -> String {
        let output = Command::new(program).args(arguments).arg(file.path()).run();
        let output = output.unwrap_or_else(|error| {
            panic!("{} (is the package `e2fsprogs` installed?)", error.chain())
        });
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn e2fsck_finds_nothing_to_mend_in_any_size() {
        for (mib, epoch) in [(16, 0), (64, 0), (64, 1_700_000_000), (1000, 1), (300, u32::MAX)] {
            let file = written(&State { epoch, ..state(mib << 20) }, 0);
            let text = judge("e2fsck", &["-fn"], &file);
            assert!(
                text.contains("STATE: 11/") && text.contains("(0.0% non-contiguous)"),
                "{text}"
            );
        }
    }

    #[test]
    fn arguments_are_what_dumpe2fs_shows() {
        let file = written(&state(64 << 20), 0);
        let text = judge("dumpe2fs", &["-h"], &file);
        let value = |key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        for (key, expected) in [
            ("Filesystem volume name", "STATE"),
            ("Filesystem UUID", "11112222-3333-4444-5555-666677778888"),
            ("Directory Hash Seed", "9999aaaa-bbbb-cccc-dddd-eeeeffff0000"),
            ("Block count", "16384"),
            ("Block size", "4096"),
            ("Inodes per group", "8192"),
            ("Reserved block count", "0"),
            ("Total journal size", "16M"),
        ] {
            assert_eq!(value(key).as_deref(), Some(expected), "{text}");
        }
        let features = value("Filesystem features").unwrap();
        for feature in ["has_journal", "flex_bg", "metadata_csum"] {
            assert!(features.contains(feature), "{features}");
        }
        // The kernel grows what has neither, by meta_bg; with one of these other limits hold.
        for feature in ["resize_inode", "sparse_super2", "bigalloc"] {
            assert!(!features.contains(feature), "{features}");
        }
    }

    #[test]
    fn equal_arguments_give_equal_bytes_at_any_offset() {
        let read = |offset: u64| {
            let file = written(&state(64 << 20), offset);
            let bytes = std::fs::read(file.path()).unwrap();
            bytes[usize::try_from(offset).unwrap()..].to_vec()
        };
        assert!(read(0) == read(3 << 20));
    }

    #[test]
    fn the_file_stays_sparse() {
        use std::os::unix::fs::MetadataExt as _;
        let file = written(&state(1 << 30), 0);
        assert!(file.as_file().metadata().unwrap().blocks() * 512 < 2 << 20);
    }

    #[test]
    fn a_size_that_cannot_be_is_our_own_mistake() {
        let file = tempfile::tempfile().unwrap();
        for size in [0, 4096, LEAST_SIZE + 1] {
            assert_eq!(state(size).write(&file, 0).unwrap_err().id(), Id::Bug, "{size}");
        }
    }
}
