//! Holds a build against the budget of its recipe: reads what [`budget`] needs.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;

use super::artifact::Kind;
use super::report::Report;
use super::written;
use crate::budget::{self, Base, Build, Line};
use crate::contents::Contents;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Id, Result};
use crate::process::Command;
use crate::recipe::model::Budget;
use crate::repository::Repository;

/// The limits of a recipe, and where what they are measured by is found.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// What the recipe says.
    pub budget: &'a Budget,
    /// The repository that a base is looked for in.
    pub repository: &'a Path,
    /// Where `zstd` is found.
    pub environment: &'a Environment,
}

impl Limits<'_> {
    /// All figures of the build in `directory`.
    ///
    /// # Errors
    /// Those of [`written`], and of [`Repository`] if the base is a version; [`Id::MissingTool`]
    /// without `zstd` where the budget has a limit for it.
    pub fn lines(&self, directory: &Path) -> Result<Vec<Line>> {
        let (report, contents) = (written::report(directory)?, written::contents(directory)?);
        self.of(directory, &report, &contents)
    }

    /// Whether the build in `directory` is within its budget.
    ///
    /// # Errors
    /// [`Id::OverBudget`]; as [`Limits::lines`].
    pub fn check(&self, directory: &Path, report: &Report, contents: &Contents) -> Result<()> {
        budget::check(&report.image, &self.of(directory, report, contents)?)
    }

    fn of(&self, directory: &Path, report: &Report, contents: &Contents) -> Result<Vec<Line>> {
        let base = self.base(contents);
        let base = base.map_err(|error| error.within("cannot read the base of `[budget]`"))?;
        let disk = self.budget.disk.map(|_| packed(directory, self.environment)).transpose()?;
        Ok(budget::lines(self.budget, Build { report, contents, disk }, base.as_ref()))
    }

    fn base(&self, contents: &Contents) -> Result<Option<Base>> {
        let Budget { base, base_version, max_growth, .. } = self.budget;
        if max_growth.is_none() {
            return Ok(None);
        }
        if let Some(directory) = base {
            let (report, contents) = (written::report(directory)?, written::contents(directory)?);
            return Ok(Some(Base::of_build(&report, &contents)));
        }
        base_version.as_deref().map(|version| self.version(version, contents)).transpose()
    }

    fn version(&self, version: &str, contents: &Contents) -> Result<Base> {
        let repository = Repository::open(self.repository)?;
        let commit = repository.resolve(version)?;
        let told = repository.history(commit, 1)?;
        let size = told.first().and_then(|told| told.root_size?.checked_add(told.uki_size?));
        let Some(size) = size else {
            let message = format!("`{version}` does not say how large root and UKI are");
            return Err(
                Error::new(Id::NotOurImage, message).hint("`orlop build` commits what does")
            );
        };
        Ok(Base::of_version(size, &repository.sizes(&commit)?, contents))
    }
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
