//! What the unit does when it is asked: from the node's own files to a release, and by transport and the
//! steps to a slot that starts.

mod look;

use std::path::PathBuf;

use formats::digest::Sha256;
use formats::meta::Release;
use serde_json::{Value, json};

use crate::armed_by::{self, By};
use crate::boot_loader::Terms;
use crate::cancel::Cancel;
use crate::client::Mirrors;
use crate::cluster::Api;
use crate::eligible::{self, NotForUs, eligible};
use crate::facts::{self, Facts};
use crate::files::below;
use crate::given_up;
use crate::health::{Prober, gate};
use crate::node::{self, Came, Node, Place, Staging};
use crate::plan::{Asked, Refusal};
use crate::protocol::{Event, Failed, Request, Wish};
use crate::serve::Work;
use crate::trial::restart;
use crate::trust::{Channel, Clock, DIRECTORY, Store, TrustError, Verified};
use crate::words::words;

/// The work of a node's updater.
#[derive(Debug, Clone)]
pub struct Updater {
    /// Where the node's file system begins.
    pub root: PathBuf,
    /// What the time is, in seconds since 1970.
    pub now: fn() -> i64,
}

/// A release came, or there was no need.
enum Stage {
    /// It is what runs: its version.
    Runs(String),
    Staged(String, Came),
}

impl Updater {
    /// Whether the machine was told to go down.
    fn goes_down(&self) -> bool {
        below(&self.root, formats::system::SHUTDOWN_REASON).exists()
    }

