//! What an unpacked package holds, in a form that can be kept as the result of a step.

use std::collections::BTreeMap;

use formats::deb::{ControlError, Operator, Paragraph, paragraphs, parse_dependencies};
use formats::digest::Sha256;
use formats::tree::{Blob, Kind, Node, TreePath};
use serde::{Deserialize, Serialize};

use super::alternatives::Alternative;
use crate::error::{Error, Id, Result};
use crate::lock::model::Package;
use crate::stored::StoredBlob;

/// All of a package that matters for an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// What the package says of itself.
    pub control: Control,
    /// What it puts into the root, sorted by path, without the root directory.
    pub entries: Vec<Entry>,
    /// What it would have put there and nobody wants, sorted by path.
    pub dropped: Vec<Dropped>,
    /// Links that its script would make, which is not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Alternative>,
    /// Its file `copyright`, also if that is not in the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copyright: Option<StoredBlob>,
}

/// The fields of `control` by which a package is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// `Package`.
    pub package: String,
    /// `Version`.
    pub version: String,
    /// `Architecture`.
    pub architecture: String,
    /// The name in `Source`, or the package's own.
    pub source: String,
    /// The version in `Source`, or the package's own: advisories go by it.
    pub source_version: String,
    /// Source packages of which parts are in it: `Built-Using` and `Static-Built-Using`, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub built_using: Vec<Source>,
}

/// A source package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One path and its inode. The content of a file is in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "EntryText", try_from = "EntryText")]
pub struct Entry {
    /// Where.
    pub path: TreePath,
    /// What.
    pub node: Node,
}

/// A path that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropped {
    /// Without a leading slash.
    pub path: String,
    /// Bytes of content.
    pub size: u64,
}

impl Control {
    /// Whether this is the package that the lock names.
    ///
    /// # Errors
    /// [`Id::BadPackage`] if it is another one.
    pub fn check(&self, package: &Package) -> Result<()> {
        let found = [&self.package, &self.version, &self.architecture];
        let locked = [&package.name, &package.version, &package.architecture];
        if found == locked {
            return Ok(());
        }
        let text = |parts: [&String; 3]| parts.map(String::as_str).join(" ");
        let message =
            format!("the lock names package `{}`, the file is `{}`", text(locked), text(found));
        Err(Error::new(Id::BadPackage, message).hint("run `orlop lock`"))
    }

    /// Reads the text of `control`; the error is what is wrong with it.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        let paragraph: std::result::Result<Option<Paragraph<'_>>, ControlError> =
            paragraphs(text).next().transpose();
        let paragraph = paragraph.map_err(|error| error.to_string())?.ok_or("it is empty")?;
        let must = |name: &str| {
            let value = paragraph.get(name).filter(|value| !value.is_empty());
            value.map(str::to_owned).ok_or_else(|| format!("field `{name}` is missing"))
        };
        let package = must("Package")?;
        let version = must("Version")?;
        let source = paragraph.get("Source").unwrap_or_default();
        let (name, of) = source.split_once('(').unwrap_or((source, ""));
        let word = |text: &str| text.split_whitespace().next().map(str::to_owned);
        Ok(Self {
            source: word(name).unwrap_or_else(|| package.clone()),
            source_version: word(of.trim_end_matches(')')).unwrap_or_else(|| version.clone()),
            version,
            architecture: must("Architecture")?,
            package,
            built_using: built_using(&paragraph)?,
        })
    }
}

/// Each of these fields names exact versions only (policy 7.8).
fn built_using(paragraph: &Paragraph<'_>) -> std::result::Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for field in ["Built-Using", "Static-Built-Using"] {
        let value = paragraph.get(field).unwrap_or_default();
        for one in parse_dependencies(value).map_err(|error| format!("`{field}`: {error}"))? {
            let named = one.alternatives.into_iter().filter_map(|one| {
                let exact = one.constraint.filter(|bound| bound.operator == Operator::Equal)?;
                Some(Source { name: one.name, version: exact.version.to_string() })
            });
            sources.extend(named);
        }
    }
    sources.sort();
    sources.dedup();
    Ok(sources)
}

/// An [`Entry`] in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    path: String,
    kind: KindText,
    mode: u16,
    uid: u32,
    gid: u32,
    /// Values in hexadecimal digits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum KindText {
    Directory,
    File { sha256: String, size: u64 },
    Symlink(String),
}

impl From<Entry> for EntryText {
    fn from(Entry { path, node }: Entry) -> Self {
        let kind = match node.kind {
            Kind::Directory => KindText::Directory,
            Kind::File(Blob { sha256, size }) => {
                KindText::File { sha256: sha256.to_string(), size }
            }
            Kind::Symlink(target) => KindText::Symlink(target),
        };
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let xattrs = node.xattrs.into_iter().map(|(name, value)| (name, hex(value))).collect();
        let Node { mode, uid, gid, .. } = node;
        Self { path: path.as_str().to_owned(), kind, mode, uid, gid, xattrs }
    }
}

impl TryFrom<EntryText> for Entry {
    type Error = String;

