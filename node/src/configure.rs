//! `orlop-node configure`: takes in the node config and makes the node's files of it.
//!
//! The plain run needs no network: it takes what is on the machine, and if that is an address it
//! notes it in [`CONFIG_URL`]. The run with `--url`, which a unit makes when the network is up,
//! fetches from there. Both end with [`system::PATH`], which PID 1 reads.

mod plan;

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use formats::node_config::Subnet;
use formats::system;

use crate::apparmor;
use crate::arguments::{Arguments, Failure};
use crate::assemble;
use crate::crash;
use crate::daemons;
use crate::fetch::{self, Limits};
use crate::hugepages;
use crate::leftovers;
use crate::masquerade;
use crate::problems::shortened;
use crate::root::{Keep, PUBLIC, Root, SECRET};
use crate::source::last_good::LastGood;
use crate::source::{self, Candidate, Found, LIMIT, Origin, places, volume};
use crate::sysctl;
use plan::Plan;

/// The address to fetch the node config from; its absence says that there is nothing to fetch.
pub const CONFIG_URL: &str = "/run/orlop/config-url";

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

/// `configure [--url | --after-crash] [--root DIR]`.
///
/// # Errors
/// [`Failure::Usage`]; [`Failure::Failed`] if the node's files cannot be made, or with `--url` if
/// there is no config at the address. That no place has a config, or a bad one, is no failure: the
/// node goes on, and PID 1 is told.
pub fn command(arguments: &mut Arguments) -> Result<(), Failure> {
    let root = Root::new(arguments.option("--root")?.unwrap_or_else(|| "/".to_owned()));
    let by_url = arguments.flag("--url");
    let crashed = arguments.flag("--after-crash");
    arguments.finish()?;
    let clock = clock(&root);
    let mut log = |line: &str| eprintln!("{line}");
    if crashed && let Err(error) = crash::note(&root) {
        log(&format!("cannot note that the last boot did not end in order: {error}"));
    }
    if by_url {
        fetched(&root, clock, Limits::default(), &mut log)
    } else {
        found(&root, clock, &volume::read, &mut log)
    }
}

/// The plain run: looks through the places. `log` takes what is to be told, a line at a time.
///
/// # Errors
/// [`Failure::Failed`] if a file cannot be written.
pub fn found(
    root: &Root,
    clock: Clock,
    read_volume: &volume::Read,
    log: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let decision = source::decide(places::all(root, read_volume));
    let last_good = LastGood::load(root).map_err(|error| error.to_string());
    let mut plan = Plan::new(decision, last_good, root.path(KUBELET).exists());
    let noted = match &plan.address {
        Some(address) => root.write(CONFIG_URL, address.whole().as_bytes(), SECRET, Keep::ThisBoot),
        None => root.remove(CONFIG_URL),
    };
    // Only now, when nothing of it can run: later these files are of this boot.
    plan.problems.extend(crash::database::clear(root));
    plan.problems.extend(leftovers::clear(root, &plan.config));
    plan.problems.extend(apparmor::load(root));
    let carried_out = carry_out(plan, root, clock, masquerade::set, log);
    noted.map_err(|error| Failure::Failed(format!("cannot write `{CONFIG_URL}`: {error}")))?;
    carried_out
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
    let origin = Origin::new(address.trim());
    let plan = Plan::of(Candidate { origin, found: Found::Text(text) })
        .map_err(|problems| failed(problems.join("\n")))?;
    let had_settings = root.path(sysctl::PATH).exists();
    // This run may not ask anything of the kernel: a unit does.
    carry_out(plan, root, clock, |subnet| masquerade::leave(root, subnet), log)?;
    sysctl::again(root, had_settings)
        .map_err(|error| failed(format!("cannot write `{}`: {error}", sysctl::AGAIN)))
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
    let system = system::System {
        source: plan.source,
        awaits_url: plan.address.map(|address| address.to_string()),
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
