//! `orlop repro`: whether a recipe and its lock give the same bytes again. Builds twice under other
//! conditions, or once beside a build that somebody has published, and says where two builds differ
//! and which step did that.
//!
//! A build is a process of its own ([`child`]): conditions are those of a process. What is compared
//! is compared by pure functions ([`compare()`]) that know the formats.

mod child;
mod compare;
mod conditions;
mod content;
mod disk;
mod document;
mod esp;
mod fields;
mod files;
mod host;
mod initrd;
mod interrupt;
mod origin;
mod place;
mod program;
mod project;
mod proof;
mod published;
mod root;
mod show;
mod supply;
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use self::compare::{Comparison, Difference, compare};
pub use self::conditions::{Kept, Varied};
pub use self::files::Files;
pub use self::origin::TREE;
pub use self::place::{Looks, Part, Place};
pub use self::published::{Disk, Published};
pub use self::show::{plan, verdict};
pub use self::supply::Programs;

use self::child::{Child, Done, Tools};
use self::conditions::{CHANGED, Choice};
use self::files::Directory;
use self::host::Owner;
use self::interrupt::Interrupts;
use self::project::Project;
use self::published::Told;
use crate::build::written;
use crate::error::{Context as _, Error, Id, Result};
use crate::http::Client;
use crate::lock::Lock;
use crate::progress::Progress;
use crate::recipe::Loaded;
use crate::settings::Settings;
use crate::store::Store;
use crate::unfinished;

/// What is to be built again, and where.
#[derive(Debug)]
pub struct Request<'a> {
    /// The recipe.
    pub loaded: &'a Loaded,
    /// Its lock.
    pub lock: &'a Lock,
    /// Where that is.
    pub lock_path: &'a Path,
    /// What the user has: all sources are in it.
    pub store: &'a Store,
    /// The rim.
    pub settings: &'a Settings,
    /// Whether programs are compiled.
    pub programs: Programs,
    /// The directory in which stores, caches and builds are made.
    pub work: &'a Path,
    /// Where the builds stay; nowhere if they are not wanted.
    pub keep: Option<&'a Path>,
    /// Who watches.
    pub progress: &'a Progress,
}

/// What will be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The image.
    pub image: String,
    /// The published build that is compared; none if two builds are.
    pub against: Option<String>,
    /// How many builds are done here.
    pub builds: usize,
    /// How many Debian packages each unpacks.
    pub packages: usize,
    /// The components that each compiles.
    pub compiled: Vec<String>,
    /// The components whose programs are taken from the store, as far as it has them.
    pub taken: Vec<String>,
    /// What is not the same for both builds.
    pub varied: Vec<Varied>,
    /// What is the same, and why.
    pub kept: Vec<Kept>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verdict {
    /// The image.
    pub image: String,
    /// Whether all that was compared is the same. Nothing is left out because a report does not
    /// tell of it.
    pub same: bool,
    /// The published build that the first one is; none if both were made here.
    pub against: Option<String>,
    /// What was not the same for both builds.
    pub varied: Vec<Varied>,
    /// What was the same, and why.
    pub kept: Vec<Kept>,
    /// Steps that were not done, because their results were taken from the store.
    pub remembered: Vec<String>,
    /// Files of a published build that were not compared: its disk unless it was asked for, and what
    /// no build here has.
    pub left_out: Vec<String>,
    /// The builds that were made here.
    pub builds: Vec<Build>,
    /// What differs.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// A build that was made here.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Build {
    /// Where it is, if it was to be kept.
    pub output: Option<PathBuf>,
    /// Seconds of processor time.
    pub cpu_seconds: f64,
}

/// A directory to build in, and what the host has for it.
#[derive(Debug)]
struct Workshop {
    directory: unfinished::Directory,
    program: PathBuf,
    interrupts: Interrupts,
}

/// What the two builds are called.
const NAMES: [&str; 2] = ["the first build", "the second build"];

