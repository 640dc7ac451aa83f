//! Length and hashes by which one file names another, and how a file is held against them.

use std::collections::BTreeMap;

use sha2::Digest as _;

use super::error::Reason;
use super::fields::{Fields, integer, object};
use super::json::{Json, Object};
use super::key::hex;

/// Hashes by the names of their kinds. Of those `sha256` and `sha512` are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hashes(BTreeMap<String, String>);

impl Hashes {
    /// What we publish: SHA-256.
    pub fn of(bytes: &[u8]) -> Self {
        Self::sha256(crate::digest::Sha256::of(bytes))
    }

    /// The SHA-256 that somebody else has computed.
    pub fn sha256(digest: crate::digest::Sha256) -> Self {
        Self([("sha256".to_owned(), digest.to_string())].into())
    }

    /// The one that stands before a target's name in a consistent snapshot; any of them may. It is text
    /// of the repository: only hexadecimal digits are given.
    pub fn prefix(&self) -> Option<&str> {
        let known = ["sha256", "sha512"].into_iter().find_map(|kind| self.0.get(kind));
        known.map(String::as_str)
    }

    fn read(members: Object, path: &str) -> Result<Self, Reason> {
        let hash = |(kind, value): (String, Json)| match value {
            Json::Text(digits) if is_hex(&digits) => Ok((kind, digits)),
            _ => {
                Err(Reason::Shape { member: format!("{path}.{kind}"), want: "hexadecimal digits" })
            }
        };
        let hashes: BTreeMap<_, _> = members.into_iter().map(hash).collect::<Result<_, _>>()?;
        if hashes.is_empty() {
            return Err(Reason::Shape { member: path.to_owned(), want: "one or more hashes" });
        }
        Ok(Self(hashes))
    }

    /// Those of `hashes`, which may be away.
    pub(super) fn take(fields: &mut Fields) -> Result<Option<Self>, Reason> {
        match fields.optional("hashes") {
            None => Ok(None),
            Some(Json::Object(members)) => Self::read(members, &fields.path("hashes")).map(Some),
            Some(_) => Err(fields.wrong("hashes", "an object")),
        }
    }

    pub(super) fn to_json(&self) -> Json {
        let hash = |(kind, digits): (&String, &String)| (kind.clone(), digits.as_str().into());
        Json::Object(self.0.iter().map(hash).collect())
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// What a timestamp says of the snapshot, and a snapshot of targets metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaFile {
    /// Its version, from 1.
    pub version: u64,
    /// Its bytes, if they are told.
    pub length: Option<u64>,
    /// Its hashes, if they are told.
    pub hashes: Option<Hashes>,
    /// Members that were not understood.
    pub more: Object,
}

impl MetaFile {
    /// That of a file with these bytes.
    pub fn of(version: u64, bytes: &[u8]) -> Self {
        let length = Some(bytes.len() as u64);
        Self { version, length, hashes: Some(Hashes::of(bytes)), more: Object::new() }
    }

    /// That these are its bytes.
    ///
    /// # Errors
    /// Their length or a hash is another.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Reason> {
        let found = bytes.len() as u64;
        if let Some(want) = self.length.filter(|want| *want != found) {
            return Err(Reason::Length { found, want });
        }
        let Some(hashes) = &self.hashes else { return Ok(()) };
        let mut check = Check::new(found, hashes)?;
        check.update(bytes)?;
        check.finish()
    }

    pub(super) fn read(json: Json, path: &str) -> Result<Self, Reason> {
        let mut fields = Fields::of(json, path)?;
        Ok(Self {
            version: fields.positive("version")?,
            length: fields.optional_number("length")?,
            hashes: Hashes::take(&mut fields)?,
            more: fields.rest(),
        })
    }

    pub(super) fn to_json(&self) -> Json {
        let mut members = self.more.clone();
        let length = self.length.map(|length| ("length".to_owned(), integer(length)));
        let hashes = self.hashes.as_ref().map(|hashes| ("hashes".to_owned(), hashes.to_json()));
        members.extend(length.into_iter().chain(hashes));
        object([("version", integer(self.version))], &members)
    }
}

/// What targets metadata says of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFile {
    /// Its bytes.
    pub length: u64,
    /// Its hashes.
    pub hashes: Hashes,
    /// What the publisher says of it besides: for the application, signed with the rest.
    pub custom: Option<Object>,
    /// Members that were not understood.
    pub more: Object,
}

impl TargetFile {
    /// That of a file of this length and digest.
    pub fn new(length: u64, digest: crate::digest::Sha256) -> Self {
        Self { length, hashes: Hashes::sha256(digest), custom: None, more: Object::new() }
    }

    /// Takes the file piece by piece.
    ///
    /// # Errors
    /// None of its hashes is of a kind that is known.
    pub fn check(&self) -> Result<Check, Reason> {
        Check::new(self.length, &self.hashes)
    }

    pub(super) fn read(json: Json, path: &str) -> Result<Self, Reason> {
        let mut fields = Fields::of(json, path)?;
        let custom = match fields.optional("custom") {
            None => None,
            Some(Json::Object(custom)) => Some(custom),
            Some(_) => return Err(fields.wrong("custom", "an object")),
        };
        let hashes = Hashes::take(&mut fields)?;
        Ok(Self {
            length: fields.number("length")?,
            hashes: hashes.ok_or_else(|| fields.wrong("hashes", "an object"))?,
            custom,
            more: fields.rest(),
        })
    }

