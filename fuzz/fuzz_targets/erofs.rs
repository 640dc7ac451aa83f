//! The superblock that PID 1 reads before anything is verified.

#![no_main]

use formats::erofs::Superblock;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Superblock::parse(bytes);
});
