//! A tree as text, one path a line: what two builds are compared by, and what an image's identity
//! is the digest of.
//!
//! ```text
//! d 0755 0 0 /
//! f 0644 0 0 /etc/motd ba7816bf...15ad 3
//! l 0777 0 0 /bin usr/bin
//! ```
//! Type, mode, owner, group, path; then digest and size of a file or the target of a link; then
//! extended attributes as `NAME=HEX`. One blank stands between two fields and none in a field:
//! what is not printable ASCII, blanks, quotes and `\` are escaped as in Rust's strings. So no
//! two trees have one text, and [`parse`] gives back the tree that [`text`] was given.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::tree::{Blob, Kind, Node, Tree, TreeError, TreePath};

/// The tree as text.
pub fn text(tree: &Tree) -> String {
    let mut text = String::new();
    for (path, node) in tree.iter() {
        let (kind, what) = match &node.kind {
            Kind::Directory => ('d', String::new()),
            Kind::File(blob) => ('f', format!(" {} {}", blob.sha256, blob.size)),
            Kind::Symlink(target) => ('l', format!(" {}", escaped(target))),
        };
        let Node { mode, uid, gid, .. } = node;
        let path = escaped(&path.to_string());
        // Writing to a String cannot fail.
        let _ = write!(text, "{kind} {mode:04o} {uid} {gid} {path}{what}");
        for (name, value) in &node.xattrs {
            let _ = write!(text, " {}=", escaped(name));
            for byte in value {
                let _ = write!(text, "{byte:02x}");
            }
        }
        text.push('\n');
    }
    text
}

/// Why a text is not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A line is not as [`text`] writes it.
    #[error("line {0} is not a line of a manifest")]
    Line(usize),
    /// A line's path cannot be where it says.
    #[error("line {line} does not fit the lines before it")]
    Tree {
        /// Which, from 1.
        line: usize,
        /// Why.
        source: TreeError,
    },
    /// Lines are missing, double, in another order, or written in another way.
    #[error("the lines are not those of a tree, in their order and each once")]
    Order,
}

/// The tree that has this text.
///
/// # Errors
/// See [`ManifestError`]. What is taken is written again as the same text.
pub fn parse(manifest: &str) -> Result<Tree, ManifestError> {
    let mut tree = Tree::new();
    for (line, text) in (1..).zip(manifest.lines()) {
        let (path, node) = parse_line(text).ok_or(ManifestError::Line(line))?;
        tree.insert(path, node).map_err(|source| ManifestError::Tree { line, source })?;
    }
    if text(&tree) == manifest { Ok(tree) } else { Err(ManifestError::Order) }
}

fn parse_line(line: &str) -> Option<(TreePath, Node)> {
    let mut fields = line.split(' ');
    let kind = fields.next()?;
    let mode = u16::from_str_radix(fields.next()?, 8).ok()?;
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let path = unescaped(fields.next()?)?;
    let path = path.starts_with('/').then(|| TreePath::new(&path).ok())??;
    let kind = match kind {
        "d" => Kind::Directory,
        "f" => Kind::File(Blob {
            sha256: fields.next()?.parse().ok()?,
            size: fields.next()?.parse().ok()?,
        }),
        "l" => Kind::Symlink(unescaped(fields.next()?)?),
        _ => return None,
    };
    let xattrs = fields.map(xattr).collect::<Option<BTreeMap<_, _>>>()?;
    Some((path, Node { kind, mode, uid, gid, xattrs }))
}

/// A name may hold `=`, a value does not.
fn xattr(field: &str) -> Option<(String, Vec<u8>)> {
    let (name, value) = field.rsplit_once('=')?;
    let pairs = value.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    Some((unescaped(name)?, bytes.collect::<Option<_>>()?))
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c == ' ' { escaped.push_str("\\u{20}") } else { escaped.extend(c.escape_default()) }
    }
    escaped
}

fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next()? {
                't' => '\t',
                'r' => '\r',
                'n' => '\n',
                c @ ('\'' | '"' | '\\') => c,
                'u' => {
                    let (code, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
                    chars = rest.chars();
                    char::from_u32(u32::from_str_radix(code, 16).ok()?)?
                }
                _ => return None,
            },
            c => c,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::Sha256;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    #[test]
    fn a_line_says_all_that_shapes_the_image() {
        let mut tree = Tree::new();
        let blob = Blob { sha256: Sha256::of("abc"), size: 3 };
        let mut node = Node::file(blob, 0o4755);
        (node.uid, node.gid) = (1, 2);
        node.xattrs.insert("user.a".into(), vec![0, 255]);
        tree.insert(path("a b\n\\"), node).unwrap();
        tree.insert(path("bin"), Node::symlink("usr/bin")).unwrap();
        assert_eq!(
            text(&tree),
            "d 0755 0 0 /\n\
             f 4755 1 2 /a\\u{20}b\\n\\\\ \
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 user.a=00ff\n\
             l 0777 0 0 /bin usr/bin\n"
        );
    }

    #[test]
    fn links_that_differ_in_where_a_blank_stands_have_two_texts() {
        let link = |at: &str, target: &str| {
            let mut tree = Tree::new();
            tree.insert(path(at), Node::symlink(target)).unwrap();
            text(&tree)
        };
        assert_ne!(link("a b", "c"), link("a", "b c"));
        assert_ne!(link("a\\n", "c"), link("a\n", "c"));
    }

    #[test]
    fn what_is_not_a_manifest_is_refused() {
        let root = "d 0755 0 0 /\n";
        for (text, want) in [
            (String::new(), ManifestError::Order),
            (root.trim_end().to_owned(), ManifestError::Order),
            (format!("{root}{root}"), ManifestError::Order),
            (format!("{root}l 0777 0 0 /b x\nl 0777 0 0 /a x\n"), ManifestError::Order),
            (format!("{root}l 0777 0 0 /a/b x\n"), ManifestError::Order),
            (format!("{root}l 777 0 0 /a x\n"), ManifestError::Order),
            (format!("{root}l 0777 0 0 a x\n"), ManifestError::Line(2)),
            (format!("{root}l 0777 0 0 /a x y\n"), ManifestError::Line(2)),
            (format!("{root}l 0777 0 0 /a \\x\n"), ManifestError::Line(2)),
            (format!("{root}d 0777 0 0 /a user.b=0\u{e9}\n"), ManifestError::Line(2)),
            (format!("{root}p 0777 0 0 /a\n"), ManifestError::Line(2)),
        ] {
            assert_eq!(parse(&text), Err(want), "{text:?}");
        }
    }

    /// Texts that hold what could be mistaken for the end of a field or for an escape.
    fn word() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop_oneof![Just(' '), Just('\\'), Just('\n'), Just('='), any::<char>()],
            1..6,
        )
        .prop_map(|chars| chars.into_iter().collect())
    }

    fn node() -> impl Strategy<Value = Node> {
        let kind = prop_oneof![
            Just(Kind::Directory),
            (any::<u8>(), any::<u64>()).prop_map(|(content, size)| Kind::File(Blob {
                sha256: Sha256::of([content]),
                size
            })),
            word().prop_map(Kind::Symlink),
        ];
        let xattrs = prop::collection::btree_map(word(), any::<Vec<u8>>(), 0..3);
        (kind, 0_u16..0o10000, any::<u32>(), any::<u32>(), xattrs)
            .prop_map(|(kind, mode, uid, gid, xattrs)| Node { kind, mode, uid, gid, xattrs })
    }

    proptest! {
        #[test]
        fn a_tree_comes_back_from_its_text(nodes in prop::collection::vec(
            (prop::collection::vec(word(), 1..3), node()), 0..8,
        )) {
            let mut tree = Tree::new();
            for (parts, node) in nodes {
                let path = parts.into_iter().try_fold(TreePath::ROOT, |path, part| path.join(&part));
                if let Ok(path) = path {
                    // What has no place in the tree, such as a file's child, is left out.
                    drop(tree.insert(path, node));
                }
            }
            prop_assert_eq!(parse(&text(&tree)), Ok(tree));
        }

        #[test]
        fn any_text_is_parsed_or_refused(lines in prop::collection::vec(
            prop_oneof![any::<String>(), "[dfl] 0[0-7]{3} 0 0 /[a-c\\\\ ]{0,3}( [a-z0-9=\\\\{}]{0,5}){0,2}"], 0..4,
        )) {
            let manifest = format!("d 0755 0 0 /\n{}\n", lines.join("\n"));
            if let Ok(tree) = parse(&manifest) {
                prop_assert_eq!(text(&tree), manifest);
            }
        }
    }
}
