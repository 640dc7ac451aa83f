//! `orlop config`: looking at node configurations.

use std::path::PathBuf;

use formats::node_config::{EXAMPLE, Problem, Secrets, Weakening};
use serde::Serialize;

use crate::arguments::Global;
use crate::commands::{print, print_json};
use crate::error::{Context as _, Id, Result};
use crate::node_config::{Source, report};

/// What to look at.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say what is wrong with node configurations, and what they give up of a node's protection, by
    /// the code that reads them on the node
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
            let judged = source.judge();
            (source, judged)
        })
        .collect();
    if global.json {
        let verdicts: Vec<_> =
            found.iter().map(|(source, judged)| Verdict::new(source, judged)).collect();
        print_json(&serde_json::json!({ "files": verdicts }))?;
    } else {
        for (source, judged) in &found {
            let Ok(weakened) = judged else { continue };
            let path = source.path.display();
            print(format!("`{path}` is in order"))?;
            for Weakening { line, .. } in weakened {
                print(format!("`{path}` gives up a protection: {line}"))?;
            }
        }
    }
    let wrong =
        found.into_iter().map(|(source, judged)| (source, judged.err().unwrap_or_default()));
    let wrong: Vec<_> = wrong.collect();
    if wrong.iter().all(|(_, problems)| problems.is_empty()) { Ok(()) } else { Err(report(&wrong)) }
}

/// What `--json` says of a file.
#[derive(Serialize)]
struct Verdict<'a> {
    file: String,
    problems: Vec<Told<'a>>,
    weakened: Vec<Given<'a>>,
}

/// What `--json` says of a protection that is given up.
#[derive(Serialize)]
struct Given<'a> {
    key: &'a str,
    message: &'a str,
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
    fn new(source: &Source, judged: &'a Result<Vec<Weakening>, Vec<Problem>>) -> Self {
        let told = |problem: &'a Problem| Told {
            line: problem.line,
            column: problem.column,
            message: &problem.message,
            hint: problem.hint.as_deref(),
        };
        let given = |Weakening { key, line }: &'a Weakening| Given { key, message: line };
        let problems = judged.as_ref().err().into_iter().flatten().map(told).collect();
        let weakened = judged.as_ref().into_iter().flatten().map(given).collect();
        Self { file: source.path.display().to_string(), problems, weakened }
    }
}
