//! The messages of nf_tables over netlink: a transaction of tables, chains and rules.
//!
//! Format: `include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h` of Linux. Headers are in the
//! machine's byte order, numbers in attributes in the network's. Encodes only what the one rule
//! needs; decodes only whether the kernel agreed.

use std::net::IpAddr;

use formats::node_config::Subnet;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFTABLES: u16 = 10;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;

const NLMSG_ERROR: u16 = 2;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// `struct nlmsghdr`.
const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
/// `NFT_REG_1`: 16 bytes.
const REGISTER: u32 = 1;
/// `IFNAMSIZ`: the kernel compares names of links with the zeros behind them.
const NAME_LENGTH: usize = 16;

/// The number of the message whose answer says that all was done.
pub(super) const LAST: u32 = u32::MAX;

/// Which packets a table is about: `NFPROTO_IPV4`, `NFPROTO_IPV6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Ip = 2,
    Ip6 = 10,
}

/// Changes which the kernel makes together or not at all.
#[derive(Debug)]
pub(super) struct Batch {
    family: Family,
    /// Each with its type, its flags beside those that all have, and its attributes.
    messages: Vec<(u16, u16, Attributes)>,
}

/// What the kernel says to one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// Which message.
    pub(super) sequence: u32,
    /// 0 if it was done.
    pub(super) errno: i32,
}

impl Batch {
    pub(super) fn new(family: Family) -> Self {
        Self { family, messages: Vec::new() }
    }

    /// Makes a table if there is none of the name.
    pub(super) fn add_table(&mut self, table: &str) {
        self.push(NEW_TABLE, CREATE, Attributes::default().text(1, table));
    }

    /// Removes a table with all that is in it.
    pub(super) fn delete_table(&mut self, table: &str) {
        self.push(DELETE_TABLE, 0, Attributes::default().text(1, table));
    }

    /// Makes a chain which translates the source of what leaves the node.
    pub(super) fn add_postrouting_chain(&mut self, table: &str, chain: &str) {
        // `NF_INET_POST_ROUTING` and `NF_IP_PRI_NAT_SRC`.
        let hook = Attributes::default().number(1, 4).number(2, 100);
        let chain = Attributes::default().text(1, table).text(3, chain).nested(4, &hook);
        self.push(NEW_CHAIN, CREATE, chain.text(7, "nat"));
    }

    /// `ip saddr SUBNET oifname != BRIDGE masquerade`.
    pub(super) fn add_masquerade(
        &mut self,
        table: &str,
        chain: &str,
        subnet: Subnet,
        bridge: &str,
    ) {
        let (first, mask, offset) = match subnet.first() {
            IpAddr::V4(first) => {
                let mask = u32::MAX << (32 - u32::from(subnet.prefix()).clamp(1, 32));
                (first.octets().to_vec(), mask.to_be_bytes().to_vec(), 12)
            }
            IpAddr::V6(first) => {
                let mask = u128::MAX << (128 - u32::from(subnet.prefix()).clamp(1, 128));
                (first.octets().to_vec(), mask.to_be_bytes().to_vec(), 8)
            }
        };
        let length = if subnet.first().is_ipv4() { 4 } else { 16 };
        let mut name = bridge.as_bytes().to_vec();
        name.resize(NAME_LENGTH, 0);
        let none = vec![0; first.len()];
        let expressions = Attributes::default()
            // `NFT_PAYLOAD_NETWORK_HEADER`.
            .expression(
                "payload",
                Attributes::default()
                    .number(1, REGISTER)
                    .number(2, 1)
                    .number(3, offset)
                    .number(4, length),
            )
            .expression(
                "bitwise",
                Attributes::default()
                    .number(1, REGISTER)
                    .number(2, REGISTER)
                    .number(3, length)
                    .value(4, &mask)
                    .value(5, &none),
            )
            .expression("cmp", compare(Comparison::Equal, &first))
            // `NFT_META_OIFNAME`.
            .expression("meta", Attributes::default().number(1, REGISTER).number(2, 7))
            .expression("cmp", compare(Comparison::Different, &name))
            .expression("masq", Attributes::default());
        let rule = Attributes::default().text(1, table).text(2, chain).nested(4, &expressions);
        self.push(NEW_RULE, CREATE | APPEND, rule);
    }

