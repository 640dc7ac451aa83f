//! Signatures of release files: what is believed, and every way of not being so.

use std::process::Stdio;

use proptest::prelude::*;

use super::*;
use crate::process::Command;
use crate::source::deb::testing::{NOW, Signer};

const TEXT: &str = "Origin: Test\n- dashed  \nDate: today\n\n";

fn keys(pins: &[String], keyring: &[u8]) -> Keys {
    Keys::find(&pins.iter().cloned().collect(), &[keyring.to_vec()])
}

fn id_of(result: Result<Signed>) -> Id {
    result.unwrap_err().id()
}

/// What `gpgv` says of it: the words of its status that carry a verdict, in order.
fn gpgv(keyring: &[u8], file: &[u8]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let (ring, signed) = (directory.path().join("ring.gpg"), directory.path().join("signed"));
    fs::write(&ring, keyring).unwrap();
    fs::write(&signed, file).unwrap();
    let child = Command::new("gpgv")
        .env("GNUPGHOME", directory.path())
        .args(["--status-fd", "1", "--keyring"])
        .args([&ring, &signed])
        .spawn(|command| {
            command.stdout(Stdio::piped()).stderr(Stdio::null());
        });
    let output = child.expect("package `gpgv` is needed").wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = ["GOODSIG", "BADSIG", "EXPKEYSIG", "REVKEYSIG", "ERRSIG", "NODATA"];
    let line = |line: &str| line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut verdicts: Vec<_> =
        text.lines().map(line).filter(|word| words.contains(&word.as_str())).collect();
    verdicts.dedup();
    verdicts
}

#[test]
fn a_good_signature_gives_the_text_that_was_signed() {
    let signer = Signer::new(1);
    let keys = keys(&[signer.fingerprint()], &signer.keyring());
    let signed = verify(signer.sign(TEXT).as_bytes(), "x", &keys, NOW).unwrap();
    // Blanks at the end of a line are not covered, so they are not believed either.
    assert_eq!(signed.text, "Origin: Test\n- dashed\nDate: today\n\n");
    assert_eq!(signed.signed_by, signer.fingerprint());
}

#[test]
fn our_verdict_is_that_of_gpgv() {
    let (signer, other) = (Signer::new(1), Signer::new(2));
    let good = signer.sign(TEXT);
    let altered = good.replace("today", "never");
    let expired = Signer::new(1).expiring_after(3600);
    let revoked = Signer::new(1).revoked();
    for (name, ring, file, ours, theirs) in [
        ("good", signer.keyring(), good.clone(), None, "GOODSIG"),
        ("altered", signer.keyring(), altered, Some(Id::BadSignature), "BADSIG"),
        ("other key", other.keyring(), good.clone(), Some(Id::MissingKey), "ERRSIG"),
        ("plain", signer.keyring(), TEXT.to_owned(), Some(Id::ReleaseUnsigned), "NODATA"),
        ("expired", expired.keyring(), good.clone(), Some(Id::ExpiredKey), "EXPKEYSIG"),
        ("revoked", revoked.keyring(), good.clone(), Some(Id::ExpiredKey), "REVKEYSIG"),
    ] {
        assert_eq!(gpgv(&ring, file.as_bytes()), [theirs], "{name}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ring.gpg");
        fs::write(&path, &ring).unwrap();
        let pins = BTreeSet::from([signer.fingerprint()]);
        let verdict = Keys::load(&pins, Some(&path), Path::new("/"))
            .and_then(|keys| verify(file.as_bytes(), "x", &keys, NOW));
        assert_eq!(verdict.err().map(|error| error.id()), ours, "{name}");
    }
}

#[test]
fn gpgv_accepts_a_signature_by_a_subkey_as_we_do() {
    let signer = Signer::new(1).with_subkey(3);
    let file = signer.sign(TEXT);
    assert_eq!(gpgv(&signer.keyring(), file.as_bytes()), ["GOODSIG"]);
    for pin in [signer.fingerprint(), signer.subkey_fingerprint()] {
        let keys = keys(std::slice::from_ref(&pin), &signer.keyring());
        assert_eq!(verify(file.as_bytes(), "x", &keys, NOW).unwrap().signed_by, pin);
    }
}

#[test]
fn a_subkey_that_did_not_agree_is_not_believed() {
    let signer = Signer::new(1).with_subkey(3).without_agreement();
    let keys = keys(&[signer.fingerprint()], &signer.keyring());
    assert_eq!(id_of(verify(signer.sign(TEXT).as_bytes(), "x", &keys, NOW)), Id::BadSignature);
}

