//! `orlop config`: looking at node configurations.

use std::path::PathBuf;

use formats::node_config::{EXAMPLE, Problem, Secrets};
use serde::Serialize;

use crate::arguments::Global;
use crate::commands::{print, print_json};
use crate::error::{Context as _, Id, Result};
use crate::node_config::{Source, report};

/// What to look at.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say what is wrong with node configurations, by the code that reads them on the node
    Check {
        /// The files; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print a node configuration with every default, and without the secret of its token
    Show {
        /// The file; `-` is standard input
        file: PathBuf,
    },
    /// Print a configuration to begin with: a node without a cluster that runs one pod
    Example,
}

/// Looks.
///
/// # Errors
/// Those of [`Source::open`] and [`Source::load`].
pub fn run(command: &Command, global: &Global) -> Result<()> {
    match command {
        Command::Check { files } => check(files, global),
        Command::Show { file } => {
            show(&Source::open(file)?.load()?.config.to_toml(Secrets::Hidden), global)
        }
        Command::Example => show(EXAMPLE, global),
    }
}

/// A configuration as TOML, or the same as JSON.
fn show(text: &str, global: &Global) -> Result<()> {
    if !global.json {
        return print(text);
    }
    let config: serde_json::Value =
        toml::from_str(text).or_fail(Id::Bug, || "cannot read a configuration of our own")?;
    print_json(&serde_json::json!({ "config": config }))
}

fn check(files: &[PathBuf], global: &Global) -> Result<()> {
    let sources = files.iter().map(|file| Source::open(file)).collect::<Result<Vec<_>>>()?;
    let found: Vec<_> = sources
        .into_iter()
        .map(|source| {
            let problems = source.problems();
            (source, problems)
        })
        .collect();
    if global.json {
        let verdicts: Vec<_> =
            found.iter().map(|(source, problems)| Verdict::new(source, problems)).collect();
        print_json(&serde_json::json!({ "files": verdicts }))?;
    } else {
        for (source, _) in found.iter().filter(|(_, problems)| problems.is_empty()) {
            print(format!("`{}` is in order", source.path.display()))?;
        }
    }
    if found.iter().all(|(_, problems)| problems.is_empty()) { Ok(()) } else { Err(report(&found)) }
}

/// What `--json` says of a file.
#[derive(Serialize)]
struct Verdict<'a> {
    file: String,
    problems: Vec<Told<'a>>,
}

/// What `--json` says of a problem.
#[derive(Serialize)]
struct Told<'a> {
    line: usize,
    column: usize,
    message: &'a str,
    hint: Option<&'a str>,
}

impl<'a> Verdict<'a> {
    fn new(source: &Source, problems: &'a [Problem]) -> Self {
        let told = |problem: &'a Problem| Told {
            line: problem.line,
            column: problem.column,
            message: &problem.message,
            hint: problem.hint.as_deref(),
        };
        let problems = problems.iter().map(told).collect();
        Self { file: source.path.display().to_string(), problems }
    }
}
