//! The program's command line: a client of the unit's socket, and the units.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::follow::{self, Came, Refused};
use crate::plan::Asked;
use crate::protocol::{Request, SOCKET, Wish};
use crate::roles::Role;
use crate::socket::talk;
use crate::work::Updater;

/// From one look at what a node does to the next.
const BETWEEN: Duration = Duration::from_secs(2);

/// How it is called.
pub const USAGE: &str = "\
orlop-updater [--socket PATH] [--json] COMMAND
  status                     what runs, what is staged, what is being done
  check                      which release the channel has for this node
  stage [VERSION|URL|DIR]    fill the spare slot: with the newest release, with
                             this version, or from another place
  upgrade [VERSION|URL|DIR]  the same, if it is named or nothing is staged, and
                             restart into its trial
  rollback                   restart from the slot of before
  cancel                     stop what is being done; if nothing is, give up
                             what is staged, or that the node goes back
  update-loader              replace the boot loader by that of the image that
                             runs: nothing else ever does
  renew                      begin the records of updates anew, after both
                             were damaged: what failed before is forgotten
  serve                      the unit `updater`: answer at the socket
  trial                      the unit `trial`: judge this boot
  before-containerd          the unit `databases`: copy or put back small
                             databases
  --no-restart               upgrade, rollback: with the next restart, whoever
                             asks for it
  --wait                     upgrade VERSION: until the node runs it and was
                             found healthy, over restarts of the node
  --dry-run                  update-loader: only say what would be done
  --force                    update-loader: also by an older one, or by one
                             without a signature
  --help                     this text";

/// Why a command did not do its work.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was called wrongly: status 2.
    Usage(String),
    /// It failed: status 1.
    Failed(String),
    /// Somebody else is at it: status 75, as `EX_TEMPFAIL` of `sysexits.h`.
    Busy(String),
}

impl Failure {
    /// The exit status for it.
    pub fn status(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Busy(_) => 75,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(message) | Self::Failed(message) | Self::Busy(message)) = self;
        f.write_str(message)
    }
}

