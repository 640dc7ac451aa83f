//! A unit as it is written: TOML, its mistakes with line and column.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::value::{AbsolutePath, CgroupPath, OomScore, TextDuration, TextSize, UnitName};
use super::{GroupLimits, Kill, Limits, Policy, Ready, Restart, Unit, UnitError};

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
        let parsed: UnitFile = toml::from_str(text).map_err(|parse_error| {
            let at = parse_error
                .span()
                .map_or(Position { line: 1, column: 1 }, |span| position(text, span.start));
            error(format!("{at}: {}", parse_error.message()))
        })?;
        let wrong = |span: std::ops::Range<usize>, message: &str| {
            Err(error(format!("{}: {message}", position(text, span.start))))
        };
        for (key, program) in
            [("exec", Some(&parsed.exec)), ("stop-exec", parsed.stop_exec.as_ref())]
        {
            if let Some(program) = program
                && let Err(message) = check_program(key, program.get_ref())
            {
                return wrong(program.span(), &message);
            }
        }
        let group = GroupLimits {
            memory_min: parsed.memory_min.as_ref().map(|size| size.get_ref().0),
            memory_max: parsed.memory_max.map(|size| size.0),
            pids_max: parsed.pids_max.map(NonZeroU64::get),
        };
        if let Some(span) = parsed.memory_min.map(|size| size.span())
            && group.memory_max.is_some_and(|most| Some(most) < group.memory_min)
        {
            return wrong(span, "`memory-min` is more than `memory-max`");
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
            arguments_from: parsed.arguments_from,
            only_if_exists: parsed.only_if_exists,
            stop_exec: parsed.stop_exec.map(Spanned::into_inner),
            ready: parsed.ready,
            restart,
            cgroup: parsed.cgroup,
            kill: parsed.kill,
            oom_score: parsed.oom_score,
            environment,
            deadline: parsed.deadline.0,
            stop_timeout: parsed.stop_timeout.0,
            limits: parsed.limits,
            group,
            log_limit: parsed.log_limit.0,
        })
    }
}

/// A unit as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct UnitFile {
    exec: Spanned<Vec<String>>,
    arguments_from: Option<AbsolutePath>,
    only_if_exists: Option<AbsolutePath>,
    stop_exec: Option<Spanned<Vec<String>>>,
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
    memory_min: Option<Spanned<TextSize>>,
    memory_max: Option<TextSize>,
    pids_max: Option<NonZeroU64>,
    #[serde(default = "four_mebibytes")]
    log_limit: TextSize,
}

fn check_program(key: &str, program: &[String]) -> Result<(), String> {
    if !program.first().is_some_and(|program| program.starts_with('/')) {
        return Err(format!("`{key}` must begin with the absolute path of a program"));
    }
    if program.iter().any(|argument| argument.contains('\0')) {
        return Err("an argument cannot hold a zero byte".to_owned());
    }
    Ok(())
}

fn ten_seconds() -> TextDuration {
    TextDuration(Duration::from_secs(10))
}

fn four_mebibytes() -> TextSize {
    TextSize(4 * 1024 * 1024)
}

/// `[restart]` as written; what is absent is as in `Restart::default`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RestartText {
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

fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}
