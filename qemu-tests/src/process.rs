//! The one place of this crate that starts programs.
#![expect(clippy::disallowed_methods, reason = "this is the module the lint sends everyone to")]

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};

/// A program that is not yet started, with nothing on its standard input.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end and returns what it wrote to stdout.
///
/// # Errors
/// It cannot be started, or fails: then all that it wrote is in the error.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let hint = format!("cannot start `{name}`: `cargo xtask setup` installs what the tests need");
    Ok(text(&succeed(command, hint)?.stdout))
}

/// Runs a judge of formats to its end and returns what it prints on stdout and stderr.
///
/// # Errors
/// It is not installed (`package` brings it), or its verdict is bad.
pub fn judge<S: AsRef<OsStr>>(
    program: &str,
    package: &str,
    args: impl IntoIterator<Item = S>,
) -> Result<String> {
    let hint = format!("`{program}`: install `{package}`");
    let output = succeed(command(program).args(args), hint)?;
    Ok(text(&[output.stdout, output.stderr].concat()))
}

fn succeed(command: &mut Command, not_started: String) -> Result<Output> {
    let output = command.output().context(not_started)?;
    let said = text(&[&output.stdout[..], &output.stderr].concat());
    ensure!(output.status.success(), "{command:?} ended with {}\n{said}", output.status);
    Ok(output)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_judge_names_its_package_and_a_bad_verdict_is_quoted() {
        let error = judge("no-such-judge", "some-package", [""; 0]).unwrap_err();
        assert_eq!(error.to_string(), "`no-such-judge`: install `some-package`");
        let error = judge("sh", "dash", ["-c", "echo broken; exit 4"]).unwrap_err();
        assert!(error.to_string().ends_with("exit status: 4\nbroken\n"), "{error}");
        assert_eq!(judge("sh", "dash", ["-c", "echo fine >&2"]).unwrap(), "fine\n");
    }

    #[test]
    fn the_result_of_a_program_is_its_stdout_alone() {
        assert_eq!(run(command("sh").args(["-c", "echo a; echo b >&2"])).unwrap(), "a\n");
        let error = run(&mut command("no-such-program")).unwrap_err().to_string();
        assert!(error.starts_with("cannot start `no-such-program`"), "{error}");
    }
}
