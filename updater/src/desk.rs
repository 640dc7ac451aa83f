//! What the node's policy and its cluster ask of the unit: each goes through its one queue, so nobody is in
//! anybody's way.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::armed_by::{self, By};
use crate::cancel::Cancel;
use crate::clock::monotonic;
use crate::cluster::{self, FailedBefore, NotArmed, NotStaged, Served, Standing};
use crate::facts::{self, Facts};
use crate::files::{below, read};
use crate::given_up;
use crate::node::Node;
use crate::plan::Asked;
use crate::policy::{self, Bell, Candidate, Go, Others, Verdict};
use crate::protocol::{Event, Request, Wish};
use crate::serve::{Miss, Unit};
use crate::transport::Progress;
use crate::trial::restart;
use crate::work::Updater;

/// Where the kernel says which boot this is (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Bytes of that.
const LONGEST_BOOT_ID: u64 = 64;

/// Whoever asks from inside.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    unit: Arc<Unit<Updater>>,
    bell: Bell,
}

impl Desk {
    /// In front of this unit.
    pub(crate) fn new(unit: Arc<Unit<Updater>>) -> Self {
        Self { unit, bell: Bell::new() }
    }

    pub(crate) fn updater(&self) -> &Updater {
        self.unit.work()
    }

    fn facts(&self) -> Result<Facts, String> {
        facts::read(&self.updater().root)
    }

    fn by_policy(&self, request: Request) -> Result<Value, policy::Miss> {
        self.until_cancelled(request, &Cancel::new())
    }

    fn until_cancelled(&self, request: Request, cancel: &Cancel) -> Result<Value, policy::Miss> {
        let done = self.unit.carry_out(request, cancel.clone(), &mut log);
        done.map_err(|miss| match miss {
            Miss::Busy(_) => policy::Miss::Busy,
            Miss::Failed(failed) if failed.later => policy::Miss::Busy,
            Miss::Failed(failed) => policy::Miss::Failed(failed.why),
        })
    }

    /// Takes a release a step further. Who stops that has given it up.
    fn take(&self, request: Request, release: &Candidate) -> Result<(), policy::Miss> {
        let cancel = Cancel::new();
        let done = self.until_cancelled(request, &cancel);
        if done.is_err() && cancel.check().is_err() {
            let Candidate { version, root_hash } = release;
            let remembered = given_up::remember(&self.updater().root, version, root_hash);
            remembered.unwrap_or_default();
        }
        done.map(drop)
    }

    fn try_out(&self, release: &Candidate, restart: bool) -> Result<(), policy::Miss> {
        let version = Some(release.version.clone());
        let request = Request::Upgrade { version, from: None, asked: Asked::Policy, restart };
        self.take(request, release)
    }
}

/// What the policy makes of the result of `check`.
fn verdict(found: &Value) -> Verdict {
    let text = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default();
    let takes = |key: &str| found["by-policy"].get(key).and_then(Value::as_str);
    if let (Some(version), Some(Ok(root_hash))) =
        (takes("version"), takes("root-hash").map(str::parse))
    {
        return Verdict::Takes(Candidate { version: version.to_owned(), root_hash });
    }
    let (version, against) = (text("newest"), text("against-by-policy"));
    Verdict::Against(if version.is_empty() {
        against.to_owned()
    } else {
        format!("the release {version}: {against}")
    })
}

/// Who has the slots, in words.
fn somebody(doing: &str) -> String {
    format!("somebody else is at it: {doing}")
}

/// The newest release for this node by the result of `check`, or why there is none that it takes.
fn newest(found: &Value) -> Result<String, String> {
    let text = |key: &str| found.get(key).and_then(Value::as_str);
    match (text("newest"), text("against")) {
        (None, against) => Err(against.unwrap_or("there is no release").to_owned()),
        (Some(version), Some(why)) if Some(version) != text("runs") => {
            Err(format!("the newest release, {version}, is not taken: {why}"))
        }
        (Some(version), _) => Ok(version.to_owned()),
    }
}

