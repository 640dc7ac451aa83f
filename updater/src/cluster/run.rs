//! Does what [`driver`](super::driver) decides: one thread follows the Node object, one fills the spare slot
//! when it is asked to, and this one does all else, one thing after the other.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, Scope};
use std::time::Duration;

use formats::digest::Sha256;

use super::api::{Api, Trouble};
use super::credentials::Unjoined;
use super::driver::{Action, Driver, Event};
use super::labels::{self, Labels};
use super::watch::{self, News};
use super::{Desk, FailedBefore, Served, Standing};
use crate::cancel::Cancel;
use crate::clock::monotonic;

/// What writing the answer or an Event may take: nothing else is done meanwhile.
const LIMIT: Duration = Duration::from_secs(10);
/// Things that were heard and not looked at yet; who has more to say waits.
const MOST_HEARD: usize = 16;
/// How long a node that cannot say what it runs is left alone.
const UNKNOWN: Duration = Duration::from_secs(60);
/// Longer than a machine runs.
const FOR_EVER: Duration = Duration::from_secs(1 << 31);

/// What it takes.
pub struct Setup<'s> {
    /// Where the node's file system begins: `/` but in tests.
    pub root: PathBuf,
    /// What the node can do.
    pub desk: &'s dyn Desk,
    /// The machine's id: nodes do the same at different times.
    pub machine_id: String,
    /// What the time is, in seconds since 1970.
    pub now: fn() -> i64,
    /// Ends it. What is being staged is cancelled; an exchange that is under way is not waited for longer
    /// than its limit.
    pub cancel: Cancel,
    /// Is given lines for people, each once in a row.
    pub say: &'s (dyn Fn(&str) + Sync),
}

impl std::fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("root", &self.root).finish_non_exhaustive()
    }
}

/// Something that was heard by this thread.
enum Heard {
    Event(Event),
    /// The API server does not answer as it should.
    Trouble(Trouble),
    /// It ends.
    Stop,
}

/// Serves requests that come by the Node object until it is cancelled. It never fails: what goes wrong is
/// said, and tried again.
pub fn run(setup: &Setup<'_>) {
    let api = Api::new(&setup.root);
    let seed = Sha256::of(&setup.machine_id);
    let seed = seed.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes);
    let (heard, ears) = sync_channel(MOST_HEARD);
    thread::scope(|scope| {
        let stop = heard.clone();
        scope.spawn(move || {
            // Only a request to stop ends it.
            let _ = setup.cancel.pause(FOR_EVER);
            let _ = stop.send(Heard::Stop);
        });
        let (follower, news) = (&api, heard.clone());
        scope.spawn(move || {
            watch::follow(follower, seed, &setup.cancel, &|heard| {
                let heard = match heard {
                    News::Is(seen) => Heard::Event(Event::Seen(seen)),
                    News::Trouble(trouble) => Heard::Trouble(trouble),
                };
                // Nobody listens when it has ended.
                let _ = news.send(heard);
            });
        });
        let Some((standing, served)) = begin(setup) else { return };
        let driver = Driver::new(standing.clone(), served, seed);
        let (staging, looking) = (Cancel::new(), Cancel::new());
        Rim {
            setup,
            api: &api,
            driver,
            standing,
            heard,
            staging,
            looking,
            told: None,
            uid: String::new(),
            labels: None,
        }
        .listen(scope, &ears);
        // Who follows may be about to tell something.
        drop(ears);
    });
}

/// What the node is and has served; nothing if it is cancelled before that is known.
fn begin(setup: &Setup<'_>) -> Option<(Standing, Option<Served>)> {
    let mut last = String::new();
    loop {
        let standing = setup.desk.standing().and_then(|standing| {
            let served = Served::read(&setup.root)
                .map_err(|error| format!("cannot read `{}`: {error}", super::PATH))?;
            Ok((standing, served))
        });
        match standing {
            Ok(known) => return Some(known),
            Err(why) if why != last => {
                (setup.say)(&format!("the node's place in its cluster is not looked after: {why}"));
                last = why;
            }
            Err(_) => {}
        }
        setup.cancel.pause(UNKNOWN).ok()?;
    }
}

struct Rim<'s, 'a> {
    setup: &'s Setup<'s>,
    api: &'a Api,
    driver: Driver,
    standing: Standing,
    heard: SyncSender<Heard>,
    /// Stops what is being staged.
    staging: Cancel,
    /// Stops all looks.
    looking: Cancel,
    /// The trouble that was said last.
    told: Option<String>,
    /// Which Node object it is.
    uid: String,
    /// Its labels, until they were changed: then they are seen anew.
    labels: Option<Labels>,
}

