//! From the merged tree to [`Recipe`]: a serde deserializer which knows where each value stands,
//! so that whatever serde refuses is shown at its line.
//!
//! Unknown keys are collected, all of them; of the rest the first problem is reported.

use std::cell::RefCell;
use std::fmt;

use formats::near::near;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer as _, Visitor,
};
use serde::{de, forward_to_deserialize_any};

use super::model::HOST_PATH;
use super::problem::{Place, Problem, Sources};
use super::value::{Entry, Kind, Table, Value};
use crate::error::Id;

/// Reads a recipe out of a merged tree without changes.
pub(super) fn read<T: DeserializeOwned>(
    tree: &Value,
    sources: &Sources,
) -> Result<T, Vec<Problem>> {
    let unknown = RefCell::new(Vec::new());
    let cursor = Cursor { value: tree, path: String::new(), sources, unknown: &unknown };
    let result = T::deserialize(cursor);
    let mut problems = unknown.into_inner();
    match result {
        Ok(recipe) if problems.is_empty() => Ok(recipe),
        Ok(_) => Err(problems),
        Err(refusal) => {
            // `pakage` explains why `package` is missing.
            let explained = refusal.missing.is_some_and(|missing| {
                let hint = did_you_mean(missing);
                problems.iter().any(|problem| problem.hint.as_ref() == Some(&hint))
            });
            if !explained {
                problems.push(*refusal.problem);
            }
            Err(problems)
        }
    }
}

/// Why serde stopped.
#[derive(Debug)]
struct Refusal {
    problem: Box<Problem>,
    /// The key that is missing, if that is why.
    missing: Option<&'static str>,
}

impl Refusal {
    fn or_at(mut self, place: &Place) -> Self {
        self.problem = Box::new(self.problem.or_at(place));
        self
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), missing: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Problem::new(Id::RecipeValue, message.to_string()).into()
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("expected {expected}, found {unexpected}"))
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Problem::new(Id::RecipeMissingKey, field).into() }
    }
}

/// A value about to be read.
struct Cursor<'de> {
    value: &'de Value,
    /// Dotted keys from the top; empty at the top.
    path: String,
    sources: &'de Sources,
    unknown: &'de RefCell<Vec<Problem>>,
}

impl<'de> Cursor<'de> {
    fn at(&self, value: &'de Value, path: String) -> Self {
        Self { value, path, sources: self.sources, unknown: self.unknown }
    }

    fn mismatch(&self, wanted: &str) -> Refusal {
        let found = self.value.kind_name();
        let message = format!("`{}` must be {wanted}, not {found}", self.path);
        Problem::new(Id::RecipeValue, message).at(&self.value.place).into()
    }

    fn table(&self, wanted: &str) -> Result<&'de Table, Refusal> {
        match &self.value.kind {
            Kind::Table(table) => Ok(table),
            _ => Err(self.mismatch(wanted)),
        }
    }

    fn string(&self) -> Result<&'de str, Refusal> {
        self.value.as_str().ok_or_else(|| self.mismatch("a string"))
    }

    fn number<T: TryFrom<i64>>(&self, largest: impl fmt::Display) -> Result<T, Refusal> {
        let Kind::Integer(number) = &self.value.kind else {
            return Err(self.mismatch("a whole number"));
        };
        T::try_from(*number).map_err(|_| {
            let message = format!("`{}` must be a whole number from 0 to {largest}", self.path);
            Problem::new(Id::RecipeValue, message).at(&self.value.place).into()
        })
    }

    fn name(&self) -> String {
        if self.path.is_empty() { "a recipe".to_owned() } else { format!("`{}`", self.path) }
    }

    fn note_unknown(&self, key: &str, entry: &Entry, fields: &'static [&'static str]) {
        let message = format!("`{key}` is not a key of {}", self.name());
        let hint = match near(key, fields.iter().copied()) {
            Some(meant) => did_you_mean(meant),
            None => {
                let known: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
                format!("its keys are {}", known.join(", "))
            }
        };
        let problem = Problem::new(Id::RecipeKey, message).at(&entry.key).hint(hint);
        self.unknown.borrow_mut().push(problem);
    }

    fn complete(&self, refusal: Refusal) -> Refusal {
        let Some(missing) = refusal.missing.filter(|_| refusal.problem.place.is_none()) else {
            return refusal.or_at(&self.value.place);
        };
        let message = format!("{} must have the key `{missing}`", self.name());
        let problem = Problem::new(Id::RecipeMissingKey, message).at(&self.value.place);
        Refusal { missing: Some(missing), ..problem.into() }
    }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