    pub(super) fn to_json(&self) -> Json {
        let mut members = self.more.clone();
        if let Some(custom) = &self.custom {
            members.insert("custom".to_owned(), Json::Object(custom.clone()));
        }
        let known = [("hashes", self.hashes.to_json()), ("length", integer(self.length))];
        object(known, &members)
    }
}

/// Holds a file that comes in pieces against what was signed. Kinds of hashes that are not known say
/// nothing; one that is known must be there, and all that are known must be right.
#[derive(Debug, Clone)]
pub struct Check {
    length: u64,
    seen: u64,
    sha256: Option<(sha2::Sha256, String)>,
    sha512: Option<(sha2::Sha512, String)>,
}

impl Check {
    fn new(length: u64, hashes: &Hashes) -> Result<Self, Reason> {
        let want = |kind| hashes.0.get(kind).map(|digits: &String| digits.to_ascii_lowercase());
        let check = Self {
            length,
            seen: 0,
            sha256: want("sha256").map(|want| (sha2::Sha256::new(), want)),
            sha512: want("sha512").map(|want| (sha2::Sha512::new(), want)),
        };
        if check.sha256.is_none() && check.sha512.is_none() {
            let kinds: Vec<_> = hashes.0.keys().map(String::as_str).collect();
            return Err(Reason::UnknownHash(kinds.join(", ")));
        }
        Ok(check)
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The file is longer than was signed; nothing more should be read of it.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        if self.seen > self.length {
            return Err(Reason::TooLong(self.length));
        }
        if let Some((hasher, _)) = &mut self.sha256 {
            hasher.update(bytes);
        }
        if let Some((hasher, _)) = &mut self.sha512 {
            hasher.update(bytes);
        }
        Ok(())
    }

    /// That the pieces were the file.
    ///
    /// # Errors
    /// Its length or a hash is another.
    pub fn finish(self) -> Result<(), Reason> {
        if self.seen != self.length {
            return Err(Reason::Length { found: self.seen, want: self.length });
        }
        let sha256 = self.sha256.map(|(hasher, want)| hex(&hasher.finalize()) == want);
        let sha512 = self.sha512.map(|(hasher, want)| hex(&hasher.finalize()) == want);
        match (sha256, sha512) {
            (Some(false), _) => Err(Reason::Hash("sha256")),
            (_, Some(false)) => Err(Reason::Hash("sha512")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

    fn target(hashes: &str) -> TargetFile {
        let text = format!(r#"{{"length":3,"hashes":{hashes}}}"#);
        TargetFile::read(Json::parse(text.as_bytes()).unwrap(), "t.").unwrap()
    }

    fn check(target: &TargetFile, pieces: &[&str]) -> Result<(), Reason> {
        let mut check = target.check()?;
        pieces.iter().try_for_each(|piece| check.update(piece.as_bytes()))?;
        check.finish()
    }

    #[test]
    fn a_file_is_the_one_that_was_signed_in_length_and_all_hashes_that_are_known() {
        let sha256 = Sha256::of("abc").to_string();
        // FIPS 180-4, the example "abc".
        let sha512 = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                      2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        let both = format!(r#"{{"sha256":"{sha256}","sha512":"{sha512}"}}"#);
        let half = format!(r#"{{"sha256":"{sha256}","sha512":"00"}}"#);
        let upper = format!(r#"{{"sha256":"{}"}}"#, sha256.to_uppercase());
        let other = format!(r#"{{"sha256":"{sha256}","blake3":"00"}}"#);
        for (hashes, pieces, want) in [
            (both.as_str(), &["abc"][..], Ok(())),
            (&both, &["a", "", "bc"], Ok(())),
            (&both, &["ab"], Err(Reason::Length { found: 2, want: 3 })),
            (&both, &["abc", "d"], Err(Reason::TooLong(3))),
            (&both, &["abd"], Err(Reason::Hash("sha256"))),
            (&half, &["abc"], Err(Reason::Hash("sha512"))),
            (&upper, &["abc"], Ok(())),
            (&other, &["abc"], Ok(())),
            (r#"{"blake3":"00"}"#, &["abc"], Err(Reason::UnknownHash("blake3".to_owned()))),
        ] {
            assert_eq!(check(&target(hashes), pieces), want, "{hashes} {pieces:?}");
        }
    }

    #[test]
    fn the_prefix_of_a_name_is_a_hash_that_was_verified() {
        assert_eq!(target(r#"{"sha512":"ab","x":"cd"}"#).hashes.prefix(), Some("ab"));
        assert_eq!(target(r#"{"x":"cd"}"#).hashes.prefix(), None);
        for hashes in [r#"{"sha256":"../x"}"#, r#"{"sha256":""}"#, r#"{"sha256":1}"#, "{}", "[]"] {
            let text = format!(r#"{{"length":3,"hashes":{hashes}}}"#);
            let json = Json::parse(text.as_bytes()).unwrap();
            assert!(matches!(TargetFile::read(json, ""), Err(Reason::Shape { .. })), "{hashes}");
        }
    }
}
