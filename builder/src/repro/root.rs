//! Two root images: path by path if their trees differ, else byte by byte, each byte with what it
//! belongs to.

use std::collections::BTreeSet;
use std::io;

use formats::erofs::{Located, Plan};
use formats::tree::{Kind, Node, Tree, TreePath};
use formats::verity;

use super::content;
use super::fields::{self, Field, Shape};
use super::files::{View, first};
use super::place::{Finding, Part};
use super::tree::{BLOCK, Image, MOST_CONTENT, images};

/// `struct erofs_super_block` of `fs/erofs/erofs_fs.h`, in bytes from the start of the image.
const FIELDS: [Field; 12] = [
    Field::new("magic", 1024, 4, Shape::Number),
    Field::new("checksum", 1028, 4, Shape::Checksum),
    Field::new("compatible features", 1032, 4, Shape::Number),
    Field::new("block size", 1036, 1, Shape::Number),
    Field::new("root inode", 1038, 2, Shape::Number),
    Field::new("number of inodes", 1040, 8, Shape::Number),
    Field::new("build time", 1048, 8, Shape::Time),
    Field::new("nanoseconds of the build time", 1056, 4, Shape::Number),
    Field::new("number of blocks", 1060, 4, Shape::Number),
    Field::new("UUID, the salt of the hash tree", 1072, 16, Shape::Uuid),
    Field::new("volume name", 1088, 16, Shape::Text),
    Field::new("incompatible features", 1104, 4, Shape::Number),
];

/// `struct erofs_inode_compact`, from the start of the inode.
const COMPACT: [Field; 11] = [
    Field::new("format", 0, 2, Shape::Number),
    Field::new("number of extended attributes", 2, 2, Shape::Number),
    Field::new("mode", 4, 2, Shape::Number),
    Field::new("number of links", 6, 2, Shape::Number),
    Field::new("size", 8, 4, Shape::Number),
    Field::new("time", 12, 4, Shape::Number),
    Field::new("first block", 16, 4, Shape::Number),
    Field::new("inode number", 20, 4, Shape::Number),
    Field::new("owner", 24, 2, Shape::Number),
    Field::new("group", 26, 2, Shape::Number),
    Field::new("reserved", 28, 4, Shape::Number),
];
/// `struct erofs_inode_extended`.
const EXTENDED: [Field; 13] = [
    Field::new("format", 0, 2, Shape::Number),
    Field::new("number of extended attributes", 2, 2, Shape::Number),
    Field::new("mode", 4, 2, Shape::Number),
    Field::new("reserved", 6, 2, Shape::Number),
    Field::new("size", 8, 8, Shape::Number),
    Field::new("first block", 16, 4, Shape::Number),
    Field::new("inode number", 20, 4, Shape::Number),
    Field::new("owner", 24, 4, Shape::Number),
    Field::new("group", 28, 4, Shape::Number),
    Field::new("time", 32, 8, Shape::Time),
    Field::new("nanoseconds of the time", 40, 4, Shape::Number),
    Field::new("number of links", 44, 4, Shape::Number),
    Field::new("reserved", 48, 16, Shape::Number),
];
/// Bytes of both.
const COMPACT_BYTES: usize = 32;
const EXTENDED_BYTES: usize = 64;
/// Inodes begin at multiples of this.
const SLOT: u64 = 32;
/// An inode with its attributes is not longer.
const LONGEST_INODE: u64 = 2 * BLOCK;

/// Fields that do not follow from the tree.
const OWN: [&str; 3] = ["build time", "nanoseconds of the build time", "volume name"];

