//! What a file hashes to, read piece by piece.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use formats::digest::{Hasher, Sha256};

use crate::error::{Context as _, Id, Result};

/// How much is read at once.
const CHUNK: usize = 128 * 1024;

/// The digest of the file at `path`; `seen` is shown each piece, in order.
///
/// # Errors
/// [`Id::Read`].
pub fn of_file(path: &Path, mut seen: impl FnMut(&[u8])) -> Result<Sha256> {
    let cannot = || format!("cannot read `{}`", path.display());
    let mut file = File::open(path).or_fail(Id::Read, cannot)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = file.read(&mut buffer).or_fail(Id::Read, cannot)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..read]);
        seen(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_hashed_and_shown_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for size in [0, 1, CHUNK, CHUNK + 1] {
            let content = vec![7; size];
            std::fs::write(&path, &content).unwrap();
            let mut shown = Vec::new();
            let digest = of_file(&path, |piece| shown.extend_from_slice(piece)).unwrap();
            assert_eq!(digest, Sha256::of(&content));
            assert_eq!(shown, content);
        }
        assert_eq!(of_file(&directory.path().join("none"), |_| ()).unwrap_err().id(), Id::Read);
    }
}
