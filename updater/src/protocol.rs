//! What is said over the updater's socket: JSON, one value on a line. A client asks once and hears events
//! until the last one (`docs/updates.md`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::Asked;
use crate::transport::Progress;

/// Where the socket is on a node.
pub const SOCKET: &str = "/run/orlop/updater.sock";

/// No request is longer, in bytes.
pub const LONGEST: u64 = 16 << 10;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What runs, what is staged, and what is being done.
    Status {},
    /// Which release the channel has for this node.
    Check {},
    /// To fill the spare slot.
    Stage(Wish),
    /// To fill the spare slot if need be, and to start from it on trial.
    Upgrade {
        /// As for [`Wish`]; if nothing is named and something is staged, that is tried.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// As for [`Wish`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// As for [`Wish`].
        #[serde(skip, default = "person")]
        asked: Asked,
        /// Whether the machine restarts at once; else with the next restart.
        #[serde(default = "yes")]
        restart: bool,
    },
    /// To start from the slot of before.
    Rollback {
        /// Whether the machine restarts at once; else with the next restart.
        #[serde(default = "yes")]
        restart: bool,
    },
    /// To replace the boot loader by that of the image that runs.
    UpdateLoader {
        /// Whatever it is that is replaced, as [`crate::boot_loader::Terms`] has it.
        #[serde(default)]
        force: bool,
        /// Only to know what would be done.
        #[serde(default, rename = "dry-run")]
        dry_run: bool,
    },
    /// To stop what is being done; if nothing is, to give up what is staged.
    Cancel {},
    /// The policy takes back what it has armed. Nobody asks for that by the socket.
    #[serde(skip)]
    Disarm {},
    /// To begin the records of META anew, of which none can be read.
    Renew {},
}

/// A release that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Which release; the newest one if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// From another place than the channel: an address, or a directory of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Who wants it. Whoever asks by the socket is a person.
    #[serde(skip, default = "person")]
    pub asked: Asked,
}

impl Wish {
    /// The newest release of the channel.
    pub fn newest(asked: Asked) -> Self {
        Self { version: None, from: None, asked }
    }
}

fn words(version: Option<&str>, from: Option<&str>) -> String {
    let version = version.map(|version| format!(" {version}"));
    let from = from.map(|from| format!(" from {from}"));
    version.unwrap_or_default() + &from.unwrap_or_default()
}

fn person() -> Asked {
    Asked::Person
}

fn yes() -> bool {
    true
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// In words: it is no request.
    pub fn parse(line: &str) -> Result<Self, String> {
        serde_json::from_str(line).map_err(|error| format!("it is no request: {error}"))
    }

    /// What is being done, in words.
    pub fn title(&self) -> String {
        match self {
            Self::Status {} => "status".to_owned(),
            Self::Check {} => "check".to_owned(),
            Self::Stage(wish) => {
                format!("stage{}", words(wish.version.as_deref(), wish.from.as_deref()))
            }
            Self::Upgrade { version, from, .. } => {
                format!("upgrade{}", words(version.as_deref(), from.as_deref()))
            }
            Self::Rollback { .. } => "rollback".to_owned(),
            Self::UpdateLoader { .. } => "update-loader".to_owned(),
            Self::Cancel {} | Self::Disarm {} => "cancel".to_owned(),
            Self::Renew {} => "renew".to_owned(),
        }
    }
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Something that somebody may want to know.
    Notice {
        /// In words.
        text: String,
    },
    /// How far it is.
    Progress(Progress),
    /// It is done. The last event.
    Done {
        /// What came of it.
        result: Value,
    },
    /// It is not done. The last event.
    Failed {
        /// Why, in words.
        why: String,
        /// Nothing was touched: the release is not for this node.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        refused: bool,
        /// It passes by itself: whoever asks again later may be served.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        later: bool,
    },
    /// Somebody else is at it. The last event.
    Busy {
        /// What is being done.
        doing: String,
        /// Since so many seconds.
        seconds: u64,
    },
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// In words.
    pub why: String,
    /// Nothing was touched: the release is not for this node.
    pub refused: bool,
    /// It passes by itself: whoever asks again later may be served.
    pub later: bool,
}

