//! Looks for one thing at a time. What programs print is read by pure functions.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{Find, Purpose, Row, State, Tool};
use formats::architecture::Architecture;
use formats::deb::Stamp;

use crate::process::Command;
use crate::run::accel::{self, Kvm};
use crate::run::firmware::Firmware;
use crate::run::qemu;
use crate::source::deb::mirror::{Mirrors, Search};

/// Room for the packages, results and images of one node, and for one guest's disk.
const SPACE: u64 = 5 * 1024 * 1024 * 1024;

/// Directories of programs that distributions leave out of a user's `PATH`.
const FOR_ROOT: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Looks for a tool of the table.
pub(super) fn tool(tool: &Tool) -> Row {
    let (state, found) = match tool.find {
        Find::Program { version, least } => program(tool.name, version, least),
        Find::File(paths) => file(Path::new("/"), paths),
        Find::Firmware => match Firmware::find(Path::new("/")) {
            Ok(firmware) => (State::Ok, firmware.code.display().to_string()),
            Err(_) => (State::Missing, "not found".to_owned()),
        },
    };
    let cure = match (state, tool.package) {
        (State::Ok, _) => String::new(),
        (_, "") => "install Rust with rustup".to_owned(),
        (State::TooOld, package) => format!("install a later version than `{package}` has here"),
        (State::Missing, package) => format!("apt-get install {package}"),
    };
    row(tool.name, state, found, tool.purpose, tool.use_, cure)
}

/// Where packages come from: the mirror that `orlop lock` and `fetch` ask first.
pub(super) fn mirror(given: &[String], root: &Path) -> Row {
    let pinned = &BTreeSet::new();
    // Any day will do for a look at the address.
    let snapshot = Stamp::from_seconds(0);
    // No recipe has a say.
    let architecture = Architecture::MADE;
    let search = Search { given, root, architecture, pinned, snapshot };
    let (state, found, cure) = match Mirrors::find(&search) {
        Ok(mirrors) => {
            // Every archive has this suite; the list is never empty.
            let first = mirrors.of_suite("trixie").first().cloned().unwrap_or_default();
            (State::Ok, first, String::new())
        }
        Err(error) => (State::Missing, error.chain(), error.hints().join("; ")),
    };
    row("Debian mirror", state, found, Purpose::Optional, "packages", cure)
}

/// Whether guests run at the processor's own speed.
pub(super) fn kvm() -> Row {
    let verdict = match qemu::Version::of_host() {
        Ok(version) => accel::probe(&version, accel::cache_file().as_deref()),
        Err(error) => Kvm::Unusable(error.chain()),
    };
    let (state, found) = match verdict {
        Kvm::Usable => (State::Ok, "works".to_owned()),
        Kvm::Unusable(why) => (State::Missing, why),
    };
    let cure = if state == State::Ok { "" } else { "guests are slower without it" };
    row("KVM", state, found, Purpose::Optional, "fast guests", cure.to_owned())
}

/// Whether there is room at `path`, or where it will be made.
pub(super) fn space(name: &str, path: &Path, purpose: Purpose, use_: &str) -> Row {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let (state, found) = match rustix::fs::statvfs(there) {
        Ok(fs) => enough(fs.f_bavail.saturating_mul(fs.f_frsize)),
        Err(error) => (State::Missing, error.to_string()),
    };
    let cure = if state == State::Ok { String::new() } else { format!("free {}", gib(SPACE)) };
    row(name, state, format!("{found} at {}", there.display()), purpose, use_, cure)
}

fn enough(bytes: u64) -> (State, String) {
    let state = if bytes >= SPACE { State::Ok } else { State::Missing };
    (state, gib(bytes))
}

fn gib(bytes: u64) -> String {
    let tenths = bytes / (1024 * 1024 * 1024 / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

fn row(name: &str, state: State, found: String, purpose: Purpose, use_: &str, cure: String) -> Row {
    let package = super::package_of(name);
    Row { name: name.to_owned(), state, found, purpose, use_: use_.to_owned(), cure, package }
}

fn program(name: &str, version: &[&str], least: (u32, u32)) -> (State, String) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(found) = in_path(name, &path) else {
        let hidden = FOR_ROOT.iter().map(|directory| Path::new(directory).join(name));
        return match hidden.into_iter().find(|path| is_program(path)) {
            Some(path) => (State::Missing, format!("{}: not in PATH", path.display())),
            None => (State::Missing, "not found".to_owned()),
        };
    };
    if version.is_empty() {
        return (State::Ok, found.display().to_string());
    }
    // Some print their version on stderr and some end with a failure: all that counts is the text.
    let output = Command::new(&found)
        .args(version)
        .spawn(|command| {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        })
        .and_then(|child| {
            child.wait_with_output().map_err(|error| {
                crate::error::Error::new(crate::error::Id::ToolFailed, "lost it").caused_by(error)
            })
        });
    match output {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            judge(&String::from_utf8_lossy(&text), &found, least)
        }
        Err(error) => (State::Missing, error.chain()),
    }
}

