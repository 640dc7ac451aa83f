//! `keys.toml`, schema 1: which keys sign for which role of a release, and how each is reached.
//! `docs/keys.md` has every key of it. Text in, value out; [`Roles::load`] alone reads a file.
//!
//! It holds no secret, so it may lie beside a recipe.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use formats::excerpt::excerpt;
use formats::near::near;
use formats::tuf::TopLevel;
use serde::Deserialize;
use toml::Spanned;

use super::{LARGEST, PublicKey};
use crate::error::{Context as _, Error, Id, Result, Shown, several};
use crate::recipe::model::{Name, Schema};

/// The name of the file.
pub const FILE_NAME: &str = "keys.toml";

/// A role of TUF: who may say what of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Says which keys the roles have, its own included.
    Root,
    /// Says which files a release has.
    Targets,
    /// Says which versions the metadata of all targets have.
    Snapshot,
    /// Says which snapshot is the newest.
    Timestamp,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Snapshot, Self::Timestamp];

    /// How many signatures it takes where nothing is said. What root signs is all that a node goes
    /// by, and who has one key of it should not be able to do that alone.
    fn threshold(self) -> u32 {
        if self == Self::Root { 2 } else { 1 }
    }

    /// How many days what it signs is good for where nothing is said. The more often a role signs, the
    /// shorter: who keeps a node from what is new can do so for that long.
    pub(super) fn days(self) -> u32 {
        match self {
            Self::Root => 365,
            Self::Targets => 90,
            Self::Snapshot => 30,
            Self::Timestamp => 7,
        }
    }

    /// The same role as metadata has it.
    pub fn of_metadata(self) -> TopLevel {
        match self {
            Self::Root => TopLevel::Root,
            Self::Targets => TopLevel::Targets,
            Self::Snapshot => TopLevel::Snapshot,
            Self::Timestamp => TopLevel::Timestamp,
        }
    }
}

/// The longest that anything is good for: ten years.
const LONGEST: u32 = 3660;

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.of_metadata().as_str())
    }
}

/// What a role takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// How many of its keys must sign: one at least, and no more than there are.
    pub threshold: u32,
    /// How many days what it signs is good for: one at least.
    pub days: u32,
    /// Names of keys, none twice.
    pub keys: Vec<Name>,
}

/// A key, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What its signatures are checked with.
    pub public: PublicKey,
    /// Who has the private half.
    pub holder: Holder,
}

/// Who has a private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// This file, relative to the directory of `keys.toml` unless it is absolute.
    File(PathBuf),
    /// This program with these arguments.
    Command(Vec<String>),
    /// Somebody else, whose signature comes by other ways.
    Elsewhere,
}

/// What `keys.toml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    // Invariant: has all roles, and the keys that they name.
    roles: BTreeMap<Role, Signing>,
    keys: BTreeMap<Name, Key>,
}

