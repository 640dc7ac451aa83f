//! JSON as TUF has it: RFC 8259 without fractions, read within bounds, and written as canonical JSON,
//! over which signatures and key ids are made: <http://wiki.laptop.org/go/Canonical_JSON>.
//!
//! Canonical JSON has the keys of objects in order of their bytes, no spaces, whole numbers only, and
//! escapes `"` and `\` alone. So it holds control characters as they are, and is not always JSON: files
//! are written as JSON proper ([`Json::to_file`]).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::error::shown;

/// How deeply values may lie in each other.
pub const DEPTH: usize = 32;
/// How many values a text may hold. What reading takes is bounded by this: what takes most are objects
/// with one member, some 600 bytes each, so 20 MB of these.
pub const VALUES: usize = 1 << 16;

/// The members of an object.
pub type Object = BTreeMap<String, Json>;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number: canonical JSON has no others.
    Integer(i64),
    /// A text.
    Text(String),
    /// Values in order.
    List(Vec<Json>),
    /// Values by name, each name once.
    Object(Object),
}

/// Bytes that are no JSON, or more of it than is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not the JSON that TUF has: {0}")]
pub struct JsonError(String);

impl Json {
    /// Reads a text of at most [`VALUES`] values that lie [`DEPTH`] deep.
    ///
    /// # Errors
    /// It is no JSON, or more than that; it names a member of an object twice; it has a number that is
    /// not whole or not between -2^63 and 2^63 - 1.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let values = Cell::new(VALUES);
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Value { depth: DEPTH, values: &values }.deserialize(&mut reader);
        let value = value.and_then(|value| reader.end().map(|()| value));
        value.map_err(|error| JsonError(error.to_string()))
    }

    /// The bytes that are signed and hashed.
    pub fn to_canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_canonical(&mut bytes);
        bytes
    }

    /// A file that people can read, with a line feed at its end.
    pub fn to_file(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    fn write_canonical(&self, out: &mut Vec<u8>) {
        let separated = |index, out: &mut Vec<u8>| {
            if index > 0 {
                out.push(b',');
            }
        };
        match self {
            Self::Null => out.extend(b"null"),
            Self::Bool(value) => out.extend(value.to_string().bytes()),
            Self::Integer(number) => out.extend(number.to_string().bytes()),
            Self::Text(text) => canonical_text(text, out),
            Self::List(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    separated(index, out);
                    item.write_canonical(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (index, (name, value)) in members.iter().enumerate() {
                    separated(index, out);
                    canonical_text(name, out);
                    out.push(b':');
                    value.write_canonical(out);
                }
                out.push(b'}');
            }
        }
    }
}

fn canonical_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Object> for Json {
    fn from(members: Object) -> Self {
        Self::Object(members)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => items.serialize(serializer),
            Self::Object(members) => members.serialize(serializer),
        }
    }
}

/// Reads one value, so deep at most, and so many at most with all others.
#[derive(Clone, Copy)]
struct Value<'a> {
    depth: usize,
    values: &'a Cell<usize>,
}

impl Value<'_> {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| E::custom(format_args!("it is deeper than {DEPTH}")))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let left = self.values.get().checked_sub(1);
        let too_many = || de::Error::custom(format_args!("it has more than {VALUES} values"));
        self.values.set(left.ok_or_else(too_many)?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without fractions")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Integer(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Json, E> {
        let number = i64::try_from(number);
        Ok(Json::Integer(number.map_err(|_| E::custom("a number is larger than 2^63 - 1"))?))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        let mut object = Object::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(de::Error::custom(format_args!("it has `{}` twice", shown(&name))));
            }
            object.insert(name, members.next_value_seed(inner)?);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> String {
        Json::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn canonical_json_is_that_of_the_specification() {
        for (text, want) in [
            (r#"{ "b" : 1, "a" : [ true, null, "x" ] }"#, r#"{"a":[true,null,"x"],"b":1}"#),
            (r#"{"z":-1,"é":0,"Z":{}}"#, r#"{"Z":{},"z":-1,"é":0}"#),
            (r#""\"\\\/\n\u0001\u00e9\ud83d\ude00""#, "\"\\\"\\\\/\n\u{1}é😀\""),
            ("[]", "[]"),
            ("9223372036854775807", "9223372036854775807"),
        ] {
            let json = Json::parse(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(json.to_canonical()).unwrap(), want);
        }
    }

    #[test]
    fn what_no_two_readers_would_read_alike_is_refused() {
        for (text, want) in [
            (r#"{"a":1,"a":1}"#, "it has `a` twice"),
            (r#"[{"b":{"a":1,"\u0061":2}}]"#, "it has `a` twice"),
            ("1.0", "a value without fractions"),
            ("1e3", "a value without fractions"),
            ("-0", "a value without fractions"),
            ("9223372036854775808", "larger than 2^63 - 1"),
            ("-9223372036854775809", "a value without fractions"),
            (r#""\ud800""#, "hex escape"),
            ("{} {}", "trailing"),
            ("[1,]", "trailing comma"),
            ("\u{feff}{}", "expected value"),
            ("", "EOF"),
        ] {
            assert!(refused(text).contains(want), "{text}: {}", refused(text));
        }
        assert!(Json::parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::parse(deep(DEPTH).as_bytes()).is_ok());
        assert!(refused(&deep(DEPTH + 1)).contains("deeper than 32"));
        assert!(refused(&deep(1 << 20)).contains("deeper than 32"));
        let wide = |values| format!("[{}0]", "0,".repeat(values));
        assert!(Json::parse(wide(VALUES - 2).as_bytes()).is_ok());
        assert!(refused(&wide(VALUES - 1)).contains("more than 65536 values"));
    }

    /// Any value that fits.
    pub(in super::super) fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i64>().prop_map(Json::Integer),
            ".*".prop_map(Json::Text),
        ];
        leaf.prop_recursive(4, 32, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Json::List),
                prop::collection::btree_map(".*", inner, 0..8).prop_map(Json::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_file_says_what_was_written(json in json()) {
            prop_assert_eq!(Json::parse(&json.to_file()), Ok(json));
        }

        #[test]
        fn different_values_have_different_canonical_bytes(one in json(), other in json()) {
            prop_assert_eq!(one == other, one.to_canonical() == other.to_canonical());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(json) = Json::parse(&bytes) {
                prop_assert_eq!(Json::parse(&json.to_file()), Ok(json));
            }
        }
    }
}
