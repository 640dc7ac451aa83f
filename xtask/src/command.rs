//! The one place that starts programs. What is run is shown first, as it could be typed.
#![expect(clippy::disallowed_methods, reason = "this is the module the lint sends everyone to")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The checkout.
pub(crate) fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// A program to be run in the checkout.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(workspace());
    command
}

/// The `cargo` that runs us.
pub(crate) fn cargo() -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// `cargo test`. A shell that runs us in the background has Ctrl-C ignored, and so would have all
/// that a test starts and interrupts.
pub(crate) fn cargo_test() -> Command {
    let mut command = program("env");
    command.arg("--default-signal=INT").arg(cargo().get_program()).arg("test");
    command
}

/// The command line as a person could type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs it with our streams.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", line(command));
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed with {status}", line(command));
    }
    Ok(())
}

/// Runs it and returns its stdout; stderr is ours.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed with {}", line(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote no UTF-8", line(command)))
}

/// What a finished process used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// User and system time of the process and the children it waited for, seconds.
    pub(crate) cpu_seconds: f64,
    /// The largest resident set of one process, bytes.
    pub(crate) peak_memory: u64,
}

/// Runs it silently and measures it by the kernel's own account.
pub(crate) fn measure(command: &mut Command) -> Result<Usage> {
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    let (status, usage, stderr) = wait(child)?;
    if status != 0 {
        bail!("`{}` failed: {stderr}", line(command));
    }
    Ok(usage)
}

/// Seconds that all programs which were waited for have used of the processors until now, with those
/// that they have waited for.
pub(crate) fn children_time() -> f64 {
    // SAFETY: an all-zero rusage is a valid one, and getrusage fills the place it is given.
    #[expect(unsafe_code, reason = "neither std nor rustix has getrusage")]
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

fn wait(mut child: Child) -> Result<(i32, Usage, String)> {
    let mut stderr = String::new();
    if let Some(mut stream) = child.stderr.take() {
        std::io::Read::read_to_string(&mut stream, &mut stderr)?;
    }
    let (status, usage) = wait_for(&child)?;
    Ok((status, usage, stderr))
}

/// Waits for a child that nobody has waited for: how it ended, 0 if well, and what it used.
pub(crate) fn wait_for(child: &Child) -> Result<(i32, Usage)> {
    let pid = libc::pid_t::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid one, and wait4 fills the two places it is given. std
    // can wait, but cannot say what this one child used. `child` is not waited for again.
    #[expect(unsafe_code, reason = "std has no wait4")]
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::wait4(pid, &raw mut status, 0, &raw mut usage) != pid {
            return Err(std::io::Error::last_os_error()).context("cannot wait for a child");
        }
        usage
    };
    let usage = Usage {
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak_memory: u64::try_from(usage.ru_maxrss)? * 1024,
    };
    Ok((status, usage))
}
