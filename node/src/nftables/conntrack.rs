//! The kernel's memory of connections: what was decided for the first packet of one holds for the
//! rest, also where a rule has come or gone since.
//!
//! Format: `include/uapi/linux/netfilter/nfnetlink_conntrack.h` of Linux. The kernel selects, since
//! 6.11 also for a removal (`CTA_FILTER`).

use std::io;

use super::message::{ACK, Attributes, Head, LAST, REQUEST, put_message};
use super::{Family, Protocol, request};

const CONNTRACK: u16 = 1;
const DELETE: u16 = 2;

/// `enum ctattr_type`, `enum ctattr_tuple`, `enum ctattr_l4proto`, `enum ctattr_filter`.
const TUPLE_ORIGINAL: u16 = 1;
const FILTER: u16 = 25;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;
const FILTER_ORIGINAL: u16 = 1;
/// `CTA_FILTER_FLAG` of the protocol's number and of the destination's port.
const OF_PROTOCOL_AND_PORT: u32 = 1 << 3 | 1 << 5;

/// Forgets the connections of a protocol that were begun to this port, of IPv4 or of IPv6.
///
/// # Errors
/// What the kernel says, such as that its module `nf_conntrack_netlink` is not there.
pub(crate) fn forget(family: Family, protocol: Protocol, port: u16) -> io::Result<()> {
    request(&message(family, protocol, port), |_| {})
}

fn message(family: Family, protocol: Protocol, port: u16) -> Vec<u8> {
    let port = Attributes::default()
        .put(PROTOCOL_NUMBER, &[protocol as u8])
        .put(DESTINATION_PORT, &port.to_be_bytes());
    let tuple = Attributes::default().nested(TUPLE_PROTOCOL, &port);
    let filter = Attributes::default().put(FILTER_ORIGINAL, &OF_PROTOCOL_AND_PORT.to_ne_bytes());
    let attributes = Attributes::default().nested(TUPLE_ORIGINAL, &tuple).nested(FILTER, &filter);
    let head = Head {
        kind: CONNTRACK << 8 | DELETE,
        flags: REQUEST | ACK,
        sequence: LAST,
        family: family as u8,
        resource: 0,
    };
    let mut bytes = Vec::new();
    put_message(&mut bytes, head, &attributes.0);
    bytes
}
