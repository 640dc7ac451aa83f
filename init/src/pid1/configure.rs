//! Taking in the node config: another program finds and checks it, for it may fail without harm,
//! and leaves what PID 1 needs to know in a file.

use std::path::Path;
use std::time::Duration;

use formats::system::System;

use crate::log;
use crate::process::limited::{self, Ended};

/// The program that takes in the config.
pub const PROGRAM: &str = "/usr/lib/orlop/orlop-node";
/// A node with a bad disk or a wrong volume must still boot. Without its config it is of no use, so
/// a slow machine has time: on a starved emulator 15 s were too few.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Kernel modules that the program needs to look for a config: the machine's own offers and file
/// systems of a volume. Those that the image does not have are not in its list.
pub const MODULES: &[&str] = &[
    "qemu_fw_cfg",
    "dmi_sysfs",
    "cdrom",
    "sr_mod",
    "isofs",
    "fat",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859_1",
    "nls_utf8",
];

/// Runs the program and reads `file`, which it writes; and what people should know. A node
/// without the program has no config, and one whose config cannot be taken in has none either:
/// both still boot. `crashed` says that STATE was not unmounted in the last boot.
pub fn run(program: &Path, file: &Path, limit: Duration, crashed: bool) -> (System, Vec<String>) {
    if !program.exists() {
        return (System::default(), Vec::new());
    }
    let failed = |reason: &str| format!("cannot take in the node config: {reason}");
    let mut problems = Vec::new();
    let arguments = ["configure", "--after-crash"];
    match limited::run(program, &arguments[..1 + usize::from(crashed)], limit) {
        Ok(ended) => {
            ended.output.lines().for_each(|line| log::info(&format!("orlop-node: {line}")));
            problems.extend(reason(&ended, limit).map(|reason| failed(&reason)));
        }
        Err(error) => problems.push(failed(&error)),
    }
    // Also after a failure: it may have come as far as this.
    let system = read(file).unwrap_or_else(|error| {
        if problems.is_empty() {
            problems.push(failed(&error));
        }
        System::default()
    });
    (system, problems)
}

/// Reads what the program wrote.
///
/// # Errors
/// The file and the reason.
pub fn read(file: &Path) -> Result<System, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    System::parse(&text).map_err(|error| format!("{}: {}", file.display(), error.message()))
}

/// Why it did not do its work; its last line says more than a status.
fn reason(ended: &Ended, limit: Duration) -> Option<String> {
    let what = match ended.exit {
        Some(exit) if exit.success() => return None,
        Some(exit) => format!("orlop-node {exit}"),
        None => format!("orlop-node did not end within {} s", limit.as_secs()),
    };
    let last = ended.output.lines().rfind(|line| !line.trim().is_empty());
    Some(last.map_or_else(|| what.clone(), |last| format!("{what}: {last}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Exit;

    /// Runs a script in the place of the program; `$0.toml` is the file.
    fn run_script(script: &str, limit: Duration) -> (System, Vec<String>) {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("orlop-node");
        // Written by another process: whatever a test beside this one starts would for a moment
        // share our descriptor, and what is open for writing cannot be executed.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let arguments = ["-c", write, program.to_str().expect("a path in UTF-8"), script];
        let written = limited::run(Path::new("/bin/sh"), &arguments, MINUTE).expect("a shell");
        assert_eq!(written, Ended { exit: Some(Exit::Status(0)), output: String::new() });
        run(&program, &program.with_extension("toml"), limit, true)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_the_program_wrote_is_taken() {
        let (system, problems) = run_script(
            "test \"$*\" = 'configure --after-crash' && echo 'hostname = \"n1\"' > $0.toml",
            MINUTE,
        );
        assert_eq!(system.hostname.as_deref(), Some("n1"));
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn a_failure_is_told_with_its_last_line_and_the_node_goes_on() {
        let (system, problems) = run_script("echo first >&2; echo 'no memory' >&2; exit 1", MINUTE);
        assert_eq!(system, System::default());
        let want = "cannot take in the node config: orlop-node ended with status 1: no memory";
        assert_eq!(problems, [want]);
    }

    #[test]
    fn one_that_hangs_is_killed_and_what_it_wrote_counts() {
        let script = "echo 'hostname = \"n1\"' > $0.toml; exec sleep 1000";
        let wrote = |outcome: &(System, _)| outcome.0 != System::default();
        let run = |limit| run_script(script, limit);
        let ((system, problems), limit) =
            limited::with_enough_time(Duration::from_secs(1), run, wrote);
        assert_eq!(system.hostname.as_deref(), Some("n1"));
        let limit = limit.as_secs();
        let want =
            format!("cannot take in the node config: orlop-node did not end within {limit} s");
        assert_eq!(problems, [want]);
    }

    #[test]
    fn a_file_that_is_missing_or_bad_is_a_problem() {
        let (_, problems) = run_script("exit 0", MINUTE);
        assert!(problems[0].contains("cannot read "), "{problems:?}");
        let (_, problems) = run_script("echo 'hostname = 1' > $0.toml", MINUTE);
        assert!(problems[0].contains(": `hostname` must be a text"), "{problems:?}");
    }

    #[test]
    fn an_image_without_the_program_has_no_config_and_no_problem() {
        let none = Path::new("/nonexistent");
        assert_eq!(run(none, none, MINUTE, false), (System::default(), Vec::new()));
    }
}
