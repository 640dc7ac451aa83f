//! Public keys in PEM: SubjectPublicKeyInfo (RFC 5280 section 4.1) in DER, of the two kinds that TUF
//! has in this form: RSA (RFC 8017 appendix A.1.1) and P-256 (RFC 5480).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// The algorithm of RSA keys: its object identifier 1.2.840.113549.1.1.1 and no parameters.
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// The algorithm of keys on the curve P-256: 1.2.840.10045.2.1 with 1.2.840.10045.3.1.7.
const P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// A key without its wrapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spki {
    /// RSAPublicKey in DER.
    Rsa(Vec<u8>),
    /// A point of P-256, uncompressed.
    P256(Vec<u8>),
}

impl Spki {
    /// Unwraps a key of one of the two kinds.
    pub(super) fn parse(pem: &str) -> Option<Self> {
        let body = pem.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
        let body: String =
            body.chars().filter(|character| !character.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(body).ok()?;
        let (info, rest) = take(SEQUENCE, &der)?;
        let (algorithm, info) = take(SEQUENCE, info)?;
        let (bits, end) = take(BIT_STRING, info)?;
        let (unused, key) = bits.split_first()?;
        if !rest.is_empty() || !end.is_empty() || *unused != 0 {
            return None;
        }
        match algorithm {
            RSA => Some(Self::Rsa(key.to_vec())),
            P256 => Some(Self::P256(key.to_vec())),
            _ => None,
        }
    }

    /// The key in PEM.
    pub(super) fn to_pem(&self) -> String {
        let (algorithm, key) = match self {
            Self::Rsa(key) => (RSA, key),
            Self::P256(key) => (P256, key),
        };
        let bits = [&[0], key.as_slice()].concat();
        let info = [wrap(SEQUENCE, algorithm), wrap(BIT_STRING, &bits)].concat();
        let mut pem = format!("{BEGIN}\n");
        for line in STANDARD.encode(wrap(SEQUENCE, &info)).as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem + END + "\n"
    }
}

/// The content of a value with this tag, and what comes after it. DER (X.690) has one way to write a
/// length: the shortest.
fn take(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 | 0x82 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            (Some(length).filter(|length| length_bytes(*length).len() == digits.len() + 1)?, rest)
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length))?
}

fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag], length_bytes(content.len()).as_slice(), content].concat()
}

fn length_bytes(length: usize) -> Vec<u8> {
    let bytes = length.to_be_bytes();
    match length {
        0..=0x7f => bytes[7..].to_vec(),
        0x80..0x100 => [&[0x81], &bytes[7..]].concat(),
        _ => [&[0x82], &bytes[6..]].concat(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_key_of_the_two_kinds_is_refused() {
        let point = Spki::P256(vec![4; 65]);
        let pem = point.to_pem();
        assert_eq!(Spki::parse(&pem), Some(point.clone()));
        assert_eq!(Spki::parse(&pem.replace('\n', "\r\n")), Some(point));
        let der = |change: &dyn Fn(&mut Vec<u8>)| {
            let body = pem.trim().strip_prefix(BEGIN).unwrap().strip_suffix(END).unwrap();
            let mut der = STANDARD.decode(body.replace('\n', "")).unwrap();
            change(&mut der);
            format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der))
        };
        assert!(Spki::parse(&der(&|_| ())).is_some());
        for pem in [
            String::new(),
            pem.replace("PUBLIC", "PRIVATE"),
            pem.replace("END", "BEGIN"),
            pem.replacen('M', "*", 1),
            der(&|der| der.truncate(20)),
            der(&|der| der.push(0)),
            der(&|der| der[8] ^= 1),
            der(&|der| der[25] = 1),
            // The same length in a longer form.
            der(&|der| {
                der.insert(1, 0x81);
            }),
        ] {
            assert_eq!(Spki::parse(&pem), None, "{pem}");
        }
    }

    proptest! {
        #[test]
        fn a_key_comes_back_from_its_text(key in prop::collection::vec(any::<u8>(), 0..1200)) {
            for key in [Spki::Rsa(key.clone()), Spki::P256(key)] {
                prop_assert_eq!(Spki::parse(&key.to_pem()), Some(key));
            }
        }
    }
}
