//! GVariant, the serialisation that ostree's objects are written in:
//! <https://docs.gtk.org/glib/gvariant-specification-1.0.html>.
//!
//! Little-endian, as ostree has it; fields that it wants big-endian are swapped by who fills them.
//! Only the normal form is read: one value has one serialisation, and what is not it is refused.
//! Maybe types, object paths and signatures are not here: ostree uses none.

/// So deep may types, and values within values, be.
const DEEPEST: usize = 16;

/// So long may the type be that a value brings: GLib's own limit is that of D-Bus. Whatever is looked
/// up in a type is looked up for each value of it.
const LONGEST_TYPE: usize = 255;

/// So many values may be in one: a few bytes can say many, and each takes some tens of bytes here. The
/// largest directory that is read has three for each name and is far below.
const MOST_VALUES: usize = 2 << 20;

/// Numbers of one size each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// `b`.
    Boolean,
    /// `y`.
    Byte,
    /// `n`.
    I16,
    /// `q`.
    U16,
    /// `i`.
    I32,
    /// `u`.
    U32,
    /// `x`.
    I64,
    /// `t`.
    U64,
    /// `d`.
    Double,
}

impl Number {
    const ALL: [Self; 9] = [
        Self::Boolean,
        Self::Byte,
        Self::I16,
        Self::U16,
        Self::I32,
        Self::U32,
        Self::I64,
        Self::U64,
        Self::Double,
    ];

    const fn code(self) -> char {
        match self {
            Self::Boolean => 'b',
            Self::Byte => 'y',
            Self::I16 => 'n',
            Self::U16 => 'q',
            Self::I32 => 'i',
            Self::U32 => 'u',
            Self::I64 => 'x',
            Self::U64 => 't',
            Self::Double => 'd',
        }
    }

    const fn size(self) -> usize {
        match self {
            Self::Boolean | Self::Byte => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 => 4,
            Self::I64 | Self::U64 | Self::Double => 8,
        }
    }
}

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// A number.
    Number(Number),
    /// `s`.
    Text,
    /// `v`: a value that brings its type.
    Variant,
    /// `a` and a type.
    Array(Box<Type>),
    /// Types in brackets.
    Tuple(Vec<Type>),
    /// Key and value in braces.
    Entry(Box<[Type; 2]>),
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number, by its bits.
    Number(Number, u64),
    /// `s`: text without NUL.
    Text(String),
    /// `v`.
    Variant(Box<Value>),
    /// `ay`, which is most of what there is.
    Bytes(Vec<u8>),
    /// Any other array: the type of what is in it, and what is in it.
    Array(Type, Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// An entry of a dictionary.
    Entry(Box<[Value; 2]>),
}

/// The bytes are not a value of the type that is wanted, in normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a GVariant of the type that it must have")]
pub struct NotNormal;