impl Failed {
    /// The release is not for this node.
    pub fn refused(why: String) -> Self {
        Self { why, refused: true, later: false }
    }

    /// It may be otherwise in a while.
    pub fn later(why: String) -> Self {
        Self { why, refused: false, later: true }
    }
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self { why, refused: false, later: false }
    }
}

impl From<&str> for Failed {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

impl From<Failed> for Event {
    fn from(Failed { why, refused, later }: Failed) -> Self {
        Self::Failed { why, refused, later }
    }
}

impl Event {
    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed { .. } | Self::Busy { .. })
    }

    /// The line for it, with its end.
    pub fn line(&self) -> String {
        // Values of these types are always JSON.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::Phase;

    #[test]
    fn requests_and_events_are_lines_as_documented() {
        for (line, want) in [
            (r#"{"do": "status"}"#, Request::Status {}),
            (r#"{"do": "stage"}"#, Request::Stage(Wish::newest(Asked::Person))),
            (
                r#"{"do": "stage", "version": "1.2", "from": "/mnt/usb"}"#,
                Request::Stage(Wish {
                    version: Some("1.2".into()),
                    from: Some("/mnt/usb".into()),
                    asked: Asked::Person,
                }),
            ),
            (r#"{"do": "rollback"}"#, Request::Rollback { restart: true }),
            (
                r#"{"do": "upgrade", "restart": false}"#,
                Request::Upgrade {
                    version: None,
                    from: None,
                    asked: Asked::Person,
                    restart: false,
                },
            ),
            (r#"{"do": "cancel"}"#, Request::Cancel {}),
            (r#"{"do": "update-loader"}"#, Request::UpdateLoader { force: false, dry_run: false }),
            (
                r#"{"do": "update-loader", "dry-run": true, "force": true}"#,
                Request::UpdateLoader { force: true, dry_run: true },
            ),
            (r#"{"do": "renew"}"#, Request::Renew {}),
        ] {
            assert_eq!(Request::parse(line), Ok(want.clone()), "{line}");
            let line = serde_json::to_string(&want).expect("JSON");
            assert_eq!(Request::parse(&line), Ok(want));
        }
        for line in [
            "",
            "{}",
            r#"{"do": "dance"}"#,
            r#"{"do": "check", "x": 1}"#,
            "[1",
            r#"{"do": "stage", "asked": 1}"#,
        ] {
            assert!(Request::parse(line).is_err(), "{line}");
        }
        let progress = Progress { phase: Phase::Fill, done: 1, total: 4, fetched: 2, written: 3 };
        for (event, line, last) in [
            (Event::Notice { text: "a\nb".into() }, r#"{"event":"notice","text":"a\nb"}"#, false),
            (
                Event::Progress(progress),
                r#"{"event":"progress","phase":"fill","done":1,"total":4,"fetched":2,"written":3}"#,
                false,
            ),
            (
                Event::Failed { why: "x".into(), refused: false, later: false },
                r#"{"event":"failed","why":"x"}"#,
                true,
            ),
            (
                Event::Failed { why: "x".into(), refused: false, later: true },
                r#"{"event":"failed","why":"x","later":true}"#,
                true,
            ),
            (
                Event::Busy { doing: "stage".into(), seconds: 7 },
                r#"{"event":"busy","doing":"stage","seconds":7}"#,
                true,
            ),
        ] {
            assert_eq!((event.line(), event.is_last()), (format!("{line}\n"), last));
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line in "[{}\\[\\]\":,a-z0-9. ]{0,60}") {
            let _ = Request::parse(&line);
        }
    }
}
