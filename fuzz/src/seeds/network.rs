//! Seeds of what comes over the network, and of what the kernel and daemons say of it.

use super::*;

pub(crate) fn cri() -> Vec<Vec<u8>> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap_or(0);
        [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
    };
    let message = b"\0\0\0\0\x0d\x0a\x05v0.1.\x12\x04runc";
    let head = b"\x88\x5f\x10application/grpc";
    let trailer = b"\x00\x0bgrpc-status\x010";
    vec![
        [
            frame(4, 0, 0, &[]),
            frame(4, 1, 0, &[]),
            frame(1, 4, 1, head),
            frame(0, 0, 1, message),
            frame(1, 5, 1, trailer),
        ]
        .concat(),
        [frame(6, 0, 0, &[0; 8]), frame(7, 0, 0, &[0; 8]), frame(3, 0, 1, &[0; 4])].concat(),
    ]
}

pub(crate) fn dhcp() -> Vec<Vec<u8>> {
    let mut message = vec![0; 240];
    message[0] = 2;
    message[1] = 1;
    message[2] = 6;
    message[16..20].copy_from_slice(&[10, 0, 2, 15]);
    message[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    message.extend([53, 1, 5, 54, 4, 10, 0, 2, 2, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0]);
    message.extend([3, 4, 10, 0, 2, 2, 6, 4, 10, 0, 2, 3, 12, 1, b'a', 121, 5, 0, 10, 0, 2, 2]);
    message.extend([119, 5, 3, b'l', b'a', b'n', 0, 42, 4, 10, 0, 2, 4, 26, 2, 5, 220, 255]);
    let length = u16::try_from(message.len()).unwrap_or(0);
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 2, 255, 255, 255, 255];
    packet[2..4].copy_from_slice(&(length + 28).to_be_bytes());
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(0);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0, 67, 0, 68]);
    packet.extend((length + 8).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(&message);
    vec![message, packet]
}

/// The link that asks for an address by DHCPv6.
pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

pub(crate) fn dhcp6() -> Vec<Vec<u8>> {
    let mut message = vec![7, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1];
    message.extend(MAC);
    message.extend([0, 2, 0, 6, 0, 3, 0, 1, 2, 9, 0, 14, 0, 0, 0, 13, 0, 2, 0, 0]);
    // An association with one address and a status.
    message.extend([0, 3, 0, 46, 0, 0x12, 0x34, 0x56, 0, 0, 3, 132, 0, 0, 5, 160, 0, 5, 0, 24]);
    message
        .extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 7, 8, 0, 0, 14, 16]);
    message.extend([0, 13, 0, 2, 0, 0]);
    message.extend([0, 24, 0, 10, 3, b'l', b'a', b'n', 0, 1, b'x', 0xc0, 0, 0, 0, 7, 0, 1, 255]);
    message.extend([0, 56, 0, 20, 0, 1, 0, 16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    message.extend([0, 23, 0, 16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 53]);
    message.extend([0, 82, 0, 4, 0, 0, 0, 60, 0, 32, 0, 4, 0, 0, 14, 16]);
    let mut offer = message.clone();
    offer[0] = 2;
    vec![message, offer]
}

pub(crate) fn dns() -> Vec<Vec<u8>> {
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03api\x03lan\0\0\x01\0\x01";
    let mut answer = question.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[7] = 2;
    answer.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x10");
    answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01");
    let length = u8::try_from(question.len()).unwrap_or(0);
    vec![[&[length][..], question, &answer].concat()]
}

pub(crate) fn message() -> Vec<Vec<u8>> {
    use init::message::{FromUnit, ToUnit, View};
    let lease = "10.0.2.15 24 1800250 - - 10.0.2.2 1460 n1 0.0.0.0/0/10.0.2.2 10.0.2.3 lan -";
    let view = View {
        hostname: "n1".to_owned(),
        addresses: vec![("eth0".to_owned(), "10.0.2.15/24".to_owned())],
        problems: vec!["there is no network".to_owned()],
    };
    let output = ToUnit::Output { id: 7, unit: "kubelet".to_owned(), limit: 4096 };
    vec![
        FromUnit::View(view).encode(),
        FromUnit::Keep(vec!["n1".to_owned(), format!("2 {lease}")]).encode(),
        FromUnit::Written(3).encode(),
        FromUnit::Closed(7).encode(),
        output.encode(),
        ToUnit::Lines(vec!["one".to_owned(), "two".to_owned()]).encode(),
        lease.as_bytes().to_vec(),
    ]
}

pub(crate) fn netlink() -> Vec<Vec<u8>> {
    let attribute = |kind: u8, data: &[u8]| {
        let length = u8::try_from(4 + data.len()).unwrap_or(0);
        padded([&[length, 0, kind, 0][..], data].concat(), 4)
    };
    let link = [
        &[0, 0, 1, 0, 2, 0, 0, 0, 0x43, 0x10, 1, 0, 0, 0, 0, 0][..],
        &attribute(3, b"eth0\0"),
        &attribute(1, &[2, 0, 0, 0, 0, 1]),
    ]
    .concat();
    let address = [&[2, 24, 0, 0, 2, 0, 0, 0][..], &attribute(1, &[10, 0, 2, 15])].concat();
    let message = |kind: u8, body: &[u8]| {
        let length = u8::try_from(16 + body.len()).unwrap_or(0);
        [&[length, 0, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], body].concat()
    };
    let router = [
        &[10, 0, 0, 0, 2, 0, 0, 0, 134, 0, 0, 0, 0, 0, 0, 0][..],
        &[25, 3, 0, 0],
        &[0, 0, 14, 16],
        &[0xfe; 16],
    ]
    .concat();
    vec![
        message(16, &link),
        message(20, &address),
        message(68, &router),
        [message(16, &link), message(3, &[0; 4])].concat(),
    ]
}

pub(crate) fn sntp() -> Vec<Vec<u8>> {
    let mut answer = vec![0; 48];
    answer[..2].copy_from_slice(&[0x24, 2]);
    answer[32..48].fill(0xe8);
    let mut kiss = answer.clone();
    kiss[1] = 0;
    kiss[12..16].copy_from_slice(b"RATE");
    vec![answer, kiss]
}
