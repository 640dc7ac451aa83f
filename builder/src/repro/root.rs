//! Two root images: path by path if their trees differ, else byte by byte, each byte with what it
//! belongs to.

use std::collections::BTreeSet;
use std::io;

use formats::digest::Sha256;
use formats::erofs::{Located, Options, Plan};
use formats::tree::{Kind, Node, Tree, TreePath};

use super::content;
use super::fields::{self, Field, Shape};
use super::files::{View, first};
use super::place::{Finding, Part};

/// The block with the superblock, which begins at [`SUPERBLOCK`].
const BLOCK: u64 = 4096;
const SUPERBLOCK: usize = 1024;

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

/// Fields that do not follow from the tree.
const OWN: [&str; 3] = ["build time", "nanoseconds of the build time", "volume name"];

/// The first differences, up to `most`, of two images with these trees.
pub(super) fn compare(
    one: View<'_>,
    two: View<'_>,
    trees: Option<[&Tree; 2]>,
    most: usize,
) -> io::Result<Vec<Finding>> {
    let (head, other) = (one.read(0, BLOCK)?, two.read(0, BLOCK)?);
    let mut found: Vec<_> = fields::compare(&head, &other, &FIELDS)
        .into_iter()
        .map(|found| found.within([Part::field("superblock")]))
        .collect();
    let plan = |tree: Option<&Tree>, head: &[u8]| tree.and_then(|tree| plan(tree, head));
    let plans =
        [plan(trees.map(|[tree, _]| tree), &head), plan(trees.map(|[_, tree]| tree), &other)];
    if let Some([first_tree, second_tree]) = trees
        && first_tree != second_tree
    {
        let own =
            |found: &Finding| OWN.iter().any(|name| found.place.0.contains(&Part::field(*name)));
        found.retain(own);
        let images = [(one, plans[0].as_ref()), (two, plans[1].as_ref())];
        found.extend(paths(first_tree, second_tree, images, most)?);
        return Ok(found);
    }
    let data = plans[0].as_ref().map_or(one.size(), Plan::image_size);
    let mut at = BLOCK;
    while found.len() < most {
        let Some(byte) = first(one, two, at)? else { break };
        let Some(plan) = plans[0].as_ref().filter(|_| byte < data) else {
            // The tree changes with the data and the salt.
            if found.is_empty() {
                let part = if byte < data { None } else { Some(Part::HashTree) };
                let number = byte - if part.is_some() { data } else { 0 };
                found.push(Finding::at(part.into_iter().chain([Part::Byte { number }])));
            }
            break;
        };
        let (located, end) = plan.at(byte);
        found.push(byte_of(plan, located, (one, two), byte)?);
        at = end.max(byte + 1);
    }
    Ok(found)
}

/// The plan of an image: its tree and what its own superblock says.
fn plan(tree: &Tree, head: &[u8]) -> Option<Plan> {
    let bytes = head.get(SUPERBLOCK..)?;
    let name = bytes.get(64..80)?.split(|byte| *byte == 0).next()?;
    let options = Options {
        epoch: u64::from_le_bytes(bytes.get(24..32)?.try_into().ok()?),
        uuid: bytes.get(48..64)?.try_into().ok()?,
        volume_name: String::from_utf8(name.to_vec()).ok()?,
    };
    Plan::new(tree, &options).ok()
}

fn byte_of(
    plan: &Plan,
    located: Located<'_>,
    (one, two): (View<'_>, View<'_>),
    byte: u64,
) -> io::Result<Finding> {
    let number = Part::Byte { number: byte };
    Ok(match located {
        Located::Superblock => Finding::at([Part::field("superblock"), number]),
        Located::Inode(path) => Finding::at([Part::path(path), Part::Inode, number]),
        Located::Names(path) => Finding::at([Part::path(path), Part::Names, number]),
        Located::Target(path) => Finding::at([Part::path(path), Part::attribute("target")]),
        Located::Padding => Finding::at([Part::Padding, number]),
        Located::Content(path, at) => {
            let start = byte - at;
            let (_, end) = plan.at(byte);
            let inside =
                content::compare(&one.read(start, end - start)?, &two.read(start, end - start)?);
            inside.within([Part::path(path), Part::Content])
        }
    })
}

/// What differs of two trees.
fn paths(
    one: &Tree,
    two: &Tree,
    images: [(View<'_>, Option<&Plan>); 2],
    most: usize,
) -> io::Result<Vec<Finding>> {
    let all: BTreeSet<&TreePath> = one.iter().chain(two.iter()).map(|(path, _)| path).collect();
    let mut found = Vec::new();
    for path in all {
        if found.len() > most {
            break;
        }
        let inner = match (one.get(path), two.get(path)) {
            (Some(first), Some(second)) if first == second => continue,
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
    images: [(View<'_>, Option<&Plan>); 2],
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
                let read = |(view, plan): (View<'_>, Option<&Plan>), blob| {
                    content_of(view, plan, path, blob)
                };
                let inside = match (read(one, first)?, read(two, second)?) {
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

/// The content of a file as the image has it, if it is what the tree says.
fn content_of(
    view: View<'_>,
    plan: Option<&Plan>,
    path: &TreePath,
    blob: &formats::tree::Blob,
) -> io::Result<Option<Vec<u8>>> {
    let bytes = match plan.and_then(|plan| plan.content(path)) {
        Some(start) => view.read(start, blob.size)?,
        None => Vec::new(),
    };
    Ok((Sha256::of(&bytes) == blob.sha256).then_some(bytes))
}
