//! Unified kernel images.

#![no_main]

use formats::uki::Uki;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(uki) = Uki::parse(bytes) else { return };
    for section in uki.sections() {
        let _ = uki.text(&section.name);
    }
});
