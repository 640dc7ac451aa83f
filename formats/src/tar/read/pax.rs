//! The records of pax: `LENGTH KEY=VALUE`, each ended by a line feed. A value may hold anything.

/// Records in their order: for sparse files of version 0.0 a key comes again and again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Records(Vec<(String, Vec<u8>)>);

impl Records {
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, &'static str> {
        const WRONG: &str = "a record of pax is wrong";
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let blank = bytes.iter().position(|byte| *byte == b' ').ok_or(WRONG)?;
            let length = std::str::from_utf8(&bytes[..blank]).map_err(|_| WRONG)?;
            if !length.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(WRONG);
            }
            let length: usize = length.parse().map_err(|_| WRONG)?;
            let record = bytes.get(blank + 1..length).ok_or(WRONG)?;
            let (b'\n', record) = record.split_last().ok_or(WRONG)? else { return Err(WRONG) };
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(WRONG)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let key = std::str::from_utf8(key).map_err(|_| "a key of pax is not UTF-8")?;
            // What reads names up to a NUL and what does not would see two archives.
            let is_name = ["path", "linkpath", "GNU.sparse.name"].contains(&key);
            if is_name && value.contains(&0) {
                return Err("a name of pax has a NUL");
            }
            records.push((key.to_owned(), value.to_vec()));
            bytes = &bytes[length..];
        }
        Ok(Self(records))
    }

    /// The value that counts: the last one. An empty value takes back what was said before.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.values(key).last().filter(|value| !value.is_empty())
    }

    pub(super) fn values(&self, key: &str) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_slice())
    }

    /// The value that counts as a number.
    pub(super) fn number(&self, key: &str) -> Option<Result<u64, &'static str>> {
        self.get(key).map(decimal)
    }

    /// What follows `prefix` in keys, with the values.
    pub(super) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (&str, &[u8])> {
        let cut = move |key: &'_ str| key.strip_prefix(prefix).map(str::len);
        self.0.iter().filter_map(move |(key, value)| {
            let length = cut(key)?;
            Some((&key[key.len() - length..], value.as_slice()))
        })
    }

    /// Whether they describe a sparse file.
    pub(super) fn is_sparse(&self) -> bool {
        self.0.iter().any(|(key, _)| key.starts_with("GNU.sparse."))
    }

    /// These records, and `others` where both say something.
    pub(super) fn overlaid(&self, others: &Self) -> Self {
        Self([self.0.as_slice(), others.0.as_slice()].concat())
    }
}

/// A whole number of decimal digits. Some programs write times and sizes with a fraction, which
/// no size can have.
pub(super) fn decimal(text: &[u8]) -> Result<u64, &'static str> {
    let text = std::str::from_utf8(text).ok();
    let text = text.filter(|text| text.bytes().all(|digit| digit.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or("a number of pax is none or too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_long_as_it_says() {
        let records = Records::parse(b"11 path=ab\n13 a=x\n12 b=\n7 c=d=\n").unwrap();
        assert_eq!(records.get("path"), Some(&b"ab"[..]));
        assert_eq!(records.get("a"), Some(&b"x\n12 b="[..]));
        assert_eq!(records.get("c"), Some(&b"d="[..]));
        assert_eq!(records.get("b"), None);
        for wrong in [
            &b"11 path=ab"[..],
            b"12 path=ab\n",
            b"10 path=ab\n",
            b"0 \n",
            b"x path=ab\n",
            b"8 pathab\n",
            b"+11 path=ab\n",
            b"11 path=a\0\n",
            b"99999999999999999999 a=b\n",
        ] {
            Records::parse(wrong).unwrap_err();
        }
    }

    #[test]
    fn what_is_said_later_counts_and_nothing_takes_back() {
        let globals = Records::parse(b"8 path=\n9 path=a\n8 uid=1\n").unwrap();
        let own = Records::parse(b"8 path=\n8 uid=2\n").unwrap();
        let both = globals.overlaid(&own);
        assert_eq!((globals.get("path"), both.get("path")), (Some(&b"a"[..]), None));
        assert_eq!(both.number("uid"), Some(Ok(2)));
    }
}
