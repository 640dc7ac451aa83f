//! The client's workflow as far as the metadata of the four roles: specification sections 5.2 to 5.6.6.

use std::collections::VecDeque;

use super::error::{Reason, Refused};
use super::limits::Limits;
use super::name::{Form, TopLevel, metadata_path};
use super::trusted::{News, Origin, Trusted};
use super::workflow::{Request, Workflow, within};

/// What the answer that is waited for is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The root that was kept.
    KeptRoot,
    /// The root of the next version.
    NextRoot,
    /// The timestamp, snapshot or targets metadata that was kept.
    Kept(TopLevel),
    /// The same from the repository.
    Offered(TopLevel),
    /// There is nothing to wait for any more.
    End,
}

/// Brings the metadata of the four roles up to date. What it keeps are files under the names
/// `root.json`, `timestamp.json`, `snapshot.json` and `targets.json`, as the repository has served them;
/// `root.json` has to be there before the first one.
///
/// Whatever is stored was verified, and wherever the workflow is cut off, the next one goes on from
/// there: what a root withdraws is removed before the root is stored.
#[derive(Debug)]
pub struct Refresh {
    limits: Limits,
    now: i64,
    stage: Stage,
    /// Done in this order before the answer that the stage waits for.
    requests: VecDeque<Request>,
    roots: u32,
    trusted: Option<Trusted>,
}

impl Refresh {
    /// Begins at a time, in seconds since 1970, which holds until the end.
    pub fn new(now: i64, limits: Limits) -> Self {
        let load = Request::Load { file: TopLevel::Root.file(), limit: limits.root };
        let (stage, roots) = (Stage::KeptRoot, 0);
        Self { limits, now, stage, requests: [load].into(), roots, trusted: None }
    }

    /// What is trusted now; nothing before the workflow has come to a good end.
    pub fn into_trusted(self) -> Option<Trusted> {
        let ended = self.stage == Stage::End && self.requests.is_empty();
        self.trusted.filter(|_| ended)
    }

    fn step(&mut self, bytes: Option<Vec<u8>>) -> Result<(), Refused> {
        match (self.stage, bytes) {
            (Stage::KeptRoot, Some(bytes)) => {
                let file = TopLevel::Root.file();
                self.trusted = Some(Trusted::new(&bytes, self.now).map_err(|e| e.of(file))?);
                self.next_root()
            }
            (Stage::KeptRoot, None) => Err(Reason::NoRoot.of(TopLevel::Root.file())),
            (Stage::NextRoot, Some(bytes)) => self.root(bytes),
            (Stage::NextRoot, None) => self.last_root(),
            (Stage::Kept(role), bytes) => self.kept(role, bytes),
            (Stage::Offered(role), Some(bytes)) => self.offered(role, bytes),
            (Stage::Offered(role), None) => Err(Reason::Missing.of(role.file())),
            (Stage::End, _) => Ok(()),
        }
    }

    /// Section 5.3.3. After so many roots it is enough: the next refresh walks on.
    fn next_root(&mut self) -> Result<(), Refused> {
        if self.roots >= self.limits.roots {
            return self.last_root();
        }
        let version = self.trusted()?.next_root().map_err(|e| e.of(TopLevel::Root.file()))?;
        let path = metadata_path(TopLevel::Root.as_str(), Some(version), Form::Address);
        self.wait(Stage::NextRoot, Request::Fetch { path, limit: self.limits.root });
        Ok(())
    }

    /// Section 5.3.10.
    fn last_root(&mut self) -> Result<(), Refused> {
        let checked = self.trusted()?.check_root();
        checked.map_err(|reason| reason.of(TopLevel::Root.file()))?;
        self.load(TopLevel::Timestamp)
    }

    /// Section 5.3.4 to 5.3.9.
    fn root(&mut self, bytes: Vec<u8>) -> Result<(), Refused> {
        let refused = |reason: Reason| reason.of(TopLevel::Root.file());
        self.roots += 1;
        let withdrawn = self.trusted()?.update_root(&bytes).map_err(refused)?;
        // Removed first: after a power cut between the two, the root is fetched once more.
        if withdrawn {
            for role in [TopLevel::Timestamp, TopLevel::Snapshot] {
                self.requests.push_back(Request::Remove { file: role.file() });
            }
        }
        self.store(TopLevel::Root, bytes);
        self.next_root()
    }

    fn load(&mut self, role: TopLevel) -> Result<(), Refused> {
        let limit = self.limit(role);
        self.wait(Stage::Kept(role), Request::Load { file: role.file(), limit });
        Ok(())
    }

