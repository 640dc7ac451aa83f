//! The last good copy of the node config, on STATE. It is kept when a config was taken in without
//! a fault, and used when the place that counts has none that can be used.
//!
//! The first line says where it came from, as a TOML comment, and behind a tab on which device that
//! was if it was a volume ([`super::pin`]); so text and origin are replaced in one step, and the
//! lines of messages are those of the file.
//!
//! One that STATE does not take waits in memory: for this boot it is the copy, so that no other volume
//! is heard meanwhile, and it is written as soon as that goes.

use std::io;

use super::pin::Device;
use super::{LIMIT, Origin};
use crate::root::{Keep, Root, SECRET};

/// Where it lies.
pub const PATH: &str = "/var/lib/orlop/node.toml";

/// Where it waits until it can lie there.
const WAITING: &str = "/run/orlop/node.toml";

/// What the first line begins with.
const FROM: &str = "# from: ";

/// The first line adds to what a source may have.
const LIMIT_WITH_ORIGIN: u64 = LIMIT + 16 * 1024;

/// The copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// Where it came from.
    pub origin: Origin,
    /// The device that it was on, if that was a volume.
    pub device: Option<Device>,
    /// The config, the first line included.
    pub text: String,
}

impl LastGood {
    /// The copy of this config.
    pub fn of(origin: Origin, device: Option<Device>, text: &str) -> Self {
        // What is no address is a name of ours; neither has a line break or a tab.
        let line = origin.whole().replace(['\n', '\r', '\t'], " ");
        let on = device.as_ref().map_or(String::new(), |device| format!("\t{}", device.to_line()));
        Self { text: format!("{FROM}{line}{on}\n{text}"), origin, device }
    }

    /// Reads the copy, if there is one: that which waits, else the one on STATE.
    ///
    /// # Errors
    /// When it cannot be read or is no text.
    pub fn load(root: &Root) -> io::Result<Option<Self>> {
        match Self::waiting(root)? {
            Some(waiting) => Ok(Some(waiting)),
            None => Self::kept(root),
        }
    }

    /// The one that STATE has not taken, if there is one.
    ///
    /// # Errors
    /// Those of [`LastGood::load`].
    pub fn waiting(root: &Root) -> io::Result<Option<Self>> {
        Self::read(root, WAITING)
    }

    /// The one on STATE, which the next boot goes by, if there is one.
    ///
    /// # Errors
    /// Those of [`LastGood::load`].
    pub fn kept(root: &Root) -> io::Result<Option<Self>> {
        Self::read(root, PATH)
    }

    fn read(root: &Root, path: &str) -> io::Result<Option<Self>> {
        let Some(bytes) = root.read(path, LIMIT_WITH_ORIGIN)? else {
            return Ok(None);
        };
        let text = super::text(bytes)
            .map_err(|message| io::Error::new(io::ErrorKind::InvalidData, message))?;
        let first = text.lines().next().and_then(|line| line.strip_prefix(FROM));
        let (origin, device) = match first.and_then(|line| line.split_once('\t')) {
            Some((origin, device)) => (Some(origin), Device::parse(device)),
            None => (first, None),
        };
        let origin = Origin::new(origin.unwrap_or("an unknown place"));
        Ok(Some(Self { origin, device, text }))
    }

    /// Keeps this copy, so that it outlives a power cut. Nothing is written if it is there
    /// already: each boot comes by here. If that fails it waits.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(&self, root: &Root) -> io::Result<()> {
        let text = self.text.as_bytes();
        let is_there = Self::kept(root).is_ok_and(|kept| kept.as_ref() == Some(self));
        let kept = if is_there { Ok(()) } else { root.write(PATH, text, SECRET, Keep::Forever) };
        match kept {
            Ok(()) => root.remove(WAITING),
            Err(error) => {
                root.write(WAITING, text, SECRET, Keep::ThisBoot)?;
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn it_is_read_back_with_its_origin() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        assert_eq!(LastGood::load(&root).unwrap(), None);
        let device = Device { id: None, path: "pci-0000:00:05.0".to_owned(), partition: Some(1) };
        for (origin, device) in [
            ("fw_cfg opt/x", None),
            ("https://u:p@h.example/n?a=b", None),
            ("volume ORLOP (vdb1)", Some(device)),
        ] {
            let good = LastGood::of(Origin::new(origin), device, "schema = 1\n");
            good.keep(&root).unwrap();
            assert_eq!(LastGood::load(&root).unwrap(), Some(good));
        }
        let path = directory.path().join("var/lib/orlop/node.toml");
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_same_copy_is_not_written_twice() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let inode = || fs::metadata(root.path(PATH)).unwrap().ino();
        let good = LastGood::of(Origin::new("here"), None, "schema = 1\n");
        good.keep(&root).unwrap();
        let before = inode();
        good.keep(&root).unwrap();
        assert_eq!(inode(), before);
        LastGood::of(Origin::new("there"), None, "schema = 1\n").keep(&root).unwrap();
        assert_ne!(inode(), before);
    }

    #[test]
    fn one_that_state_does_not_take_is_the_copy_of_this_boot_until_it_does() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let old = LastGood::of(Origin::new("there"), None, "schema = 1\n");
        old.keep(&root).unwrap();
        let new = LastGood::of(Origin::new("here"), None, "schema = 1\n");
        // What is to be put in its place first has its name taken.
        let beside = root.path("/var/lib/orlop/.node.toml.new");
        fs::create_dir(&beside).unwrap();
        new.keep(&root).unwrap_err();
        let copies =
            || [LastGood::load, LastGood::kept, LastGood::waiting].map(|read| read(&root).unwrap());
        let [load, kept, waiting] = copies();
        assert_eq!((load.as_ref(), kept, waiting), (Some(&new), Some(old), Some(new.clone())));
        assert_eq!(fs::metadata(root.path(WAITING)).unwrap().mode() & 0o777, 0o600);
        fs::remove_dir(beside).unwrap();
        new.keep(&root).unwrap();
        assert_eq!(copies(), [Some(new.clone()), Some(new), None]);
    }

    #[test]
    fn one_that_somebody_put_there_has_no_known_origin() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        root.write(PATH, b"schema = 1\n", SECRET, Keep::ThisBoot).unwrap();
        let good = LastGood::load(&root).unwrap().unwrap();
        assert_eq!((good.origin.whole(), good.text.as_str()), ("an unknown place", "schema = 1\n"));
    }

    #[test]
    fn one_that_is_no_text_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        root.write(PATH, b"# from: x\n\xff", SECRET, Keep::ThisBoot).unwrap();
        let error = LastGood::load(&root).unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not UTF-8 text");
    }
}
