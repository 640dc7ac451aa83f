//! What the units of a trial run: `orlop-updater before-containerd` (unit `databases`) and
//! `orlop-updater trial` (unit `trial`).

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use formats::command_line::CommandLine;
use formats::digest::Sha256;
use formats::system::PROBLEMS;
use formats::trial::{Outcome, Verdict};
use signal_hook::consts::SIGTERM;

use crate::files::{below, read};
use crate::health::probe::{Cluster, Prober};
use crate::snapshot::{self, Done, SnapshotError};
use crate::trial::ended::{self, FallBack, Kind};
use crate::trial::run::{self, Ended, Heard, Setup};
use crate::trial::{note, restart};

/// The unit that runs [`before_containerd`].
const UNIT: &str = "databases";
/// Bytes of the kernel's command line.
const LONGEST_LINE: u64 = 64 * 1024;

/// What the node's owner says of trials.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The trial's time.
    pub deadline: Duration,
    /// The node has to be Ready before a release is believed.
    pub node_ready: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { deadline: crate::health::gate::DEADLINE, node_ready: false }
    }
}

/// The root hash of the release that runs, by the kernel's command line, which its UKI holds.
///
/// # Errors
/// It cannot be read, or says none.
pub fn own_root_hash(root: &Path) -> Result<Sha256, String> {
    let path = below(root, "/proc/cmdline");
    let text = read(&path, LONGEST_LINE).map_err(|error| format!("{}: {error}", path.display()))?;
    match CommandLine::parse(&text.unwrap_or_default()) {
        Ok(line) => Ok(line.root_hash),
        Err(mistakes) => {
            let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            Err(mistakes.join("; "))
        }
    }
}

/// What a trial ends in, on the disk: the steps of an update.
pub trait Slots {
    /// The release stays.
    ///
    /// # Errors
    /// In words: it could not be arranged.
    fn promote(&mut self) -> Result<(), String>;

    /// The release is left with the next boot.
    ///
    /// # Errors
    /// In words: it is left all the same, with less of a reason.
    fn fail(&mut self, reason: &str) -> Result<(), String>;

    /// The trial could not begin, by no fault of the release: it is left with the next boot, and is staged
    /// there as before.
    ///
    /// # Errors
    /// In words.
    fn put_off(&mut self) -> Result<(), String>;

    /// The machine goes down in good order before it was decided.
    ///
    /// # Errors
    /// In words.
    fn interrupt(&mut self) -> Result<(), String>;
}

/// Has META learn how this boot came about, and says so for people, if it is worth a word. It is given who
/// says lines in the log.
pub type Begin<'a> = dyn FnMut(&mut dyn FnMut(&str)) -> Option<String> + 'a;

/// Copies the small databases before a trial's containerd opens them, or puts them back after a
/// fall-back, and tells people of that; what could not be put back is tried again by the next boot, for its
/// note stays. In a trial without a copy the machine is restarted: such a
/// release could leave what the one before it cannot read. Where it is the node that has no room, or too
/// much to copy, the release has not failed by that. `begin` is called once the databases are as
/// this boot needs them, for it forgets the note. `say` is given lines for people.
///
/// # Errors
/// A line for people: what it is about stays undone in this boot, which goes on with what there is.
pub fn before_containerd(
    root: &Path,
    slots: &mut dyn Slots,
    begin: &mut Begin<'_>,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let own = own_root_hash(root)?;
    let noted =
        note::noted(root).map_err(|error| format!("cannot read the note of a trial: {error}"))?;
    let Some(noted) = noted else { return Ok(()) };
    let fell_back = ended::fall_back(root, own).ok().flatten();
    let mut news = Vec::new();
    match snapshot::before_containerd(root, &noted, own) {
        Ok(Done::Nothing) => {}
        Ok(Done::Copied(files, bytes)) => {
            say(&format!("{files} databases ({bytes} bytes) were copied before the trial"));
        }
        Ok(Done::Restored(files)) => {
            news.push(format!(
                "{files} databases of containerd and kubelet are as before the trial"
            ));
        }
        Err(error) if own == noted.root_hash => {
            let reason = format!("the databases could not be copied: {error}");
            let (left, verdict) = match error.is_of_the_node() {
                true => (slots.put_off(), Verdict::Interrupted),
                false => (slots.fail(&reason), Verdict::Unhealthy),
            };
            left.unwrap_or_else(|why| say(&why));
            // Whatever comes of it: a unit that is done would let containerd start.
            return match give_up(root, Outcome { root_hash: own, verdict, reason: reason.clone() })
            {
                Ok(()) => Err(reason),
                Err(error) => Err(format!("{reason}; {error}")),
            };
        }
        Err(error) => {
            let next = match error {
                // It does not get better.
                SnapshotError::Damaged(_) => match snapshot::forget(root) {
                    Ok(()) => "the copy is removed".to_owned(),
                    Err(error) => format!("the copy cannot be removed: {error}"),
                },
                _ => "the next restart tries it again".to_owned(),
            };
            news.push(format!(
                "the databases of before the trial could not be put back: {error}; {next}"
            ));
        }
    }
    // The screen says what `status` does, as long as META can be written.
    let why = begin(say).or_else(|| fell_back.as_ref().map(told));
    news.splice(0..0, why);
    news.iter().for_each(|line| say(line));
    leave(root, &news).map_err(|error| format!("cannot tell PID 1: {error}"))
}

