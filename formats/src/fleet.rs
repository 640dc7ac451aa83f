//! What a Node object of Kubernetes says of updates: annotations by which somebody asks a node for a
//! release, and one in which the node answers. `docs/kubernetes-updates.md` has what a node does with them.
//!
//! Both sides may be of different versions: whoever reads passes over what he does not know. Whoever may
//! patch Nodes can write any of them, so all is bounded and has no control characters once it was read.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Sha256;
use crate::release::is_version;

/// The annotation that says which release the node shall run: a version, or [`NEWEST`].
pub const RELEASE: &str = "orlop.dev/release";

/// The annotation that tells one request from the next, and may be away: with a new value the node tries
/// again what has failed there before.
pub const REQUEST: &str = "orlop.dev/request";

/// The annotation that asks the node only to look which release is the newest for it; with another value
/// for each question. It answers in [`Status::looked`].
pub const LOOK: &str = "orlop.dev/look";

/// The annotation that the node answers in: [`Status`].
pub const STATUS: &str = "orlop.dev/status";

/// In place of a version: the newest release of the node's channel.
pub const NEWEST: &str = "newest";

/// The version of the form of [`STATUS`]. Fields may come without a new one.
pub const SCHEMA: u32 = 1;

/// Bytes of [`STATUS`]: what is longer is not read, and nothing longer is written.
pub const LARGEST: usize = 8192;

/// Characters of [`REQUEST`] that count.
pub const LONGEST_REQUEST: usize = 64;

/// Characters of a version that count.
pub const LONGEST_VERSION: usize = 64;

/// Characters of a reason; what is longer is cut.
pub const LONGEST_REASON: usize = 300;

/// Characters of the id of a boot: a UUID has 36.
const LONGEST_BOOT_ID: usize = 64;

/// Who Events are from (`source.component`).
pub const COMPONENT: &str = "orlop-updater";

/// What somebody asks a node for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// A version, [`NEWEST`], or what is neither.
    pub release: String,
    /// Which request it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// What is asked for cannot be a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither `{NEWEST}` nor a version, which is 1 to 64 of letters, digits and `.+~_-`, a \
     letter or digit first, no `.uki` at its end"
)]
pub struct NoVersion(String);

impl Asked {
    /// Out of the values of [`RELEASE`] and [`REQUEST`]; `None` if nothing is asked for. What is too long
    /// is cut, and a control character becomes a space.
    pub fn read(release: Option<&str>, request: Option<&str>) -> Option<Self> {
        let text = |text: Option<&str>, most| {
            text.map(|text| line(text, most)).filter(|text| !text.is_empty())
        };
        Some(Self {
            // One more, so that what was cut is no version by that.
            release: text(release, LONGEST_VERSION + 1)?,
            request: text(request, LONGEST_REQUEST),
        })
    }

    /// The version; `None` if it is the newest one.
    ///
    /// # Errors
    /// It is neither.
    pub fn version(&self) -> Result<Option<&str>, NoVersion> {
        match self.release.as_str() {
            NEWEST => Ok(None),
            version if is_version(version) => Ok(Some(version)),
            other => Err(NoVersion(other.to_owned())),
        }
    }
}

/// Where a node is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing is asked for, or what is asked for runs.
    Idle,
    /// It is being fetched.
    Staging,
    /// It lies in the spare slot.
    Staged,
    /// It is tried at the next boot, which comes next.
    Restarting,
    /// This boot is the trial.
    Trial,
    /// It is not taken, and nothing was touched.
    Refused,
    /// It could not be staged.
    Failed,
    /// It was tried and left.
    FellBack,
    /// One of a later updater, which is not known here.
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// All that a node writes, with their names.
    pub const ALL: [(&'static str, Self); 8] = [
        ("idle", Self::Idle),
        ("staging", Self::Staging),
        ("staged", Self::Staged),
        ("restarting", Self::Restarting),
        ("trial", Self::Trial),
        ("refused", Self::Refused),
        ("failed", Self::Failed),
        ("fell-back", Self::FellBack),
    ];

    /// Its name in [`STATUS`].
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, phase)| *phase == self).map_or("unknown", |(name, _)| name)
    }

    /// Whether the node stays on what it runs, against the request.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Refused | Self::Failed | Self::FellBack)
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What runs.
    pub version: String,
    /// The root hash of what runs.
    #[serde(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub root_hash: Sha256,
    /// The kernel's id of the boot that it is in: kubelet may speak of an earlier one still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Where it is on its way.
    pub phase: Phase,
    /// What the phase is about: [`Asked::release`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// What the phase is about: [`Asked::request`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// How much of the image is there, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Bytes that were fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<u64>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the node fell back from last, until a release was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// What came of the last look that somebody has asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked: Option<Looked>,
}

