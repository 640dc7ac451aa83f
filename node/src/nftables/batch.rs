//! Transactions of tables, chains and rules.
//!
//! Format: `include/uapi/linux/netfilter/nf_tables.h` of Linux.

use std::io;

use super::message::{
    ACK, APPEND, Attributes, CREATE, DUMP, Head, LAST, REQUEST, put_message, text,
};
use super::{Rule, request};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFTABLES: u16 = 10;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;

/// Which packets a table is about: `NFPROTO_INET`, which is both others, `NFPROTO_IPV4`,
/// `NFPROTO_IPV6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Both = 1,
    Ip = 2,
    Ip6 = 10,
}

/// Where on a packet's way a chain is asked, and what it may do there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// What has come from a link, before anybody knows whose it is: to drop it.
    Entry,
    /// The destination of what has come from a link.
    Destination,
    /// The destination of what the node itself sends.
    OwnDestination,
    /// The source of what leaves.
    Source,
}

impl Hook {
    /// The kind of chain, the number of the hook (`enum nf_inet_hooks`), and its place among others
    /// there: `raw`, `dstnat`, `dstnat`, `srcnat`.
    fn parts(self) -> (&'static str, u32, i32) {
        match self {
            Self::Entry => ("filter", 0, -300),
            Self::Destination => ("nat", 0, -100),
            Self::OwnDestination => ("nat", 3, -100),
            Self::Source => ("nat", 4, 100),
        }
    }
}

/// Changes which the kernel makes together or not at all.
#[derive(Debug)]
pub(crate) struct Batch {
    family: Family,
    /// Each with its type, its flags beside those that all have, and its attributes.
    messages: Vec<(u16, u16, Attributes)>,
}

impl Batch {
    /// Without any change yet.
    pub(crate) fn new(family: Family) -> Self {
        Self { family, messages: Vec::new() }
    }

    /// Makes an empty table, in place of the one of that name if there is one.
    pub(crate) fn fresh_table(&mut self, table: &str) {
        // It is made so that it can be removed, for what is not there cannot.
        self.add_table(table);
        self.delete_table(table);
        self.add_table(table);
    }

    /// Makes a table if there is none of the name.
    fn add_table(&mut self, table: &str) {
        self.push(NEW_TABLE, CREATE, Attributes::default().text(1, table));
    }

    /// Removes a table with all that is in it.
    pub(crate) fn delete_table(&mut self, table: &str) {
        self.push(DELETE_TABLE, 0, Attributes::default().text(1, table));
    }

    /// Makes a chain of that name, which lets pass what its rules say nothing about.
    pub(crate) fn add_chain(&mut self, table: &str, chain: &str, hook: Hook) {
        let (kind, number, priority) = hook.parts();
        let hook = Attributes::default().number(1, number).number(2, priority.cast_unsigned());
        let chain = Attributes::default().text(1, table).text(3, chain).nested(4, &hook);
        self.push(NEW_CHAIN, CREATE, chain.text(7, kind));
    }

    /// Adds a rule at the end of a chain.
    pub(crate) fn add_rule(&mut self, table: &str, chain: &str, rule: &Rule) {
        let place = Attributes::default().text(1, table).text(2, chain);
        self.push(NEW_RULE, CREATE | APPEND, place.nested(4, rule.expressions()));
    }

    /// Has the kernel do it.
    ///
    /// # Errors
    /// What the kernel says; [`io::ErrorKind::Unsupported`] if it has no nftables,
    /// [`io::ErrorKind::NotFound`] if it lacks a kind of chain or expression, or what is to be removed.
    pub(crate) fn send(&self) -> io::Result<()> {
        request(&self.finish(), |_| {})
    }

    /// The bytes to send. The last change is the one that the kernel is to acknowledge; a change
    /// that fails is always answered.
    fn finish(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let edge = |kind| Head { kind, flags: REQUEST, sequence: 0, family: 0, resource: NFTABLES };
        put_message(&mut bytes, edge(BATCH_BEGIN), &[]);
        for (index, (kind, flags, attributes)) in self.messages.iter().enumerate() {
            let last = index + 1 == self.messages.len();
            let sequence = if last { LAST } else { u32::try_from(index + 1).unwrap_or(LAST - 1) };
            let flags = REQUEST | flags | if last { ACK } else { 0 };
            let (kind, family) = (NFTABLES << 8 | kind, self.family as u8);
            let head = Head { kind, flags, sequence, family, resource: 0 };
            put_message(&mut bytes, head, &attributes.0);
        }
        put_message(&mut bytes, edge(BATCH_END), &[]);
        bytes
    }

    fn push(&mut self, kind: u16, flags: u16, attributes: Attributes) {
        self.messages.push((kind, flags, attributes));
    }
}

/// The tables there are.
#[derive(Debug)]
pub(crate) struct Tables;

