//! Certificates as text: PEM (RFC 7468) around base64 (RFC 4648) around DER.

use std::fmt;
use std::str::FromStr;

/// One or more certificates in PEM. That each block holds a DER sequence of the right length is
/// certain; that it is a certificate which can be trusted is found by whoever uses it.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificates {
    // Invariant: at least one block, nothing between the blocks, a line feed at the end.
    pem: String,
    ders: Vec<Vec<u8>>,
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

impl Certificates {
    /// The certificates as PEM, ending in a line feed.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Each certificate as DER.
    pub fn ders(&self) -> impl Iterator<Item = &[u8]> {
        self.ders.iter().map(Vec::as_slice)
    }
}

impl FromStr for Certificates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("PRIVATE KEY-----") {
            return Err("there is a private key among the certificates: it must not stand here, \
                        and should now be thought of as known"
                .to_owned());
        }
        let (mut pem, mut ders) = (String::new(), Vec::new());
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        while let Some(line) = lines.next() {
            // RFC 7468 section 2 lets explanatory text stand before a block.
            if line.starts_with("-----") && line != BEGIN {
                return Err(format!("`{line}` is not the beginning of a certificate"));
            }
            if line != BEGIN {
                continue;
            }
            let number = ders.len() + 1;
            let mut body = String::new();
            loop {
                match lines.next() {
                    Some(END) => break,
                    Some(line) if !line.starts_with("-----") => body.push_str(line),
                    _ => return Err(format!("certificate {number} does not end with `{END}`")),
                }
            }
            let der = base64(body.as_bytes()).filter(|der| is_sequence(der));
            ders.push(der.ok_or_else(|| {
                format!("certificate {number} is damaged: between its markers is no base64 of one")
            })?);
            pem.push_str(BEGIN);
            pem.push('\n');
            for line in body.as_bytes().chunks(64) {
                pem.push_str(&String::from_utf8_lossy(line));
                pem.push('\n');
            }
            pem.push_str(END);
            pem.push('\n');
        }
        if ders.is_empty() {
            return Err(format!(
                "there is no certificate in PEM here, which begins with `{BEGIN}`"
            ));
        }
        Ok(Self { pem, ders })
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({})", self.ders.len())
    }
}

/// A DER sequence that is as long as it says (X.690 section 8.1.3), with something in it.
fn is_sequence(der: &[u8]) -> bool {
    let (length, rest) = match der {
        [0x30, short @ 0..=0x7f, rest @ ..] => (usize::from(*short), rest),
        [0x30, 0x81, a, rest @ ..] => (usize::from(*a), rest),
        [0x30, 0x82, a, b, rest @ ..] => (usize::from(u16::from_be_bytes([*a, *b])), rest),
        _ => return false,
    };
    length > 0 && length == rest.len()
}

/// Decodes base64 with its padding; nothing if it is not.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let data = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Vec::with_capacity(data.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in data {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sequence of one integer: the least that has the form.
    const SMALL: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, want) in [
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYmFy", Some("foobar")),
            ("", None),
            ("Zm9", None),
            ("Zm=v", None),
            ("====", None),
            ("Zm9!", None),
        ] {
            let decoded = base64(text.as_bytes());
            assert_eq!(decoded.as_deref(), want.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn certificates_are_found_among_comments_and_written_plainly() {
        let one: Certificates = SMALL.parse().unwrap();
        assert_eq!(
            (one.pem(), one.ders().collect::<Vec<_>>()),
            (SMALL, vec![&[48, 3, 2, 1, 1][..]])
        );
        let text = format!("# the CA\r\n  {}\n\n{SMALL}", SMALL.replace('\n', "\r\n  "));
        let two: Certificates = text.parse().unwrap();
        assert_eq!(two.pem(), SMALL.repeat(2));
        assert_eq!(two.pem().parse::<Certificates>().unwrap(), two);
    }

    #[test]
    fn what_is_no_certificate_says_why() {
        let key = "-----BEGIN EC PRIVATE KEY-----\nMAMCAQE=\n-----END EC PRIVATE KEY-----\n";
        for (text, want) in [
            (String::new(), "there is no certificate in PEM here"),
            ("MAMCAQE=".to_owned(), "there is no certificate in PEM here"),
            (format!("{SMALL}{key}"), "there is a private key"),
            (SMALL.replace("CERTIFICATE", "PUBLIC KEY"), "is not the beginning of a certificate"),
            (SMALL.replace("-----END CERTIFICATE-----", ""), "certificate 1 does not end"),
            (format!("{SMALL}{BEGIN}\n{SMALL}"), "certificate 2 does not end"),
            (SMALL.replace("MAMCAQE=", "MAMC!QE="), "certificate 1 is damaged"),
            (SMALL.replace("MAMCAQE=", "MAQCAQE="), "certificate 1 is damaged"),
            (SMALL.replace("MAMCAQE=", "MAA="), "certificate 1 is damaged"),
            (SMALL.replace("MAMCAQE=\n", ""), "certificate 1 is damaged"),
        ] {
            let error = text.parse::<Certificates>().unwrap_err();
            assert!(error.starts_with(want) || error.contains(want), "{error}");
        }
    }
}
