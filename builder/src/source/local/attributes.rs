//! The modes and owners that a recipe says for paths of a `local` component.

use globset::GlobMatcher;

use super::{Found, FoundKind};
use crate::compose::allow::glob;
use crate::error::{Error, Id, Result};
use crate::recipe::model;

/// Knows them, and which of them were of use.
pub(super) struct Attributes<'a> {
    local: &'a model::Local,
    modes: Vec<Rule<u16>>,
    owners: Vec<Rule<(u32, u32)>>,
}

/// One line of the recipe.
struct Rule<T> {
    pattern: String,
    matcher: GlobMatcher,
    directories: bool,
    value: T,
    used: bool,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(local: &'a model::Local) -> Result<Self> {
        let modes = local.modes.iter().map(|(pattern, mode)| Rule::new(&pattern.0, mode.0));
        let owners = local.owners.iter();
        let owners = owners.map(|(pattern, owner)| Rule::new(&pattern.0, (owner.uid, owner.gid)));
        Ok(Self {
            local,
            modes: sorted(modes.collect::<Result<_>>()?),
            owners: sorted(owners.collect::<Result<_>>()?),
        })
    }

    /// `found` with what is said for `path`, which ends in `/` if it is a directory's.
    pub(super) fn give(&mut self, path: &str, mut found: Found) -> Found {
        let directory = path.ends_with('/');
        let path = path.trim_end_matches('/');
        // A link has no mode of its own.
        if !matches!(found.kind, FoundKind::Symlink(_))
            && let Some(mode) = last(&mut self.modes, path, directory)
        {
            found.mode = mode;
        }
        if let Some(owner) = last(&mut self.owners, path, directory) {
            found.owner = owner;
        }
        found
    }

    /// Who says `0600` for a key and misspells it would ship the key for everybody to read.
    pub(super) fn all_used(&self) -> Result<()> {
        let modes = self.modes.iter().filter(|rule| !rule.used).map(|rule| &rule.pattern);
        let owners = self.owners.iter().filter(|rule| !rule.used).map(|rule| &rule.pattern);
        let Some(idle) = modes.chain(owners).next() else { return Ok(()) };
        let message = format!("`{idle}` fits nothing in `{}`", self.local.path.display());
        Err(Error::new(Id::NoSuchFiles, message).hint(
            "with a `/` at its end it means directories, without one everything else; `.` is the \
             component itself",
        ))
    }
}

impl<T> Rule<T> {
    fn new(pattern: &str, value: T) -> Result<Self> {
        let text = pattern.strip_suffix('/').unwrap_or(pattern);
        Ok(Self {
            pattern: pattern.to_owned(),
            matcher: glob(text)?,
            directories: pattern.ends_with('/'),
            value,
            used: false,
        })
    }
}

/// The longest last, for that one counts; of two that are as long, the later in byte order.
fn sorted<T>(mut rules: Vec<Rule<T>>) -> Vec<Rule<T>> {
    rules.sort_by(|a, b| (a.pattern.len(), &a.pattern).cmp(&(b.pattern.len(), &b.pattern)));
    rules
}

/// What the last rule says that fits; all that fit are of use, also where another one counts.
fn last<T: Copy>(rules: &mut [Rule<T>], path: &str, directory: bool) -> Option<T> {
    let mut value = None;
    for rule in rules {
        // The component itself is meant by its own name only, file or directory.
        let fits = match path {
            "." => rule.pattern == ".",
            path => rule.directories == directory && rule.matcher.is_match(path),
        };
        if fits {
            (rule.used, value) = (true, Some(rule.value));
        }
    }
    value
}
