//! Which units changed, and in which keys.

use std::collections::BTreeMap;

use formats::quote;
use serde::Serialize;
use toml::Value;

use super::side::Side;
use super::{Change, both};

/// A unit that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnitChange {
    /// Its name.
    pub name: String,
    /// What happened.
    pub change: Change,
    /// The keys that differ; all of a unit that came or went.
    pub keys: Vec<KeyChange>,
}

/// A key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// With its tables, such as `sandbox.capabilities`.
    pub key: String,
    /// The value on the first side, as TOML.
    pub before: Option<String>,
    /// The value on the second side.
    pub after: Option<String>,
}

/// Units that differ, by name. A comment is no difference.
pub fn changes(before: &Side, after: &Side) -> Option<Vec<UnitChange>> {
    let (before, after) = (before.units.as_ref()?, after.units.as_ref()?);
    let nothing = BTreeMap::new();
    let changes =
        both(before, after).filter_map(|(name, before, after)| {
            let change = Change::of(before, after)?;
            let (before, after) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
            let keys = both(before, after).filter(|(_, before, after)| before != after);
            let key = |(key, before, after): (&String, Option<&String>, Option<&String>)| {
                KeyChange { key: key.clone(), before: before.cloned(), after: after.cloned() }
            };
            Some(UnitChange { name: name.clone(), change, keys: keys.map(key).collect() })
        });
    Some(changes.collect())
}

/// The keys of a unit with their values, as TOML writes them. What is no TOML is one key, as PID 1
/// takes nothing of it.
pub fn keys(text: &str) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    match text.parse::<toml::Table>() {
        Ok(table) => flatten("", &table, &mut keys),
        Err(_) => drop(keys.insert("(not TOML)".to_owned(), text.to_owned())),
    }
    keys
}

fn flatten(before: &str, table: &toml::Table, keys: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let key = if before.is_empty() { key.clone() } else { format!("{before}.{key}") };
        match value {
            Value::Table(table) => flatten(&key, table, keys),
            value => drop(keys.insert(key, shown(value))),
        }
    }
}

/// A value as TOML writes it, on one line.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote::string(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        Value::Datetime(moment) => moment.to_string(),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(shown).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Table(table) => {
            let pairs = table.iter().map(|(key, value)| format!("{key} = {}", shown(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}
