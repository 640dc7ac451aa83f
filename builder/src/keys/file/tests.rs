//! Files of private keys; `openssl` is the judge.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::process::Command;

const SECRET: &str = "correct horse";

fn key() -> PrivateKey {
    PrivateKey::from_seed(Zeroizing::new([3; 32]))
}

/// To encrypt takes a good part of a second: once for all tests.
fn encrypted() -> &'static str {
    static PEM: LazyLock<Zeroizing<String>> = LazyLock::new(|| {
        let salt = Salt { salt: [1; 16], iv: [2; 16] };
        to_pem(&key(), Some((&SECRET.into(), &salt)))
    });
    &PEM
}

/// A directory in which `openssl` works.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        fs::write(bench.path("secret"), SECRET).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, line: &str) -> Vec<u8> {
        Command::new("openssl").args(line.split(' ')).directory(self.0.path()).run().unwrap()
    }

    fn read(&self, name: &str) -> KeyFile {
        KeyFile::parse(&fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }
}

fn open(file: KeyFile, secret: &str) -> Result<PrivateKey, KeyFileError> {
    match file {
        KeyFile::Plain(key) => Ok(key),
        KeyFile::Encrypted(encrypted) => encrypted.decrypt(&secret.into()),
    }
}

#[test]
fn openssl_decrypts_our_file_and_verifies_our_signatures() {
    let bench = Bench::new();
    let payload = b"what is signed";
    fs::write(bench.path("payload"), payload).unwrap();
    fs::write(bench.path("signature"), key().sign(payload).unwrap().0).unwrap();
    fs::write(bench.path("public.pem"), key().public().to_pem()).unwrap();
    for (name, pem) in [("plain.pem", &**to_pem(&key(), None)), ("encrypted.pem", encrypted())] {
        fs::write(bench.path(name), pem).unwrap();
        let public = bench.openssl(&format!("pkey -in {name} -passin file:secret -pubout"));
        assert_eq!(String::from_utf8(public).unwrap(), key().public().to_pem());
    }
    let verify = "pkeyutl -verify -rawin -pubin -inkey public.pem -sigfile signature -in payload";
    assert!(bench.openssl(verify).starts_with(b"Signature Verified Successfully"));
}

#[test]
fn what_openssl_writes_is_read() {
    let bench = Bench::new();
    bench.openssl("genpkey -algorithm ed25519 -out plain.pem");
    let public = bench.openssl("pkey -in plain.pem -pubout");
    let public = PublicKey::from_pem(&String::from_utf8(public).unwrap()).unwrap();
    assert_eq!(bench.read("plain.pem").public(), Some(&public));
    for how in ["-scrypt", "-v2prf hmacWithSHA256", "-iter 1000 -v2prf hmacWithSHA512"] {
        let how = format!("-topk8 -v2 aes-256-cbc {how} -passout file:secret");
        bench.openssl(&format!("pkcs8 -in plain.pem {how} -out encrypted.pem"));
        let file = bench.read("encrypted.pem");
        assert_eq!(file.public(), None);
        assert_eq!(open(file, SECRET).unwrap().public(), &public, "{how}");
    }
}

#[test]
fn only_the_passphrase_opens_a_file() {
    for (secret, opens) in [(SECRET, true), ("", false), ("correct horse ", false)] {
        let opened = open(KeyFile::parse(encrypted()).unwrap(), secret);
        match opened {
            Ok(opened) => assert!(opens && opened.public() == key().public()),
            Err(error) => assert!(!opens && error == KeyFileError::WrongPassphrase, "{error}"),
        }
    }
}

/// The DER of our file in PEM, with bytes of it replaced.
fn changed(from: &[u8], to: &[u8]) -> String {
    let (_, document) = SecretDocument::from_pem(encrypted()).unwrap();
    let mut der = document.as_bytes().to_vec();
    let at = der.windows(from.len()).position(|bytes| bytes == from).unwrap();
    der[at..at + from.len()].copy_from_slice(to);
    let document = SecretDocument::try_from(der).unwrap();
    document.to_pem(EncryptedPrivateKeyInfo::PEM_LABEL, LineEnding::LF).unwrap().to_string()
}

