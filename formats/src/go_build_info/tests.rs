//! Records in both forms, whole and damaged.

use proptest::prelude::*;

use super::*;

/// One segment at an address.
struct Segment {
    address: u64,
    bytes: Vec<u8>,
}

impl Memory for Segment {
    fn data(&self) -> Option<(u64, u64)> {
        Some((self.address, self.bytes.len() as u64))
    }

    fn read(&self, address: u64, size: u64) -> &[u8] {
        let rest = address.checked_sub(self.address).and_then(|at| usize::try_from(at).ok());
        let rest = rest.and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        &rest[..rest.len().min(usize::try_from(size).unwrap_or(usize::MAX))]
    }
}

const MODULES: &str = "path\ta.example/tool/cmd\n\
    mod\ta.example/tool\t(devel)\t\n\
    dep\tb.example/lib\tv1.2.3\th1:abc=\n\
    dep\tc.example/old\tv0.1.0\n\
    =>\td.example/new\tv0.2.0\th1:def=\n\
    build\t-compiler=gc\n\
    build\t\"odd key\"=\"a value\"\n";

fn framed(modules: &str) -> Vec<u8> {
    [&[b'<'; SENTINEL], modules.as_bytes(), &[b'>'; SENTINEL]].concat()
}

fn header(size: u8, flags: u8) -> Vec<u8> {
    let mut header = [MAGIC, &[size, flags]].concat();
    header.resize(32, 0);
    header
}

fn inline_record(go: &[u8], modules: &[u8]) -> Vec<u8> {
    let text = |bytes: &[u8]| {
        let mut length = bytes.len();
        let mut text = Vec::new();
        while length >= 0x80 {
            text.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        text.push(u8::try_from(length).unwrap());
        [text, bytes.to_vec()].concat()
    };
    [header(0, INLINE), text(go), text(modules)].concat()
}

/// As Go before 1.18 has it, with the strings and their texts behind the header.
fn pointed_record(address: u64, width: u8, big: bool, go: &str, modules: &[u8]) -> Vec<u8> {
    let number = |number: u64| match (width, big) {
        (4, true) => u32::try_from(number).unwrap().to_be_bytes().to_vec(),
        (4, false) => u32::try_from(number).unwrap().to_le_bytes().to_vec(),
        (_, true) => number.to_be_bytes().to_vec(),
        (_, false) => number.to_le_bytes().to_vec(),
    };
    let wide = u64::from(width);
    let (strings, texts) = (address + 32, address + 32 + 4 * wide);
    let mut record = header(width, u8::from(big));
    record.truncate(16);
    record.extend(number(strings));
    record.extend(number(strings + 2 * wide));
    record.resize(32, 0);
    for value in [texts, go.len() as u64, texts + go.len() as u64, modules.len() as u64] {
        record.extend(number(value));
    }
    [record, go.as_bytes().to_vec(), modules.to_vec()].concat()
}

fn find(address: u64, bytes: Vec<u8>) -> Result<Option<BuildInfo>, BuildInfoError> {
    BuildInfo::find(&Segment { address, bytes })
}

fn want() -> BuildInfo {
    let module = |path: &str, version: &str, sum: &str, replace: Option<Module>| Module {
        path: path.into(),
        version: version.into(),
        sum: sum.into(),
        replace: replace.map(Box::new),
    };
    let new = module("d.example/new", "v0.2.0", "h1:def=", None);
    BuildInfo {
        go: "go1.26.1".into(),
        path: "a.example/tool/cmd".into(),
        main: Some(module("a.example/tool", "(devel)", "", None)),
        modules: vec![
            module("b.example/lib", "v1.2.3", "h1:abc=", None),
            module("c.example/old", "v0.1.0", "", Some(new)),
        ],
        settings: vec!["-compiler=gc".into(), "\"odd key\"=\"a value\"".into()],
    }
}

#[test]
fn both_forms_of_the_record_say_the_same() {
    let modules = framed(MODULES);
    let before = [1; 48];
    let found = find(0x1000, [&before[..], &inline_record(b"go1.26.1", &modules)].concat());
    assert_eq!(found, Ok(Some(want())));
    for (width, big) in [(4, false), (4, true), (8, false), (8, true)] {
        let record = pointed_record(0x1030, width, big, "go1.26.1", &modules);
        assert_eq!(find(0x1000, [&before[..], &record].concat()), Ok(Some(want())));
    }
}

#[test]
fn a_record_is_found_at_multiples_of_sixteen_alone() {
    let record = inline_record(b"go1.26.1", &framed(MODULES));
    assert_eq!(find(0x1008, [&[0; 8], &record[..]].concat()), Ok(Some(want())));
    assert_eq!(find(0x1000, [&[0; 8], &record[..]].concat()), Ok(None));
    assert_eq!(find(0x1000, record[..31].to_vec()), Ok(None));
    assert_eq!(find(0x1000, b"no program of Go has this".repeat(20)), Ok(None));
}

#[test]
fn a_program_made_without_modules_tells_its_toolchain() {
    let info = find(0, inline_record(b"go1.20", b"")).unwrap().unwrap();
    assert_eq!(info, BuildInfo { go: "go1.20".into(), ..BuildInfo::default() });
    assert_eq!(info.to_string(), "go1.20\n");
    assert_eq!(find(0, inline_record(b"", &framed(MODULES))), Ok(None));
}

#[test]
fn what_is_cut_short_or_not_as_go_writes_it_is_refused() {
    let record = inline_record(b"go1.26.1", &framed(MODULES));
    for end in [33, 40, record.len() - 1] {
        assert_eq!(find(0, record[..end].to_vec()), Err(BuildInfoError::Text), "{end}");
    }
    assert_eq!(find(0, inline_record(b"go\xff", b"")), Err(BuildInfoError::Text));
    for (text, line) in [
        ("path\ta\nmod\ta\n", 2),
        ("dep\ta\tv1\th1:x\ty\n", 1),
        ("path\ta\n=>\ta\tv1\th1:x\n", 2),
        ("dep\ta\tv1\n=>\tb\tv1\t\n=>\tc\tv1\t\n", 3),
        ("build\t=x\n", 1),
        ("build\tx\n", 1),
    ] {
        assert_eq!(BuildInfo::parse(text), Err(BuildInfoError::Line(line)), "{text:?}");
    }
}

#[test]
fn the_text_is_that_of_go_version() {
    let shown = want().to_string();
    assert!(shown.starts_with("go1.26.1\n\tpath\ta.example/tool/cmd\n"), "{shown}");
    assert!(
        shown.contains("\tdep\tc.example/old\tv0.1.0\n\t=>\td.example/new\tv0.2.0\th1:def=\n"),
        "{shown}"
    );
    assert_eq!(want().setting("-compiler"), Some("gc"));
    assert_eq!(want().setting("-comp"), None);
    assert_eq!(want().modules[1].effective().path, "d.example/new");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in any::<Vec<u8>>(),
        address in any::<u64>(),
        flags in any::<u8>(),
        size in any::<u8>(),
    ) {
        let _ = find(address, bytes.clone());
        let _ = find(address & !15, [header(size, flags), bytes].concat());
    }

    #[test]
    fn any_text_is_read_or_refused_and_what_is_read_can_be_told(text in "[a-z=>\t\n ]{0,60}") {
        for word in ["", "mod\t", "dep\t", "=>\t", "build\t"] {
            if let Ok(info) = BuildInfo::parse(&format!("{word}{text}\n")) {
                let _ = info.to_string();
            }
        }
    }
}
