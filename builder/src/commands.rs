//! The commands, one file each: arguments in, result on stdout.

pub mod build;
pub mod check;
pub mod cluster;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod explain;
pub mod fetch;
pub mod init;
pub mod inspect;
pub mod lock;
pub mod recipe;
pub mod run;
pub mod store;

use std::io::Write as _;

use crate::error::{Context as _, Id, Result};

/// Writes a result to stdout.
///
/// # Errors
/// [`Id::Stdout`].
fn print(text: impl AsRef<str>) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{}", text.as_ref().trim_end_matches('\n'));
    written.and_then(|()| stdout.flush()).or_fail(Id::Stdout, || "cannot write to stdout")
}

/// Writes a value as JSON to stdout.
///
/// # Errors
/// [`Id::Stdout`].
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(serde_json::to_string_pretty(value).or_fail(Id::Bug, || "cannot write JSON")?)
}