/// For the log, which nobody waits for.
fn log(event: &Event) {
    if let Event::Notice { text } = event {
        eprintln!("{text}");
    }
}

impl policy::Desk for Desk {
    fn now(&self) -> i64 {
        (self.updater().now)()
    }

    fn monotonic(&self) -> Duration {
        monotonic()
    }

    fn node(&mut self) -> Result<policy::Node, String> {
        let facts = self.facts()?;
        let root = &self.updater().root;
        let mut node = Node::open(root, &facts)?;
        let meta = node.remembered()?;
        // Who asks at the Node object is being served until that has come to an end.
        let asked = Served::read(root).ok().flatten().is_some_and(|served| served.end.is_none());
        let armed = meta.trial.as_ref().map(|trial| trial.release.root_hash);
        let others = Others {
            asked,
            armed_by_policy: match armed.map(|hash| armed_by::whoever(root, &hash)) {
                Some(By::Policy) => true,
                // Whoever had asked does not any more.
                Some(By::Fleet) => !asked,
                Some(By::Person) | None => false,
            },
            goes_back: node.goes_back()?.is_some(),
            going_down: below(root, formats::system::SHUTDOWN_REASON).exists(),
        };
        let node = policy::Node::of(&facts.update, facts.floor, &facts.node, &meta, others);
        let given_up = given_up::all(root).into_iter().map(|(_, hash)| hash).collect();
        Ok(policy::Node { given_up, ..node })
    }

    fn check(&mut self) -> Result<Verdict, policy::Miss> {
        let found = self.by_policy(Request::Check {})?;
        Ok(verdict(&found))
    }

    fn stage(&mut self, release: &Candidate) -> Result<(), policy::Miss> {
        let mut wish = Wish::newest(Asked::Policy);
        wish.version = Some(release.version.clone());
        self.take(Request::Stage(wish), release)
    }

    fn arm(&mut self, release: &Candidate) -> Result<(), policy::Miss> {
        self.try_out(release, false)
    }

    fn disarm(&mut self) -> Result<(), policy::Miss> {
        self.by_policy(Request::Disarm {}).map(drop)
    }

    fn upgrade(&mut self, release: &Candidate) -> Result<(), policy::Miss> {
        self.try_out(release, true)
    }

    fn wait(&mut self, time: Duration) -> Go {
        self.bell.wait(time)
    }

    fn say(&mut self, text: &str) {
        eprintln!("{text}");
    }
}

impl cluster::Desk for Desk {
    fn standing(&self) -> Result<Standing, String> {
        let facts = self.facts()?;
        let mut standing = Standing {
            version: facts.node.version.clone(),
            root_hash: facts.node.running,
            boot_id: read(&below(&self.updater().root, BOOT_ID), LONGEST_BOOT_ID)
                .ok()
                .flatten()
                .map(|id| id.trim().to_owned()),
            trial: false,
            spare: None,
            fallback: None,
            failed: Vec::new(),
        };
        // A node without slots runs something all the same.
        let node = Node::open(&self.updater().root, &facts);
        let Ok(meta) = node.and_then(|mut node| node.remembered()) else { return Ok(standing) };
        let trial = meta.trial.as_ref();
        standing.trial = trial.is_some_and(|trial| trial.release.root_hash == facts.node.running);
        let staged = meta.staged.map(|staged| (staged.release.version, staged.attempts));
        let armed = trial.filter(|_| !standing.trial);
        let armed = armed.map(|trial| (trial.release.version.clone(), trial.attempts));
        let spare = staged.or(armed);
        standing.spare = spare.map(|(version, attempts)| cluster::Spare { version, attempts });
        standing.fallback = meta.fallback;
        standing.failed = meta.failed;
        Ok(standing)
    }