impl Type {
    /// The type that a string such as `(a{sv}ay)` says.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let this = Self::first(&mut rest, 0)?;
        rest.is_empty().then_some(this)
    }

    fn first(rest: &mut &str, depth: usize) -> Option<Self> {
        if depth > DEEPEST {
            return None;
        }
        let code = rest.chars().next()?;
        *rest = &rest[code.len_utf8()..];
        Some(match code {
            's' => Self::Text,
            'v' => Self::Variant,
            'a' => Self::Array(Box::new(Self::first(rest, depth + 1)?)),
            '(' => {
                let mut members = Vec::new();
                while !rest.starts_with(')') {
                    members.push(Self::first(rest, depth + 1)?);
                }
                *rest = &rest[1..];
                Self::Tuple(members)
            }
            '{' => {
                let key = Self::first(rest, depth + 1)?;
                let value = Self::first(rest, depth + 1)?;
                *rest = rest.strip_prefix('}')?;
                let basic = matches!(key, Self::Number(_) | Self::Text);
                basic.then(|| Self::Entry(Box::new([key, value])))?
            }
            _ => Self::Number(Number::ALL.into_iter().find(|number| number.code() == code)?),
        })
    }

    fn write(&self, text: &mut String) {
        match self {
            Self::Number(number) => text.push(number.code()),
            Self::Text => text.push('s'),
            Self::Variant => text.push('v'),
            Self::Array(item) => {
                text.push('a');
                item.write(text);
            }
            Self::Tuple(members) => {
                text.push('(');
                members.iter().for_each(|member| member.write(text));
                text.push(')');
            }
            Self::Entry(pair) => {
                text.push('{');
                pair.iter().for_each(|member| member.write(text));
                text.push('}');
            }
        }
    }

    /// How many types it is made of, itself included.
    fn parts(&self) -> usize {
        match self {
            Self::Number(_) | Self::Text | Self::Variant => 1,
            Self::Array(item) => 1 + item.parts(),
            Self::Tuple(members) => 1 + members.iter().map(Self::parts).sum::<usize>(),
            Self::Entry(pair) => 1 + pair[0].parts() + pair[1].parts(),
        }
    }

    fn alignment(&self) -> usize {
        match self {
            Self::Number(number) => number.size(),
            Self::Text => 1,
            Self::Variant => 8,
            Self::Array(item) => item.alignment(),
            Self::Tuple(members) => members.iter().map(Self::alignment).max().unwrap_or(1),
            Self::Entry(pair) => pair[0].alignment().max(pair[1].alignment()),
        }
    }

    /// The size that every value of this type has, if they have one.
    fn fixed_size(&self) -> Option<usize> {
        let all = |members: &[Self]| {
            let end = members.iter().try_fold(0_usize, |at, member| {
                Some(at.next_multiple_of(member.alignment()) + member.fixed_size()?)
            })?;
            // The empty tuple takes a byte.
            Some(end.next_multiple_of(self.alignment()).max(1))
        };
        match self {
            Self::Number(number) => Some(number.size()),
            Self::Text | Self::Variant | Self::Array(_) => None,
            Self::Tuple(members) => all(members),
            Self::Entry(pair) => all(&pair[..]),
        }
    }
}

impl Value {
    /// `y`, `u` and the like, by its bits.
    pub const fn number(number: Number, bits: u64) -> Self {
        Self::Number(number, bits)
    }

    /// A `u` as ostree writes it, big-endian.
    pub fn u32_be(number: u32) -> Self {
        Self::Number(Number::U32, number.swap_bytes().into())
    }

    /// A `t` as ostree writes it, big-endian.
    pub const fn u64_be(number: u64) -> Self {
        Self::Number(Number::U64, number.swap_bytes())
    }

    /// `s`.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// `a{sv}`.
    pub fn dictionary<'a>(entries: impl IntoIterator<Item = (&'a String, &'a Value)>) -> Self {
        let entry = |(key, value): (&String, &Value)| {
            Self::Entry(Box::new([Self::text(key), Self::Variant(Box::new(value.clone()))]))
        };
        let of = Type::Entry(Box::new([Type::Text, Type::Variant]));
        Self::Array(of, entries.into_iter().map(entry).collect())
    }

    /// Its type.
    pub fn of_type(&self) -> Type {
        match self {
            Self::Number(number, _) => Type::Number(*number),
            Self::Text(_) => Type::Text,
            Self::Variant(_) => Type::Variant,
            Self::Bytes(_) => Type::Array(Box::new(Type::Number(Number::Byte))),
            Self::Array(item, _) => Type::Array(Box::new(item.clone())),
            Self::Tuple(members) => Type::Tuple(members.iter().map(Self::of_type).collect()),
            Self::Entry(pair) => Type::Entry(Box::new([pair[0].of_type(), pair[1].of_type()])),
        }
    }

    /// The bytes of this value.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Number(number, bits) => bits.to_le_bytes()[..number.size()].to_vec(),
            Self::Text(text) => [text.as_bytes(), &[0]].concat(),
            Self::Variant(value) => {
                let mut bytes = value.encode();
                let mut code = String::new();
                value.of_type().write(&mut code);
                bytes.push(0);
                bytes.extend(code.as_bytes());
                bytes
            }
            Self::Bytes(bytes) => bytes.clone(),
            Self::Array(item, items) => array(item, items),
            Self::Tuple(members) => tuple(&self.of_type(), members),
            Self::Entry(pair) => tuple(&self.of_type(), &pair[..]),
        }
    }

    /// The value of this type that has these bytes.
    ///
    /// # Errors
    /// [`NotNormal`].
    pub fn decode(of: &Type, bytes: &[u8]) -> Result<Self, NotNormal> {
        let mut left = MOST_VALUES;
        let value = decode(of, bytes, 0, &mut left).ok_or(NotNormal)?;
        // There is one way to write it: padding, offsets and their size are as they must be.
        if value.encode() == bytes { Ok(value) } else { Err(NotNormal) }
    }
}

