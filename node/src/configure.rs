//! `orlop-node configure`: takes in the node config and makes the node's files of it.
//!
//! The plain run needs no network: it takes what is on the machine. What it could not have, an
//! address to fetch from or a disk that did not answer, it notes in [`AGAIN`]; the run with
//! `--again`, which a unit makes when the network is up and repeats until it succeeds, makes up for
//! it. Both end with [`system::PATH`], which PID 1 reads.

mod plan;

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use formats::command_line;
use formats::node_config::Subnet;
use formats::system;

use crate::apparmor;
use crate::arguments::{Arguments, Failure};
use crate::assemble;
use crate::console;
use crate::crash;
use crate::daemons;
use crate::fetch::{self, Limits};
use crate::hugepages;
use crate::leftovers;
use crate::masquerade;
use crate::problems::shortened;
use crate::root::{Keep, PUBLIC, Root, SECRET};
use crate::source::disks::{Disks, Processes};
use crate::source::last_good::LastGood;
use crate::source::pin::Pin;
use crate::source::{self, Candidate, Found, LIMIT, Origin, places};
use crate::sysctl;
use plan::{Pending, Plan};

/// What is left to do for the node config: the address to fetch it from, or nothing in it if the
/// places are to be asked again. Its absence says that nothing is left.
pub const AGAIN: &str = "/run/orlop/configure-again";

const COMMAND_LINE: &str = "/proc/cmdline";

/// Seconds since 1970 before which the image did not exist, as text.
const TIME_FLOOR: &str = "/usr/lib/orlop/time-floor";

/// The unit of kubelet, in images that have it.
const KUBELET: &str = "/usr/lib/orlop/units/kubelet.toml";

/// What the clock says, and what it cannot be before. Seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// What the node's clock says.
    pub now: u64,
    /// When the image was made, 0 if that is not known.
    pub floor: u64,
}

/// `configure [--again | --after-crash] [--root DIR]`.
///
/// # Errors
/// [`Failure::Usage`]; [`Failure::Failed`] if the node's files cannot be made, or with `--again` if
/// what is left to do cannot be done yet. That no place has a config, or a bad one, is no failure:
/// the node goes on, and PID 1 is told.
pub fn command(arguments: &mut Arguments) -> Result<(), Failure> {
    let root = Root::new(arguments.option("--root")?.unwrap_or_else(|| "/".to_owned()));
    let is_again = arguments.flag("--again");
    let crashed = arguments.flag("--after-crash");
    arguments.finish()?;
    let clock = clock(&root);
    let mut log = |line: &str| eprintln!("{line}");
    if crashed && let Err(error) = crash::note(&root) {
        log(&format!("cannot note that the last boot did not end in order: {error}"));
    }
    let disks = Processes::new(&root);
    if is_again {
        again(&root, clock, Limits::default(), &disks, &mut log)
    } else {
        found(&root, clock, &disks, &mut log)
    }
}

/// The plain run: looks through the places. `log` takes what is to be told, a line at a time.
///
/// # Errors
/// [`Failure::Failed`] if a file cannot be written.
pub fn found(
    root: &Root,
    clock: Clock,
    disks: &dyn Disks,
    log: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    // If this run is killed the places are still to be asked.
    let begun = leave(root, Some(&Pending::Ask));
    let mut plan = look(root, disks);
    let noted = begun.and_then(|()| leave(root, plan.pending.as_ref()));
    // Only now, when nothing of it can run: later these files are of this boot.
    plan.problems.extend(crash::database::clear(root));
    plan.problems.extend(leftovers::clear(root, &plan.config));
    plan.problems.extend(apparmor::load(root));
    carry_out(plan, root, clock, masquerade::set, log)?;
    noted.map_err(|error| Failure::Failed(format!("cannot write `{AGAIN}`: {error}")))
}

/// The run with `--again`: one attempt at what is left to do. If it fails nothing has changed.
///
/// # Errors
/// [`Failure::Failed`] if nothing is left; if there is no config at the address, with all that is
/// wrong with it; if a disk still does not answer; or if a file cannot be written.
pub fn again(
    root: &Root,
    clock: Clock,
    limits: Limits,
    disks: &dyn Disks,
    log: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let failed = |message| Failure::Failed(message);
    let left = root
        .read(AGAIN, LIMIT)
        .map_err(|error| failed(format!("cannot read `{AGAIN}`: {error}")))?
        .ok_or_else(|| failed(format!("nothing is left to do: `{AGAIN}` is absent")))?;
    let left = source::text(left).map_err(failed)?;
    let had_settings = root.path(sysctl::PATH).exists();
    match left.trim() {
        "" => ask_again(root, clock, disks, log)?,
        address => {
            // This run may not ask anything of the kernel: a unit does.
            let masquerade = |subnet| masquerade::leave(root, subnet);
            carry_out(fetched(root, address, limits)?, root, clock, masquerade, log)?;
        }
    }
    sysctl::again(root, had_settings)
        .map_err(|error| failed(format!("cannot write `{}`: {error}", sysctl::AGAIN)))
}

fn fetched(root: &Root, address: &str, limits: Limits) -> Result<Plan, Failure> {
    let failed = |message| Failure::Failed(message);
    let text = fetch::fetch(root, address, limits).map_err(|e| failed(e.to_string()))?;
    let (origin, found) = (Origin::new(address), Found::Text(text));
    Plan::of(Candidate { origin, device: None, found }).map_err(|all| failed(all.join("\n")))
}