/// The first differences of two images, at least one more than `most` if there are more. `manifests`
/// are the trees that manifests have.
pub(super) fn compare(
    one: View<'_>,
    two: View<'_>,
    manifests: Option<[&Tree; 2]>,
    most: usize,
) -> io::Result<Vec<Finding>> {
    let heads = [one.read(0, BLOCK)?, two.read(0, BLOCK)?];
    let mut found: Vec<_> = fields::compare(&heads[0], &heads[1], &FIELDS)
        .into_iter()
        .map(|found| found.within([Part::field("superblock")]))
        .collect();
    let images = images([one, two], [&heads[0], &heads[1]], manifests)?;
    if let Some(images) = &images
        && images[0].tree != images[1].tree
    {
        let own =
            |found: &Finding| OWN.iter().any(|name| found.place.0.contains(&Part::field(*name)));
        found.retain(own);
        found.extend(paths(images, most)?);
        return Ok(found);
    }
    let image = images.as_ref().map(|[image, _]| image);
    let plan = image.and_then(|image| Some((image, image.plan.as_ref()?)));
    let data = plan.map_or(one.size(), |(_, plan)| plan.image_size());
    let tree = data + plan.map_or(0, |(_, plan)| verity::tree_size(plan.image_size() / BLOCK));
    let mut at = BLOCK;
    while found.len() <= most {
        let Some(byte) = first(one, two, at)? else { break };
        if byte >= one.size().min(two.size()) {
            found.push(Finding::byte_or_size(byte, [one.size(), two.size()]));
            break;
        }
        let Some((image, plan)) = plan.filter(|_| byte < data) else {
            // The tree changes with the data and the salt.
            if byte < data {
                found.push(Finding::at([Part::Byte { number: byte }]));
            } else if byte >= tree {
                found.push(Finding::at([Part::Padding, Part::Byte { number: byte }]));
            } else if found.is_empty() {
                found.push(Finding::at([Part::HashTree, Part::Byte { number: byte - data }]));
                at = tree;
                continue;
            } else {
                at = tree;
                continue;
            }
            break;
        };
        let (located, end) = plan.at(byte);
        found.extend(byte_of(image, plan, located, (one, two), byte)?);
        at = end.max(byte + 1);
    }
    Ok(found)
}

fn byte_of(
    image: &Image<'_>,
    plan: &Plan,
    located: Located<'_>,
    (one, two): (View<'_>, View<'_>),
    byte: u64,
) -> io::Result<Vec<Finding>> {
    let number = Part::Byte { number: byte };
    let found = match located {
        Located::Superblock => Finding::at([Part::field("superblock"), number]),
        Located::Inode(path) => return inode(plan, path, (one, two), byte),
        Located::Names(path) => Finding::at([Part::path(path), Part::Names, number]),
        Located::Target(path) => Finding::at([Part::path(path), Part::attribute("target")]),
        Located::Padding => Finding::at([Part::Padding, number]),
        Located::Content(path, at) => {
            let start = byte - at;
            let (_, end) = plan.at(byte);
            // An image that another program has laid out has its contents elsewhere.
            let elsewhere = image.contents.as_ref().is_some_and(|contents| {
                let extent = contents.get(path).and_then(|content| content.extents().next());
                extent.is_none_or(|extent| extent.offset != start)
            });
            if elsewhere || end - start > MOST_CONTENT {
                Finding::at([number])
            } else {
                let read = |view: View<'_>| view.read(start, end - start);
                let inside = content::compare(&read(one)?, &read(two)?);
                inside.within([Part::path(path), Part::Content])
            }
        }
    };
    Ok(vec![found])
}

