//! Files that an earlier build has written, read back: what comes out is what its report says.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use formats::digest::Sha256;

use super::artifact::{Kind, KindName};
use super::output::REPORT;
use super::report::{Report, ReportError};
use crate::contents::Contents;
use crate::error::{Context as _, Error, Id, Result};
use crate::image::ours::not_ours;
use crate::visible::visible;

/// A report has no more bytes.
pub(crate) const MOST_REPORT: u64 = 64 << 20;

/// The report of the build in `directory`.
///
/// # Errors
/// [`Id::Read`]; [`Id::NotOurImage`] if no build is there; [`Id::DamagedImage`].
pub fn report(directory: &Path) -> Result<Report> {
    let path = directory.join(REPORT);
    // What is no file, such as a pipe, might never end.
    let text = match path.metadata() {
        Ok(metadata) if !metadata.is_file() => {
            return Err(not_ours(directory, &format!("a directory whose `{REPORT}` is no file")));
        }
        Ok(metadata) if metadata.len() > MOST_REPORT => {
            return Err(damaged(&path, &format!("has more than {MOST_REPORT} bytes")));
        }
        Ok(_) => fs::read(&path),
        Err(error) => Err(error),
    };
    let text = match text {
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
    Report::parse(&text).map_err(|error| unreadable(&path, &error))
}

/// The file of this kind of the build in `directory`.
///
/// # Errors
/// As [`report`]; [`Id::DamagedImage`] if the file is not what the report says.
pub fn file(directory: &Path, kind: Kind) -> Result<Vec<u8>> {
    let report = report(directory)?;
    let name = kind.file_name();
    let artifact = report.artifacts.iter().find(|file| file.kind == KindName::Known(kind));
    let known = artifact.and_then(|file| Some((file.size, file.sha256?)));
    let Some((size, sha256)) = known else {
        let message = format!(
            "the build in `{}` is of an older `orlop`: it has no `{name}`",
            directory.display()
        );
        return Err(Error::new(Id::NotOurImage, message).hint("build it again"));
    };
    let path = directory.join(name);
    let cannot = || format!("cannot read `{}`", path.display());
    let other = || damaged(&path, &format!("is not what `{REPORT}` says of it"));
    let metadata = path.metadata().or_fail(Id::Read, cannot)?;
    if !metadata.is_file() || metadata.len() != size {
        return Err(other());
    }
    let bytes = fs::read(&path).or_fail(Id::Read, cannot)?;
    if Sha256::of(&bytes) == sha256.0 { Ok(bytes) } else { Err(other()) }
}

/// What is in the build in `directory`.
///
/// # Errors
/// As [`file`].
pub fn contents(directory: &Path) -> Result<Contents> {
    let text = file(directory, Kind::Contents)?;
    let path = directory.join(Kind::Contents.file_name());
    Contents::parse(&text).map_err(|error| unreadable(&path, &error))
}

/// With the field that is wrong, if one is. The file may be anybody's.
fn unreadable(path: &Path, error: &ReportError) -> Error {
    let what = match error {
        ReportError::NotAReport(Some(cause)) => format!("{error}: {}", visible(&cause.to_string())),
        other => other.to_string(),
    };
    damaged(path, &what)
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(Id::DamagedImage, format!("`{}` {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The directory may be anybody's.
    #[test]
    fn a_report_that_is_no_file_or_larger_than_any_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(REPORT);
        let error = || report(directory.path()).unwrap_err();
        fs::create_dir(&path).unwrap();
        assert_eq!(error().id(), Id::NotOurImage);
        fs::remove_dir(&path).unwrap();
        // A pipe, which never ends.
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(error().id(), Id::NotOurImage);
        fs::remove_file(&path).unwrap();
        fs::File::create(&path).unwrap().set_len(MOST_REPORT + 1).unwrap();
        assert_eq!(error().id(), Id::DamagedImage);
        fs::write(&path, r#"{"schema":3,"image":"\u001b[2J","root":"\u001b[2J"}"#).unwrap();
        let text = error().to_string();
        assert!(text.contains(r"is not the report of a build: invalid type: string"), "{text}");
        assert!(text.contains(r"\u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
    }
}
