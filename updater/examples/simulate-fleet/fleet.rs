//! The fleet: each node is woken when its policy says so, and what it does takes its time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use formats::digest::Sha256;
use formats::node_config::{Policy, Window};
use formats::release::{Listed, Release, Wave};
use updater::eligible;
use updater::policy::{Armed, Deed, Next, Node, Past, Rules, Spread, Verdict, decide};
use updater::trust::Verified;

use super::cost::{Sizes, look, stage};
use super::server::{Rate, Server};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Time 0 of a run: a Monday's midnight, in seconds since 1970.
const MONDAY: i64 = (2857 * 7 + 4) * DAY;

/// Between a restart and the end of the trial in seconds, at the least: firmware, kernel, units, and
/// kubelet's ten healthy seconds.
const TRIAL: i64 = 45;
/// It takes up to so many seconds more.
const TRIAL_SPREAD: u64 = 45;
/// A bad release is given up so many seconds after its restart, and what was before starts again.
const BAD_TRIAL: i64 = 300 + TRIAL;

/// A run ends after so long, come what may.
const LONGEST: i64 = 30 * DAY;

/// What is simulated.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How many nodes there are.
    pub(crate) nodes: u32,
    /// Which machines they are.
    pub(crate) seed: u64,
    /// Between two looks, in seconds.
    pub(crate) interval: i64,
    /// The release's.
    pub(crate) waves: Vec<Wave>,
    /// The nodes'.
    pub(crate) windows: Vec<Window>,
    /// When the release is published, in seconds after a Monday's midnight.
    pub(crate) published: i64,
    /// Percent of the nodes that run a release from which there is no delta.
    pub(crate) late: u8,
    /// What a node fetches, in bytes a second.
    pub(crate) bandwidth: u64,
    /// Of the release's files.
    pub(crate) sizes: Sizes,
    /// The release is bad: each node that tries it falls back.
    pub(crate) bad: Option<Bad>,
}

/// A bad release.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bad {
    /// When it is withdrawn.
    pub(crate) withdrawn: Withdrawn,
}

/// When a bad release is withdrawn.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Withdrawn {
    /// So many seconds after it was published.
    After(i64),
    /// When so many percent of the nodes have fallen back.
    At(f64),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// Requests in a second, from the release on until 99 % have it or the run has ended.
    pub(crate) rate: Rate,
    /// Bytes that were fetched until then.
    pub(crate) bytes: u64,
    /// Seconds from the release until 99 % of the nodes that may have it have it.
    pub(crate) most_after: Option<i64>,
    /// Nodes that have started it.
    pub(crate) tried: u32,
    /// The most nodes that were on their way through a restart or a trial at once.
    pub(crate) most_on_trial: u32,
    /// Seconds from the release until it was withdrawn.
    pub(crate) withdrawn_after: Option<i64>,
}

struct Member {
    node: Node,
    past: Past,
    is: eligible::Node,
    random: u64,
    /// The release that it has looked at last.
    knows: usize,
    doing: Option<Doing>,
    tried: bool,
}

enum Doing {
    Staging(Sha256),
    Trial,
}

/// The release before all others, that of before, and the new one.
struct Channel {
    releases: [Verified; 3],
    listed: Vec<Listed>,
    newest: usize,
}

impl Channel {
    fn hash(&self, at: usize) -> Sha256 {
        self.releases[at].release.root.hash.parse().unwrap_or_else(|_| Sha256::of([]))
    }
}

/// Lets a fleet run until it is through.
pub(crate) fn simulate(settings: &Settings) -> Outcome {
    let mut run = Run::new(settings);
    let mut queue: BinaryHeap<_> = (0..run.members.len()).map(|at| Reverse((0, at))).collect();
    while let Some(Reverse((now, at))) = queue.pop() {
        run.publish_or_withdraw(now);
        if run.is_through(now) {
            break;
        }
        queue.push(Reverse((run.turn(now, at), at)));
    }
    run.outcome()
}

struct Run<'a> {
    settings: &'a Settings,
    channel: Channel,
    server: Server,
    members: Vec<Member>,
    tried: u32,
    on_trial: u32,
    most_on_trial: u32,
    fell_back: u32,
    /// Of those that may have it: all, and when each had it.
    may_have: u32,
    had: Vec<i64>,
    withdrawn: Option<i64>,
    last: i64,
}

