//! The request that the node has served last, on STATE: so that no start of the updater and no boot does
//! again what is done.

use std::io;
use std::path::Path;

use formats::fleet::{Asked, Phase};
use serde::{Deserialize, Serialize};

use crate::files::{below, read, remove, replace};

/// Where it is remembered.
pub const PATH: &str = "/var/lib/orlop/updates/request";

/// Bytes of the file that are read.
const LARGEST: u64 = 16 << 10;

/// A request that was served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// What was asked for.
    #[serde(flatten)]
    pub asked: Asked,
    /// The version that it came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How it ended; nothing before the release was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// [`Phase::Idle`] if the release ran and stayed; else why not.
    pub phase: Phase,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl End {
    /// With a reason.
    pub fn of(phase: Phase, reason: impl Into<String>) -> Self {
        Self { phase, reason: Some(reason.into()) }
    }
}

impl Served {
    /// Whether this request is nothing new: no other release is asked for, and nobody asks again.
    pub fn covers(&self, asked: &Asked) -> bool {
        self.asked.release == asked.release
            && (asked.request.is_none() || asked.request == self.asked.request)
    }

    /// What is remembered at `root`; nothing if there is nothing, or it is damaged: then a request is
    /// served once more.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(root: &Path) -> io::Result<Option<Self>> {
        let text = match read(&below(root, PATH), LARGEST) {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => None,
            text => text?,
        };
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Forgets it: nobody asks for it any more, and it was not tried to its end. That it is not there is on
    /// the disk when this returns.
    ///
    /// # Errors
    /// It is still there.
    pub fn forget(root: &Path) -> io::Result<()> {
        remove(&below(root, PATH))
    }

    /// Remembers it. It is on the disk when this returns.
    ///
    /// # Errors
    /// It is not.
    pub fn write(&self, root: &Path) -> io::Result<()> {
        let text = serde_json::to_string(self)?;
        replace(&below(root, PATH), &(text + "\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn asked(release: &str, request: Option<&str>) -> Asked {
        Asked { release: release.to_owned(), request: request.map(str::to_owned) }
    }

    #[test]
    fn it_is_remembered_with_how_it_ended() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Served::read(root.path()).unwrap(), None);
        let end = Some(End::of(Phase::FellBack, "no DHCP"));
        let served = Served { asked: asked("newest", Some("x")), version: Some("1.2".into()), end };
        served.write(root.path()).unwrap();
        assert_eq!(Served::read(root.path()).unwrap(), Some(served));
        let text = fs::read_to_string(below(root.path(), PATH)).unwrap();
        let head =
            r#"{"release":"newest","request":"x","version":"1.2","end":{"phase":"fell-back","#;
        assert!(text.starts_with(head), "{text}");
        // One of another updater.
        fs::write(below(root.path(), PATH), "{\"release\": \"1.3\", \"new\": 1}\n").unwrap();
        let bare = Served { asked: asked("1.3", None), version: None, end: None };
        assert_eq!(Served::read(root.path()).unwrap(), Some(bare));
        for damaged in ["", "{", "[1]", &"x".repeat(20 << 10)] {
            fs::write(below(root.path(), PATH), damaged).unwrap();
            assert_eq!(Served::read(root.path()).unwrap(), None);
        }
        Served::forget(root.path()).unwrap();
        assert!(!below(root.path(), PATH).exists());
    }

    #[test]
    fn a_request_is_new_by_its_release_or_by_another_word() {
        let served = Served { asked: asked("1.2", Some("x")), version: None, end: None };
        for (asked, want) in [
            (asked("1.2", Some("x")), true),
            // Somebody has removed the other annotation.
            (asked("1.2", None), true),
            (asked("1.2", Some("y")), false),
            (asked("1.3", Some("x")), false),
            (asked("newest", None), false),
        ] {
            assert_eq!(served.covers(&asked), want, "{asked:?}");
        }
    }
}