/// One thing that is wrong with the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    message: String,
    hint: Option<String>,
    span: Range<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    #[serde(rename = "schema")]
    _schema: Schema,
    root: WrittenRole,
    targets: WrittenRole,
    snapshot: WrittenRole,
    timestamp: WrittenRole,
    #[serde(default)]
    key: BTreeMap<Name, Spanned<WrittenKey>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenRole {
    threshold: Option<Spanned<u32>>,
    days: Option<Spanned<u32>>,
    keys: Spanned<Vec<Spanned<Name>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenKey {
    public: Spanned<PublicKey>,
    file: Option<Spanned<PathBuf>>,
    sign_with: Option<Spanned<Vec<String>>>,
}

impl Roles {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Id::Read`]; [`Id::KeyRoles`] with what is wrong and where.
    pub fn load(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot read `{}`", path.display());
        let mut text = String::new();
        let file = File::open(path).or_fail(Id::Read, cannot)?;
        file.take(LARGEST + 1).read_to_string(&mut text).or_fail(Id::Read, cannot)?;
        if text.len() as u64 > LARGEST {
            let message = format!("`{}` has more than {LARGEST} bytes", path.display());
            return Err(Error::new(Id::KeyRoles, message));
        }
        Self::parse(&text).map_err(|problems| {
            let shown = problems.into_iter().map(|Problem { message, hint, span }| Shown {
                text: format!("{message}\n{}", excerpt(path, &text, span)),
                hint,
            });
            several(Id::KeyRoles, "the roles of keys", shown.collect())
        })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first thing that is no TOML of this form; if all is, everything that makes no sense.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let written: Written = toml::from_str(text).map_err(|error| vec![Problem::of(&error)])?;
        let mut problems = Vec::new();
        let keys = read_keys(written.key, &mut problems);
        let roles = [written.root, written.targets, written.snapshot, written.timestamp];
        let roles = Role::ALL.into_iter().zip(roles);
        let roles =
            roles.map(|(role, written)| (role, read_role(role, written, &keys, &mut problems)));
        let roles = roles.collect();
        problems.sort_by_key(|problem: &Problem| problem.span.start);
        if problems.is_empty() { Ok(Self { roles, keys }) } else { Err(problems) }
    }

    /// What a role takes.
    pub fn role(&self, role: Role) -> &Signing {
        &self.roles[&role]
    }

    /// All keys, by their names.
    pub fn keys(&self) -> &BTreeMap<Name, Key> {
        &self.keys
    }
}

fn read_keys(
    written: BTreeMap<Name, Spanned<WrittenKey>>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<Name, Key> {
    let mut publics: BTreeMap<PublicKey, Name> = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for (name, written) in written {
        let WrittenKey { public, file, sign_with } = written.into_inner();
        let (span, public) = (public.span(), public.into_inner());
        // One key under two names would count as two signatures.
        if let Some(other) = publics.insert(public, name.clone()) {
            let message = format!("`{name}` is the same key as `{other}`");
            problems.push(Problem::new(span, message));
        }
        if let (Some(_), Some(sign_with)) = (&file, &sign_with) {
            let message = format!("`{name}` has both `file` and `sign-with`");
            problems.push(Problem::new(sign_with.span(), message));
        }
        if let Some(words) = &sign_with
            && words.get_ref().first().is_none_or(String::is_empty)
        {
            let message = "`sign-with` begins with a program".to_owned();
            problems.push(Problem::new(words.span(), message));
        }
        let holder = match (file, sign_with) {
            (Some(file), _) => Holder::File(file.into_inner()),
            (None, Some(words)) => Holder::Command(words.into_inner()),
            (None, None) => Holder::Elsewhere,
        };
        keys.insert(name, Key { public, holder });
    }
    keys
}

fn read_role(
    role: Role,
    written: WrittenRole,
    keys: &BTreeMap<Name, Key>,
    problems: &mut Vec<Problem>,
) -> Signing {
    let list = written.keys.span();
    let mut named: Vec<Name> = Vec::new();
    for name in written.keys.into_inner() {
        let (span, name) = (name.span(), name.into_inner());
        if !keys.contains_key(&name) {
            let mut problem = Problem::new(span, format!("there is no `[key.{name}]`"));
            let near = near(name.as_str(), keys.keys().map(Name::as_str));
            problem.hint = near.map(|meant| format!("did you mean `{meant}`?"));
            problems.push(problem);
        } else if named.contains(&name) {
            let message = format!("`{role}` names `{name}` twice: it signs once");
            problems.push(Problem::new(span, message));
        }
        named.push(name);
    }
    let (span, threshold) = match written.threshold {
        Some(threshold) => (threshold.span(), threshold.into_inner()),
        None => (list.clone(), role.threshold()),
    };
    let has = named.len();
    if has == 0 {
        problems.push(Problem::new(list, format!("`{role}` has no key")));
    } else if threshold == 0 {
        let message = format!("`{role}` would be signed by nobody");
        problems.push(Problem::new(span, message));
    } else if usize::try_from(threshold).is_ok_and(|threshold| threshold > has) {
        let message = format!("`{role}` takes {threshold} signatures and has {has} keys");
        let mut problem = Problem::new(span, message.replace(" 1 keys", " 1 key"));
        problem.hint = Some("name more keys, or say another `threshold`".to_owned());
        problems.push(problem);
    }
    let days = written.days.map_or(role.days(), |days| {
        let (span, days) = (days.span(), days.into_inner());
        if !(1..=LONGEST).contains(&days) {
            let message = format!("`{role}` signs for 1 to {LONGEST} days, and not for {days}");
            problems.push(Problem::new(span, message));
        }
        days
    });
    Signing { threshold, days, keys: named }
}

impl Problem {
    fn new(span: Range<usize>, message: String) -> Self {
        Self { message, hint: None, span }
    }

    /// What the reader of TOML has found.
    fn of(error: &toml::de::Error) -> Self {
        let words: Vec<_> = error.message().split_whitespace().collect();
        let message = words.join(" ");
        let span = error.span().unwrap_or(0..0);
        // "unknown field `x`, expected one of `a`, `b`"
        let quoted: Vec<_> = message.split('`').skip(1).step_by(2).collect();
        match (message.starts_with("unknown field `"), quoted.split_first()) {
            (true, Some((unknown, known))) => Self {
                message: format!("`{unknown}` is not a key that stands here"),
                hint: Some(match near(unknown, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("the keys here are `{}`", known.join("`, `")),
                }),
                span,
            },
            _ => match message.strip_prefix("missing field ") {
                Some(missing) => Self::new(span, format!("the key {missing} is missing")),
                None => Self::new(span, message),
            },
        }
    }
}

#[cfg(test)]
#[path = "roles/tests.rs"]
mod tests;
