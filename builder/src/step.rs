//! Steps with memory: a step whose inputs have not changed is not done again.
//!
//! The key of a step is the digest of its name, its version and all its inputs, one fact a line.
//! The lines themselves are kept, so that `--explain` can say which of them changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use formats::digest::Sha256;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context as _, Error, Id, Result};
use crate::store::Store;

/// The kind under which the inputs of the last run of each step are kept, for `--explain`.
const LATEST: &str = "latest";

/// Every kind of step, each with its version, which is raised whenever the code of the step would
/// give another result for the same inputs: what older code has left in a store is not found then.
/// `step/pins.rs` holds a digest of each version's results, so that a raise that is forgotten fails
/// a test.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $version:literal;)*) => {
        /// What a step does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// What the store calls it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The version of its code.
            pub const fn version(self) -> u32 {
                match self { $(Self::$kind => $version,)* }
            }
        }
    };
}

kinds! {
    /// Takes a Debian package apart.
    Unpack = "unpack", 4;
    /// Picks kernel and modules out of what their packages hold.
    Kernel = "kernel", 7;
    /// Compiles Go programs.
    Go = "go", 2;
    /// Compiles Rust programs.
    Cargo = "cargo", 5;
    /// Takes a file from the web apart.
    Url = "url", 2;
    /// Packs a container image.
    Oci = "oci", 1;
    /// Unpacks a layer of somebody else's image.
    Layer = "layer", 1;
    /// Compiles a profile of AppArmor.
    Apparmor = "apparmor", 1;
    /// Checks what is in the root.
    Allow = "allow", 2;
    /// Packs the initrd.
    Initrd = "initrd", 1;
    /// Writes root image, UKI and disk.
    Image = "image", 6;
}

/// How often a step is done whose inputs change under it. A second time is enough for an editor
/// that saves, and for a build script that writes into its own package.
const ATTEMPTS: usize = 2;

/// How many facts an error names.
const NAMED: usize = 5;

/// What a step depends on: labelled facts, in the order they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs(Vec<String>);

impl Inputs {
    /// No input yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fact. `label` says in `--explain` what it is.
    #[must_use]
    pub fn with(mut self, label: &str, value: impl std::fmt::Display) -> Self {
        self.0.push(format!("{label} {}", value.to_string().escape_debug()));
        self
    }

    /// Adds a fact for each value.
    #[must_use]
    pub fn with_all<V: std::fmt::Display>(
        self,
        label: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        values.into_iter().fold(self, |inputs, value| inputs.with(label, value))
    }

    /// The facts, each with its label before it.
    pub fn lines(&self) -> &[String] {
        &self.0
    }

    /// The digest of the facts.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.0.join("\n"))
    }
}

/// Whether a step was done or remembered, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The result was in the store.
    Hit,
    /// Never done before in this store.
    First,
    /// Done again: these facts went (`-`) and came (`+`).
    Changed {
        /// The facts that differ.
        lines: Vec<String>,
    },
    /// The inputs are the same, but what the step made is gone.
    Lost,
}

/// One line of `--explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// The step, such as `unpack runc`.
    pub step: String,
    /// What happened.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Runs steps against a store and remembers what happened to each.
#[derive(Debug)]
pub struct Steps<'a> {
    store: &'a Store,
    scope: String,
    records: Vec<Record>,
}

impl<'a> Steps<'a> {
    /// `scope` tells apart builds whose changes are explained on their own, such as images.
    pub fn new(store: &'a Store, scope: impl Into<String>) -> Self {
        Self { store, scope: scope.into(), records: Vec::new() }
    }

    /// What happened so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Adds a record of something that is remembered elsewhere.
    pub fn record(&mut self, step: impl Into<String>, outcome: Outcome) {
        self.records.push(Record { step: step.into(), outcome });
    }

