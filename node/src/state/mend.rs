//! A superblock that is damaged, and one of its copies in its place.
//!
//! Nothing but those 1024 bytes is written, and only where they are no superblock of ours. Whether
//! what they describe is whole, the kernel finds out.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use formats::superblock::ext4::{OFFSET, SIZE, Superblock, copies, restored};

/// Mends it; says how.
///
/// # Errors
/// When there is nothing to mend, no copy is good, or the device cannot be read or written.
pub(super) fn mend(device: &Path) -> io::Result<String> {
    let mut file = OpenOptions::new().read(true).write(true).open(device)?;
    let size = file.seek(SeekFrom::End(0))?;
    if Superblock::parse(&read(&file, OFFSET)?).is_ok() {
        return Err(io::Error::other("its superblock is whole: there is nothing to mend"));
    }
    for (group, at) in copies(size) {
        // One that cannot be read is no worse than one that is damaged.
        let Some(primary) = read(&file, at).ok().and_then(|copy| restored(&copy, group)) else {
            continue;
        };
        file.write_all_at(&primary, OFFSET)?;
        file.sync_all()?;
        return Ok(format!(
            "its superblock was damaged; the copy of group {group} is in its place"
        ));
    }
    Err(io::Error::other("its superblock is damaged, and no copy of it is good"))
}

fn read(file: &File, at: u64) -> io::Result<[u8; SIZE]> {
    let mut bytes = [0; SIZE];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::reset;

    #[test]
    fn a_superblock_is_mended_by_its_copy_and_one_that_is_whole_is_left_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(160 << 20).unwrap();
        reset::make(file.path(), 160 << 20).unwrap();
        let whole = read(file.as_file(), OFFSET).unwrap();
        let error = mend(file.path()).unwrap_err().to_string();
        assert_eq!(error, "its superblock is whole: there is nothing to mend");

        file.as_file().write_all_at(&[0; 4096], 0).unwrap();
        let said = mend(file.path()).unwrap();
        assert_eq!(said, "its superblock was damaged; the copy of group 1 is in its place");
        let mended = read(file.as_file(), OFFSET).unwrap();
        let parsed = Superblock::parse(&mended).unwrap();
        assert_eq!(parsed.size(), Superblock::parse(&whole).unwrap().size());
        assert!(parsed.needs_recovery());

        file.as_file().write_all_at(&[0; 4096], 0).unwrap();
        file.as_file().write_all_at(&[0; 4096], 128 << 20).unwrap();
        let error = mend(file.path()).unwrap_err().to_string();
        assert_eq!(error, "its superblock is damaged, and no copy of it is good");
        assert_eq!(read(file.as_file(), OFFSET).unwrap(), [0; SIZE], "nothing was written");
    }
}
