//! What a release says of itself, `release.json`: which image it is, from where it may be reached, and who
//! may take it when. `docs/releases.md` has every field. It is a target of TUF: whoever reads it has
//! verified it, and it is bounded and checked all the same.

mod listed;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::incoming::Root;
use crate::tuf::key::unhex;

pub use listed::{Listed, custom, is_reached, listed, number};

/// The version of the form. Fields may come without a new one, and readers pass over what they do not
/// know.
pub const SCHEMA: u32 = 1;

/// The name of the file.
pub const FILE: &str = "release.json";

/// It has no more bytes.
pub const LARGEST: u64 = 64 << 10;

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Release {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The recipe's name: nodes of another image do not take it.
    pub image: String,
    /// The version, which is also the directory of its files.
    pub version: String,
    /// Such as `amd64`.
    pub architecture: String,
    /// `uname -r` of the kernel.
    pub kernel: String,
    /// The commit of ostree with the same tree, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The root image.
    pub root: Image,
    /// The UKI that starts it.
    pub uki: Uki,
    /// Never falls on a node.
    #[serde(default)]
    pub epoch: u64,
    /// Nodes of an older release take another one first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_from: Option<String>,
    /// Which share of the nodes may take it when; all at once if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Wave>,
    /// Releases from which there is a delta.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<Delta>,
}

/// A root image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Image {
    /// dm-verity's root hash: 64 hexadecimal digits.
    pub hash: String,
    /// What its blocks are hashed after: 32 hexadecimal digits.
    pub salt: String,
    /// Bytes of its data.
    pub data_size: u64,
    /// Bytes of data and hash tree.
    pub size: u64,
}

/// A UKI, as it is on the disk: padded to the one size that all UKIs of a disk have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Uki {
    /// The root hash of a hash tree over it, which is that of an image of the same bytes: 64
    /// hexadecimal digits.
    pub hash: String,
    /// What its blocks are hashed after: 32 hexadecimal digits.
    pub salt: String,
    /// Its bytes. The hash tree is stored nowhere on a node.
    pub size: u64,
}

/// A share of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Wave {
    /// Of all nodes, the waves before it included: 1 to 100.
    pub percent: u8,
    /// Hours after it was published.
    pub after_hours: u32,
}

/// A way from another release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Delta {
    /// Its version.
    pub from: String,
    /// The root hash of its image.
    pub hash: String,
    /// Bytes of the delta.
    pub size: u64,
    /// The delta of the UKI, if there is one; without, the UKI comes by another way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uki: Option<UkiDelta>,
}

/// A way from the UKI of another release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UkiDelta {
    /// The root hash of the other UKI.
    pub hash: String,
    /// Bytes of the delta.
    pub size: u64,
}

