//! Mirrors on a disk: files by `file:` addresses, with the duties that the web has.

use std::fs::File;
use std::io::{ErrorKind, Read as _, copy};
use std::path::Path;

use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Task;

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| {
        let id = if error.kind() == ErrorKind::NotFound { Id::NotFound } else { Id::Read };
        Error::new(id, format!("cannot read `{}`", path.display())).caused_by(error)
    })
}

/// A file of at most `limit` bytes.
pub(super) fn get(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(limit + 1).read_to_end(&mut bytes);
    read.or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
    if bytes.len() as u64 > limit {
        let message = format!("`{}` has more than {limit} bytes", path.display());
        return Err(Error::new(Id::TooLarge, message));
    }
    Ok(bytes)
}

/// Copies a file, of exactly `size` bytes if that is known.
pub(super) fn copy_to(path: &Path, into: &Path, size: Option<u64>, task: &Task) -> Result<()> {
    let from = open(path)?;
    let found =
        from.metadata().or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
    if let Some(size) = size.filter(|size| found.len() != *size) {
        let message = format!("`{}` has {} bytes instead of {size}", path.display(), found.len());
        return Err(Error::new(Id::WrongDigest, message).hint(super::OTHER_FILE));
    }
    let mut to = File::create(into)
        .or_fail(Id::StoreWrite, || format!("cannot write `{}`", into.display()))?;
    let copied = copy(&mut from.take(found.len()), &mut to)
        .or_fail(Id::StoreWrite, || format!("cannot copy `{}`", path.display()))?;
    task.advance(copied);
    Ok(())
}
