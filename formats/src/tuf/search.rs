//! Who says what about a target: specification section 5.6.7, a search in pre-order, depth first, that
//! asks each role once and ends at a bound; and what there is then to fetch (section 5.7).

use std::collections::BTreeSet;
use std::rc::Rc;

use super::error::{Reason, Refused};
use super::hashes::{Check, TargetFile};
use super::limits::Limits;
use super::metadata::Targets;
use super::name::{Form, RoleName, TargetPath, metadata_path};
use super::trusted::Trusted;
use super::workflow::{Request, Workflow, within};

/// A target that somebody who may has signed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub path: TargetPath,
    /// What is said of it.
    pub file: TargetFile,
    /// A hash stands before its name in the repository.
    prefix: Option<String>,
}

impl Found {
    /// Where it is below the address or the directory of the repository's targets.
    pub fn place(&self, form: Form) -> String {
        self.path.path(self.prefix.as_deref(), form)
    }

    /// Takes its bytes piece by piece; there are [`TargetFile::length`] of them. What refuses them
    /// names the target.
    ///
    /// # Errors
    /// None of its hashes is of a kind that is known.
    pub fn check(&self) -> Result<Check, Refused> {
        self.file.check().map_err(|reason| reason.of(self.path.as_str()))
    }
}

/// A role to ask, and who has named it.
#[derive(Debug)]
struct Step {
    role: RoleName,
    delegator: Rc<Targets>,
}

/// Looks for a target. Metadata of delegated roles is kept in files of their names, quoted, beside that of
/// the four.
#[derive(Debug)]
pub struct Search<'a> {
    trusted: &'a Trusted,
    limits: Limits,
    target: TargetPath,
    /// Roles to ask, the next one last.
    steps: Vec<Step>,
    /// Roles that were asked, `targets` not among them.
    asked: BTreeSet<RoleName>,
    /// Whose answer is waited for: the first of `requests` may be a file to keep.
    current: Option<(Step, Source)>,
    requests: Vec<Request>,
    found: Option<Found>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Kept,
    Offered,
}

impl<'a> Search<'a> {
    /// Begins at the role `targets`.
    ///
    /// # Errors
    /// A role would have to be asked that the snapshot does not name, or for too many bytes.
    pub fn new(trusted: &'a Trusted, target: TargetPath, limits: Limits) -> Result<Self, Refused> {
        let mut search = Self {
            trusted,
            limits,
            target,
            steps: Vec::new(),
            asked: BTreeSet::new(),
            current: None,
            requests: Vec::new(),
            found: None,
        };
        if let Some(targets) = trusted.targets() {
            search.look_in(&Rc::new(targets.clone()))?;
        }
        Ok(search)
    }

    /// The target, once the workflow has come to its end.
    ///
    /// # Errors
    /// Nobody who was asked has said anything about it.
    pub fn found(self) -> Result<Found, Refused> {
        self.found.ok_or_else(|| Reason::NoTarget.of(self.target.as_str()))
    }

    /// The role has it, or others are asked.
    fn look_in(&mut self, targets: &Rc<Targets>) -> Result<(), Refused> {
        if let Some(file) = targets.targets.get(&self.target) {
            // Where it has no hash that is known nothing is fetched, whatever its name.
            let prefix = file.hashes.prefix().filter(|_| self.trusted.root().consistent_snapshot);
            let (path, file) = (self.target.clone(), file.clone());
            self.found = Some(Found { path, prefix: prefix.map(str::to_owned), file });
            return Ok(());
        }
        let asked = targets.delegations.iter().flat_map(|roles| roles.of(&self.target));
        let asked: Vec<_> = asked.collect();
        // After a terminating role nobody is asked, also nobody whom others have named before.
        if asked.last().is_some_and(|role| role.terminating) {
            self.steps.clear();
        }
        let steps = asked
            .iter()
            .rev()
            .map(|role| Step { role: role.name.clone(), delegator: Rc::clone(targets) });
        self.steps.extend(steps);
        self.next()
    }

    fn next(&mut self) -> Result<(), Refused> {
        while let Some(step) = self.steps.pop() {
            if !self.asked.insert(step.role.clone()) {
                continue;
            }
            // `targets` was one of them.
            if self.asked.len() >= self.limits.roles {
                let reason = Reason::TooManyRoles(self.limits.roles);
                return Err(reason.of(self.target.as_str()));
            }
            let meta = step.role.meta();
            let refused = |reason: Reason| reason.of(meta.as_str());
            let limit = self.limit(&step.role).map_err(refused)?;
            self.requests.push(Request::Load { file: step.role.file(), limit });
            self.current = Some((step, Source::Kept));
            return Ok(());
        }
        Ok(())
    }

    /// How many bytes are taken of a role's metadata.
    fn limit(&self, role: &RoleName) -> Result<u64, Reason> {
        let most = self.limits.targets;
        let limit = self.trusted.wanted_targets(&role.meta())?.length.unwrap_or(most);
        if limit > most { Err(Reason::TooLong(most)) } else { Ok(limit) }
    }

    fn fetch(&mut self, step: Step) -> Result<(), Reason> {
        let limit = self.limit(&step.role)?;
        let version = self.trusted.wanted_targets(&step.role.meta())?.version;
        let version = Some(version).filter(|_| self.trusted.root().consistent_snapshot);
        let path = metadata_path(step.role.as_str(), version, Form::Address);
        self.requests.push(Request::Fetch { path, limit });
        self.current = Some((step, Source::Offered));
        Ok(())
    }

    fn step(&mut self, bytes: Option<Vec<u8>>) -> Result<(), Refused> {
        let Some((step, source)) = self.current.take() else { return Ok(()) };
        let meta = step.role.meta();
        let refused = |reason: Reason| reason.of(meta.as_str());
        let targets = match &bytes {
            Some(bytes) => self.trusted.delegated(bytes, &step.role, &step.delegator),
            None => Err(Reason::Missing),
        };
        match (targets, source) {
            (Err(_), Source::Kept) => self.fetch(step).map_err(refused),
            (Err(reason), Source::Offered) => Err(refused(reason)),
            (Ok(targets), _) => {
                if let (Source::Offered, Some(bytes)) = (source, bytes) {
                    self.requests.push(Request::Store { file: step.role.file(), bytes });
                }
                self.look_in(&Rc::new(targets))
            }
        }
    }
}

impl Workflow for Search<'_> {
    fn request(&self) -> Option<&Request> {
        self.requests.first()
    }

    fn answer(&mut self, bytes: Option<Vec<u8>>) -> Result<(), Refused> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let done = match self.requests.remove(0) {
            // What is kept and too long is of another version: it need not be there.
            Request::Load { limit, .. } => {
                self.step(bytes.filter(|bytes| within(bytes, limit).is_ok()))
            }
            Request::Fetch { path, limit } => {
                let taken = bytes.as_deref().map_or(Ok(()), |bytes| within(bytes, limit));
                taken.map_err(|reason| reason.of(path)).and_then(|()| self.step(bytes))
            }
            Request::Store { .. } | Request::Remove { .. } => Ok(()),
        };
        if done.is_err() {
            (self.found, self.current) = (None, None);
            self.requests.clear();
            self.steps.clear();
        }
        done
    }
}