/// What should be `release.json` is none.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// It is no JSON of this form.
    #[error("it is not the description of a release")]
    Form(#[from] serde_json::Error),
    /// It has a form that is not known here.
    #[error("it has schema {0}, and {SCHEMA} is known here")]
    Schema(u32),
    /// A version is no name.
    #[error(
        "its version `{}` is not 1 to 64 of letters, digits and `.+~_-`, a letter or digit first, \
         no `.uki` at its end",
        .0.escape_debug()
    )]
    Version(String),
    /// The image cannot be one.
    #[error("its root image has no possible {0}")]
    Image(&'static str),
    /// The UKI cannot be one.
    #[error("its UKI has no possible {0}")]
    Uki(&'static str),
    /// Waves do not rise.
    #[error("its waves do not rise in shares of 1 to 100 and in hours")]
    Waves,
}

/// Whether a version can be one: it is part of the names of files. The delta of the UKI from a version
/// `X` has the name that the delta of the root from a version `X.uki` would have.
pub fn is_version(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".+~_-".contains(c);
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    first && text.len() <= 64 && text.chars().all(fits) && !text.ends_with(".uki")
}

impl Release {
    /// Reads the file.
    ///
    /// # Errors
    /// See [`ReleaseError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
        }
        let Head { schema } = serde_json::from_slice(bytes)?;
        if schema != SCHEMA {
            return Err(ReleaseError::Schema(schema));
        }
        let release: Self = serde_json::from_slice(bytes)?;
        release.check()?;
        Ok(release)
    }

    /// That it makes sense.
    ///
    /// # Errors
    /// [`ReleaseError`] with what does not.
    pub fn check(&self) -> Result<(), ReleaseError> {
        let froms = self.deltas.iter().map(|delta| &delta.from).chain(&self.min_from);
        if let Some(wrong) = froms.chain([&self.version]).find(|text| !is_version(text)) {
            return Err(ReleaseError::Version(wrong.clone()));
        }
        let rise = |pair: &[Wave]| {
            pair[0].percent < pair[1].percent && pair[0].after_hours < pair[1].after_hours
        };
        let shares = self.waves.iter().all(|wave| (1..=100).contains(&wave.percent));
        if !shares || !self.waves.windows(2).all(rise) {
            return Err(ReleaseError::Waves);
        }
        self.root()?;
        self.uki().map(drop)
    }

    /// The root image, as what arrives is held against.
    ///
    /// # Errors
    /// [`ReleaseError::Image`].
    pub fn root(&self) -> Result<Root, ReleaseError> {
        let Image { hash, salt, data_size, size } = &self.root;
        let root = image(hash, salt, *data_size).map_err(ReleaseError::Image)?;
        if size < data_size {
            return Err(ReleaseError::Image("size"));
        }
        Ok(root)
    }

    /// The UKI, as what arrives is held against: it travels as a root image does.
    ///
    /// # Errors
    /// [`ReleaseError::Uki`].
    pub fn uki(&self) -> Result<Root, ReleaseError> {
        let Uki { hash, salt, size } = &self.uki;
        image(hash, salt, *size).map_err(ReleaseError::Uki)
    }

    /// The file.
    ///
    /// # Errors
    /// [`ReleaseError`]: [`Self::check`].
    pub fn to_file(&self) -> Result<Vec<u8>, ReleaseError> {
        self.check()?;
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// Of what a release says of an image; the part of it that is impossible.
fn image(hash: &str, salt: &str, size: u64) -> Result<Root, &'static str> {
    let hash: Sha256 = hash.parse().map_err(|_| "hash")?;
    let salt = unhex(salt).and_then(|salt| salt.try_into().ok()).ok_or("salt")?;
    let root = Root { hash, salt, size };
    if root.has_a_size() { Ok(root) } else { Err("size") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn release() -> Release {
        Release {
            schema: SCHEMA,
            image: "node".to_owned(),
            version: "1.0".to_owned(),
            architecture: "x86_64".to_owned(),
            kernel: "6.12".to_owned(),
            commit: None,
            root: Image {
                hash: "ab".repeat(32),
                salt: "0f".repeat(16),
                data_size: 8192,
                size: 12_288,
            },
            uki: Uki { hash: "ef".repeat(32), salt: "01".repeat(16), size: 4096 },
            epoch: 3,
            min_from: Some("0.9".to_owned()),
            waves: vec![
                Wave { percent: 10, after_hours: 0 },
                Wave { percent: 100, after_hours: 24 },
            ],
            deltas: vec![
                Delta {
                    from: "0.9".to_owned(),
                    hash: "cd".repeat(32),
                    size: 7,
                    uki: Some(UkiDelta { hash: "89".repeat(32), size: 5 }),
                },
                Delta { from: "0.8".to_owned(), hash: "67".repeat(32), size: 9, uki: None },
            ],
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_what_is_new_passed_over() {
        let bytes = release().to_file().unwrap();
        assert_eq!(Release::parse(&bytes).unwrap(), release());
        let text = String::from_utf8(bytes).unwrap().replacen('{', "{\"later\": [],", 1);
        assert_eq!(Release::parse(text.as_bytes()).unwrap(), release());
        let root = release().root().unwrap();
        assert_eq!((root.salt, root.size), ([0x0f; 16], 8192));
        let uki = release().uki().unwrap();
        assert_eq!((uki.salt, uki.size), ([1; 16], 4096));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_does_not() {
        let said = |change: fn(&mut Release)| {
            let mut release = release();
            change(&mut release);
            let bytes = serde_json::to_vec(&release).unwrap();
            assert!(release.to_file().is_err() || release.schema != SCHEMA);
            Release::parse(&bytes).unwrap_err().to_string()
        };
        assert!(said(|it| it.schema = 2).starts_with("it has schema 2"));
        assert!(said(|it| it.version = "../1".to_owned()).contains("`../1`"));
        assert!(said(|it| it.deltas[0].from = String::new()).contains("``"));
        assert!(said(|it| it.deltas[0].from = "1.uki".to_owned()).contains("`1.uki`"));
        assert!(said(|it| it.min_from = Some("a/b".to_owned())).contains("`a/b`"));
        assert!(said(|it| it.waves[0].percent = 0).contains("waves"));
        assert!(said(|it| it.waves[1].after_hours = 0).contains("waves"));
        assert!(said(|it| it.root.hash = "ab".to_owned()).ends_with("hash"));
        assert!(said(|it| it.root.salt = "zz".repeat(16)).ends_with("salt"));
        assert!(said(|it| it.root.data_size = 4095).ends_with("size"));
        assert!(said(|it| it.root.size = 4096).ends_with("root image has no possible size"));
        assert!(said(|it| it.uki.hash = String::new()).ends_with("UKI has no possible hash"));
        assert!(said(|it| it.uki.salt = "00".to_owned()).ends_with("UKI has no possible salt"));
        assert!(said(|it| it.uki.size = 4097).ends_with("UKI has no possible size"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(at in 0usize..1300, text in "[{}\\[\\]\":,a-z0-9.]{0,9}") {
            let mut bytes = release().to_file().unwrap();
            let at = at.min(bytes.len());
            let end = (at + text.len()).min(bytes.len());
            bytes.splice(at..end, text.bytes());
            if let Ok(release) = Release::parse(&bytes) {
                prop_assert!(is_version(&release.version));
                prop_assert!(release.root().is_ok() && release.uki().is_ok());
            }
        }
    }
}
