//! What the kernel is told of a loop device: `include/uapi/linux/loop.h`.

/// The call for the number of a device that nothing is behind.
pub const LOOP_CTL_GET_FREE: u32 = 0x4c82;
/// The call that takes away what is behind a device.
pub const LOOP_CLR_FD: u32 = 0x4c01;
/// The call that puts a file behind a device, with a [`Config`].
pub const LOOP_CONFIGURE: u32 = 0x4c0a;
const LO_FLAGS_READ_ONLY: u32 = 1;

/// Whether what is written to the device reaches the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It does.
    ReadWrite,
    /// Nothing can be written.
    ReadOnly,
}

/// `struct loop_config` with its `struct loop_info64`, as it is in memory.
#[repr(C)]
#[derive(Debug, Clone)]
pub struct Config {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

impl Config {
    /// The whole file behind the descriptor `fd`, in blocks of `block_size` bytes, or of what the
    /// kernel chooses if that is 0. The first 63 bytes of `name` are shown to people.
    pub fn new(fd: u32, block_size: u32, access: Access, name: &[u8]) -> Self {
        let mut file_name = [0; 64];
        // Ends with a zero.
        for (to, from) in file_name.iter_mut().take(63).zip(name) {
            *to = *from;
        }
        Self {
            fd,
            block_size,
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: if access == Access::ReadOnly { LO_FLAGS_READ_ONLY } else { 0 },
            file_name,
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
            reserved: [0; 8],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_the_size_and_offsets_of_the_kernels_header() {
        assert_eq!(size_of::<Config>(), 8 + 232 + 64);
        assert_eq!(size_of::<Config>(), 304);
        assert_eq!(std::mem::offset_of!(Config, flags), 8 + 52);
        assert_eq!(std::mem::offset_of!(Config, init), 8 + 216);
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_before_the_zero_at_its_end() {
        let config = Config::new(3, 0, Access::ReadWrite, &[b'x'; 100]);
        assert_eq!(config.file_name[62..], [b'x', 0]);
    }
}