/// What a node has found when it was asked to look which release is the newest for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Looked {
    /// The question: [`LOOK`].
    pub look: String,
    /// The newest release for this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// Why that cannot be said, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Looked {
    /// The question out of the value of [`LOOK`]; `None` if nothing is asked.
    pub fn question(text: Option<&str>) -> Option<String> {
        text.map(|text| line(text, LONGEST_REQUEST)).filter(|text| !text.is_empty())
    }
}

/// A release that was tried and left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fallback {
    /// Its version.
    pub version: String,
    /// Why, for people.
    pub reason: String,
    /// When it was noticed, in seconds since 1970.
    pub time: u64,
}

impl From<&crate::meta::Fallback> for Fallback {
    fn from(fallback: &crate::meta::Fallback) -> Self {
        let crate::meta::Fallback { version, time, reason, .. } = fallback.clone();
        Self { version, reason, time }
    }
}

/// What should be a status is none.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// More than is read.
    #[error("`{STATUS}` has {0} bytes, and {LARGEST} are read")]
    Size(usize),
    /// It is no JSON of this form.
    #[error("`{STATUS}` is not what a node writes: {0}")]
    Form(serde_json::Error),
    /// It has a form that is not known here.
    #[error("`{STATUS}` has schema {0}, and {SCHEMA} is known here")]
    Schema(u32),
}

impl Status {
    /// Of a node that runs this.
    pub fn new(version: impl Into<String>, root_hash: Sha256, phase: Phase) -> Self {
        Self {
            schema: SCHEMA,
            version: version.into(),
            root_hash,
            boot_id: None,
            phase,
            release: None,
            request: None,
            percent: None,
            fetched: None,
            reason: None,
            fallback: None,
            looked: None,
        }
    }

    /// The same, about a request.
    #[must_use]
    pub fn about(mut self, asked: &Asked) -> Self {
        self.release = Some(asked.release.clone());
        self.request.clone_from(&asked.request);
        self
    }

    /// Whether the phase is about this request.
    pub fn is_about(&self, asked: &Asked) -> bool {
        self.release.as_ref() == Some(&asked.release) && self.request == asked.request
    }

    /// The value of the annotation: one line, at most [`LARGEST`] bytes.
    pub fn text(&self) -> String {
        // A value of this type is always JSON.
        serde_json::to_string(&self.clone().bounded()).unwrap_or_default()
    }

    /// Out of the value of the annotation. Texts are lines of a bounded length then.
    ///
    /// # Errors
    /// See [`StatusError`].
    pub fn parse(text: &str) -> Result<Self, StatusError> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
        }
        if text.len() > LARGEST {
            return Err(StatusError::Size(text.len()));
        }
        let Head { schema } = serde_json::from_str(text).map_err(StatusError::Form)?;
        if schema != SCHEMA {
            return Err(StatusError::Schema(schema));
        }
        serde_json::from_str(text).map(Self::bounded).map_err(StatusError::Form)
    }

    /// With texts as they are written and read: lines of a bounded length.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let cut = |text: &mut String, most| *text = line(text, most);
        cut(&mut self.version, LONGEST_VERSION);
        for (text, most) in [
            (&mut self.boot_id, LONGEST_BOOT_ID),
            (&mut self.release, LONGEST_VERSION + 1),
            (&mut self.request, LONGEST_REQUEST),
            (&mut self.reason, LONGEST_REASON),
        ] {
            if let Some(text) = text {
                cut(text, most);
            }
        }
        if let Some(fallback) = &mut self.fallback {
            cut(&mut fallback.version, LONGEST_VERSION);
            cut(&mut fallback.reason, LONGEST_REASON);
        }
        if let Some(Looked { look, newest, reason }) = &mut self.looked {
            cut(look, LONGEST_REQUEST);
            newest.iter_mut().for_each(|text| cut(text, LONGEST_VERSION));
            reason.iter_mut().for_each(|text| cut(text, LONGEST_REASON));
        }
        self.percent = self.percent.map(|percent| percent.min(100));
        self
    }
}

/// One line of at most so many characters, without spaces at its ends.
fn line(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = text.trim().chars().map(plain).take(most).collect();
    line.trim().to_owned()
}

fn write_hash<S: Serializer>(hash: &Sha256, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(hash)
}

fn read_hash<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Sha256, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests;
