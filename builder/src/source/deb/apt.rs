//! What this host's apt is told: where its files are, and in which order they count.

use std::fs;
use std::path::{Path, PathBuf};

/// The files of a `*.d` directory that apt reads, in its order: those with this ending whose names
/// are of letters, digits and `_-.`, and not hidden (`GetListOfFilesInDir` of apt). A directory that
/// is not there or cannot be read has none.
pub(crate) fn parts(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let wanted = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        !name.starts_with('.')
            && name.chars().all(good)
            && path.extension().is_some_and(|found| found == ending)
            && path.is_file()
    };
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(wanted).collect();
    files.sort();
    files
}
