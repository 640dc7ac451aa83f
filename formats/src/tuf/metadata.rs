//! What the four roles say: specification sections 4.3 to 4.6. Members that are not understood are
//! kept, so that who signs again signs them too.

use std::collections::BTreeMap;

use super::delegation::Delegations;
use super::error::Reason;
use super::fields::{Fields, integer, object, texts};
use super::hashes::{MetaFile, TargetFile};
use super::json::{Json, Object};
use super::key::{Key, Keys, RoleKeys};
use super::name::{RoleName, TargetPath, TopLevel};
use crate::moment::Moment;

/// The version of the specification that we write.
pub const SPECIFICATION: &str = "1.0.33";

type Result<T> = std::result::Result<T, Reason>;

/// What a role says: the `signed` part of a file.
pub trait Metadata: Sized {
    /// What `_type` says.
    const TYPE: &'static str;

    /// Which version it is, and until when.
    fn head(&self) -> &Head;

    /// Reads it.
    ///
    /// # Errors
    /// It is of another type or another specification, or a member is not what it should be.
    fn read(json: Json) -> Result<Self>;

    /// What is signed.
    fn to_json(&self) -> Json;
}

/// What all metadata has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// From 1; never falls.
    pub version: u64,
    /// In seconds since 1970: from then on it is not to be believed.
    pub expires: i64,
    /// Members that were not understood.
    pub more: Object,
    /// The version of the specification that it follows.
    specification: String,
}

impl Head {
    /// That of this version, until so many seconds after 1970.
    pub fn new(version: u64, expires: i64) -> Self {
        let specification = SPECIFICATION.to_owned();
        Self { version, expires, more: Object::new(), specification }
    }

    /// That its time is not over.
    pub(super) fn check_expiry(&self, now: i64) -> Result<()> {
        if self.expires > now { Ok(()) } else { Err(Reason::Expired(self.expires)) }
    }

    fn open(json: Json, want: &'static str) -> Result<Fields> {
        let mut fields = Fields::of(json, "")?;
        let found = fields.text("_type")?;
        if found == want { Ok(fields) } else { Err(Reason::Type { found, want }) }
    }

    fn take(fields: &mut Fields) -> Result<Self> {
        let specification = fields.text("spec_version")?;
        // A number that is not 1 would be another format under the same name.
        if specification.split('.').next() != Some("1") {
            return Err(Reason::Specification(specification));
        }
        let expires = Moment::seconds_of(&fields.text("expires")?);
        let expires =
            expires.ok_or_else(|| fields.wrong("expires", "a time like 2030-01-31T00:00:00Z"))?;
        Ok(Self {
            version: fields.positive("version")?,
            expires,
            more: Object::new(),
            specification,
        })
    }

    fn to_json<const N: usize>(&self, of: &str, members: [(&str, Json); N]) -> Json {
        let known = [
            ("_type", of.into()),
            ("expires", Moment::at(self.expires).rfc3339().into()),
            ("spec_version", self.specification.as_str().into()),
            ("version", integer(self.version)),
        ];
        let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
        let more = self.more.clone().into_iter().chain(members).collect();
        object(known, &more)
    }
}

/// Whose keys the four roles have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Version and end.
    pub head: Head,
    /// Keys of the four roles.
    pub keys: Keys,
    /// Whether metadata and targets have names of their own for each version.
    pub consistent_snapshot: bool,
    // Invariant: the four roles are there.
    roles: BTreeMap<String, RoleKeys>,
}

impl Root {
    /// A root with consistent snapshots, whose four roles have these keys each, with a threshold.
    pub fn new(head: Head, role: impl Fn(TopLevel) -> (Vec<Key>, u64)) -> Self {
        let (keys, roles) = (Keys::default(), BTreeMap::new());
        let mut root = Self { head, keys, consistent_snapshot: true, roles };
        for name in TopLevel::ALL {
            let (keys, threshold) = role(name);
            root.assign(name, keys, threshold);
        }
        root
    }

    /// Gives one of the four other keys and another threshold. Keys that no role has any more go.
    pub fn assign(&mut self, role: TopLevel, keys: impl IntoIterator<Item = Key>, threshold: u64) {
        let keys: Vec<_> = keys.into_iter().collect();
        let mut of = RoleKeys::of(&keys, threshold);
        if let Some(before) = self.roles.remove(role.as_str()) {
            of.more = before.more;
        }
        self.roles.insert(role.as_str().to_owned(), of);
        self.keys.add(keys);
        let roles = &self.roles;
        self.keys.retain(|id| roles.values().any(|role| role.ids.contains(id)));
    }

    /// The keys of one of the four.
    pub fn role(&self, role: TopLevel) -> &RoleKeys {
        static NOBODY: RoleKeys = RoleKeys::nobody();
        // The four are always there; nobody's signature would be enough for one that is not.
        self.roles.get(role.as_str()).unwrap_or(&NOBODY)
    }
}

impl Metadata for Root {
    const TYPE: &'static str = "root";

    fn head(&self) -> &Head {
        &self.head
    }