impl std::error::Error for Failure {}

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
struct Typed {
    socket: PathBuf,
    json: bool,
    what: What,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum What {
    /// To ask the unit.
    Ask(Request),
    /// To ask it until the node runs this version.
    Wait(String),
    /// To be a unit.
    Be(Role),
}

fn parse_arguments(arguments: impl Iterator<Item = OsString>) -> Result<Typed, Failure> {
    let usage = |message: String| Failure::Usage(format!("{message}\n{USAGE}"));
    let (mut socket, mut json, mut words) = (PathBuf::from(SOCKET), false, Vec::new());
    let (mut no_restart, mut wait, mut force, mut dry_run) = (false, false, false, false);
    let mut arguments = arguments.map(|argument| {
        argument.into_string().map_err(|raw| usage(format!("`{}` is not UTF-8", raw.display())))
    });
    while let Some(argument) = arguments.next().transpose()? {
        match argument.as_str() {
            "--json" => json = true,
            "--no-restart" => no_restart = true,
            "--wait" => wait = true,
            "--force" => force = true,
            "--dry-run" => dry_run = true,
            "--socket" => {
                let path = arguments.next().transpose()?;
                socket = path.ok_or_else(|| usage("`--socket` needs a value".to_owned()))?.into();
            }
            option if option.starts_with('-') => {
                return Err(usage(format!("`{option}` is not known")));
            }
            _ => words.push(argument),
        }
    }
    let mut words = words.into_iter();
    let command = words.next().ok_or_else(|| usage("nothing is to be done".to_owned()))?;
    let restart = !no_restart;
    let what = match command.as_str() {
        "serve" => What::Be(Role::Updater),
        "trial" => What::Be(Role::Trial),
        "before-containerd" => What::Be(Role::Databases),
        "status" => What::Ask(Request::Status {}),
        "check" => What::Ask(Request::Check {}),
        "stage" => What::Ask(Request::Stage(wish(&mut words))),
        "upgrade" => {
            let Wish { version, from, asked } = wish(&mut words);
            What::Ask(Request::Upgrade { version, from, asked, restart })
        }
        "rollback" => What::Ask(Request::Rollback { restart }),
        "cancel" => What::Ask(Request::Cancel {}),
        "update-loader" => What::Ask(Request::UpdateLoader { force, dry_run }),
        "renew" => What::Ask(Request::Renew {}),
        other => return Err(usage(format!("`{other}` is no command"))),
    };
    if let Some(word) = words.next() {
        return Err(usage(format!("`{word}` is not expected here")));
    }
    let restarts = matches!(what, What::Ask(Request::Upgrade { .. } | Request::Rollback { .. }));
    if no_restart && !restarts {
        return Err(usage(format!("`--no-restart` is not expected with `{command}`")));
    }
    let is_of_loader = matches!(what, What::Ask(Request::UpdateLoader { .. }));
    for (option, given) in [("--force", force), ("--dry-run", dry_run)] {
        if given && !is_of_loader {
            return Err(usage(format!("`{option}` is not expected with `{command}`")));
        }
    }
    let what = match what {
        what if !wait => what,
        What::Ask(Request::Upgrade {
            version: Some(version), from: None, restart: true, ..
        }) => What::Wait(version),
        _ => return Err(usage("`--wait` is for `upgrade VERSION`".to_owned())),
    };
    Ok(Typed { socket, json, what })
}

/// A version, a place, both in either order, or neither.
fn wish(words: &mut impl Iterator<Item = String>) -> Wish {
    let mut wish = Wish::newest(Asked::Person);
    for word in words.by_ref().take(2) {
        match word.contains('/') {
            true => wish.from = Some(place_of(word)),
            false => wish.version = Some(word),
        }
    }
    wish
}

/// An address as it is, and a directory from the root on: the unit has another one to begin at.
fn place_of(place: String) -> String {
    if place.contains("://") {
        return place;
    }
    std::path::absolute(&place).map_or(place, |path| path.display().to_string())
}

/// Does what was typed. Results go to `out`, all else to `notes`.
///
/// # Errors
/// See [`Failure`].
pub fn run(
    arguments: impl Iterator<Item = OsString>,
    updater: Updater,
    (out, notes): (&mut dyn Write, &mut dyn Write),
) -> Result<(), Failure> {
    let arguments: Vec<_> = arguments.collect();
    if arguments.iter().any(|argument| argument == "--help") {
        return writeln!(out, "{USAGE}").map_err(|error| Failure::Failed(error.to_string()));
    }
    let Typed { socket, json, what } = parse_arguments(arguments.into_iter())?;
    match what {
        What::Ask(request) => ask(&socket, &request, json, out, notes),
        What::Wait(version) => {
            let mut far = Far { socket: &socket, notes };
            let mut say = |line: &str| drop(writeln!(out, "{line}"));
            follow::run(&version, &mut far, &mut say).map_err(Failure::Failed)
        }
        What::Be(role) => {
            let mut say = |line: &str| drop(writeln!(notes, "{line}"));
            role.run(updater, &socket, &mut say).map_err(Failure::Failed)
        }
    }
}

/// Asks the unit, and hears it to the end.
fn ask(
    socket: &Path,
    request: &Request,
    json: bool,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::Failed(error.to_string());
    let mut hear = |line: &str, event: &Value| match json {
        true => writeln!(out, "{line}"),
        false => note(event, notes),
    };
    let result = talk(socket, request, &mut hear).map_err(|refused| match refused {
        Refused::Busy(why) => Failure::Busy(why),
        Refused::Nobody(why) | Refused::Failed(why) => Failure::Failed(why),
    })?;
    if json { Ok(()) } else { show(&result, out).map_err(cannot) }
}

/// A line about an event, for people.
fn note(event: &Value, notes: &mut dyn Write) -> io::Result<()> {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("event") {
        "notice" => writeln!(notes, "{}", text("text")),
        "progress" => {
            let number = |key: &str| event.get(key).and_then(Value::as_u64).unwrap_or(0);
            let percent = number("done") * 100 / number("total").max(1);
            let (phase, fetched) = (text("phase"), number("fetched"));
            writeln!(notes, "{phase} {percent} %, {fetched} bytes fetched")
        }
        _ => Ok(()),
    }
}

/// Has the node run a release, and waits until it does.
struct Far<'a> {
    socket: &'a Path,
    notes: &'a mut dyn Write,
}

impl Far<'_> {
    fn talk(&mut self, request: &Request) -> Result<Value, Refused> {
        talk(self.socket, request, &mut |_, event| note(event, self.notes))
    }
}

