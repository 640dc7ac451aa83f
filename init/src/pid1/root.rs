//! The second stage: prepares the root, starts the units, and stays. The order is that of
//! `docs/init.md`: mounts and control groups, then in parallel what does not wait for each
//! other, then the units.

use std::convert::Infallible;
use std::fmt::Display;
use std::path::Path;
use std::sync::OnceLock;

use formats::digest::Sha256;
use formats::system::{PATH, PROBLEMS, SHUTDOWN_REASON, SLOT, System};
use rustix::system::{RebootCommand, reboot};

use crate::command_line::{self, Slot};
use crate::console::{Console, Screen};
use crate::event_loop::{self, Surroundings};
use crate::pid1::{built_in, floor, identity, last_words, trial};
use crate::power::Button;
use crate::supervisor::Supervisor;
use crate::sys::{Failure, signals};
use crate::unit::Units;
use crate::watchdog::{self, Watchdog};
use crate::{
    applets, clock, configure, log, marks, modules, mounts, shutdown, state, sysctl, time,
};

const UNITS: &str = "/usr/lib/orlop/units";

/// Prepares the root, runs the units and, at the end, takes the machine down.
///
/// # Errors
/// What keeps a node from being one: no mounts, no control groups, no `/var`.
pub fn run() -> Result<Infallible, String> {
    marks::mark("root-init-start");
    // Before any thread: they inherit what is blocked.
    let signals = signals::block_and_open().map_err(|e| format!("cannot take signals: {e}"))?;
    mounts::root_stage().map_err(|error| error.to_string())?;
    mounts::cgroups().map_err(|error| error.to_string())?;
    let on_demand = modules::load_on_demand(Path::new("/proc/sys"));
    marks::mark("mounts-done");
    // Before anything writes a file or looks at a certificate.
    let clock = floor::raise(Path::new(time::FLOOR));

    let mut problems = Problems::default();
    problems.note("have modules loaded on demand", on_demand);
    let (slot, root_hash, reset_state) = command_line(&mut problems);
    let release = identity::system(Path::new("/"));
    // Also what separates two boots in the log on STATE.
    log::info(&format!("{release} starts, slot {slot}"));
    // Ctrl-Alt-Del becomes `SIGINT`, so that it is an orderly restart.
    problems.note("make Ctrl-Alt-Del orderly", reboot(RebootCommand::CadOff));

    let early = take_watchdog(&mut problems);
    let system = prepare(reset_state, &mut problems)?;
    let watchdog = start_watchdog(early, &mut problems);
    let id = identity::machine_id(
        Path::new("/var/lib/orlop"),
        Path::new("/etc"),
        Path::new("/proc/sys/kernel/random/uuid"),
    );
    problems.note("give the machine its id", id);
    if let Some(root_hash) = root_hash {
        let noted = trial::note(Path::new("/"), root_hash);
        if let Ok(noted) = noted
            && let Err(error) = last_words::keep(Path::new("/"), noted, applets::load_module)
        {
            // Only the reason of a fall-back is poorer then.
            log::warn(&error);
        }
        problems.note("see whether this is a trial", noted);
    }
    // Where many look for `/run`; what pods have put there before stays.
    match std::os::unix::fs::symlink("/run", "/var/run") {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            problems.add(format!("cannot make /var/run: {error}"));
        }
        _ => {}
    }
    problems.note("make a place for logs", std::fs::create_dir_all(built_in::LOGS));
    if !system.source.is_empty() {
        log::info(&format!("the node config is from {}", system.source));
    }

    let built_in = built_in::units().map_err(|error| error.to_string())?;
    let (units, unit_errors) = Units::load(Path::new(UNITS), built_in)
        .map_err(|error| format!("cannot read {UNITS}: {error}"))?;
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
    let screen = Screen { system: release, slot, problems: problems.0, ..Screen::default() };
    let surroundings = Surroundings {
        signals,
        console,
        screen,
        cgroups: "/sys/fs/cgroup".into(),
        kernel_log: "/dev/kmsg".into(),
        clock,
        problems: PROBLEMS.into(),
        reason: SHUTDOWN_REASON.into(),
        buttons,
        watchdog,
        arm: shutdown::arm,
    };
    shutdown::serving();
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

