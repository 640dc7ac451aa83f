//! The server's side of NBD: the fixed newstyle handshake, reads, writes and flushes, with simple
//! replies. Whatever else a client offers is declined, which it has to accept.

use std::io::{self, Read, Write};

/// `NBDMAGIC` and `IHAVEOPT`.
const HELLO: [u8; 16] = *b"NBDMAGICIHAVEOPT";
/// The fixed newstyle handshake, and no zeroes behind an export.
const HANDSHAKE: u16 = 0b11;
/// There are flags, and a flush.
const EXPORT: u16 = 0b101;
const REPLY_OPTION: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// No request is longer: QEMU's own limit is 32 MiB.
const LONGEST: u32 = 64 << 20;
const EIO: u32 = 5;

/// What a client wants.
#[derive(Debug)]
pub(super) enum What {
    Read,
    Write(Vec<u8>),
    Flush,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) what: What,
    pub(super) handle: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// What it gets.
#[derive(Debug)]
pub(super) enum Answer {
    /// With what was read.
    Done(Vec<u8>),
    /// An I/O error.
    Failed,
}

/// Agrees with a client on a disk of this size; whether it stays.
pub(super) fn greet(
    reader: &mut impl Read,
    writer: &mut impl Write,
    size: u64,
) -> io::Result<bool> {
    writer.write_all(&HELLO)?;
    writer.write_all(&HANDSHAKE.to_be_bytes())?;
    u32_of(reader)?;
    loop {
        let magic = u64_of(reader)?;
        if magic.to_be_bytes() != HELLO[8..] {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let option = u32_of(reader)?;
        let length = u32_of(reader)?;
        bytes(reader, length)?;
        match option {
            // `NBD_OPT_GO`: about the export, and then it begins.
            7 => {
                let mut about = 0_u16.to_be_bytes().to_vec();
                about.extend(size.to_be_bytes());
                about.extend(EXPORT.to_be_bytes());
                reply(writer, option, 3, &about)?;
                reply(writer, option, 1, &[])?;
                return Ok(true);
            }
            // `NBD_OPT_ABORT`.
            2 => {
                reply(writer, option, 1, &[])?;
                return Ok(false);
            }
            // `NBD_REP_ERR_UNSUP`.
            _ => reply(writer, option, 0x8000_0001, &[])?,
        }
    }
}

fn reply(writer: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).map_err(io::Error::other)?;
    let mut bytes = REPLY_OPTION.to_be_bytes().to_vec();
    for number in [option, kind, length] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(data);
    writer.write_all(&bytes)
}

/// The next request; nothing if the client leaves.
pub(super) fn request(reader: &mut impl Read) -> io::Result<Option<Request>> {
    if u32_of(reader)? != REQUEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Flags and kind.
    let kind = u32_of(reader)? & 0xFFFF;
    let (handle, offset, length) = (u64_of(reader)?, u64_of(reader)?, u32_of(reader)?);
    let what = match kind {
        0 if length <= LONGEST => What::Read,
        1 => What::Write(bytes(reader, length)?),
        2 => return Ok(None),
        3 => What::Flush,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    Ok(Some(Request { what, handle, offset, length: length.into() }))
}

pub(super) fn answer(writer: &mut impl Write, handle: u64, answer: &Answer) -> io::Result<()> {
    let (error, data) = match answer {
        Answer::Done(data) => (0, &data[..]),
        Answer::Failed => (EIO, &[][..]),
    };
    let mut bytes = REPLY.to_be_bytes().to_vec();
    bytes.extend(error.to_be_bytes());
    bytes.extend(handle.to_be_bytes());
    bytes.extend(data);
    writer.write_all(&bytes)
}

fn bytes(reader: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u32_of(reader: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn u64_of(reader: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}
