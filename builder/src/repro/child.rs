//! A build in a process of its own: the same program, started as a person would start it, under the
//! conditions that were chosen.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use formats::digest::Sha256;
use serde::Deserialize;

use super::conditions::Conditions;
use super::interrupt::Interrupts;
use super::show::seen;
use crate::error::{Context as _, Error, Id, Result};
use crate::process::Command;
use crate::progress::{Progress, Task};
use crate::step;
use crate::store::Store;

/// A build that is to be done.
#[derive(Debug)]
pub(super) struct Child<'a> {
    /// What people call it.
    pub name: &'a str,
    /// This program.
    pub program: &'a Path,
    /// The recipe, or its copy.
    pub recipe: &'a Path,
    /// The profile.
    pub profile: Option<&'a str>,
    /// Where store, caches, home and temporary files are.
    pub directory: &'a Path,
    /// Where the images go.
    pub output: &'a Path,
    /// Other conditions than ours, and what to make them with.
    pub conditions: Option<(&'a Conditions, &'a Tools)>,
    /// Who ends it if this process is ended.
    pub interrupts: &'a Interrupts,
}

/// Where the programs are that make conditions, and what a build must find in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tools {
    /// `PATH`.
    pub path: OsString,
    /// `faketime`, if it is there.
    pub faketime: Option<PathBuf>,
    /// `taskset`, if it is there.
    pub taskset: Option<PathBuf>,
    /// `cargo`, if it is there.
    pub cargo: Option<PathBuf>,
    /// Where rustup keeps compilers, and which is wanted: variables of rustup.
    pub rustup: Vec<(&'static str, OsString)>,
}

/// A build that is done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Done {
    /// The names of its steps, and whether each was done.
    pub steps: BTreeMap<String, bool>,
    /// The inputs of each step.
    pub inputs: BTreeMap<String, Vec<String>>,
    /// Seconds of processor time.
    pub cpu_seconds: f64,
}

#[derive(Deserialize)]
struct Built {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    step: String,
    outcome: String,
}

#[derive(Deserialize)]
struct Event {
    event: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    result: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    hints: Vec<String>,
}

/// What helps where a build cannot write to the place that it was given.
const ROOM: &str = "make room there, or name another place to build in with `--work DIR`";

/// How `faketime` is asked: timers run as they do.
pub(super) const FAKETIME: [&str; 3] = ["-m", "--exclude-monotonic", "-f"];

