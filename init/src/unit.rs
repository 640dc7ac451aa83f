//! Units: what PID 1 starts and watches, each a TOML file in `/usr/lib/orlop/units/`, named by
//! its stem. `docs/init.md` describes the keys.
//!
//! A bad file is one error and one unit less; the others are not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

/// One unit, its keys checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The file's stem.
    pub name: UnitName,
    /// The program, by its absolute path, and its arguments. Never empty.
    pub exec: Vec<String>,
    /// Units which must have been ready once before this one is started, and where it says so.
    pub after: BTreeMap<UnitName, Position>,
    /// How we know that it works.
    pub ready: Ready,
    /// What happens when it ends.
    pub restart: Restart,
    /// Its control group, a leaf below the root: `/runtime`.
    pub cgroup: CgroupPath,
    /// Who is killed together with it.
    pub kill: Kill,
    /// `oom_score_adj` of its process.
    pub oom_score: OomScore,
    /// The whole environment: nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// From start to ready; when it is over, that is reported and nothing else happens.
    pub deadline: Duration,
    /// From `SIGTERM` to `SIGKILL`.
    pub stop_timeout: Duration,
    /// Resource limits.
    pub limits: Limits,
}

/// 1 to 32 of `a-z`, `0-9` and `-`, beginning with a letter: it becomes the name of a log file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct UnitName(String);

impl UnitName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UnitName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        if first && text.len() <= 32 && text.chars().all(good) {
            return Ok(Self(text));
        }
        Err(format!(
            "`{text}` is not a unit's name: use 1 to 32 of a-z, 0-9 and `-`, a letter first"
        ))
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How we know that a unit works.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// It has ended with status 0.
    Exit,
    /// Its program runs.
    Started,
    /// A connection to this Unix socket is accepted.
    SocketAnswers(AbsolutePath),
    /// The container runtime behind this Unix socket answers `Version`. An accepted connection
    /// says too little: containerd serves its socket even if its CRI plugin did not load.
    CriVersion(AbsolutePath),
    /// This address answers with status 200.
    #[serde(rename = "http-200")]
    Http200(HttpTarget),
}

/// What happens when a unit's process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RestartText")]
pub struct Restart {
    /// When it is started again.
    pub policy: Policy,
    /// The wait before the first restart; it doubles each time.
    pub backoff_min: Duration,
    /// The longest wait. A unit which was ready for as long begins anew with the shortest.
    pub backoff_max: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: Policy::OnFailure,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
        }
    }
}

/// When a unit is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// However it ended.
    Always,
    /// If it ended with a signal or a status that is not 0.
    OnFailure,
    /// Never.
    Never,
}

/// Who is killed when a unit's process ends or does not stop in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kill {
    /// Everything in its control group.
    Cgroup,
    /// Only its process: containerd's shims live in its group and keep the containers alive.
    Process,
}

/// Resource limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// `RLIMIT_NOFILE`, soft and hard.
    pub nofile: Option<u64>,
}

/// An absolute path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AbsolutePath(pub PathBuf);

impl TryFrom<String> for AbsolutePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') && !text.contains('\0') {
            return Ok(Self(text.into()));
        }
        Err(format!("`{text}` must begin with `/`"))
    }
}

/// A control group directly below the root, such as `/runtime`; not `/init`, where PID 1 lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct CgroupPath(String);

impl CgroupPath {
    /// Its directory, where the hierarchy is mounted at `root`.
    pub fn below(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }
}

impl TryFrom<String> for CgroupPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        match text.strip_prefix('/') {
            Some("init") => Err("`/init` is the control group of PID 1".to_owned()),
            Some(name) if !name.is_empty() && name.chars().all(good) => Ok(Self(name.to_owned())),
            _ => Err(format!(
                "`{text}` is not a control group of a unit: write `/` and a name of a-z, 0-9, `-`"
            )),
        }
    }
}

/// -1000 (never chosen by the OOM killer) to 1000 (first).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "i64")]
pub struct OomScore(i16);

impl TryFrom<i64> for OomScore {
    type Error = String;

