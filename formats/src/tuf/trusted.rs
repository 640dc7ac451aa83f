//! What is trusted, and the rules by which more comes to it: specification section 5, without a byte of
//! I/O. Each method is a step of the workflow; what is refused changes nothing.

use super::error::Reason;
use super::hashes::MetaFile;
use super::key::{Keys, RoleKeys};
use super::metadata::{Metadata, Root, Snapshot, Targets, Timestamp};
use super::name::{RoleName, TopLevel};
use super::signed::Signed;

type Result<T> = std::result::Result<T, Reason>;

/// Metadata that was verified from a root on.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// The time at which the update began, in seconds since 1970 (section 5.1).
    now: i64,
    root: Root,
    timestamp: Option<Timestamp>,
    snapshot: Option<Snapshot>,
    targets: Option<Targets>,
}

/// Whether metadata came from what was trusted before, or from a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was verified once, and is only the ground for comparisons: it may have expired.
    Kept,
    /// It is to be believed from now on.
    Offered,
}

/// What became of a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It is newer than what was trusted, and trusted now.
    Newer,
    /// It has the version that is trusted already: that one stays.
    Same,
}

impl Trusted {
    /// Section 5.2: begins with a root that came by a way that is trusted. It may have expired, but it
    /// has its own signatures.
    ///
    /// # Errors
    /// It is damaged.
    pub fn new(root: &[u8], now: i64) -> Result<Self> {
        let signed = Signed::parse(root)?;
        let root: Root = signed.metadata()?;
        signed.check(&root.keys, root.role(TopLevel::Root), "root")?;
        Ok(Self { now, root, timestamp: None, snapshot: None, targets: None })
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The timestamp, once there is one.
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.timestamp.as_ref()
    }

    /// The snapshot, once there is one.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// What the role `targets` says, once it is known.
    pub fn targets(&self) -> Option<&Targets> {
        self.targets.as_ref()
    }

    /// Until when, in seconds since 1970, all this is to be believed.
    pub fn expires(&self) -> i64 {
        let heads = [
            Some(self.root.head()),
            self.timestamp.as_ref().map(Metadata::head),
            self.snapshot.as_ref().map(Metadata::head),
            self.targets.as_ref().map(Metadata::head),
        ];
        heads.into_iter().flatten().map(|head| head.expires).min().unwrap_or(i64::MIN)
    }

    /// The version that the next root must have.
    pub(super) fn next_root(&self) -> Result<u64> {
        // One more than that of JSON can be no version of a file.
        let next = self.root.head.version + 1;
        if i64::try_from(next).is_ok() { Ok(next) } else { Err(Reason::LastVersion) }
    }

    /// Section 5.3.4 to 5.3.7: goes on to the next root; all else is to be taken again. Returns whether a
    /// key of timestamps or snapshots was withdrawn: then nothing that is kept of these may be (5.3.11).
    ///
    /// # Errors
    /// The old or the new keys have not signed it, or its version is not the next.
    pub fn update_root(&mut self, bytes: &[u8]) -> Result<bool> {
        let signed = Signed::parse(bytes)?;
        let root: Root = signed.metadata()?;
        let role = TopLevel::Root;
        signed.check(&self.root.keys, self.root.role(role), "root, as it was before")?;
        signed.check(&root.keys, root.role(role), "root")?;
        let (found, want) = (root.head.version, self.next_root()?);
        if found != want {
            return Err(Reason::Version { found, want });
        }
        let values = |root: &Root, role| root.keys.values(&root.role(role).ids);
        let withdrawn = [TopLevel::Timestamp, TopLevel::Snapshot]
            .into_iter()
            .any(|role| !values(&self.root, role).is_subset(&values(&root, role)));
        // What the old keys have signed is to be verified by the new ones.
        *self = Self { now: self.now, root, timestamp: None, snapshot: None, targets: None };
        Ok(withdrawn)
    }

    /// Section 5.3.10: that the last root has not expired.
    ///
    /// # Errors
    /// It has.
    pub fn check_root(&self) -> Result<()> {
        self.root.head.check_expiry(self.now)
    }

    /// Section 5.4: takes a timestamp.
    ///
    /// # Errors
    /// It is not signed as it must be, older than what is trusted, or expired.
    pub fn update_timestamp(&mut self, bytes: &[u8], origin: Origin) -> Result<News> {
        let timestamp: Timestamp = self.signed(bytes, TopLevel::Timestamp)?;
        if let Some(trusted) = &self.timestamp {
            not_before(&timestamp, trusted.head.version)?;
            if timestamp.head.version == trusted.head.version {
                // What is trusted stays, whatever this one says; but not for ever.
                trusted.head.check_expiry(self.now)?;
                return Ok(News::Same);
            }
            let (found, trusted) = (timestamp.snapshot.version, trusted.snapshot.version);
            if found < trusted {
                let of = TopLevel::Snapshot.file();
                return Err(Reason::RollbackOf { of, found, trusted });
            }
        }
        if origin == Origin::Offered {
            timestamp.head.check_expiry(self.now)?;
        }
        self.timestamp = Some(timestamp);
        Ok(News::Newer)
    }