impl Child<'_> {
    /// The program that is started, its arguments, and its variables: those of this process and
    /// these, or nothing but what stands among the arguments.
    fn command_line(&self) -> Result<(PathBuf, Vec<OsString>)> {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mut line = Vec::new();
        if let Some((conditions, tools)) = self.conditions {
            line.extend(words(&["/bin/sh", "-c"]));
            line.push(format!("umask {:04o} && exec \"$@\"", conditions.umask).into());
            line.extend(words(&["sh", "/usr/bin/env", "-i"]));
            let variables = self.variables(conditions, tools)?;
            line.extend(variables.into_iter().map(|(name, value)| {
                let mut word = OsString::from(format!("{name}="));
                word.push(value);
                word
            }));
            if let (Some(list), Some(taskset)) = (&conditions.processors, &tools.taskset) {
                line.push(taskset.into());
                line.extend(words(&["-c", list]));
            }
            if let (Some(clock), Some(faketime)) = (conditions.clock, &tools.faketime) {
                line.push(faketime.into());
                line.extend(words(&FAKETIME));
                line.push(clock.into());
            }
        }
        line.push(self.program.into());
        line.extend(words(&["--store"]));
        line.push(self.directory.join("store").into());
        line.extend(words(&["--progress", "json", "--json", "build"]));
        line.extend(words(&["--locked", "--offline", "--no-commit", "--no-budget", "--output"]));
        line.push(self.output.into());
        if let Some(profile) = self.profile {
            line.extend(words(&["--profile", profile]));
        }
        if let Some((conditions, _)) = self.conditions {
            line.extend(words(&["--jobs", &conditions.jobs.to_string()]));
        }
        line.push("--".into());
        line.push(self.recipe.into());
        let program = PathBuf::from(line.remove(0));
        Ok((program, line))
    }

    /// The whole environment of a build under other conditions, in an order that nobody else has.
    /// Nothing of it is a secret: others see the words of a command line.
    fn variables(
        &self,
        conditions: &Conditions,
        tools: &Tools,
    ) -> Result<Vec<(&'static str, OsString)>> {
        let mut path = OsString::new();
        if let Some(programs) = self.clocked(conditions, tools)? {
            path.push(programs);
            path.push(":");
        }
        path.push(&tools.path);
        let here = |name: &str| self.directory.join(name).into_os_string();
        let mut variables = vec![
            ("TZ", conditions.zone.clone().into()),
            // What compilers heed, and a build must not.
            ("SOURCE_DATE_EPOCH", "1".into()),
            ("RUSTFLAGS", "-Cdebuginfo=2".into()),
            ("GOFLAGS", "-tags=orlop_repro".into()),
            ("XDG_CACHE_HOME", here("cache")),
            ("PATH", path),
            ("LANG", conditions.locale.clone().into()),
            ("HOME", here("home")),
            ("TMPDIR", here("tmp")),
            ("LC_ALL", conditions.locale.clone().into()),
        ];
        variables.extend(tools.rustup.iter().cloned());
        Ok(variables)
    }

    /// A directory with a `cargo` that has another clock. A build starts programs without the
    /// variable by which `faketime` is loaded, so orlop's own clock alone would be shifted.
    fn clocked(&self, conditions: &Conditions, tools: &Tools) -> Result<Option<PathBuf>> {
        let (Some(clock), Some(faketime), Some(cargo)) =
            (conditions.clock, &tools.faketime, &tools.cargo)
        else {
            return Ok(None);
        };
        let directory = self.directory.join("bin");
        let quoted =
            |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
        let options = FAKETIME.join(" ");
        let (faketime, cargo) = (quoted(faketime), quoted(cargo));
        let script = format!("#!/bin/sh\nexec {faketime} {options} {clock} {cargo} \"$@\"\n");
        let write = || {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::create_dir_all(&directory)?;
            let path = directory.join("cargo");
            std::fs::write(&path, script)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
        };
        write().or_fail(Id::Write, || format!("cannot write to `{}`", directory.display()))?;
        Ok(Some(directory))
    }

    /// Does it, and tells what it tells.
    ///
    /// # Errors
    /// Those of the build; [`Id::ToolFailed`] if it cannot be started, or ends without saying why.
    pub(super) fn run(&self, image: &str, progress: &Progress) -> Result<Done> {
        let before = children_seconds();
        let (program, arguments) = self.command_line()?;
        let mut command = Command::new(program).args(arguments);
        command = match self.conditions {
            None => command.env("XDG_CACHE_HOME", self.directory.join("cache")),
            Some(_) => command.directory(self.directory),
        };
        let user = self.conditions.and_then(|(conditions, _)| conditions.user);
        let mut child = self.interrupts.start(|| {
            command.spawn(|command| {
                // A group of its own, so that what it has started ends with it.
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
                if let Some(user) = user {
                    command.uid(user).gid(user);
                }
            })
        })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (result, failure) = std::thread::scope(|scope| {
            let told = scope.spawn(move || stderr.map(|stderr| self.tell(stderr, progress)));
            let mut result = Vec::new();
            let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut result));
            let told = told.join().unwrap_or_default().unwrap_or_default();
            (read.map(|_| result), told)
        });
        let name = self.name;
        let status = self.interrupts.wait(&mut child);
        let status = status.or_fail(Id::ToolFailed, || format!("{name} was lost"))?;
        let result = result.or_fail(Id::ToolFailed, || format!("cannot read what {name} says"))?;
        if !status.success() {
            return Err(self.failed(status, failure));
        }
        let built: Built = serde_json::from_slice(&result)
            .or_fail(Id::Bug, || format!("{name} has another result than `orlop build`"))?;
        let store = Store::open(self.directory.join("store"))?;
        let steps: BTreeMap<_, _> =
            built.steps.into_iter().map(|step| (step.step, step.outcome != "hit")).collect();
        let inputs = steps
            .keys()
            .filter_map(|step| Some((step.clone(), step::latest_inputs(&store, image, step)?)));
        let cpu_seconds = children_seconds() - before;
        Ok(Done { inputs: inputs.collect(), steps, cpu_seconds })
    }

    /// Hands on what a build tells, and keeps what it failed with.
    fn tell(&self, stderr: impl std::io::Read, progress: &Progress) -> Vec<Event> {
        let name = self.name;
        let mut tasks: BTreeMap<String, Task> = BTreeMap::new();
        let mut failures = Vec::new();
        for line in BufReader::new(stderr).split(b'\n').map_while(std::io::Result::ok) {
            let Ok(event) = serde_json::from_slice::<Event>(&line) else {
                // Of the shell, or of what was started in its place.
                let message = seen(&String::from_utf8_lossy(&line));
                let (event, id) = ("error".to_owned(), String::new());
                let (name, result, hints) = Default::default();
                failures.push(Event { event, name, result, id, message, hints });
                continue;
            };
            match event.event.as_str() {
                "start" => {
                    let task = progress.task(format!("{name}: {}", event.name), None);
                    tasks.insert(event.name, task);
                }
                "done" => match tasks.remove(&event.name) {
                    Some(task) => task.done(event.result),
                    None => progress.record(&format!("{name}: {}", event.name), &event.result),
                },
                "warning" => progress.warn(format!("{name}: {}", event.name)),
                "note" => progress.note(format!("{name}: {}", event.name)),
                _ => failures.push(event),
            }
        }
        failures
    }

    fn failed(&self, status: ExitStatus, failures: Vec<Event>) -> Error {
        let said = failures.iter().rev().find(|event| !event.id.is_empty());
        let known = said.and_then(|event| {
            let id = Id::ALL.iter().find(|id| id.code() == event.id)?;
            let error = Error::new(*id, event.message.clone());
            let here = self.directory.to_string_lossy();
            if event.message.contains(&*here) && [Id::Write, Id::StoreWrite].contains(id) {
                // The build knows no better than to name its own options.
                return Some(error.hint(ROOM));
            }
            Some(event.hints.iter().fold(error, |error, hint| error.hint(hint)))
        });
        let error = known.unwrap_or_else(|| {
            let lines = failures.iter().map(|event| format!("\n  {}", event.message));
            Error::new(
                Id::ToolFailed,
                format!("it ended with {status}{}", lines.collect::<String>()),
            )
        });
        error.within(format!("{} failed", self.name))
    }
}