    fn try_from(score: i64) -> Result<Self, String> {
        match i16::try_from(score) {
            Ok(score @ -1000..=1000) => Ok(Self(score)),
            _ => Err(format!("{score} is not an OOM score: use -1000 to 1000")),
        }
    }
}

impl fmt::Display for OomScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `http://ADDRESS:PORT/PATH` with a literal address: PID 1 asks no resolver.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HttpTarget {
    /// Where to connect.
    pub address: SocketAddr,
    /// What to ask for, with its `/`.
    pub path: String,
}

impl TryFrom<String> for HttpTarget {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.strip_prefix("http://").and_then(|rest| {
            let slash = rest.find('/')?;
            let address = rest[..slash].parse().ok()?;
            let path = rest[slash..].to_owned();
            path.bytes().all(|b| b.is_ascii_graphic()).then_some(Self { address, path })
        });
        parts.ok_or_else(|| format!("`{text}` is not of the form http://127.0.0.1:10248/healthz"))
    }
}

impl fmt::Display for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

/// A place in a unit file, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a unit file counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    /// The file.
    pub file: PathBuf,
    /// Where and what.
    pub message: String,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot use unit `{}`: {}", self.file.display(), self.message)
    }
}

/// Units whose every `after` names one of them, without a cycle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Units {
    // Invariant: closed under `after`, acyclic; see `Units::new`.
    units: BTreeMap<UnitName, Unit>,
}

impl Units {
    /// Reads every `*.toml` in `directory`, in the order of their names.
    ///
    /// # Errors
    /// Only if the directory cannot be read; bad files are the second part of the result.
    pub fn load(directory: &Path) -> io::Result<(Self, Vec<UnitError>)> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
        files.sort();
        let (mut units, mut errors) = (Vec::new(), Vec::new());
        for file in files {
            match std::fs::read_to_string(&file).map_err(|error| error.to_string()) {
                Ok(text) => match Unit::parse(&file, &text) {
                    Ok(unit) => units.push(unit),
                    Err(error) => errors.push(error),
                },
                Err(message) => errors.push(UnitError { file, message }),
            }
        }
        let (units, refused) = Self::new(units);
        errors.extend(refused.into_iter().map(|(name, message)| UnitError {
            file: directory.join(format!("{name}.toml")),
            message,
        }));
        Ok((units, errors))
    }

    /// Keeps the units which can be ordered, and says of each other one why it cannot.
    pub fn new(units: Vec<Unit>) -> (Self, Vec<(UnitName, String)>) {
        let mut left: BTreeMap<_, _> = units.into_iter().map(|u| (u.name.clone(), u)).collect();
        let mut refused = Vec::new();
        for (name, message) in shared_cgroups(&left) {
            left.remove(&name);
            refused.push((name, message));
        }
        // A unit that is taken away may be what another waits for.
        while let Some((name, message)) = left.values().find_map(|unit| {
            let (after, at) = unit.after.iter().find(|(after, _)| !left.contains_key(*after))?;
            let message = format!("{at}: it comes after `{after}`, which is no usable unit");
            Some((unit.name.clone(), message))
        }) {
            left.remove(&name);
            refused.push((name, message));
        }
        // What can be started in some order is acyclic; the rest is a cycle or waits for one.
        let mut ordered = BTreeSet::new();
        while let Some(next) = left.values().find(|unit| {
            !ordered.contains(&unit.name) && unit.after.keys().all(|after| ordered.contains(after))
        }) {
            ordered.insert(next.name.clone());
        }
        let (units, cyclic): (BTreeMap<_, _>, BTreeMap<_, _>) =
            left.into_iter().partition(|(name, _)| ordered.contains(name));
        for (name, unit) in cyclic {
            let waits = unit.after.iter().find(|(after, _)| !ordered.contains(*after));
            if let Some((after, at)) = waits {
                let message =
                    format!("{at}: it comes after `{after}`, which in a circle comes after itself");
                refused.push((name, message));
            }
        }
        (Self { units }, refused)
    }

    /// All units, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Unit> {
        self.units.values()
    }

    /// The unit of that name.
    pub fn get(&self, name: &UnitName) -> Option<&Unit> {
        self.units.get(name)
    }
}

