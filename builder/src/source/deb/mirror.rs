//! Where packages can be had. Any mirror will do: signatures and digests decide what is believed.
//!
//! Mirrors are, in this order: those that were given; else those of the host's own apt sources,
//! if the host uses Debian (of whatever release). Formats: sources.list(5).

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use formats::deb::paragraphs;

use crate::error::{Context as _, Error, Id, Result};

/// Debian mirrors, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    // Invariant: addresses without a slash at the end, none twice, `archive` not empty.
    archive: Vec<String>,
    security: Vec<String>,
}

impl Mirrors {
    /// Takes the mirrors that were `given` (by `--mirror`), else those in `environment` (the value
    /// of `ORLOP_DEBIAN_MIRROR`, addresses with blanks between them), else those of the apt
    /// sources below `root`.
    ///
    /// # Errors
    /// [`Id::NoMirror`] if there is none, [`Id::BadMirror`] for what is not an address,
    /// [`Id::Read`] if the apt sources are there and cannot be read.
    pub fn find(given: &[String], environment: Option<&str>, root: &Path) -> Result<Self> {
        let named: Vec<&str> = if given.is_empty() {
            environment.into_iter().flat_map(str::split_whitespace).collect()
        } else {
            given.iter().map(String::as_str).collect()
        };
        if !named.is_empty() {
            return Self::new(named);
        }
        let sources = host_sources(root)?;
        let mirrors = sources.iter().filter(|source| source.is_debian());
        Self::new(mirrors.flat_map(|source| source.uris.iter().map(String::as_str)))
    }

    /// Sorts addresses into those of the archive and, by their ending `-security`, those of the
    /// security archive. Every archive implies a security archive beside it, tried after those
    /// that were named: `X/debian-security` for `X/debian`.
    ///
    /// # Errors
    /// [`Id::NoMirror`] if there is no address of an archive, [`Id::BadMirror`].
    pub fn new<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let (mut archive, mut security) = (Vec::new(), Vec::new());
        let push = |list: &mut Vec<String>, address: String| {
            if !list.contains(&address) {
                list.push(address);
            }
        };
        for address in addresses {
            let address = checked(address)?;
            let list = if address.ends_with("-security") { &mut security } else { &mut archive };
            push(list, address);
        }
        if archive.is_empty() {
            return Err(Error::new(Id::NoMirror, "no Debian mirror is known")
                .hint("name one with `--mirror URL` or in `ORLOP_DEBIAN_MIRROR`"));
        }
        for address in &archive {
            // A bare host has no name of a directory that could be changed.
            let parent = match address.rsplit_once('/') {
                Some((parent, _)) if !parent.ends_with('/') => {
                    push(&mut security, format!("{address}-security"));
                    parent
                }
                _ => address.as_str(),
            };
            push(&mut security, format!("{parent}/debian-security"));
        }
        Ok(Self { archive, security })
    }

    /// Base addresses at which `suite` may be, best first.
    pub fn of_suite(&self, suite: &str) -> &[String] {
        if suite.ends_with("-security") { &self.security } else { &self.archive }
    }
}

fn checked(address: &str) -> Result<String> {
    let trimmed = address.trim_end_matches('/');
    let rest = trimmed.strip_prefix("http://").or_else(|| trimmed.strip_prefix("https://"));
    let odd = |c: char| c.is_whitespace() || c.is_control() || "?#\"<>\\".contains(c);
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && !rest.contains(odd) => {
            Ok(trimmed.to_owned())
        }
        _ => Err(Error::new(Id::BadMirror, format!("`{address}` is not the address of a mirror"))
            .hint("write for example `http://mirror.example/debian`")),
    }
}

/// One entry of the host's apt sources that is enabled and brings binary packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: String,
}

/// Codenames of Debian's releases that a host may run. A list and not a rule, because Ubuntu and
/// others also have one-word suites, in archives of the same layout.
const CODENAMES: &[&str] = &[
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
];

impl Source {
    /// Whether this is Debian's own archive, not that of another distribution, and not one of the
    /// many that publish for Debian: those are signed by other keys or have other components.
    fn is_debian(&self) -> bool {
        let debian_suite = |suite: &String| {
            let name = suite.split(['-', '/']).next().unwrap_or_default();
            let rest = &suite[name.len()..];
            let kinds =
                ["", "-updates", "-security", "/updates", "-backports", "-proposed-updates"];
            CODENAMES.contains(&name) && kinds.contains(&rest)
        };
        let debian_path = |uri: &String| {
            let path = uri.trim_end_matches('/');
            path.ends_with("/debian") || path.ends_with("/debian-security")
        };
        let signed_by_debian = self.signed_by.contains("debian-archive");
        self.components.iter().any(|component| component == "main")
            && self.suites.iter().any(debian_suite)
            && (signed_by_debian
                || (self.signed_by.is_empty() && self.uris.iter().any(debian_path)))
    }
}

