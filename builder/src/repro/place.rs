//! Where two builds differ, as a value: from the outside of a file inwards to a path, a section, a
//! field or a line.

use std::fmt;

use serde::Serialize;

/// Of what a published build has in its own report, `build.json`.
const REPORTED: &str = " in its own build.json";

/// A way into a file: each part is in the one before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Place(pub Vec<Part>);

/// One part of the way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Part {
    /// A partition of the disk.
    Partition {
        /// Its label.
        name: String,
    },
    /// A path of the root, the initrd, the EFI system partition or a container image.
    Path {
        /// With a slash before it.
        name: String,
    },
    /// A section of an EFI program, of the kernel, or of an ELF file.
    Section {
        /// Such as `.linux`.
        name: String,
    },
    /// A field of a header, a superblock or a partition table.
    Field {
        /// What its format calls it.
        name: String,
    },
    /// A value of a JSON document.
    Key {
        /// Keys with dots between them; an item of a list is in brackets, by its name if it has
        /// one.
        name: String,
    },
    /// What is known of a path beside its content: its mode, its owner.
    Attribute {
        /// Such as `mode`.
        name: String,
    },
    /// What a file holds.
    Content,
    /// What a file system knows of a path, where it is not as the tree says.
    Inode,
    /// The names in a directory.
    Names,
    /// The hash tree of dm-verity.
    HashTree,
    /// What fills up.
    Padding,
    /// The same things, in another order.
    Order,
    /// One has it, and the other has not.
    Presence,
    /// A line of text.
    Line {
        /// From 1.
        number: u64,
    },
    /// A byte.
    Byte {
        /// From the start of what it is in.
        number: u64,
    },
}

impl Part {
    /// A field of this name.
    pub(super) fn field(name: impl Into<String>) -> Self {
        Self::Field { name: name.into() }
    }

    /// What a published report says of one of its files.
    pub(super) fn reported(what: &str) -> Self {
        Self::field(format!("{what}{REPORTED}"))
    }

    /// Whether it is one of these.
    pub(super) fn is_reported(&self) -> bool {
        matches!(self, Self::Field { name } if name.ends_with(REPORTED))
    }

    /// A path of this name.
    pub(super) fn path(name: impl fmt::Display) -> Self {
        Self::Path { name: name.to_string() }
    }

    /// What of a path.
    pub(super) fn attribute(name: impl Into<String>) -> Self {
        Self::Attribute { name: name.into() }
    }

    /// A section of this name.
    pub(super) fn section(name: impl Into<String>) -> Self {
        Self::Section { name: name.into() }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition { name } => write!(f, "partition {name}"),
            Self::Path { name } | Self::Field { name } | Self::Attribute { name } => {
                f.write_str(name)
            }
            Self::Section { name } => write!(f, "section {name}"),
            Self::Key { name } => write!(f, "`{name}`"),
            Self::Content => f.write_str("content"),
            Self::Inode => f.write_str("inode"),
            Self::Names => f.write_str("names of the directory"),
            Self::HashTree => f.write_str("hash tree"),
            Self::Padding => f.write_str("padding"),
            Self::Order => f.write_str("order"),
            Self::Presence => f.write_str("is in one of them only"),
            Self::Line { number } => write!(f, "line {number}"),
            Self::Byte { number } => write!(f, "byte {number}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{part}")?;
        }
        Ok(())
    }
}

/// What two values that differ look like, which often tells the cause. A guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Looks {
    /// A time, which should have been the epoch.
    Time,
    /// A random UUID.
    Uuid,
    /// A directory of the host.
    Path,
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Time => "looks like a time",
            Self::Uuid => "looks like a random UUID",
            Self::Path => "looks like a directory of the host",
        })
    }
}

/// A difference inside of a file, before it is known who made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Finding {
    /// Where.
    pub(super) place: Place,
    /// What stands there in the first build, for people.
    pub(super) one: Option<String>,
    /// And in the second.
    pub(super) two: Option<String>,
    /// What both look like.
    pub(super) looks: Option<Looks>,
    /// Whether both are command lines, and differ in nothing but the hash of the root.
    pub(super) root_hash: bool,
}

impl Finding {
    /// One whose values say nothing to people.
    pub(super) fn at(parts: impl IntoIterator<Item = Part>) -> Self {
        Self { place: Place(parts.into_iter().collect()), ..Self::default() }
    }

    /// With what stands there.
    pub(super) fn values(self, one: impl fmt::Display, two: impl fmt::Display) -> Self {
        Self { one: Some(one.to_string()), two: Some(two.to_string()), ..self }
    }

    /// The first byte that differs, or the sizes if it is behind the end of one of them.
    pub(super) fn byte_or_size(at: u64, sizes: [u64; 2]) -> Self {
        if at < sizes[0].min(sizes[1]) {
            return Self::at([Part::Byte { number: at }]);
        }
        let [one, two] = sizes.map(|size| format!("{size} bytes"));
        Self::at([Part::field("size")]).values(one, two)
    }

    /// Something that one has and the other has not.
    pub(super) fn presence(part: Part, in_one: bool) -> Self {
        let text = |there| if there { "there" } else { "not there" };
        Self::at([part, Part::Presence]).values(text(in_one), text(!in_one))
    }

    /// The same, seen from outside of what it is in.
    pub(super) fn within(mut self, parts: impl IntoIterator<Item = Part>) -> Self {
        let inner = std::mem::take(&mut self.place.0);
        self.place.0 = parts.into_iter().chain(inner).collect();
        self
    }
}
