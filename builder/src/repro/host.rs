//! What this host has for conditions of a build.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::child::{FAKETIME, Tools};
use super::conditions::{CLOCK, Host, NOBODY};
use crate::environment::Environment;
use crate::process::Command;
use crate::recipe::Recipe;

/// Where programs are that no user's `PATH` need have.
const SYSTEM: &str = "/usr/local/bin:/usr/bin:/bin";
/// In seconds.
const DAY: u64 = 86_400;

/// Whose the builds will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Nobody looks at them: they may be another user's.
    Anybody,
    /// They are kept for whoever starts them.
    Starter,
}

/// Looks at the host. `copied` says whether the sources can be copied, and `work` is the directory
/// that other users must be able to enter.
pub(super) fn look(
    environment: &Environment,
    recipe: &Recipe,
    (program, work): (&Path, &Path),
    copied: Result<(), String>,
    owner: Owner,
) -> (Host, Tools) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let umask = field("Umask:").and_then(|text| u32::from_str_radix(text, 8).ok());
    let variable = |name: &str| {
        let found = environment.for_fetch().find(|(known, _)| *known == name);
        found.and_then(|(_, value)| value.to_str()).filter(|value| !value.is_empty())
    };
    let find = |name: &str| find(&environment.path().to_string_lossy(), name);
    let locales = find("locale").and_then(|locale| Command::new(locale).arg("-a").run().ok());
    let locales = String::from_utf8(locales.unwrap_or_default()).unwrap_or_default();
    let rustup = rustup(environment);
    let tools = Tools {
        path: environment.path(),
        faketime: find("faketime"),
        taskset: find("taskset"),
        cargo: find("cargo").filter(|_| recipe.all_cargo().next().is_some()),
        rustup,
    };
    let other_user = match owner {
        Owner::Anybody => other_user(recipe, program, work, &tools),
        Owner::Starter => Err("builds that are kept are those of who builds".to_owned()),
    };
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let host = Host {
        umask: umask.unwrap_or(0o022),
        zone: variable("TZ").map(str::to_owned),
        locale: ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(variable).map(str::to_owned),
        locales: locales.lines().map(str::to_owned).collect(),
        processors: field("Cpus_allowed_list:").map(numbers).unwrap_or_default(),
        faketime: match (&tools.faketime, find("date")) {
            (Some(faketime), Some(date)) => shifts(faketime, &date),
            _ => Err("`faketime` is not on this host".to_owned()),
        },
        own_clock: ["/libc.so", "/ld-"].iter().any(|library| maps.contains(library)),
        taskset: tools.taskset.is_some(),
        // A copy is what another user can read.
        other_user: copied.clone().and(other_user),
        copied,
    };
    (host, tools)
}

/// Whether `faketime` does what it is for. It is there on some hosts without the library that does
/// it, or with one for other programs.
fn shifts(faketime: &Path, date: &Path) -> Result<(), String> {
    let asked = |command: Command| {
        let said = command.arg("+%s").run().ok()?;
        String::from_utf8(said).ok()?.trim().parse::<u64>().ok()
    };
    let plain = asked(Command::new(date));
    let shifted = Command::new(faketime).args(FAKETIME).arg(CLOCK).arg(date);
    let ahead = plain.zip(asked(shifted)).and_then(|(plain, shifted)| shifted.checked_sub(plain));
    if ahead.is_some_and(|seconds| seconds > DAY) {
        return Ok(());
    }
    Err(format!("`{}` does not shift the clock", faketime.display()))
}

/// A program in a list of directories, or where the system has it.
fn find(path: &str, name: &str) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let directories = path.split(':').chain(SYSTEM.split(':')).filter(|path| path.starts_with('/'));
    directories.map(|directory| Path::new(directory).join(name)).find(executable)
}

/// `0-2,5` as numbers.
fn numbers(list: &str) -> Vec<usize> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// What rustup needs where `HOME` is another one.
fn rustup(environment: &Environment) -> Vec<(&'static str, std::ffi::OsString)> {
    let set: Vec<_> = environment
        .for_cargo()
        .filter(|(name, _)| name.starts_with("RUSTUP_"))
        .map(|(name, value)| (name, value.clone()))
        .collect();
    let usual = environment.home().map(|home| home.join(".rustup")).filter(|path| path.is_dir());
    let named = set.iter().any(|(name, _)| *name == "RUSTUP_HOME");
    let usual = usual.filter(|_| !named).map(|path| ("RUSTUP_HOME", path.into_os_string()));
    set.into_iter().chain(usual).collect()
}

/// Whether another user can start what a build starts.
fn other_user(recipe: &Recipe, program: &Path, work: &Path, tools: &Tools) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("who builds is not root".to_owned());
    }
    let cannot = |what: &str| Err(format!("the user {NOBODY} cannot {what}"));
    let enters = work
        .ancestors()
        .all(|directory| directory.metadata().is_ok_and(|meta| meta.mode() & 0o001 != 0));
    if !enters {
        return cannot(&format!("enter `{}`", work.display()));
    }
    let mut programs = vec![(program.to_owned(), "--version")];
    if recipe.all_cargo().next().is_some() {
        for name in ["cargo", "rustc"] {
            programs.extend(find(&tools.path.to_string_lossy(), name).map(|path| (path, "-vV")));
        }
    }
    if recipe.all_go().next().is_some() {
        programs.extend(find(&tools.path.to_string_lossy(), "go").map(|path| (path, "version")));
    }
    for (program, question) in programs {
        let command = Command::new(&program).arg(question).directory(work).env_clear();
        let command =
            tools.rustup.iter().fold(command.env("PATH", &tools.path), |command, (name, value)| {
                command.env(name, value)
            });
        let command = command.env("HOME", work);
        let child = command.spawn(|command| {
            command.uid(NOBODY).gid(NOBODY).stdout(Stdio::null()).stderr(Stdio::null());
        });
        let ended = child.ok().and_then(|mut child| child.wait().ok());
        if !ended.is_some_and(|status| status.success()) {
            return cannot(&format!("start `{}`", program.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faketime_that_shifts_nothing_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let date = find("", "date").unwrap();
        let write = |name: &str, script: &str| {
            let path = directory.path().join(name);
            crate::process::write_program(&path, script.as_bytes());
            path
        };
        // As it is called: three options, the time, a program and its arguments.
        let idle = write("idle", "#!/bin/sh\nshift 4\nexec \"$@\"\n");
        let broken = write("broken", "#!/bin/sh\nexit 1\n");
        let works = write("works", "#!/bin/sh\nshift 4\necho $(($(\"$@\") + 400 * 86400))\n");
        assert_eq!(shifts(&works, &date), Ok(()));
        for faketime in [idle, broken] {
            let why = shifts(&faketime, &date).unwrap_err();
            assert!(why.ends_with("` does not shift the clock"), "{why}");
        }
    }

    #[test]
    fn processors_and_programs_are_found() {
        assert_eq!(numbers("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(numbers(""), [0; 0]);
        assert!(find("", "sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find("relative", "no-such-program"), None);
    }
}