impl<'s: 'scope, 'scope> Rim<'s, '_> {
    fn listen(mut self, scope: &'scope Scope<'scope, '_>, ears: &Receiver<Heard>) {
        loop {
            let now = monotonic();
            let wait = self.driver.wakes_at(now).saturating_sub(now);
            let event = match ears.recv_timeout(wait) {
                Ok(Heard::Event(event)) => event,
                Ok(Heard::Trouble(trouble)) => {
                    self.trouble(&trouble);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => Event::Tick,
                Ok(Heard::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.staging.cancel();
                    self.looking.cancel();
                    return;
                }
            };
            if let Event::Seen(seen) = &event {
                self.told = None;
                self.uid = seen.as_ref().map(|seen| seen.uid.clone()).unwrap_or_default();
                self.labels = seen.as_ref().map(|seen| seen.labels.clone());
            }
            self.take(event, scope);
            self.label();
        }
    }

    /// Takes in an event, and does what follows from it.
    fn take(&mut self, event: Event, scope: &'scope Scope<'scope, '_>) {
        let mut actions: VecDeque<_> = self.step(event).into();
        while let Some(action) = actions.pop_front() {
            if let Some(event) = self.carry_out(action, scope) {
                actions.extend(self.step(event));
            }
        }
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        // Progress comes often and changes nothing of it.
        if !matches!(event, Event::Progress(_)) {
            match self.setup.desk.standing() {
                Ok(standing) => self.standing = standing,
                Err(why) => self.say(&format!("it is not known what the node runs: {why}")),
            }
        }
        self.driver.step(event, self.standing.clone(), monotonic())
    }

    fn carry_out(&mut self, action: Action, scope: &'scope Scope<'scope, '_>) -> Option<Event> {
        let Setup { root, desk, now, .. } = self.setup;
        match action {
            Action::Stage(version, failed_before) => {
                self.stage(version, failed_before, scope);
                None
            }
            Action::Look(question) => {
                let (heard, cancel) = (self.heard.clone(), self.looking.clone());
                scope.spawn(move || {
                    let looked = desk.look(&cancel);
                    let _ = heard.send(Heard::Event(Event::Looked(question, looked)));
                });
                None
            }
            Action::Cancel => {
                self.staging.cancel();
                None
            }
            Action::Keep(served) => {
                let kept = served.write(root).map_err(|error| error.to_string());
                Some(Event::Kept(kept))
            }
            Action::Forget => {
                let forgotten = Served::forget(root).map_err(|error| error.to_string());
                Some(Event::Kept(forgotten))
            }
            Action::Arm(version) => {
                self.say(&format!(
                    "release {version} was asked for at the Node object: it is tried"
                ));
                Some(Event::Armed(desk.arm(&version)))
            }
            Action::Restart(reason) => Some(Event::Restarting(desk.restart(&reason))),
            Action::Report(status) => {
                let result = self.api.annotate(&status, LIMIT);
                if let Err(trouble) = &result {
                    self.trouble(trouble);
                }
                let result = result.map_err(|trouble| trouble.to_string());
                Some(Event::Reported(Box::new(status), result))
            }
            Action::Tell(occasion) => {
                let told = self.api.tell(&self.uid, &occasion, now(), LIMIT);
                if let Err(trouble) = told {
                    self.trouble(&trouble);
                }
                None
            }
        }
    }

    /// Has the object say what the node can do. What does not come off is tried again with the next event,
    /// which is a minute away at the most.
    fn label(&mut self) {
        let Some(is) = &self.labels else { return };
        let patch = match labels::found(&self.setup.root) {
            Ok(Some(found)) => labels::patch(is, &found),
            Ok(None) => None,
            Err(why) => return self.say(&why),
        };
        let Some(patch) = patch else { return };
        match self.api.change(&patch, LIMIT) {
            Ok(()) => self.labels = None,
            Err(trouble) => self.trouble(&trouble),
        }
    }

    fn stage(
        &mut self,
        version: Option<String>,
        failed_before: FailedBefore,
        scope: &'scope Scope<'scope, '_>,
    ) {
        self.staging = Cancel::new();
        let (desk, heard, cancel) = (self.setup.desk, self.heard.clone(), self.staging.clone());
        scope.spawn(move || {
            let tell = |progress| {
                // Who is not heard now is heard with the next.
                let _ = heard.try_send(Heard::Event(Event::Progress(progress)));
            };
            let staged = desk.stage(version.as_deref(), failed_before, &cancel, &tell);
            let _ = heard.send(Heard::Event(Event::Staged(staged)));
        });
    }

    fn trouble(&mut self, trouble: &Trouble) {
        // A node without a cluster has nothing to say of it.
        if !matches!(trouble, Trouble::Unjoined(Unjoined::NoCluster)) {
            self.say(&trouble.to_string());
        }
    }

    fn say(&mut self, line: &str) {
        if self.told.as_deref() != Some(line) {
            (self.setup.say)(line);
            self.told = Some(line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
