//! Who is at the place of an output: nobody, or a build. What else is there is somebody's.
//!
//! The report of a build is the list of what belongs to it. Only files on that list are ever
//! removed, one by one: nothing here removes a directory with what happens to be in it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::{Beside, REPORT};
use crate::build::artifact::Kind;
use crate::build::report;

/// The names of the files that belong to a build, its report with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names(BTreeSet<String>);

/// Something is there that must not be replaced.
#[derive(Debug)]
pub(super) struct InTheWay {
    /// A sentence without a subject in front: "there are files that no build made".
    pub(super) what: String,
    pub(super) cause: Option<io::Error>,
}

impl Names {
    /// Of the files that this `orlop` may write into an output directory.
    pub(super) fn written_by_us() -> Self {
        Self(
            Kind::ALL.map(Kind::file_name).into_iter().chain([REPORT]).map(str::to_owned).collect(),
        )
    }

    /// In an order in which the report, if it is taken away last and put there first, names
    /// everything that is there at any time.
    pub(super) fn report_first(&self) -> impl DoubleEndedIterator<Item = &str> {
        let others = self.0.iter().map(String::as_str).filter(|name| *name != REPORT);
        [REPORT].into_iter().chain(others)
    }

    /// Removes these files from `directory`, and then it, if nothing else is in it.
    ///
    /// # Errors
    /// If something is left.
    pub(super) fn remove(&self, directory: &Path) -> io::Result<()> {
        for name in self.report_first().rev() {
            match fs::remove_file(directory.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::remove_dir(directory)
    }

    /// As [`Names::remove`], if nothing else is in `directory`; else nothing goes.
    ///
    /// # Errors
    /// As [`Names::remove`].
    pub(super) fn remove_all_or_none(&self, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if !(entry.file_type()?.is_file() && self.has(&entry.file_name())) {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
        }
        self.remove(directory)
    }

    fn has(&self, name: &OsStr) -> bool {
        name.to_str().is_some_and(|name| self.0.contains(name))
    }
}

/// Looks at `place`: nothing, or a directory with the files of one build, or with none. What
/// builds make beside it, should it be in it, does not count.
///
/// # Errors
/// What else is there.
pub(super) fn look(place: &Path, beside: &Beside) -> Result<Option<Names>, InTheWay> {
    let in_the_way = |what: &str| InTheWay { what: what.to_owned(), cause: None };
    let unreadable = |error| InTheWay { what: "it cannot be read".to_owned(), cause: Some(error) };
    let entries = match fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(in_the_way("it is not a directory"));
        }
        Err(error) => return Err(unreadable(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let kind = entry.file_type().map_err(unreadable)?;
        if !(kind.is_dir() && beside.made(&entry.file_name())) {
            found.push((entry.file_name(), kind.is_file()));
        }
    }
    found.sort();
    if found.is_empty() {
        return Ok(Some(Names::default()));
    }
    let shown = |names: Vec<&OsStr>| {
        let more = names.len().saturating_sub(3);
        let mut shown: Vec<_> =
            names.iter().take(3).map(|name| format!("`{}`", name.display())).collect();
        shown.extend((more > 0).then(|| format!("{more} more")));
        shown.join(", ")
    };
    if !found.iter().any(|(name, is_file)| name == REPORT && *is_file) {
        let names = shown(found.iter().map(|(name, _)| name.as_os_str()).collect());
        return Err(in_the_way(&format!("there are files that no build made: {names}")));
    }
    let text = fs::read(place.join(REPORT)).map_err(unreadable)?;
    let names = report::names(&text)
        .map_err(|error| in_the_way(&format!("the `{REPORT}` that is there {error}")))?;
    let names = Names(names.into_iter().chain([REPORT.to_owned()]).collect());
    let foreign: Vec<_> = found
        .iter()
        .filter(|(name, is_file)| !(*is_file && names.has(name)))
        .map(|(name, _)| name.as_os_str())
        .collect();
    if foreign.is_empty() {
        return Ok(Some(names));
    }
    let foreign = shown(foreign);
    Err(in_the_way(&format!("the build that is there has not made all of it: not {foreign}")))
}
