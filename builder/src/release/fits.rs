//! What belongs into a directory of releases: builds of one image for one architecture, each under the
//! version that its image says; and which of them stay when another one comes.

use std::collections::BTreeSet;
use std::path::Path;

use super::reader::{self, Reader};
use super::state::State;
use super::verify::describe;
use super::versions;
use crate::error::{Error, Id, Result};

/// That a build has the version that was asked for. A node says of itself what its image says, so a
/// release of another name would be one that nobody who asked for it ever sees running.
///
/// # Errors
/// [`Id::ReleaseTerms`].
pub(super) fn version(build: &Path, has: &str, wanted: Option<&str>) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != has => {
            let build = build.display();
            let message = format!("`{build}` is version {has} by its image, and not {wanted}");
            let hint = format!("give the recipe `os.version = \"{wanted}\"`, and build again");
            Err(Error::new(Id::ReleaseTerms, message).hint(hint))
        }
        _ => Ok(()),
    }
}

/// That a directory has releases of this image for this architecture, or none. Nodes of two images that
/// ask one directory would take turns in what is the newest for them.
///
/// # Errors
/// [`Id::ReleaseTerms`]; those of [`describe`].
pub(super) fn directory(directory: &Path, state: &State, new: (&str, &str)) -> Result<()> {
    let Some(trusted) = &state.trusted else { return Ok(()) };
    let Some((_, last)) = versions(&state.targets()).pop() else { return Ok(()) };
    let place = reader::directory(directory);
    let there = describe(&mut Reader::at(&place, &state.root), trusted, &last)?;
    if (there.image.as_str(), there.architecture.as_str()) == new {
        return Ok(());
    }
    let message = format!(
        "`{}` has releases of the image `{}` for {}, and this one is of `{}` for {}",
        directory.display(),
        there.image,
        there.architecture,
        new.0,
        new.1
    );
    let hint = "each image and architecture has a directory of its own: name another with `--to`";
    Err(Error::new(Id::ReleaseTerms, message).hint(hint))
}

/// From which release on each release that is there is reached, if it says so.
#[derive(Debug)]
pub(super) struct Steps<'a> {
    directory: &'a Path,
    state: &'a State,
}

impl<'a> Steps<'a> {
    pub(super) fn new(directory: &'a Path, state: &'a State) -> Self {
        Self { directory, state }
    }

    /// `min-from` of a release that is there.
    fn before(&self, version: &str) -> Result<Option<String>> {
        let Some(trusted) = &self.state.trusted else { return Ok(None) };
        let place = reader::directory(self.directory);
        Ok(describe(&mut Reader::at(&place, &self.state.root), trusted, version)?.min_from)
    }

    /// Those that go when `new`, with its `min-from`, comes and so many stay. What a release that stays is
    /// reached from stays beyond that: nodes of older ones come to it by no other.
    pub(super) fn beyond(&self, new: (&str, Option<&str>), keep: usize) -> Result<Vec<String>> {
        let there: Vec<_> = versions(&self.state.targets()).into_iter().map(|it| it.1).collect();
        let first = there.len().saturating_sub(keep.saturating_sub(1));
        let (beyond, rest) = there.split_at(first);
        if beyond.is_empty() {
            return Ok(Vec::new());
        }
        let mut stays: BTreeSet<String> = BTreeSet::new();
        let mut waiting: Vec<String> = rest.to_vec();
        waiting.extend(new.1.map(str::to_owned));
        while let Some(version) = waiting.pop() {
            if there.contains(&version) && stays.insert(version.clone()) {
                waiting.extend(self.before(&version)?);
            }
        }
        Ok(beyond.iter().filter(|version| !stays.contains(*version)).cloned().collect())
    }

    /// Those that are reached from this one on.
    pub(super) fn after(&self, version: &str) -> Result<Vec<String>> {
        let mut after = Vec::new();
        for (_, there) in versions(&self.state.targets()) {
            if there != version && self.before(&there)?.as_deref() == Some(version) {
                after.push(there);
            }
        }
        Ok(after)
    }
}