    fn read(json: Json) -> Result<Self> {
        let mut fields = Head::open(json, Self::TYPE)?;
        let mut head = Head::take(&mut fields)?;
        let keys = Keys::read(fields.object("keys")?, "keys")?;
        let consistent_snapshot = fields.flag("consistent_snapshot")?.unwrap_or_default();
        let mut roles = BTreeMap::new();
        for (name, role) in fields.object("roles")? {
            let mut role = Fields::of(role, &format!("roles.{name}."))?;
            let keys = RoleKeys::take(&mut role)?;
            roles.insert(name, RoleKeys { more: role.rest(), ..keys });
        }
        if let Some(away) = TopLevel::ALL.iter().find(|role| !roles.contains_key(role.as_str())) {
            return Err(fields.wrong(&format!("roles.{away}"), "there, as it must be"));
        }
        head.more = fields.rest();
        Ok(Self { head, keys, consistent_snapshot, roles })
    }

    fn to_json(&self) -> Json {
        let role = |(name, role): (&String, &RoleKeys)| {
            let known = [("keyids", texts(&role.ids)), ("threshold", integer(role.threshold))];
            (name.clone(), object(known, &role.more))
        };
        let roles = Json::Object(self.roles.iter().map(role).collect());
        let consistent = ("consistent_snapshot", Json::Bool(self.consistent_snapshot));
        self.head.to_json(Self::TYPE, [consistent, ("keys", self.keys.to_json()), ("roles", roles)])
    }
}

/// Which snapshot is the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// Version and end.
    pub head: Head,
    /// The snapshot.
    pub snapshot: MetaFile,
}

impl Metadata for Timestamp {
    const TYPE: &'static str = "timestamp";

    fn head(&self) -> &Head {
        &self.head
    }

    fn read(json: Json) -> Result<Self> {
        let mut fields = Head::open(json, Self::TYPE)?;
        let mut head = Head::take(&mut fields)?;
        let mut meta = fields.fields("meta")?;
        let name = TopLevel::Snapshot.file();
        let snapshot = meta.optional(&name).ok_or_else(|| meta.wrong(&name, "an object"))?;
        let snapshot = MetaFile::read(snapshot, "meta.snapshot.json.")?;
        if !meta.rest().is_empty() {
            return Err(fields.wrong("meta", "about `snapshot.json` alone"));
        }
        head.more = fields.rest();
        Ok(Self { head, snapshot })
    }

    fn to_json(&self) -> Json {
        let meta = [(TopLevel::Snapshot.file(), self.snapshot.to_json())].into();
        self.head.to_json(Self::TYPE, [("meta", Json::Object(meta))])
    }
}

/// Which versions of targets metadata belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Version and end.
    pub head: Head,
    /// Targets metadata by its name, such as `targets.json`.
    pub meta: BTreeMap<String, MetaFile>,
}

impl Metadata for Snapshot {
    const TYPE: &'static str = "snapshot";

    fn head(&self) -> &Head {
        &self.head
    }

    fn read(json: Json) -> Result<Self> {
        let mut fields = Head::open(json, Self::TYPE)?;
        let mut head = Head::take(&mut fields)?;
        let file = |(name, json): (String, Json)| {
            let file = MetaFile::read(json, &format!("meta.{name}."))?;
            Ok((name, file))
        };
        let meta = fields.object("meta")?.into_iter().map(file).collect::<Result<_>>()?;
        head.more = fields.rest();
        Ok(Self { head, meta })
    }

    fn to_json(&self) -> Json {
        let file = |(name, file): (&String, &MetaFile)| (name.clone(), file.to_json());
        let meta = self.meta.iter().map(file).collect();
        self.head.to_json(Self::TYPE, [("meta", Json::Object(meta))])
    }
}

/// Which files there are, or who may say so: of the role `targets` and of roles that it delegates to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Version and end.
    pub head: Head,
    /// The files.
    pub targets: BTreeMap<TargetPath, TargetFile>,
    /// Who may say more.
    pub delegations: Option<Delegations>,
}

impl Metadata for Targets {
    const TYPE: &'static str = "targets";

    fn head(&self) -> &Head {
        &self.head
    }

    fn read(json: Json) -> Result<Self> {
        let mut fields = Head::open(json, Self::TYPE)?;
        let mut head = Head::take(&mut fields)?;
        let target = |(name, json): (String, Json)| {
            let member = format!("targets.{name}");
            let file = TargetFile::read(json, &format!("{member}."))?;
            let wrong = |_| Reason::Shape { member, want: "a name that stays below its directory" };
            Ok((name.parse().map_err(wrong)?, file))
        };
        let targets = fields.object("targets")?.into_iter().map(target).collect::<Result<_>>()?;
        let delegations = fields.optional("delegations").map(Delegations::read).transpose()?;
        head.more = fields.rest();
        Ok(Self { head, targets, delegations })
    }

    fn to_json(&self) -> Json {
        let target =
            |(name, file): (&TargetPath, &TargetFile)| (name.as_str().to_owned(), file.to_json());
        let targets = Json::Object(self.targets.iter().map(target).collect());
        let mut head = self.head.clone();
        let delegations = self.delegations.as_ref().map(Delegations::to_json);
        head.more.extend(delegations.map(|value| ("delegations".to_owned(), value)));
        head.to_json(Self::TYPE, [("targets", targets)])
    }
}

impl Targets {
    /// What is said of a role that this one delegates to.
    pub fn delegation(&self, name: &RoleName) -> Option<(&Keys, &RoleKeys)> {
        let delegations = self.delegations.as_ref()?;
        let role = delegations.roles.iter().find(|role| role.name == *name)?;
        Some((&delegations.keys, &role.keys))
    }
}
