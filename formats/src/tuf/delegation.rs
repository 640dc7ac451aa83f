//! Who may speak for which targets: specification section 4.5.

use super::error::Reason;
use super::fields::{Fields, integer, object, texts};
use super::json::{Json, Object};
use super::key::{Keys, RoleKeys};
use super::name::{RoleName, TargetPath};
use crate::digest::Sha256;

/// The roles that a role hands targets on to, the most trusted first, and their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delegations {
    /// Keys of these roles.
    pub keys: Keys,
    /// The roles; no name twice.
    pub roles: Vec<Delegation>,
    /// Members that were not understood.
    pub more: Object,
}

/// A role that targets are handed on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Its name.
    pub name: RoleName,
    /// Its keys.
    pub keys: RoleKeys,
    /// For which targets.
    pub scope: Scope,
    /// Whether nobody after it is asked about these targets.
    pub terminating: bool,
    /// Members that were not understood.
    pub more: Object,
}

/// Which targets are handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Those that fit one of these patterns: `*` and `?` stand for characters of one name, not for `/`.
    Paths(Vec<String>),
    /// Those whose names have a SHA-256 that begins with one of these digits.
    HashPrefixes(Vec<String>),
    /// None.
    Nothing,
}

impl Scope {
    /// Whether a target is one of these.
    pub fn has(&self, target: &TargetPath) -> bool {
        match self {
            Self::Paths(patterns) => {
                patterns.iter().any(|pattern| fits(pattern.as_bytes(), target.as_str().as_bytes()))
            }
            Self::HashPrefixes(prefixes) => {
                let digest = Sha256::of(target.as_str()).to_string();
                prefixes.iter().any(|prefix| digest.starts_with(&prefix.to_ascii_lowercase()))
            }
            Self::Nothing => false,
        }
    }
}

/// Whether a path fits a pattern. Each `*` takes as little as it can and more where that leads nowhere;
/// only the last one is tried again, so this is quick for any pattern.
fn fits(pattern: &[u8], path: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Behind the last `*`, and where what it took ends.
    let mut star: Option<(usize, usize)> = None;
    while from < path.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, from));
                at += 1;
            }
            Some(b'?') if path[from] != b'/' => {
                // A character may have more bytes than one.
                at += 1;
                from += 1;
                while path.get(from).is_some_and(|byte| byte & 0xc0 == 0x80) {
                    from += 1;
                }
            }
            Some(byte) if *byte == path[from] && *byte != b'?' => (at, from) = (at + 1, from + 1),
            _ => match &mut star {
                Some((behind, taken)) if path[*taken] != b'/' => {
                    *taken += 1;
                    (at, from) = (*behind, *taken);
                }
                _ => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl Delegations {
    /// Those that are asked about a target, in order; nobody after a terminating one.
    pub fn of(&self, target: &TargetPath) -> Vec<&Delegation> {
        let mut asked: Vec<&Delegation> = Vec::new();
        for role in self.roles.iter().filter(|role| role.scope.has(target)) {
            asked.push(role);
            if role.terminating {
                break;
            }
        }
        asked
    }

    pub(super) fn read(json: Json) -> Result<Self, Reason> {
        let mut fields = Fields::of(json, "delegations.")?;
        let keys = Keys::read(fields.object("keys")?, "delegations.keys")?;
        let roles = fields.list("roles")?.into_iter().map(Delegation::read);
        let roles: Vec<_> = roles.collect::<Result<_, _>>()?;
        let mut names: Vec<_> = roles.iter().map(|role| &role.name).collect();
        names.sort();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(fields.wrong("roles", "a list of roles with different names"));
        }
        Ok(Self { keys, roles, more: fields.rest() })
    }

    pub(super) fn to_json(&self) -> Json {
        let roles = self.roles.iter().map(Delegation::to_json).collect();
        object([("keys", self.keys.to_json()), ("roles", Json::List(roles))], &self.more)
    }
}

impl Delegation {
    fn read(json: Json) -> Result<Self, Reason> {
        let mut fields = Fields::of(json, "delegations.roles.")?;
        let name = fields.text("name")?.parse();
        let name = name.map_err(|_| fields.wrong("name", "a name for a role"))?;
        let keys = RoleKeys::take(&mut fields)?;
        let terminating = fields.flag("terminating")?.unwrap_or_default();
        let paths = fields.optional("paths").filter(|value| *value != Json::Null);
        let prefixes = fields.optional("path_hash_prefixes").filter(|value| *value != Json::Null);
        let list = |member: &str, value: Json| {
            let members = [(member.to_owned(), value)].into();
            Fields::of(Json::Object(members), "delegations.roles.")?.texts(member)
        };
        let scope = match (paths, prefixes) {
            (Some(_), Some(_)) => {
                return Err(fields.wrong("paths", "alone, without `path_hash_prefixes`"));
            }
            (Some(paths), None) => Scope::Paths(list("paths", paths)?),
            (None, Some(prefixes)) => Scope::HashPrefixes(list("path_hash_prefixes", prefixes)?),
            (None, None) => Scope::Nothing,
        };
        Ok(Self { name, keys, scope, terminating, more: fields.rest() })
    }

