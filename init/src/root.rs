//! The second stage: prepares the root, starts the units, and stays. The order is that of
//! `docs/init.md`: mounts and control groups, then in parallel what does not wait for each
//! other, then the units.

use std::convert::Infallible;
use std::fmt::Display;
use std::path::Path;

use rustix::system::{RebootCommand, reboot, sethostname};

use crate::command_line::{self, Slot};
use crate::console::{Console, Screen};
use crate::event_loop::{self, Surroundings};
use crate::identity::{self, Addresses, DEFAULT_HOSTNAME};
use crate::net::Network;
use crate::power::Button;
use crate::supervisor::Supervisor;
use crate::sys::signals;
use crate::unit::Units;
use crate::{clock, log, marks, modules, mounts, net, shutdown, state, sysctl};

const UNITS: &str = "/usr/lib/orlop/units";
const LOGS: &str = "/var/log/orlop";
/// Of each of the two files of our own log.
const LOG_LIMIT: u64 = 1024 * 1024;

/// Prepares the root, runs the units and, at the end, takes the machine down.
///
/// # Errors
/// What keeps a node from being one: no mounts, no control groups, no STATE.
pub fn run() -> Result<Infallible, String> {
    marks::mark("root-init-start");
    // Before any thread: they inherit what is blocked.
    let signals = signals::block_and_open().map_err(|e| format!("cannot take signals: {e}"))?;
    mounts::root_stage().map_err(|error| error.to_string())?;
    mounts::cgroups().map_err(|error| error.to_string())?;
    marks::mark("mounts-done");

    let mut problems = Problems::default();
    let slot = command_line(&mut problems);
    let system = identity::system(Path::new("/"));
    // Also what separates two boots in the log on STATE.
    log::info(&format!("{system} starts, slot {slot}"));
    // Ctrl-Alt-Del becomes `SIGINT`, so that it is an orderly restart.
    problems.note("make Ctrl-Alt-Del orderly", reboot(RebootCommand::CadOff));
    problems.note("set the host name", sethostname(DEFAULT_HOSTNAME.as_bytes()));
    let (etc, no_addresses) = (Path::new("/etc"), Addresses::new());
    let hosts = identity::write_network_files(etc, DEFAULT_HOSTNAME, &no_addresses);
    problems.note("write hosts and resolv.conf", hosts);

    // The disk is slow and modules take time, so they wait for each other no more than they must:
    // the network needs its driver, and some settings the module they belong to.
    let (network, state) = std::thread::scope(|scope| {
        let state = scope.spawn(state::mount);
        let network = load_modules_and_start_network(&mut problems);
        sysctl::apply(Path::new("/proc/sys"));
        (network, state.join())
    });
    match state {
        Ok(Ok(report)) => log::info(&report.to_string()),
        Ok(Err(error)) => return Err(format!("there is no /var: {error}")),
        Err(_) => return Err("there is no /var: the thread which mounts it panicked".to_owned()),
    }
    marks::mark("state-mounted");
    keep_log(&mut problems);

    let (units, unit_errors) =
        Units::load(Path::new(UNITS)).map_err(|error| format!("cannot read {UNITS}: {error}"))?;
    for error in unit_errors {
        problems.add(error.to_string());
    }
    let buttons = Button::open_all().unwrap_or_else(|error| {
        problems.add(format!("cannot open a power button: {error}"));
        Vec::new()
    });
    let mut console = Console::open(Path::new("/dev/console"));
    for problem in &problems.0 {
        console.say(problem, clock::monotonic());
    }
    let screen = Screen {
        system,
        slot,
        hostname: DEFAULT_HOSTNAME.to_owned(),
        problems: problems.0,
        ..Screen::default()
    };
    let surroundings = Surroundings {
        signals,
        console,
        screen,
        cgroups: "/sys/fs/cgroup".into(),
        logs: LOGS.into(),
        etc: etc.into(),
        network,
        buttons,
    };
    let finished = event_loop::run(Supervisor::new(&units), surroundings)
        .map_err(|error| format!("cannot wait for events: {error}"))?;
    shutdown::finish(finished)
}

/// What is wrong and no reason to stop: logged at once, shown on the screen for good.
#[derive(Debug, Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, text: String) {
        // Not as an error, which the kernel would show on the console a second time.
        log::warn(&text);
        self.0.push(text);
    }

    fn note<T, E: Display>(&mut self, what: &str, result: Result<T, E>) {
        if let Err(error) = result {
            self.add(format!("cannot {what}: {error}"));
        }
    }
}

/// The slot for the screen. Mistakes were fatal in the initrd if they mattered there.
fn command_line(problems: &mut Problems) -> String {
    let slot = match command_line::read() {
        Ok(Ok(line)) => {
            if !line.debug {
                sysctl::quiet_console(Path::new("/proc/sys"));
            }
            line.slot
        }
        Ok(Err(mistakes)) => {
            for mistake in mistakes {
                problems.add(mistake.to_string());
            }
            Slot::None
        }
        Err(error) => {
            problems.add(format!("cannot read the kernel command line: {error}"));
            Slot::None
        }
    };
    match slot {
        Slot::A => "a".to_owned(),
        Slot::B => "b".to_owned(),
        Slot::None => "none".to_owned(),
    }
}

fn load_modules_and_start_network(problems: &mut Problems) -> Option<Network> {
    match modules::load_list(Path::new(modules::LIST)) {
        Ok(loaded) => {
            for failure in &loaded.failures {
                problems.add(failure.to_string());
            }
            log::info(&format!("{} kernel modules are loaded", loaded.count));
        }
        Err(error) => problems.add(format!("cannot read {}: {error}", modules::LIST)),
    }
    marks::mark("root-modules-loaded");
    match net::start() {
        Ok(network) => Some(network),
        Err(error) => {
            problems.add(format!("there is no network: {error}"));
            None
        }
    }
}

fn keep_log(problems: &mut Problems) {
    let log = log::keep_in(&Path::new(LOGS).join("init.log"), LOG_LIMIT);
    problems.note("keep the log on STATE", log);
    let id = identity::machine_id(
        Path::new("/var/lib/orlop"),
        Path::new("/etc"),
        Path::new("/proc/sys/kernel/random/uuid"),
    );
    problems.note("give the machine its id", id);
}
