//! Relations between packages: `a (>= 1) | b:any [amd64] <!nocheck>, c`.
//! Syntax: Debian policy 7.1 and deb-control(5).

use std::fmt;

use super::version::Version;

/// One part between commas: any of its alternatives will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// In order of preference; never empty.
    pub alternatives: Vec<Alternative>,
}

/// One part between bars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// The package, or a virtual package.
    pub name: String,
    /// What follows the colon: `any`, `native` or an architecture.
    pub qualifier: Option<String>,
    /// What its version must be.
    pub constraint: Option<Constraint>,
    /// Architectures that it is meant for, or with a `!` is not meant for; empty: for all.
    pub architectures: Vec<String>,
    /// Build profiles: one list for each pair of angle brackets.
    pub profiles: Vec<Vec<String>>,
}

/// A bound on a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// On which side of the bound.
    pub operator: Operator,
    /// The bound.
    pub version: Version,
}

/// How a version is compared with a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    const fn text(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }
}

impl Constraint {
    /// Whether `version` is on the right side of the bound.
    pub fn allows(&self, version: &Version) -> bool {
        match self.operator {
            Operator::Earlier => *version < self.version,
            Operator::EarlierOrEqual => *version <= self.version,
            Operator::Equal => *version == self.version,
            Operator::LaterOrEqual => *version >= self.version,
            Operator::Later => *version > self.version,
        }
    }
}

impl Alternative {
    /// Whether a package of its name in this version is meant, or one that is provided without a
    /// version: that fits no bound (policy 7.5).
    pub fn allows(&self, version: Option<&Version>) -> bool {
        let Some(constraint) = &self.constraint else { return true };
        version.is_some_and(|version| constraint.allows(version))
    }

    /// Whether it is meant for `architecture`, such as `amd64`: one that is not asks for nothing.
    pub fn applies_to(&self, architecture: &str) -> bool {
        let mut negated = self.architectures.iter().filter_map(|name| name.strip_prefix('!'));
        match self.architectures.first() {
            None => true,
            Some(first) if first.starts_with('!') => !negated.any(|name| name == architecture),
            Some(_) => {
                let named = |name: &String| {
                    matches!(name.as_str(), "any" | "linux-any") || name == architecture
                };
                self.architectures.iter().any(named)
            }
        }
    }

    /// Whether a package of `architecture` may stand for it: the qualifier says where it comes
    /// from. One of another architecture is asked for all the same, and is never there.
    pub fn may_come_from(&self, architecture: &str) -> bool {
        match self.qualifier.as_deref() {
            None | Some("any" | "native") => true,
            Some(other) => other == architecture,
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {})", self.operator.text(), self.version)
    }
}

impl fmt::Display for Alternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(qualifier) = &self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        if let Some(constraint) = &self.constraint {
            write!(f, " {constraint}")?;
        }
        if !self.architectures.is_empty() {
            write!(f, " [{}]", self.architectures.join(" "))?;
        }
        self.profiles.iter().try_for_each(|profile| write!(f, " <{}>", profile.join(" ")))
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, alternative) in self.alternatives.iter().enumerate() {
            f.write_str(if index > 0 { " | " } else { "" })?;
            alternative.fmt(f)?;
        }
        Ok(())
    }
}

/// The text is not a list of relations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a relation to a package")]
pub struct DependencyError(String);

/// Reads a field such as `Depends` or `Provides`. Empty parts are passed over, as dpkg does.
///
/// # Errors
/// The part that cannot be understood.
pub fn parse_dependencies(text: &str) -> Result<Vec<Dependency>, DependencyError> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let alternatives = part.split('|').map(parse_alternative).collect::<Result<_, _>>()?;
            Ok(Dependency { alternatives })
        })
        .collect()
}

fn parse_alternative(text: &str) -> Result<Alternative, DependencyError> {
    let text = text.trim();
    let error = || DependencyError(text.to_owned());
    let (name, mut rest) =
        text.split_at(text.find([' ', '\t', '\n', '\r', '(', '[', '<']).unwrap_or(text.len()));
    let (name, qualifier) = match name.split_once(':') {
        Some((name, qualifier)) if is_name(qualifier) => (name, Some(qualifier.to_owned())),
        Some(_) => return Err(error()),
        None => (name, None),
    };
    if !is_name(name) {
        return Err(error());
    }
    let mut alternative = Alternative {
        name: name.to_owned(),
        qualifier,
        constraint: None,
        architectures: Vec::new(),
        profiles: Vec::new(),
    };
    loop {
        rest = rest.trim_start();
        let Some(open) = rest.chars().next() else { return Ok(alternative) };
        let close = match open {
            '(' => ')',
            '[' => ']',
            '<' => '>',
            _ => return Err(error()),
        };
        let (inner, after) = rest[1..].split_once(close).ok_or_else(error)?;
        rest = after;
        let words = || inner.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        match open {
            '(' if alternative.constraint.is_none() => {
                alternative.constraint = Some(parse_constraint(inner).ok_or_else(error)?);
            }
            '[' if alternative.architectures.is_empty() && !words().is_empty() => {
                alternative.architectures = words();
            }
            '<' if !words().is_empty() => alternative.profiles.push(words()),
            _ => return Err(error()),
        }
    }
}

