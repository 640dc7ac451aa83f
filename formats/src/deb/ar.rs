//! The `ar` archive that a `.deb` is: a magic, then members, each behind a header of 60 bytes and
//! padded to an even length. Format: deb(5) and `<ar.h>`. Long names and symbol tables, which
//! other users of `ar` know, do not occur in a `.deb`.

/// How the archive begins.
pub const MAGIC: &[u8; 8] = b"!<arch>\n";

/// Length of a member's header in bytes.
pub const HEADER_LEN: usize = 60;

/// What a header says of the member that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Such as `data.tar.xz`.
    pub name: String,
    /// Bytes, without the padding.
    pub size: u64,
}

impl Member {
    /// Bytes from the end of this header to the next header.
    pub const fn padded_size(&self) -> u64 {
        self.size + self.size % 2
    }
}

/// The bytes are not the header of a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArError {
    /// The last two bytes are not a back-quote and a line feed.
    #[error("a member's header does not end as it must: the archive is damaged")]
    NoHeader,
    /// The name is empty, longer than the field, or not plain text.
    #[error("a member's name is not plain text")]
    BadName,
    /// The size is not a decimal number.
    #[error("the size of member `{0}` is not a number")]
    BadSize(String),
}

/// Reads one header.
///
/// # Errors
/// See [`ArError`].
pub fn parse_header(header: &[u8; HEADER_LEN]) -> Result<Member, ArError> {
    let (name, rest) = header.split_at(16);
    let (size, end) = rest[32..].split_at(10);
    if end != b"`\n" {
        return Err(ArError::NoHeader);
    }
    let name = std::str::from_utf8(name).map_err(|_| ArError::BadName)?.trim_end_matches(' ');
    // dpkg writes the bare name, GNU ar ends it with a slash; deb(5) lets both stand.
    let name = name.strip_suffix('/').unwrap_or(name);
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ArError::BadName);
    }
    let size = std::str::from_utf8(size).ok().map(|size| size.trim_end_matches(' '));
    let size = size
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| ArError::BadSize(name.to_owned()))?;
    Ok(Member { name: name.to_owned(), size })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(name: &str, size: &str) -> [u8; HEADER_LEN] {
        let text = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644);
        text.into_bytes().try_into().unwrap()
    }

    #[test]
    fn a_header_names_its_member_and_its_size() {
        for (name, size, member, padded) in [
            ("debian-binary", "4", Member { name: "debian-binary".into(), size: 4 }, 4),
            ("data.tar.xz/", "4097", Member { name: "data.tar.xz".into(), size: 4097 }, 4098),
        ] {
            assert_eq!(parse_header(&header(name, size)), Ok(member.clone()));
            assert_eq!(member.padded_size(), padded);
        }
    }

    #[test]
    fn what_is_not_a_header_is_refused() {
        let size = |text: &str| parse_header(&header("a", text));
        for text in ["", "x", "-1", "+1", "1 1"] {
            assert_eq!(size(text), Err(ArError::BadSize("a".into())), "{text:?}");
        }
        assert_eq!(parse_header(&header("", "1")), Err(ArError::BadName));
        assert_eq!(parse_header(&header("a b", "1")), Err(ArError::BadName));
        assert_eq!(parse_header(&[b' '; HEADER_LEN]), Err(ArError::NoHeader));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::array::uniform32(any::<u8>())) {
            let mut header = header("debian-binary", "4");
            header[..32].copy_from_slice(&bytes);
            drop(parse_header(&header));
            header[28..].copy_from_slice(&bytes);
            drop(parse_header(&header));
        }
    }
}