impl<'a> Run<'a> {
    fn new(settings: &'a Settings) -> Self {
        let channel = channel(settings);
        let members: Vec<_> =
            (0..settings.nodes).map(|number| member(settings, &channel, number)).collect();
        let new = channel.hash(2).to_string();
        let may = |member: &&Member| {
            let opens = eligible::opens(&settings.waves, &member.is.machine_id, &new);
            matches!(opens, eligible::Opens::After(_))
        };
        let may_have = members.iter().filter(may).count();
        Self {
            settings,
            channel,
            server: Server::default(),
            may_have: u32::try_from(may_have).unwrap_or(u32::MAX),
            members,
            tried: 0,
            on_trial: 0,
            most_on_trial: 0,
            fell_back: 0,
            had: Vec::new(),
            withdrawn: None,
            last: 0,
        }
    }

    fn publish_or_withdraw(&mut self, now: i64) {
        self.last = now;
        if self.channel.newest == 1 && self.withdrawn.is_none() && now >= self.settings.published {
            self.channel.newest = 2;
        }
        let Some(bad) = self.settings.bad.filter(|_| self.channel.newest == 2) else { return };
        let is_time = match bad.withdrawn {
            Withdrawn::After(seconds) => now >= self.settings.published + seconds,
            Withdrawn::At(percent) => {
                f64::from(self.fell_back) * 100.0 >= percent * f64::from(self.settings.nodes)
                    && self.fell_back > 0
            }
        };
        if is_time {
            self.channel.newest = 1;
            self.withdrawn = Some(now);
        }
    }

    fn is_through(&self, now: i64) -> bool {
        let all = self.settings.bad.is_none() && self.had.len() >= self.may_have as usize;
        // A day later nobody is on his way any more.
        let over = self.withdrawn.is_some_and(|at| now > at + DAY);
        all || over || now > LONGEST
    }

    /// What a node does at this moment; when it is woken next.
    fn turn(&mut self, now: i64, at: usize) -> i64 {
        let clock = MONDAY + now;
        self.arrive(now, at);
        let member = &mut self.members[at];
        loop {
            match decide(&member.node, &member.past, clock) {
                Next::Wait(until, _) => return until - MONDAY,
                Next::Do(Deed::Check) => {
                    let newest = self.channel.newest;
                    self.server.asked(now, 1, look(member.knows != newest));
                    member.knows = newest;
                    let verified = &self.channel.releases[newest];
                    let listed = &self.channel.listed[..=newest];
                    member.past.looked(clock, Verdict::of(verified, &member.is, listed, clock));
                }
                Next::Do(Deed::Stage(release)) => {
                    let from = self.channel.hash(1);
                    let asked = stage(&self.settings.sizes, member.is.running, from);
                    let seconds = asked.bytes / self.settings.bandwidth;
                    let seconds = i64::try_from(seconds).unwrap_or(LONGEST).max(1);
                    self.server.asked(now, seconds, asked);
                    member.doing = Some(Doing::Staging(release.root_hash));
                    return now + seconds;
                }
                // Nothing of that comes of the policy `automatic`.
                Next::Do(Deed::Arm(_) | Deed::Disarm) => return now + 1,
                Next::Do(Deed::Upgrade(release)) => {
                    member.node.on_trial = true;
                    self.on_trial += 1;
                    self.most_on_trial = self.most_on_trial.max(self.on_trial);
                    let is_new = release.root_hash == self.channel.hash(2);
                    if is_new && !std::mem::replace(&mut member.tried, true) {
                        self.tried += 1;
                    }
                    member.doing = Some(Doing::Trial);
                    let more = i64::try_from(member.random % TRIAL_SPREAD).unwrap_or(0);
                    let bad = self.settings.bad.is_some() && is_new;
                    return now + more + if bad { BAD_TRIAL } else { TRIAL };
                }
            }
        }
    }

