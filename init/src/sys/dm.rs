//! Device-mapper by ioctl on `/dev/mapper/control` (include/uapi/linux/dm-ioctl.h): make a device,
//! give it one read-only table, start it. The parts of libdevmapper that a verified root needs.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;

use rustix::ioctl::{Direction, Ioctl, IoctlOutput, Opcode, ioctl, opcode};

/// `sizeof(struct dm_ioctl)`; what is sent after it is the payload.
const HEADER: u32 = 312;
const HEADER_BYTES: usize = HEADER as usize;
/// `sizeof(struct dm_target_spec)`.
const TARGET: usize = 40;
const NAME: usize = 48;
const NAME_LENGTH: usize = 128;
const DM_READONLY_FLAG: u32 = 1;

/// The calls by their numbers.
#[derive(Debug, Clone, Copy)]
enum Command {
    Create = 3,
    Remove = 4,
    /// Without the suspend flag it resumes, which is how a new table is put in force.
    Suspend = 6,
    LoadTable = 9,
}

/// One line of a table: what lies behind the device's sectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// How many sectors of 512 bytes it has; it starts at the first.
    pub sectors: u64,
    /// The kind, `verity` for example; at most 15 bytes.
    pub kind: &'static str,
    /// What the kind asks for, in the words of the kernel's documentation.
    pub parameters: String,
}

/// Makes the read-only device `name` with one target and starts it. Returns its node, which
/// devtmpfs has made.
///
/// # Errors
/// When `dm-mod` or the target's module is not loaded, or the kernel refuses the parameters; then
/// no device is left behind.
pub fn activate(name: &str, target: &Target) -> io::Result<PathBuf> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/mapper/control")?;
    let answer = call(&control, Command::Create, name, 0, None)?;
    let started = call(&control, Command::LoadTable, name, DM_READONLY_FLAG, Some(target))
        .and_then(|_| call(&control, Command::Suspend, name, 0, None));
    if let Err(error) = started {
        // The first error is the one to tell; a device that stays behind carries no table.
        let _ = call(&control, Command::Remove, name, 0, None);
        return Err(error);
    }
    Ok(PathBuf::from(format!("/dev/dm-{}", minor(&answer))))
}

/// Sends one command and returns the header that the kernel sent back.
fn call(
    control: &File,
    command: Command,
    name: &str,
    flags: u32,
    target: Option<&Target>,
) -> io::Result<Vec<u8>> {
    let mut buffer = encode(name, flags, target)?;
    // SAFETY: needed because rustix has no device-mapper calls. Sound because the buffer is
    // exclusively borrowed for the call, and its header says how long it is, which bounds what
    // the kernel reads and writes.
    unsafe { ioctl(control, Call { command, buffer: &mut buffer })? };
    Ok(buffer)
}

/// The header and, for a table, one target: `struct dm_ioctl`, `struct dm_target_spec`, the
/// parameters ended by a NUL, all padded to eight bytes.
fn encode(name: &str, flags: u32, target: Option<&Target>) -> io::Result<Vec<u8>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    if name.len() >= NAME_LENGTH {
        return Err(invalid("the name is too long for device-mapper"));
    }
    let parameters = target.map_or(0, |target| TARGET + target.parameters.len() + 1);
    let length = (HEADER_BYTES + parameters).next_multiple_of(8);
    let length32 = u32::try_from(length).map_err(|_| invalid("the table is too long"))?;

    let mut bytes = vec![0; length];
    put(&mut bytes, 0, &4_u32.to_le_bytes()); // the interface's version: 4.0.0
    put(&mut bytes, 12, &length32.to_le_bytes());
    put(&mut bytes, 16, &HEADER.to_le_bytes());
    put(&mut bytes, 20, &u32::from(target.is_some()).to_le_bytes());
    put(&mut bytes, 28, &flags.to_le_bytes());
    put(&mut bytes, NAME, name.as_bytes());
    if let Some(target) = target {
        if target.kind.len() > 15 {
            return Err(invalid("the target's kind is too long"));
        }
        put(&mut bytes, HEADER_BYTES + 8, &target.sectors.to_le_bytes());
        put(&mut bytes, HEADER_BYTES + 20, &(length32 - HEADER).to_le_bytes());
        put(&mut bytes, HEADER_BYTES + 24, target.kind.as_bytes());
        put(&mut bytes, HEADER_BYTES + TARGET, target.parameters.as_bytes());
    }
    Ok(bytes)
}

/// All lengths were added up before: no caller writes past the end.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The minor number in an answer, from `huge_encode_dev`: bits 0 to 7 and 20 to 39.
fn minor(answer: &[u8]) -> u64 {
    let mut dev = [0; 8];
    dev.copy_from_slice(&answer[40..48]);
    let dev = u64::from_le_bytes(dev);
    (dev & 0xff) | ((dev >> 12) & !0xff)
}

/// A device-mapper call: every one passes a header that is longer than its type says.
#[derive(Debug)]
struct Call<'a> {
    command: Command,
    buffer: &'a mut [u8],
}

// SAFETY: needed because the patterns of rustix pass values of a fixed size, and a table is not.
// Sound because the pointer is to a buffer whose `data_size` field holds its true length, which
// the kernel keeps to (ctl_ioctl in drivers/md/dm-ioctl.c).
unsafe impl Ioctl for Call<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::from_components(Direction::ReadWrite, 0xfd, self.command as u8, HEADER_BYTES)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.buffer.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn a_table_is_laid_out_as_the_kernels_header_says() {
        let target = Target { sectors: 784, kind: "verity", parameters: "1 7:0 7:0".to_owned() };
        let bytes = encode("orlop-root", DM_READONLY_FLAG, Some(&target)).unwrap();
        assert_eq!(bytes.len(), (312 + 40 + 10_usize).next_multiple_of(8));
        assert_eq!([word(&bytes, 0), word(&bytes, 12), word(&bytes, 16)], [4, 368, 312]);
        assert_eq!([word(&bytes, 20), word(&bytes, 28)], [1, 1]);
        assert_eq!(&bytes[48..59], b"orlop-root\0");
        assert_eq!(word(&bytes, 320), 784);
        assert_eq!(word(&bytes, 332), 56);
        assert_eq!(&bytes[336..343], b"verity\0");
        assert_eq!(&bytes[352..362], b"1 7:0 7:0\0");
    }

    #[test]
    fn the_call_numbers_are_those_of_the_kernels_header() {
        let number = |command| Call { command, buffer: &mut [] }.opcode();
        assert_eq!(number(Command::Create), 0xc138_fd03);
        assert_eq!(number(Command::LoadTable), 0xc138_fd09);
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused_and_not_cut() {
        assert!(encode(&"x".repeat(128), 0, None).is_err());
        assert!(encode(&"x".repeat(127), 0, None).is_ok());
    }

    #[test]
    fn the_minor_number_is_decoded_beyond_eight_bits() {
        for (dev, want) in [(0xfd00_u64, 0), (0xfd03, 3), (0x0010_fd01, 257)] {
            let mut answer = vec![0; HEADER_BYTES];
            put(&mut answer, 40, &dev.to_le_bytes());
            assert_eq!(minor(&answer), want);
        }
    }
}
