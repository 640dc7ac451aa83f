//! The messages of nfnetlink: headers, attributes, answers.
//!
//! Format: `include/uapi/linux/netlink.h` and `include/uapi/linux/netfilter/nfnetlink.h` of Linux.
//! Headers are in the machine's byte order, numbers in attributes in the network's.

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// `NLM_F_REQUEST` and the other flags.
pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACK: u16 = 0x4;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;
/// `NLM_F_ROOT | NLM_F_MATCH`: everything there is.
pub(super) const DUMP: u16 = 0x300;

/// `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// `struct nfgenmsg`.
const FAMILY: usize = 4;
const NESTED: u16 = 0x8000;

/// The number of the message whose answer says that all was done.
pub(super) const LAST: u32 = u32::MAX;

/// What the kernel says to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// Whether it was done.
    Error {
        /// Which message.
        sequence: u32,
        /// 0 if it was done.
        errno: i32,
    },
    /// The end of a dump.
    Done,
    /// The attributes of anything else.
    Other(&'a [u8]),
}

/// A run of netlink attributes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Attributes(pub(super) Vec<u8>);

impl Attributes {
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.put(kind, &value.to_be_bytes())
    }

    pub(super) fn text(self, kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    pub(super) fn nested(self, kind: u16, inner: &Self) -> Self {
        self.put(kind | NESTED, &inner.0)
    }

    /// `NFTA_DATA_VALUE`.
    pub(super) fn value(self, kind: u16, bytes: &[u8]) -> Self {
        self.nested(kind, &Self::default().put(1, bytes))
    }

    /// Ours are of some hundred bytes: a length that does not fit cannot be.
    pub(super) fn put(mut self, kind: u16, bytes: &[u8]) -> Self {
        let length = u16::try_from(bytes.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// Where a message is about to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Subsystem and message.
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) family: u8,
    /// `res_id`: the subsystem that a batch is for.
    pub(super) resource: u16,
}

/// `struct nlmsghdr`, `struct nfgenmsg`, attributes.
pub(super) fn put_message(bytes: &mut Vec<u8>, head: Head, attributes: &[u8]) {
    let length = u32::try_from(HEADER + FAMILY + attributes.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(head.kind.to_ne_bytes());
    bytes.extend(head.flags.to_ne_bytes());
    bytes.extend(head.sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([head.family, 0]);
    bytes.extend(head.resource.to_be_bytes());
    bytes.extend(attributes);
}

/// The answers in what the kernel sent; a message that is cut short ends them.
pub(super) fn answers(mut bytes: &[u8]) -> Vec<Answer<'_>> {
    let mut found = Vec::new();
    while let (Some(length), Some(&[a, b])) = (number(bytes, 0), bytes.get(4..6)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(message) = bytes.get(..length).filter(|message| message.len() >= HEADER) else {
            break;
        };
        match u16::from_ne_bytes([a, b]) {
            NLMSG_DONE => found.push(Answer::Done),
            NLMSG_ERROR => {
                if let (Some(sequence), Some(error)) = (number(message, 8), number(message, HEADER))
                {
                    let errno = error.cast_signed().saturating_neg();
                    found.push(Answer::Error { sequence, errno });
                }
            }
            _ => found.push(Answer::Other(message.get(HEADER + FAMILY..).unwrap_or_default())),
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The text of the first attribute of this kind.
pub(super) fn text(mut attributes: &[u8], wanted: u16) -> Option<&str> {
    while let Some(&[a, b, c, d]) = attributes.get(..4) {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([c, d]) & !NESTED == wanted {
            return str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok();
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, sequence: u32, attributes: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let head = Head { kind, flags: 0, sequence, family: 0, resource: 0 };
        put_message(&mut bytes, head, attributes);
        bytes
    }

    #[test]
    fn answers_are_read_with_the_message_they_are_about() {
        // Something else first, which is no answer to a change.
        let mut bytes = message(0xa00, 5, &[1, 2, 3, 4]);
        for (sequence, errno) in [(3, 2_i32), (LAST, 0)] {
            let start = bytes.len();
            bytes.extend(message(NLMSG_ERROR, sequence, &[0; 16]));
            bytes[start + HEADER..start + HEADER + 4].copy_from_slice(&(-errno).to_ne_bytes());
        }
        let want = [
            Answer::Other(&[1, 2, 3, 4]),
            Answer::Error { sequence: 3, errno: 2 },
            Answer::Error { sequence: LAST, errno: 0 },
        ];
        assert_eq!(answers(&bytes), want);
        assert_eq!(answers(&bytes[..bytes.len() - 1]), want[..2]);
        assert_eq!(answers(&message(NLMSG_DONE, 1, &[])), [Answer::Done]);
    }

    #[test]
    fn an_attribute_is_found_by_its_kind() {
        let attributes = Attributes::default().number(2, 7).text(1, "a table").text(3, "x");
        assert_eq!(text(&attributes.0, 1), Some("a table"));
        assert_eq!(text(&attributes.0, 4), None);
        assert_eq!(text(&attributes.0[..attributes.0.len() - 6], 3), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = answers(&bytes);
            let _ = text(&bytes, 1);
        }

        #[test]
        fn no_length_makes_the_reader_panic(
            length in any::<u32>(),
            rest in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let bytes = [&length.to_ne_bytes()[..], &rest].concat();
            let _ = answers(&bytes);
            let _ = text(&bytes, 0);
        }
    }
}
