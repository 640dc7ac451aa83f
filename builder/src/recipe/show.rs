//! `orlop recipe show`: the merged recipe as TOML that can be read again, defaults included, each
//! value with the line it came from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use formats::quote;
use serde_json::{Map, Value as Json};

use super::Loaded;

/// The order of the top-level keys: that of [`super::model::Recipe`]. The rest is sorted.
const ORDER: [&str; 17] = [
    "schema",
    "name",
    "description",
    "arch",
    "os",
    "kernel",
    "debian",
    "go",
    "cargo",
    "url",
    "local",
    "oci",
    "apparmor",
    "users",
    "tree",
    "disk",
    "budget",
];

pub(super) fn show(loaded: &Loaded) -> String {
    let json = serde_json::to_value(&loaded.recipe)
        .expect("a recipe is tables with string keys, strings and numbers");
    let Json::Object(recipe) = json else { unreachable!("a recipe is a table") };
    let mut show = Show { loaded, text: String::new() };
    show.table(&mut Vec::new(), &recipe);
    show.text
}

/// The same places, by key.
pub(super) fn origins(loaded: &Loaded) -> BTreeMap<String, String> {
    let json = serde_json::to_value(&loaded.recipe)
        .expect("a recipe is tables with string keys, strings and numbers");
    let show = Show { loaded, text: String::new() };
    let mut origins = BTreeMap::new();
    show.origins(&mut Vec::new(), &json, &mut origins);
    origins
}

struct Show<'a> {
    loaded: &'a Loaded,
    text: String,
}

impl Show<'_> {
    /// Values of the table first, then the tables in it.
    fn table<'k>(&mut self, keys: &mut Vec<&'k str>, table: &'k Map<String, Json>) {
        let mut entries: Vec<_> = table.iter().collect();
        if keys.is_empty() {
            let rank = |key: &str| ORDER.iter().position(|known| *known == key);
            entries.sort_by_key(|(key, _)| rank(key).unwrap_or(ORDER.len()));
        }
        let (tables, values): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(_, value)| value.is_object());
        for (key, value) in values {
            keys.push(key);
            self.value(keys, value);
            keys.pop();
        }
        for (key, value) in tables {
            let Json::Object(inner) = value else { continue };
            keys.push(key);
            let has_values = inner.values().any(|value| !value.is_object());
            let written = self.loaded.origins.value(keys).is_some();
            if has_values || (inner.is_empty() && written) {
                let header: Vec<_> = keys.iter().map(|key| quote::key(key)).collect();
                self.line(&format!("\n[{}]", header.join(".")));
            }
            self.table(keys, inner);
            keys.pop();
        }
    }

    fn value(&mut self, keys: &[&str], value: &Json) {
        let key = quote::key(keys[keys.len() - 1]);
        let origin = self.origin(keys);
        match value {
            Json::Array(items) if !items.is_empty() => {
                self.line(&format!("{key} = ["));
                for item in items {
                    let text = item.as_str().unwrap_or_default();
                    let written = self.loaded.origins.item(keys, text);
                    let from = written.map(|value| self.loaded.origins.sources.short(&value.place));
                    let from = from.as_deref().unwrap_or(&origin);
                    self.line(&format!("    {}, # {from}", scalar(item)));
                }
                self.line("]");
            }
            value => self.line(&format!("{key} = {} # {origin}", scalar(value))),
        }
    }

    fn origins<'k>(
        &self,
        keys: &mut Vec<&'k str>,
        value: &'k Json,
        origins: &mut BTreeMap<String, String>,
    ) {
        if let Json::Object(table) = value {
            for (key, value) in table {
                keys.push(key);
                self.origins(keys, value, origins);
                keys.pop();
            }
        } else {
            let dotted: Vec<_> = keys.iter().map(|key| quote::key(key)).collect();
            origins.insert(dotted.join("."), self.origin(keys));
        }
    }

    fn origin(&self, keys: &[&str]) -> String {
        let origins = &self.loaded.origins;
        origins
            .value(keys)
            .map_or_else(|| "default".to_owned(), |value| origins.sources.short(&value.place))
    }

    fn line(&mut self, line: &str) {
        let line = if self.text.is_empty() { line.trim_start() } else { line };
        writeln!(self.text, "{line}").expect("writing to a string cannot fail");
    }
}

fn scalar(value: &Json) -> String {
    match value {
        Json::String(text) => quote::string(text),
        Json::Array(_) => "[]".to_owned(),
        value => value.to_string(),
    }
}
