//! `orlop-node configure`: takes in the node config and makes the node's files of it.
//!
//! The plain run needs no network: it takes what is on the machine. If that is an address it notes
//! it in [`CONFIG_URL`], and the run with `--url`, which a unit makes when the network is up, fetches
//! from there. If a disk did not answer it notes that in [`CONFIG_DISKS`], and another unit asks
//! again by `--disks`. All end with [`system::PATH`], which PID 1 reads.

mod plan;

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use formats::command_line::{self, Resets};
use formats::node_config::Volumes;
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
use crate::source::places::CommandLine;
use crate::source::{self, Candidate, Found, LIMIT, Origin, places};
use crate::state::{self, Missing};
use crate::sysctl;
use plan::{Pending, Plan};

/// The address to fetch the node config from; its absence says that there is nothing to fetch.
pub const CONFIG_URL: &str = "/run/orlop/config-url";

/// Says that the places are to be asked again: a disk has not answered, or a run was killed.
pub const CONFIG_DISKS: &str = "/run/orlop/config-disks";

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

/// `configure [--url | --disks | --after-crash] [--root DIR]`.
///
/// # Errors
/// [`Failure::Usage`]; [`Failure::Failed`] if the node's files cannot be made, with `--url` if there
/// is no config at the address, with `--disks` if one still does not answer. That no place has a
/// config, or a bad one, is no failure: the node goes on, and PID 1 is told.
pub fn command(arguments: &mut Arguments) -> Result<(), Failure> {
    let root = Root::new(arguments.option("--root")?.unwrap_or_else(|| "/".to_owned()));
    let by_url = arguments.flag("--url");
    let of_disks = arguments.flag("--disks");
    let crashed = arguments.flag("--after-crash");
    arguments.finish()?;
    let clock = clock(&root);
    let mut log = |line: &str| eprintln!("{line}");
    if crashed && let Err(error) = crash::note(&root) {
        log(&format!("cannot note that the last boot did not end in order: {error}"));
    }
    let disks = Processes::new(&root);
    match (by_url, of_disks) {
        (true, _) => fetched(&root, clock, Limits::default(), &mut log),
        (false, true) => asked_again(&root, clock, &disks, &mut log),
        (false, false) => found(&root, clock, &disks, &mut log),
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
    let line = places::command_line(root);
    // Only now, when nothing of it can run: later these files are of this boot. And before the look,
    // in which this run may be killed.
    let mut problems = Vec::new();
    if Missing::load(root).is_none()
        && let Err(error) = state::remember(root, resets(&line).state)
    {
        problems.push(format!("cannot note on STATE that it was reset: {error}"));
    }
    problems.extend(crash::database::clear(root));
    problems.extend(apparmor::load(root));
    let mut plan = look(root, &line, disks);
    let noted = begun.and_then(|()| leave(root, plan.pending.as_ref()));
    plan.problems.extend(problems);
    plan.problems.extend(leftovers::clear(root, &plan.config));
    // That the copy is not kept is told, and another unit tries again.
    let done = carry_out(plan, root, clock, log).map(drop);
    let noted = noted.and_then(|()| leave_unkept(root));
    done.and(noted.map_err(not_noted))
}

/// The run with `--url`: one attempt. If it fails nothing has changed.
///
/// # Errors
/// [`Failure::Failed`] if there is no address or no config at it, with all that is wrong with
/// the config, or if a file cannot be written.
pub fn fetched(
    root: &Root,
    clock: Clock,
    limits: Limits,
    log: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let failed = |message| Failure::Failed(message);
    let address = root
        .read(CONFIG_URL, LIMIT)
        .map_err(|error| failed(format!("cannot read `{CONFIG_URL}`: {error}")))?
        .ok_or_else(|| failed(format!("nothing is to be fetched: `{CONFIG_URL}` is absent")))?;
    let address = source::text(address).map_err(failed)?;
    let text = fetch::fetch(root, address.trim(), limits).map_err(|e| failed(e.to_string()))?;
    let (origin, found) = (Origin::new(address.trim()), Found::Text(text));
    let plan = Plan::of(Candidate { origin, device: None, found })
        .map_err(|problems| failed(problems.join("\n")))?;
    carry_out_later(plan, root, clock, log)
}

/// The run with `--disks`: one attempt.
///
/// # Errors
/// [`Failure::Failed`] if a disk that may have the config still does not answer, or if a file
/// cannot be written.
pub fn asked_again(
    root: &Root,
    clock: Clock,
    disks: &dyn Disks,
    log: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let plan = look(root, &places::command_line(root), disks);
    let still = (plan.pending == Some(Pending::Ask)).then(|| plan.problems.join("\n"));
    leave(root, plan.pending.as_ref()).map_err(not_noted)?;
    // The first run has told as much, if it came so far.
    if still.is_none() || !root.path(system::PATH).exists() {
        let done = carry_out_later(plan, root, clock, log);
        done.and(leave_unkept(root).map_err(not_noted))?;
    }
    still.map_or(Ok(()), |still| Err(Failure::Failed(still)))
}

/// When units run already.
fn carry_out_later(
    plan: Plan,
    root: &Root,
    clock: Clock,
    log: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let had_settings = root.path(sysctl::PATH).exists();
    let unkept = carry_out(plan, root, clock, log)?;
    sysctl::again(root, had_settings)
        .map_err(|error| Failure::Failed(format!("cannot write `{}`: {error}", sysctl::AGAIN)))?;
    unkept.map_or(Ok(()), |unkept| Err(Failure::Failed(unkept)))
}

/// Asks the places, as far as this node hears them, and plans.
fn look(root: &Root, line: &CommandLine, disks: &dyn Disks) -> Plan {
    let reset = resets(line).config_source;
    let last_good = LastGood::load(root).map_err(|error| error.to_string());
    let pinned = Pin::new(&last_good, false);
    let pin = if reset { Pin::Open } else { pinned.clone() };
    let answers = places::ask(root, line, &pin, disks);
    let words = reset.then(|| pinned.reset(answers.decision.chosen.as_ref()));
    let mut plan = Plan::new(answers, last_good, root.path(KUBELET).exists());
    if let Some(words) = words {
        // Before it happens.
        console::say(root, &words);
        plan.problems.push(words);
    }
    plan
}

/// What the owner wants begun anew.
fn resets(line: &CommandLine) -> Resets {
    line.as_deref().map_or_else(|_| Resets::default(), command_line::resets)
}

/// A node without STATE is no node of its cluster: its pods would fill the memory, and what it
/// should remember would be gone with the next boot.
fn without_state(plan: &mut Plan, missing: &Missing, root: &Root) {
    let is_of_a_volume = plan.keep.as_ref().is_none_or(|copy| copy.device.is_some());
    match missing.to_reset(&plan.config, is_of_a_volume) {
        Some(Ok(device)) => plan.problems.push(match state::reset_and_restart(root, device) {
            Ok(done) => done,
            Err(error) => error,
        }),
        other => plan.problems.extend(other.and_then(Result::err)),
    }
    plan.stay_alone();
    plan.problems.insert(0, missing.problem(root.path(KUBELET).exists()));
}

/// Leaves word of what is left to do, for the units that do it.
fn leave(root: &Root, pending: Option<&Pending>) -> io::Result<()> {
    match pending {
        Some(Pending::Fetch(address)) => {
            root.write(CONFIG_URL, address.whole().as_bytes(), SECRET, Keep::ThisBoot)?;
        }
        _ => root.remove(CONFIG_URL)?,
    }
    match pending {
        Some(Pending::Ask) => root.write(CONFIG_DISKS, b"", PUBLIC, Keep::ThisBoot),
        _ => root.remove(CONFIG_DISKS),
    }
}

/// Leaves word that a copy waits which STATE has not taken, if there is one.
fn leave_unkept(root: &Root) -> io::Result<()> {
    match LastGood::waiting(root) {
        Ok(None) => Ok(()),
        _ => leave(root, Some(&Pending::Ask)),
    }
}

fn not_noted(error: io::Error) -> Failure {
    Failure::Failed(format!("cannot note what is left to do in `/run/orlop`: {error}"))
}

/// Keeps the copy; or what people must know if STATE does not take it.
fn keep(copy: &LastGood, volumes: Volumes, root: &Root) -> Result<(), String> {
    let Err(error) = copy.keep(root) else { return Ok(()) };
    let what = format!("cannot keep the node config as the last good copy: {error}");
    Err(match (volumes, LastGood::kept(root)) {
        (Volumes::Pinned, Ok(None)) => format!(
            "the node is not pinned to where its config is from: until STATE takes that, whoever can \
             attach a disk to the machine may give it another config at the next boot; {what}"
        ),
        (_, Ok(None)) => what,
        _ => format!("{what}; until then the next boot goes by the one before"),
    })
}

/// Makes the files, keeps the copy, and tells PID 1 last of all, when everything is in place. Gives
/// why the copy is not kept, which is told by then and to be tried again.
fn carry_out(
    mut plan: Plan,
    root: &Root,
    clock: Clock,
    log: &mut dyn FnMut(&str),
) -> Result<Option<String>, Failure> {
    if let Some(missing) = Missing::load(root) {
        without_state(&mut plan, &missing, root);
    } else if plan.keep.is_none() {
        // One that cannot be read has been told.
        plan.keep = LastGood::waiting(root).ok().flatten();
    }
    plan.notes.iter().for_each(|note| log(note));
    plan.problems.iter().for_each(|problem| log(problem));
    let mut failures = Vec::new();
    let mut unkept = None;
    let proxy = assemble::proxy::text(root);
    let system = match assemble::assemble(&plan.config, root, clock.now, clock.floor) {
        Ok(system) => {
            system.problems.iter().for_each(|problem| log(problem));
            unkept = plan.keep.and_then(|copy| keep(&copy, plan.config.volumes, root).err());
            unkept.iter().for_each(|unkept| log(unkept));
            if root.is_the_machines() && assemble::proxy::text(root) != proxy {
                daemons::restart(root);
            }
            if let Err(error) =
                masquerade::leave(root, plan.config.cni.as_ref().map(|cni| cni.bridge))
            {
                let message = masquerade::told(&error);
                log(&message);
                plan.problems.push(message);
            }
            for problem in hugepages::set_aside(&plan.config.hugepages, root) {
                log(&problem);
                plan.problems.push(problem);
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
        // First what must not be cut off.
        problems: shortened(
            [unkept.iter().cloned().collect(), system.problems, plan.problems, failures.clone()]
                .concat(),
        ),
        ..system
    };
    let written = toml::to_string(&system).map_err(|error| error.to_string()).and_then(|text| {
        root.write(system::PATH, text.as_bytes(), PUBLIC, Keep::ThisBoot)
            .map_err(|error| error.to_string())
    });
    failures.extend(written.err().map(|e| format!("cannot write `{}`: {e}", system::PATH)));
    if failures.is_empty() { Ok(unkept) } else { Err(Failure::Failed(failures.join("\n"))) }
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
