//! A unit as it is written: TOML, its mistakes with line and column.
//!
//! The keys are read by hand: what `serde` generates for so many kinds of values is some tens of
//! kilobytes of PID 1.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::{AbsolutePath, OomScore, TextDuration, TextSize, UnitName};
use super::{
    Asked, Capabilities, GroupLimits, Kill, Limits, Liveness, Policy, Ready, Restart, Sandbox,
    SystemCalls, Unit, UnitError,
};
use crate::question::Question;

/// The least that `restart-machine-after` can be: who writes less has a machine that is never there.
const SHORTEST_BOOT: Duration = Duration::from_secs(60);

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

impl Unit {
    /// Parses the text of `file`, whose stem becomes the name.
    ///
    /// # Errors
    /// With line and column, unless the name itself is wrong.
    pub fn parse(file: &Path, text: &str) -> Result<Self, UnitError> {
        let error = |message: String| UnitError { file: file.to_owned(), message };
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = UnitName::try_from(stem).map_err(error)?;
        read(name, text).map_err(|mistake| {
            error(format!("{}: {}", position(text, mistake.at.start), mistake.what))
        })
    }
}

/// What is wrong, and where in the text.
#[derive(Debug)]
struct Mistake {
    at: Range<usize>,
    what: String,
}

impl Mistake {
    fn new(at: &Range<usize>, what: impl Into<String>) -> Self {
        Self { at: at.clone(), what: what.into() }
    }
}

/// A value and where it is.
struct Value<'t> {
    at: Range<usize>,
    value: DeValue<'t>,
}

impl<'t> Value<'t> {
    fn new(value: Spanned<DeValue<'t>>) -> Self {
        Self { at: value.span(), value: value.into_inner() }
    }

    fn wrong(&self, what: impl Into<String>) -> Mistake {
        Mistake::new(&self.at, what)
    }

    fn text(&self) -> Result<String, Mistake> {
        match &self.value {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            _ => Err(self.wrong("this must be a text in quotes")),
        }
    }

    /// A text that its type checks.
    fn checked<T: TryFrom<String, Error = String>>(&self) -> Result<T, Mistake> {
        T::try_from(self.text()?).map_err(|what| self.wrong(what))
    }

    fn integer(&self) -> Result<i64, Mistake> {
        let number = match &self.value {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        number.ok_or_else(|| self.wrong("this must be a whole number"))
    }

    fn count(&self) -> Result<u64, Mistake> {
        u64::try_from(self.integer()?).map_err(|_| self.wrong("this must not be negative"))
    }

    fn boolean(&self) -> Result<bool, Mistake> {
        match &self.value {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.wrong("this must be true or false")),
        }
    }

