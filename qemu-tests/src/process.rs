//! The one place of this crate that starts programs.
#![expect(clippy::disallowed_methods, reason = "this is the module the lint sends everyone to")]

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// A program that is not yet started, with nothing on its standard input.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Runs a judge of formats to its end and returns what it prints.
///
/// # Errors
/// It is not installed (`package` brings it), or its verdict is bad.
pub fn judge<S: AsRef<OsStr>>(
    program: &str,
    package: &str,
    args: impl IntoIterator<Item = S>,
) -> Result<String> {
    let mut command = command(program);
    command.args(args);
    let output = command.output().with_context(|| format!("`{program}`: install `{package}`"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(output.status.success(), "{command:?} ended with {}\n{text}", output.status);
    Ok(text)
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
        assert_eq!(judge("echo", "coreutils", ["fine"]).unwrap(), "fine\n");
    }
}