/// A line for the screen.
fn told(fell_back: &FallBack) -> String {
    let FallBack { note, kind, reason } = fell_back;
    let version = &note.version;
    match kind {
        Kind::Failed => format!("release {version} was tried and failed: {reason}"),
        Kind::NotPromoted | Kind::Interrupted | Kind::WithoutAWord => {
            format!("release {version} was to be tried: {reason}")
        }
    }
}

/// For PID 1, which reads them when the unit is done.
fn leave(root: &Path, lines: &[String]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let path = below(root, Path::new(PROBLEMS).join(UNIT));
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    fs::write(path, lines.join("\n") + "\n")
}

fn give_up(root: &Path, outcome: Outcome) -> io::Result<()> {
    let kept = note::write_outcome(root, &outcome);
    let what = match outcome.verdict {
        Verdict::Interrupted => "the trial could not begin",
        _ => "the trial has failed",
    };
    // A STATE that takes nothing more must not keep a bad release.
    restart::ask(root, restart::How::Reboot, &format!("{what}: {}", outcome.reason)).and(kept)
}

/// Judges this boot, which is a trial, and has it promoted or the machine restarted. Returns when the
/// release stays; if it does not, when this program is asked to end. `say` is given lines for people.
///
/// # Errors
/// A line for people: PID 1 starts this again, and restarts the machine when the boot's time is over.
pub fn trial(
    root: &Path,
    settings: Settings,
    cluster: Option<Box<dyn Cluster>>,
    slots: &mut dyn Slots,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let own = own_root_hash(root)?;
    let cannot = |error: io::Error| format!("cannot take SIGTERM: {error}");
    let (stop, mut signals) = UnixStream::pair().map_err(cannot)?;
    signal_hook::low_level::pipe::register(SIGTERM, stop).map_err(cannot)?;
    let (ears, stopped) = channel::<()>();
    let listen = move |heard: Sender<Heard>| {
        thread::spawn(move || {
            let _ends_with_this_thread = ears;
            // A byte for each signal.
            if signals.read_exact(&mut [0]).is_ok() {
                // It is decided if nobody listens any more.
                let _ = heard.send(Heard::Stop);
            }
        });
    };
    let prober = Arc::new(Prober::new(root, cluster));
    let Settings { deadline, node_ready } = settings;
    let setup = Setup { root, own, deadline, node_ready, prober };
    let ended = run::run(&setup, listen, say, &mut || slots.promote());
    let failed = match ended {
        Ok(Ended::Promoted) => {
            snapshot::forget(root).map_err(|error| format!("cannot remove a copy: {error}"))?;
            say("the release is healthy and stays");
            return Ok(());
        }
        Ok(Ended::FailedBefore(reason)) => {
            say(&format!("this release was tried, failed, and runs all the same: {reason}"));
            return Ok(());
        }
        Ok(Ended::Interrupted) => {
            slots.interrupt()?;
            return Err("the machine goes down before it was judged".to_owned());
        }
        Ok(Ended::NoRoom(reason)) => {
            say(&format!("the release is left, and staged as before: {reason}"));
            slots.put_off().unwrap_or_else(|why| say(&why));
            return leave_machine(root, "the trial has no verdict", reason, &stopped);
        }
        Ok(Ended::Failed(reason)) => reason,
        Err(error) => format!("STATE does not take how it went: {error}"),
    };
    say(&format!("the release is not healthy: {failed}"));
    slots.fail(&failed).unwrap_or_else(|why| say(&why));
    leave_machine(root, "the trial has failed", failed, &stopped)
}

/// Asks for a restart, and waits for it: a unit that is done would count as ready.
fn leave_machine(
    root: &Path,
    what: &str,
    reason: String,
    stopped: &Receiver<()>,
) -> Result<(), String> {
    restart::ask(root, restart::How::Reboot, &format!("{what}: {reason}"))
        .map_err(|error| format!("cannot ask PID 1 for a restart: {error}"))?;
    let _ = stopped.recv();
    Err(reason)
}

#[cfg(test)]
mod tests;
