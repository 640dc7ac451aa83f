//! binutils judges the UKIs: another reader of PE finds the sections that we added.
#![expect(clippy::disallowed_methods, reason = "judges are outside programs")]

use std::path::Path;
use std::process::Command;

use formats::uki::{Section, add_sections, pad_to};

fn binutils(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|_| panic!("`{program}` is needed: install the package `binutils`"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{program}: {text}{errors}");
    text
}

/// A program for UEFI with one section, and room for ten more; what it does is of no matter.
fn stub() -> Vec<u8> {
    let mut bytes = vec![0; 0x800];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3C, &[0x40]);
    put(0x40, b"PE\0\0\x64\x86\x01");
    put(0x54, &[0xF0, 0, 0x2E, 0x02]);
    // PE32+; entry and code at 0x1000; alignments; sizes; subsystem 10; 16 directories.
    put(0x58, &[0x0B, 0x02]);
    put(0x68, &0x1000_u32.to_le_bytes());
    put(0x6C, &0x1000_u32.to_le_bytes());
    put(0x78, &0x1000_u32.to_le_bytes());
    put(0x7C, &0x200_u32.to_le_bytes());
    put(0x90, &0x2000_u32.to_le_bytes());
    put(0x94, &0x400_u32.to_le_bytes());
    put(0x9C, &[10]);
    put(0xC4, &[16]);
    put(0x148, b".text\0\0\0");
    put(0x150, &0x20_u32.to_le_bytes());
    put(0x154, &0x1000_u32.to_le_bytes());
    put(0x158, &0x200_u32.to_le_bytes());
    put(0x15C, &0x400_u32.to_le_bytes());
    put(0x16C, &0x6000_0020_u32.to_le_bytes());
    // Behind the section: what a symbol table would be.
    put(0x600, &[0xCC; 0x200]);
    bytes
}

fn extract(image: &Path, section: &str) -> Vec<u8> {
    let out = image.with_extension("section");
    let only = format!("--only-section={section}");
    let arguments = ["-O", "binary", &only, image.to_str().unwrap(), out.to_str().unwrap()];
    binutils("objcopy", &arguments);
    std::fs::read(out).unwrap()
}

#[test]
fn binutils_finds_the_sections_that_were_added() {
    let linux: Vec<u8> = (0..100_000_u32).map(|at| (at % 253).to_le_bytes()[0]).collect();
    let parts = [
        Section { name: ".osrel", data: b"ID=orlop\nNAME=OrlopOS\n" },
        Section { name: ".cmdline", data: b"panic=5 oops=panic ro" },
        Section { name: ".uname", data: b"6.12.117" },
        Section { name: ".linux", data: &linux },
        Section { name: ".initrd", data: &[9; 4096] },
    ];
    let mut uki = add_sections(&stub(), &parts).unwrap();
    pad_to(&mut uki, 1 << 20).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("uki.efi");
    std::fs::write(&path, &uki).unwrap();
    let listing = binutils("objdump", &["-h", path.to_str().unwrap()]);
    let names: Vec<_> = listing
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1).filter(|word| word.starts_with('.')))
        .collect();
    assert_eq!(names, [".text", ".osrel", ".cmdline", ".uname", ".linux", ".initrd", ".pad"]);
    for part in parts {
        assert_eq!(extract(&path, part.name), part.data, "{}", part.name);
    }
    let headers = binutils("objdump", &["-p", path.to_str().unwrap()]);
    // The pad begins at 0x21000 in memory and has what is missing to a mebibyte.
    let image = headers.lines().find(|line| line.starts_with("SizeOfImage")).unwrap();
    let size = u64::from_str_radix(image.split_whitespace().nth(1).unwrap(), 16).unwrap();
    let sections = formats::uki::Uki::parse(&uki).unwrap();
    let last = sections.sections().last().unwrap();
    let end = u64::from(last.virtual_address) + u64::from(last.virtual_size);
    assert_eq!(size, end.next_multiple_of(0x1000));
}
