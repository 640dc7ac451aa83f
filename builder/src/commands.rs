//! The commands, one file each: arguments in, result on stdout.

pub mod budget;
pub mod build;
pub mod check;
pub mod checkout;
pub mod clean;
pub mod cluster;
pub mod commit;
pub mod completions;
pub mod config;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod fetch;
pub mod init;
pub mod inspect;
pub mod keys;
pub mod lock;
pub mod log;
pub mod manifests;
pub mod prune;
pub mod publish;
pub mod pull;
pub mod recipe;
pub mod repro;
pub mod run;
pub mod sbom;
pub mod serve;
pub mod store;
pub mod unpack;
pub mod upgrade;
pub mod verify;

use std::io::Write as _;
use std::path::Path;

use crate::error::{Context as _, Id, Result, SCHEMA};

/// Writes a result to stdout.
///
/// # Errors
/// [`Id::Stdout`].
fn print(text: impl AsRef<str>) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{}", text.as_ref().trim_end_matches('\n'));
    written.and_then(|()| stdout.flush()).or_fail(Id::Stdout, || "cannot write to stdout")
}

/// Writes a value, whose fields `docs/json.md` lists, as a JSON object to stdout.
///
/// # Errors
/// [`Id::Stdout`].
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    #[derive(serde::Serialize)]
    struct Versioned<'a, T> {
        schema: u32,
        #[serde(flatten)]
        value: &'a T,
    }
    let object = Versioned { schema: SCHEMA, value };
    print(serde_json::to_string_pretty(&object).or_fail(Id::Bug, || "cannot write JSON")?)
}

/// A path as JSON has it: as text, whatever bytes it is made of.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The result of a command that was stopped before it had one.
///
/// # Errors
/// [`Id::Stdout`].
fn print_interrupted() -> Result<()> {
    print_json(&serde_json::json!({ "interrupted": true }))
}
