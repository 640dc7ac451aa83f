//! Files that say that they are systemd-boot, and do nothing.

use formats::uki::{Section, add_sections};
use updater::boot_loader::own_architecture;

/// The least that is an EFI program: headers with room, and no section.
pub fn stub() -> Vec<u8> {
    let mut stub = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| stub[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &own_architecture().pe_machine().to_le_bytes());
    put(0x54, &0xf0_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    put(0x58 + 32, &0x1000_u32.to_le_bytes());
    put(0x58 + 36, &0x200_u32.to_le_bytes());
    put(0x58 + 56, &0x1000_u32.to_le_bytes());
    put(0x58 + 60, &0x400_u32.to_le_bytes());
    put(0x58 + 68, &10_u16.to_le_bytes());
    put(0x58 + 108, &16_u32.to_le_bytes());
    stub
}

/// A loader of this version, with so many bytes of code.
pub fn loader(version: &str, code: usize) -> Vec<u8> {
    let mark = format!("#### LoaderInfo: systemd-boot {version} ####");
    let code: Vec<u8> = version.bytes().cycle().take(code).collect();
    let sections = [(".code", &code[..]), (".sdmagic", mark.as_bytes())];
    add_sections(&stub(), &sections.map(|(name, data)| Section { name, data })).unwrap()
}

/// The same with a certificate table, of which nothing but its place is looked at.
pub fn signed(mut loader: Vec<u8>) -> Vec<u8> {
    loader[0x58 + 112 + 4 * 8..][..8].copy_from_slice(&[0, 1, 0, 0, 8, 0, 0, 0]);
    loader
}