impl Request<'_> {
    fn image(&self) -> String {
        self.loaded.recipe.name.to_string()
    }

    fn workshop(&self) -> Result<Workshop> {
        let cannot =
            || format!("cannot make a directory to build in, in `{}`", self.work.display());
        let kind = unfinished::Kind::Builds;
        let directory = unfinished::directory(self.work, kind, 0o755).or_fail(Id::Write, cannot)?;
        // Whatever the umask: the second build may be another user's.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
            .or_fail(Id::Write, cannot)?;
        let program = std::env::current_exe().or_fail(Id::Read, || "cannot find this program")?;
        let interrupts = Interrupts::watch(directory.path())?;
        Ok(Workshop { directory, program, interrupts })
    }

    fn choose(&self, workshop: &Workshop, project: &Project) -> (Choice, Tools) {
        let work = workshop.directory.path();
        let copied = project.can_be_copied(work);
        let recipe = &self.loaded.recipe;
        let environment = &self.settings.environment;
        let owner = self.keep.map_or(Owner::Anybody, |_| Owner::Starter);
        let (host, tools) =
            host::look(environment, recipe, (&workshop.program, work), copied, owner);
        (conditions::choose(&host), tools)
    }

    fn plan(&self, against: Option<&Published>, choice: Option<&Choice>) -> Plan {
        let recipe = &self.loaded.recipe;
        let names = recipe.all_go().map(|(name, _)| name);
        let names = names.chain(recipe.all_cargo().map(|(name, _)| name)).collect();
        let (compiled, taken) = match self.programs {
            Programs::Compiled => (names, Vec::new()),
            Programs::Taken => (Vec::new(), names),
        };
        Plan {
            image: self.image(),
            against: against.map(ToString::to_string),
            builds: if against.is_some() { 1 } else { 2 },
            packages: self.lock.packages.len(),
            compiled,
            taken,
            varied: choice.map(|choice| choice.varied.clone()).unwrap_or_default(),
            kept: choice.map(|choice| choice.kept.clone()).unwrap_or_default(),
        }
    }

    /// Where a build goes.
    fn output(&self, side: &Path) -> PathBuf {
        let below = self.keep.map(|keep| keep.join(side.file_name().unwrap_or_default()));
        below.unwrap_or_else(|| side.to_owned()).join("images")
    }

    /// Builds once, in a directory of its own with a store of its own. What the build leaves beside
    /// its images is removed: it is gigabytes.
    fn build(
        &self,
        workshop: &Workshop,
        (name, side): (&str, &str),
        recipe: &Path,
        conditions: Option<(&conditions::Conditions, &Tools)>,
    ) -> Result<(Done, PathBuf)> {
        let directory = workshop.directory.path().join(side);
        let output = self.output(&directory);
        let cannot = || format!("cannot make `{}`", directory.display());
        for inner in ["home", "tmp", "cache"] {
            fs::create_dir_all(directory.join(inner)).or_fail(Id::Write, cannot)?;
        }
        if let Some(parent) = output.parent() {
            fs::create_dir_all(parent)
                .or_fail(Id::Write, || format!("cannot make `{}`", parent.display()))?;
        }
        let Self { store, loaded, lock, lock_path, programs, .. } = self;
        let place = directory.join("store");
        supply::store(store, &loaded.recipe, lock, lock_path, *programs, &place)?;
        let child = Child {
            name,
            program: &workshop.program,
            recipe,
            profile: loaded.profile.as_deref(),
            directory: &directory,
            output: &output,
            conditions,
            interrupts: &workshop.interrupts,
        };
        if let Some(user) = conditions.and_then(|(conditions, _)| conditions.user) {
            supply::give(&directory, user)?;
        }
        let done = child.run(&self.image(), self.progress)?;
        for inner in ["store", "cache", "home", "tmp", "bin"] {
            // Whatever stays goes with the directory.
            drop(fs::remove_dir_all(directory.join(inner)));
        }
        self.progress.note(format!("{name} took {:.0} CPU-s", done.cpu_seconds));
        Ok((done, output))
    }
}

/// Says what [`twice`] would do.
///
/// # Errors
/// [`Id::Read`], [`Id::Write`].
pub fn plan_twice(request: &Request<'_>) -> Result<Plan> {
    let project = Project::of(request.loaded)?;
    let (choice, _) = request.choose(&request.workshop()?, &project);
    Ok(request.plan(None, Some(&choice)))
}

/// Builds twice and compares.
///
/// # Errors
/// Those of the builds; [`Id::Read`], [`Id::Write`], [`Id::StoreWrite`].
pub fn twice(request: &Request<'_>) -> Result<Verdict> {
    let project = Project::of(request.loaded)?;
    let workshop = request.workshop()?;
    let result = twice_in(&workshop, &project, request);
    workshop.interrupts.none_came();
    result
}

fn twice_in(workshop: &Workshop, project: &Project, request: &Request<'_>) -> Result<Verdict> {
    let (choice, tools) = request.choose(workshop, project);
    request.progress.note(show::plan(&request.plan(None, Some(&choice))).trim_end());
    let conditions = &choice.second;
    let copy = workshop.directory.path().join("elsewhere");
    let recipe = match conditions.copy {
        true => project.copy(&copy, CHANGED)?,
        false => std::path::absolute(&request.loaded.path)
            .or_fail(Id::Read, || "the directory that we are in is gone")?,
    };
    if let (Some(user), true) = (conditions.user, conditions.copy) {
        supply::give(&copy, user)?;
    }
    let (one, first) = request.build(workshop, (NAMES[0], "one"), &request.loaded.path, None)?;
    let other = Some((conditions, &tools));
    let (two, second) = request.build(workshop, (NAMES[1], "two"), &recipe, other)?;
    let files = [files_of(&first)?, files_of(&second)?];
    let mut comparison = compared(&files[0], &files[1], &BTreeSet::new(), request.progress)?;
    for difference in &mut comparison.differences {
        let step = difference.step.as_deref();
        difference.inputs = step.and_then(|step| child::changed_inputs(&one, &two, step));
    }
    let Choice { varied, kept, .. } = choice;
    Ok(request.verdict(None, (varied, kept), &[(one, first), (two, second)], comparison))
}

