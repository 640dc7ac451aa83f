//! Files that an earlier build has written, read back: what comes out is what its report says.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use formats::digest::Sha256;

use super::artifact::{Kind, KindName};
use super::output::REPORT;
use super::report::Report;
use crate::contents::Contents;
use crate::error::{Context as _, Error, Id, Result};
use crate::image::ours::not_ours;

/// The report of the build in `directory`.
///
/// # Errors
/// [`Id::Read`]; [`Id::NotOurImage`] if no build is there; [`Id::DamagedImage`].
pub fn report(directory: &Path) -> Result<Report> {
    let path = directory.join(REPORT);
    let text = match fs::read(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(match directory.metadata() {
                Err(error) => {
                    Error::new(Id::Read, format!("cannot read `{}`", directory.display()))
                        .caused_by(error)
                }
                Ok(metadata) if metadata.is_dir() => {
                    not_ours(directory, &format!("a directory without `{REPORT}`"))
                }
                Ok(_) => not_ours(directory, "a file, and the directory of a build is wanted"),
            });
        }
        text => text.or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?,
    };
    Report::parse(&text).map_err(|error| damaged(&path, &error.to_string()))
}

/// The file of this kind of the build in `directory`.
///
/// # Errors
/// As [`report`]; [`Id::DamagedImage`] if the file is not what the report says.
pub fn file(directory: &Path, kind: Kind) -> Result<Vec<u8>> {
    let report = report(directory)?;
    let name = kind.file_name();
    let artifact = report.artifacts.iter().find(|file| file.kind == KindName::Known(kind));
    let Some(sha256) = artifact.and_then(|file| file.sha256) else {
        let message = format!(
            "the build in `{}` is of an older `orlop`: it has no `{name}`",
            directory.display()
        );
        return Err(Error::new(Id::NotOurImage, message).hint("build it again"));
    };
    let path = directory.join(name);
    let bytes =
        fs::read(&path).or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
    if Sha256::of(&bytes) != sha256.0 {
        return Err(damaged(&path, &format!("is not what `{REPORT}` says of it")));
    }
    Ok(bytes)
}

/// What is in the build in `directory`.
///
/// # Errors
/// As [`file`].
pub fn contents(directory: &Path) -> Result<Contents> {
    let text = file(directory, Kind::Contents)?;
    let path = directory.join(Kind::Contents.file_name());
    Contents::parse(&text).map_err(|error| damaged(&path, &error.to_string()))
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(Id::DamagedImage, format!("`{}` {what}", path.display()))
}