    fn to_json(&self) -> Json {
        let mut members = self.more.clone();
        let scope = match &self.scope {
            Scope::Paths(paths) => Some(("paths", texts(paths))),
            Scope::HashPrefixes(prefixes) => Some(("path_hash_prefixes", texts(prefixes))),
            Scope::Nothing => None,
        };
        members.extend(scope.map(|(name, value)| (name.to_owned(), value)));
        let known = [
            ("keyids", texts(&self.keys.ids)),
            ("name", self.name.as_str().into()),
            ("terminating", Json::Bool(self.terminating)),
            ("threshold", integer(self.keys.threshold)),
        ];
        object(known, &members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_fit_as_the_specification_says() {
        for (pattern, path, want) in [
            // Its own examples, section 4.5.
            ("targets/*.tgz", "targets/foo.tgz", true),
            ("targets/*.tgz", "targets/foo.txt", false),
            ("foo-version-?.tgz", "foo-version-2.tgz", true),
            ("foo-version-?.tgz", "foo-version-alpha.tgz", false),
            ("*.tgz", "bar.tgz", true),
            ("*.tgz", "targets/foo.tgz", false),
            ("foo.tgz", "foo.tgz", true),
            ("foo.tgz", "foo.tgz2", false),
            ("*", "a", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a/*/c", "a/b/b/c", false),
            ("?", "/", false),
            ("?", "é", true),
            ("a?c", "a/c", false),
            ("?", "?", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("a**", "a", true),
            ("", "a", false),
            ("[ab]", "a", false),
            ("A", "a", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), path.as_bytes()), want, "{pattern} {path}");
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        let pattern = "*a".repeat(2000) + "b";
        assert!(!fits(pattern.as_bytes(), "a".repeat(4000).as_bytes()));
    }

    #[test]
    fn bins_are_by_the_digest_of_the_name() {
        let target: TargetPath = "a".parse().unwrap();
        let digits = Sha256::of("a").to_string();
        let has = |prefix: &str| Scope::HashPrefixes(vec![prefix.to_owned()]).has(&target);
        assert!(has(&digits) && has(&digits[..3]) && has(&digits[..3].to_uppercase()) && has(""));
        assert!(!has("00") && !has(&format!("{digits}0")));
        assert!(!Scope::Nothing.has(&target));
    }

    fn delegations(roles: &str) -> Result<Delegations, Reason> {
        let text = format!(r#"{{"keys":{{}},"roles":[{roles}]}}"#);
        Delegations::read(Json::parse(text.as_bytes()).unwrap())
    }

    fn role(name: &str, more: &str) -> String {
        format!(r#"{{"name":"{name}","keyids":[],"threshold":1{more}}}"#)
    }

    #[test]
    fn roles_that_nobody_can_tell_apart_or_reach_are_refused() {
        for (roles, want) in [
            ([role("a", ""), role("a", "")].join(","), "delegations.roles"),
            (role("root", ""), "delegations.roles.name"),
            (role("", ""), "delegations.roles.name"),
            (role("a", r#","paths":["*"],"path_hash_prefixes":["a"]"#), "delegations.roles.paths"),
            (role("a", r#","paths":[1]"#), "delegations.roles.paths"),
            (role("a", r#","terminating":1"#), "delegations.roles.terminating"),
            (r#"{"name":"a","keyids":[],"threshold":0}"#.to_owned(), "delegations.roles.threshold"),
            ("1".to_owned(), "delegations.roles"),
        ] {
            let error = delegations(&roles).unwrap_err();
            assert!(error.to_string().contains(&format!("`{want}`")), "{error} {roles}");
        }
        // TAP 15: bins that are not listed.
        let bins = r#"{"keys":{},"succinct_roles":{"keyids":[],"threshold":1,"bit_length":4,
            "name_prefix":"bin"}}"#;
        let read = Delegations::read(Json::parse(bins.as_bytes()).unwrap());
        assert_eq!(read.unwrap_err().to_string(), "its `delegations.roles` is not a list");
    }

    #[test]
    fn nobody_is_asked_after_a_terminating_role_and_nobody_who_is_not_meant() {
        let roles = [
            role("a", r#","paths":["x"]"#),
            role("b", r#","paths":["*"]"#),
            role("c", r#","paths":["y*"],"terminating":true"#),
            role("d", r#","path_hash_prefixes":[""]"#),
            role("e", ""),
        ];
        let delegations = delegations(&roles.join(",")).unwrap();
        let asked = |target: &str| -> String {
            let asked = delegations.of(&target.parse().unwrap());
            asked.iter().map(|role| role.name.as_str()).collect()
        };
        assert_eq!(
            (asked("x").as_str(), asked("y").as_str(), asked("z/z").as_str()),
            ("abd", "bc", "d")
        );
    }

    proptest! {
        /// The slow way: every way in which a `*` can end.
        #[test]
        fn the_quick_way_is_the_slow_way(pattern in "[ab/*?]{0,8}", path in "[ab/]{0,8}") {
            fn slow(pattern: &[u8], path: &[u8]) -> bool {
                match (pattern, path) {
                    ([], path) => path.is_empty(),
                    ([b'*', pattern @ ..], _) => {
                        let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
                        (0..=end).any(|at| slow(pattern, &path[at..]))
                    }
                    ([b'?', pattern @ ..], [byte, path @ ..]) => *byte != b'/' && slow(pattern, path),
                    ([one, pattern @ ..], [byte, path @ ..]) => one == byte && slow(pattern, path),
                    _ => false,
                }
            }
            prop_assert_eq!(
                fits(pattern.as_bytes(), path.as_bytes()),
                slow(pattern.as_bytes(), path.as_bytes())
            );
        }
    }
}
