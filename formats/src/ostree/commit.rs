//! The object of a version: which tree, after which version, and what is said of it.

use std::collections::BTreeMap;

use super::{Kind, Name, Number, OstreeError, Result, Type, Value, digest_value, parse_digest};
use crate::digest::Sha256;

/// A version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// What is said of it, by name.
    pub metadata: BTreeMap<String, Value>,
    /// The version before it.
    pub parent: Option<Sha256>,
    /// One line.
    pub subject: String,
    /// More of them.
    pub body: String,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// What is in the root directory.
    pub tree: Sha256,
    /// Owner and mode of the root directory.
    pub meta: Sha256,
}

impl Commit {
    /// The object's name.
    pub fn name(&self) -> Name {
        Name { digest: Sha256::of(self.encode()), kind: Kind::Commit }
    }

    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = Type::Array(Box::new(Type::Number(Number::Byte)));
        let related = Type::Tuple(vec![Type::Text, bytes]);
        Value::Tuple(vec![
            Value::dictionary(&self.metadata),
            self.parent.as_ref().map_or(Value::Bytes(Vec::new()), digest_value),
            Value::Array(related, Vec::new()),
            Value::text(&self.subject),
            Value::text(&self.body),
            Value::u64_be(self.timestamp),
            digest_value(&self.tree),
            digest_value(&self.meta),
        ])
        .encode()
    }

    /// Reads a commit. Of what others wrote, entries of the metadata may stand in any order, and
    /// related objects are passed over: none has ever been written.
    ///
    /// # Errors
    /// See [`OstreeError`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        const SHAPE: OstreeError = OstreeError::Shape("commit");
        let of = Type::parse("(a{sv}aya(say)sstayay)").ok_or(SHAPE)?;
        let value = Value::decode(&of, bytes).map_err(|_| SHAPE)?;
        let Value::Tuple(fields) = value else { return Err(SHAPE) };
        let [
            metadata,
            Value::Bytes(parent),
            Value::Array(..),
            Value::Text(subject),
            Value::Text(body),
            Value::Number(_, timestamp),
            Value::Bytes(tree),
            Value::Bytes(meta),
        ] = fields.as_slice()
        else {
            return Err(SHAPE);
        };
        let parent = (!parent.is_empty()).then(|| parse_digest(parent)).transpose()?;
        Ok(Self {
            metadata: parse_dictionary(metadata).ok_or(SHAPE)?,
            parent,
            subject: subject.clone(),
            body: body.clone(),
            timestamp: timestamp.swap_bytes(),
            tree: parse_digest(tree)?,
            meta: parse_digest(meta)?,
        })
    }
}

/// What an `a{sv}` has, the last of one name.
pub(super) fn parse_dictionary(value: &Value) -> Option<BTreeMap<String, Value>> {
    let Value::Array(_, entries) = value else { return None };
    let entry = |entry: &Value| {
        let Value::Entry(pair) = entry else { return None };
        let [Value::Text(key), Value::Variant(value)] = &**pair else { return None };
        Some((key.clone(), (**value).clone()))
    };
    entries.iter().map(entry).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) fn commit() -> Commit {
        Commit {
            metadata: BTreeMap::from([
                ("orlop.size".to_owned(), Value::number(Number::U64, 7)),
                ("version".to_owned(), Value::text("1.0")),
            ]),
            parent: Some(Sha256::of("before")),
            subject: "node 1.0".to_owned(),
            body: String::new(),
            timestamp: 1_700_000_000,
            tree: Sha256::of("tree"),
            meta: Sha256::of("meta"),
        }
    }

    /// `ostree commit` of a tree with one file, libostree 2022.7.
    #[test]
    fn the_digest_is_the_one_that_the_stock_program_gives() {
        let digest = |text: &str| text.parse().unwrap();
        let commit = Commit {
            parent: None,
            subject: "subj".to_owned(),
            timestamp: 0,
            tree: digest("0de987dc74759551d3e58abf0b0b6feec4cddb9f2ad770a19a42471383bb6915"),
            meta: digest("446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488"),
            ..commit()
        };
        assert_eq!(commit.encode().len(), 134);
        assert_eq!(
            commit.name().to_string(),
            "892044b99837cb12eb1d8fc4dad40647eac979e5e8297291634027b4aab87de2.commit"
        );
    }

    #[test]
    fn a_commit_comes_back_from_its_bytes() {
        for commit in [
            commit(),
            Commit { parent: None, ..commit() },
            Commit { metadata: BTreeMap::new(), body: "more\n".to_owned(), ..commit() },
        ] {
            assert_eq!(Commit::parse(&commit.encode()), Ok(commit));
        }
    }

    #[test]
    fn a_commit_that_is_cut_off_is_refused() {
        let bytes = commit().encode();
        for at in 0..bytes.len() {
            assert!(Commit::parse(&bytes[..at]).is_err(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn any_change_of_a_commit_is_read_or_refused(at in 0..commit().encode().len(), to: u8) {
            let mut bytes = commit().encode();
            bytes[at] = to;
            drop(Commit::parse(&bytes));
        }
    }
}