/// Reads `etc/apt` below `root` in apt's order; what is not there is no error.
fn host_sources(root: &Path) -> Result<Vec<Source>> {
    let apt = root.join("etc/apt");
    let mut files = vec![apt.join("sources.list")];
    let directory = apt.join("sources.list.d");
    let listed = match fs::read_dir(&directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let mut listed: Vec<_> =
        listed.or_fail(Id::Read, || format!("cannot list `{}`", directory.display()))?;
    listed.sort();
    files.extend(listed);
    let mut sources = Vec::new();
    for file in files {
        let parse = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => parse_one_line,
            Some("sources") => parse_deb822,
            _ => continue,
        };
        match fs::read_to_string(&file) {
            Ok(text) => sources.extend(parse(&text)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error)
                    .or_fail(Id::Read, || format!("cannot read apt's `{}`", file.display()));
            }
        }
    }
    for source in &mut sources {
        source.uris = expand_mirror_lists(&source.uris, root);
    }
    Ok(sources)
}

/// Debian's cloud images name a file with mirrors, one a line: `mirror+file:/etc/apt/...`. Of the
/// other methods only the web is of use to us.
fn expand_mirror_lists(uris: &[String], root: &Path) -> Vec<String> {
    let expand = |uri: &String| match uri.strip_prefix("mirror+file:") {
        Some(path) => {
            let path = root.join(path.trim_start_matches('/'));
            // apt itself says what is wrong with its configuration; we do without.
            let text = fs::read_to_string(path).unwrap_or_default();
            let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
            text.lines().filter(|line| !line.starts_with('#')).filter_map(first).collect()
        }
        None => vec![uri.clone()],
    };
    let web = |uri: &String| checked(uri).is_ok();
    uris.iter().flat_map(expand).filter(web).collect()
}

/// `deb [option=value ...] uri suite component ...`, one a line. A line that makes no sense is
/// passed over: apt will have said so.
fn parse_one_line(text: &str) -> Vec<Source> {
    let line = |line: &str| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?;
        let (options, rest) = match rest.trim_start().strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let signed_by = options.split_whitespace().find_map(|word| word.strip_prefix("signed-by="));
        let mut words = rest.split_whitespace().map(str::to_owned);
        Some(Source {
            uris: vec![words.next()?],
            suites: vec![words.next()?],
            components: words.collect(),
            signed_by: signed_by.unwrap_or_default().to_owned(),
        })
    };
    text.lines().filter_map(line).collect()
}