#[test]
fn a_file_that_asks_for_too_much_is_refused_before_any_passphrase() {
    // The salt, then N, r and p as INTEGERs.
    let scrypt =
        |n: [u8; 2], r: u8, p: u8| [&[1; 16][..], &[2, 2, n[0], n[1], 2, 1, r, 2, 1, p]].concat();
    let ours = scrypt([0x40, 0], 8, 5);
    let expensive = |what: &str| KeyFileError::Expensive(format!("scrypt with {what}"));
    for (parameters, want) in [
        (scrypt([0x40, 0], 127, 5), None),
        (scrypt([0x40, 0], 127, 127), Some(expensive("N = 16384, r = 127 and p = 127"))),
        (scrypt([0x40, 1], 8, 5), Some(KeyFileError::Damaged)),
        (scrypt([0x40, 0], 0, 5), Some(KeyFileError::Damaged)),
        (scrypt([0x40, 0], 8, 0), Some(KeyFileError::Damaged)),
    ] {
        assert_eq!(KeyFile::parse(&changed(&ours, &parameters)).err(), want);
    }
    let parameters = |cost_parameter: u64, parallelization: u16| pbes2::Parameters {
        kdf: Kdf::Scrypt(pbes2::ScryptParams {
            salt: &[1; 16],
            cost_parameter,
            block_size: 8,
            parallelization,
            key_length: None,
        }),
        encryption: pbes2::EncryptionScheme::Aes256Cbc { iv: &[2; 16] },
    };
    for (n, p, affordable_) in [(1 << 18, 1, true), (1 << 19, 1, false), (1 << 18, 9, false)] {
        assert_eq!(affordable(parameters(n, p)).is_ok(), affordable_, "{n} {p}");
    }
    for n in [0, 1, 3] {
        assert_eq!(affordable(parameters(n, 1)), Err(KeyFileError::Damaged));
    }
    assert!(affordable(parameters(1 << 63, u16::MAX)).is_err());
    let rounds = |rounds| pbes2::Parameters::pbkdf2_sha256_aes256cbc(rounds, &[1; 16], &[2; 16]);
    assert_eq!(affordable(rounds(0).unwrap()), Err(KeyFileError::Damaged));
    assert_eq!(affordable(rounds(MOST_ROUNDS).unwrap()), Ok(()));
    let want = KeyFileError::Expensive("10000001 rounds of PBKDF2".to_owned());
    assert_eq!(affordable(rounds(MOST_ROUNDS + 1).unwrap()), Err(want));
}

#[test]
fn what_is_not_a_private_key_is_told_apart() {
    let bench = Bench::new();
    bench.openssl("genpkey -algorithm x25519 -out x25519.pem");
    let x25519 = fs::read_to_string(bench.path("x25519.pem")).unwrap();
    let pem = to_pem(&key(), None);
    let other = |what: &str| KeyFileError::OtherContent(what.to_owned());
    for (text, want) in [
        ("", KeyFileError::NotPem),
        ("hello", KeyFileError::NotPem),
        (&pem[..pem.len() - 40], KeyFileError::NotPem),
        (&key().public().to_pem(), other("PUBLIC KEY")),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n", other("OPENSSH PRIVATE KEY")),
        ("-----BEGIN \u{1b}[31m-----\n", KeyFileError::NotPem),
        ("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", KeyFileError::Damaged),
        (&x25519, KeyFileError::OtherAlgorithm),
    ] {
        assert_eq!(KeyFile::parse(text).unwrap_err(), want, "{text}");
    }
}

#[test]
fn nothing_of_a_file_is_shown() {
    let file = KeyFile::parse(encrypted()).unwrap();
    assert_eq!(format!("{file:?}"), "Encrypted(Encrypted { .. })");
}

proptest! {
    #[test]
    fn no_damage_to_a_file_makes_the_parser_panic(at in 0usize..1000, byte: u8, plain: bool) {
        let pem = if plain { to_pem(&key(), None) } else { encrypted().to_owned().into() };
        let mut bytes = pem.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(file) = KeyFile::parse(&text)
        {
            prop_assert_eq!(file.public().is_some(), plain);
        }
    }
}
