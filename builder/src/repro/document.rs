//! Two JSON documents: key by key, items of lists by their names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::content;
use super::place::{Finding, Part};

/// As much of a value is shown.
const SHOWN: usize = 100;

/// All that differs; nothing, if one of them is no JSON, or if they say the same in another form.
pub(super) fn compare(one: &[u8], two: &[u8]) -> Vec<Finding> {
    let (Ok(one), Ok(two)) = (serde_json::from_slice(one), serde_json::from_slice(two)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    walk("", &one, &two, &mut found);
    found
}

fn walk(path: &str, one: &Value, two: &Value, found: &mut Vec<Finding>) {
    if one == two {
        return;
    }
    let key = |path: String| Part::Key { name: path };
    match (one, two) {
        (Value::Object(ones), Value::Object(twos)) => {
            let names: BTreeSet<_> = ones.keys().chain(twos.keys()).collect();
            for name in names {
                let dot = if path.is_empty() { "" } else { "." };
                let inner = format!("{path}{dot}{name}");
                match (ones.get(name), twos.get(name)) {
                    (Some(one), Some(two)) => walk(&inner, one, two, found),
                    (one, _) => found.push(Finding::presence(key(inner), one.is_some())),
                }
            }
        }
        (Value::Array(ones), Value::Array(twos)) => {
            if let (Some(ones), Some(twos)) = (by_label(ones), by_label(twos)) {
                let before = found.len();
                let labels: BTreeSet<_> = ones.keys().chain(twos.keys()).collect();
                for label in labels {
                    let inner = format!("{path}[{label}]");
                    match (ones.get(label), twos.get(label)) {
                        (Some(one), Some(two)) => walk(&inner, one, two, found),
                        (one, _) => found.push(Finding::presence(key(inner), one.is_some())),
                    }
                }
                if found.len() == before {
                    found.push(Finding::at([key(path.to_owned()), Part::Order]));
                }
            } else if sorted(ones) == sorted(twos) {
                found.push(Finding::at([key(path.to_owned()), Part::Order]));
            } else {
                for index in 0..ones.len().max(twos.len()) {
                    let inner = format!("{path}[{index}]");
                    match (ones.get(index), twos.get(index)) {
                        (Some(one), Some(two)) => walk(&inner, one, two, found),
                        (one, _) => found.push(Finding::presence(key(inner), one.is_some())),
                    }
                }
            }
        }
        _ => {
            let looks = match (one, two) {
                (Value::String(one), Value::String(two)) => content::looks(one, two),
                _ => content::looks(&one.to_string(), &two.to_string()),
            };
            let at = Finding::at([key(path.to_owned())]).values(shown(one), shown(two));
            let root_hash = match (one, two) {
                (Value::String(one), Value::String(two)) => content::only_root_hash(one, two),
                _ => false,
            };
            found.push(Finding { looks, root_hash, ..at });
        }
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn sorted(values: &[Value]) -> Vec<String> {
    let mut texts: Vec<_> = values.iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

/// The items by what each is called, if each is called something else.
fn by_label(values: &[Value]) -> Option<BTreeMap<String, &Value>> {
    let mut labelled = BTreeMap::new();
    for value in values {
        if labelled.insert(label(value)?, value).is_some() {
            return None;
        }
    }
    (!labelled.is_empty()).then_some(labelled)
}

/// What an item of a list is called: files of `contents.json` by place and path, elements of SPDX
/// and CycloneDX by their ids, all else by name.
fn label(value: &Value) -> Option<String> {
    let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
    if let (Some(place), Some(path)) = (text("place"), text("path")) {
        return Some(format!("{place} {path}"));
    }
    ["SPDXID", "bom-ref", "name", "ref", "path"].into_iter().find_map(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::repro::place::Looks;

    fn places(one: &Value, two: &Value) -> Vec<String> {
        let bytes = |value: &Value| serde_json::to_vec(value).unwrap();
        compare(&bytes(one), &bytes(two)).iter().map(|found| found.place.to_string()).collect()
    }

    #[test]
    fn a_value_is_named_by_its_keys_and_items_by_their_names() {
        let one = json!({
            "a": { "b": 1 }, "n": [1, 2, 3],
            "artifacts": [{ "name": "x", "size": 1 }, { "name": "y", "size": 1 }],
            "files": [{ "place": "root", "path": "/a", "mode": "0644" }],
        });
        let change = |pointer: &str, value: Value| {
            let mut two = one.clone();
            *two.pointer_mut(pointer).unwrap() = value;
            places(&one, &two)
        };
        assert_eq!(places(&one, &one), [""; 0]);
        assert_eq!(change("/a/b", json!(2)), ["`a.b`"]);
        assert_eq!(change("/n", json!([1, 3, 2])), ["`n`, order"]);
        assert_eq!(change("/n/1", json!(9)), ["`n[1]`"]);
        assert_eq!(change("/artifacts/1/size", json!(2)), ["`artifacts[y].size`"]);
        assert_eq!(change("/artifacts/1/name", json!("z")).len(), 2);
        assert_eq!(change("/files/0/mode", json!("0600")), ["`files[root /a].mode`"]);
        assert_eq!(change("/a", json!({})), ["`a.b`, is in one of them only"]);
        let found = compare(br#"{"t":"2026-11-29T10:00:00Z"}"#, br#"{"t":"2027-11-29T10:00:00Z"}"#);
        assert_eq!(found[0].looks, Some(Looks::Time));
        assert_eq!(compare(b"{", b"{}"), []);
    }
}
