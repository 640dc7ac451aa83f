//! An image as independent frames of zstd with their table behind them.

use std::io::{self, Read, Write};
use std::thread;

use formats::seekable::{FRAME, LEVEL, SeekTable, TableError};

/// An image cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It cannot be read, packed or written.
    #[error("cannot pack the image")]
    Io(#[from] io::Error),
    /// A frame came out as no reader takes it.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Packs `image`, which is read to its end, by up to `jobs` threads.
///
/// # Errors
/// See [`PackError`].
pub fn pack(
    mut image: impl Read,
    mut sink: impl Write,
    jobs: usize,
) -> Result<SeekTable, PackError> {
    let mut table = SeekTable::new();
    loop {
        let mut pieces = Vec::new();
        while pieces.len() < jobs.max(1) {
            let mut piece = Vec::with_capacity(FRAME as usize);
            (&mut image).take(FRAME.into()).read_to_end(&mut piece)?;
            if piece.is_empty() {
                break;
            }
            pieces.push(piece);
        }
        if pieces.is_empty() {
            break;
        }
        let packed: Vec<io::Result<Vec<u8>>> = thread::scope(|scope| {
            let one = |piece: &[u8]| zstd::bulk::compress(piece, LEVEL);
            let threads: Vec<_> =
                pieces.iter().map(|piece| scope.spawn(move || one(piece))).collect();
            let lost = |_| Err(io::Error::other("a thread that packs has panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(lost)).collect()
        });
        for (piece, packed) in pieces.iter().zip(packed) {
            let packed = packed?;
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            table.push(length(&packed), length(piece))?;
            sink.write_all(&packed)?;
        }
    }
    sink.write_all(&table.encode())?;
    sink.flush()?;
    Ok(table)
}