fn array(item: &Type, items: &[Value]) -> Vec<u8> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for value in items {
        bytes.resize(bytes.len().next_multiple_of(item.alignment()), 0);
        bytes.extend(value.encode());
        ends.push(bytes.len());
    }
    if item.fixed_size().is_none() {
        add_offsets(&mut bytes, &ends);
    }
    bytes
}

fn tuple(of: &Type, members: &[Value]) -> Vec<u8> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (index, value) in members.iter().enumerate() {
        let kind = value.of_type();
        bytes.resize(bytes.len().next_multiple_of(kind.alignment()), 0);
        bytes.extend(value.encode());
        if kind.fixed_size().is_none() && index + 1 < members.len() {
            ends.push(bytes.len());
        }
    }
    if let Some(size) = of.fixed_size() {
        bytes.resize(size, 0);
    }
    ends.reverse();
    add_offsets(&mut bytes, &ends);
    bytes
}

/// Where the parts of a container end stands behind them, in as few bytes as the container's own
/// size takes.
fn add_offsets(bytes: &mut Vec<u8>, ends: &[usize]) {
    let size = offset_size_for(bytes.len(), ends.len());
    for end in ends {
        bytes.extend(&end.to_le_bytes()[..size]);
    }
}

fn offset_size_for(body: usize, offsets: usize) -> usize {
    [1, 2, 4].into_iter().find(|size| offset_size(body + offsets * size) <= *size).unwrap_or(8)
}