    /// What it was doing has ended.
    fn arrive(&mut self, now: i64, at: usize) {
        let member = &mut self.members[at];
        match member.doing.take() {
            None => {}
            Some(Doing::Staging(hash)) => {
                member.node.staged = Some(hash);
                member.past.acted();
            }
            Some(Doing::Trial) => {
                self.on_trial -= 1;
                member.node.on_trial = false;
                // It is another boot: its updater begins anew.
                member.past = Past::new(MONDAY + now);
                let Some(hash) = member.node.staged.take() else { return };
                let is_new = hash == self.channel.hash(2);
                if is_new && self.settings.bad.is_some() {
                    member.node.failed.push(hash);
                    member.is.failed.push(hash);
                    self.fell_back += 1;
                    return;
                }
                member.is.running = hash;
                member.is.version = if is_new { "3" } else { "2" }.to_owned();
                if is_new {
                    self.had.push(now);
                }
            }
        }
    }

    fn outcome(self) -> Outcome {
        let most = (self.may_have as usize * 99).div_ceil(100);
        let most_at = most.checked_sub(1).and_then(|at| self.had.get(at)).copied();
        let published = self.settings.published;
        let until = most_at.unwrap_or(self.last).max(published + 1);
        Outcome {
            rate: self.server.rate(published, until),
            bytes: self.server.bytes,
            most_after: most_at.map(|at| at - published),
            tried: self.tried,
            most_on_trial: self.most_on_trial,
            withdrawn_after: self.withdrawn.map(|at| at - published),
        }
    }
}

fn channel(settings: &Settings) -> Channel {
    let release = |number: u64, version: &str, waves: &[Wave]| {
        let hash = Sha256::of(format!("{} {version}", settings.seed)).to_string();
        let salt = "00".repeat(16);
        let image = || formats::release::Image {
            hash: hash.clone(),
            salt: salt.clone(),
            data_size: 4096,
            size: 8192,
        };
        let uki = formats::release::Uki { hash: hash.clone(), salt: salt.clone(), size: 4096 };
        let release = Release {
            schema: formats::release::SCHEMA,
            image: "node".to_owned(),
            version: version.to_owned(),
            architecture: "here".to_owned(),
            kernel: "6".to_owned(),
            commit: None,
            root: image(),
            uki,
            epoch: 0,
            min_from: None,
            waves: waves.to_vec(),
            deltas: Vec::new(),
        };
        let published = Some(MONDAY + if waves.is_empty() { 0 } else { settings.published });
        let version = version.to_owned();
        (Verified { release, published }, Listed { number, version, published, epoch: 0 })
    };
    let (first, a) = release(1, "1", &[]);
    let (second, b) = release(2, "2", &[]);
    let (third, c) = release(3, "3", &settings.waves);
    Channel { releases: [first, second, third], listed: vec![a, b, c], newest: 1 }
}

fn member(settings: &Settings, channel: &Channel, number: u32) -> Member {
    let digest = Sha256::of(format!("{} machine {number}", settings.seed));
    let machine_id = digest.to_string()[..32].to_owned();
    let bytes: [u8; 8] = digest.as_bytes()[24..].try_into().unwrap_or_default();
    let random = u64::from_le_bytes(bytes);
    let late = random / 1000 % 100 < u64::from(settings.late);
    let runs = if late { 0 } else { 1 };
    let rules = Rules {
        policy: Policy::Automatic,
        windows: settings.windows.clone(),
        interval: settings.interval,
    };
    let running = channel.hash(runs);
    // Late nodes are those that take each second release: they have failed with the one of before, or
    // were off. They wait for the next.
    let failed = if late { vec![channel.hash(1)] } else { Vec::new() };
    Member {
        node: Node {
            rules,
            spread: Spread::of(&machine_id),
            floor: 0,
            on_trial: false,
            armed: Armed::No,
            asked: false,
            staged: None,
            failed: failed.clone(),
            given_up: Vec::new(),
        },
        past: Past::new(MONDAY - settings.interval),
        is: eligible::Node {
            image: "node".to_owned(),
            architecture: "here".to_owned(),
            version: (runs + 1).to_string(),
            running,
            epoch: 0,
            failed,
            machine_id,
        },
        random,
        knows: 1,
        doing: None,
        tried: false,
    }
}