    /// The bytes to send. The last change is the one that the kernel is to acknowledge; a change
    /// that fails is always answered.
    pub(super) fn finish(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_message(&mut bytes, BATCH_BEGIN, REQUEST, 0, 0, NFTABLES, &[]);
        for (index, (kind, flags, attributes)) in self.messages.iter().enumerate() {
            let last = index + 1 == self.messages.len();
            let sequence = if last { LAST } else { u32::try_from(index + 1).unwrap_or(LAST - 1) };
            let flags = REQUEST | flags | if last { ACK } else { 0 };
            let (kind, family) = (NFTABLES << 8 | kind, self.family as u8);
            put_message(&mut bytes, kind, flags, sequence, family, 0, &attributes.0);
        }
        put_message(&mut bytes, BATCH_END, REQUEST, 0, 0, NFTABLES, &[]);
        bytes
    }

    fn push(&mut self, kind: u16, flags: u16, attributes: Attributes) {
        self.messages.push((kind, flags, attributes));
    }
}

/// `enum nft_cmp_ops`.
#[derive(Debug, Clone, Copy)]
enum Comparison {
    Equal = 0,
    Different = 1,
}

fn compare(comparison: Comparison, with: &[u8]) -> Attributes {
    Attributes::default().number(1, REGISTER).number(2, comparison as u32).value(3, with)
}

/// A run of netlink attributes.
#[derive(Debug, Default)]
struct Attributes(Vec<u8>);

impl Attributes {
    fn number(self, kind: u16, value: u32) -> Self {
        self.put(kind, &value.to_be_bytes())
    }

