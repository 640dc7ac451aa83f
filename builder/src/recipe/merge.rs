//! How one recipe file lies over another: scalars replace, tables merge, lists are changed by
//! `{ add = [..], remove = [..] }` or `{ set = [..] }`.

use formats::near::near;

use super::problem::{Problem, Sources};
use super::value::{CHANGE_KEYS, Change, Entry, Kind, Table, Value};
use crate::error::Id;

/// Lays one table after another over nothing; the last one wins.
#[derive(Debug)]
pub(super) struct Merge<'a> {
    sources: &'a Sources,
    /// What cannot be done.
    pub(super) problems: Vec<Problem>,
    /// What has no effect.
    pub(super) warnings: Vec<Problem>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(sources: &'a Sources) -> Self {
        Self { sources, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Lays the table `over` over `under`. `path` is the key path of both, empty at the top.
    pub(super) fn tables(&mut self, under: &mut Table, over: Table, path: &str) {
        for (key, entry) in over {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match under.get_mut(&key) {
                Some(inherited) => self.entries(inherited, entry, &path),
                None => {
                    let value = self.settled(entry.value, &path);
                    under.insert(key, Entry { key: entry.key, value });
                }
            }
        }
    }

    fn entries(&mut self, under: &mut Entry, over: Entry, path: &str) {
        let Entry { key, value: Value { kind, place } } = over;
        match (&mut under.value.kind, kind) {
            (Kind::Table(inherited), Kind::Table(table)) => {
                self.tables(inherited, table, path);
                *under = Entry { key, value: Value { kind: under.value.kind.clone(), place } };
            }
            (Kind::List(items), Kind::Change(change)) => {
                let new = Value { kind: Kind::Change(change.clone()), place };
                self.change(items, change, &new, path);
            }
            (Kind::List(_), Kind::List(_)) => {
                let from = self.sources.short(&under.value.place);
                self.problems.push(
                    Problem::new(
                        Id::RecipeList,
                        format!("`{path}` is a list inherited from {from}: say how to change it"),
                    )
                    .at(&place)
                    .hint("write { add = [..] }, { remove = [..] } or { set = [..] }"),
                );
            }
            (Kind::List(_), Kind::Table(table)) => self.not_a_change(&table, &place, path),
            (_, kind) => {
                let value = self.settled(Value { kind, place }, path);
                *under = Entry { key, value };
            }
        }
    }

    /// A value that lies over nothing: a change becomes a list, for every list begins empty.
    fn settled(&mut self, value: Value, path: &str) -> Value {
        let place = value.place.clone();
        let kind = match value.kind {
            Kind::Change(change) => {
                let mut items = Vec::new();
                let at = Value { kind: Kind::List(Vec::new()), place: place.clone() };
                self.change(&mut items, change, &at, path);
                Kind::List(items)
            }
            Kind::List(items) => {
                self.warn_of_repeats(&items, path);
                Kind::List(items)
            }
            Kind::Table(table) => {
                let mut settled = Table::new();
                self.tables(&mut settled, table, path);
                Kind::Table(settled)
            }
            kind => kind,
        };
        Value { kind, place }
    }

    fn change(&mut self, items: &mut Vec<Value>, change: Change, at: &Value, path: &str) {
        if let Some(set) = change.set {
            if !change.add.is_empty() || !change.remove.is_empty() {
                self.problems.push(
                    Problem::new(
                        Id::RecipeList,
                        format!("`{path}` has `set` beside `add` or `remove`"),
                    )
                    .at(&at.place)
                    .hint("`set` gives the whole list: put the others into it"),
                );
            }
            self.warn_of_repeats(&set, path);
            *items = set;
            return;
        }
        for gone in &change.remove {
            let before = items.len();
            items.retain(|item| !item.same(gone));
            if items.len() == before {
                self.problems.push(not_there(gone, items, path));
            }
        }
        for new in change.add {
            match items.iter().find(|item| item.same(&new)) {
                None => items.push(new),
                Some(old) => {
                    let from = self.sources.short(&old.place);
                    self.warnings.push(
                        Problem::new(
                            Id::RecipeList,
                            format!("`{path}` has {} already, from {from}", shown(&new)),
                        )
                        .at(&new.place),
                    );
                }
            }
        }
    }

    fn warn_of_repeats(&mut self, items: &[Value], path: &str) {
        for (index, item) in items.iter().enumerate() {
            if items[..index].iter().any(|earlier| earlier.same(item)) {
                let message = format!("`{path}` has {} twice", shown(item));
                self.warnings.push(Problem::new(Id::RecipeList, message).at(&item.place));
            }
        }
    }

    fn not_a_change(&mut self, table: &Table, place: &super::problem::Place, path: &str) {
        let wrong = table.iter().find(|(key, _)| !CHANGE_KEYS.contains(&key.as_str()));
        let problem = match wrong {
            Some((key, entry)) => {
                let message = format!("`{key}` does not change the list `{path}`");
                let problem = Problem::new(Id::RecipeList, message).at(&entry.key);
                match near(key, CHANGE_KEYS) {
                    Some(meant) => problem.hint(format!("did you mean `{meant}`?")),
                    None => problem.hint("a list is changed by `add`, `remove` or `set`"),
                }
            }
            None => {
                let message = format!("what changes the list `{path}` must be lists");
                Problem::new(Id::RecipeList, message)
                    .at(place)
                    .hint("write { add = [..] }, { remove = [..] } or { set = [..] }")
            }
        };
        self.problems.push(problem);
    }
}

fn not_there(gone: &Value, items: &[Value], path: &str) -> Problem {
    let message = format!("`{path}` has no {} that could be removed", shown(gone));
    let problem = Problem::new(Id::RecipeList, message).at(&gone.place);
    let known = items.iter().filter_map(Value::as_str);
    match gone.as_str().and_then(|word| near(word, known)) {
        Some(meant) => problem.hint(format!("did you mean `{meant}`?")),
        None => problem.hint("`orlop recipe show` prints what is there, and where it came from"),
    }
}

/// A list's item in a message.
fn shown(item: &Value) -> String {
    item.as_str().map_or_else(|| format!("such {}", item.kind_name()), |text| format!("`{text}`"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::super::problem::File;
    use super::*;

    fn merge(layers: &[&str]) -> (Result<serde_json::Value, Vec<String>>, Vec<String>) {
        let files = layers.iter().enumerate().map(|(index, text)| File {
            path: PathBuf::from(format!("{index}.toml")),
            directory: PathBuf::new(),
            text: (*text).to_owned(),
        });
        let sources = Sources(files.collect());
        let mut merge = Merge::new(&sources);
        let mut table = Table::new();
        for (index, text) in layers.iter().enumerate() {
            let Kind::Table(over) = Value::parse(text, index).unwrap().kind else { panic!() };
            merge.tables(&mut table, over, "");
        }
        let texts = |problems: &[Problem]| {
            problems.iter().map(|problem| problem.full_text(&sources)).collect::<Vec<_>>()
        };
        let place = super::super::problem::Place { file: 0, span: None };
        let result = if merge.problems.is_empty() {
            Ok(Value { kind: Kind::Table(table), place }.to_json())
        } else {
            Err(texts(&merge.problems))
        };
        (result, texts(&merge.warnings))
    }

    #[test]
    fn scalars_replace_tables_merge_and_lists_change() {
        for (layers, want) in [
            (&["a = 1", "a = 2"][..], r#"{"a":2}"#),
            (&["a.b = 1", "a.c = 2"], r#"{"a":{"b":1,"c":2}}"#),
            (&["a.b = 1", "a.b = 'x'"], r#"{"a":{"b":"x"}}"#),
            (&["a = ['x']", "a = { add = ['y'] }"], r#"{"a":["x","y"]}"#),
            (&["a = ['x', 'y']", "a.remove = ['x']"], r#"{"a":["y"]}"#),
            (&["a = ['x']", "a = { remove = ['x'], add = ['x', 'y'] }"], r#"{"a":["x","y"]}"#),
            (&["a = ['x']", "a.set = ['y']", "a.add = ['z']"], r#"{"a":["y","z"]}"#),
            (&["b = 1", "a.add = ['y']", "a.add = ['z']"], r#"{"a":["y","z"],"b":1}"#),
            (&["a.b.c.add = ['y']"], r#"{"a":{"b":{"c":["y"]}}}"#),
            (&["a = ['x']", "a.set = []"], r#"{"a":[]}"#),
        ] {
            let (result, warnings) = merge(layers);
            assert_eq!(result.unwrap().to_string(), want, "{layers:?}");
            assert_eq!(warnings, [""; 0], "{layers:?}");
        }
    }

    #[test]
    fn a_change_that_cannot_be_made_says_why() {
        for (layers, want) in [
            (
                &["a = ['x']", "a = ['y']"][..],
                "`a` is a list inherited from 0.toml:1: say how to change it\n  1.toml:1:5\n   \
                 1 | a = ['y']\n     |     ^^^^^\n  \
                 hint: write { add = [..] }, { remove = [..] } or { set = [..] }",
            ),
            (
                &["a = ['overlay']", "a.remove = ['overlai']"],
                "`a` has no `overlai` that could be removed\n  1.toml:1:13\n   \
                 1 | a.remove = ['overlai']\n     |             ^^^^^^^^^\n  \
                 hint: did you mean `overlay`?",
            ),
            (
                &["a = ['x']", "a = { ad = ['y'] }"],
                "`ad` does not change the list `a`\n  1.toml:1:7\n   \
                 1 | a = { ad = ['y'] }\n     |       ^^\n  hint: did you mean `add`?",
            ),
            (
                &["a = ['x']", "a = { add = 'y' }"],
                "what changes the list `a` must be lists\n  1.toml:1:5\n   \
                 1 | a = { add = 'y' }\n     |     ^^^^^^^^^^^^^\n  \
                 hint: write { add = [..] }, { remove = [..] } or { set = [..] }",
            ),
            (
                &["a = ['x']", "a = { add = ['y'], set = [] }"],
                "`a` has `set` beside `add` or `remove`\n  1.toml:1:5\n   \
                 1 | a = { add = ['y'], set = [] }\n     |     ^^^^^^^^^^^^^^^^^^^^^^^^^\n  \
                 hint: `set` gives the whole list: put the others into it",
            ),
        ] {
            assert_eq!(merge(layers).0.unwrap_err(), [want]);
        }
    }

    #[test]
    fn what_is_there_already_is_a_warning() {
        let (result, warnings) = merge(&["a = ['x', 'x']", "\na.add = ['x', 'y']"]);
        assert_eq!(result.unwrap().to_string(), r#"{"a":["x","x","y"]}"#);
        assert_eq!(
            warnings,
            [
                "`a` has `x` twice\n  0.toml:1:11\n   1 | a = ['x', 'x']\n     |           ^^^",
                "`a` has `x` already, from 0.toml:1\n  1.toml:2:10\n   2 | a.add = ['x', 'y']\n     \
                 |          ^^^"
            ]
        );
    }

    fn items() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0..6_u8, 0..6)
    }

    fn layer() -> impl Strategy<Value = String> {
        let scalar = (0..3_u8, 0..3_u8, 0..9_u8).prop_map(|(a, b, n)| format!("k{a}.k{b} = {n}\n"));
        let lines = proptest::collection::btree_map(0..9_u8, scalar, 0..5);
        lines.prop_map(|lines| {
            let mut seen = std::collections::BTreeSet::new();
            let fresh = |line: &String| seen.insert(line.split(" = ").next().map(str::to_owned));
            lines.into_values().filter(fresh).collect()
        })
    }

    proptest! {
        #[test]
        fn a_list_changes_as_a_list_of_numbers_would(
            old in items(), add in items(), remove in items(),
        ) {
            let (result, _) = merge(&[
                &format!("a = {old:?}"),
                &format!("a = {{ add = {add:?}, remove = {remove:?} }}"),
            ]);
            let mut want = old.clone();
            let mut possible = true;
            for gone in remove {
                possible &= want.contains(&gone);
                want.retain(|item| *item != gone);
            }
            for new in add {
                if !want.contains(&new) {
                    want.push(new);
                }
            }
            match result {
                Ok(json) => {
                    prop_assert!(possible);
                    prop_assert_eq!(json, serde_json::json!({ "a": want }));
                }
                Err(_) => prop_assert!(!possible),
            }
        }

        #[test]
        fn the_last_layer_wins_key_by_key(layers in proptest::collection::vec(layer(), 1..4)) {
            let texts: Vec<&str> = layers.iter().map(String::as_str).collect();
            let mut want = serde_json::Map::new();
            for line in layers.iter().flat_map(|layer| layer.lines()) {
                let (path, number) = line.split_once(" = ").unwrap();
                let (outer, inner) = path.split_once('.').unwrap();
                let table = want.entry(outer).or_insert_with(|| serde_json::json!({}));
                table[inner] = number.parse::<i64>().unwrap().into();
            }
            prop_assert_eq!(merge(&texts).0, Ok(serde_json::Value::Object(want)));
        }
    }
}