    fn try_from(text: EntryText) -> std::result::Result<Self, String> {
        let kind = match text.kind {
            KindText::Directory => Kind::Directory,
            KindText::File { sha256, size } => {
                let sha256: Sha256 = sha256.parse().map_err(|error| format!("{error}"))?;
                Kind::File(Blob { sha256, size })
            }
            KindText::Symlink(target) => Kind::Symlink(target),
        };
        let bytes = |(name, value): (String, String)| {
            let value = unhex(&value).ok_or_else(|| format!("`{value}` is not hexadecimal"))?;
            Ok::<_, String>((name, value))
        };
        let xattrs = text.xattrs.into_iter().map(bytes).collect::<std::result::Result<_, _>>()?;
        let path = TreePath::new(&text.path).map_err(|error| error.to_string())?;
        let EntryText { mode, uid, gid, .. } = text;
        Ok(Self { path, node: Node { kind, mode, uid, gid, xattrs } })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::lock::model::Role;

    fn contents() -> Contents {
        let blob = Blob { sha256: Sha256::of("abc"), size: 3 };
        let capability = ("security.capability".to_owned(), vec![0, 1, 0xab]);
        let nodes = [
            ("etc", Node { uid: 7, gid: 8, ..Node::directory(0o2755) }),
            ("usr/bin/a", Node { xattrs: [capability].into(), ..Node::file(blob, 0o4755) }),
            ("usr/bin/b", Node::symlink("a")),
        ];
        let entry = |(path, node)| Entry { path: TreePath::new(path).unwrap(), node };
        Contents {
            control: Control::parse("Package: a\nVersion: 1\nArchitecture: all\n").unwrap(),
            entries: nodes.map(entry).to_vec(),
            dropped: vec![Dropped { path: "usr/share/doc/a".into(), size: 5 }],
            alternatives: vec![Alternative {
                link: "/usr/bin/c".into(),
                target: "/usr/bin/a".into(),
                priority: 1,
            }],
            copyright: None,
        }
    }

    #[test]
    fn contents_come_back_from_json_as_they_were() {
        let json = serde_json::to_string(&contents()).unwrap();
        assert_eq!(serde_json::from_str::<Contents>(&json).unwrap(), contents());
        let sha256 = Sha256::of("abc");
        assert!(json.contains(&format!(
            r#"{{"path":"usr/bin/a","kind":{{"file":{{"sha256":"{sha256}","size":3}}}},"mode":2541,"uid":0,"gid":0,"xattrs":{{"security.capability":"0001ab"}}}}"#
        )));
    }

    #[test]
    fn damaged_json_is_refused() {
        let json = serde_json::to_string(&contents()).unwrap();
        for (from, to) in [
            ("usr/bin/a", "../a"),
            ("0001ab", "0001a"),
            ("0001ab", "0001ax"),
            ("\"sha256\":\"b", "\"sha256\":\"x"),
        ] {
            assert!(json.contains(from));
            assert!(serde_json::from_str::<Contents>(&json.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn a_package_is_known_by_name_version_and_architecture() {
        let package = |name: &str, version: &str, architecture: &str| Package {
            name: name.into(),
            version: version.into(),
            architecture: architecture.into(),
            source: name.into(),
            suite: "trixie".into(),
            path: "pool/a.deb".into(),
            blob: Blob { sha256: Sha256::of(""), size: 0 },
            role: Role::Root,
            required_by: BTreeSet::new(),
        };
        assert!(contents().control.check(&package("a", "1", "all")).is_ok());
        for other in
            [package("b", "1", "all"), package("a", "1-0", "all"), package("a", "1", "amd64")]
        {
            let error = contents().control.check(&other).unwrap_err();
            assert_eq!(error.id(), Id::BadPackage);
            assert!(error.to_string().ends_with("the file is `a 1 all`"));
        }
    }

    #[test]
    fn control_must_name_the_package() {
        for (text, problem) in [
            ("", "it is empty"),
            ("Package: a\nVersion: 1\n", "field `Architecture` is missing"),
            ("Package:\n", "field `Package` is missing"),
            ("x", "line 1: expected `Field: value`"),
        ] {
            assert_eq!(Control::parse(text), Err(problem.to_owned()));
        }
        for (field, source, version) in
            [("Source: b (2)\n", "b", "2"), ("Source: b\n", "b", "1"), ("", "a", "1")]
        {
            let text = format!("Package: a\n{field}Version: 1\nArchitecture: all\n");
            let control = Control::parse(&text).unwrap();
            assert_eq!(
                (control.source.as_str(), control.source_version.as_str()),
                (source, version)
            );
        }
    }

    #[test]
    fn what_is_built_in_is_told_with_its_versions() {
        let control = |more: &str| {
            Control::parse(&format!("Package: a\nVersion: 1\nArchitecture: all\n{more}"))
        };
        let text =
            "Built-Using: linux (= 6.0-1), b (= 1:2),\n c (= 3)\nStatic-Built-Using: b (= 1:2)\n";
        let built_using = control(text).unwrap().built_using;
        let told: Vec<_> =
            built_using.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
        assert_eq!(told, ["b 1:2", "c 3", "linux 6.0-1"]);
        assert_eq!(control("").unwrap().built_using, []);
        let problem = control("Built-Using: (= 1)\n").unwrap_err();
        assert!(problem.starts_with("`Built-Using`: "), "{problem}");
    }
}
