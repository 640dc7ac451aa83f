//! What a release is asked before it is believed: the names of conditions, and checks of one's own,
//! each a TOML file in `/usr/lib/orlop/health.d` of the image. `docs/trial.md` describes both.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

/// Where checks of one's own are, in the image.
pub const DIRECTORY: &str = "/usr/lib/orlop/health.d";

/// Something that has to hold, by the name that notes and people have for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The root is mounted through dm-verity.
    Verity,
    /// STATE is mounted at `/var`.
    State,
    /// The container runtime answers `Version`.
    Cri,
    /// kubelet's `healthz` is ok.
    Kubelet,
    /// The API server has the node as Ready.
    NodeReady,
    /// The check of this name.
    Check(String),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verity => f.write_str("verity"),
            Self::State => f.write_str("state"),
            Self::Cri => f.write_str("cri"),
            Self::Kubelet => f.write_str("kubelet"),
            Self::NodeReady => f.write_str("node-ready"),
            Self::Check(name) => write!(f, "check:{name}"),
        }
    }
}

/// A check of one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The file's stem: 1 to 32 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// What is asked.
    pub question: Question,
    /// From one question to the next.
    pub interval: Duration,
    /// What an answer may take.
    pub timeout: Duration,
    /// From the beginning of the trial on; past it the release is bad. `None`: as the trial itself.
    pub deadline: Option<Duration>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum Question {
    /// Whether this address answers with status 200.
    #[serde(rename = "http-200")]
    Http200(HttpAddress),
    /// Whether somebody accepts a connection there.
    #[serde(rename = "tcp")]
    Tcp(SocketAddr),
    /// Whether this program of the image ends with status 0.
    #[serde(rename = "exec")]
    Exec(Program),
    /// Whether the node has this condition in its cluster.
    #[serde(rename = "node-condition")]
    NodeCondition(NodeCondition),
}

/// `http://ADDRESS:PORT/PATH` with a literal address: no resolver is asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HttpAddress {
    /// Where to connect.
    pub address: SocketAddr,
    /// What to ask for, with its `/`.
    pub path: String,
}

impl TryFrom<String> for HttpAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.strip_prefix("http://").and_then(|rest| {
            let (address, path) = rest.split_at(rest.find('/')?);
            let good = path.bytes().all(|byte| byte.is_ascii_graphic());
            good.then_some(Self { address: address.parse().ok()?, path: path.to_owned() })
        });
        parts.ok_or_else(|| format!("`{text}` is not of the form http://127.0.0.1:8080/healthz"))
    }
}

/// A program of the image and its arguments. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Program(pub Vec<String>);

impl TryFrom<Vec<String>> for Program {
    type Error = &'static str;

    fn try_from(words: Vec<String>) -> Result<Self, &'static str> {
        let program = words.first().ok_or("a program and its arguments are needed")?;
        // What else there is on a node can be written, or is not the release's.
        let plain = !program.split('/').any(|part| part == ".." || part == ".");
        if !program.starts_with("/usr/") || program.ends_with('/') || !plain {
            return Err("the program must be one of the image, by its absolute path below /usr");
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err("an argument cannot hold a zero byte");
        }
        Ok(Self(words))
    }
}

/// A condition of the Node object: `Ready`, or `NAME=STATUS`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NodeCondition {
    /// Its type.
    pub kind: String,
    /// The status that is wanted: `True`, `False` or `Unknown`.
    pub status: String,
}

impl TryFrom<String> for NodeCondition {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (kind, status) = text.split_once('=').unwrap_or((&text, "True"));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
        if kind.is_empty() || !kind.bytes().all(allowed) {
            return Err(format!(
                "`{text}` is no condition: write \"Ready\" or \"DiskPressure=False\""
            ));
        }
        if !["True", "False", "Unknown"].contains(&status) {
            return Err(format!(
                "the status of a condition is True, False or Unknown, not `{status}`"
            ));
        }
        Ok(Self { kind: kind.to_owned(), status: status.to_owned() })
    }
}

/// A whole number and `ms`, `s` or `m`, at most an hour and not 0.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct TextDuration(Duration);

impl TryFrom<String> for TextDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            _ => 0,
        };
        let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        match total {
            Some(total @ 1..=3_600_000) => Ok(Self(Duration::from_millis(total))),
            _ => Err(format!(
                "`{text}` is not a time up to an hour: write \"500ms\", \"30s\" or \"5m\""
            )),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    ask: Question,
    interval: Option<TextDuration>,
    timeout: Option<TextDuration>,
    deadline: Option<TextDuration>,
}

/// Shorter ones would be most of what a small node does.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

