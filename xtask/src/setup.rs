//! Installs what the host lacks. `orlop doctor` knows what that is; we only ask apt for it. Only
//! `setup` and `quickstart` do so, and `test` on a machine of CI, whose packages are nobody's.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::command::{line, output, program};
use crate::{image, judges};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Say what would be installed, and install nothing
    #[arg(long)]
    dry_run: bool,
}

/// What a tool is for, as `orlop doctor --json` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Purpose {
    /// `orlop build`.
    Build,
    /// `orlop run`.
    Run,
    /// The tests of this repository.
    Test,
    /// Works without it.
    Optional,
}

#[derive(Debug, Deserialize)]
struct Doctor {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Deserialize)]
struct Row {
    name: String,
    state: String,
    purpose: Purpose,
    package: Option<String>,
}

/// What tests need: all of it, the judges included.
const ALL: &[Purpose] = &[Purpose::Build, Purpose::Run, Purpose::Test];

pub(crate) fn run(args: &Args) -> Result<()> {
    // What one archive lacks should not keep the judges, which come from elsewhere, from coming.
    let packages = install(&image::orlop()?, ALL, args.dry_run);
    judges::install(args.dry_run)?;
    packages
}

/// For `test`: where packages may not be installed unasked, what is missing is an error. The judges may
/// come while the first tests run.
pub(crate) fn for_tests(orlop: &Path) -> Result<()> {
    if is_ci() {
        return install(orlop, ALL, false);
    }
    match complaint(&missing(orlop, ALL)?) {
        None => judges::require(),
        Some(complaint) => bail!(complaint),
    }
}

/// Whether this is a machine of CI, whose packages are nobody's.
pub(crate) fn is_ci() -> bool {
    is_set(std::env::var_os("CI").as_deref())
}

/// As everywhere in the environment, a variable that is set to nothing is not set.
fn is_set(variable: Option<&OsStr>) -> bool {
    variable.is_some_and(|value| !value.is_empty())
}

/// What `test` says of a host that lacks these.
fn complaint(missing: &[Row]) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    let rows: Vec<_> = missing.iter().map(|row| format!("\n  {}", row.told())).collect();
    Some(format!(
        "this host lacks what the tests need:{}\n`cargo xtask setup` installs it, and `--dry-run` \
         says what that would be; `cargo xtask test --fast` leaves out whole images and QEMU",
        rows.concat()
    ))
}

impl Row {
    fn told(&self) -> String {
        let package = self.package.as_deref().unwrap_or("none that we know");
        format!("{:<24} for {:?}, package {package}", self.name, self.purpose)
    }
}

/// What this host lacks for these purposes.
fn missing(orlop: &Path, purposes: &[Purpose]) -> Result<Vec<Row>> {
    // doctor's exit status says that something is missing, which is why we ask.
    let text =
        output(program("sh").args(["-c", "\"$0\" doctor --json || test $? = 6"]).arg(orlop))?;
    let doctor: Doctor =
        serde_json::from_str(&text).context("cannot read `orlop doctor --json`")?;
    let wanted = |row: &Row| row.state != "ok" && purposes.contains(&row.purpose);
    Ok(doctor.rows.into_iter().filter(wanted).collect())
}

/// Says what is missing for these purposes and how it will be installed, and does so.
pub(crate) fn install(orlop: &Path, purposes: &[Purpose], dry_run: bool) -> Result<()> {
    let missing = missing(orlop, purposes)?;
    if missing.is_empty() {
        eprintln!("this host has all that is needed");
        return Ok(());
    }
    for row in &missing {
        eprintln!("missing: {}", row.told());
    }
    let packages: BTreeSet<_> = missing.iter().filter_map(|row| row.package.as_deref()).collect();
    if packages.is_empty() {
        bail!("no package brings what is missing");
    }
    let has = |name: &str| -> Result<bool> {
        let found = output(program("sh").args(["-c", "command -v \"$0\" || true", name]))?;
        Ok(!found.trim().is_empty())
    };
    let who = match rustix::process::geteuid().is_root() {
        true => Who::Root,
        false if has("sudo")? => Who::Sudo,
        false => Who::Nobody,
    };
    let apt = if has("apt-get")? { Apt::There } else { Apt::NotThere };
    let plan = plan(who, apt, &packages)?;
    eprintln!("the packages come with:");
    for words in [&plan.update, &plan.install(&packages)] {
        eprintln!("  {}", words.join(" "));
    }
    if dry_run {
        println!("{}", packages.into_iter().collect::<Vec<_>>().join(" "));
        return Ok(());
    }
    carry_out(&plan.update)?;
    let mut policy = program("apt-cache");
    policy.env("LC_ALL", "C").arg("policy").args(&packages);
    let (there, absent) = by_candidate(&packages, &output(&mut policy)?);
    if !there.is_empty() {
        carry_out(&plan.install(&there))?;
    }
    if absent.is_empty() {
        return Ok(());
    }
    let lacks = |row: &&Row| row.package.as_deref().is_some_and(|name| absent.contains(name));
    let rows: Vec<_> =
        missing.iter().filter(lacks).map(|row| format!("\n  {}", row.told())).collect();
    bail!(
        "all else is installed, but the archives of this host have no such package; install the \
         program by hand, in whatever form there is one:{}",
        rows.concat()
    );
}

