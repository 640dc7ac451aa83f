//! What this host's apt is told: its sources, its configuration, and in which order its files
//! count. No apt is needed for that.

#[cfg(test)]
mod choice;
pub(crate) mod conf;
#[cfg(test)]
mod conflicts;
pub(crate) mod sources;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use formats::architecture::Architecture;

use crate::error::{Context as _, Id, Result};
use sources::Source;

/// Which files of a `*.d` directory apt reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endings {
    /// `*.list` and `*.sources`.
    Sources,
    /// `*.conf`, and names without a dot.
    Conf,
}

/// The files of a `*.d` directory that apt reads, in its order: those with the right ending whose
/// names are of letters, digits and `_-:.`, not hidden, and without a dot at the end
/// (`GetListOfFilesInDir` of apt). A directory that is not there or cannot be read has none.
pub(crate) fn parts(directory: &Path, endings: Endings) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let wanted = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let good = |c: char| c.is_ascii_alphanumeric() || "_-:.".contains(c);
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        let ending = match endings {
            Endings::Sources => matches!(ending, Some("list" | "sources")),
            Endings::Conf => matches!(ending, None | Some("conf")),
        };
        ending && !name.starts_with('.') && name.chars().all(good) && path.is_file()
    };
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(wanted).collect();
    files.sort();
    files
}

/// Every source for `architecture` of the host whose root is `root`, each with its file, in apt's order.
///
/// # Errors
/// [`Id::Read`] if a file is there and cannot be read.
pub(crate) fn read_sources(
    root: &Path,
    architecture: Architecture,
) -> Result<Vec<(PathBuf, Source)>> {
    let apt = root.join("etc/apt");
    let mut files = vec![apt.join("sources.list")];
    files.extend(parts(&apt.join("sources.list.d"), Endings::Sources));
    let mut all = Vec::new();
    for file in files {
        let parse = match file.extension().is_some_and(|ending| ending == "sources") {
            true => sources::deb822,
            false => sources::one_line,
        };
        let text = match fs::read(&file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error)
                    .or_fail(Id::Read, || format!("cannot read apt's `{}`", file.display()));
            }
        };
        all.extend(parse(&text, architecture).into_iter().map(|source| (file.clone(), source)));
    }
    Ok(all)
}
