//! JSON as YAML that people read: blocks, lists of plain values on a line. YAML 1.2 takes JSON's strings as
//! they are, so whatever is not plain is written as one.

use serde_json::Value;

/// A document, without `---`.
pub(super) fn document(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                *text += &format!("{indent}{}:", scalar(key));
                member(value, depth + 1, text);
            }
        }
        Value::Array(items) if !is_flow(value) => {
            for item in items {
                let mut inner = String::new();
                block(item, depth + 1, &mut inner);
                // The first line stands behind the dash.
                let inner = inner.trim_start();
                *text += &format!("{indent}- {inner}");
            }
        }
        value => *text += &format!("{indent}{}\n", flow(value)),
    }
}

/// What stands behind a key.
fn member(value: &Value, depth: usize, text: &mut String) {
    if is_flow(value) {
        *text += &format!(" {}\n", flow(value));
    } else {
        text.push('\n');
        block(value, depth, text);
    }
}

/// Whether it stands on one line.
fn is_flow(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => !items.iter().any(|it| it.is_object() || it.is_array()),
        _ => true,
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        value => value.to_string(),
    }
}

/// Plain if no reader of YAML 1.1 or 1.2 can take it for something else.
fn scalar(text: &str) -> String {
    let other = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._/".contains(c))
        && !other.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_becomes_blocks_that_people_read() {
        let value = json!({
            "apiVersion": "v1",
            "empty": [{}, []],
            "flags": { "on": true, "y": "yes", "none": null, "count": 3 },
            "rules": [
                { "apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create", "get"] },
                { "deep": [{ "a": [1, 2] }, { "b": { "c": "d: e" } }] },
            ],
        });
        expect![[r#"
            apiVersion: v1
            empty:
              - {}
              - []
            flags:
              count: 3
              none: null
              "on": true
              "y": "yes"
            rules:
              - apiGroups: [""]
                resources: [pods/eviction]
                verbs: [create, get]
              - deep:
                  - a: [1, 2]
                  - b:
                      c: "d: e"
        "#]]
        .assert_eq(&document(&value));
    }
}