    /// Opens the channel, or the place that was named, and goes on with it.
    fn with_channel<T>(
        &self,
        facts: &Facts,
        (from, version): (Option<&str>, Option<&str>),
        cancel: &Cancel,
        tell: &dyn Fn(Event),
        go_on: impl FnOnce(&Channel<'_>, i64) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let places = facts.places(from)?;
        let names = places.iter().map(ToString::to_string).collect();
        let notice = notices(tell);
        let mirrors = Mirrors::new(places, facts.settings(), cancel.clone(), &notice);
        let directory = self.root.join(DIRECTORY.trim_start_matches('/'));
        let store = Store::new(&directory, names, facts.first_root.clone());
        let now = (self.now)();
        let clock = Clock { now, floor: facts.floor };
        let channel =
            Channel::open(&mirrors, &store, clock, version).map_err(|error| words(&error))?;
        go_on(&channel, now)
    }

    fn check(&self, cancel: &Cancel, tell: &dyn Fn(Event)) -> Result<Value, Failed> {
        let mut facts = facts::read(&self.root)?;
        // A node without slots can be asked all the same.
        if let Ok((epoch, failed)) = Node::open(&self.root, &facts).and_then(|mut it| it.known()) {
            (facts.node.epoch, facts.node.failed) = (epoch, failed);
        }
        self.with_channel(&facts, (None, None), cancel, tell, |channel, now| {
            look::found(channel, &facts.node, now)
        })
    }

    /// Brings to its end what was cut off when the unit was last, in this boot.
    ///
    /// # Errors
    /// In words: the slots cannot be opened, or it stays as it was.
    pub fn settle(&self) -> Result<(), String> {
        let _lock = node::lock(&self.root)?;
        Node::open(&self.root, &facts::read(&self.root)?)?.settle()
    }

    /// Opens the slots, with what they know of this node. The lock must be held.
    fn open(&self) -> Result<(Node, Facts), String> {
        let mut facts = facts::read(&self.root)?;
        // Whoever comes first in a boot tells META of it.
        node::boot::begin(&self.root, &facts, (self.now)())?;
        let mut node = Node::open(&self.root, &facts)?;
        (facts.node.epoch, facts.node.failed) = node.known()?;
        if let Err(why) = node.settle() {
            // Whoever asks hears what is in his way.
            eprintln!("{why}");
        }
        Ok((node, facts))
    }

    fn stage(
        &self,
        (node, facts): (&mut Node, &Facts),
        wish: &Wish,
        cancel: &Cancel,
        tell: &dyn Fn(Event),
    ) -> Result<Stage, Failed> {
        // Who asks again and again does not ask the channel each time.
        if !matches!(wish.asked, Asked::PersonAnyway) && node.is_yet_to_be_proven()? {
            return Err(Failed::later(Refusal::NotHealthy.to_string()));
        }
        let from_where = (wish.from.as_deref(), wish.version.as_deref());
        self.with_channel(facts, from_where, cancel, tell, |channel, now| {
            channel.is_kept().map_err(|error| words(&error))?;
            let listed = channel.releases();
            let mut own = facts.node.clone();
            if wish.from.is_none()
                && let Some(epoch) = look::epoch_of_what_runs(channel, &own, &listed)?
            {
                node.machine().released(epoch).map_err(|error| words(&error))?;
                own.epoch = epoch;
            }
            let verified = match &wish.version {
                Some(version) => channel.release(Some(version)).map_err(|error| words(&error))?,
                None => look::choice(channel, &own, &listed, now)?
                    .newest
                    .ok_or_else(|| words(&TrustError::Empty))?,
            };
            let Verified { release, .. } = &verified;
            let asked = match wish.asked {
                Asked::Policy => eligible::Asked::ByPolicy,
                Asked::Fleet | Asked::Person | Asked::PersonAnyway => eligible::Asked::ByName,
            };
            let refused = |why: &NotForUs| {
                Failed::refused(format!("the release {} is not taken: {why}", release.version))
            };
            let has_failed = |hash: &Sha256| release.root.hash == hash.to_string();
            if wish.asked == Asked::Fleet && own.failed.iter().any(has_failed) {
                return Err(refused(&NotForUs::Failed));
            }
            match eligible(&verified, &own, &listed, asked, (now, now)) {
                Err(NotForUs::Runs) => return Ok(Stage::Runs(release.version.clone())),
                taken => taken.map_err(|why| refused(&why))?,
            }
            let armed = node.armed()?;
            let hash = |it: &Release| it.root_hash.to_string();
            if armed.as_ref().is_some_and(|armed| hash(armed) == release.root.hash) {
                return Ok(Stage::Staged(release.version.clone(), Came::There));
            }
            let gives_way = armed.is_some_and(|armed| {
                wish.asked != Asked::Policy
                    && armed_by::whoever(&self.root, &armed.root_hash) != By::Person
            });
            let give_way = |node: &mut Node| {
                let given_up = self.disarm(node)?;
                let text = format!(
                    "{given_up}, which no person had armed, is given up: {} was asked for",
                    release.version
                );
                tell(Event::Notice { text });
                Ok(())
            };
            let told = |progress| tell(Event::Progress(progress));
            let staging = Staging {
                channel,
                asked: wish.asked,
                gives_way: gives_way.then_some(&give_way),
                told: &told,
            };
            let came = node.stage(release, &staging)?;
            if wish.asked != Asked::Policy
                && let Ok(hash) = release.root.hash.parse()
            {
                // What he has given up before he wants by now.
                given_up::forget(&self.root, &hash).unwrap_or_default();
            }
            Ok(Stage::Staged(release.version.clone(), came))
        })
    }

    fn upgrade(
        &self,
        wish: &Wish,
        is_restarted: bool,
        cancel: &Cancel,
        tell: &dyn Fn(Event),
    ) -> Result<Value, Failed> {
        let _lock = node::lock(&self.root)?;
        let (mut node, facts) = self.open()?;
        let mut result = json!({});
        let wants = |version: &str| {
            wish.from.is_none() && wish.version.as_ref().is_none_or(|wanted| wanted == version)
        };
        cancel.check().map_err(|error| error.to_string())?;
        let prober = Prober::new(&self.root, Some(Box::new(Api::new(&self.root))));
        let notice = notices(tell);
        let trying = node::Trying {
            asked: wish.asked,
            kexec: facts.update.kexec,
            node_ready: facts.update.node_ready,
            prober: &prober,
            deadline: gate::deadline(&facts.update),
            cancel,
            now: (self.now)(),
            told: &notice,
        };
        if let Some(armed) = node.armed()?.filter(|armed| wants(&armed.version)) {
            return self.start_armed((&mut node, &armed), &trying, is_restarted, result);
        }
        // What is staged was verified when it was.
        let is_there = node.staged()?.is_some_and(|staged| wants(&staged.version));
        if !is_there {
            match self.stage((&mut node, &facts), wish, cancel, tell)? {
                Stage::Runs(version) => return Ok(json!({ "runs": version })),
                Stage::Staged(version, came) => result = staged(&version, came),
            }
        }
        if let Some(armed) = node.armed()? {
            return self.start_armed((&mut node, &armed), &trying, is_restarted, result);
        }
        // Before it is armed: whoever is killed in between has not made it somebody else's.
        if let Some(staged) = node.staged()? {
            self.remember(wish.asked, &staged.root_hash);
        }
        let ready = node.try_staged(&trying)?;
        if let Err(why) = node.settle() {
            notice(&why);
        }
        self.stopped(&mut node, cancel)?;
        self.start_trial(&ready.version, ready.how, is_restarted, result)
    }

    /// Remembers who arms a trial. Where that fails it is somebody, and the policy leaves it alone.
    fn remember(&self, asked: Asked, root_hash: &Sha256) {
        if asked != Asked::Policy {
            given_up::forget(&self.root, root_hash).unwrap_or_default();
        }
        armed_by::remember(&self.root, asked.into(), root_hash).unwrap_or_default();
    }

    /// A trial is armed already, and is from now on that of who asks. What it excuses is looked at again where
    /// the restart follows.
    fn start_armed(
        &self,
        (node, armed): (&mut Node, &Release),
        trying: &node::Trying<'_>,
        is_restarted: bool,
        result: Value,
    ) -> Result<Value, Failed> {
        // Who asks at the Node object has the machine restarted himself.
        if is_restarted || trying.asked == Asked::Fleet {
            node.look_again(armed, trying)?;
        }
        if trying.asked != Asked::Policy {
            self.remember(trying.asked, &armed.root_hash);
        }
        self.start_trial(&armed.version, restart::loaded(&self.root), is_restarted, result)
    }

    /// A trial is armed: restarts the machine if that is wanted, and says so.
    fn start_trial(
        &self,
        version: &str,
        how: restart::How,
        is_restarted: bool,
        mut result: Value,
    ) -> Result<Value, Failed> {
        if is_restarted {
            let why = format!("release {version} is tried");
            restart::ask(&self.root, how, &why).map_err(no_restart)?;
        }
        result["trial"] = json!(version);
        result["restart"] = json!(when(is_restarted));
        Ok(result)
    }

    fn roll_back(
        &self,
        is_restarted: bool,
        cancel: &Cancel,
        tell: &dyn Fn(Event),
    ) -> Result<Value, String> {
        let _lock = node::lock(&self.root)?;
        let (mut node, _) = self.open()?;
        cancel.check().map_err(|error| error.to_string())?;
        let release = node.roll_back((self.now)())?;
        if let Err(text) = node.settle() {
            tell(Event::Notice { text });
        }
        self.stopped(&mut node, cancel)?;
        if is_restarted {
            let why = format!("the node goes back to release {}", release.version);
            restart::ask(&self.root, restart::How::Reboot, &why).map_err(no_restart)?;
        }
        Ok(json!({ "rollback": release.version, "restart": when(is_restarted) }))
    }

    /// What runs counts as healthy once it is judged again, which the unit does by itself.
    fn renew(&self) -> Result<Value, String> {
        let _lock = node::lock(&self.root)?;
        let mut node = Node::open(&self.root, &facts::read(&self.root)?)?;
        if node.remembered().is_ok() {
            return Err("the records of META can be read: nothing is to be renewed".to_owned());
        }
        node.renew_records()?;
        Ok(json!({ "renewed": "the records of META" }))
    }

    /// Gives up what is staged or armed. What a person gives up the policy does not take again.
    fn give_up(&self, by: By) -> Result<Value, String> {
        let _lock = node::lock(&self.root)?;
        let (mut node, _) = self.open()?;
        let next = node.goes_back()?;
        let meta = node.remembered()?;
        let release = meta.trial.map(|it| it.release).or(meta.staged.map(|it| it.release));
        let cancelled = self.disarm(&mut node)?;
        if let Some(release) = release.filter(|_| by == By::Person && next.is_none()) {
            // Where that fails the policy takes it again, and another `cancel` helps.
            given_up::remember(&self.root, &release.version, &release.root_hash)
                .unwrap_or_default();
        }
        Ok(json!({ "cancelled": cancelled }))
    }

    /// Takes back what is arranged for the next boot, if somebody has asked to stop.
    fn stopped(&self, node: &mut Node, cancel: &Cancel) -> Result<(), String> {
        let Err(error) = cancel.check() else { return Ok(()) };
        self.disarm(node)?;
        Err(error.to_string())
    }

    fn disarm(&self, node: &mut Node) -> Result<String, String> {
        let given_up = node.give_up()?;
        // What stays of it says nothing of another release.
        armed_by::forget(&self.root).unwrap_or_default();
        Ok(given_up)
    }
}

fn notices<'a>(tell: &'a dyn Fn(Event)) -> impl Fn(&str) + 'a {
    move |text| tell(Event::Notice { text: text.to_owned() })
}