fn carry_out(words: &[String]) -> Result<()> {
    let mut command = program(&words[0]);
    command.args(&words[1..]);
    crate::command::run(&mut command)
        .with_context(|| format!("cannot install the packages with `{}`", line(&command)))
}

/// Which of these packages apt can install, and which it cannot, by what `apt-cache policy` says of
/// them: of one it has never heard of, nothing, and of one that is only a name, no candidate.
/// (Debian's `chromium` is not in Ubuntu.)
fn by_candidate<'a>(
    packages: &BTreeSet<&'a str>,
    policy: &str,
) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
    let mut candidates = BTreeSet::new();
    let mut name = None;
    for line in policy.lines() {
        match line.strip_suffix(':') {
            Some(heading) if !line.starts_with(' ') => name = Some(heading),
            _ => {
                let candidate = line.trim().strip_prefix("Candidate: ");
                candidates.extend(name.filter(|_| candidate.is_some_and(|it| it != "(none)")));
            }
        }
    }
    packages.iter().copied().partition(|package| candidates.contains(package))
}

/// As whom we can install packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Root,
    Sudo,
    Nobody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Apt {
    There,
    NotThere,
}

/// How packages come to this host. The commands stand word by word; the variable that keeps packages
/// from asking questions is set by `env` behind `sudo`, which lets none of ours through.
struct Plan {
    /// What goes before each command.
    before: &'static [&'static str],
    /// Brings apt's lists up to date.
    update: Vec<String>,
}

impl Plan {
    fn command(before: &[&str], arguments: &[&str]) -> Vec<String> {
        let words = [before, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], arguments];
        words.concat().iter().map(|&word| word.to_owned()).collect()
    }

    /// Installs these packages.
    fn install(&self, packages: &BTreeSet<&str>) -> Vec<String> {
        let names = packages.iter().copied().collect::<Vec<_>>();
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        Self::command(self.before, &[&install[..], &names].concat())
    }
}

fn plan(who: Who, apt: Apt, packages: &BTreeSet<&str>) -> Result<Plan> {
    let names = packages.iter().copied().collect::<Vec<_>>();
    if apt == Apt::NotThere {
        bail!("this host has no `apt-get`: install by hand what provides {}", names.join(", "));
    }
    let before: &'static [&'static str] = match who {
        Who::Root => &[],
        Who::Sudo => &["sudo"],
        Who::Nobody => bail!(
            "packages are installed by root, and there is no `sudo`: as root, run `apt-get install \
             {}`",
            names.join(" ")
        ),
    };
    Ok(Plan { before, update: Plan::command(before, &["update", "-qq"]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(who: Who, apt: Apt) -> Result<Vec<String>> {
        let packages = ["gdisk", "mtools"].into();
        let plan = plan(who, apt, &packages)?;
        Ok(vec![plan.update.join(" "), plan.install(&packages).join(" ")])
    }

    #[test]
    fn packages_are_installed_without_a_question_whoever_installs_them() {
        let quiet = "env DEBIAN_FRONTEND=noninteractive apt-get";
        for (who, sudo) in [(Who::Root, ""), (Who::Sudo, "sudo ")] {
            assert_eq!(
                lines(who, Apt::There).unwrap(),
                [
                    format!("{sudo}{quiet} update -qq"),
                    format!("{sudo}{quiet} install -y -qq --no-install-recommends gdisk mtools"),
                ]
            );
        }
    }

    #[test]
    fn packages_that_an_archive_lacks_are_told_from_those_that_it_has() {
        let policy = "gdisk:\n  Installed: (none)\n  Candidate: 1.0.9-2.1\n  Version table:\n     \
                      1.0.9-2.1 500\nchromium:\n  Installed: (none)\n  Candidate: (none)\n  \
                      Version table:\n";
        let (there, absent) = by_candidate(&["chromium", "gdisk", "unheard-of"].into(), policy);
        assert_eq!(there, ["gdisk"].into());
        assert_eq!(absent, ["chromium", "unheard-of"].into());
    }

    #[test]
    fn who_cannot_install_packages_is_told_which() {
        let text = |who, apt| lines(who, apt).unwrap_err().to_string();
        assert!(text(Who::Nobody, Apt::There).ends_with("run `apt-get install gdisk mtools`"));
        assert!(text(Who::Root, Apt::NotThere).ends_with("what provides gdisk, mtools"));
    }

    #[test]
    fn a_test_run_on_ones_own_machine_names_what_is_missing_and_installs_nothing() {
        assert_eq!(complaint(&[]), None);
        let row = Row {
            name: "sgdisk".into(),
            state: "missing".into(),
            purpose: Purpose::Test,
            package: Some("gdisk".into()),
        };
        let complaint = complaint(&[row]).unwrap();
        for words in ["sgdisk", "package gdisk", "`cargo xtask setup`", "--fast"] {
            assert!(complaint.contains(words), "{complaint}");
        }
        for (value, want) in [(None, false), (Some(""), false), (Some("true"), true)] {
            assert_eq!(is_set(value.map(OsStr::new)), want);
        }
    }
}