impl Tables {
    /// The names of all tables of a family.
    ///
    /// # Errors
    /// As [`Batch::send`].
    pub(crate) fn list(family: Family) -> io::Result<Vec<String>> {
        let head = Head {
            kind: NFTABLES << 8 | GET_TABLE,
            flags: REQUEST | DUMP,
            sequence: LAST,
            family: family as u8,
            resource: 0,
        };
        let mut bytes = Vec::new();
        put_message(&mut bytes, head, &[]);
        let mut names = Vec::new();
        request(&bytes, |attributes| names.extend(text(attributes, 1).map(str::to_owned)))?;
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use expect_test::expect;

    use super::super::message::{HEADER, number};
    use super::*;
    use crate::nftables::Protocol;

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

    fn masquerade(first: &str, prefix: u8) -> Rule {
        Rule::default().source_in(first.parse().unwrap(), prefix).not_to_link("cni0").masquerade()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_rule_is_these_bytes() {
        let mut batch = Batch::new(Family::Ip);
        batch.fresh_table("t");
        batch.add_chain("t", "c", Hook::Source);
        batch.add_rule("t", "c", &masquerade("10.88.0.0", 14));
        expect![[r#"
            0010 0001 0 | 0000000a
            0a00 0401 1 | 02000000 06000100 74000000
            0a02 0001 2 | 02000000 06000100 74000000
            0a00 0401 3 | 02000000 06000100 74000000
            0a03 0401 4 | 02000000 06000100 74000000 06000300 63000000 14000480 08000100 00000004 08000200 00000064 08000700 6e617400
            0a06 0c05 -1 | 02000000 06000100 74000000 06000200 63000000 18010480 34000180 0c000100 7061796c 6f616400 24000280 08000100 00000001 08000200 00000001 08000300 0000000c 08000400 00000004 44000180 0c000100 62697477 69736500 34000280 08000100 00000001 08000200 00000001 08000300 00000004 0c000480 08000100 fffc0000 0c000580 08000100 00000000 2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 0c000380 08000100 0a580000 24000180 09000100 6d657461 00000000 14000280 08000100 00000001 08000200 00000007 38000180 08000100 636d7000 2c000280 08000100 00000001 08000200 00000001 18000380 14000100 636e6930 00000000 00000000 00000000 14000180 09000100 6d617371 00000000 04000280
            0011 0001 0 | 0000000a
        "#]].assert_eq(&dump(&batch.finish()));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn an_ipv6_rule_compares_sixteen_bytes() {
        let mut batch = Batch::new(Family::Ip6);
        batch.add_rule("t", "c", &masquerade("fd00:88::", 64));
        expect![[r#"
            0010 0001 0 | 0000000a
            0a06 0c05 -1 | 0a000000 06000100 74000000 06000200 63000000 3c010480 34000180 0c000100 7061796c 6f616400 24000280 08000100 00000001 08000200 00000001 08000300 00000008 08000400 00000010 5c000180 0c000100 62697477 69736500 4c000280 08000100 00000001 08000200 00000001 08000300 00000010 18000480 14000100 ffffffff ffffffff 00000000 00000000 18000580 14000100 00000000 00000000 00000000 00000000 38000180 08000100 636d7000 2c000280 08000100 00000001 08000200 00000000 18000380 14000100 fd000088 00000000 00000000 00000000 24000180 09000100 6d657461 00000000 14000280 08000100 00000001 08000200 00000007 38000180 08000100 636d7000 2c000280 08000100 00000001 08000200 00000001 18000380 14000100 636e6930 00000000 00000000 00000000 14000180 09000100 6d617371 00000000 04000280
            0011 0001 0 | 0000000a
        "#]].assert_eq(&dump(&batch.finish()));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_port_is_redirected_by_these_bytes() {
        let mut batch = Batch::new(Family::Both);
        let to = "10.88.0.5".parse().unwrap();
        let rule = Rule::default().family_of(to).destination_is_local();
        let rule = rule.destination_port(Protocol::Tcp, 8080).redirect(to, 80);
        batch.add_rule("t", "c", &rule);
        batch.add_rule("t", "c", &Rule::default().not_from_link("lo").discard());
        expect![[r#"
            0010 0001 0 | 0000000a
            0a06 0c01 1 | 01000000 06000100 74000000 06000200 63000000 e0010480 24000180 09000100 6d657461 00000000 14000280 08000100 00000001 08000200 0000000f 2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 0c000380 05000100 02000000 28000180 08000100 66696200 1c000280 08000100 00000001 08000200 00000003 08000300 00000002 2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 0c000380 08000100 02000000 24000180 09000100 6d657461 00000000 14000280 08000100 00000001 08000200 00000010 2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 0c000380 05000100 06000000 34000180 0c000100 7061796c 6f616400 24000280 08000100 00000001 08000200 00000002 08000300 00000002 08000400 00000002 2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 0c000380 06000100 1f900000 2c000180 0e000100 696d6d65 64696174 65000000 18000280 08000100 00000001 0c000280 08000100 0a580005 2c000180 0e000100 696d6d65 64696174 65000000 18000280 08000100 00000002 0c000280 06000100 00500000 30000180 08000100 6e617400 24000280 08000100 00000001 08000200 00000002 08000300 00000001 08000500 00000002
            0a06 0c05 -1 | 01000000 06000100 74000000 06000200 63000000 90000480 24000180 09000100 6d657461 00000000 14000280 08000100 00000001 08000200 00000006 38000180 08000100 636d7000 2c000280 08000100 00000001 08000200 00000001 18000380 14000100 6c6f0000 00000000 00000000 00000000 30000180 0e000100 696d6d65 64696174 65000000 1c000280 08000100 00000000 10000280 0c000280 08000100 00000000
            0011 0001 0 | 0000000a
        "#]].assert_eq(&dump(&batch.finish()));
    }
}
