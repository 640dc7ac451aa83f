//! Disks, file systems, images, and what the kernel says of devices.

use formats::erofs;
use formats::fat;
use formats::gpt::{Guid, Table};
use formats::segment::Segment;
use formats::tree::{Node, Tree, TreePath};

use super::*;

fn superblock() -> Vec<u8> {
    root_of(&Tree::new())
}

fn root_of(tree: &Tree) -> Vec<u8> {
    let options = erofs::Options { epoch: 0, uuid: [7; 16], volume_name: "orlop".to_owned() };
    let plan = erofs::Plan::new(tree, &options);
    let segments = plan.iter().flat_map(erofs::Plan::segments);
    assemble(segments)
}

/// What is not zero at the end.
fn assemble(segments: impl IntoIterator<Item = Segment>) -> Vec<u8> {
    let mut image = Vec::new();
    for segment in segments {
        if let Segment::Bytes(bytes) = segment {
            image.extend(bytes);
        }
    }
    let end = image.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    image.truncate(end.next_multiple_of(512));
    image
}

pub(crate) fn erofs() -> Vec<Vec<u8>> {
    // Links and directories with attributes: what has no content of its own, so that all is here.
    let mut tree = Tree::new();
    let capability = ("security.capability".to_owned(), vec![1; 20]);
    let directory = Node { xattrs: [capability].into(), ..Node::directory(0o755) };
    for (path, node) in [
        ("usr/bin", Node { uid: 70_000, ..directory }),
        ("bin", Node::symlink("usr/bin")),
        ("etc", Node::directory(0o700)),
    ] {
        let path = TreePath::new(path).expect("a path");
        tree.insert(path, node).expect("a tree");
    }
    vec![superblock(), root_of(&tree)]
}

pub(crate) fn root() -> Vec<Vec<u8>> {
    vec![superblock()]
}

pub(crate) fn fat() -> Vec<Vec<u8>> {
    let options = fat::Options {
        size: 36 << 20,
        first_lba: 2048,
        volume_id: 1,
        label: "ESP".to_owned(),
        epoch: 0,
    };
    let file = |path: &str| fat::File {
        path: path.to_owned(),
        alias: None,
        content: fat::Content::Bytes(b"content".to_vec()),
    };
    let files = vec![file("EFI/Linux/a long name.efi"), file("loader/loader.conf")];
    let plan = fat::Plan::new(&options, files);
    let mut volume = Vec::new();
    for segment in plan.iter().flat_map(fat::Plan::segments) {
        if let fat::Piece::Bytes(bytes) = segment.piece {
            volume.resize(usize::try_from(segment.offset).unwrap_or(0), 0);
            volume.extend(bytes);
        }
    }
    vec![volume]
}

pub(crate) fn gpt() -> Vec<Vec<u8>> {
    let empty = Table::new(Guid::from_uuid_bytes([1; 16]), SECTORS, Vec::new());
    empty.map(|table| table.encode()).into_iter().flat_map(|disk| [disk.head, disk.tail]).collect()
}

pub(crate) fn image() -> Vec<Vec<u8>> {
    let index = b"{\"schemaVersion\":2,\"manifests\":[]}";
    vec![archive_of(&[
        member("oci-layout", b'0', "", b"{}"),
        member("index.json", b'0', "", index),
    ])]
}

pub(crate) fn inspect() -> Vec<Vec<u8>> {
    [uki(), erofs(), gpt(), fat(), texts(&["text", "{}"])].concat()
}

pub(crate) fn repro() -> Vec<Vec<u8>> {
    let entry = |name: &str, body: &str| {
        let mut bytes = format!("070701{:08x}{:08x}", 1, 0o100_644).into_bytes();
        bytes.extend(format!("{:032x}{:08x}", 0, body.len()).bytes());
        bytes.extend(format!("{:032x}{:08x}{:08x}", 0, name.len() + 1, 0).bytes());
        bytes.extend(name.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(body.bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let initrd = gzip(&[entry("init", "PID 1"), entry("TRAILER!!!", "")].concat());
    let texts = texts(&["text\n1970-01-01\n", r#"{"files":[{"place":"root","path":"/a"}]}"#]);
    [vec![initrd], uki(), erofs(), gpt(), fat(), texts].concat()
}

pub(crate) fn label() -> Vec<Vec<u8>> {
    let mut disc = b"\x01CD001\x01".to_vec();
    disc.resize(0x28, b' ');
    disc.extend(b"ORLOP-CONFIG                    ");
    let mut oem = vec![11, 5, 0, 0, 1];
    oem.extend(b"orlop.config-url=http://x\0\0");
    let mut root = b"ORLOP      \x08".to_vec();
    root.resize(512, 0);
    let mut boot = fat().concat();
    boot.truncate(512);
    vec![disc, oem, root, boot]
}

pub(crate) fn devices() -> Vec<Vec<u8>> {
    let news =
        b"add@/devices/x/vdb\0ACTION=add\0DEVPATH=/devices/x/vdb\0SUBSYSTEM=block\0DEVNAME=vdb\0";
    let page = b"\0\x83\0\x0f\x02\0\0\x0bdrive-scsi0";
    let nodes = b"tun net/tun c10:200\nloop loop-control c10:237\n";
    vec![news.to_vec(), page.to_vec(), nodes.to_vec()]
}

pub(crate) fn volumes() -> Vec<Vec<u8>> {
    let marks: [(usize, &[u8]); 7] = [
        (0, b"XFSB"),
        (1080, &[0x53, 0xef]),
        (0x10040, b"_BHRfS_M"),
        (0x8000, b"\x01CD001\x01"),
        (1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
        (0, b"LUKS\xba\xbe\0\x02"),
        (4086, b"SWAPSPACE2"),
    ];
    let disk = |(at, mark): (usize, &[u8])| {
        let mut disk = vec![0; at + 2048];
        disk[at..at + mark.len()].copy_from_slice(mark);
        disk
    };
    marks.into_iter().map(disk).chain([fat().concat()]).collect()
}

pub(crate) fn boot_entry() -> Vec<Vec<u8>> {
    let variable = |text: &str| {
        let text = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        [6, 0, 0, 0].into_iter().chain(text).collect()
    };
    let names = ["2a.efi", "\\EFI\\Linux\\1b+2-1.efi"];
    names.into_iter().map(variable).chain(texts(&names)).collect()
}
