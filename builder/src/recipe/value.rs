//! A recipe file as a tree of values, each with the place it was written at.

use std::collections::BTreeMap;

use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{Place, Problem};
use crate::error::Id;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) kind: Kind,
    pub(super) place: Place,
}

/// What can stand in a recipe.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    String(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Value>),
    Table(Table),
    /// How a list that a parent gave is to be changed.
    Change(Change),
    /// TOML that no recipe has a use for; the text says what it is.
    Other(&'static str),
}

/// A table: keys in byte order.
pub(super) type Table = BTreeMap<String, Entry>;

/// What a key of a table holds.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Where the key stands.
    pub(super) key: Place,
    pub(super) value: Value,
}

/// `{ add = [..], remove = [..] }` or `{ set = [..] }`.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) add: Vec<Value>,
    pub(super) remove: Vec<Value>,
    pub(super) set: Option<Vec<Value>>,
}

/// The keys of a [`Change`].
pub(super) const CHANGE_KEYS: [&str; 3] = ["add", "remove", "set"];

impl Value {
    /// Parses the text of file number `file`; the value is a table.
    pub(super) fn parse(text: &str, file: usize) -> Result<Self, Problem> {
        let table = DeTable::parse(text).map_err(|error| {
            Problem::new(Id::RecipeSyntax, format!("not TOML: {}", error.message()))
                .at(&Place { file, span: error.span() })
        })?;
        Ok(Self {
            kind: Kind::Table(read_table(table.get_ref(), file)),
            place: Place { file, span: None },
        })
    }

    /// What it is, with an article, for messages.
    pub(super) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::String(_) => "a string",
            Kind::Integer(_) => "a whole number",
            Kind::Boolean(_) => "a boolean",
            Kind::List(_) => "a list",
            Kind::Table(_) | Kind::Change(_) => "a table",
            Kind::Other(name) => name,
        }
    }

    /// The text of a string.
    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether both say the same, wherever they stand.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::String(a), Kind::String(b)) => a == b,
            (Kind::Integer(a), Kind::Integer(b)) => a == b,
            (Kind::Boolean(a), Kind::Boolean(b)) => a == b,
            (Kind::List(a), Kind::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
            }
            (Kind::Table(a), Kind::Table(b)) => {
                let equal = |((a_key, a), (b_key, b)): ((&String, &Entry), (&String, &Entry))| {
                    a_key == b_key && a.value.same(&b.value)
                };
                a.len() == b.len() && a.iter().zip(b).all(equal)
            }
            _ => false,
        }
    }

    /// As JSON, places forgotten: the same for the same values, whatever the spelling.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.kind {
            Kind::String(text) => text.as_str().into(),
            Kind::Integer(number) => (*number).into(),
            Kind::Boolean(boolean) => (*boolean).into(),
            Kind::List(items) => items.iter().map(Self::to_json).collect(),
            Kind::Table(table) => {
                table.iter().map(|(key, entry)| (key.clone(), entry.value.to_json())).collect()
            }
            Kind::Change(_) | Kind::Other(_) => serde_json::Value::Null,
        }
    }
}

fn read_table(table: &DeTable<'_>, file: usize) -> Table {
    let entries = table.iter().map(|(key, value)| {
        let value = read_value(value, file);
        let entry = Entry { key: Place { file, span: Some(key.span()) }, value };
        (key.get_ref().to_string(), entry)
    });
    entries.collect()
}

fn read_value(value: &toml::Spanned<DeValue<'_>>, file: usize) -> Value {
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Kind::Other("a number that is too large"), Kind::Integer),
        DeValue::Boolean(boolean) => Kind::Boolean(*boolean),
        DeValue::Float(_) => Kind::Other("a float"),
        DeValue::Datetime(_) => Kind::Other("a date"),
        DeValue::Array(items) => Kind::List(read_list(items, file)),
        DeValue::Table(table) => read_change(table, file)
            .map_or_else(|| Kind::Table(read_table(table, file)), Kind::Change),
    };
    Value { kind, place: Place { file, span: Some(value.span()) } }
}

fn read_list(items: &DeArray<'_>, file: usize) -> Vec<Value> {
    items.iter().map(|item| read_value(item, file)).collect()
}

/// A table is a change if it has nothing but lists called `add`, `remove` and `set`: no table of a
/// recipe has a list under a name that its author may choose.
fn read_change(table: &DeTable<'_>, file: usize) -> Option<Change> {
    let is_change = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        CHANGE_KEYS.contains(&key.as_ref()) && value.get_ref().is_array()
    };
    if table.is_empty() || !table.iter().all(is_change) {
        return None;
    }
    let list = |key: &str| {
        let items = table.get(key).and_then(|value| value.get_ref().as_array());
        items.map(|items| read_list(items, file))
    };
    Some(Change {
        add: list("add").unwrap_or_default(),
        remove: list("remove").unwrap_or_default(),
        set: list("set"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_is_known_by_its_content() {
        let parse = |text| Value::parse(text, 0).unwrap();
        assert!(parse("a = [1, 'x']\nb.c = true").same(&parse("b = {c=true}\n\na = [0x1,\"x\"]")));
        for other in ["a = [1]", "a = [1, 'y']", "a = [1, 'x', 2]", "b = [1, 'x']", "a = 1"] {
            assert!(!parse("a = [1, 'x']").same(&parse(other)), "{other}");
        }
    }

    #[test]
    fn only_lists_of_the_three_names_are_a_change() {
        for (text, change) in [
            ("x = { add = [] }", true),
            ("x = { add = ['a'], remove = ['b'] }", true),
            ("[x]\nset = []", true),
            ("x = {}", false),
            ("x = { add = 'a' }", false),
            ("x = { add = [], more = [] }", false),
        ] {
            let Kind::Table(table) = Value::parse(text, 0).unwrap().kind else { panic!("{text}") };
            assert_eq!(matches!(table["x"].value.kind, Kind::Change(_)), change, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "([\\[\\]{}='\"#.,a-z0-9 \\n\\\\]|\\PC)*") {
            drop(Value::parse(&text, 0));
        }
    }
}
