//! A repository that can be changed at will, with keys that are made of a number.

use std::collections::BTreeMap;

use super::super::publish::{edition, signed};
use super::super::*;

/// Begin of the year 2030, when these tests are.
pub(super) const NOW: i64 = 1_893_456_000;
pub(super) const DAY: i64 = 86_400;

/// Keys of the four roles; root has three, of which two sign.
pub(super) const ROOT: [u8; 3] = [1, 2, 3];
pub(super) const TIMESTAMP: u8 = 4;
pub(super) const SNAPSHOT: u8 = 5;
pub(super) const TARGETS: u8 = 6;
pub(super) const STRANGER: u8 = 99;

pub(super) fn signer(number: u8) -> Ed25519 {
    Ed25519::from_seed(&[number; 32]).unwrap()
}

pub(super) fn key(number: u8) -> Key {
    signer(number).key()
}

/// A file with these signatures.
pub(super) fn file(metadata: &impl Metadata, signers: &[u8]) -> Vec<u8> {
    let signers: Vec<_> = signers.iter().map(|number| signer(*number)).collect();
    let signers: Vec<_> = signers.iter().collect();
    let Ok(bytes) = signed(metadata, &signers);
    bytes
}

pub(super) fn target(content: &str) -> TargetFile {
    TargetFile::new(content.len() as u64, crate::digest::Sha256::of(content))
}

pub(super) fn path(name: &str) -> TargetPath {
    name.parse().unwrap()
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) root: Root,
    pub(super) root_signers: Vec<u8>,
    pub(super) targets: Targets,
    pub(super) targets_signers: Vec<u8>,
    pub(super) delegated: BTreeMap<RoleName, (Targets, Vec<u8>)>,
    pub(super) snapshot: Head,
    pub(super) snapshot_signers: Vec<u8>,
    pub(super) timestamp: Head,
    pub(super) timestamp_signers: Vec<u8>,
    pub(super) served: BTreeMap<String, Vec<u8>>,
    pub(super) now: i64,
    pub(super) limits: Limits,
}

impl World {
    /// Version 1 of the root and 5 of all else, so that there is something to fall back to.
    pub(super) fn new() -> Self {
        let head = |version| Head::new(version, NOW + 30 * DAY);
        let mut world = Self {
            root: root(1, TIMESTAMP, SNAPSHOT),
            root_signers: vec![1, 2],
            targets: targets(5),
            targets_signers: vec![TARGETS],
            delegated: BTreeMap::new(),
            snapshot: head(5),
            snapshot_signers: vec![SNAPSHOT],
            timestamp: head(5),
            timestamp_signers: vec![TIMESTAMP],
            served: BTreeMap::new(),
            now: NOW,
            limits: Limits::DEFAULT,
        };
        world.targets.targets.insert(path("1.0/a"), target("one"));
        world.publish_root();
        world.publish();
        world
    }

    pub(super) fn publish_root(&mut self) {
        let file = self.root.file(file(&self.root, &self.root_signers));
        self.served.insert(file.address(), file.bytes);
    }

    /// Serves everything but the root as it stands.
    pub(super) fn publish(&mut self) {
        let files = self.edition().into_iter();
        self.served.extend(files.map(|file| (file.address(), file.bytes)));
    }

    /// Everything but the root as it stands, in the order in which it is to be served.
    pub(super) fn edition(&self) -> Vec<publish::File> {
        let targets = file(&self.targets, &self.targets_signers);
        let delegated = self.delegated.iter();
        let delegated =
            delegated.map(|(name, (role, by))| (name.clone(), file(role, by))).collect();
        let signers = |numbers: &[u8]| numbers.iter().map(|n| signer(*n)).collect::<Vec<_>>();
        let (snapshot, timestamp) =
            (signers(&self.snapshot_signers), signers(&self.timestamp_signers));
        let (snapshot, timestamp): (Vec<_>, Vec<_>) =
            (snapshot.iter().collect(), timestamp.iter().collect());
        let files = edition(
            &self.root,
            &targets,
            &delegated,
            (self.snapshot.clone(), &snapshot),
            (self.timestamp.clone(), &timestamp),
        );
        files.unwrap()
    }

    /// The next version of all but the root, not served yet.
    pub(super) fn advance(&mut self) {
        self.targets.head.version += 1;
        self.snapshot.version += 1;
        self.timestamp.version += 1;
    }

    /// A role for targets, named by `targets`.
    pub(super) fn delegate(&mut self, name: &str, scope: &[&str], signer: u8) {
        let delegation = delegation(name, scope, signer);
        let delegations = self.targets.delegations.get_or_insert_default();
        delegations.add(delegation, signer);
        self.delegated.insert(name.parse().unwrap(), (targets(5), vec![signer]));
    }

    /// A client that trusts the first root.
    pub(super) fn client(&self) -> Memory {
        Memory::new(&self.served["1.root.json"])
    }

    pub(super) fn refresh(&self, client: &mut Memory) -> Result<Trusted, Refused> {
        client.served.clone_from(&self.served);
        let mut refresh = Refresh::new(self.now, self.limits);
        match run(&mut refresh, client) {
            Ok(()) => Ok(refresh.into_trusted().unwrap()),
            Err(refused) => {
                assert!(refresh.request().is_none() && refresh.into_trusted().is_none());
                Err(refused)
            }
        }
    }

    pub(super) fn find(&self, client: &mut Memory, name: &str) -> Result<Found, Refused> {
        let trusted = self.refresh(client)?;
        let mut search = Search::new(&trusted, path(name), self.limits)?;
        run(&mut search, client)?;
        search.found()
    }
}

impl Delegations {
    pub(super) fn add(&mut self, delegation: Delegation, signer: u8) {
        self.keys.add([key(signer)]);
        self.roles.push(delegation);
    }
}

pub(super) fn delegation(name: &str, scope: &[&str], signer: u8) -> Delegation {
    Delegation {
        name: name.parse().unwrap(),
        keys: RoleKeys::of([&key(signer)], 1),
        scope: Scope::Paths(scope.iter().map(|pattern| (*pattern).to_owned()).collect()),
        terminating: false,
        more: Object::new(),
    }
}

pub(super) fn targets(version: u64) -> Targets {
    let head = Head::new(version, NOW + 30 * DAY);
    Targets { head, targets: BTreeMap::new(), delegations: None }
}

/// A root of the usual keys but for these two.
pub(super) fn root(version: u64, timestamp: u8, snapshot: u8) -> Root {
    Root::new(Head::new(version, NOW + 300 * DAY), |role| match role {
        TopLevel::Root => (ROOT.map(key).to_vec(), 2),
        TopLevel::Timestamp => (vec![key(timestamp)], 1),
        TopLevel::Snapshot => (vec![key(snapshot)], 1),
        TopLevel::Targets => (vec![key(TARGETS)], 1),
    })
}
