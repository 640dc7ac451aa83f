//! Versions of modules, of the language and of toolchains
//! (<https://go.dev/ref/mod#versions>, <https://go.dev/doc/toolchain#version>).

/// A version of Go as its lines in `go.mod` name it, in the order of age: the language `1.26`
/// comes before `1.26rc1`, and that before the release `1.26.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GoVersion {
    major: u64,
    minor: u64,
    rest: Rest,
}

/// What follows the version of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rest {
    Language,
    Beta(u64),
    Candidate(u64),
    Release(u64),
}

impl GoVersion {
    /// Reads `1.26`, `1.26.11` or `1.27rc1`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (major, rest) = text.split_once('.')?;
        let major = number(major).filter(|major| *major > 0)?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (minor, rest) = (number(&rest[..end])?, &rest[end..]);
        let count = |name: &str| rest.strip_prefix(name).map(count);
        let rest = match (rest, count("."), count("rc"), count("beta")) {
            ("", ..) => Rest::Language,
            (_, Some(_), ..) => Rest::Release(number(&rest[1..])?),
            (_, _, Some(count), _) => Rest::Candidate(count?),
            (_, _, _, Some(count)) => Rest::Beta(count?),
            _ => return None,
        };
        Some(Self { major, minor, rest })
    }

    /// Whether it names one toolchain, not a language that many understand.
    pub(super) fn is_exact(self) -> bool {
        self.rest != Rest::Language
    }
}

/// A number without a sign or needless zeros.
fn number(text: &str) -> Option<u64> {
    count(text).filter(|_| text == "0" || !text.starts_with('0'))
}

fn count(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether it is a version of a module, whole: `v1.2.3`, `v1.2.3-rc.1`, `v2.0.0+incompatible`.
/// Go would have to change the file for any other.
pub(super) fn is_whole(version: &str) -> bool {
    let version = version.strip_suffix("+incompatible").unwrap_or(version);
    let Some(version) = version.strip_prefix('v') else { return false };
    let (numbers, before) = match version.split_once('-') {
        Some((numbers, before)) => (numbers, Some(before)),
        None => (version, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let identifier = |part: &str| {
        let known = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !part.is_empty() && known && (!digits(part) || number(part))
    };
    numbers.split('.').count() == 3
        && numbers.split('.').all(number)
        && before.is_none_or(|before| before.split('.').all(identifier))
}

/// Checks that a module of this path can have this whole version: the major version stands in
/// both (<https://go.dev/ref/mod#major-version-suffixes>).
pub(super) fn fits_path(path: &str, version: &str) -> bool {
    let major = version.split('.').next().unwrap_or_default();
    match path_major(path) {
        Some(PathMajor::Gopkg(suffix)) => {
            suffix == major || suffix == "v1" && version.starts_with("v0.0.0-")
        }
        Some(PathMajor::Suffix(last)) => last == major,
        Some(PathMajor::None) => {
            ["v0", "v1"].contains(&major) || version.ends_with("+incompatible")
        }
        None => false,
    }
}

/// Whether some version can be one of a module of this path: Go refuses a path such as `x/v1` or
/// `x/v2.0` also where no version stands beside it.
pub(super) fn has_major(path: &str) -> bool {
    path_major(path).is_some()
}

/// What a path says of the major version.
enum PathMajor<'a> {
    /// Nothing: it is the first.
    None,
    /// The last element, such as `v2`.
    Suffix(&'a str),
    /// What follows the last dot.
    Gopkg(&'a str),
}

/// `SplitPathVersion` of Go; nothing if the end of the path is malformed.
fn path_major(path: &str) -> Option<PathMajor<'_>> {
    if let Some(path) = path.strip_prefix("gopkg.in/") {
        let path = path.strip_suffix("-unstable").unwrap_or(path);
        let (_, suffix) = path.rsplit_once('.')?;
        suffix.strip_prefix('v').and_then(number)?;
        return Some(PathMajor::Gopkg(suffix));
    }
    let (before, last) = path.rsplit_once('/').unwrap_or(("", path));
    let numeric = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    match last.strip_prefix('v').filter(|rest| numeric(rest) && path.contains('/')) {
        Some(rest) => {
            let fits = number(rest).is_some_and(|major| major > 1) && !before.is_empty();
            fits.then_some(PathMajor::Suffix(last))
        }
        None => Some(PathMajor::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_ordered_by_age() {
        let names = ["1.9", "1.26", "1.26beta1", "1.26rc1", "1.26rc2", "1.26.0", "1.26.11", "1.27"];
        let versions = names.map(|name| GoVersion::parse(name).unwrap());
        assert!(versions.is_sorted());
        let exact = names.into_iter().zip(versions).filter(|(_, version)| version.is_exact());
        let exact: Vec<_> = exact.map(|(name, _)| name).collect();
        assert_eq!(exact, ["1.26beta1", "1.26rc1", "1.26rc2", "1.26.0", "1.26.11"]);
        for text in
            ["", "1", "1.", "01.2", "1.02", "1.2.", "1.2.03", "1.2.3.4", "1.2.3rc1", "1.2x", "1.+2"]
        {
            assert_eq!(GoVersion::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_whole_version_has_three_numbers() {
        for version in [
            "v0.0.0-20260101000000-abcdefabcdef",
            "v1.2.3",
            "v1.2.3-rc.1",
            "v2.0.0+incompatible",
            "v1.2.3-0.20260101000000-abcdefabcdef",
            "v1.0.0--",
        ] {
            assert!(is_whole(version), "{version}");
        }
        for version in [
            "1.2.3",
            "v1",
            "v1.2",
            "v1.2.3.4",
            "v1.02.3",
            "v1.2.3-",
            "v1.2.3-01",
            "v1.2.3+meta",
            "v1.2.3-a..b",
            "latest",
            "v1.2.3-ä",
        ] {
            assert!(!is_whole(version), "{version}");
        }
    }

    #[test]
    fn the_major_version_stands_in_the_path_too() {
        for (path, version, fits) in [
            ("a.example/x", "v1.0.0", true),
            ("a.example/x", "v2.0.0", false),
            ("a.example/x", "v2.0.0+incompatible", true),
            ("a.example/x/v2", "v2.1.0", true),
            ("a.example/x/v2", "v1.0.0", false),
            ("a.example/x/v1", "v1.0.0", false),
            ("a.example/x/v02", "v2.0.0", false),
            ("a.example/x/v2.0", "v2.0.0", false),
            ("a.example/vx", "v1.0.0", true),
            ("v2", "v1.0.0", true),
            ("gopkg.in/yaml.v3", "v3.0.1", true),
            ("gopkg.in/yaml.v3", "v2.0.0", false),
            ("gopkg.in/yaml.v1", "v0.0.0-20260101000000-abcdefabcdef", true),
            ("gopkg.in/yaml.v3-unstable", "v3.0.0", true),
            ("gopkg.in/yaml", "v1.0.0", false),
        ] {
            assert_eq!(fits_path(path, version), fits, "{path} {version}");
        }
    }
}