    /// The remembered result of this step, if it is still whole; the miss is recorded otherwise.
    ///
    /// `complete` says whether all blobs that a result names are still in the store.
    pub fn recall<T: DeserializeOwned>(
        &mut self,
        step: &Step,
        complete: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let known = self.store.step(step.kind.name(), &step.key());
        let result = known.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        let result = result.filter(complete);
        let outcome = match (&result, known) {
            (Some(_), _) => Outcome::Hit,
            (None, Some(_)) => Outcome::Lost,
            (None, None) => self.explain(step),
        };
        self.record(step.name.clone(), outcome);
        result
    }

    /// Keeps what a step has made.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn remember<T: Serialize>(&self, step: &Step, result: &T) -> Result<()> {
        let bytes = serde_json::to_vec(result).or_fail(Id::Bug, || "a step's result")?;
        self.store.put_step(step.kind.name(), &step.key(), &bytes)?;
        self.store.put_step(LATEST, &self.latest(step), step.inputs.0.join("\n").as_bytes())
    }

    /// Recalls or does one step.
    ///
    /// # Errors
    /// What `make` fails with, and [`Id::StoreWrite`].
    pub fn run<T: Serialize + DeserializeOwned>(
        &mut self,
        step: &Step,
        complete: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if let Some(result) = self.recall(step, complete) {
            return Ok(result);
        }
        let result = make()?;
        self.remember(step, &result)?;
        Ok(result)
    }

    /// Like [`Steps::run`] for a step that reads what people may change meanwhile, such as sources.
    /// `plan` looks at them, before and again after. Only what was made from inputs that stayed as
    /// they were is remembered; otherwise it is made once more.
    ///
    /// # Errors
    /// What `plan` and `make` fail with; [`Id::SourceChanged`] if the inputs do not come to rest;
    /// [`Id::StoreWrite`].
    pub fn run_watched<C, T: Serialize + DeserializeOwned>(
        &mut self,
        plan: impl Fn() -> Result<(Step, C)>,
        complete: impl FnOnce(&T) -> bool,
        make: impl Fn(&C) -> Result<T>,
    ) -> Result<T> {
        let (mut step, mut context) = plan()?;
        if let Some(result) = self.recall(&step, complete) {
            return Ok(result);
        }
        let mut attempts = 1;
        loop {
            let result = make(&context)?;
            let (now, current) = plan()?;
            if now == step {
                self.remember(&step, &result)?;
                return Ok(result);
            }
            if attempts == ATTEMPTS {
                return Err(changed(&step, &now));
            }
            attempts += 1;
            (step, context) = (now, current);
        }
    }

    /// Like [`Steps::run`] for many instances of one step; what must be done is done by up to
    /// `jobs` threads at once. Results come in the order of `items`.
    ///
    /// # Errors
    /// The first failure in the order of `items`; all that succeeded is kept.
    pub fn run_all<I: Sync, T: Serialize + DeserializeOwned + Send>(
        &mut self,
        items: &[I],
        step: impl Fn(&I) -> Step,
        complete: impl Fn(&T) -> bool,
        make: impl Fn(&I) -> Result<T> + Sync,
        jobs: usize,
    ) -> Result<Vec<T>> {
        let steps: Vec<_> = items.iter().map(step).collect();
        let recalled: Vec<_> = steps.iter().map(|step| self.recall(step, &complete)).collect();
        let missing: Vec<_> = (0..items.len()).filter(|index| recalled[*index].is_none()).collect();
        let next = AtomicUsize::new(0);
        let made = Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..jobs.clamp(1, missing.len().max(1)) {
                scope.spawn(|| {
                    while let Some(index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let result = make(&items[*index]);
                        if let Ok(mut made) = made.lock() {
                            made.insert(*index, result);
                        }
                    }
                });
            }
        });
        let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (index, result) in &made {
            if let Ok(result) = result {
                self.remember(&steps[*index], result)?;
            }
        }
        let results = recalled.into_iter().enumerate().map(|(index, known)| match known {
            Some(result) => Ok(result),
            None => made.remove(&index).unwrap_or_else(|| {
                Err(crate::error::Error::new(Id::Bug, "a step was neither recalled nor done"))
            }),
        });
        results.collect()
    }

    /// Records that a step was done whose result is kept elsewhere.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn miss(&mut self, step: &Step) -> Result<()> {
        let outcome = self.explain(step);
        self.record(step.name.clone(), outcome);
        self.store.put_step(LATEST, &self.latest(step), step.inputs.0.join("\n").as_bytes())
    }

    fn latest(&self, step: &Step) -> Sha256 {
        latest(&self.scope, &step.name)
    }

    fn explain(&self, step: &Step) -> Outcome {
        let Some(before) = self.store.step(LATEST, &self.latest(step)) else {
            return Outcome::First;
        };
        let before = String::from_utf8_lossy(&before).into_owned();
        let before: Vec<_> = before.lines().collect();
        let now: Vec<_> = step.inputs.0.iter().map(String::as_str).collect();
        let lines = difference(&before, &now);
        // As when an image goes to another directory.
        if lines.is_empty() { Outcome::Lost } else { Outcome::Changed { lines } }
    }
}

