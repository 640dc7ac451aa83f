//! Messages of Protocol Buffers, as far as their wire format goes
//! (<https://protobuf.dev/programming-guides/encoding/>): what the fields mean, the caller knows.

/// A message being written. A field with its default value is left out, as proto3 asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// One without any field.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a `string`.
    pub fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    /// Adds `bytes`.
    pub fn bytes(self, field: u32, bytes: &[u8]) -> Self {
        if bytes.is_empty() { self } else { self.delimited(field, bytes) }
    }

    /// Adds an `int32`, `int64`, `uint32`, `uint64`, `bool` or an enumeration; none of ours is
    /// negative.
    pub fn number(mut self, field: u32, number: u64) -> Self {
        if number != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(number);
        }
        self
    }

    /// Adds a message, even one without fields: that it is there says something.
    pub fn message(self, field: u32, message: &Self) -> Self {
        self.delimited(field, &message.0)
    }

    /// Adds an entry to a `map<string, string>`.
    pub fn entry(self, field: u32, key: &str, value: &str) -> Self {
        self.message(field, &Self::new().text(1, key).text(2, value))
    }

    /// What goes over the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn delimited(mut self, field: u32, bytes: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let low = u8::try_from(value & 0x7f).unwrap_or(0);
            value >>= 7;
            if value == 0 {
                return self.0.push(low);
            }
            self.0.push(low | 0x80);
        }
    }
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// All kinds of integers but the fixed ones.
    Number(u64),
    /// `string`, `bytes`, messages, packed lists.
    Bytes(&'a [u8]),
    /// `fixed32`, `fixed64` and the floating ones; none of ours.
    Fixed,
}

impl<'a> Value<'a> {
    /// As text; empty if it is none.
    pub fn text(self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// The bytes; empty for a number.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// The number; 0 for anything else.
    pub fn number(self) -> u64 {
        match self {
            Self::Number(number) => number,
            _ => 0,
        }
    }
}

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The fields of a message in their order.
#[derive(Debug, Clone)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Those of the message in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next number and value; `None` at the end.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn next_field(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let field = self.field().ok_or(Malformed)?;
        Ok(Some(field))
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.skip(8)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => self.skip(4)?,
            // Groups are not in proto3.
            _ => return None,
        };
        (key >> 3 != 0).then_some((key >> 3, value))
    }

    fn skip(&mut self, length: usize) -> Option<Value<'a>> {
        self.0 = self.0.get(length..)?;
        Some(Value::Fixed)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// Calls `each` with every field. Unknown ones are the caller's to pass over, as protobuf asks.
///
/// # Errors
/// [`Malformed`].
pub fn each<'a>(bytes: &'a [u8], mut each: impl FnMut(u64, Value<'a>)) -> Result<(), Malformed> {
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next_field()? {
        each(number, value);
    }
    Ok(())
}

/// Reads a message whose field 1 is a list, each item by `read`.
///
/// # Errors
/// If the message or an item of it is none.
pub fn list<V>(
    message: &[u8],
    read: impl Fn(&[u8]) -> Result<V, Malformed>,
) -> Result<Vec<V>, Malformed> {
    let mut items = Vec::new();
    each(message, |field, value| {
        if field == 1 {
            items.push(value.bytes());
        }
    })?;
    items.into_iter().map(read).collect()
}

/// An entry of a `map<string, string>`.
///
/// # Errors
/// [`Malformed`].
pub fn entry(bytes: &[u8]) -> Result<(String, String), Malformed> {
    let (mut key, mut text) = (String::new(), String::new());
    each(bytes, |number, value| match number {
        1 => key = value.text(),
        2 => text = value.text(),
        _ => {}
    })?;
    Ok((key, text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>, Malformed> {
        let mut fields = Vec::new();
        each(bytes, |number, value| fields.push((number, value)))?;
        Ok(fields)
    }

    #[test]
    fn the_examples_of_the_encoding_guide_are_written_and_read() {
        assert_eq!(Message::new().number(1, 150).as_bytes(), b"\x08\x96\x01");
        assert_eq!(Message::new().text(2, "testing").as_bytes(), b"\x12\x07testing");
        let inner = Message::new().number(1, 150);
        assert_eq!(Message::new().message(3, &inner).as_bytes(), b"\x1a\x03\x08\x96\x01");
        assert_eq!(Message::new().entry(7, "a", "").as_bytes(), b"\x3a\x03\x0a\x01a");
        assert_eq!(read(b"\x12\x07testing"), Ok(vec![(2, Value::Bytes(b"testing"))]));
        assert_eq!(entry(b"\x0a\x01a"), Ok(("a".to_owned(), String::new())));
    }

    #[test]
    fn defaults_are_left_out_but_an_empty_message_is_not() {
        let message = Message::new().text(1, "").number(2, 0).bytes(3, b"");
        assert_eq!(message.message(4, &Message::new()).as_bytes(), b"\x22\x00");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [
            &b"\x0a"[..],
            b"\x0a\x05abc",
            b"\x08",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x09abc",
            b"\x0d\x01",
            b"\x0b",
            b"\x00\x01",
        ] {
            assert_eq!(read(bytes), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(read(b"\x0d\x01\x02\x03\x04"), Ok(vec![(1, Value::Fixed)]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            field in 1..10_000_u32,
            number in 1..u64::MAX,
            bytes in prop::collection::vec(any::<u8>(), 1..300),
        ) {
            let message = Message::new().number(field, number).bytes(field, &bytes);
            let field = u64::from(field);
            let want = vec![(field, Value::Number(number)), (field, Value::Bytes(&bytes))];
            prop_assert_eq!(read(message.as_bytes()), Ok(want));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
            let _ = entry(&bytes);
        }
    }
}
