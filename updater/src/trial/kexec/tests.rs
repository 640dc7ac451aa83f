//! What is loaded of a UKI, and what refusals mean.

use std::fs;

use formats::uki::{Section, add_sections};
use proptest::prelude::*;

use super::*;

/// The least that is an EFI program: headers with room, and no section.
fn stub() -> Vec<u8> {
    let mut stub = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| stub[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664_u16.to_le_bytes());
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

fn uki(command_line: &str) -> Vec<u8> {
    let sections =
        [(".cmdline", command_line.as_bytes()), (".linux", b"MZ kernel"), (".initrd", b"cpio")];
    let sections = sections.map(|(name, data)| Section { name, data });
    add_sections(&stub(), &sections).expect("a UKI")
}

const OWN: &str = "console=ttyS0 ro orlop.roothash=aa";

fn line(staged: &str, slot: Slot, own: &str, running: &str) -> Result<String, KexecError> {
    let uki = uki(staged);
    let plan = Plan::new(&uki, slot, own, running)?;
    assert_eq!((plan.kernel, plan.initrd), (&b"MZ kernel"[..], &b"cpio"[..]));
    Ok(plan.command_line.into_string().expect("text"))
}

#[test]
fn the_words_are_those_of_the_new_uki_of_the_machine_and_the_slot() {
    let staged = "console=ttyS0 ro orlop.roothash=bb\0";
    for (own, running, want) in [
        (OWN, OWN.to_owned(), "console=ttyS0 ro orlop.roothash=bb orlop.slot=b"),
        (OWN, format!("{OWN} \n"), "console=ttyS0 ro orlop.roothash=bb orlop.slot=b"),
        (
            OWN,
            format!("{OWN} orlop.config=http://a/b x=\"c  d\""),
            "console=ttyS0 ro orlop.roothash=bb orlop.config=http://a/b x=\"c  d\" orlop.slot=b",
        ),
        // This boot was started so too.
        (
            OWN,
            format!("{OWN} orlop.config=http://a/b orlop.slot=a"),
            "console=ttyS0 ro orlop.roothash=bb orlop.config=http://a/b orlop.slot=b",
        ),
    ] {
        assert_eq!(line(staged, Slot::B, own, &running).expect("a plan"), want, "{running}");
    }
    let with_slot = line("ro orlop.slot=a", Slot::A, "ro orlop.slot=b", "ro orlop.slot=b");
    assert_eq!(with_slot.expect("a plan"), "ro orlop.slot=a");
}

#[test]
fn what_cannot_be_started_so_is_told() {
    for running in ["", "other words", &format!("{OWN}b"), &format!("BOOT_IMAGE=x {OWN}")] {
        let error = line("ro", Slot::B, OWN, running).unwrap_err();
        assert!(matches!(error, KexecError::OtherWords), "{running}: {error}");
    }
    let long = "x".repeat(2040);
    assert!(matches!(line(&long, Slot::B, "", ""), Err(KexecError::TooLong(2053))));
    assert!(matches!(Plan::new(b"no UKI", Slot::B, "", ""), Err(KexecError::NoUki(_))));
    let without =
        add_sections(&stub(), &[Section { name: ".linux", data: b"x" }]).expect("a program");
    let error = Plan::new(&without, Slot::B, "", "").unwrap_err();
    assert_eq!(error.to_string(), "the UKI has no section `.initrd`");
}

#[test]
fn a_node_that_has_switched_it_off_is_not_asked() {
    let root = tempfile::tempdir().unwrap();
    for path in [DISABLED, LOADED] {
        let path = below(root.path(), path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "1\n").unwrap();
    }
    let uki = uki("ro");
    let plan = Plan::new(&uki, Slot::B, "ro", "ro").expect("a plan");
    assert!(matches!(plan.load(root.path()), Err(KexecError::Disabled)));
    assert!(is_loaded(root.path()));
    fs::write(below(root.path(), LOADED), "0\n").unwrap();
    assert!(!is_loaded(root.path()));
}

#[test]
fn a_refusal_for_the_signature_is_told_from_others() {
    for (errno, is_signature) in [
        (Errno::PERM, true),
        (Errno::KEYREJECTED, true),
        (Errno::NOKEY, true),
        (Errno::NODATA, true),
        (Errno::NOEXEC, false),
        (Errno::NOMEM, false),
        (Errno::NOSYS, false),
        (Errno::BUSY, false),
    ] {
        let error = told(errno.into());
        assert_eq!(matches!(error, KexecError::Signature(_)), is_signature, "{error}");
    }
}

proptest! {
    #[test]
    fn the_slot_stands_once_at_the_end_and_no_other_word_is_lost(
        built in "[a-z= ]{0,40}", added in "( (orlop[.]slot=[ab]|[a-z]{1,5})){0,4}",
    ) {
        let made = line(&built, Slot::B, "own", &format!("own{added}")).expect("a plan");
        let words: Vec<_> = made.split(' ').collect();
        prop_assert_eq!(words.last(), Some(&"orlop.slot=b"));
        prop_assert_eq!(words.iter().filter(|word| word.starts_with("orlop.slot=")).count(), 1);
        let given = [built.as_str(), &added].join(" ");
        let want: Vec<_> =
            given.split_whitespace().filter(|word| !word.starts_with("orlop.slot=")).collect();
        prop_assert_eq!(&words[..words.len() - 1], &want[..]);
    }
}