impl Check {
    /// Parses the text of `file`, whose stem becomes the name.
    ///
    /// # Errors
    /// What is wrong, for people, with line and column where it has them.
    pub fn parse(file: &Path, text: &str) -> Result<Self, String> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let wrong = |what: &str| format!("{}: {what}", file.display());
        if !(1..=32).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(wrong("its name must be 1 to 32 of `a-z`, `0-9` and `-`"));
        }
        let written: Written = toml::from_str(text).map_err(|error| {
            let at = error.span().map(|span| place(text, span.start)).unwrap_or_default();
            wrong(&format!("{at}{}", error.message().trim_end().replace('\n', ": ")))
        })?;
        let given = |time: Option<TextDuration>| time.map(|time| time.0);
        let interval = given(written.interval).unwrap_or(Duration::from_secs(5));
        let timeout = given(written.timeout).unwrap_or(Duration::from_secs(5));
        if interval < SHORTEST_INTERVAL {
            return Err(wrong("`interval` must be a second at least"));
        }
        let deadline = given(written.deadline);
        if deadline.is_some_and(|deadline| deadline < timeout) {
            return Err(wrong("`deadline` is over before `timeout` is"));
        }
        Ok(Self { name, question: written.ask, interval, timeout, deadline })
    }

    /// Its name among conditions.
    pub fn condition(&self) -> Condition {
        Condition::Check(self.name.clone())
    }
}

fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: ")
}

/// What of `failing` is in words that a note keeps.
pub fn names<'c>(failing: impl IntoIterator<Item = &'c Condition>) -> BTreeSet<String> {
    failing.into_iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Check, String> {
        Check::parse(Path::new("dns.toml"), text)
    }

    #[test]
    fn each_kind_is_read_with_its_defaults() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        for (ask, want) in [
            (
                "{ http-200 = \"http://127.0.0.1:8181/ready?x=1\" }",
                Question::Http200(HttpAddress {
                    address: address(8181),
                    path: "/ready?x=1".into(),
                }),
            ),
            ("{ tcp = \"127.0.0.1:53\" }", Question::Tcp(address(53))),
            ("{ tcp = \"[::1]:53\" }", Question::Tcp("[::1]:53".parse().unwrap())),
            (
                "{ exec = [\"/usr/bin/check\", \"-v\"] }",
                Question::Exec(Program(vec!["/usr/bin/check".into(), "-v".into()])),
            ),
            (
                "{ node-condition = \"Ready\" }",
                Question::NodeCondition(NodeCondition {
                    kind: "Ready".into(),
                    status: "True".into(),
                }),
            ),
            (
                "{ node-condition = \"example.com/Gpu=False\" }",
                Question::NodeCondition(NodeCondition {
                    kind: "example.com/Gpu".into(),
                    status: "False".into(),
                }),
            ),
        ] {
            let five = Duration::from_secs(5);
            let want = Check {
                name: "dns".into(),
                question: want,
                interval: five,
                timeout: five,
                deadline: None,
            };
            assert_eq!(parse(&format!("ask = {ask}\n")), Ok(want), "{ask}");
        }
        let timed = "ask = { tcp = \"127.0.0.1:53\" }\ninterval = \"1m\"\ntimeout = \"1500ms\"\n\
                     deadline = \"2m\"\n";
        let check = parse(timed).unwrap();
        assert_eq!(
            [check.interval, check.timeout, check.deadline.unwrap()],
            [60_000, 1500, 120_000].map(Duration::from_millis)
        );
        assert_eq!(check.condition().to_string(), "check:dns");
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let tcp = "ask = { tcp = \"127.0.0.1:53\" }\n";
        for (text, want) in [
            (String::new(), "missing field `ask`"),
            (format!("{tcp}retries = 3"), "line 2, column 1: unknown field `retries`"),
            ("ask = { ping = \"x\" }".into(), "unknown variant `ping`"),
            ("ask = { tcp = \"dns:53\" }".into(), "invalid socket address"),
            ("ask = { http-200 = \"https://127.0.0.1/\" }".into(), "is not of the form http://"),
            ("ask = { exec = [] }".into(), "a program and its arguments"),
            ("ask = { exec = [\"check\"] }".into(), "below /usr"),
            ("ask = { exec = [\"/usr/../var/x\"] }".into(), "below /usr"),
            ("ask = { exec = [\"/var/lib/x\"] }".into(), "below /usr"),
            ("ask = { node-condition = \"\" }".into(), "is no condition"),
            ("ask = { node-condition = \"Ready=yes\" }".into(), "not `yes`"),
            (format!("{tcp}interval = \"5\""), "line 2, column 12: `5` is not a time"),
            (format!("{tcp}interval = \"2h\""), "is not a time"),
            (format!("{tcp}interval = \"0s\""), "is not a time"),
            (format!("{tcp}interval = \"100ms\""), "`interval` must be a second"),
            (format!("{tcp}deadline = \"1s\""), "`deadline` is over before"),
        ] {
            let told = parse(&text).unwrap_err();
            assert!(told.starts_with("dns.toml: ") && told.contains(want), "{text}: {told}");
            assert!(!told.contains('\n'), "{told}");
        }
        for name in ["Dns.toml", "a b.toml", ".toml", &format!("{}.toml", "x".repeat(33))] {
            let told = Check::parse(Path::new(name), tcp).unwrap_err();
            assert!(told.contains("its name must be"), "{name}: {told}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*", name in "\\PC{0,40}") {
            let _ = Check::parse(Path::new(&name), &text);
        }
    }
}