macro_rules! unsigned {
    ($($deserialize:ident $visit:ident $kind:ty;)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            visitor.$visit(self.number::<$kind>(<$kind>::MAX)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Cursor<'de> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let place = &self.value.place;
        match &self.value.kind {
            Kind::String(text) => visitor.visit_borrowed_str(text),
            Kind::Integer(number) => visitor.visit_i64(*number),
            Kind::Boolean(boolean) => visitor.visit_bool(*boolean),
            Kind::List(_) => return self.deserialize_seq(visitor),
            Kind::Table(_) => return self.deserialize_map(visitor),
            Kind::Change(_) | Kind::Other(_) => Err(self.mismatch("something else")),
        }
        .map_err(|refusal| refusal.or_at(place))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor
            .visit_borrowed_str(self.string()?)
            .map_err(|refusal: Refusal| refusal.or_at(&self.value.place))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let Kind::List(items) = &self.value.kind else {
            return Err(self.mismatch("a list"));
        };
        visitor.visit_seq(Items { items: items.iter(), list: self })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let entries = self.table("a table")?.iter().collect::<Vec<_>>().into_iter();
        visitor.visit_map(Entries { entries, value: None, table: self })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let table = self.table("a table")?;
        let (known, unknown): (Vec<_>, Vec<_>) =
            table.iter().partition(|(key, _)| fields.contains(&key.as_str()));
        for (key, entry) in unknown {
            self.note_unknown(key, entry, fields);
        }
        let table = self.at(self.value, self.path.clone());
        let entries = Entries { entries: known.into_iter(), value: None, table };
        visitor.visit_map(entries).map_err(|refusal| self.complete(refusal))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        if name != HOST_PATH {
            return visitor.visit_newtype_struct(self);
        }
        let text = self.string()?;
        if text.is_empty() || text.contains('\0') {
            return Err(
                Refusal::custom(format!("`{}` must be a path", self.path)).or_at(&self.value.place)
            );
        }
        let directory = &self.sources.file(&self.value.place).directory;
        let path = super::path::normal(&directory.join(text));
        match path.to_str() {
            Some(path) => visitor.visit_newtype_struct(StrDeserializer::<Refusal>::new(path)),
            None => Err(Refusal::custom(format!("`{}` is not UTF-8", path.display()))
                .or_at(&self.value.place)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor
            .visit_enum(self.string()?.into_deserializer())
            .map_err(|refusal: Refusal| refusal.or_at(&self.value.place))
    }

    unsigned! {
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_u64(self.number::<u64>(i64::MAX)?)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

/// The items of a list.
struct Items<'de> {
    items: std::slice::Iter<'de, Value>,
    list: Cursor<'de>,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refusal> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let cursor = self.list.at(item, format!("{}[]", self.list.path));
        seed.deserialize(cursor).map(Some).map_err(|refusal| refusal.or_at(&item.place))
    }
}

/// The entries of a table.
struct Entries<'de> {
    entries: std::vec::IntoIter<(&'de String, &'de Entry)>,
    value: Option<(&'de String, &'de Entry)>,
    table: Cursor<'de>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refusal> {
        self.value = self.entries.next();
        let Some((key, entry)) = self.value else { return Ok(None) };
        let key = StrDeserializer::<Refusal>::new(key);
        seed.deserialize(key).map(Some).map_err(|refusal| refusal.or_at(&entry.key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let (key, entry) =
            self.value.take().ok_or_else(|| Refusal::custom("a value was read before its key"))?;
        let outer = &self.table.path;
        let path = if outer.is_empty() { key.clone() } else { format!("{outer}.{key}") };
        seed.deserialize(self.table.at(&entry.value, path))
            .map_err(|refusal| refusal.or_at(&entry.value.place))
    }
}