/// Of a container of this size.
fn offset_size(size: usize) -> usize {
    match size {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

/// A value, whether or not it is written as it should be.
fn decode(of: &Type, bytes: &[u8], depth: usize, left: &mut usize) -> Option<Value> {
    if depth > DEEPEST {
        return None;
    }
    *left = left.checked_sub(1)?;
    let depth = depth + 1;
    Some(match of {
        Type::Number(number) => {
            let mut bits = [0; 8];
            let whole = bytes.len() == number.size();
            whole.then(|| bits[..bytes.len()].copy_from_slice(bytes))?;
            let bits = u64::from_le_bytes(bits);
            (*number != Number::Boolean || bits <= 1).then_some(Value::Number(*number, bits))?
        }
        Type::Text => {
            let text = std::str::from_utf8(bytes.strip_suffix(&[0])?).ok()?;
            (!text.contains('\0')).then(|| Value::text(text))?
        }
        Type::Variant => {
            let at = bytes.iter().rposition(|byte| *byte == 0)?;
            let code = bytes.get(at + 1..).filter(|code| code.len() <= LONGEST_TYPE)?;
            let of = Type::parse(std::str::from_utf8(code).ok()?)?;
            Value::Variant(Box::new(decode(&of, &bytes[..at], depth, left)?))
        }
        Type::Array(item) => decode_array(item, bytes, depth, left)?,
        Type::Tuple(members) => Value::Tuple(decode_tuple(of, members, bytes, depth, left)?),
        Type::Entry(pair) => {
            let pair = decode_tuple(of, &pair[..], bytes, depth, left)?;
            Value::Entry(Box::new(pair.try_into().ok()?))
        }
    })
}

fn decode_array(item: &Type, bytes: &[u8], depth: usize, left: &mut usize) -> Option<Value> {
    if *item == Type::Number(Number::Byte) {
        return Some(Value::Bytes(bytes.to_vec()));
    }
    // The value has the type with it.
    *left = left.checked_sub(item.parts())?;
    let items = if let Some(size) = item.fixed_size() {
        bytes.len().is_multiple_of(size).then_some(())?;
        bytes.chunks(size).map(|bytes| decode(item, bytes, depth, left)).collect::<Option<_>>()?
    } else if bytes.is_empty() {
        Vec::new()
    } else {
        let size = offset_size(bytes.len());
        // The last item ends where the offsets begin.
        let start = offset(bytes, bytes.len().checked_sub(size)?, size)?;
        let offsets = bytes.len().checked_sub(start)?;
        offsets.is_multiple_of(size).then_some(())?;
        let mut items = Vec::new();
        let mut at = 0_usize;
        for number in 0..offsets / size {
            let end = offset(bytes, start + number * size, size)?;
            let begin = at.next_multiple_of(item.alignment());
            items.push(decode(item, bytes[..start].get(begin..end)?, depth, left)?);
            at = end;
        }
        items
    };
    Some(Value::Array(item.clone(), items))
}

fn decode_tuple(
    of: &Type,
    members: &[Type],
    bytes: &[u8],
    depth: usize,
    left: &mut usize,
) -> Option<Vec<Value>> {
    let fixed = of.fixed_size();
    if fixed.is_some_and(|size| size != bytes.len()) {
        return None;
    }
    let size = offset_size(bytes.len());
    // Offsets stand at the end, the first one last.
    let mut table = bytes.len();
    let count = members.iter().rev().skip(1).filter(|member| member.fixed_size().is_none()).count();
    let body = bytes.len().checked_sub(count * size)?;
    let (mut at, mut values) = (0_usize, Vec::with_capacity(members.len()));
    for (index, member) in members.iter().enumerate() {
        let begin = at.next_multiple_of(member.alignment());
        at = match member.fixed_size() {
            Some(size) => begin.checked_add(size)?,
            None if index + 1 == members.len() => body,
            None => {
                table = table.checked_sub(size)?;
                offset(bytes, table, size)?
            }
        };
        values.push(decode(member, bytes[..body].get(begin..at)?, depth, left)?);
    }
    Some(values)
}

fn offset(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let mut number = [0; 8];
    number[..size].copy_from_slice(bytes.get(at..at.checked_add(size)?)?);
    usize::try_from(u64::from_le_bytes(number)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Type {
        Type::parse(text).unwrap()
    }

    /// The examples of the specification, section 2.6.
    #[test]
    fn the_examples_of_the_specification_are_written_as_they_stand_there() {
        let text = |text: &str| Value::text(text);
        let byte = |bits| Value::number(Number::Byte, bits);
        let i32 = |bits| Value::number(Number::I32, bits);
        let entry = |key: &str, value| Value::Entry(Box::new([text(key), value]));
        let fixed = Type::Tuple(vec![Type::Number(Number::I32), Type::Number(Number::Byte)]);
        for (kind, value, want) in [
            ("s", text("hello world"), &b"hello world\0"[..]),
            (
                "(si)",
                Value::Tuple(vec![text("foo"), i32(0xffff_ffff)]),
                b"foo\0\xff\xff\xff\xff\x04",
            ),
            (
                "((ys)as)",
                Value::Tuple(vec![
                    Value::Tuple(vec![byte(b'i'.into()), text("can")]),
                    Value::Array(Type::Text, vec![text("has"), text("strings?")]),
                ]),
                b"ican\0has\0strings?\0\x04\x0d\x05",
            ),
            (
                "a(iy)",
                Value::Array(
                    fixed,
                    vec![
                        Value::Tuple(vec![i32(96), byte(0x70)]),
                        Value::Tuple(vec![i32(648), byte(0xf7)]),
                    ],
                ),
                b"\x60\0\0\0\x70\0\0\0\x88\x02\0\0\xf7\0\0\0",
            ),
            ("ay", Value::Bytes(vec![4, 5, 6, 7]), &[4, 5, 6, 7]),
            (
                "a{si}",
                Value::Array(of("{si}"), vec![entry("a key", i32(514)), entry("b", i32(1))]),
                b"a key\0\0\0\x02\x02\0\0\x06\0\0\0b\0\0\0\x01\0\0\0\x02\x0d\x19",
            ),
            ("v", Value::Variant(Box::new(text("x"))), b"x\0\0s"),
            ("()", Value::Tuple(vec![]), b"\0"),
        ] {
            assert_eq!(value.encode(), want, "{kind}");
            assert_eq!(Value::decode(&of(kind), want), Ok(value), "{kind}");
        }
    }

    #[test]
    fn offsets_grow_with_the_container() {
        for (size, want) in [(200, 1), (253, 1), (254, 2), (65_000, 2), (65_535, 4)] {
            let value = Value::Tuple(vec![Value::Bytes(vec![7; size]), Value::text("")]);
            let bytes = value.encode();
            assert_eq!(bytes.len(), size + 1 + want, "{size}");
            assert_eq!(Value::decode(&of("(ays)"), &bytes), Ok(value));
        }
    }

    #[test]
    fn what_is_not_a_type_is_refused() {
        let deep = format!("{}s", "a".repeat(100));
        for text in ["", "ss", "(s", "{vs}", "{s}", "{sss}", "m", "é", ")", &deep] {
            assert_eq!(Type::parse(text), None, "{text}");
        }
    }

    #[test]
    fn another_way_to_write_a_value_is_refused() {
        for (kind, bytes) in [
            ("s", &b"a\0b\0"[..]),
            ("s", b"a"),
            ("s", b"\xff\0"),
            ("b", &[2]),
            ("u", &[0; 3]),
            ("(yu)", &[1, 1, 0, 0, 2, 0, 0, 0]),
            ("as", b"a\0b\0\x03\x02"),
            ("as", b"\0"),
            ("(ss)", b"a\0b\0\x09"),
            ("v", b"x\0\0"),
            ("v", b"\0"),
        ] {
            assert_eq!(Value::decode(&of(kind), bytes), Err(NotNormal), "{kind} {bytes:?}");
        }
    }

    const TYPES: [&str; 6] =
        ["(a{sv}aya(say)sstayay)", "(a(say)a(sayay))", "(uuuusa(ayay))", "v", "a(iy)", "a{sv}"];

    fn value() -> impl Strategy<Value = Value> {
        let number = (0..Number::ALL.len(), any::<u64>()).prop_map(|(which, bits)| {
            let number = Number::ALL[which];
            let mask = u64::MAX >> (64 - 8 * number.size());
            Value::Number(number, if number == Number::Boolean { bits & 1 } else { bits & mask })
        });
        let text = "[a-zé]{0,300}".prop_map(Value::Text);
        let leaf = prop_oneof![number, text, any::<Vec<u8>>().prop_map(Value::Bytes)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|value| Value::Variant(Box::new(value))),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Tuple),
                (inner, 0_usize..4).prop_filter_map("bytes are their own", |(value, count)| {
                    let of = value.of_type();
                    (of != Type::Number(Number::Byte))
                        .then(|| Value::Array(of, vec![value.clone(); count]))
                }),
            ]
        })
    }

    #[test]
    fn what_would_take_more_memory_or_time_than_its_bytes_is_refused() {
        // Each byte is a value.
        let many = |count| Value::decode(&of("ab"), &vec![1; count]).is_ok();
        assert!(many(1_000_000) && !many(MOST_VALUES));
        // Each value has a long type with it.
        let long = format!("aa({})", "y".repeat(200));
        let arrays = |count: usize| Value::decode(&of(&long), &vec![0; count * 2]).is_ok();
        assert!(arrays(9000) && !arrays(12_000));
        let variant = |code: &str| Value::decode(&of("v"), format!("\0{code}").as_bytes());
        let array = |length: usize| format!("a({})", "y".repeat(length - 3));
        assert!(variant(&array(LONGEST_TYPE)).is_ok());
        assert_eq!(variant(&array(LONGEST_TYPE + 1)), Err(NotNormal));
    }

    proptest! {
        #[test]
        fn a_value_comes_back_from_its_bytes(value in value()) {
            prop_assert_eq!(Value::decode(&value.of_type(), &value.encode()), Ok(value));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            which in 0..TYPES.len(), bytes in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Ok(value) = Value::decode(&of(TYPES[which]), &bytes) {
                prop_assert_eq!(value.encode(), bytes);
            }
        }
    }
}
