//! What a build made: `build.json`, the same bytes for the same inputs.

use formats::architecture::Architecture;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::build::artifact::Artifact;
use crate::figures::bytes;
use crate::stored::Hex;

/// The version of the report's shape. Fields may come without a new one, and readers pass over
/// what they do not know; a field that goes or changes its meaning makes a new one.
pub const SCHEMA: u32 = 3;

/// Why what is called a report cannot be read. The text goes on after the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is something else.
    #[error("is not the report of a build")]
    NotAReport(#[source] Option<serde_json::Error>),
    /// It has another shape than we know.
    #[error("is of a newer `orlop`: it has schema {0}, and this one knows {SCHEMA}")]
    Newer(u32),
    /// It has the shape that reports once had.
    #[error("is of an older `orlop`, with schema {0}: build again")]
    Older(u32),
}

/// The content of `build.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The recipe's name.
    pub image: String,
    /// The recipe's version.
    pub version: String,
    /// What it runs on.
    #[serde(default)]
    pub architecture: Architecture,
    /// `uname -r` of the kernel.
    pub kernel: String,
    /// Digest of the lock that it was made by; none of a build of an earlier `orlop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Hex>,
    /// The root image.
    pub root: Root,
    /// The kernel's command line.
    pub command_line: String,
    /// Bytes of file content in the root by component.
    pub components: BTreeMap<String, u64>,
    /// What each glob of `[debian] drop` left out.
    pub dropped: BTreeMap<String, Dropped>,
    /// Version of each Debian package in the root.
    pub packages: BTreeMap<String, String>,
    /// Size in bytes of the UKI before padding.
    pub uki_size: u64,
    /// Size in bytes of the initrd.
    pub initrd_size: u64,
    /// Size in bytes of the disk.
    pub disk_size: u64,
    /// The files beside this one, by name.
    pub artifacts: Vec<Artifact>,
}

/// What a glob left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Dropped {
    /// Number of paths.
    pub paths: u64,
    /// Bytes of their content.
    pub bytes: u64,
}

/// The root image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Root {
    /// The dm-verity root hash.
    pub hash: Hex,
    /// The salt: the volume's UUID, as 32 hexadecimal digits.
    pub salt: String,
    /// Bytes of the EROFS image; the hash tree begins here.
    pub data_size: u64,
    /// Bytes of data and hash tree.
    pub size: u64,
    /// Number of paths.
    pub paths: u64,
}

/// What says in any schema that this is a report, and which files belong to the build.
#[derive(Deserialize)]
struct Outline {
    #[expect(dead_code, reason = "a report has one")]
    image: String,
    #[expect(dead_code, reason = "a report has one")]
    root: Root,
    /// Of schema 1.
    files: Option<Vec<String>>,
    /// From schema 2 on.
    artifacts: Option<Vec<Named>>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// The names of the files that belong to the build whose report this is, an older one included.
///
/// # Errors
/// See [`ReportError`].
pub fn names(text: &[u8]) -> Result<Vec<String>, ReportError> {
    let names = match (schema(text)?, parse(text)?) {
        (1, Outline { files: Some(files), .. }) => files,
        (2.., Outline { artifacts: Some(artifacts), .. }) => {
            artifacts.into_iter().map(|artifact| artifact.name).collect()
        }
        _ => return Err(ReportError::NotAReport(None)),
    };
    // One that leads elsewhere is none of ours.
    let plain = |name: &String| !["", ".", ".."].contains(&name.as_str()) && !name.contains('/');
    if names.iter().all(plain) { Ok(names) } else { Err(ReportError::NotAReport(None)) }
}

fn schema(text: &[u8]) -> Result<u32, ReportError> {
    #[derive(Deserialize)]
    struct Head {
        schema: u32,
    }
    match parse(text)? {
        Head { schema } if schema > SCHEMA => Err(ReportError::Newer(schema)),
        Head { schema } => Ok(schema),
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, ReportError> {
    serde_json::from_slice(text).map_err(|error| ReportError::NotAReport(Some(error)))
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn parse(text: &[u8]) -> Result<Self, ReportError> {
        match schema(text)? {
            SCHEMA => parse(text),
            older => Err(ReportError::Older(older)),
        }
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        format!(
            "root {} in {} files, UKI {}, kernel {}",
            bytes(self.root.size),
            self.root.paths,
            bytes(self.uki_size),
            self.kernel
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(schema: u32, files: &str) -> String {
        format!(
            r#"{{ "schema": {schema}, "image": "tiny", "version": "1", "kernel": "6.0",
                 "root": {{ "hash": "{:064x}", "salt": "", "data-size": 1, "size": 1, "paths": 1,
                            "new": 1 }},
                 "command-line": "", "components": {{}},
                 "dropped": {{ "/a": {{ "paths": 1, "bytes": 2, "links": 3 }} }},
                 "packages": {{}}, "uki-size": 1, "initrd-size": 1, "disk-size": 1,
                 "later": {{}}, {files} }}"#,
            0
        )
    }

    const ARTIFACTS: &str =
        r#""artifacts": [{ "kind": "initrd", "name": "initrd", "size": 1, "mode": 1 }]"#;

    #[test]
    fn what_a_later_program_adds_is_passed_over() {
        let report = Report::parse(text(SCHEMA, ARTIFACTS).as_bytes()).unwrap();
        assert_eq!((report.version.as_str(), report.artifacts.len()), ("1", 1));
        assert_eq!(names(text(SCHEMA, ARTIFACTS).as_bytes()).unwrap(), ["initrd"]);
    }

    #[test]
    fn a_report_of_another_schema_is_refused_in_words() {
        let error = Report::parse(text(4, ARTIFACTS).as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "is of a newer `orlop`: it has schema 4, and this one knows 3"
        );
        let old = text(1, r#""files": ["initrd", "disk.raw"]"#);
        let error = Report::parse(old.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "is of an older `orlop`, with schema 1: build again");
        // But what belongs to an older build is known: the next one replaces it.
        assert_eq!(names(old.as_bytes()).unwrap(), ["initrd", "disk.raw"]);
        let old = text(2, ARTIFACTS);
        let error = Report::parse(old.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "is of an older `orlop`, with schema 2: build again");
        assert_eq!(names(old.as_bytes()).unwrap(), ["initrd"]);
    }

    #[test]
    fn a_report_without_a_list_of_files_or_with_paths_in_it_owns_nothing() {
        for files in [
            r#""files": ["initrd"]"#,
            r#""artifacts": [{ "name": "../initrd" }]"#,
            r#""artifacts": [{ "name": "" }]"#,
            r#""artifacts": ["initrd"]"#,
        ] {
            let error = names(text(2, files).as_bytes()).unwrap_err();
            assert!(matches!(error, ReportError::NotAReport(_)), "{files}");
        }
    }
}