fn parse_constraint(text: &str) -> Option<Constraint> {
    let text = text.trim();
    let (operator, version) = text.split_at(text.find(|c| !"<=>".contains(c))?);
    let operator = match operator {
        "<<" => Operator::Earlier,
        // A lone `<` or `>` has meant "or equal" since before policy; dpkg still reads it so.
        "<=" | "<" => Operator::EarlierOrEqual,
        "=" => Operator::Equal,
        ">=" | ">" => Operator::LaterOrEqual,
        ">>" => Operator::Later,
        _ => return None,
    };
    Some(Constraint { operator, version: version.trim().parse().ok()? })
}

/// Policy 5.6.1 allows lower case only and two characters at least; names in the wild are held
/// to the alphabet alone.
fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_whole_syntax_is_read_and_written_back() {
        let text = "a (>= 1:2.3-4) | b:any [amd64 arm64] <!nocheck> <x y>, c";
        let parsed = parse_dependencies(text).unwrap();
        let written: Vec<_> = parsed.iter().map(ToString::to_string).collect();
        assert_eq!(written.join(", "), text);
        assert_eq!(parsed.len(), 2);
        assert_eq!(parsed[0].alternatives[1].qualifier.as_deref(), Some("any"));
    }

    #[test]
    fn blanks_are_free() {
        for text in ["libc6(>=2.38)", " libc6 ( >=  2.38 ) ,", "libc6\n (>= 2.38)\n,"] {
            let parsed = parse_dependencies(text).unwrap();
            assert_eq!(parsed.len(), 1);
            assert_eq!(parsed[0].to_string(), "libc6 (>= 2.38)", "{text:?}");
        }
        assert_eq!(parse_dependencies(""), Ok(vec![]));
    }

    #[test]
    fn what_is_not_a_relation_is_refused_and_named() {
        for text in [
            "a b",
            "a (1)",
            "a (>= )",
            "a (>= 1",
            "a (>= 1) (<< 2)",
            "a (== 1)",
            "a | ",
            "(>= 1)",
            "a:",
            ":any",
            "a []",
            "a [b] [c]",
            "a <>",
            "a (>= 1) x",
            "-a",
            "ä",
            "a (>= 1_2)",
        ] {
            assert!(parse_dependencies(text).is_err(), "{text:?}");
        }
        let error = parse_dependencies("good, b c, d").unwrap_err();
        assert_eq!(error.to_string(), "`b c` is not a relation to a package");
    }

    #[test]
    fn a_constraint_bounds_a_version_on_its_side() {
        let table = [
            ("<<", [true, false, false]),
            ("<=", [true, true, false]),
            ("<", [true, true, false]),
            ("=", [false, true, false]),
            (">=", [false, true, true]),
            (">", [false, true, true]),
            (">>", [false, false, true]),
        ];
        for (operator, verdicts) in table {
            let parsed = parse_dependencies(&format!("a ({operator} 2)")).unwrap();
            let constraint = parsed[0].alternatives[0].constraint.clone().unwrap();
            let got = ["1", "2", "3"].map(|version| constraint.allows(&version.parse().unwrap()));
            assert_eq!(got, verdicts, "{operator}");
        }
    }

    #[test]
    fn an_alternative_may_be_meant_for_other_architectures_or_come_from_them() {
        for (text, applies, comes) in [
            ("a", true, true),
            ("a:any", true, true),
            ("a:native", true, true),
            ("a:amd64", true, true),
            ("a:i386", true, false),
            ("a [amd64 i386]", true, true),
            ("a [i386]", false, true),
            ("a [linux-any]", true, true),
            ("a [!amd64]", false, true),
            ("a [!i386 !arm64]", true, true),
        ] {
            let parsed = parse_dependencies(text).unwrap();
            let alternative = &parsed[0].alternatives[0];
            assert_eq!(alternative.applies_to("amd64"), applies, "{text}");
            assert_eq!(alternative.may_come_from("amd64"), comes, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s)([ab0-9:()<>=,|! \\[\\]]|.){0,60}") {
            if let Ok(parsed) = parse_dependencies(&text) {
                let written: Vec<_> = parsed.iter().map(ToString::to_string).collect();
                prop_assert_eq!(parse_dependencies(&written.join(", ")), Ok(parsed));
            }
        }
    }
}
