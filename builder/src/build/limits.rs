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
use crate::progress::Progress;
use crate::recipe::Origins;
use crate::recipe::model::Budget;
use crate::repository::Repository;

/// The limits of a recipe, and where what they are measured by is found.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// The image that they are of.
    pub image: &'a str,
    /// What the recipe says.
    pub budget: &'a Budget,
    /// Where it says so.
    pub origins: &'a Origins,
    /// The repository that a base is looked for in.
    pub repository: &'a Path,
    /// Where `zstd` is found.
    pub environment: &'a Environment,
    /// Who is told whom a command waits for.
    pub progress: &'a Progress,
}

impl Limits<'_> {
    /// All figures of the build in `directory`.
    ///
    /// # Errors
    /// [`Id::OtherImage`] if that is none of this image; those of [`written`], and of [`Repository`]
    /// if the base is a version; [`Id::RecipeCheck`] for a base that is another image;
    /// [`Id::MissingTool`] without `zstd` where the budget has a limit for it.
    pub fn lines(&self, directory: &Path) -> Result<Vec<Line>> {
        let report = written::report(directory)?;
        if report.image != self.image {
            let message = format!(
                "`{}` is a build of `{}`, and the recipe is that of `{}`",
                directory.display(),
                report.image,
                self.image
            );
            return Err(Error::new(Id::OtherImage, message)
                .hint("name the recipe of that image, or by `--build` a build of this one"));
        }
        self.of(directory, &report, &written::contents(directory)?)
    }

    /// Whether the build in `directory` is within its budget.
    ///
    /// # Errors
    /// [`Id::OverBudget`]; as [`Limits::lines`].
    pub fn check(&self, directory: &Path, report: &Report, contents: &Contents) -> Result<()> {
        budget::check(&report.image, &self.of(directory, report, contents)?)
    }

    fn of(&self, directory: &Path, report: &Report, contents: &Contents) -> Result<Vec<Line>> {
        let base = self.base(contents)?;
        let disk = self.budget.disk.map(|_| packed(directory, self.environment)).transpose()?;
        Ok(budget::lines(self.budget, Build { report, contents, disk }, base.as_ref()))
    }

    /// What growth is held against. What is wrong with it is shown where the recipe names it.
    fn base(&self, contents: &Contents) -> Result<Option<Base>> {
        let Budget { base, base_version, max_growth, .. } = self.budget;
        if max_growth.is_none() {
            return Ok(None);
        }
        let shown = |key: &str, error: Error| {
            let hints = error.hints().to_vec();
            let message = format!("cannot read the base of `[budget]`: {}", error.chain());
            let shown = self.origins.wrong(&["budget", key], error.id(), message);
            hints.into_iter().fold(shown, Error::hint)
        };
        if let Some(directory) = base {
            let base = self.build(directory);
            return base.map(Some).map_err(|error| shown("base", error));
        }
        let Some(version) = base_version else { return Ok(None) };
        let base = self.version(version, contents);
        base.map(Some).map_err(|error| shown("base-version", error))
    }

    fn build(&self, directory: &Path) -> Result<Base> {
        let report = written::report(directory)?;
        self.same(&format!("`{}` is a build", directory.display()), &report.image)?;
        Ok(Base::of_build(&report, &written::contents(directory)?))
    }

    fn version(&self, version: &str, contents: &Contents) -> Result<Base> {
        let repository = Repository::open(self.repository, self.progress)?;
        let commit = repository.resolve(version)?;
        if let Some(image) = repository.image(&commit)? {
            self.same(&format!("`{version}` is a version"), &image)?;
        }
        let told = repository.history(commit, 1)?;
        let sizes = told.first().and_then(|told| Some((told.root_size?, told.uki_size?)));
        let Some((root, uki)) = sizes else {
            let message = format!("`{version}` does not say how large root and UKI are");
            return Err(
                Error::new(Id::NotOurImage, message).hint("`orlop build` commits what does")
            );
        };
        Ok(Base::of_version(root, uki, &repository.sizes(&commit)?, contents))
    }

    /// Whether what is called `what` is of this image: another one is larger or smaller anyway.
    fn same(&self, what: &str, image: &str) -> Result<()> {
        if image == self.image {
            return Ok(());
        }
        let message = format!("{what} of `{image}`, and this recipe is that of `{}`", self.image);
        Err(Error::new(Id::RecipeCheck, message).hint("name an earlier build of this image"))
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
