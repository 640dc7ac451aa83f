//! FAT32 volumes, as `orlop inspect` reads them.

#![no_main]

use formats::fat::Volume;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Volume::parse_bytes(bytes);
});