/// The facts of the last time that the step of this name was done for an image; none if it was
/// not, in this store.
pub fn latest_inputs(store: &Store, scope: &str, name: &str) -> Option<Vec<String>> {
    let lines = store.step(LATEST, &latest(scope, name))?;
    Some(String::from_utf8_lossy(&lines).lines().map(str::to_owned).collect())
}

fn latest(scope: &str, name: &str) -> Sha256 {
    Sha256::of(format!("{scope}\n{name}"))
}

/// Facts that went (`-`) and came (`+`).
pub fn difference<T: AsRef<str> + Ord>(before: &[T], now: &[T]) -> Vec<String> {
    let missing = |from: &[T], lines: &[T], sign: char| -> Vec<String> {
        let from: BTreeSet<_> = from.iter().collect();
        let missing = lines.iter().filter(|line| !from.contains(line));
        missing.map(|line| format!("{sign} {}", line.as_ref())).collect()
    };
    [missing(now, before, '-'), missing(before, now, '+')].concat()
}

fn changed(before: &Step, now: &Step) -> Error {
    fn lines(step: &Step) -> Vec<&str> {
        step.inputs.0.iter().map(String::as_str).collect()
    }
    let difference = difference(&lines(before), &lines(now));
    let mut message = format!("`{}` changed again and again while it was made", before.name);
    for line in difference.iter().take(NAMED) {
        message += &format!("\n  {line}");
    }
    if difference.len() > NAMED {
        message += &format!("\n  and {} more", difference.len() - NAMED);
    }
    Error::new(Id::SourceChanged, message)
        .hint("build again when nothing writes into the sources any more")
}

/// A step to be done, named and with all that shapes its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    kind: Kind,
    name: String,
    inputs: Inputs,
}

impl Step {
    /// `name` is for people, and tells the instances of one kind apart.
    pub fn new(kind: Kind, name: impl Into<String>, inputs: Inputs) -> Self {
        let mut facts = vec![format!("version {}", kind.version())];
        facts.extend(inputs.0);
        Self { kind, name: name.into(), inputs: Inputs(facts) }
    }

