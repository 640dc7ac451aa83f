//! `summary`: what a server has, in one file, for clients that do not list directories.

use std::collections::BTreeMap;

use super::commit::parse_dictionary;
use super::{Number, OstreeError, Reference, Result, Type, Value, digest_value, parse_digest};
use crate::digest::Sha256;

/// Keys of what a summary says of the repository and of each ref.
const MODIFIED: &str = "ostree.summary.last-modified";
const MODE: &str = "ostree.summary.mode";
const TOMBSTONES: &str = "ostree.summary.tombstone-commits";
const TIMESTAMP: &str = "ostree.commit.timestamp";
const VERSION: &str = "ostree.commit.version";

/// What a repository offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The commit of each ref.
    pub refs: BTreeMap<Reference, Entry>,
    /// What is said of the repository, by name.
    pub metadata: BTreeMap<String, Value>,
}

/// What is said of a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Bytes of the commit object.
    pub size: u64,
    /// The commit.
    pub commit: Sha256,
    /// More, by name.
    pub metadata: BTreeMap<String, Value>,
}

impl Entry {
    /// Of a commit object of this size, time and version.
    pub fn new(commit: Sha256, size: u64, timestamp: u64, version: Option<&str>) -> Self {
        let version = version.map(|version| (VERSION.to_owned(), Value::text(version)));
        let timestamp = (TIMESTAMP.to_owned(), Value::u64_be(timestamp));
        Self { size, commit, metadata: [timestamp].into_iter().chain(version).collect() }
    }

    fn timestamp(&self) -> u64 {
        match self.metadata.get(TIMESTAMP) {
            Some(Value::Number(Number::U64, bits)) => bits.swap_bytes(),
            _ => 0,
        }
    }
}

impl Summary {
    /// The summary of an archive with these refs. Of what one said before, everything stays that is
    /// not about refs, such as a list of static deltas. It is as old as the newest commit: what is
    /// the same has the same bytes.
    pub fn of_archive(refs: BTreeMap<Reference, Entry>, before: Option<Self>) -> Self {
        let modified = refs.values().map(Entry::timestamp).max().unwrap_or_default();
        let mut metadata = before.map(|before| before.metadata).unwrap_or_default();
        metadata.insert(MODIFIED.to_owned(), Value::u64_be(modified));
        metadata.insert(MODE.to_owned(), Value::text("archive-z2"));
        metadata.insert(TOMBSTONES.to_owned(), Value::number(Number::Boolean, 0));
        Self { refs, metadata }
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let entry = |(name, entry): (&Reference, &Entry)| {
            let fields = vec![
                // The one number of all these that is not big-endian.
                Value::number(Number::U64, entry.size),
                digest_value(&entry.commit),
                Value::dictionary(&entry.metadata),
            ];
            Value::Tuple(vec![Value::text(name.as_str()), Value::Tuple(fields)])
        };
        let bytes = Type::Array(Box::new(Type::Number(Number::Byte)));
        let dictionary = Value::dictionary([]).of_type();
        let of = Type::Tuple(vec![Type::Number(Number::U64), bytes, dictionary]);
        let refs =
            Value::Array(Type::Tuple(vec![Type::Text, of]), self.refs.iter().map(entry).collect());
        Value::Tuple(vec![refs, Value::dictionary(&self.metadata)]).encode()
    }

    /// Reads a `summary`.
    ///
    /// # Errors
    /// See [`OstreeError`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        const SHAPE: OstreeError = OstreeError::Shape("summary");
        let of = Type::parse("(a(s(taya{sv}))a{sv})").ok_or(SHAPE)?;
        let value = Value::decode(&of, bytes).map_err(|_| SHAPE)?;
        let Value::Tuple(fields) = value else { return Err(SHAPE) };
        let [Value::Array(_, entries), metadata] = fields.as_slice() else { return Err(SHAPE) };
        let mut refs = BTreeMap::new();
        for entry in entries {
            let Value::Tuple(pair) = entry else { return Err(SHAPE) };
            let [Value::Text(name), Value::Tuple(fields)] = pair.as_slice() else {
                return Err(SHAPE);
            };
            let [Value::Number(_, size), Value::Bytes(commit), more] = fields.as_slice() else {
                return Err(SHAPE);
            };
            let name = name.parse().map_err(|_| SHAPE)?;
            let entry = Entry {
                size: *size,
                commit: parse_digest(commit)?,
                metadata: parse_dictionary(more).ok_or(SHAPE)?,
            };
            refs.insert(name, entry);
        }
        Ok(Self { refs, metadata: parse_dictionary(metadata).ok_or(SHAPE)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refs(timestamps: &[u64]) -> BTreeMap<Reference, Entry> {
        let entry = |(at, time): (usize, &u64)| {
            let commit = Sha256::of(time.to_le_bytes());
            let version = (at > 0).then_some("1.0");
            (format!("a/{at}").parse().unwrap(), Entry::new(commit, 100, *time, version))
        };
        timestamps.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn a_summary_comes_back_from_its_bytes_and_is_as_old_as_its_newest_commit() {
        let summary = Summary::of_archive(refs(&[5, 9, 7]), None);
        assert_eq!(summary.metadata[MODIFIED], Value::u64_be(9));
        assert_eq!(Summary::parse(&summary.encode()), Ok(summary.clone()));
        let empty = Summary::of_archive(BTreeMap::new(), None);
        assert_eq!(Summary::parse(&empty.encode()), Ok(empty));
    }

    #[test]
    fn what_others_said_of_the_repository_stays() {
        let deltas = Value::dictionary(&BTreeMap::from([("a".to_owned(), Value::text("b"))]));
        let mut before = Summary::of_archive(refs(&[1]), None);
        before.metadata.insert("ostree.static-deltas".to_owned(), deltas.clone());
        let after = Summary::of_archive(refs(&[2, 3]), Some(before));
        assert_eq!(after.metadata["ostree.static-deltas"], deltas);
        assert_eq!((after.refs.len(), &after.metadata[MODIFIED]), (2, &Value::u64_be(3)));
    }

    proptest! {
        #[test]
        fn any_change_of_a_summary_is_read_or_refused(at in 0_usize..200, to: u8) {
            let mut bytes = Summary::of_archive(refs(&[5, 9]), None).encode();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(summary) = Summary::parse(&bytes) {
                prop_assert!(summary.refs.len() <= 2);
            }
        }
    }
}