/// The fields of an inode that differ, or the first byte of its attributes that does.
fn inode(
    plan: &Plan,
    path: &TreePath,
    (one, two): (View<'_>, View<'_>),
    byte: u64,
) -> io::Result<Vec<Finding>> {
    let own = |at: u64| plan.at(at).0 == Located::Inode(path);
    let mut start = byte / SLOT * SLOT;
    while start >= SLOT && byte - start < LONGEST_INODE && own(start - SLOT) {
        start -= SLOT;
    }
    let (head, other) =
        (one.read(start, EXTENDED_BYTES as u64)?, two.read(start, EXTENDED_BYTES as u64)?);
    // The lowest bit of the format tells the two forms apart.
    let extended = |head: &[u8]| head.first().is_some_and(|byte| byte & 1 == 1);
    let (table, size) = match (extended(&head), extended(&other)) {
        (true, true) => (&EXTENDED[..], EXTENDED_BYTES),
        (false, false) => (&COMPACT[..], COMPACT_BYTES),
        _ => (&COMPACT[..1], 2),
    };
    let cut = |head: Vec<u8>| head.into_iter().take(size).collect::<Vec<_>>();
    let mut found = fields::compare(&cut(head), &cut(other), table);
    if found.is_empty() {
        found.push(Finding::at([
            Part::field("extended attributes"),
            Part::Byte { number: byte - start },
        ]));
    }
    let within = |found: Finding| found.within([Part::path(path), Part::Inode]);
    Ok(found.into_iter().map(within).collect())
}

/// What differs of two trees. All of it, but only the first `most` paths are looked into.
fn paths(images: &[Image<'_>; 2], most: usize) -> io::Result<Vec<Finding>> {
    let [one, two] = images;
    let trees = one.tree.iter().chain(two.tree.iter());
    let all: BTreeSet<&TreePath> = trees.map(|(path, _)| path).collect();
    let mut found = Vec::new();
    for path in all {
        let inner = match (one.tree.get(path), two.tree.get(path)) {
            (Some(first), Some(second)) if first == second => continue,
            (Some(_), Some(_)) if found.len() > most => vec![Finding::at([])],
            (Some(first), Some(second)) => nodes(path, first, second, images)?,
            (first, _) => {
                found.push(Finding::presence(Part::path(path), first.is_some()));
                continue;
            }
        };
        found.extend(inner.into_iter().map(|found| found.within([Part::path(path)])));
    }
    Ok(found)
}

fn nodes(
    path: &TreePath,
    one: &Node,
    two: &Node,
    images: &[Image<'_>; 2],
) -> io::Result<Vec<Finding>> {
    let attribute = |name: &str| Finding::at([Part::attribute(name)]);
    let mut found = Vec::new();
    if one.mode != two.mode {
        let octal = |node: &Node| format!("{:04o}", node.mode);
        found.push(attribute("mode").values(octal(one), octal(two)));
    }
    if one.uid != two.uid {
        found.push(attribute("owner").values(one.uid, two.uid));
    }
    if one.gid != two.gid {
        found.push(attribute("group").values(one.gid, two.gid));
    }
    let names: BTreeSet<_> = one.xattrs.keys().chain(two.xattrs.keys()).collect();
    for name in names {
        let (first, second) = (one.xattrs.get(name), two.xattrs.get(name));
        if first != second {
            let show = |value: Option<&Vec<u8>>| match value {
                Some(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                None => "not there".to_owned(),
            };
            let attribute = attribute(&format!("extended attribute {name}"));
            found.push(attribute.values(show(first), show(second)));
        }
    }
    match (&one.kind, &two.kind) {
        (Kind::Directory, Kind::Directory) => {}
        (Kind::Symlink(first), Kind::Symlink(second)) => {
            if first != second {
                let looks = content::looks(first, second);
                found.push(Finding { looks, ..attribute("target").values(first, second) });
            }
        }
        (Kind::File(first), Kind::File(second)) => {
            if first != second {
                let [one, two] = images;
                let contents = (one.content(path, first)?, two.content(path, second)?);
                let inside = match contents {
                    (Some(first), Some(second)) => content::compare(&first, &second),
                    _ => Finding::at([]).values(first.sha256, second.sha256),
                };
                found.push(inside.within([Part::Content]));
            }
        }
        (first, second) => {
            let show = |kind: &Kind| match kind {
                Kind::Directory => "directory",
                Kind::Symlink(_) => "symlink",
                Kind::File(_) => "file",
            };
            found.push(attribute("type").values(show(first), show(second)));
        }
    }
    Ok(found)
}
