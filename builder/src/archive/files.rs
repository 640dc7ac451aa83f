//! The paths of an archive, as unpacking it one member after the other would leave them: later
//! members replace earlier ones, a hard link is another name of what it names at that time.

use std::collections::BTreeMap;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory, said or implied.
    Directory,
    /// A file.
    File {
        /// The number of the member that holds its content.
        member: usize,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link with this target.
    Symlink(String),
    /// What no image can hold, as what is said of it.
    Other(&'static str),
}

/// Paths and what stands there so far.
#[derive(Debug, Default)]
pub(super) struct Files {
    entries: BTreeMap<String, Entry>,
}

impl Files {
    /// The next member. A path that leads up and out is left alone, as the usual programs do.
    pub(super) fn add(&mut self, name: &[u8], entry: Entry) {
        let (path, entry) = match std::str::from_utf8(name) {
            Ok(name) => (normal(name), entry),
            Err(_) => {
                let other = Entry::Other("named by what is not UTF-8");
                (normal(&String::from_utf8_lossy(name)), other)
            }
        };
        let Some(path) = path.filter(|path| !path.is_empty()) else { return };
        let mut entry = entry;
        for (slash, _) in path.match_indices('/') {
            match self.entries.get(&path[..slash]) {
                Some(Entry::Directory) => {}
                Some(_) => entry = Entry::Other("below what is no directory"),
                None => {
                    self.entries.insert(path[..slash].to_owned(), Entry::Directory);
                }
            }
        }
        let was_directory = self.entries.get(&path) == Some(&Entry::Directory);
        if was_directory && entry != Entry::Directory && self.below(&path).next().is_some() {
            entry = Entry::Other("a directory and something else");
        }
        self.entries.insert(path, entry);
    }

    /// What stands at the target of a hard link now.
    pub(super) fn hard_link(&self, target: &[u8]) -> Entry {
        let target = std::str::from_utf8(target).ok().and_then(normal);
        match target.and_then(|target| self.entries.get(&target)) {
            None => Entry::Other("a hard link to what is not in the archive"),
            Some(Entry::Directory) => Entry::Other("a hard link to a directory"),
            Some(entry) => entry.clone(),
        }
    }

    pub(super) fn into_entries(self) -> BTreeMap<String, Entry> {
        self.entries
    }

    fn below(&self, path: &str) -> impl Iterator<Item = &String> {
        let start = format!("{path}/");
        let range = self.entries.range(start.clone()..);
        range.map(|(path, _)| path).take_while(move |path| path.starts_with(&start))
    }
}

/// A link to `target`, if that is text.
pub(super) fn symlink(target: Vec<u8>) -> Entry {
    let target = String::from_utf8(target).map(Entry::Symlink);
    target.unwrap_or(Entry::Other("a link to what is not UTF-8"))
}

/// A path as one writes it: without `.` and empty parts. None if it leads up.
pub fn normal(path: &str) -> Option<String> {
    let parts: Vec<_> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

/// Where a link within an archive leads. None for a target that leads out, or that is absolute: that is a
/// path of the system.
pub fn link(member: &str, target: &str) -> Option<String> {
    let directory = member.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut parts: Vec<_> = directory.split('/').filter(|part| !part.is_empty()).collect();
    if target.starts_with('/') {
        return None;
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_where_it_would_lead_on_a_disk_and_never_out() {
        for (member, target, want) in [
            ("a/b", "c", Some("a/c")),
            ("a/b", "./c/../d", Some("a/d")),
            ("a/b", "../c", Some("c")),
            ("b", "c", Some("c")),
            ("a/b", "../../c", None),
            ("a/b", "/a/c", None),
        ] {
            assert_eq!(link(member, target).as_deref(), want, "{member} {target}");
        }
    }
}