    fn text(self, kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    fn nested(self, kind: u16, inner: &Self) -> Self {
        self.put(kind | NESTED, &inner.0)
    }

    /// `NFTA_DATA_VALUE`.
    fn value(self, kind: u16, bytes: &[u8]) -> Self {
        self.nested(kind, &Self::default().put(1, bytes))
    }

    /// `NFTA_LIST_ELEM` with an expression's name and attributes.
    fn expression(self, name: &str, attributes: Self) -> Self {
        self.nested(1, &Self::default().text(1, name).nested(2, &attributes))
    }

    /// Our attributes are of 100 bytes or so: a length that does not fit cannot be.
    fn put(mut self, kind: u16, bytes: &[u8]) -> Self {
        let length = u16::try_from(bytes.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// `struct nlmsghdr`, `struct nfgenmsg`, attributes.
fn put_message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
    attributes: &[u8],
) {
    let length = u32::try_from(HEADER + 4 + attributes.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(attributes);
}

/// The answers (`struct nlmsgerr`) in what the kernel sent; a message that is cut short ends them.
pub(super) fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (number(bytes, 0), bytes.get(4..6)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(message) = bytes.get(..length).filter(|message| message.len() >= HEADER) else {
            break;
        };
        if kind == NLMSG_ERROR.to_ne_bytes()
            && let (Some(sequence), Some(error)) = (number(message, 8), number(message, HEADER))
        {
            found.push(Answer { sequence, errno: error.cast_signed().saturating_neg() });
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    /// One line for each message: its type, flags and number, then its attributes in hexadecimal.
    fn dump(bytes: &[u8]) -> String {
        let (mut bytes, mut text) = (bytes, String::new());
        while !bytes.is_empty() {
            let length = number(bytes, 0).unwrap() as usize;
            let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
            let sequence = number(bytes, 8).unwrap().cast_signed();
            write!(text, "{:04x} {:04x} {sequence} |", word(4), word(6)).unwrap();
            for chunk in bytes[HEADER..length].chunks(4) {
                let hex: String = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
                write!(text, " {hex}").unwrap();
            }
            text.push('\n');
            bytes = &bytes[length..];
        }
        text
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_rule_is_these_bytes() {
        let mut batch = Batch::new(Family::Ip);
        batch.add_table("t");
        batch.delete_table("t");
        batch.add_postrouting_chain("t", "c");
        batch.add_masquerade("t", "c", "10.88.0.0/14".parse().unwrap(), "cni0");
        expect![[r#"
            0010 0001 0 | 0000000a
            0a00 0401 1 | 02000000 06000100 74000000
            0a02 0001 2 | 02000000 06000100 74000000
            0a03 0401 3 | 02000000 06000100 74000000 06000300 63000000 14000480 08000100 00000004 08000200 00000064 08000700 6e617400
            0a06 0c05 -1 | 02000000 06000100 74000000 06000200 63000000 18010480 34000180 0c000100 7061796c 6f616400 24000280 08000100 00000001 08000200 00000001 08000300 0000000c 08000400 00000004 44000180 0c000100 62697477 69736500 34000280 08000100 00000001 08000200 00000001 08000300 00000004 0c000480 08000100 fffc0000 0c000580 08000100 00000000 2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 0c000380 08000100 0a580000 24000180 09000100 6d657461 00000000 14000280 08000100 00000001 08000200 00000007 38000180 08000100 636d7000 2c000280 08000100 00000001 08000200 00000001 18000380 14000100 636e6930 00000000 00000000 00000000 14000180 09000100 6d617371 00000000 04000280
            0011 0001 0 | 0000000a
        "#]].assert_eq(&dump(&batch.finish()));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn an_ipv6_rule_compares_sixteen_bytes() {
        let mut batch = Batch::new(Family::Ip6);
        batch.add_masquerade("t", "c", "fd00:88::/64".parse().unwrap(), "cni0");
        expect![[r#"
            0010 0001 0 | 0000000a
            0a06 0c05 -1 | 0a000000 06000100 74000000 06000200 63000000 3c010480 34000180 0c000100 7061796c 6f616400 24000280 08000100 00000001 08000200 00000001 08000300 00000008 08000400 00000010 5c000180 0c000100 62697477 69736500 4c000280 08000100 00000001 08000200 00000001 08000300 00000010 18000480 14000100 ffffffff ffffffff 00000000 00000000 18000580 14000100 00000000 00000000 00000000 00000000 38000180 08000100 636d7000 2c000280 08000100 00000001 08000200 00000000 18000380 14000100 fd000088 00000000 00000000 00000000 24000180 09000100 6d657461 00000000 14000280 08000100 00000001 08000200 00000007 38000180 08000100 636d7000 2c000280 08000100 00000001 08000200 00000001 18000380 14000100 636e6930 00000000 00000000 00000000 14000180 09000100 6d617371 00000000 04000280
            0011 0001 0 | 0000000a
        "#]].assert_eq(&dump(&batch.finish()));
    }

    #[test]
    fn answers_are_read_with_the_message_they_are_about() {
        let mut bytes = Vec::new();
        // Something else first, which is no answer.
        put_message(&mut bytes, BATCH_END, 0, 5, 0, 0, &[1, 2, 3, 4]);
        for (sequence, errno) in [(3, 2_i32), (LAST, 0)] {
            let start = bytes.len();
            put_message(&mut bytes, NLMSG_ERROR, 0, sequence, 0, 0, &[0; 16]);
            bytes[start + HEADER..start + HEADER + 4].copy_from_slice(&(-errno).to_ne_bytes());
        }
        let want = [Answer { sequence: 3, errno: 2 }, Answer { sequence: LAST, errno: 0 }];
        assert_eq!(answers(&bytes), want);
        assert_eq!(answers(&bytes[..bytes.len() - 1]), want[..1]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = answers(&bytes);
        }

        #[test]
        fn no_length_makes_the_reader_panic(
            length in any::<u32>(),
            rest in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let bytes = [&length.to_ne_bytes()[..], &rest].concat();
            let _ = answers(&bytes);
        }
    }
}