fn when(is_restarted: bool) -> &'static str {
    if is_restarted { "now" } else { "is due" }
}

fn no_restart(error: std::io::Error) -> String {
    format!("it is arranged, and PID 1 cannot be asked for a restart: {error}")
}

fn staged(version: &str, came: Came) -> Value {
    match came {
        Came::There => json!({ "staged": version, "way": "there", "fetched": 0, "written": 0 }),
        Came::Now { root, uki } => json!({
            "staged": version, "way": root.way, "fetched": root.fetched, "written": root.written,
            "uki-way": uki.way, "uki-fetched": uki.fetched,
        }),
    }
}

impl Work for Updater {
    fn status(&self) -> Result<Value, String> {
        let facts = facts::read(&self.root)?;
        let mut node = Node::open(&self.root, &facts);
        let slots = match &mut node {
            Ok(node) => node.status(),
            Err(why) => json!({ "unknown": why }),
        };
        let loader = node.as_ref().ok().and_then(|node| node.loader().ok());
        let of_image = node.as_ref().ok().and_then(|node| node.loader_of_image().ok());
        let back = node.as_mut().ok().and_then(|node| node.goes_back().ok().flatten());
        // A node without slots has none to judge.
        let judged = node.as_ref().ok().map(|_| node::verdict::of(&self.root).word());
        let meta = node.ok().and_then(|mut node| node.remembered().ok());
        let meta = meta.unwrap_or_default();
        let place = Place::of(&meta, facts.node.running, back.as_ref(), self.goes_down());
        Ok(json!({
            "phase": place.phase,
            "staged": place.staged,
            "fallback": place.fallback,
            "rollback": place.rollback,
            "judged": judged,
            "given-up": given_up::all(&self.root).pop().map(|(version, _)| version),
            "image": facts.node.image,
            "version": facts.node.version,
            "root-hash": facts.node.running.to_string(),
            "channel": facts.update.channel.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "loader": loader,
            "loader-of-image": of_image,
            "slots": slots,
        }))
    }