#[test]
fn a_pinned_subkey_does_not_vouch_for_its_primary_key() {
    let signer = Signer::new(1).with_subkey(3);
    let keys = keys(&[signer.subkey_fingerprint()], &signer.keyring());
    let by_primary = Signer::new(1).sign(TEXT);
    assert_eq!(id_of(verify(by_primary.as_bytes(), "x", &keys, NOW)), Id::WrongKey);
}

#[test]
fn one_good_signature_among_several_is_enough() {
    let (first, second) = (Signer::new(1), Signer::new(2));
    let file = Signer::sign_together(&[&first, &second], TEXT);
    for signer in [&first, &second] {
        let keys = keys(&[signer.fingerprint()], &signer.keyring());
        let signed = verify(file.as_bytes(), "x", &keys, NOW).unwrap();
        assert_eq!(signed.signed_by, signer.fingerprint());
    }
}

#[test]
fn a_key_that_is_not_pinned_is_not_believed_though_it_is_in_the_keyring() {
    let (pinned, other) = (Signer::new(1), Signer::new(2));
    let ring = [pinned.keyring(), other.keyring()].concat();
    let keys = keys(&[pinned.fingerprint(), "AB".repeat(20)], &ring);
    let error = verify(other.sign(TEXT).as_bytes(), "`x`", &keys, NOW).unwrap_err();
    assert_eq!(error.id(), Id::WrongKey);
    let message =
        format!("`x` is signed by {}, which the recipe does not pin", other.fingerprint());
    assert_eq!(error.to_string(), message);
    assert!(error.hints()[0].ends_with(&"AB".repeat(20)));
}

#[test]
fn a_signature_from_the_future_is_not_believed() {
    let signer = Signer::new(1);
    let keys = keys(&[signer.fingerprint()], &signer.keyring());
    let file = signer.sign(TEXT);
    let made = u64::from(Signer::SIGNED);
    assert!(verify(file.as_bytes(), "x", &keys, made - CLOCK_SKEW).is_ok());
    let verdict = verify(file.as_bytes(), "x", &keys, made - CLOCK_SKEW - 1);
    assert_eq!(id_of(verdict), Id::ExpiredKey);
}

#[test]
fn keyrings_may_be_armored_and_hold_several_keys_and_pins_may_have_blanks() {
    let (first, second) = (Signer::new(1), Signer::new(2));
    let ring = format!("a comment\n{}\n{}", first.armored_keyring(), second.armored_keyring());
    let blanks: String =
        second.fingerprint().to_lowercase().chars().flat_map(|c| [c, ' ']).collect();
    let keys = keys(&[blanks], ring.as_bytes());
    assert!(verify(second.sign(TEXT).as_bytes(), "x", &keys, NOW).is_ok());
}

#[test]
fn the_hosts_debian_keyrings_are_searched_and_no_others() {
    let root = tempfile::tempdir().unwrap();
    let signers = [1, 2, 3, 4].map(Signer::new);
    for (signer, file) in signers.iter().zip([
        "usr/share/keyrings/debian-archive-keyring.pgp",
        "etc/apt/trusted.gpg.d/mine.asc",
        "usr/share/keyrings/debian-archive-removed-keys.gpg",
        "usr/share/keyrings/other.gpg",
    ]) {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let armored = file.ends_with(".asc");
        let ring = if armored { signer.armored_keyring().into_bytes() } else { signer.keyring() };
        fs::write(path, ring).unwrap();
    }
    let pins = signers.iter().map(Signer::fingerprint).collect();
    let keys = Keys::load(&pins, None, root.path()).unwrap();
    assert_eq!(keys.certificates.len(), 2);
    let mut missing = vec![signers[2].fingerprint(), signers[3].fingerprint()];
    missing.sort();
    assert_eq!(keys.missing, missing);
    let error = Keys::load(&pins, None, &root.path().join("nothing")).unwrap_err();
    assert_eq!(error.id(), Id::MissingKey);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_file_with_any_other_byte_is_refused(at in 0usize..600, byte in any::<u8>()) {
        let signer = Signer::new(1);
        let good = signer.sign(TEXT).into_bytes();
        let mut file = good.clone();
        let at = at % file.len();
        file[at] = byte;
        let keys = keys(&[signer.fingerprint()], &signer.keyring());
        // Blanks at line ends, armor headers and the padding of the armor are not signed:
        // whatever passes must still give the signed text.
        if let Ok(signed) = verify(&file, "x", &keys, NOW) {
            prop_assert_eq!(signed, verify(&good, "x", &keys, NOW).unwrap());
        }
    }

    #[test]
    fn any_keyring_is_read_or_passed_over(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        parse_keyring(&bytes);
        let mut armored = ARMOR.as_bytes().to_vec();
        armored.extend(&bytes);
        parse_keyring(&armored);
    }
}