    /// What the timestamp says of the snapshot.
    pub(super) fn wanted_snapshot(&self) -> Result<&MetaFile> {
        Ok(&self.timestamp.as_ref().ok_or(Reason::Missing)?.snapshot)
    }

    /// Section 5.5: takes a snapshot. One that was kept is taken as the ground for comparisons.
    ///
    /// # Errors
    /// It is not the one that the timestamp names, not signed as it must be, names something older than
    /// what is trusted or leaves it out, or has expired.
    pub fn update_snapshot(&mut self, bytes: &[u8], origin: Origin) -> Result<()> {
        if origin == Origin::Offered {
            self.wanted_snapshot()?.check(bytes)?;
        }
        let snapshot: Snapshot = self.signed(bytes, TopLevel::Snapshot)?;
        if let Some(trusted) = &self.snapshot {
            not_before(&snapshot, trusted.head.version)?;
            for (name, trusted) in &trusted.meta {
                let offered = snapshot.meta.get(name);
                let offered = offered.ok_or_else(|| Reason::Removed(name.clone()))?;
                let (of, found, trusted) = (name.clone(), offered.version, trusted.version);
                if found < trusted {
                    return Err(Reason::RollbackOf { of, found, trusted });
                }
            }
        }
        if origin == Origin::Offered {
            is_version(&snapshot, self.wanted_snapshot()?.version)?;
            snapshot.head.check_expiry(self.now)?;
        }
        self.snapshot = Some(snapshot);
        Ok(())
    }

    /// What the snapshot says of targets metadata.
    pub(super) fn wanted_targets(&self, meta: &str) -> Result<&MetaFile> {
        let snapshot = self.snapshot.as_ref().ok_or(Reason::Missing)?;
        snapshot.meta.get(meta).ok_or(Reason::NotInSnapshot)
    }

    /// Section 5.6: takes the metadata of `targets`.
    ///
    /// # Errors
    /// It is not the one that the snapshot names, not signed as it must be, or has expired.
    pub fn update_targets(&mut self, bytes: &[u8]) -> Result<()> {
        let role = TopLevel::Targets;
        let keys = (&self.root.keys, self.root.role(role));
        let targets = self.targets_signed_by(bytes, &role.file(), role.as_str(), keys)?;
        self.targets = Some(targets);
        Ok(())
    }

    /// Section 5.6.7: the metadata of a role that `delegator` hands targets on to. It is verified for this
    /// delegator each time: another one may want other keys for the same name.
    ///
    /// # Errors
    /// It is not the one that the snapshot names, not signed as the delegator wants, or has expired.
    pub fn delegated(&self, bytes: &[u8], role: &RoleName, delegator: &Targets) -> Result<Targets> {
        let keys = delegator.delegation(role).ok_or(Reason::NoTarget)?;
        self.targets_signed_by(bytes, &role.meta(), role.as_str(), keys)
    }

    fn targets_signed_by(
        &self,
        bytes: &[u8],
        meta: &str,
        name: &str,
        (keys, role): (&Keys, &RoleKeys),
    ) -> Result<Targets> {
        let want = self.wanted_targets(meta)?;
        want.check(bytes)?;
        let signed = Signed::parse(bytes)?;
        signed.check(keys, role, name)?;
        let targets: Targets = signed.into_metadata()?;
        is_version(&targets, want.version)?;
        targets.head.check_expiry(self.now)?;
        Ok(targets)
    }

    /// Metadata of one of the four that its keys have signed.
    fn signed<M: Metadata>(&self, bytes: &[u8], role: TopLevel) -> Result<M> {
        let signed = Signed::parse(bytes)?;
        signed.check(&self.root.keys, self.root.role(role), role.as_str())?;
        signed.into_metadata()
    }
}

fn not_before(offered: &impl Metadata, trusted: u64) -> Result<()> {
    let found = offered.head().version;
    if found < trusted { Err(Reason::Rollback { found, trusted }) } else { Ok(()) }
}

fn is_version(offered: &impl Metadata, want: u64) -> Result<()> {
    let found = offered.head().version;
    if found == want { Ok(()) } else { Err(Reason::Version { found, want }) }
}
