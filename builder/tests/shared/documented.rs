//! The tables of `docs/json.md`, and whether what a command prints is what they say: no field that
//! is not there, none of another type, none missing, and each one seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// The table of one section.
pub(crate) struct Table {
    section: String,
    types: BTreeMap<String, String>,
    seen: BTreeSet<String>,
}

/// The headings of all sections.
#[allow(dead_code, reason = "not every test that holds this file asks for them")]
pub(crate) fn sections() -> Vec<String> {
    page().lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect()
}

fn page() -> String {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(repository.join("docs/json.md")).unwrap()
}

impl Table {
    /// The table below this heading.
    pub(crate) fn of(section: &str) -> Self {
        let page = page();
        let heading = format!("## {section}");
        let mut lines = page.lines().skip_while(|line| *line != heading).skip(1).peekable();
        assert!(lines.peek().is_some(), "docs/json.md has no section {section}");
        let rows = lines.take_while(|line| !line.starts_with("## "));
        let types = rows.filter_map(|row| {
            let mut cells = row.strip_prefix("| `")?.split(" | ");
            let field = cells.next()?.strip_suffix('`')?;
            Some((field.to_owned(), cells.next()?.trim().to_owned()))
        });
        let types: BTreeMap<_, _> = types.collect();
        assert!(!types.is_empty(), "the section {section} has no table");
        Self { section: section.to_owned(), types, seen: BTreeSet::new() }
    }

    /// Checks an object that a command printed.
    pub(crate) fn check(&mut self, value: &Value) {
        assert!(value.is_object(), "{}: {value} is not an object", self.section);
        assert_eq!(value["schema"], 1, "{}: {value}", self.section);
        self.object("", value);
    }

    /// Checks that every field of the table has been seen.
    pub(crate) fn complete(&self) {
        let unseen: Vec<_> = self.types.keys().filter(|key| !self.seen.contains(*key)).collect();
        assert!(unseen.is_empty(), "{}: nobody has seen {unseen:?}", self.section);
    }

    fn object(&mut self, path: &str, value: &Value) {
        let join = |key: &str| if path.is_empty() { key.into() } else { format!("{path}.{key}") };
        let any = join("*");
        for (key, value) in value.as_object().unwrap() {
            let place = if self.types.contains_key(&any) { any.clone() } else { join(key) };
            self.field(&place, value);
        }
        for (field, kind) in &self.types {
            let Some((before, key)) = field.rsplit_once('.').or(Some(("", field))) else {
                continue;
            };
            if before == path && key != "*" && !kind.contains("optional") {
                assert!(value.get(key).is_some(), "{}: {value} lacks `{field}`", self.section);
            }
        }
    }

    fn field(&mut self, path: &str, value: &Value) {
        let section = self.section.clone();
        let Some(kind) = self.types.get(path).cloned() else {
            panic!("{section}: `{path}` is not documented: {value}")
        };
        self.seen.insert(path.to_owned());
        let kind = kind.trim_end_matches(", optional");
        let (kind, nullable) = match kind.strip_suffix(" or null") {
            Some(kind) => (kind, true),
            None => (kind, false),
        };
        let texts =
            |value: &Value| value.as_array().is_some_and(|a| a.iter().all(Value::is_string));
        let fits = match kind {
            _ if value.is_null() => nullable,
            "text" => value.is_string(),
            "number" => value.is_number(),
            "true or false" => value.is_boolean(),
            "list" => value.is_array(),
            "list of text" => texts(value),
            "list of lists of text" => value.as_array().is_some_and(|a| a.iter().all(texts)),
            "object" => value.is_object(),
            kind => panic!("{section}: no such type: {kind}"),
        };
        assert!(fits, "{section}: `{path}` is no {kind}: {value}");
        // An object without rows of its own is described elsewhere.
        let item = format!("{path}[]");
        let described = |prefix: &str| self.types.keys().any(|field| field.starts_with(prefix));
        let (fields, items) = (described(&format!("{path}.")), described(&format!("{item}.")));
        if kind == "object" && value.is_object() && fields {
            self.object(path, value);
        }
        if kind == "list" {
            assert!(items, "{section}: what is in `{path}` is not described");
            value.as_array().into_iter().flatten().for_each(|value| self.object(&item, value));
        }
    }
}