/// `cgroup.kill` of a shared group would take the other unit along.
fn shared_cgroups(units: &BTreeMap<UnitName, Unit>) -> Vec<(UnitName, String)> {
    let same = |unit: &&Unit| {
        let other = units.values().find(|other| {
            other.name != unit.name
                && other.cgroup == unit.cgroup
                && (other.name < unit.name || other.kill != Kill::Cgroup)
        });
        other.filter(|_| unit.kill == Kill::Cgroup).map(|other| {
            let message = format!(
                "its control group is that of `{}`, so `kill = \"cgroup\"` would kill both",
                other.name
            );
            (unit.name.clone(), message)
        })
    };
    units.values().filter_map(|unit| same(&unit)).collect()
}

impl Unit {
    /// Parses the text of `file`, whose stem becomes the name.
    ///
    /// # Errors
    /// With line and column, unless the name itself is wrong.
    pub fn parse(file: &Path, text: &str) -> Result<Self, UnitError> {
        let error = |message: String| UnitError { file: file.to_owned(), message };
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = UnitName::try_from(stem).map_err(error)?;
        let parsed: UnitFile = toml::from_str(text).map_err(|parse_error| {
            let at = parse_error
                .span()
                .map_or(Position { line: 1, column: 1 }, |span| position(text, span.start));
            error(format!("{at}: {}", parse_error.message()))
        })?;
        let wrong = |span: std::ops::Range<usize>, message: &str| {
            Err(error(format!("{}: {message}", position(text, span.start))))
        };
        let exec = parsed.exec.get_ref();
        if !exec.first().is_some_and(|program| program.starts_with('/')) {
            return wrong(
                parsed.exec.span(),
                "`exec` must begin with the absolute path of a program",
            );
        }
        if exec.iter().any(|argument| argument.contains('\0')) {
            return wrong(parsed.exec.span(), "an argument cannot hold a zero byte");
        }
        let restart = parsed.restart.as_ref().map_or_else(Restart::default, |r| *r.get_ref());
        if parsed.ready == Ready::Exit
            && restart.policy == Policy::Always
            && let Some(restart) = &parsed.restart
        {
            let message = "a unit that is ready when it has ended cannot be restarted always";
            return wrong(restart.span(), message);
        }
        let environment = parsed.environment.as_ref().map(Spanned::get_ref).cloned();
        let environment = environment.unwrap_or_default();
        let bad_variable = |(key, value): (&String, &String)| {
            key.is_empty() || key.contains(['=', '\0']) || value.contains('\0')
        };
        if let Some(table) = &parsed.environment
            && environment.iter().any(bad_variable)
        {
            return wrong(
                table.span(),
                "a variable's name is empty or holds `=`, or one a zero byte",
            );
        }
        let after = parsed.after.into_iter().map(|after| {
            let at = position(text, after.span().start);
            (after.into_inner(), at)
        });
        Ok(Self {
            name,
            after: after.collect(),
            exec: parsed.exec.into_inner(),
            ready: parsed.ready,
            restart,
            cgroup: parsed.cgroup,
            kill: parsed.kill,
            oom_score: parsed.oom_score,
            environment,
            deadline: parsed.deadline.0,
            stop_timeout: parsed.stop_timeout.0,
            limits: parsed.limits,
        })
    }
}

/// A unit as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct UnitFile {
    exec: Spanned<Vec<String>>,
    #[serde(default)]
    after: Vec<Spanned<UnitName>>,
    ready: Ready,
    restart: Option<Spanned<Restart>>,
    cgroup: CgroupPath,
    kill: Kill,
    #[serde(default)]
    oom_score: OomScore,
    environment: Option<Spanned<BTreeMap<String, String>>>,
    deadline: TextDuration,
    #[serde(default = "ten_seconds")]
    stop_timeout: TextDuration,
    #[serde(default)]
    limits: Limits,
}

fn ten_seconds() -> TextDuration {
    TextDuration(Duration::from_secs(10))
}