impl follow::Updater for Far<'_> {
    fn status(&mut self) -> Result<Value, Refused> {
        self.talk(&Request::Status {})
    }

    fn stage(&mut self, version: &str) -> Result<Came, Refused> {
        let version = Some(version.to_owned());
        self.talk(&Request::Stage(Wish { version, ..Wish::newest(Asked::Person) })).map(came)
    }

    fn restart(&mut self, version: &str) -> Result<Came, Refused> {
        let (version, from, asked) = (Some(version.to_owned()), None, Asked::Person);
        self.talk(&Request::Upgrade { version, from, asked, restart: true }).map(came)
    }

    fn wait(&mut self) {
        std::thread::sleep(BETWEEN);
    }
}

/// What a result of `stage` and `upgrade` says: only `runs`, if there was nothing to do.
fn came(result: Value) -> Came {
    if result.get("runs").is_some() { Came::Runs } else { Came::Done }
}

/// A result, a line for each of its members.
fn show(result: &Value, out: &mut dyn Write) -> io::Result<()> {
    let Some(members) = result.as_object() else { return writeln!(out, "{result}") };
    for (name, value) in members {
        match value {
            Value::Null => writeln!(out, "{name}: none")?,
            Value::String(text) => writeln!(out, "{name}: {text}")?,
            value => writeln!(out, "{name}: {value}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Typed, Failure> {
        parse_arguments(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_is_typed_becomes_a_request() {
        let wish = |version: Option<&str>, from: Option<&str>| Wish {
            version: version.map(str::to_owned),
            from: from.map(str::to_owned),
            asked: Asked::Person,
        };
        let stage = |version, from| What::Ask(Request::Stage(wish(version, from)));
        let upgrade = |version, restart| {
            let Wish { version, from, asked } = wish(version, None);
            What::Ask(Request::Upgrade { version, from, asked, restart })
        };
        for (line, what) in [
            ("status", What::Ask(Request::Status {})),
            ("stage", stage(None, None)),
            ("stage 1.2~rc1", stage(Some("1.2~rc1"), None)),
            ("stage https://a.example/b", stage(None, Some("https://a.example/b"))),
            ("stage /mnt/usb", stage(None, Some("/mnt/usb"))),
            ("stage /mnt/usb 1.2", stage(Some("1.2"), Some("/mnt/usb"))),
            ("upgrade", upgrade(None, true)),
            ("--no-restart upgrade 1.2", upgrade(Some("1.2"), false)),
            ("upgrade 1.2 --wait", What::Wait("1.2".to_owned())),
            ("rollback --no-restart", What::Ask(Request::Rollback { restart: false })),
            ("update-loader", What::Ask(Request::UpdateLoader { force: false, dry_run: false })),
            (
                "--dry-run update-loader --force",
                What::Ask(Request::UpdateLoader { force: true, dry_run: true }),
            ),
            ("renew", What::Ask(Request::Renew {})),
            ("serve", What::Be(Role::Updater)),
            ("trial", What::Be(Role::Trial)),
        ] {
            let socket = PathBuf::from(SOCKET);
            assert_eq!(typed(line), Ok(Typed { socket, json: false, what }), "{line}");
        }
        let own = typed("--socket /tmp/s --json cancel").expect("good");
        assert_eq!((own.socket, own.json), (PathBuf::from("/tmp/s"), true));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_usage() {
        for (line, words) in [
            ("", "nothing is to be done"),
            ("dance", "`dance` is no command"),
            ("check now", "`now` is not expected here"),
            ("stage 1 /2 3", "`3` is not expected here"),
            ("stage --no-restart", "`--no-restart` is not expected with `stage`"),
            ("stage --force", "`--force` is not expected with `stage`"),
            ("upgrade --dry-run", "`--dry-run` is not expected with `upgrade`"),
            ("upgrade --wait", "`--wait` is for `upgrade VERSION`"),
            ("upgrade 1 --wait --no-restart", "`--wait` is for `upgrade VERSION`"),
            ("--halp", "`--halp` is not known"),
            ("check --socket", "`--socket` needs a value"),
        ] {
            let failure = typed(line).expect_err(line);
            assert_eq!(failure.status(), 2);
            let text = failure.to_string();
            assert!(text.starts_with(words) && text.ends_with(USAGE), "{text}");
        }
    }
}
