//! Outside programs that know a format better than we do. One that is missing fails the test and
//! names the package which has it.
#![expect(clippy::disallowed_methods, reason = "the rule is for what ships; this is a test")]

use std::env;
use std::ffi::OsStr;
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Output, Stdio};
use std::thread;

/// A program and the Debian package that has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judge {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

impl Judge {
    /// Runs it with `input` on its standard input.
    pub(crate) fn run(
        &self,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        input: &[u8],
    ) -> Output {
        let Self { program, package } = self;
        let mut child = Command::new(program)
            .args(args)
            // Ordinary users have no administrator's programs in their PATH.
            .env("PATH", format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default()))
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| match error.kind() {
                ErrorKind::NotFound => {
                    panic!("`{program}` is needed as a judge: install the package `{package}`")
                }
                _ => panic!("cannot start `{program}`: {error}"),
            });
        let mut stdin = child.stdin.take().unwrap();
        thread::scope(|scope| {
            // A program that has seen enough may close its end.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().unwrap()
        })
    }

    /// Runs it, wants success, and returns what it said on standard output.
    pub(crate) fn approve(
        &self,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        input: &[u8],
    ) -> String {
        let output = self.run(args, input);
        let [stdout, stderr] =
            [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(output.status.success(), "`{}` says:\n{stdout}{stderr}", self.program);
        stdout.into_owned()
    }
}
