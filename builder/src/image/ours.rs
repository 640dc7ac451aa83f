//! Whether a file is an image of ours, and the one error for what is not.

mod found;

use std::path::Path;

use formats::gpt::{self, GptError, Table};

use super::disk::Role;
use crate::error::{Error, Id, Result};

/// The error for a file at `path` that is `what`, such as "a text file".
pub fn not_ours(path: &Path, what: &str) -> Error {
    let path = path.display();
    Error::new(Id::NotOurImage, format!("`{path}` is not an image that orlop made: it is {what}"))
        .hint("`orlop build` prints the directory of the image as the last line of its output")
}

/// Reads the partition table at the start of a disk of ours: of `size` bytes, of which `head` are
/// the first ones. More than [`gpt::HEAD_SECTORS`] of them tell what else the file may be.
///
/// # Errors
/// [`Id::NotOurImage`] says what it is instead.
pub fn table(path: &Path, head: &[u8], size: u64) -> Result<Table> {
    match Table::parse(head, size / gpt::SECTOR) {
        Ok(table) => with_our_partitions(path, table),
        Err(
            error @ (GptError::HeaderChecksum
            | GptError::EntriesChecksum
            | GptError::DiskTooSmall { .. }
            | GptError::Header { .. }),
        ) => Err(not_ours(path, "a disk whose partition table is not usable").caused_by(error)),
        Err(_) => Err(not_ours(path, found::describe(head, size))),
    }
}

/// Makes sure that a table has all partitions of a disk of ours.
///
/// # Errors
/// [`Id::NotOurImage`] names those which it has.
pub fn with_our_partitions(path: &Path, table: Table) -> Result<Table> {
    if Role::ALL.iter().all(|role| table.partition(role.name()).is_some()) {
        return Ok(table);
    }
    if table.partitions().is_empty() {
        return Err(not_ours(path, "a disk without partitions"));
    }
    let names = table.partitions().iter().map(|partition| format!("`{}`", partition.name));
    let names = names.collect::<Vec<_>>().join(", ");
    Err(not_ours(path, &format!("a disk with the partitions {names}")))
}