/// Paragraphs of `Types`, `URIs`, `Suites`, `Components`, `Enabled`, `Signed-By`.
fn parse_deb822(text: &str) -> Vec<Source> {
    let source = |paragraph: formats::deb::Paragraph<'_>| {
        let words = |name| {
            let words = paragraph.field(name).map(|field| field.words().map(str::to_owned));
            words.map(Iterator::collect::<Vec<_>>).unwrap_or_default()
        };
        let off = |value: &str| matches!(value, "no" | "false" | "without" | "off" | "disable");
        let enabled = !paragraph.get("Enabled").is_some_and(|value| off(value.trim()));
        let binary = words("Types").iter().any(|kind| kind == "deb");
        (enabled && binary).then(|| Source {
            uris: words("URIs"),
            suites: words("Suites"),
            components: words("Components"),
            signed_by: words("Signed-By").join(" "),
        })
    };
    paragraphs(text).map_while(std::result::Result::ok).filter_map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host whose `etc/apt` holds these files.
    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join("etc/apt").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn archive_of(files: &[(&str, &str)]) -> Vec<String> {
        let mirrors = Mirrors::find(&[], None, host(files).path());
        mirrors.map(|mirrors| mirrors.archive).unwrap_or_default()
    }

    #[test]
    fn what_was_given_wins_over_the_environment_and_that_over_the_host() {
        let host = host(&[("sources.list", "deb http://host.mirror.example/debian sid main\n")]);
        let given = ["https://given.mirror.example/debian/".to_owned()];
        let environment = " http://one.mirror.example/debian\nhttp://two.mirror.example/debian ";
        for (given, environment, archive) in [
            (&given[..], Some(environment), vec!["https://given.mirror.example/debian"]),
            (
                &[],
                Some(environment),
                vec!["http://one.mirror.example/debian", "http://two.mirror.example/debian"],
            ),
            (&[], Some("  "), vec!["http://host.mirror.example/debian"]),
            (&[], None, vec!["http://host.mirror.example/debian"]),
        ] {
            assert_eq!(Mirrors::find(given, environment, host.path()).unwrap().archive, archive);
        }
    }

    #[test]
    fn without_any_mirror_the_error_says_how_to_name_one() {
        let error = Mirrors::find(&[], None, host(&[]).path()).unwrap_err();
        assert_eq!(error.id(), Id::NoMirror);
        assert!(error.hints()[0].contains("--mirror URL"));
    }

    #[test]
    fn what_is_not_a_web_address_is_refused() {
        for address in [
            "mirror.example/debian",
            "ftp://mirror.example",
            "http://",
            "http:///x",
            "http://mirror.example/a b",
            "http://mirror.example/?a",
            "file:/path/to/debian",
        ] {
            let error = Mirrors::find(&[address.to_owned()], None, Path::new("/")).unwrap_err();
            assert_eq!(error.id(), Id::BadMirror, "{address}");
        }
    }

    #[test]
    fn an_archive_implies_the_security_archive_beside_it() {
        for (addresses, security) in [
            (vec!["http://mirror.example/debian"], vec!["http://mirror.example/debian-security"]),
            (
                vec!["http://mirror.example/copies/trixie/"],
                vec![
                    "http://mirror.example/copies/trixie-security",
                    "http://mirror.example/copies/debian-security",
                ],
            ),
            (
                vec!["http://mirror.example/debian", "http://safe.mirror.example/debian-security"],
                vec![
                    "http://safe.mirror.example/debian-security",
                    "http://mirror.example/debian-security",
                ],
            ),
            (vec!["http://mirror.example"], vec!["http://mirror.example/debian-security"]),
        ] {
            let mirrors = Mirrors::new(addresses).unwrap();
            assert_eq!(mirrors.of_suite("trixie-security"), security);
            assert_eq!(mirrors.of_suite("trixie-updates").len(), 1);
        }
    }

    #[test]
    fn one_line_sources_are_read() {
        let text = "\
# deb http://commented.mirror.example/debian trixie main
deb-src http://source.mirror.example/debian trixie main
deb http://one.mirror.example/debian/ bookworm main contrib # a comment
deb [ arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] https://two.mirror.example/d trixie main
deb\t[arch=amd64]\thttp://one.mirror.example/debian\tbookworm-updates\tmain
deb cdrom:[Debian]/ trixie main
deb http://three.mirror.example/debian
deb
";
        assert_eq!(
            archive_of(&[("sources.list", text)]),
            ["http://one.mirror.example/debian", "https://two.mirror.example/d"]
        );
    }

    #[test]
    fn deb822_sources_are_read() {
        let text = "\
# A comment.
Types: deb deb-src
# http://commented.mirror.example/debian
URIs: http://one.mirror.example/debian
 http://two.mirror.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp

Types: deb
URIs: http://off.mirror.example/debian
Suites: trixie
Components: main
Enabled: no

Types: deb-src
URIs: http://source.mirror.example/debian
Suites: trixie
Components: main
";
        let archive = archive_of(&[("sources.list.d/debian.sources", text)]);
        assert_eq!(
            archive,
            ["http://one.mirror.example/debian", "http://two.mirror.example/debian"]
        );
    }

    #[test]
    fn archives_that_are_not_debians_are_passed_over() {
        for line in [
            "deb http://mirror.example/ubuntu noble main universe",
            "deb http://mirror.example/debian noble main",
            "deb http://mirror.example/linux/debian bookworm stable",
            "deb [signed-by=/etc/apt/keyrings/other.gpg] http://mirror.example/debian trixie main",
            "deb http://mirror.example/apt bookworm-pgdg main",
            "deb http://mirror.example/apt bookworm main",
            "deb file:/path/to/debian bookworm main",
        ] {
            assert!(archive_of(&[("sources.list", line)]).is_empty(), "{line}");
        }
    }

    #[test]
    fn a_list_of_mirrors_is_followed() {
        let sources = "\
Types: deb
URIs: mirror+file:///etc/apt/mirrors/debian.list
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
";
        let list = "# best first\nhttp://one.mirror.example/debian priority:1\n\nhttp://two.mirror.example/debian\n";
        assert_eq!(
            archive_of(&[("sources.list.d/a.sources", sources), ("mirrors/debian.list", list)]),
            ["http://one.mirror.example/debian", "http://two.mirror.example/debian"]
        );
    }

    #[test]
    fn files_are_read_in_order_and_only_with_apts_endings() {
        let line = |host: &str| format!("deb http://{host}.mirror.example/debian sid main\n");
        let (a, b, c) = (line("a"), line("b"), line("c"));
        let archive = archive_of(&[
            ("sources.list.d/2.list", &b),
            ("sources.list.d/1.list", &a),
            ("sources.list.d/3.list.disabled", &c),
        ]);
        assert_eq!(archive, ["http://a.mirror.example/debian", "http://b.mirror.example/debian"]);
    }
}