/// `[restart]` as written; what is absent is as in `Restart::default`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RestartText {
    policy: Policy,
    backoff_min: Option<TextDuration>,
    backoff_max: Option<TextDuration>,
}

impl TryFrom<RestartText> for Restart {
    type Error = String;

    fn try_from(text: RestartText) -> Result<Self, String> {
        let default = Self::default();
        let backoff_min = text.backoff_min.map_or(default.backoff_min, |d| d.0);
        let backoff_max = text.backoff_max.map_or(default.backoff_max.max(backoff_min), |d| d.0);
        if backoff_min.is_zero() {
            return Err("`backoff-min` must not be 0: a unit that fails at once would spin".into());
        }
        if backoff_min > backoff_max {
            return Err("`backoff-min` is longer than `backoff-max`".into());
        }
        Ok(Self { policy: text.policy, backoff_min, backoff_max })
    }
}

/// `"100ms"`, `"30s"`, `"5m"`: a whole number and its unit, at most a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct TextDuration(Duration);

impl TryFrom<String> for TextDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            _ => 0,
        };
        let total = number.parse::<u64>().ok().and_then(|n| n.checked_mul(milliseconds));
        match total {
            Some(total) if milliseconds > 0 && total <= 86_400_000 => {
                Ok(Self(Duration::from_millis(total)))
            }
            _ => Err(format!("`{text}` is not a duration: write \"100ms\", \"30s\" or \"5m\"")),
        }
    }
}

fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBELET: &str = r#"
exec = ["/usr/bin/kubelet", "--v=0"]
after = ["containerd"]
ready = { http-200 = "http://127.0.0.1:10248/healthz" }
restart = { policy = "always", backoff-min = "100ms", backoff-max = "30s" }
cgroup = "/kubelet"
kill = "cgroup"
oom-score = -999
environment = { PATH = "/usr/bin" }
deadline = "1m"
stop-timeout = "20s"
limits = { nofile = 1048576 }
"#;

    fn parse(text: &str) -> Result<Unit, String> {
        Unit::parse(Path::new("/units/kubelet.toml"), text).map_err(|error| error.message)
    }

    fn unit(name: &str, after: &[&str]) -> Unit {
        let after: Vec<_> = after.iter().map(|after| format!("{after:?}")).collect();
        let text = format!(
            "exec = [\"/x\"]\nready = \"started\"\ncgroup = \"/{name}\"\nkill = \"cgroup\"\n\
             deadline = \"1s\"\nafter = [{}]\n",
            after.join(", ")
        );
        Unit::parse(Path::new(&format!("{name}.toml")), &text).expect("a good unit")
    }

    #[test]
    fn a_whole_unit_is_read() {
        let unit = parse(KUBELET).expect("a good unit");
        assert_eq!(unit.name.as_str(), "kubelet");
        assert_eq!(unit.exec, ["/usr/bin/kubelet", "--v=0"]);
        assert_eq!(
            unit.ready,
            Ready::Http200(HttpTarget {
                address: "127.0.0.1:10248".parse().expect("an address"),
                path: "/healthz".into()
            })
        );
        assert_eq!(unit.restart, Restart { policy: Policy::Always, ..Restart::default() });
        assert_eq!(
            unit.cgroup.below(Path::new("/sys/fs/cgroup")),
            Path::new("/sys/fs/cgroup/kubelet")
        );
        assert_eq!(unit.deadline, Duration::from_secs(60));
        assert_eq!(unit.stop_timeout, Duration::from_secs(20));
        assert_eq!(unit.limits.nofile, Some(1_048_576));
        assert_eq!(unit.oom_score.to_string(), "-999");
    }

    #[test]
    fn every_mistake_is_shown_with_line_and_column() {
        for (from, to, want) in [
            ("oom-score", "oom-scor", "line 8, column 1: unknown field `oom-scor`"),
            ("-999", "-1001", "line 8, column 13: -1001 is not an OOM score: use -1000 to 1000"),
            ("\"1m\"", "\"1 h\"", "line 10, column 12: `1 h` is not a duration"),
            ("\"/usr/bin/kubelet\", ", "", "line 2, column 8: `exec` must begin with the absolute"),
            ("\"containerd\"", "\"Cont\"", "line 3, column 9: `Cont` is not a unit's name"),
            ("http://", "https://", "line 4, column 9: `https://127.0.0.1:10248/healthz` is not"),
            (
                "\"/kubelet\"",
                "\"/init\"",
                "line 6, column 10: `/init` is the control group of PID 1",
            ),
            ("\"/kubelet\"", "\"/a/b\"", "line 6, column 10: `/a/b` is not a control group"),
            ("\"100ms\"", "\"1m\"", "line 5, column 11: `backoff-min` is longer than"),
            ("\"100ms\"", "\"0s\"", "line 5, column 11: `backoff-min` must not be 0"),
            ("PATH =", "\"A=B\" =", "line 9, column 15: a variable's name is empty"),
            (
                "ready = { http-200 = \"http://127.0.0.1:10248/healthz\" }",
                "ready = \"exit\"",
                "line 5, column 11: a unit that is ready when it has ended",
            ),
            ("kill = \"cgroup\"\n", "", "missing field `kill`"),
        ] {
            let text = KUBELET.replace(from, to);
            assert_ne!(text, KUBELET, "{from}");
            let message = parse(&text).expect_err(to);
            assert!(message.contains(want), "{to}: {message}");
        }
    }

    #[test]
    fn a_unit_after_one_that_does_not_exist_is_refused_and_so_are_those_behind_it() {
        let (units, refused) =
            Units::new(vec![unit("a", &[]), unit("b", &["missing"]), unit("c", &["b", "a"])]);
        assert_eq!(units.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(), ["a"]);
        let refused: Vec<_> = refused.iter().map(|(n, m)| format!("{n}: {m}")).collect();
        assert_eq!(
            refused,
            [
                "b: line 6, column 10: it comes after `missing`, which is no usable unit",
                "c: line 6, column 10: it comes after `b`, which is no usable unit",
            ]
        );
    }

    #[test]
    fn a_circle_is_refused_and_the_rest_is_kept() {
        let (units, refused) = Units::new(vec![
            unit("a", &["b"]),
            unit("b", &["a"]),
            unit("c", &["a"]),
            unit("d", &[]),
            unit("e", &["e"]),
        ]);
        assert_eq!(units.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(), ["d"]);
        let names: Vec<_> = refused.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "e"]);
        assert!(refused[3].1.contains("which in a circle comes after itself"), "{refused:?}");
    }

    #[test]
    fn two_units_cannot_share_a_group_that_is_killed_whole() {
        let mut second = unit("b", &[]);
        second.cgroup = unit("a", &[]).cgroup;
        let (units, refused) = Units::new(vec![unit("a", &[]), second.clone()]);
        assert_eq!(units.iter().count(), 1);
        assert!(refused[0].1.contains("would kill both"), "{refused:?}");

        second.kill = Kill::Process;
        let (units, refused) = Units::new(vec![unit("a", &[]), second]);
        assert_eq!(units.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(refused.len(), 1);
    }

    #[test]
    fn one_bad_file_does_not_hide_the_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).expect("written");
        };
        write("kubelet.toml", &KUBELET.replace("after = [\"containerd\"]\n", ""));
        write("broken.toml", "exec = [");
        write("README", "not a unit");
        let (units, errors) = Units::load(directory.path()).expect("readable");
        assert_eq!(units.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(), ["kubelet"]);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].file, directory.path().join("broken.toml"));
        assert!(errors[0].message.starts_with("line 1, column"), "{}", errors[0]);
    }

    #[test]
    fn the_units_of_the_base_overlay_are_good() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../rootfs-overlays/base/usr/lib/orlop/units");
        let (units, errors) = Units::load(&directory).expect("readable");
        assert_eq!(errors, []);
        assert!(units.iter().any(|unit| unit.name.as_str() == "containerd"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = parse(&text);
            let _ = HttpTarget::try_from(format!("http://{text}"));
            let _ = TextDuration::try_from(text);
        }
    }
}