    fn list(self) -> Result<Vec<Value<'t>>, Mistake> {
        match self.value {
            DeValue::Array(values) => Ok(values.into_iter().map(Value::new).collect()),
            _ => Err(self.wrong("this must be a list")),
        }
    }

    /// The keys of a table: name, where it is, value.
    fn table(self) -> Result<Vec<(Value<'t>, Value<'t>)>, Mistake> {
        match self.value {
            DeValue::Table(table) => Ok(entries(table)),
            _ => Err(self.wrong("this must be a table")),
        }
    }

    fn program(self, key: &str) -> Result<Vec<String>, Mistake> {
        let at = self.at.clone();
        let program = self.list()?.iter().map(Value::text).collect::<Result<Vec<_>, _>>()?;
        if !program.first().is_some_and(|program| program.starts_with('/')) {
            let what = format!("`{key}` must begin with the absolute path of a program");
            return Err(Mistake::new(&at, what));
        }
        if program.iter().any(|argument| argument.contains('\0')) {
            return Err(Mistake::new(&at, "an argument cannot hold a zero byte"));
        }
        Ok(program)
    }

    fn ready(self) -> Result<Ready, Mistake> {
        let unknown = self.wrong(
            "write \"exit\", \"started\", or one of `socket-answers`, `cri-version`, `http-200` in \
             a table",
        );
        if let DeValue::String(word) = &self.value {
            return match &**word {
                "exit" => Ok(Ready::Exit),
                "started" => Ok(Ready::Started),
                _ => Err(unknown),
            };
        }
        let keys = self.table()?;
        let [(key, value)] = &keys[..] else { return Err(unknown) };
        value.question(&key.text()?)?.map(Ready::Answers).ok_or(unknown)
    }

    /// What is asked of a unit to know whether it works, if that is such a key.
    fn question(&self, key: &str) -> Result<Option<Question>, Mistake> {
        let path = || Ok(self.checked::<AbsolutePath>()?.0);
        Ok(Some(match key {
            "socket-answers" => Question::SocketAnswers(path()?),
            "cri-version" => Question::CriVersion(path()?),
            "http-200" => Question::Http200(self.checked()?),
            _ => return Ok(None),
        }))
    }

    fn probe(self) -> Result<Liveness, Mistake> {
        let at = self.at.clone();
        let wrong = |what: &str| Mistake::new(&at, what);
        let (mut questions, mut failures) = (Vec::new(), 3);
        let (mut interval, mut timeout) = (Duration::from_secs(30), Duration::from_secs(20));
        for (key, value) in self.table()? {
            match &*key.text()? {
                "interval" => interval = value.checked::<TextDuration>()?.0,
                "timeout" => timeout = value.checked::<TextDuration>()?.0,
                "failures" => failures = u32::try_from(value.count()?).unwrap_or(u32::MAX),
                other => match value.question(other)? {
                    Some(question) => questions.push(question),
                    None => return Err(key.wrong(format!("unknown key `{other}`"))),
                },
            }
        }
        if timeout.is_zero() || failures == 0 || timeout > interval {
            let what = "`timeout` and `failures` must not be 0, nor `timeout` more than `interval`";
            return Err(wrong(what));
        }
        match <[Question; 1]>::try_from(questions) {
            Ok([question]) => {
                Ok(Liveness { asked: Asked::Question(question), interval, timeout, failures })
            }
            Err(_) => Err(wrong("write one of `socket-answers`, `cri-version`, `http-200`")),
        }
    }

    fn restart(self) -> Result<Restart, Mistake> {
        let at = self.at.clone();
        let default = Restart::default();
        let (mut policy, mut backoff_min, mut backoff_max) = (None, default.backoff_min, None);
        for (key, value) in self.table()? {
            match &*key.text()? {
                "policy" => policy = Some(value.checked::<Policy>()?),
                "backoff-min" => backoff_min = value.checked::<TextDuration>()?.0,
                "backoff-max" => backoff_max = Some(value.checked::<TextDuration>()?.0),
                other => return Err(key.wrong(format!("unknown key `{other}`"))),
            }
        }
        let backoff_max = backoff_max.unwrap_or(default.backoff_max.max(backoff_min));
        let policy = policy.ok_or_else(|| Mistake::new(&at, "it needs a `policy`"))?;
        if backoff_min.is_zero() {
            let what = "`backoff-min` must not be 0: a unit that fails at once would spin";
            return Err(Mistake::new(&at, what));
        }
        if backoff_min > backoff_max {
            return Err(Mistake::new(&at, "`backoff-min` is longer than `backoff-max`"));
        }
        Ok(Restart { policy, backoff_min, backoff_max })
    }

    fn environment(self) -> Result<Vec<(String, String)>, Mistake> {
        let at = self.at.clone();
        let mut environment = Vec::new();
        for (key, value) in self.table()? {
            let (key, value) = (key.text()?, value.text()?);
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                let what = "a variable's name is empty or holds `=`, or one a zero byte";
                return Err(Mistake::new(&at, what));
            }
            environment.push((key, value));
        }
        Ok(environment)
    }

    fn limits(self) -> Result<Limits, Mistake> {
        let mut limits = Limits::default();
        for (key, value) in self.table()? {
            match &*key.text()? {
                "nofile" => limits.nofile = Some(value.count()?),
                other => return Err(key.wrong(format!("unknown key `{other}`"))),
            }
        }
        Ok(limits)
    }

    fn paths(self) -> Result<Vec<AbsolutePath>, Mistake> {
        self.list()?.iter().map(Value::checked).collect()
    }

    fn sandbox(self) -> Result<Sandbox, Mistake> {
        let mut sandbox = Sandbox::default();
        for (key, value) in self.table()? {
            match &*key.text()? {
                "no-new-privileges" => sandbox.no_new_privileges = value.boolean()?,
                "capabilities" => {
                    let mut kept = Capabilities::default();
                    for value in value.list()? {
                        let named = Capabilities::named(&value.text()?);
                        kept.0 |= named.map_err(|what| value.wrong(what))?.0;
                    }
                    sandbox.capabilities = Some(kept);
                }
                "private-tmp" => sandbox.private_tmp = value.boolean()?,
                "visible" => sandbox.visible = Some(value.paths()?),
                "writable" => sandbox.writable = Some(value.paths()?),
                "system-calls" => {
                    let mut calls = SystemCalls::default();
                    for value in value.list()? {
                        calls.add(&value.text()?).map_err(|what| value.wrong(what))?;
                    }
                    sandbox.system_calls = Some(calls);
                }
                other => return Err(key.wrong(format!("unknown key `{other}`"))),
            }
        }
        Ok(sandbox)
    }
}

fn entries(table: DeTable<'_>) -> Vec<(Value<'_>, Value<'_>)> {
    let entry = |(key, value): (Spanned<_>, _)| {
        let name = Value { at: key.span(), value: DeValue::String(key.into_inner()) };
        (name, Value::new(value))
    };
    table.into_iter().map(entry).collect()
}

