//! The units that this program is: what each of them does, in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::cluster::{self, Api};
use crate::desk::Desk;
use crate::facts;
use crate::health::Prober;
use crate::health::gate::deadline;
use crate::memory;
use crate::node::{self, Node, boot, judge};
use crate::policy;
use crate::serve::{Socket, Unit};
use crate::trial::command::{self, Settings, Slots};
use crate::words::words;
use crate::work::Updater;

/// From a boot that could not be judged to the next time that this is tried.
const JUDGED_AGAIN: Duration = Duration::from_secs(60);

/// Which unit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `updater`: begins the boot, judges it, and answers at the socket.
    Updater,
    /// `trial`: judges a trial.
    Trial,
    /// `databases`: copies small databases, or puts them back.
    Databases,
}

impl Role {
    /// Runs the unit; `say` is given lines for people.
    ///
    /// # Errors
    /// In words: PID 1 starts it again.
    pub fn run(
        self,
        updater: Updater,
        socket: &Path,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        match self {
            Self::Updater => serve(updater, socket, say),
            Self::Trial => {
                let root = updater.root.clone();
                begin(&updater, say);
                let settings = settings(&root);
                let cluster = Box::new(Api::new(&root));
                command::trial(&root, settings, Some(cluster), &mut OnTrial(updater), say)
            }
            Self::Databases => {
                let root = updater.root.clone();
                let mut news = |say: &mut dyn FnMut(&str)| match begun(&updater, say)? {
                    boot::Begun::Trial | boot::Begun::Ordinary => None,
                    begun => begun.told(),
                };
                let slots = &mut OnTrial(updater.clone());
                command::before_containerd(&root, slots, &mut news, say)
            }
        }
    }
}

fn serve(updater: Updater, socket: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("`{}`: {error}", socket.display());
    let listening = Socket::bind(socket).map_err(cannot)?;
    if let Err(error) = memory::keep_low(&updater.root) {
        say(&format!("the memory of this unit has no limit: {error}"));
    }
    let begun = begin(&updater, say);
    if begun.is_some()
        && let Err(why) = updater.settle()
    {
        say(&why);
    }
    let root = updater.root.clone();
    // The unit `trial` judges what was noted.
    let is_noted = || crate::files::below(&root, formats::system::THIS_IS_A_TRIAL).exists();
    let is_judged = match begun {
        Some(boot::Begun::Trial) => !is_noted(),
        Some(_) => true,
        // What keeps a boot from beginning may pass; a node without slots has none to judge.
        None => node::parts::find(&root).is_ok() && !is_noted(),
    };
    if is_judged {
        let updater = updater.clone();
        let judge = move || judge(&updater);
        std::thread::Builder::new().name("judge".to_owned()).spawn(judge).map_err(cannot)?;
    }
    let user = rustix::process::geteuid().as_raw();
    let unit = Unit::new(updater, user);
    let mut desk = Desk::new(Arc::clone(&unit));
    let at_the_cluster = desk.clone();
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("policy").spawn(move || policy::run(&mut desk)).map_err(cannot)?;
    thread("cluster").spawn(move || look_after(&at_the_cluster)).map_err(cannot)?;
    unit.serve(&listening, &Cancel::new()).map_err(cannot)
}

/// Judges this boot until that has come to an end: a disk that fails now may not fail for ever, and records
/// that are damaged may be begun anew.
fn judge(updater: &Updater) {
    let mut say = |line: &str| eprintln!("{line}");
    let root = &updater.root;
    let prober = Arc::new(Prober::new(root, Some(Box::new(Api::new(root)))));
    let mut told = String::new();
    loop {
        let why = match judge::judge(root, &settings(root), &prober, &mut say) {
            Ok(judge::Judged::Promoted(version)) => {
                return say(&format!("release {version} is healthy and stays"));
            }
            Ok(_) => return,
            Err(why) => why,
        };
        if why != told {
            say(&why);
            told = why;
        }
        std::thread::sleep(JUDGED_AGAIN);
        begin(updater, &mut |_| {});
    }
}

/// Serves who asks by the Node object, as long as the unit runs.
fn look_after(desk: &Desk) {
    let updater = desk.updater();
    let facts = facts::read(&updater.root);
    let machine_id = facts.map(|facts| facts.node.machine_id).unwrap_or_default();
    cluster::run::run(&cluster::run::Setup {
        root: updater.root.clone(),
        desk,
        machine_id,
        now: updater.now,
        cancel: Cancel::new(),
        say: &|line| eprintln!("{line}"),
    });
}

/// Begins this boot, if no unit has, and says what comes of it.
fn begin(updater: &Updater, say: &mut dyn FnMut(&str)) -> Option<boot::Begun> {
    let begun = begun(updater, say);
    begun.iter().filter_map(boot::Begun::told).for_each(|line| say(&line));
    begun
}

/// Begins this boot, if no unit has. A node without slots has nothing to begin; that and what fails is said.
fn begun(updater: &Updater, say: &mut dyn FnMut(&str)) -> Option<boot::Begun> {
    let begin = || {
        let _lock = node::lock(&updater.root)?;
        boot::begin(&updater.root, &facts::read(&updater.root)?, (updater.now)())
    };
    begin().map_err(|why| say(&why)).ok()
}

/// What the node's owner says of trials; a config that cannot be read says nothing.
fn settings(root: &Path) -> Settings {
    let update = facts::read(root).map(|facts| facts.update).unwrap_or_default();
    Settings { deadline: deadline(&update), node_ready: update.node_ready }
}

/// The slots of the node that runs, for whoever judges it.
struct OnTrial(Updater);

impl OnTrial {
    fn on<T>(&self, step: impl FnOnce(&mut Node) -> Result<T, String>) -> Result<T, String> {
        let root = &self.0.root;
        let _lock = node::lock(root)?;
        let facts = facts::read(root)?;
        boot::begin(root, &facts, (self.0.now)())?;
        step(&mut Node::open(root, &facts)?)
    }
}

impl Slots for OnTrial {
    fn promote(&mut self) -> Result<(), String> {
        self.on(|node| node.found_healthy().map(drop))
    }

    fn fail(&mut self, reason: &str) -> Result<(), String> {
        self.on(|node| node.machine().unhealthy(reason).map(drop).map_err(|error| words(&error)))
    }

    fn put_off(&mut self) -> Result<(), String> {
        self.on(|node| node.machine().put_off().map_err(|error| words(&error)))
    }

    fn interrupt(&mut self) -> Result<(), String> {
        self.on(|node| node.machine().stopping().map_err(|error| words(&error)))
    }
}
