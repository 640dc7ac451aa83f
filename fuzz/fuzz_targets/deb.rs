//! Debian's text formats: control data, release files, dependencies, versions; the shell of a `.deb`.

#![no_main]

use formats::deb::ar::{HEADER_LEN, parse_header};
use formats::deb::{Release, Version, paragraphs, parse_dependencies};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(header) = bytes.first_chunk::<HEADER_LEN>() {
        let _ = parse_header(header);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for paragraph in paragraphs(text).flatten() {
        for field in paragraph.fields() {
            let _ = field.words().count();
        }
    }
    let _ = Release::parse(text);
    let _ = text.parse::<Version>();
    let _ = parse_dependencies(text);
});
