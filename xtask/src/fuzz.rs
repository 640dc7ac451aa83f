//! Longer hunts with the targets of the crate `fuzz`. Where a C++ compiler is, libFuzzer looks which
//! code an input reaches, on a stable compiler; elsewhere inputs are changed at random.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{cargo, output, program, run, workspace};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// One target [default: all of them, one after the other]
    target: Option<String>,
    /// Change inputs at random, even where a C++ compiler is
    #[arg(long)]
    plain: bool,
}

/// What libFuzzer needs of rustc: counters at every edge, and the operands of comparisons.
const COVERAGE: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// This machine's; named, so that build scripts are built without counters.
fn machine() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

pub(crate) fn run_targets(args: &Args) -> Result<()> {
    run(cargo().args(["build", "--quiet", "--package", "fuzz"]))?;
    let plain = workspace().join("target/debug/one");
    let listed = program(&plain).arg("--list").output()?;
    let listed = String::from_utf8(listed.stderr)?;
    let chosen = choose(&listed, args.target.as_deref())?;
    let compiler = output(program("sh").args(["-c", "command -v c++ || true"]))?;
    let guided = !args.plain && !compiler.trim().is_empty();
    eprintln!("{}", if guided { "guided by coverage" } else { "changing inputs at random" });
    if guided {
        run(cargo()
            .args(["build", "--quiet", "--package", "fuzz", "--profile", "fuzz"])
            .args(["--target", &machine()])
            .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f")))?;
    }
    let mut broken = Vec::new();
    for target in chosen {
        let hunt = if guided {
            let corpus = workspace().join("fuzz/corpus").join(target);
            run(program(&plain).args(["--seeds", target]).arg(&corpus))?;
            guided_hunt(target, args.seconds, &corpus)?
        } else {
            let mut hunt = program(&plain);
            hunt.args([target, &args.seconds.to_string()]);
            hunt
        };
        broken.extend(run(&mut { hunt }).err().map(|error| format!("{error:#}")));
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!("inputs are kept in fuzz/artifacts:\n  {}", broken.join("\n  "))
}

/// The targets that are meant, of those that the program lists.
fn choose<'a>(listed: &'a str, named: Option<&str>) -> Result<Vec<&'a str>> {
    let all: Vec<_> = listed.lines().collect();
    let Some(named) = named else { return Ok(all) };
    match all.iter().find(|target| **target == named) {
        Some(target) => Ok(vec![target]),
        None => bail!("there is no target `{named}`; the targets are {}", all.join(", ")),
    }
}

fn guided_hunt(target: &str, seconds: u64, corpus: &Path) -> Result<Command> {
    let artifacts = workspace().join("fuzz/artifacts").join(target);
    std::fs::create_dir_all(&artifacts)?;
    let mut hunt = program(workspace().join("target").join(machine()).join("fuzz/one"));
    hunt.env("ORLOP_FUZZ_TARGET", target)
        .arg(corpus)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-timeout=30", "-rss_limit_mb=2048", "-verbosity=0", "-print_final_stats=1"]);
    Ok(hunt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_does_not_exist_is_told_with_those_that_do() {
        assert_eq!(choose("a\nb\n", None).unwrap(), ["a", "b"]);
        assert_eq!(choose("a\nb\n", Some("b")).unwrap(), ["b"]);
        let error = choose("a\nb\n", Some("c")).unwrap_err().to_string();
        assert_eq!(error, "there is no target `c`; the targets are a, b");
    }
}
