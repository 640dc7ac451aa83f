//! What is asked of sysfs: attributes of a device, and of those that it hangs on. Paths are real
//! ones and begin with `/devices` or `/class`.

use std::path::Path;

/// A look into sysfs: the kernel's, or one made up for a test.
pub(in crate::devices) trait Sysfs {
    /// An attribute's bytes.
    fn bytes(&self, path: &str) -> Option<Vec<u8>>;
    /// The name of what a link leads to.
    fn link(&self, path: &str) -> Option<String>;
    /// The names in a directory.
    fn names(&self, path: &str) -> Vec<String>;

    /// An attribute that is text, without the end of its line.
    fn text(&self, path: &str) -> Option<String> {
        let bytes = self.bytes(path)?;
        let text = String::from_utf8_lossy(&bytes);
        Some(text.trim_end_matches(['\n', '\0']).to_owned())
    }

    /// The first of the device and those it hangs on that has this attribute and says something.
    fn inherited(&self, device: &str, attribute: &str) -> Option<String> {
        chain(device)
            .filter_map(|path| self.text(&format!("{path}/{attribute}")))
            .find(|text| !text.trim().is_empty())
    }
}

/// A device and all that it hangs on, the nearest first.
pub(super) fn chain(device: &str) -> impl Iterator<Item = &str> {
    let parents = std::iter::successors(Some(device), |path| Some(path.rsplit_once('/')?.0));
    parents.take_while(|path| path.len() > "/devices".len())
}

/// The last part of a path.
pub(super) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The kernel's, at this place.
#[derive(Debug, Clone)]
pub(in crate::devices) struct Mounted(pub(in crate::devices) std::path::PathBuf);

impl Mounted {
    fn at(&self, path: &str) -> std::path::PathBuf {
        self.0.join(Path::new(path).strip_prefix("/").unwrap_or(Path::new(path)))
    }
}

impl Sysfs for Mounted {
    fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let path = self.at(path);
        // Reading some that are no plain attribute would do something.
        path.is_file().then(|| std::fs::read(path).ok())?
    }

    fn link(&self, path: &str) -> Option<String> {
        let target = std::fs::read_link(self.at(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

#[cfg(test)]
pub(in crate::devices) mod made_up {
    use std::collections::BTreeMap;

    use super::*;

    /// `PATH = TEXT` a line; a link is `PATH -> NAME`; bytes are added by hand. `␠` stands for a
    /// blank at the end.
    #[derive(Debug, Default, Clone)]
    pub(in crate::devices) struct MadeUp {
        files: BTreeMap<String, Vec<u8>>,
        links: BTreeMap<String, String>,
    }

    impl MadeUp {
        pub(in crate::devices) fn new(text: &str) -> Self {
            let mut made = Self::default();
            for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
                if let Some((path, name)) = line.split_once(" -> ") {
                    made.links.insert(path.to_owned(), name.to_owned());
                } else {
                    let (path, text) = line.split_once(" = ").expect("a file or a link");
                    made.files.insert(
                        path.to_owned(),
                        format!("{text}\n").replace('␠', " ").into_bytes(),
                    );
                }
            }
            made
        }

        pub(in crate::devices) fn with(mut self, path: &str, bytes: &[u8]) -> Self {
            self.files.insert(path.to_owned(), bytes.to_vec());
            self
        }
    }

    impl Sysfs for MadeUp {
        fn bytes(&self, path: &str) -> Option<Vec<u8>> {
            self.files.get(path).cloned()
        }

        fn link(&self, path: &str) -> Option<String> {
            self.links.get(path).cloned()
        }

        fn names(&self, path: &str) -> Vec<String> {
            let below = format!("{path}/");
            let all = self.files.keys().chain(self.links.keys());
            let mut names: Vec<_> = all
                .filter_map(|path| path.strip_prefix(&below)?.split('/').next())
                .map(str::to_owned)
                .collect();
            names.sort();
            names.dedup();
            names
        }
    }
}
