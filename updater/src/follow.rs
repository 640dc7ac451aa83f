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
    /// How this boot was judged; nothing on a node without slots, whose boots are not.
    #[serde(default)]
    pub judged: Option<String>,
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
    /// Nothing: the node runs it, and it was not found healthy in its time.
    Unhealthy,
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
    /// The boot is judged, of what was asked for.
    Judgement,
    /// The machine restarts.
    Restart,
    /// A slot is filled for somebody else.
    Staging,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trial => "a trial is judged",
            Self::Judgement => "it runs, and this boot is judged",
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
        return runs(standing);
    }
    if let Some(reason) = standing.left(wanted) {
        return Step::FellBack(reason.to_owned());
    }
    if standing.phase == Phase::Staging {
        return Step::Wait(Wait::Staging);
    }
    if standing.staged.as_deref() == Some(wanted) { Step::Restart } else { Step::Stage }
}

/// The node runs what is wanted: what that leads to.
fn runs(standing: &Standing) -> Step {
    match standing.judged.as_deref() {
        Some("not-yet") => Step::Wait(Wait::Judgement),
        Some("unhealthy") => Step::Unhealthy,
        _ => Step::Done,
    }
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
    fn stage(&mut self, version: &str) -> Result<Came, Refused>;

    /// Arms the trial of this release, which is staged, and has the machine restarted. Whoever asked mostly
    /// ends with it.
    ///
    /// # Errors
    /// [`Refused`].
    fn restart(&mut self, version: &str) -> Result<Came, Refused>;

    /// Waits for some seconds.
    fn wait(&mut self);
}

/// What came of something that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// It is done.
    Done,
    /// There was nothing to do: the node runs that release, whatever version its image says.
    Runs,
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
        let come = match look(wanted, updater, &mut tell, &mut nobody) {
            Ok(Some(end)) => return end,
            Ok(None) => None,
            Err(Refused::Failed(why)) => return Err(why),
            Err(Refused::Busy(why)) => Some(why),
            Err(Refused::Nobody(why)) => {
                nobody += 1;
                if nobody >= PATIENCE {
                    return Err(why);
                }
                Some(why)
            }
        };
        come.into_iter().for_each(&mut tell);
        // Whatever came of it: nobody looks twice without a pause.
        updater.wait();
    }
}

/// Looks at the node once, and does what comes next: the end, if it is there.
fn look(
    wanted: &str,
    updater: &mut impl Updater,
    tell: &mut dyn FnMut(String),
    nobody: &mut u32,
) -> Result<Option<Result<(), String>>, Refused> {
    let standing: Standing = serde_json::from_value(updater.status()?).map_err(|error| {
        Refused::Failed(format!("the node does not say where it stands: {error}"))
    })?;
    *nobody = 0;
    let step = match next(wanted, &standing) {
        Step::Stage => {
            tell(format!("the release {wanted} is being staged"));
            (updater.stage(wanted)? == Came::Runs).then(|| runs(&standing))
        }
        Step::Restart => {
            tell(format!("the machine restarts with the release {wanted}"));
            (updater.restart(wanted)? == Came::Runs).then(|| runs(&standing))
        }
        step => Some(step),
    };
    Ok(match step {
        Some(Step::Done) => Some(Ok(())),
        Some(Step::Unhealthy) => Some(Err(format!(
            "the node runs the release {wanted}, and was not found healthy in this boot: the log of \
             `updater` says what is lacking"
        ))),
        Some(Step::FellBack(reason)) => {
            Some(Err(format!("the node tried the release {wanted} and left it: {reason}")))
        }
        Some(Step::Wait(what)) => {
            tell(what.to_string());
            None
        }
        // Done, and seen with the next look.
        Some(Step::Stage | Step::Restart) | None => None,
    })
}

#[cfg(test)]
mod tests;
