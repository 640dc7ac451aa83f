//! Holds a build against the budget of its recipe: reads what [`budget`] needs.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;

use super::artifact::Kind;
use super::report::Report;
use super::written;
use crate::budget::{self, Build, Line};
use crate::contents::Contents;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Id, Result};
use crate::process::Command;
use crate::recipe::model::Budget;

/// All figures of the build in `directory`.
///
/// # Errors
/// Those of [`written`]; [`Id::MissingTool`] without `zstd` where the budget has a limit for it.
pub fn lines(budget: &Budget, directory: &Path, environment: &Environment) -> Result<Vec<Line>> {
    let (report, contents) = (written::report(directory)?, written::contents(directory)?);
    of(budget, directory, &report, &contents, environment)
}

/// Whether the build in `directory` is within its budget. Nothing is read if there is none.
///
/// # Errors
/// [`Id::OverBudget`]; as [`lines`].
pub fn check(
    budget: &Budget,
    directory: &Path,
    (report, contents): (&Report, &Contents),
    environment: &Environment,
) -> Result<()> {
    budget::check(&report.image, &of(budget, directory, report, contents, environment)?)
}

fn of(
    budget: &Budget,
    directory: &Path,
    report: &Report,
    contents: &Contents,
    environment: &Environment,
) -> Result<Vec<Line>> {
    let base = budget.base.as_deref().filter(|_| budget.max_growth.is_some());
    let base = base.map(|base| {
        let cannot = |error: Error| error.within("cannot read the base of `[budget]`");
        let report = written::report(base).map_err(cannot)?;
        Ok::<_, Error>((report, written::contents(base).map_err(cannot)?))
    });
    let base = base.transpose()?;
    let disk = budget.disk.map(|_| packed(directory, environment)).transpose()?;
    let base = base.as_ref().map(|(report, contents)| Build { report, contents, disk: None });
    Ok(budget::lines(budget, Build { report, contents, disk }, base))
}

/// Bytes of root and UKI as `zstd -3` packs them.
fn packed(directory: &Path, environment: &Environment) -> Result<u64> {
    let files = [Kind::Root, Kind::Uki].map(|kind| directory.join(kind.file_name()));
    let command = Command::new("zstd").env("PATH", environment.path());
    let command = command.args(["-3", "-q", "-c", "--"]).args(&files);
    let line = format!("`{}` failed", command.line());
    let mut child = command.spawn(|command| {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    })?;
    let (mut bytes, mut buffer) = (0, vec![0; 1 << 16]);
    if let Some(stdout) = &mut child.stdout {
        loop {
            match stdout.read(&mut buffer).or_fail(Id::ToolFailed, || line.clone())? {
                0 => break,
                read => bytes += read as u64,
            }
        }
    }
    let status = child.wait().or_fail(Id::ToolFailed, || line.clone())?;
    if status.success() { Ok(bytes) } else { Err(Error::new(Id::ToolFailed, line)) }
}