    fn stage(
        &self,
        version: Option<&str>,
        failed_before: FailedBefore,
        cancel: &Cancel,
        tell: &(dyn Fn(Progress) + Sync),
    ) -> Result<cluster::Staged, NotStaged> {
        let asked = match failed_before {
            FailedBefore::TriedAgain => Asked::Person,
            FailedBefore::Refused => Asked::Fleet,
        };
        let wish = Wish { version: version.map(str::to_owned), from: None, asked };
        let mut hear = |event: &Event| match event {
            Event::Progress(progress) => tell(*progress),
            event => log(event),
        };
        match self.unit.carry_out(Request::Stage(wish), cancel.clone(), &mut hear) {
            Ok(result) => match result.get("staged").and_then(Value::as_str) {
                Some(version) => Ok(cluster::Staged::InSpare(version.to_owned())),
                None => Ok(cluster::Staged::Runs),
            },
            Err(Miss::Busy(doing)) => Err(NotStaged::Busy(somebody(&doing))),
            Err(Miss::Failed(_)) if cancel.check().is_err() => Err(NotStaged::Cancelled),
            Err(Miss::Failed(failed)) if failed.later => Err(NotStaged::Busy(failed.why)),
            Err(Miss::Failed(failed)) if failed.refused => Err(NotStaged::Refused(failed.why)),
            Err(Miss::Failed(failed)) => Err(NotStaged::Failed(failed.why)),
        }
    }

    fn look(&self, cancel: &Cancel) -> Result<String, NotStaged> {
        match self.unit.carry_out(Request::Check {}, cancel.clone(), &mut log) {
            Ok(found) => newest(&found).map_err(NotStaged::Failed),
            Err(Miss::Busy(doing)) => Err(NotStaged::Busy(somebody(&doing))),
            Err(Miss::Failed(failed)) => Err(NotStaged::Failed(format!(
                "it is not known which release is the newest: {}",
                failed.why
            ))),
        }
    }

    fn arm(&self, version: &str) -> Result<(), NotArmed> {
        let version = Some(version.to_owned());
        let request = Request::Upgrade { version, from: None, asked: Asked::Fleet, restart: false };
        match self.unit.carry_out(request, Cancel::new(), &mut log) {
            Ok(_) => Ok(()),
            Err(Miss::Busy(doing)) => Err(NotArmed::Busy(somebody(&doing))),
            Err(Miss::Failed(failed)) if failed.later => Err(NotArmed::Busy(failed.why)),
            Err(Miss::Failed(failed)) => Err(NotArmed::Failed(failed.why)),
        }
    }

    fn restart(&self, reason: &str) -> Result<(), String> {
        let root = &self.updater().root;
        restart::ask(root, restart::loaded(root), reason)
            .map_err(|error| format!("PID 1 cannot be asked for a restart: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use formats::digest::Sha256;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_channel_that_was_emptied_is_an_answer_and_no_failure() {
        let hash = Sha256::of("2");
        let none = "the channel has no release";
        for (found, want) in [
            (
                json!({ "newest": "3", "against-by-policy": "its time comes later",
                        "by-policy": { "version": "2", "root-hash": hash.to_string() } }),
                Verdict::Takes(Candidate { version: "2".to_owned(), root_hash: hash }),
            ),
            (
                json!({ "newest": "2", "against-by-policy": "no", "by-policy": null }),
                Verdict::Against("the release 2: no".to_owned()),
            ),
            (
                json!({ "newest": null, "root-hash": null, "against-by-policy": none }),
                Verdict::Against(none.to_owned()),
            ),
        ] {
            assert_eq!(verdict(&found), want, "{found}");
        }
    }

    #[test]
    fn the_newest_release_is_one_that_runs_or_would_be_taken() {
        for (found, want) in [
            (json!({ "runs": "1", "newest": "2", "against": null }), Ok("2")),
            (json!({ "runs": "2", "newest": "2", "against": "it runs already" }), Ok("2")),
            (
                json!({ "runs": "1", "newest": "3", "against": "before 2 take that one first" }),
                Err("the newest release, 3, is not taken: before 2 take that one first"),
            ),
            (json!({ "runs": "1", "newest": null, "against": "none" }), Err("none")),
        ] {
            assert_eq!(newest(&found), want.map(str::to_owned).map_err(str::to_owned), "{found}");
        }
    }
}
