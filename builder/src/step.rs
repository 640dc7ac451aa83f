//! Steps with memory: a step whose inputs have not changed is not done again.
//!
//! The key of a step is the digest of its name, its version and all its inputs, one fact a line.
//! The lines themselves are kept, so that `--explain` can say which of them changed.

use formats::digest::Sha256;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context as _, Id, Result};
use crate::store::Store;

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
        let known = self.store.step(&step.key());
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
        self.store.put_step(&step.key(), &bytes)?;
        self.store.put_step(&self.latest(step), step.inputs.0.join("\n").as_bytes())
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

    fn latest(&self, step: &Step) -> Sha256 {
        Sha256::of(format!("latest\n{}\n{}", self.scope, step.name))
    }

    fn explain(&self, step: &Step) -> Outcome {
        let Some(before) = self.store.step(&self.latest(step)) else { return Outcome::First };
        let before = String::from_utf8_lossy(&before).into_owned();
        let before: Vec<_> = before.lines().collect();
        let gone = before.iter().filter(|line| !step.inputs.0.iter().any(|now| now == *line));
        let came = step.inputs.0.iter().filter(|line| !before.contains(&line.as_str()));
        let lines =
            gone.map(|line| format!("- {line}")).chain(came.map(|line| format!("+ {line}")));
        Outcome::Changed { lines: lines.collect() }
    }
}

/// A step to be done, named and with all that shapes its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    name: String,
    inputs: Inputs,
}

impl Step {
    /// `version` changes whenever the code of the step would give another result.
    pub fn new(name: impl Into<String>, version: u32, inputs: Inputs) -> Self {
        let mut facts = vec![format!("version {version}")];
        facts.extend(inputs.0);
        Self { name: name.into(), inputs: Inputs(facts) }
    }

    fn key(&self) -> Sha256 {
        // The first word is the kind of step; what follows only tells its instances apart.
        let kind = self.name.split(' ').next().unwrap_or_default();
        Sha256::of(format!("{kind}\n{}", self.inputs.digest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(steps: &mut Steps<'_>, inputs: Inputs, complete: bool) -> Outcome {
        let step = Step::new("unpack runc", 1, inputs);
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
    fn facts_cannot_be_confused_by_line_breaks() {
        let one = Inputs::new().with("a", "x\nb y");
        let two = Inputs::new().with("a", "x").with("b", "y");
        assert_ne!(one.digest(), two.digest());
    }
}
