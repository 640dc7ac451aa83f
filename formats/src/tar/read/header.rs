//! One header block: its checksum, its fields, its numbers.

use super::BLOCK;
use super::sparse::Piece;

/// What a header stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The name of the next member follows.
    LongName,
    /// The target of the next member follows.
    LongLink,
    /// Records for the next member follow.
    Pax,
    /// Records for all further members follow.
    PaxGlobal,
    /// A name of the archive.
    Label,
    /// A member with this type.
    Member(u8),
}

/// A header whose checksum is right.
#[derive(Debug)]
pub(super) struct Header {
    block: [u8; BLOCK],
    pub(super) kind: Kind,
}

type Parsed<T> = Result<T, &'static str>;

impl Header {
    pub(super) fn parse(block: [u8; BLOCK]) -> Parsed<Self> {
        let sum = number(&block[148..156])?;
        // The field counts as blanks. Old programs added signed bytes up.
        let counted = || block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]);
        let unsigned: u64 = counted().map(|byte| u64::from(*byte)).sum();
        let signed: i64 = counted().map(|byte| i64::from(byte.cast_signed())).sum();
        if sum != unsigned && i64::try_from(sum) != Ok(signed) {
            return Err("the checksum of a header is wrong");
        }
        let kind = match block[156] {
            b'L' => Kind::LongName,
            b'K' => Kind::LongLink,
            // `X` is what Solaris called it first.
            b'x' | b'X' => Kind::Pax,
            b'g' => Kind::PaxGlobal,
            b'V' => Kind::Label,
            flag => Kind::Member(flag),
        };
        Ok(Self { block, kind })
    }

    /// The name, with the prefix that POSIX has in a place that GNU uses for something else.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = text(&self.block[345..500]);
        if self.block[257..263] == *b"ustar\0" && !prefix.is_empty() {
            return [prefix, b"/", name].concat();
        }
        name.to_vec()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    pub(super) fn size(&self) -> Parsed<u64> {
        number(&self.block[124..136])
    }

    pub(super) fn mode(&self) -> Parsed<u32> {
        let mode = number(&self.block[100..108])? & 0o7777;
        u32::try_from(mode).map_err(|_| "a mode is too large")
    }

    pub(super) fn uid(&self) -> Parsed<u64> {
        number(&self.block[108..116])
    }

    pub(super) fn gid(&self) -> Parsed<u64> {
        number(&self.block[116..124])
    }

    /// The pieces in the header of a sparse file of GNU, and whether more follow.
    pub(super) fn sparse_pieces(&self) -> Parsed<(Vec<Piece>, bool)> {
        pieces(&self.block[386..482]).map(|pieces| (pieces, self.block[482] != 0))
    }

    /// The size of a sparse file of GNU with its holes.
    pub(super) fn sparse_size(&self) -> Parsed<u64> {
        number(&self.block[483..495])
    }
}

/// The pieces in a block behind the header of a sparse file, and whether more follow.
pub(super) fn more_sparse_pieces(block: &[u8; BLOCK]) -> Parsed<(Vec<Piece>, bool)> {
    pieces(&block[..504]).map(|pieces| (pieces, block[504] != 0))
}

/// Offsets and lengths in pairs of twelve bytes each, up to an empty one.
fn pieces(fields: &[u8]) -> Parsed<Vec<Piece>> {
    let used = fields.chunks_exact(24).take_while(|pair| pair[12] != 0);
    used.map(|pair| Ok(Piece { offset: number(&pair[..12])?, length: number(&pair[12..])? }))
        .collect()
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// A number of a header: octal digits between blanks and NULs, or big-endian bytes after one of
/// 0x80. A field without digits is zero.
fn number(field: &[u8]) -> Parsed<u64> {
    const NONE: &str = "a number of a header is none";
    match field[0] {
        0x80 => {
            let zeros = field.len().saturating_sub(8).max(1);
            if field[1..zeros].iter().any(|byte| *byte != 0) {
                return Err("a number of a header is too large");
            }
            Ok(field[zeros..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
        }
        byte if byte > 0x80 => Err("a number of a header is negative or too large"),
        _ => {
            let digits = field.trim_ascii_start();
            let end = digits.iter().position(|byte| matches!(byte, 0 | b' '));
            let (digits, rest) = digits.split_at(end.unwrap_or(digits.len()));
            if !rest.iter().all(|byte| matches!(byte, 0 | b' ')) {
                return Err(NONE);
            }
            digits.iter().try_fold(0_u64, |number, digit| match digit {
                b'0'..=b'7' => number
                    .checked_mul(8)
                    .and_then(|number| number.checked_add(u64::from(digit - b'0')))
                    .ok_or(NONE),
                _ => Err(NONE),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_every_form_that_is_in_use() {
        for (field, want) in [
            (&b"0000644\0"[..], Ok(0o644)),
            (b"   644 \0", Ok(0o644)),
            (b"77777777", Ok(0o77_777_777)),
            (b"\0\0\0\0\0\0\0\0", Ok(0)),
            (b"        ", Ok(0)),
            (b"\x80\0\0\0\0\0\x01\0", Ok(256)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\x02", Ok(258)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", Ok(u64::MAX)),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", Err(())),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Err(())),
            (b"0000649\0", Err(())),
            (b"64\0x0000", Err(())),
            (b"-0000001", Err(())),
        ] {
            assert_eq!(number(field).map_err(drop), want, "{}", field.escape_ascii());
        }
    }
}
