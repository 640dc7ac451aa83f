//! YAML as kubelet reads it: parsed by a crate, what plain scalars mean by the rules of Go's
//! `go.yaml.in/yaml/v2`, which are those of YAML 1.1 in part: `yes` and `on` are booleans, `010` is 8.
//! JSON is YAML.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::Fault;

/// So many lists and tables may stand in each other, and so many values in all with those that
/// aliases repeat: a manifest has a fraction, and a hostile one ends there.
const DEEPEST: usize = 64;
const MOST: usize = 100_000;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// From 0.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    /// Without more than 64 bits.
    Integer(i128),
    Fraction(f64),
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

/// The first document of a text.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Node,
    /// The line on which something else begins.
    pub(super) more: Option<usize>,
}

impl Node {
    /// The value of a key, `None` if this is no table, or the key is not there or null.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(map) = &self.value else { return None };
        map.get(key).filter(|node| node.value != Value::Null)
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What stands in the list of a key; nothing if there is none.
    pub(super) fn items(&self, key: &str) -> &[Self] {
        match self.get(key).map(|node| &node.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }
}

/// Reads the first document.
pub(super) fn first_document(text: &str) -> Result<Document, Fault> {
    let mut reader =
        Reader { events: Parser::new_from_str(text), anchors: BTreeMap::new(), room: MOST };
    loop {
        match reader.next()? {
            (Event::DocumentStart(_), _) => break,
            (Event::StreamEnd, span) => {
                return Err(fault(&span, "there is no document in it"));
            }
            _ => {}
        }
    }
    let (event, span) = reader.next()?;
    let root = reader.node(event, &span, 0)?;
    let mut more = None;
    // kubelet does not read on, so a mistake behind the document is none.
    while let Ok((event, span)) = reader.next() {
        match event {
            Event::StreamEnd => break,
            Event::Scalar(text, ..) if text.is_empty() => {}
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => {
                more = Some(line(&span));
                break;
            }
            _ => {}
        }
    }
    Ok(Document { root, more })
}

fn line(span: &Span) -> usize {
    span.start.line().saturating_sub(1)
}

fn fault(span: &Span, message: &str) -> Fault {
    Fault { line: line(span), message: message.to_owned() }
}

struct Reader<'t> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: BTreeMap<usize, Node>,
    room: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Fault> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Fault {
                line: error.marker().line().saturating_sub(1),
                message: format!("not YAML: {}", error.info()),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Node, Fault> {
        if depth > DEEPEST {
            return Err(fault(span, "too many lists and tables stand in each other"));
        }
        self.take_room(1, span)?;
        let (anchor, value) = match event {
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node = node.ok_or_else(|| fault(span, "an alias of something unfinished"))?;
                self.take_room(size(&node), span)?;
                return Ok(Node { line: line(span), ..node });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.filter(|tag| tag.is_yaml_core_schema());
                let text_by_tag = tag.is_some_and(|tag| tag.suffix == "str");
                let plain = style == ScalarStyle::Plain && !text_by_tag;
                (anchor, if plain { resolve(&text) } else { Value::Text(text.into_owned()) })
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    match event {
                        Event::SequenceEnd => break,
                        event => items.push(self.node(event, &span, depth + 1)?),
                    }
                }
                (anchor, Value::List(items))
            }
            Event::MappingStart(anchor, _) => (anchor, Value::Map(self.map(depth)?)),
            _ => return Err(fault(span, "not YAML: something ends too early")),
        };
        let node = Node { line: line(span), value };
        if anchor > 0 {
            self.take_room(size(&node), span)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn map(&mut self, depth: usize) -> Result<BTreeMap<String, Node>, Fault> {
        let (mut map, mut merged) = (BTreeMap::new(), Vec::new());
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = match self.node(event, &span, depth + 1)?.value {
                Value::Text(text) => text,
                Value::Integer(number) => number.to_string(),
                Value::Fraction(number) => number.to_string(),
                Value::Boolean(boolean) => boolean.to_string(),
                _ => return Err(fault(&span, "a key must be a text")),
            };
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            if merge {
                merged.push(value);
            } else {
                map.insert(key, value);
            }
        }
        // What stands in the table itself wins over what is merged into it.
        for node in merged {
            let tables = match node.value {
                Value::List(items) => items,
                _ => vec![node],
            };
            for table in tables {
                let Value::Map(more) = table.value else {
                    let message = "only tables can be merged by `<<`".to_owned();
                    return Err(Fault { line: table.line, message });
                };
                for (key, value) in more {
                    if let Entry::Vacant(entry) = map.entry(key) {
                        entry.insert(value);
                    }
                }
            }
        }
        Ok(map)
    }

    fn take_room(&mut self, count: usize, span: &Span) -> Result<(), Fault> {
        let room = self.room.checked_sub(count);
        self.room = room.ok_or_else(|| fault(span, "it has more values than any pod"))?;
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(map) => 1 + map.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// What a scalar without quotes means.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Value::Boolean(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Boolean(false);
        }
        _ => {}
    }
    let number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    let plain = text.replace('_', "");
    if !number || plain.is_empty() {
        return Value::Text(text.to_owned());
    }
    if let Some(number) = integer(&plain) {
        return Value::Integer(number);
    }
    let decimal = plain.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && plain.bytes().any(|byte| byte.is_ascii_digit());
    match plain.parse::<f64>() {
        // JSON writes it without its point.
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
        Ok(number) if decimal && number.fract() == 0.0 && number.abs() < 1e15 => {
            Value::Integer(number as i128)
        }
        Ok(number) if decimal => Value::Fraction(number),
        _ => Value::Text(text.to_owned()),
    }
}

/// As `strconv.ParseInt` of Go reads it with base 0, and `ParseUint` after it.
fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let number = sign * i128::from_str_radix(digits, radix).ok()?;
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number).then_some(number)
}
