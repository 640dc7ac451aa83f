//! What a file is that is not ours: by the marks that formats put at their beginning.

/// Offset, mark, and what has it.
const MARKS: &[(usize, &[u8], &str)] = &[
    (0, b"\x7FELF", "an ELF program"),
    (0, b"QFI\xFB", "a qcow2 image"),
    (0, b"KDMV", "a VMDK image"),
    (0, b"vhdxfile", "a VHDX image"),
    (0, b"conectix", "a VHD image"),
    (0, b"\x28\xB5\x2F\xFD", "a zstd file"),
    (0, b"\x1F\x8B", "a gzip file"),
    (0, b"\xFD7zXZ\0", "an xz file"),
    (0, b"!<arch>\n", "an archive, such as a Debian package"),
    (0, b"070701", "a cpio archive, such as an initrd"),
    (0, b"hsqs", "a squashfs file system"),
    (257, b"ustar", "a tar archive"),
    (1024, b"\xE2\xE1\xF5\xE0", "an EROFS file system"),
    (1080, b"\x53\xEF", "an ext file system"),
    (32_769, b"CD001", "an ISO image"),
    (82, b"FAT32   ", "a FAT32 volume"),
    (514, b"HdrS", "a Linux kernel"),
    (510, b"\x55\xAA", "a disk without a GPT"),
];

/// The file of `size` bytes that begins with `head`, as the end of "it is ...".
pub(super) fn describe(head: &[u8], size: u64) -> &'static str {
    if size == 0 {
        return "an empty file";
    }
    let marked = MARKS.iter().find(|(offset, mark, _)| {
        head.get(*offset..offset + mark.len()).is_some_and(|bytes| bytes == *mark)
    });
    if let Some((_, _, what)) = marked {
        return what;
    }
    if head.iter().all(|byte| *byte == 0) {
        return "nothing but zeros";
    }
    let text = String::from_utf8_lossy(head);
    let printable = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    if text.chars().all(|c| printable(c) && c != char::REPLACEMENT_CHARACTER) {
        return "a text file";
    }
    "of no kind that is known"
}