/// The slot for the screen, the root hash, and whether STATE is to be made anew. Mistakes were fatal
/// in the initrd if they mattered there.
fn command_line(problems: &mut Problems) -> (String, Option<Sha256>, bool) {
    let (mut root_hash, mut reset_state) = (None, false);
    match command_line::read() {
        Ok(Ok(line)) => {
            if !line.debug {
                sysctl::quiet_console(Path::new("/proc/sys"));
            }
            reset_state = line.resets.state;
            root_hash = Some(line.root_hash);
        }
        Ok(Err(mistakes)) => {
            for mistake in mistakes {
                problems.add(mistake.to_string());
            }
        }
        Err(error) => problems.add(format!("cannot read the kernel command line: {error}")),
    }
    let slot = command_line::running_slot().unwrap_or_else(|error| {
        problems.add(format!("cannot read the slot from {SLOT}: {error}"));
        Slot::None
    });
    (slot.to_string(), root_hash, reset_state)
}

/// STATE, modules, kernel settings and the node config. The disk is slow and modules take time, so
/// they wait for each other no more than they must: the config needs STATE and a few modules, and
/// some settings the module they belong to.
fn prepare(reset_state: bool, problems: &mut Problems) -> Result<System, String> {
    let have_modules = OnceLock::new();
    let configured = std::thread::scope(|scope| {
        let configured = scope.spawn(|| {
            let state = state::mount(reset_state)?;
            marks::mark("state-mounted");
            let failures = mounts::kept();
            have_modules.wait();
            let (program, crashed) = (Path::new(configure::PROGRAM), state.journal_replayed);
            let (system, mut problems) =
                configure::run(program, Path::new(PATH), configure::LIMIT, crashed);
            marks::mark("configured");
            problems.extend(failures.iter().map(ToString::to_string));
            Ok((state, system, problems))
        });
        // What fails is told when all are loaded.
        let _ = modules::load(Path::new(modules::LIST), configure::MODULES);
        // It is set here only.
        let _ = have_modules.set(());
        load_modules(problems);
        sysctl::apply(Path::new("/proc/sys"));
        configured.join()
    });
    let (state, system, more) = match configured {
        Ok(Ok(all)) => all,
        Ok(Err(error)) => {
            let error: Failure = error;
            return Err(format!("there is no /var: {error}"));
        }
        Err(_) => return Err("there is no /var: the thread which mounts it panicked".to_owned()),
    };
    log::info(&state.to_string());
    for problem in state.problems().into_iter().chain(more) {
        problems.add(problem);
    }
    Ok(system)
}

/// The watchdog that the initrd has started.
fn take_watchdog(problems: &mut Problems) -> Option<Watchdog> {
    let value = std::env::var(watchdog::VARIABLE).ok()?;
    let watchdog = Watchdog::take_over(Path::new(watchdog::CLASS), &value);
    watchdog.map_err(|error| problems.add(format!("cannot feed the watchdog: {error}"))).ok()
}

/// From now on the loop feeds it. One whose driver is in the root starts only here.
fn start_watchdog(early: Option<Watchdog>, problems: &mut Problems) -> Option<Watchdog> {
    let found = match early {
        Some(mut watchdog) => {
            watchdog.set(watchdog::RUN);
            Ok(Some(watchdog))
        }
        None => Watchdog::start(Path::new(watchdog::CLASS), watchdog::RUN),
    };
    match found {
        Ok(Some(watchdog)) => {
            log::info(&watchdog.to_string());
            Some(watchdog)
        }
        Ok(None) => {
            log::info("the machine has no watchdog");
            None
        }
        Err(error) => {
            problems.add(format!("cannot start the watchdog: {error}"));
            None
        }
    }
}

fn load_modules(problems: &mut Problems) {
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
}