fn read(name: UnitName, text: &str) -> Result<Unit, Mistake> {
    let table = DeTable::parse(text).map_err(|error| Mistake {
        at: error.span().unwrap_or(0..0),
        what: error.message().into(),
    })?;
    let (mut exec, mut ready, mut cgroup, mut deadline) = (None, None, None, None);
    let mut kill = Kill::Cgroup;
    let (mut arguments_from, mut only_if_exists, mut stop_exec) = (None, None, None);
    let (mut environment_from, mut probe, mut probe_at) = (None, None, 0..0);
    let (mut after, mut environment) = (Vec::<(UnitName, _)>::new(), Vec::new());
    let (mut restart, mut oom_score) = (Restart::default(), OomScore::default());
    let (mut limits, mut group) = (Limits::default(), GroupLimits::default());
    let mut sandbox = Sandbox::default();
    let (mut stop_timeout, mut log_limit) = (Duration::from_secs(10), 4 << 20);
    let (mut restart_at, mut memory_min_at) = (0..0, 0..0);
    let mut restart_machine_after = None;
    for (key, value) in entries(table.into_inner()) {
        let at = value.at.clone();
        match &*key.text()? {
            "exec" => exec = Some(value.program("exec")?),
            "arguments-from" => arguments_from = Some(value.checked()?),
            "environment-from" => environment_from = Some(value.checked()?),
            "only-if-exists" => only_if_exists = Some(value.checked()?),
            "stop-exec" => stop_exec = Some(value.program("stop-exec")?),
            "after" => {
                for value in value.list()? {
                    let (name, at) = (value.checked()?, position(text, value.at.start));
                    match after.binary_search_by(|(known, _)| known.cmp(&name)) {
                        Ok(index) => after[index].1 = at,
                        Err(index) => after.insert(index, (name, at)),
                    }
                }
            }
            "ready" => ready = Some(value.ready()?),
            "probe" => {
                probe = Some(value.probe()?);
                probe_at = at;
            }
            "restart" => {
                restart = value.restart()?;
                restart_at = at;
            }
            "cgroup" => cgroup = Some(value.checked()?),
            "kill" => kill = value.checked()?,
            "oom-score" => {
                oom_score =
                    OomScore::try_from(value.integer()?).map_err(|what| value.wrong(what))?;
            }
            "environment" => environment = value.environment()?,
            "deadline" => deadline = Some(value.checked::<TextDuration>()?.0),
            "restart-machine-after" => {
                let after = value.checked::<TextDuration>()?.0;
                if after < SHORTEST_BOOT {
                    let what = format!("a boot has {} s at least", SHORTEST_BOOT.as_secs());
                    return Err(value.wrong(what));
                }
                restart_machine_after = Some(after);
            }
            "stop-timeout" => stop_timeout = value.checked::<TextDuration>()?.0,
            "limits" => limits = value.limits()?,
            "memory-min" => {
                group.memory_min = Some(value.checked::<TextSize>()?.0);
                memory_min_at = at;
            }
            "memory-max" => group.memory_max = Some(value.checked::<TextSize>()?.0),
            "pids-max" => {
                let count = NonZeroU64::new(value.count()?);
                let count = count.ok_or_else(|| value.wrong("`pids-max` must not be 0"))?;
                group.pids_max = Some(count.get());
            }
            "sandbox" => sandbox = value.sandbox()?,
            "log-limit" => log_limit = value.checked::<TextSize>()?.0,
            other => return Err(key.wrong(format!("unknown key `{other}`"))),
        }
    }
    let missing = |key: &str| Mistake { at: 0..0, what: format!("the key `{key}` is missing") };
    if ready == Some(Ready::Exit) && restart.policy == Policy::Always {
        let what = "a unit that is ready when it has ended cannot be restarted always";
        return Err(Mistake::new(&restart_at, what));
    }
    if probe.is_some() && (ready == Some(Ready::Exit) || restart.policy == Policy::Never) {
        let what = "a unit that ends by itself or is never restarted has no use for a probe";
        return Err(Mistake::new(&probe_at, what));
    }
    if let Some(most) = group.memory_max
        && group.memory_min.is_some_and(|least| least > most)
    {
        return Err(Mistake::new(&memory_min_at, "`memory-min` is more than `memory-max`"));
    }
    Ok(Unit {
        name,
        exec: exec.ok_or_else(|| missing("exec"))?,
        arguments_from,
        environment_from,
        only_if_exists,
        stop_exec,
        after,
        ready: ready.ok_or_else(|| missing("ready"))?,
        probe,
        restart,
        cgroup: cgroup.ok_or_else(|| missing("cgroup"))?,
        kill,
        oom_score,
        environment,
        deadline: deadline.ok_or_else(|| missing("deadline"))?,
        restart_machine_after,
        stop_timeout,
        limits,
        group,
        sandbox,
        log_limit,
        built_in: None,
    })
}

impl TryFrom<String> for Policy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match &*text {
            "always" => Ok(Self::Always),
            "on-failure" => Ok(Self::OnFailure),
            "never" => Ok(Self::Never),
            _ => Err(format!("`{text}` is not one of \"always\", \"on-failure\", \"never\"")),
        }
    }
}

impl TryFrom<String> for Kill {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match &*text {
            "cgroup" => Ok(Self::Cgroup),
            "process" => Ok(Self::Process),
            _ => Err(format!("`{text}` is neither \"cgroup\" nor \"process\"")),
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
