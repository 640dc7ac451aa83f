//! To have a node run a release, whatever it is doing, and to hear how that ends: for whoever asks once and
//! waits, such as the Job of a controller, which is started again after each restart of the node.
//!
//! [`next`] decides, of what the node says of itself; [`run`] goes on until the end. Asking again for what
//! runs already ends well at once, and asking again for what fell back ends badly at once: nobody restarts
//! a node twice for one request.

use std::fmt;

use formats::fleet::{Fallback, Phase};
use serde::Deserialize;
use serde_json::Value;

/// How often in a row nobody may answer before it is given up. After a boot the updater's unit comes after
/// a while, and it goes before the rest does.
const PATIENCE: u32 = 60;

/// What a node says of itself: members of the result of `status`, of which what is not known is passed
/// over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Standing {
    /// What runs.
    pub version: String,
    /// Where the node is on its way.
    pub phase: Phase,
    /// What lies in the spare slot, whole.
    #[serde(default)]
    pub staged: Option<String>,
    /// What it fell back from last, until a release was promoted.
    #[serde(default)]
    pub fallback: Option<Fallback>,
    /// What its slots say.
    #[serde(default)]
    pub slots: Slots,
}

/// What the slots say, as far as it is of interest here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Slots {
    /// What was tried and left, however long ago.
    #[serde(default)]
    pub failed: Vec<Left>,
}

/// A release that was tried and left.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Left {
    /// Which one.
    pub version: String,
    /// Why.
    pub reason: String,
}

impl Standing {
    /// Why it left this version, if it did: also when it has tried another one since.
    fn left(&self, version: &str) -> Option<&str> {
        let last = self.fallback.iter().map(|it| (&it.version, &it.reason));
        let before = self.slots.failed.iter().map(|it| (&it.version, &it.reason));
        last.chain(before).find(|(it, _)| *it == version).map(|(_, reason)| reason.as_str())
    }
}

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing: the node runs it, and it was found healthy.
    Done,
    /// Nothing: the node tried it and left it, with the reason.
    FellBack(String),
    /// Wait.
    Wait(Wait),
    /// Fill the spare slot with it.
    Stage,
    /// Start it on trial, now.
    Restart,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A trial is judged.
    Trial,
    /// The machine restarts.
    Restart,
    /// A slot is filled for somebody else.
    Staging,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trial => "a trial is judged",
            Self::Restart => "the machine restarts",
            Self::Staging => "a release is being staged for somebody else",
        })
    }
}

/// What is done next so that the node runs `wanted`.
pub fn next(wanted: &str, standing: &Standing) -> Step {
    match standing.phase {
        // What runs now may be left again.
        Phase::Trial => return Step::Wait(Wait::Trial),
        Phase::Restarting => return Step::Wait(Wait::Restart),
        _ => {}
    }
    if standing.version == wanted {
        return Step::Done;
    }
    if let Some(reason) = standing.left(wanted) {
        return Step::FellBack(reason.to_owned());
    }
    if standing.phase == Phase::Staging {
        return Step::Wait(Wait::Staging);
    }
    if standing.staged.as_deref() == Some(wanted) { Step::Restart } else { Step::Stage }
}

/// Why something that was asked for was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Nobody listens, or whoever did has gone before the end.
    Nobody(String),
    /// Somebody else is at it.
    Busy(String),
    /// It has failed.
    Failed(String),
}

/// The updater of a node.
pub trait Updater {
    /// The result of `status`.
    ///
    /// # Errors
    /// [`Refused`].
    fn status(&mut self) -> Result<Value, Refused>;

    /// Fills the spare slot with this release.
    ///
    /// # Errors
    /// [`Refused`].
    fn stage(&mut self, version: &str) -> Result<(), Refused>;

    /// Arms the trial of what is staged, and has the machine restarted. Whoever asked mostly ends with it.
    ///
    /// # Errors
    /// [`Refused`].
    fn restart(&mut self) -> Result<(), Refused>;

    /// Waits for some seconds.
    fn wait(&mut self);
}

