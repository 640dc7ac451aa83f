//! UKIs that start no kernel: a small EFI program with the sections that an updater and a loader look at.
//! Tests of the updater never run it. The real loader does (`qemu-tests/tests/loader`): it says on the
//! first serial port by which name it was started and what it is, and resets the machine.

use formats::digest::Sha256;
use formats::uki::{Section, add_sections, pad_to};

/// The code: `LoadedImage` of the image's own handle has the path by which it was loaded.
#[rustfmt::skip]
const CODE: &[u8] = &[
    0x48, 0x83, 0xEC, 0x38,                   // sub  rsp, 0x38
    0x48, 0x8B, 0x42, 0x60,                   // mov  rax, [rdx + 0x60]     BootServices
    0x48, 0x8D, 0x15, 0x66, 0, 0, 0,          // lea  rdx, [rip + guid]
    0x4C, 0x8D, 0x44, 0x24, 0x28,             // lea  r8, [rsp + 0x28]
    0xFF, 0x90, 0x98, 0, 0, 0,                // call [rax + 0x98]          HandleProtocol
    0x48, 0x8D, 0x35, 0x64, 0, 0, 0,          // lea  rsi, [rip + said]
    0xE8, 0x30, 0, 0, 0,                      // call print
    0x48, 0x8B, 0x74, 0x24, 0x28,             // mov  rsi, [rsp + 0x28]     the protocol
    0x48, 0x8B, 0x76, 0x20,                   // mov  rsi, [rsi + 0x20]     FilePath
    0x48, 0x83, 0xC6, 0x04,                   // add  rsi, 4                its text, in UTF-16
    0x66, 0xAD,                               // path:  lodsw
    0x84, 0xC0,                               //        test al, al
    0x74, 0x07,                               //        jz   named
    0xE8, 0x24, 0, 0, 0,                      //        call put
    0xEB, 0xF3,                               //        jmp  path
    0x48, 0x8D, 0x35, 0x48, 0, 0, 0,          // named: lea  rsi, [rip + text]
    0xE8, 0x0A, 0, 0, 0,                      //        call print
    0x66, 0xBA, 0xF9, 0x0C,                   //        mov  dx, 0xCF9      the chipset's reset
    0xB0, 0x06,                               //        mov  al, 6
    0xEE,                                     //        out  dx, al
    0xF4,                                     // halt:  hlt
    0xEB, 0xFD,                               //        jmp  halt
    0xAC,                                     // print: lodsb
    0x84, 0xC0,                               //        test al, al
    0x74, 0x19,                               //        jz   done
    0xE8, 0x02, 0, 0, 0,                      //        call put
    0xEB, 0xF4,                               //        jmp  print
    0x88, 0xC4,                               // put:   mov  ah, al
    0x66, 0xBA, 0xFD, 0x03,                   //        mov  dx, 0x3FD
    0xEC,                                     // wait:  in   al, dx
    0xA8, 0x20,                               //        test al, 0x20
    0x74, 0xFB,                               //        jz   wait
    0x88, 0xE0,                               //        mov  al, ah
    0x66, 0xBA, 0xF8, 0x03,                   //        mov  dx, 0x3F8
    0xEE,                                     //        out  dx, al
    0xC3,                                     // done:  ret
];

/// `EFI_LOADED_IMAGE_PROTOCOL_GUID`: 5B1B31A1-9562-11D2-8E3F-00A0C969723B.
const GUID: [u8; 16] = [
    0xA1, 0x31, 0x1B, 0x5B, 0x62, 0x95, 0xD2, 0x11, 0x8E, 0x3F, 0x00, 0xA0, 0xC9, 0x69, 0x72, 0x3B,
];

/// What the line begins with that it says. The code counts on its length.
const SAID: &[u8; 10] = b"\nstarted \0";

/// Where the text section stands in the file and in memory, and what it has in the file.
const TEXT: (u32, u32, u32) = (0x400, 0x1000, 0x200);

/// An EFI program with one section that says that it is `name`.
fn program(name: &str) -> Vec<u8> {
    let mut bytes = vec![0; (TEXT.0 + TEXT.2) as usize];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3C, &0x40_u32.to_le_bytes());
    // One section; nothing of the program needs to be relocated.
    put(0x40, b"PE\0\0\x64\x86\x01\0");
    put(0x54, &[0xF0, 0, 0x2E, 2, 0x0B, 2]);
    for (at, value) in [
        (4, TEXT.2),
        (16, TEXT.1),
        (20, TEXT.1),
        (32, 0x1000),
        (36, 0x200),
        (56, 2 * TEXT.1),
        (60, TEXT.0),
        (68, 10),
        (108, 16),
    ] {
        put(0x58 + at, &value.to_le_bytes());
    }
    let code = [CODE, &GUID, SAID, b" ", name.as_bytes(), b"\n\0"].concat();
    put(0x148, b".text\0\0\0");
    let size = u32::try_from(code.len()).unwrap();
    for (at, value) in [(8, size), (12, TEXT.1), (16, TEXT.2), (20, TEXT.0), (36, 0x6000_0020)] {
        put(0x148 + at, &value.to_le_bytes());
    }
    put(TEXT.0 as usize, &code);
    bytes
}

/// The UKI of a version, for this root.
pub fn uki(name: &str, root_hash: Sha256, size: u64) -> Vec<u8> {
    let line = format!("ro panic=5 orlop.roothash={root_hash}");
    // As in images: nothing in it overrules the order of the files' names.
    let release = format!("ID=orlopos\nNAME=OrlopOS\nPRETTY_NAME=\"{name}\"\n");
    let sections = [(".osrel", &*release), (".cmdline", &line), (".linux", name)];
    let sections = sections.map(|(name, text)| Section { name, data: text.as_bytes() });
    let mut uki = add_sections(&program(name), &sections).unwrap();
    pad_to(&mut uki, size).unwrap();
    // Nothing in it is like in another version, also where it is padded.
    let end = uki.len();
    uki[end - 2048..].iter_mut().zip(name.bytes().cycle()).for_each(|(to, from)| *to = from);
    uki
}