/// Processor time of all processes that this one has started and that have ended, in seconds
/// (`proc_pid_stat(5)`: `cutime` and `cstime` are fields 16 and 17, in hundredths).
fn children_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(13).take(2).map(str::parse::<u32>);
    ticks.filter_map(std::result::Result::ok).map(f64::from).sum::<f64>() / 100.0
}

/// The inputs of a step that went (`-`) and came (`+`) between two builds; nothing if they are not
/// known of one of them.
pub(super) fn changed_inputs(one: &Done, two: &Done, step: &str) -> Option<Vec<String>> {
    Some(step::difference(one.inputs.get(step)?, two.inputs.get(step)?))
}

/// The digest of a lock as a report has it.
pub(super) fn lock_digest(lock: &crate::lock::Lock) -> Sha256 {
    Sha256::of(lock.to_toml())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child<'a>(
        directory: &'a Path,
        conditions: Option<(&'a Conditions, &'a Tools)>,
    ) -> Child<'a> {
        static NONE: std::sync::LazyLock<Interrupts> = std::sync::LazyLock::new(Interrupts::none);
        Child {
            interrupts: &NONE,
            name: "the second build",
            program: Path::new("/o/orlop"),
            recipe: Path::new("r.toml"),
            profile: Some("p"),
            directory,
            output: Path::new("/w/out"),
            conditions,
        }
    }

    fn text((program, arguments): (PathBuf, Vec<OsString>)) -> String {
        let words = arguments.iter().map(|word| word.to_str().unwrap());
        format!("{} {}", program.display(), words.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_build_is_started_as_a_person_would_and_under_the_conditions_that_were_chosen() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().to_str().unwrap().to_owned();
        let plain = text(child(directory.path(), None).command_line().unwrap());
        let want = "/o/orlop --store DIR/store --progress json --json build --locked --offline \
                    --no-commit --no-budget --output /w/out --profile p -- r.toml";
        assert_eq!(plain.replace(&own, "DIR"), want);

        let conditions = Conditions {
            clock: Some("+400d"),
            umask: 0o077,
            locale: "tr_TR".into(),
            zone: "X-1".into(),
            user: Some(7),
            jobs: 3,
            processors: Some("0,1".into()),
            copy: true,
        };
        let tools = Tools {
            path: "/bin".into(),
            faketime: Some("/f/faketime".into()),
            taskset: Some("/t/taskset".into()),
            cargo: Some("/it's/cargo".into()),
            rustup: vec![("RUSTUP_HOME", "/rustup".into())],
        };
        let other = child(directory.path(), Some((&conditions, &tools)));
        let line = text(other.command_line().unwrap()).replace(&own, "DIR");
        let want = "/bin/sh -c umask 0077 && exec \"$@\" sh /usr/bin/env -i TZ=X-1 \
                    SOURCE_DATE_EPOCH=1 RUSTFLAGS=-Cdebuginfo=2 GOFLAGS=-tags=orlop_repro \
                    XDG_CACHE_HOME=DIR/cache PATH=DIR/bin:/bin LANG=tr_TR HOME=DIR/home \
                    TMPDIR=DIR/tmp LC_ALL=tr_TR RUSTUP_HOME=/rustup /t/taskset -c 0,1 \
                    /f/faketime -m --exclude-monotonic -f +400d /o/orlop --store DIR/store \
                    --progress json --json build --locked --offline --no-commit --no-budget \
                    --output /w/out --profile p --jobs 3 -- r.toml";
        assert_eq!(line, want);
        let script = std::fs::read_to_string(directory.path().join("bin/cargo")).unwrap();
        assert!(script.ends_with(" +400d '/it'\\''s/cargo' \"$@\"\n"), "{script}");
    }

    #[test]
    fn a_build_that_fails_fails_as_it_did() {
        let directory = tempfile::tempdir().unwrap();
        let child = child(directory.path(), None);
        let said = br#"{"event":"start","name":"x"}
{"event":"error","id":"E0301","message":"not TOML","hints":["write it"]}"#;
        let progress = Progress::new(crate::progress::Mode::None);
        let failures = child.tell(&said[..], &progress);
        let status = <ExitStatus as std::os::unix::process::ExitStatusExt>::from_raw(3 << 8);
        let error = child.failed(status, failures);
        assert_eq!((error.id(), error.hints()), (Id::RecipeSyntax, &["write it".to_owned()][..]));
        assert_eq!(error.chain(), "the second build failed: not TOML");
        let failures = child.tell(&b"sh: no\n"[..], &progress);
        let error = child.failed(status, failures);
        assert_eq!(error.id(), Id::ToolFailed);
        assert!(error.chain().ends_with("exit status: 3\n  sh: no"), "{}", error.chain());
        let full = format!(
            r#"{{"event":"error","id":"E0703","message":"`{}/store`: full","hints":["--store"]}}"#,
            directory.path().display()
        );
        let failures = child.tell(full.as_bytes(), &progress);
        assert_eq!(child.failed(status, failures).hints(), [ROOM]);
        let killed = <ExitStatus as std::os::unix::process::ExitStatusExt>::from_raw(9);
        let error = child.failed(killed, Vec::new());
        assert_eq!(error.chain(), "the second build failed: it ended with signal: 9 (SIGKILL)");
    }
}