/// Has a node run `wanted`. Returns when it does and the release was found healthy. `say` is given lines
/// for people.
///
/// # Errors
/// In words: it fell back, it could not be staged, or nobody answers.
pub fn run(
    wanted: &str,
    updater: &mut impl Updater,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let (mut nobody, mut said) = (0, String::new());
    let mut tell = |text: String| {
        if text != said {
            say(&text);
            said = text;
        }
    };
    loop {
        let done = updater.status().and_then(|status| {
            let standing: Standing = serde_json::from_value(status).map_err(|error| {
                Refused::Failed(format!("the node does not say where it stands: {error}"))
            })?;
            nobody = 0;
            match next(wanted, &standing) {
                Step::Done => return Ok(Some(Ok(()))),
                Step::FellBack(reason) => {
                    let why = format!("the node tried the release {wanted} and left it: {reason}");
                    return Ok(Some(Err(why)));
                }
                Step::Wait(what) => tell(what.to_string()),
                Step::Stage => {
                    tell(format!("the release {wanted} is being staged"));
                    return updater.stage(wanted).map(|()| None);
                }
                Step::Restart => {
                    tell(format!("the machine restarts with the release {wanted}"));
                    updater.restart()?;
                }
            }
            updater.wait();
            Ok(None)
        });
        match done {
            Ok(Some(end)) => return end,
            Ok(None) => {}
            Err(Refused::Failed(why)) => return Err(why),
            Err(Refused::Busy(why)) => {
                tell(why);
                updater.wait();
            }
            Err(Refused::Nobody(why)) => {
                nobody += 1;
                if nobody >= PATIENCE {
                    return Err(why);
                }
                tell(why);
                updater.wait();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn standing(version: &str, phase: Phase) -> Standing {
        let (staged, fallback, slots) = (None, None, Slots::default());
        Standing { version: version.to_owned(), phase, staged, fallback, slots }
    }

    fn fell_back(version: &str) -> Option<Fallback> {
        Some(Fallback { version: version.to_owned(), reason: "kubelet".to_owned(), time: 1 })
    }

    #[test]
    fn what_a_node_says_leads_to_one_step() {
        let staged = Standing { staged: Some("2".to_owned()), ..standing("1", Phase::Staged) };
        let left = Standing { fallback: fell_back("2"), ..standing("1", Phase::FellBack) };
        // Two Plans for one node do not take turns: what was left stays so when the other was left, too.
        let failed = vec![Left { version: "2".to_owned(), reason: "the CRI".to_owned() }];
        let slots = Slots { failed };
        let long_ago = Standing { fallback: fell_back("3"), slots, ..left.clone() };
        for (standing, want) in [
            (standing("2", Phase::Idle), Step::Done),
            (standing("2", Phase::Trial), Step::Wait(Wait::Trial)),
            (standing("1", Phase::Restarting), Step::Wait(Wait::Restart)),
            (standing("1", Phase::Staging), Step::Wait(Wait::Staging)),
            (standing("1", Phase::Idle), Step::Stage),
            // Of a later updater.
            (standing("1", Phase::Unknown), Step::Stage),
            (staged.clone(), Step::Restart),
            (Standing { staged: Some("3".to_owned()), ..staged.clone() }, Step::Stage),
            (left.clone(), Step::FellBack("kubelet".to_owned())),
            (long_ago, Step::FellBack("the CRI".to_owned())),
            // Even if somebody has staged it again, nobody said that it is to be tried again.
            (
                Standing { fallback: fell_back("2"), ..staged.clone() },
                Step::FellBack("kubelet".into()),
            ),
            (Standing { fallback: fell_back("0"), ..staged }, Step::Restart),
        ] {
            assert_eq!(next("2", &standing), want, "{standing:?}");
        }
    }

    #[test]
    fn members_that_are_not_known_are_passed_over() {
        let said = json!({
            "image": "node", "version": "1", "phase": "hovering", "slots": {}, "doing": null,
            "fallback": { "version": "2", "reason": "x", "time": 7, "more": 1 },
        });
        let slots =
            json!({ "slots": { "failed": [{ "version": "0", "reason": "y", "time": 3 }] } });
        let mut whole = said.clone();
        whole["slots"] = slots["slots"].clone();
        let read: Standing = serde_json::from_value(whole).unwrap();
        assert_eq!(read.left("0"), Some("y"));
        let read: Standing = serde_json::from_value(said).unwrap();
        assert_eq!((read.phase, read.fallback.unwrap().time), (Phase::Unknown, 7));
    }

    /// A node and whoever asks it, who is killed by each restart and started again.
    struct Node {
        version: String,
        phase: Phase,
        staged: Option<String>,
        fallback: Option<Fallback>,
        is_bad: bool,
        restarts: u32,
        /// What happens beside, one for each call.
        trouble: Vec<Option<Refused>>,
    }

    impl Node {
        fn trouble(&mut self) -> Result<(), Refused> {
            self.trouble.pop().flatten().map_or(Ok(()), Err)
        }
    }

    impl Updater for Node {
        fn status(&mut self) -> Result<Value, Refused> {
            self.trouble()?;
            Ok(json!({
                "version": self.version, "phase": self.phase, "staged": self.staged,
                "fallback": self.fallback,
            }))
        }

        fn stage(&mut self, version: &str) -> Result<(), Refused> {
            assert_ne!(version, self.version);
            self.trouble()?;
            (self.staged, self.phase) = (Some(version.to_owned()), Phase::Staged);
            Ok(())
        }

        fn restart(&mut self) -> Result<(), Refused> {
            assert!(self.staged.is_some(), "nothing is staged");
            self.trouble()?;
            self.restarts += 1;
            self.phase = Phase::Restarting;
            Ok(())
        }

        /// Time passes.
        fn wait(&mut self) {
            match self.phase {
                Phase::Restarting => {
                    self.phase = Phase::Trial;
                    let staged = self.staged.take().unwrap();
                    self.staged = Some(std::mem::replace(&mut self.version, staged));
                }
                Phase::Trial => {
                    let other = self.staged.take().unwrap();
                    if self.is_bad {
                        let version = std::mem::replace(&mut self.version, other);
                        self.fallback = fell_back(&version);
                        self.phase = Phase::FellBack;
                    } else {
                        (self.fallback, self.phase) = (None, Phase::Idle);
                    }
                }
                Phase::Staging => self.phase = Phase::Idle,
                _ => {}
            }
        }
    }

    fn node(is_bad: bool, trouble: Vec<Option<Refused>>) -> Node {
        let version = "1".to_owned();
        let phase = Phase::Idle;
        Node { version, phase, staged: None, fallback: None, is_bad, restarts: 0, trouble }
    }

    #[test]
    fn a_release_is_staged_started_judged_and_then_there_is_nothing_to_do() {
        let mut node = node(false, Vec::new());
        let mut said = Vec::new();
        let mut say = |line: &str| said.push(line.to_owned());
        assert_eq!(run("2", &mut node, &mut say), Ok(()));
        assert_eq!(run("2", &mut node, &mut say), Ok(()));
        assert_eq!((node.version.as_str(), node.restarts), ("2", 1));
        let want = [
            "the release 2 is being staged",
            "the machine restarts with the release 2",
            "a trial is judged",
        ];
        assert_eq!(said, want);
    }

    #[test]
    fn a_release_that_fell_back_fails_and_is_not_tried_again() {
        let mut node = node(true, Vec::new());
        let why = Err("the node tried the release 2 and left it: kubelet".to_owned());
        for _ in 0..3 {
            assert_eq!(run("2", &mut node, &mut |_| ()), why);
        }
        assert_eq!((node.version.as_str(), node.restarts), ("1", 1));
    }

    #[test]
    fn nobody_is_waited_for_and_not_for_ever() {
        let gone = || Some(Refused::Nobody("nobody listens".to_owned()));
        let mut late = node(false, (0..PATIENCE - 1).map(|_| gone()).collect());
        assert_eq!(run("1", &mut late, &mut |_| ()), Ok(()));
        let mut away = node(false, (0..PATIENCE).map(|_| gone()).collect());
        assert_eq!(run("1", &mut away, &mut |_| ()), Err("nobody listens".to_owned()));
    }

    fn trouble() -> impl Strategy<Value = Option<Refused>> {
        prop_oneof![
            3 => Just(None),
            1 => Just(Some(Refused::Busy("somebody else is at it".to_owned()))),
            1 => Just(Some(Refused::Nobody("nobody listens".to_owned()))),
        ]
    }

    proptest! {
        #[test]
        fn whatever_comes_between_a_node_is_restarted_once(
            is_bad: bool,
            trouble in prop::collection::vec(trouble(), 0..30),
            staging: bool,
        ) {
            let mut node = node(is_bad, trouble);
            if staging {
                node.phase = Phase::Staging;
            }
            let first = run("2", &mut node, &mut |_| ());
            prop_assert_eq!(first.is_ok(), !is_bad);
            prop_assert_eq!(run("2", &mut node, &mut |_| ()).is_ok(), !is_bad);
            prop_assert_eq!(node.restarts, 1);
        }
    }
}