    /// The digest of everything that shapes the result.
    pub fn key(&self) -> Sha256 {
        Sha256::of(format!("{}\n{}", self.kind.name(), self.inputs.digest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(steps: &mut Steps<'_>, inputs: Inputs, complete: bool) -> Outcome {
        let step = Step::new(Kind::Unpack, "unpack runc", inputs);
        let result = steps.run(&step, |_: &u32| complete, || Ok(7)).unwrap();
        assert_eq!(result, 7);
        steps.records().last().unwrap().outcome.clone()
    }

    #[test]
    fn a_step_says_why_it_was_done_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut steps = Steps::new(&store, "base");
        let one = Inputs::new().with("deb", "aa").with_all("drop", ["/usr/share/doc/**", "/var"]);
        let two = Inputs::new().with("deb", "bb").with_all("drop", ["/usr/share/doc/**", "/var"]);

        assert_eq!(outcome(&mut steps, one.clone(), true), Outcome::First);
        assert_eq!(outcome(&mut steps, one.clone(), true), Outcome::Hit);
        assert_eq!(
            outcome(&mut steps, two, true),
            Outcome::Changed { lines: vec!["- deb aa".into(), "+ deb bb".into()] }
        );
        assert_eq!(outcome(&mut steps, one, false), Outcome::Lost);
    }

    #[test]
    fn many_steps_come_back_in_order_whatever_the_number_of_threads() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let items: Vec<u32> = (0..20).collect();
        for jobs in [1, 3, 50] {
            let mut steps = Steps::new(&store, "base");
            let step =
                |n: &u32| Step::new(Kind::Go, format!("square {n}"), Inputs::new().with("n", n));
            let squares = steps.run_all(&items, step, |_| jobs != 3, |n| Ok(n * n), jobs).unwrap();
            assert_eq!(squares, items.iter().map(|n| n * n).collect::<Vec<_>>());
        }
    }

    /// A Go program of a container image is called `oci IMAGE go NAME`.
    #[test]
    fn a_result_is_kept_under_the_kind_of_its_step_whatever_the_step_is_called() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut steps = Steps::new(&store, "base");
        let step = |kind| Step::new(kind, "oci pause go pause", Inputs::new());
        steps.run(&step(Kind::Go), |_: &u32| true, || Ok(1)).unwrap();
        assert_eq!(steps.run(&step(Kind::Oci), |_: &u32| true, || Ok(2)).unwrap(), 2);
        assert_eq!(store.step("go", &step(Kind::Go).key()).as_deref(), Some(&b"1"[..]));
    }

    #[test]
    fn what_was_made_from_sources_that_changed_meanwhile_is_not_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let source = directory.path().join("main.rs");
        let plan = || {
            let text = std::fs::read_to_string(&source).unwrap();
            let inputs = Inputs::new().with("source", format!("main.rs {}", Sha256::of(&text)));
            Ok((Step::new(Kind::Cargo, "cargo init", inputs), text))
        };
        let write = |text: &str| std::fs::write(&source, text).unwrap();
        let run = |make: &dyn Fn(&String) -> Result<String>| {
            Steps::new(&store, "base").run_watched(plan, |_: &String| true, make)
        };

        // Somebody saves the file while it is compiled, and goes back to the old text later.
        write("old");
        let program = run(&|text| {
            if text == "old" {
                write("new");
            }
            // The compiler reads the file later than the key did.
            Ok(std::fs::read_to_string(&source).unwrap())
        });
        assert_eq!(program.unwrap(), "new");
        write("old");
        assert_eq!(run(&|text| Ok(text.clone())).unwrap(), "old");
        write("new");
        let remembered = run(&|_| panic!("it was made from these very sources"));
        assert_eq!(remembered.unwrap(), "new");

        // Something writes all the time.
        write("0");
        let error = run(&|text| {
            write(&format!("{text}0"));
            Ok(text.clone())
        });
        let error = error.unwrap_err();
        assert_eq!(error.id(), Id::SourceChanged);
        assert_eq!(
            error.to_string(),
            format!(
                "`cargo init` changed again and again while it was made\n  \
                 - source main.rs {}\n  + source main.rs {}",
                Sha256::of("00"),
                Sha256::of("000")
            )
        );
    }

    #[test]
    fn facts_cannot_be_confused_by_line_breaks() {
        let one = Inputs::new().with("a", "x\nb y");
        let two = Inputs::new().with("a", "x").with("b", "y");
        assert_ne!(one.digest(), two.digest());
    }
}
