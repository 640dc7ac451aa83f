//! Directories on disk: blocks which each hold an array of dirents and, after it, their names.
//!
//! Linux `fs/erofs/namei.c` searches by bisection, first for the block by its first name, then
//! inside it; so names ascend by bytes, `.` and `..` included, and no entry crosses a block.
//! The first `nameoff` of a block tells how many dirents it has; the last name of a block ends at
//! a NUL or at the end of the block or of the directory (`fs/erofs/dir.c`).

use super::{BLOCK, memory_size};

/// `sizeof(struct erofs_dirent)`
const DIRENT_SIZE: usize = 12;

/// One name in a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) nid: u64,
    /// `FT_*` of Linux `include/linux/fs_types.h`.
    pub(super) file_type: u8,
}

impl Entry<'_> {
    fn size(&self) -> usize {
        DIRENT_SIZE + self.name.len()
    }
}

/// The size of the directory that holds `entries`, which ascend by name: whole blocks and what the
/// last one uses. Only the lengths of the names count.
pub(super) fn size(entries: &[Entry<'_>]) -> u64 {
    let mut full_blocks = 0;
    let mut used = 0;
    for block in blocks(entries) {
        full_blocks += 1;
        used = block.iter().map(Entry::size).sum();
    }
    (full_blocks - 1) * BLOCK + used as u64
}

/// The directory's content, of exactly [`size`] bytes.
pub(super) fn encode(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for block in blocks(entries) {
        // Only a block after this one asks for the rest of this one.
        out.resize(out.len().next_multiple_of(memory_size(BLOCK)), 0);
        let mut name_offset = block.len() * DIRENT_SIZE;
        for entry in block {
            out.extend(entry.nid.to_le_bytes());
            out.extend(name_offset_field(name_offset).to_le_bytes());
            out.extend([entry.file_type, 0]);
            name_offset += entry.name.len();
        }
        block.iter().for_each(|entry| out.extend(entry.name.as_bytes()));
    }
    out
}

#[expect(clippy::cast_possible_truncation, reason = "an offset inside a block is below 4096")]
fn name_offset_field(offset: usize) -> u16 {
    offset as u16
}

/// Fills block after block, each with as many entries as it can take.
fn blocks<'a, 'b>(mut rest: &'a [Entry<'b>]) -> impl Iterator<Item = &'a [Entry<'b>]> {
    std::iter::from_fn(move || {
        let mut used = 0;
        let fits = |entry: &&Entry<'_>| {
            used += entry.size();
            used as u64 <= BLOCK
        };
        let count = rest.iter().take_while(fits).count();
        let (block, after) = rest.split_at(count);
        rest = after;
        (!block.is_empty()).then_some(block)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry<'_> {
        Entry { name, nid: 0x0102, file_type: 2 }
    }

    #[test]
    fn dirents_come_first_and_names_follow() {
        let bytes = encode(&[entry("."), entry("..")]);
        let mut want = vec![2, 1, 0, 0, 0, 0, 0, 0, 24, 0, 2, 0];
        want.extend([2, 1, 0, 0, 0, 0, 0, 0, 25, 0, 2, 0]);
        want.extend(b"...");
        assert_eq!(bytes, want);
    }

    #[test]
    fn no_entry_crosses_a_block() {
        // 15 entries of 12 + 255 bytes are 4005 bytes; 91 more fit exactly into the block.
        let long = "n".repeat(255);
        let exact = "x".repeat(4096 - 15 * 267 - 12);
        let mut entries = vec![entry(&long); 15];
        entries.push(entry(&exact));
        assert_eq!(size(&entries), 4096);
        entries.push(entry("y"));
        assert_eq!(size(&entries), 4096 + 13);
        let bytes = encode(&entries);
        assert_eq!(bytes.len(), 4096 + 13);
        assert_eq!(bytes[4096 + 8..4096 + 10], 12_u16.to_le_bytes());
        entries[15].name = &exact[1..];
        assert_eq!((encode(&entries)[4095], size(&entries)), (0, 4096 + 13));
    }
}