    fn carry_out(
        &self,
        request: &Request,
        cancel: &Cancel,
        tell: &dyn Fn(Event),
    ) -> Result<Value, Failed> {
        match request {
            Request::Check {} => self.check(cancel, tell),
            Request::Stage(wish) => {
                let _lock = node::lock(&self.root)?;
                let (mut node, facts) = self.open()?;
                Ok(match self.stage((&mut node, &facts), wish, cancel, tell)? {
                    Stage::Runs(version) => json!({ "runs": version }),
                    Stage::Staged(version, came) => staged(&version, came),
                })
            }
            Request::Upgrade { version, from, asked, restart } => {
                let wish = Wish { version: version.clone(), from: from.clone(), asked: *asked };
                self.upgrade(&wish, *restart, cancel, tell)
            }
            Request::Rollback { restart } => Ok(self.roll_back(*restart, cancel, tell)?),
            Request::UpdateLoader { force, dry_run } => {
                let _lock = node::lock(&self.root)?;
                let (mut node, _) = self.open()?;
                cancel.check().map_err(|error| error.to_string())?;
                Ok(node.update_loader(Terms { force: *force, dry_run: *dry_run })?)
            }
            Request::Status {} => Ok(self.status()?),
            Request::Cancel {} => Ok(self.give_up(By::Person)?),
            Request::Disarm {} => Ok(self.give_up(By::Policy)?),
            Request::Renew {} => Ok(self.renew()?),
        }
    }
}