    /// What was kept counts if it is still signed by who may; if it is what the repository would give,
    /// it need not be fetched.
    fn kept(&mut self, role: TopLevel, bytes: Option<Vec<u8>>) -> Result<(), Refused> {
        let Some(bytes) = bytes else { return self.fetch(role) };
        let trusted = self.trusted()?;
        let current = match role {
            TopLevel::Root => false,
            TopLevel::Timestamp => {
                drop(trusted.update_timestamp(&bytes, Origin::Kept));
                false
            }
            TopLevel::Snapshot => {
                trusted.update_snapshot(&bytes, Origin::Kept).is_ok()
                    && trusted.update_snapshot(&bytes, Origin::Offered).is_ok()
            }
            TopLevel::Targets => trusted.update_targets(&bytes).is_ok(),
        };
        if current { self.after(role) } else { self.fetch(role) }
    }

    /// Sections 5.4.1, 5.5.1 and 5.6.1.
    fn fetch(&mut self, role: TopLevel) -> Result<(), Refused> {
        let (most, name) = (self.limit(role), role.as_str());
        let refused = |reason: Reason| reason.of(role.file());
        let trusted = self.trusted()?;
        let consistent = trusted.root().consistent_snapshot;
        let wanted = match role {
            TopLevel::Snapshot => Some(trusted.wanted_snapshot().map_err(refused)?),
            TopLevel::Targets => Some(trusted.wanted_targets(&role.file()).map_err(refused)?),
            TopLevel::Root | TopLevel::Timestamp => None,
        };
        let limit = wanted.and_then(|meta| meta.length).unwrap_or(most);
        if limit > most {
            return Err(refused(Reason::TooLong(most)));
        }
        let path = metadata_path(
            name,
            wanted.map(|meta| meta.version).filter(|_| consistent),
            Form::Address,
        );
        self.wait(Stage::Offered(role), Request::Fetch { path, limit });
        Ok(())
    }

    fn offered(&mut self, role: TopLevel, bytes: Vec<u8>) -> Result<(), Refused> {
        let trusted = self.trusted()?;
        let news = match role {
            TopLevel::Root => Ok(News::Same),
            TopLevel::Timestamp => trusted.update_timestamp(&bytes, Origin::Offered),
            TopLevel::Snapshot => {
                trusted.update_snapshot(&bytes, Origin::Offered).map(|()| News::Newer)
            }
            TopLevel::Targets => trusted.update_targets(&bytes).map(|()| News::Newer),
        };
        if news.map_err(|e| e.of(role.file()))? == News::Newer {
            self.store(role, bytes);
        }
        self.after(role)
    }

    /// Which role comes after one that is up to date.
    fn after(&mut self, role: TopLevel) -> Result<(), Refused> {
        match role {
            TopLevel::Root => self.load(TopLevel::Timestamp),
            TopLevel::Timestamp => self.load(TopLevel::Snapshot),
            TopLevel::Snapshot => self.load(TopLevel::Targets),
            TopLevel::Targets => {
                self.stage = Stage::End;
                Ok(())
            }
        }
    }

    fn limit(&self, role: TopLevel) -> u64 {
        match role {
            TopLevel::Root => self.limits.root,
            TopLevel::Timestamp => self.limits.timestamp,
            TopLevel::Snapshot => self.limits.snapshot,
            TopLevel::Targets => self.limits.targets,
        }
    }

    fn trusted(&mut self) -> Result<&mut Trusted, Refused> {
        self.trusted.as_mut().ok_or_else(|| Reason::NoRoot.of(TopLevel::Root.file()))
    }

    fn store(&mut self, role: TopLevel, bytes: Vec<u8>) {
        self.requests.push_back(Request::Store { file: role.file(), bytes });
    }

    fn wait(&mut self, stage: Stage, request: Request) {
        self.stage = stage;
        self.requests.push_back(request);
    }
}

impl Workflow for Refresh {
    fn request(&self) -> Option<&Request> {
        self.requests.front()
    }

    fn answer(&mut self, bytes: Option<Vec<u8>>) -> Result<(), Refused> {
        let done = match self.requests.pop_front() {
            // What is kept and too long was kept by somebody else.
            Some(Request::Load { limit, .. }) => {
                self.step(bytes.filter(|bytes| within(bytes, limit).is_ok()))
            }
            Some(Request::Fetch { path, limit }) => {
                let taken = bytes.as_deref().map_or(Ok(()), |bytes| within(bytes, limit));
                taken.map_err(|reason| reason.of(path)).and_then(|()| self.step(bytes))
            }
            Some(Request::Store { .. } | Request::Remove { .. }) | None => Ok(()),
        };
        if done.is_err() {
            self.requests.clear();
            self.trusted = None;
        }
        done
    }
}
