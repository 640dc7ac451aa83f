//! Inodes on disk: `struct erofs_inode_compact` and `struct erofs_inode_extended` of Linux
//! `fs/erofs/erofs_fs.h`, all numbers little-endian.

/// `S_IFDIR`, `S_IFREG` and `S_IFLNK` of `include/uapi/linux/stat.h`.
pub(super) const S_IFDIR: u16 = 0o040_000;
pub(super) const S_IFREG: u16 = 0o100_000;
pub(super) const S_IFLNK: u16 = 0o120_000;

/// `FT_REG_FILE`, `FT_DIR` and `FT_SYMLINK` of `include/linux/fs_types.h`.
pub(super) const FT_REG_FILE: u8 = 1;
pub(super) const FT_DIR: u8 = 2;
pub(super) const FT_SYMLINK: u8 = 7;

/// `EROFS_INODE_FLAT_PLAIN` and `EROFS_INODE_FLAT_INLINE`, as they stand in `i_format`.
pub(super) const FLAT_PLAIN: u16 = 0 << 1;
pub(super) const FLAT_INLINE: u16 = 2 << 1;

/// Inodes begin at multiples of this; a nid counts in it.
pub(super) const SLOT: u64 = 32;

/// 32 bytes, for nearly every inode. Its time is the superblock's `build_time`.
#[derive(Debug)]
pub(super) struct Compact {
    /// The data layout; version bit 0.
    pub(super) i_format: u16,
    pub(super) i_xattr_icount: u16,
    pub(super) i_mode: u16,
    pub(super) i_nlink: u16,
    pub(super) i_size: u32,
    pub(super) raw_blkaddr: u32,
    pub(super) i_ino: u32,
    pub(super) i_uid: u16,
    pub(super) i_gid: u16,
}

impl Compact {
    pub(super) const SIZE: u64 = 32;

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.i_format.to_le_bytes());
        out.extend(self.i_xattr_icount.to_le_bytes());
        out.extend(self.i_mode.to_le_bytes());
        out.extend(self.i_nlink.to_le_bytes());
        out.extend(self.i_size.to_le_bytes());
        // i_reserved; since Linux 6.15 seconds to add to `build_time`.
        out.extend([0; 4]);
        out.extend(self.raw_blkaddr.to_le_bytes());
        out.extend(self.i_ino.to_le_bytes());
        out.extend(self.i_uid.to_le_bytes());
        out.extend(self.i_gid.to_le_bytes());
        out.extend([0; 4]); // i_reserved2
        out
    }
}

/// 64 bytes, for what a compact inode cannot hold. It has a time of its own.
#[derive(Debug)]
pub(super) struct Extended {
    /// The data layout; the version bit is added when it is encoded.
    pub(super) i_format: u16,
    pub(super) i_xattr_icount: u16,
    pub(super) i_mode: u16,
    pub(super) i_size: u64,
    pub(super) raw_blkaddr: u32,
    pub(super) i_ino: u32,
    pub(super) i_uid: u32,
    pub(super) i_gid: u32,
    pub(super) i_mtime: u64,
    pub(super) i_nlink: u32,
}

impl Extended {
    pub(super) const SIZE: u64 = 64;

    /// `EROFS_INODE_LAYOUT_EXTENDED` as it stands in `i_format`.
    const VERSION: u16 = 1;

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend((self.i_format | Self::VERSION).to_le_bytes());
        out.extend(self.i_xattr_icount.to_le_bytes());
        out.extend(self.i_mode.to_le_bytes());
        out.extend([0; 2]); // i_reserved
        out.extend(self.i_size.to_le_bytes());
        out.extend(self.raw_blkaddr.to_le_bytes());
        out.extend(self.i_ino.to_le_bytes());
        out.extend(self.i_uid.to_le_bytes());
        out.extend(self.i_gid.to_le_bytes());
        out.extend(self.i_mtime.to_le_bytes());
        out.extend([0; 4]); // i_mtime_nsec
        out.extend(self.i_nlink.to_le_bytes());
        out.extend([0; 16]); // i_reserved2
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inodes_have_the_sizes_that_the_kernel_asserts() {
        let compact = Compact {
            i_format: FLAT_INLINE,
            i_xattr_icount: 1,
            i_mode: S_IFREG,
            i_nlink: 2,
            i_size: 3,
            raw_blkaddr: 4,
            i_ino: 5,
            i_uid: 6,
            i_gid: 7,
        };
        let want =
            b"\x04\0\x01\0\0\x80\x02\0\x03\0\0\0\0\0\0\0\x04\0\0\0\x05\0\0\0\x06\0\x07\0\0\0\0\0";
        assert_eq!(compact.encode(), want);
        let extended = Extended {
            i_format: FLAT_PLAIN,
            i_xattr_icount: 0,
            i_mode: S_IFDIR,
            i_size: 0,
            raw_blkaddr: 0,
            i_ino: 0,
            i_uid: 0,
            i_gid: 0,
            i_mtime: 0x1122,
            i_nlink: 0x3344,
        };
        let bytes = extended.encode();
        assert_eq!((bytes.len() as u64, bytes[0]), (Extended::SIZE, 1));
        assert_eq!((&bytes[32..34], &bytes[44..46]), (&b"\x22\x11"[..], &b"\x44\x33"[..]));
    }
}