fn judge(output: &str, path: &Path, least: (u32, u32)) -> (State, String) {
    match version_in(output) {
        Some((version, text)) if version >= least => (State::Ok, text),
        Some((_, text)) => (State::TooOld, format!("{text}, needs {}.{}", least.0, least.1)),
        None if least == (0, 0) => (State::Ok, path.display().to_string()),
        None => (State::TooOld, format!("{}: no version", path.display())),
    }
}

/// The first thing in a program's output that looks like a version, such as `7.2.22` or `go1.26.8`.
fn version_in(output: &str) -> Option<((u32, u32), String)> {
    output.split([' ', '\n', '(', ')', ',', '\'', ':', '"']).find_map(|word| {
        let word = word.strip_prefix("go").or_else(|| word.strip_prefix('v')).unwrap_or(word);
        let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
        let text = word[..end].trim_end_matches('.');
        let mut numbers = text.split('.');
        let version = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some((version, text.to_owned()))
    })
}

fn in_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|directory| directory.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn file(root: &Path, paths: &[&str]) -> (State, String) {
    match paths.iter().map(|path| root.join(path)).find(|path| path.is_file()) {
        Some(path) => (State::Ok, path.display().to_string()),
        None => (State::Missing, "not found".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (output, want) in [
            ("go version go1.26.8 linux/amd64", "1.26.8"),
            ("cargo 1.95.0 (abc 2026-01-01)", "1.95.0"),
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "7.2.22"),
            ("e2fsck 1.47.0 (5-Feb-2023)\n\tUsing EXT2FS Library", "1.47.0"),
            ("libostree:\n Version: '2022.7'\n Git: 1", "2022.7"),
            ("GPT fdisk (sgdisk) version 1.0.9", "1.0.9"),
            ("cpio (GNU cpio) 2.13", "2.13"),
        ] {
            assert_eq!(version_in(output).map(|(_, text)| text).as_deref(), Some(want));
        }
        assert_eq!(version_in("usage: tool [-x] file.txt"), None);
    }

    #[test]
    fn an_old_program_is_told_from_a_good_one() {
        let path = Path::new("/bin/x");
        assert_eq!(judge("go version go1.21.0", path, (1, 21)).0, State::Ok);
        assert_eq!(
            judge("go version go1.19.8", path, (1, 21)),
            (State::TooOld, "1.19.8, needs 1.21".to_owned())
        );
        assert_eq!(judge("hello", path, (0, 0)), (State::Ok, "/bin/x".to_owned()));
        assert_eq!(judge("hello", path, (1, 0)).0, State::TooOld);
    }

    #[test]
    fn only_what_can_be_executed_is_a_program() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tool");
        fs::write(&path, "#!").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(in_path("tool", directory.path().as_os_str()), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(in_path("tool", directory.path().as_os_str()), Some(path));
    }

    #[test]
    fn the_mirror_is_the_one_that_locking_asks_first() {
        let root = tempfile::tempdir().unwrap();
        let none = mirror(&[], root.path());
        assert_eq!(
            (none.state, none.found.as_str()),
            (State::Missing, "no Debian mirror is known")
        );
        assert!(none.cure.contains("--mirror URL"), "{}", none.cure);
        fs::create_dir_all(root.path().join("etc/apt")).unwrap();
        let list = "deb http://host.mirror.example/debian sid main\n";
        fs::write(root.path().join("etc/apt/sources.list"), list).unwrap();
        let given = "http://given.mirror.example/debian";
        for (mirrors, want) in
            [(vec![], "http://host.mirror.example/debian"), (vec![given.to_owned()], given)]
        {
            let row = mirror(&mirrors, root.path());
            assert_eq!((row.state, row.found.as_str()), (State::Ok, want));
        }
    }

    #[test]
    fn a_full_disk_is_reported() {
        assert_eq!(enough(SPACE), (State::Ok, "5.0 GiB".to_owned()));
        assert_eq!(enough(SPACE - 1).0, State::Missing);
        assert_eq!(enough(1_610_612_736), (State::Missing, "1.5 GiB".to_owned()));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(.|\n)*") {
            version_in(&text);
        }
    }
}