/// A disk had not answered, or the first run was killed.
fn ask_again(
    root: &Root,
    clock: Clock,
    disks: &dyn Disks,
    log: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let plan = look(root, disks);
    let still = match &plan.pending {
        None => None,
        Some(Pending::Ask) => Some(plan.problems.join("\n")),
        Some(pending @ Pending::Fetch(_)) => {
            leave(root, Some(pending))
                .map_err(|error| Failure::Failed(format!("cannot write `{AGAIN}`: {error}")))?;
            Some("the node config is now to be fetched".to_owned())
        }
    };
    // The first run has told as much, if it came so far.
    if still.is_none() || !root.path(system::PATH).exists() {
        carry_out(plan, root, clock, |subnet| masquerade::leave(root, subnet), log)?;
    }
    still.map_or(Ok(()), |still| Err(Failure::Failed(still)))
}

/// Asks the places, as far as this node hears them, and plans.
fn look(root: &Root, disks: &dyn Disks) -> Plan {
    let line = root.read(COMMAND_LINE, LIMIT).ok().flatten().unwrap_or_default();
    let reset = command_line::resets(&String::from_utf8_lossy(&line)).config_source;
    let last_good = LastGood::load(root).map_err(|error| error.to_string());
    let pinned = Pin::new(&last_good, false);
    let pin = if reset { Pin::Open } else { pinned.clone() };
    let answers = places::ask(root, &pin, disks);
    let words = reset.then(|| pinned.reset(answers.decision.chosen.as_ref()));
    let mut plan = Plan::new(answers, last_good, root.path(KUBELET).exists());
    if let Some(words) = words {
        // Before it happens.
        console::say(root, &words);
        plan.problems.push(words);
    }
    plan
}

/// Leaves word of what is left to do, for the unit that does it.
fn leave(root: &Root, pending: Option<&Pending>) -> std::io::Result<()> {
    match pending {
        None => root.remove(AGAIN),
        Some(Pending::Ask) => root.write(AGAIN, b"", SECRET, Keep::ThisBoot),
        Some(Pending::Fetch(address)) => {
            root.write(AGAIN, address.whole().as_bytes(), SECRET, Keep::ThisBoot)
        }
    }
}

/// Makes the files, keeps the copy, and tells PID 1 last of all, when everything is in place.
fn carry_out(
    mut plan: Plan,
    root: &Root,
    clock: Clock,
    masquerade: impl FnOnce(Option<Subnet>) -> io::Result<()>,
    log: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    plan.notes.iter().for_each(|note| log(note));
    plan.problems.iter().for_each(|problem| log(problem));
    let mut failures = Vec::new();
    let proxy = assemble::proxy::text(root);
    let system = match assemble::assemble(&plan.config, root, clock.now, clock.floor) {
        Ok(system) => {
            system.problems.iter().for_each(|problem| log(problem));
            if let Some(Err(error)) = plan.keep.map(|copy| copy.keep(root)) {
                let message = format!("cannot keep the node config as the last good copy: {error}");
                failures.push(message);
            }
            if root.is_the_machines() && assemble::proxy::text(root) != proxy {
                daemons::restart(root);
            }
            // Pods run without it, so it is told and no failure.
            let masquerading = root
                .is_the_machines()
                .then(|| masquerade(plan.config.cni.as_ref().map(|cni| cni.bridge)));
            for problem in hugepages::set_aside(&plan.config.hugepages, root) {
                log(&problem);
                plan.problems.push(problem);
            }
            if let Some(Err(error)) = masquerading {
                let message = masquerade::told(&error);
                log(&message);
                plan.problems.push(message);
            }
            system
        }
        Err(error) => {
            failures.push(format!("the node config is not carried out: {}", chain(&error)));
            // The network at least is to be as the config says.
            assemble::system(&plan.config)
        }
    };
    let awaited = plan.pending.and_then(|pending| match pending {
        Pending::Fetch(address) => Some(address.to_string()),
        Pending::Ask => None,
    });
    let system = system::System {
        source: plan.source,
        awaits_url: awaited,
        problems: shortened([system.problems, plan.problems, failures.clone()].concat()),
        ..system
    };
    let written = toml::to_string(&system).map_err(|error| error.to_string()).and_then(|text| {
        root.write(system::PATH, text.as_bytes(), PUBLIC, Keep::ThisBoot)
            .map_err(|error| error.to_string())
    });
    failures.extend(written.err().map(|e| format!("cannot write `{}`: {e}", system::PATH)));
    if failures.is_empty() { Ok(()) } else { Err(Failure::Failed(failures.join("\n"))) }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn clock(root: &Root) -> Clock {
    let floor = root.read(TIME_FLOOR, 64).ok().flatten();
    let floor = floor.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
    #[expect(clippy::disallowed_methods, reason = "the rim: from here on the time is an argument")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Clock { now, floor: floor.unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_s_floor_is_the_image_s() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        assert_eq!(clock(&root).floor, 0);
        root.write(TIME_FLOOR, b"1767225600\n", PUBLIC, Keep::ThisBoot).unwrap();
        assert_eq!(clock(&root).floor, 1_767_225_600);
    }
}