/// Builds once and compares with a published build. `disk` says whether its disk is downloaded, of
/// which its report has no digest. `fetch` brings sources, once it is known that they are wanted.
///
/// # Errors
/// [`Id::OtherLock`] if it was made of something else; those of the build, of reading the published
/// one, and of [`Client::download`].
pub fn against(
    request: &Request<'_>,
    published: &Published,
    disk: Disk,
    fetch: impl FnOnce() -> Result<()>,
) -> Result<Verdict> {
    let Request { loaded, lock, lock_path, .. } = request;
    let client = || Client::new(request.settings.environment.access());
    let told = published::report(published, client)?;
    published::same_inputs(published, &told.report, &loaded.recipe, lock, lock_path)?;
    fetch()?;
    let workshop = request.workshop()?;
    let result = against_in(&workshop, request, (published, told), disk);
    workshop.interrupts.none_came();
    result
}

fn against_in(
    workshop: &Workshop,
    request: &Request<'_>,
    (published, told): (&Published, Told),
    disk: Disk,
) -> Result<Verdict> {
    let Request { loaded, progress, .. } = request;
    let into = workshop.directory.path().join("published");
    fs::create_dir_all(&into).or_fail(Id::Write, || format!("cannot make `{}`", into.display()))?;
    let brought = published::bring(published, told, &into, disk, progress)?;
    for word in published::other_parameters(&brought, &loaded.recipe)? {
        progress.warn(format!("`{published}` will differ: {word}"));
    }
    progress.note(show::plan(&request.plan(Some(published), None)).trim_end());
    let (done, output) = request.build(workshop, ("the build", "here"), &loaded.path, None)?;
    let mut comparison =
        compared(&brought.files(), &files_of(&output)?, &brought.left_out, progress)?;
    let wrong = published::contradictions(&brought)?;
    for file in wrong.iter().map(|difference| difference.file.clone()) {
        if !comparison.differing.contains(&file) {
            comparison.differing.push(file);
        }
    }
    comparison.differences.splice(0..0, wrong);
    let conditions = (Vec::new(), Vec::new());
    let mut verdict = request.verdict(Some(published), conditions, &[(done, output)], comparison);
    verdict.left_out = brought.left_out.into_iter().collect();
    Ok(verdict)
}

impl Request<'_> {
    fn verdict(
        &self,
        against: Option<&Published>,
        (varied, kept): (Vec<Varied>, Vec<Kept>),
        builds: &[(Done, PathBuf)],
        comparison: Comparison,
    ) -> Verdict {
        let steps = builds.iter().flat_map(|(done, _)| &done.steps);
        let remembered: BTreeSet<_> =
            steps.filter(|(_, done)| !**done).map(|(step, _)| step.clone()).collect();
        let build = |(done, output): &(Done, PathBuf)| Build {
            output: self.keep.map(|_| output.clone()),
            cpu_seconds: done.cpu_seconds,
        };
        Verdict {
            image: self.image(),
            same: comparison.differing.is_empty(),
            against: against.map(ToString::to_string),
            varied,
            kept,
            remembered: remembered.into_iter().collect(),
            left_out: Vec::new(),
            builds: builds.iter().map(build).collect(),
            comparison,
        }
    }
}

impl Verdict {
    /// The failure of a build that is not the same again.
    ///
    /// # Errors
    /// [`Id::NotReproducible`] if something differs.
    pub fn judge(&self) -> Result<()> {
        if self.same {
            return Ok(());
        }
        let Comparison { compared, differing, .. } = &self.comparison;
        let with = match &self.against {
            Some(against) => format!("here and in `{against}`"),
            None => "in two builds".to_owned(),
        };
        let (number, of) = (differing.len(), compared.len());
        let message = format!("{number} of {of} files of `{}` are not the same {with}", self.image);
        Err(Error::new(Id::NotReproducible, message))
    }
}

/// The files of a build that was made here.
fn files_of(output: &Path) -> Result<Directory> {
    let report = written::report(output)?;
    let names = report.artifacts.into_iter().map(|file| file.name);
    Ok(Directory::new(output, names.chain([crate::build::output::REPORT.to_owned()])))
}

fn compared(
    one: &dyn Files,
    two: &dyn Files,
    without: &BTreeSet<String>,
    progress: &Progress,
) -> Result<Comparison> {
    let task = progress.task("compare", None);
    let comparison =
        compare(one, two, without).or_fail(Id::Read, || "cannot compare the two builds")?;
    task.done(format!("{} files", comparison.compared.len()));
    Ok(comparison)
}
