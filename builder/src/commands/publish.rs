//! `orlop publish`, `promote` and `withdraw`: what a directory of releases has.

use std::path::{Path, PathBuf};

use formats::moment::Moment;
use formats::oci::{Called, Location};
use formats::release::Wave;

use crate::arguments::{Global, RepositoryArgs};
use crate::commands::keys::KeysArgs;
use crate::commands::{print, print_json, shown, verify};
use crate::error::{Error, Id, Result};
use crate::progress::Progress;
use crate::registry::{Plain, Purpose, Registry};
use crate::release::commit;
use crate::release::publish::{Keep, Published, Publisher, Terms};
use crate::release::push::{Pushed, push};
use crate::settings::{Settings, processors, seconds};

/// Arguments of `publish`.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub struct Args {
    /// A directory that `orlop build` made
    #[arg(
        value_name = "BUILD",
        required_unless_present_any = ["refresh", "oci"],
        conflicts_with = "refresh"
    )]
    build: Option<PathBuf>,
    /// Sign only the timestamp anew, and the snapshot if half of its time is over
    #[arg(long)]
    refresh: bool,
    /// Publish it only if its image is of this version, which the recipe says [default: any]
    #[arg(long, value_name = "VERSION", requires = "build")]
    version: Option<String>,
    /// A number that never falls on a node: it takes no release of a lower one [default: the highest of DIR]
    #[arg(long, value_name = "N", requires = "build")]
    epoch: Option<u64>,
    /// Nodes of a release before this one take another one first
    #[arg(long, value_name = "VERSION", requires = "build")]
    min_from: Option<String>,
    /// So many percent of the nodes take it from so many hours on; may be given more than once
    #[arg(long, value_name = "PERCENT:HOURS", value_parser = wave, requires = "build")]
    wave: Vec<Wave>,
    /// The commit of the repository with the same tree [default: the newest with the root hash of BUILD]
    #[arg(long, value_name = "COMMIT", requires = "build")]
    commit: Option<String>,
    #[command(flatten)]
    repository: RepositoryArgs,
    /// From how many releases before it there are deltas
    #[arg(long, value_name = "N", default_value_t = 3, requires = "build")]
    deltas: usize,
    /// Push what is published then to a registry; without BUILD and `--refresh`, what is there already
    #[arg(long, value_name = "REGISTRY/NAME:TAG", value_parser = tagged)]
    oci: Option<Location>,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    to: ToArgs,
}

/// How a registry is reached.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct RegistryArgs {
    /// Speak to the registry without encryption, although it is not on this host
    #[arg(long)]
    plain_http: bool,
}

impl RegistryArgs {
    /// The repository of a location.
    pub(super) fn registry(
        self,
        location: &Location,
        purpose: Purpose,
        settings: &Settings,
    ) -> Result<Registry> {
        let plain = if self.plain_http { Plain::Always } else { Plain::Loopback };
        let environment = &settings.environment;
        Registry::new(location, purpose, plain, environment.access(), environment.registries())
    }
}

/// Arguments of `promote`.
#[derive(Debug, clap::Args)]
pub struct PromoteArgs {
    /// The version
    #[arg(value_name = "VERSION")]
    release: String,
    /// The directory or the address that it is published at, under the same root
    #[arg(long, value_name = "PLACE")]
    from: String,
    #[command(flatten)]
    to: ToArgs,
}

/// Arguments of `withdraw`.
#[derive(Debug, clap::Args)]
pub struct WithdrawArgs {
    /// The version
    #[arg(value_name = "VERSION")]
    release: String,
    #[command(flatten)]
    to: ToArgs,
}

/// Where releases go, and who signs.
#[derive(Debug, clap::Args)]
pub struct ToArgs {
    /// The directory of releases
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// How many releases stay, a new one included; and those that a `--min-from` of these names
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = some)]
    keep: usize,
    #[command(flatten)]
    keys: KeysArgs,
}

fn tagged(text: &str) -> Result<Location, String> {
    let location = Location::new(text).map_err(|error| error.to_string())?;
    match location.called {
        Called::Tag(_) => Ok(location),
        Called::Digest(_) => {
            Err("what is pushed gets a tag, and has a digest by itself".to_owned())
        }
    }
}

fn some(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "use a number from 1".to_owned())
}

fn wave(text: &str) -> Result<Wave, String> {
    let wave = text.split_once(':').and_then(|(percent, hours)| {
        Some(Wave { percent: percent.parse().ok()?, after_hours: hours.parse().ok()? })
    });
    wave.ok_or_else(|| "use PERCENT:HOURS, such as 10:24".to_owned())
}

/// Publishes, or refreshes; and pushes.
///
/// # Errors
/// Those of [`Publisher`] and of [`push`].
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let directory = &args.to.to;
    let published = match args.build.is_some() || args.refresh {
        true => Some(publish(args, progress)?),
        false => None,
    };
    let Some(location) = &args.oci else {
        let published =
            published.ok_or_else(|| Error::new(Id::Bug, "nothing is to be published"))?;
        return tell(directory, &published, None, global);
    };
    let registry = args.registry.registry(location, Purpose::Push, settings)?;
    let pushed = push(directory, &registry, progress)?;
    let published = published.unwrap_or_else(|| Published {
        release: None,
        versions: pushed.versions.clone(),
        removed: Vec::new(),
        stranded: Vec::new(),
        timestamp: pushed.timestamp,
        expires: pushed.expires,
    });
    tell(directory, &published, Some((location, &pushed)), global)
}

fn publish(args: &Args, progress: &Progress) -> Result<Published> {
    let mut keyring = args.to.keys.keyring(progress)?;
    let mut publisher = Publisher::new(&mut keyring, seconds())?;
    let directory = &args.to.to;
    let Some(build) = &args.build else { return publisher.refresh(directory) };
    let terms = Terms {
        version: args.version.clone(),
        commit: commit::of(build, &args.repository.repo, args.commit.as_deref(), progress)?,
        epoch: args.epoch,
        min_from: args.min_from.clone(),
        waves: args.wave.clone(),
    };
    let keep = Keep { releases: args.to.keep, deltas: args.deltas };
    publisher.publish(build, directory, &terms, keep, processors())
}

/// Publishes what is published elsewhere.
///
/// # Errors
/// Those of [`Publisher::promote`].
pub fn promote(
    args: &PromoteArgs,
    global: &Global,
    settings: &Settings,
    progress: &Progress,
) -> Result<()> {
    let from = verify::place(&args.from, settings, progress)?;
    let mut keyring = args.to.keys.keyring(progress)?;
    let mut publisher = Publisher::new(&mut keyring, seconds())?;
    let keep = Keep { releases: args.to.keep, deltas: 0 };
    let published = publisher.promote(&from, &args.release, &args.to.to, keep)?;
    tell(&args.to.to, &published, None, global)
}

/// Takes a release away.
///
/// # Errors
/// Those of [`Publisher::withdraw`].
pub fn withdraw(args: &WithdrawArgs, global: &Global, progress: &Progress) -> Result<()> {
    let mut keyring = args.to.keys.keyring(progress)?;
    let mut publisher = Publisher::new(&mut keyring, seconds())?;
    let published = publisher.withdraw(&args.to.to, &args.release)?;
    for after in &published.stranded {
        let gone = &args.release;
        progress.warn(format!(
            "{after} is reached from {gone} on, which is gone: nodes of releases before {gone} cannot take \
             {after}"
        ));
    }
    tell(&args.to.to, &published, None, global)
}

fn tell(
    directory: &Path,
    published: &Published,
    pushed: Option<(&Location, &Pushed)>,
    global: &Global,
) -> Result<()> {
    let Published { release, versions, removed, timestamp, expires, .. } = published;
    let expires = Moment::at(*expires);
    if global.json {
        return print_json(&serde_json::json!({
            "directory": shown(directory),
            "release": release.as_ref().map(|release| &release.version),
            "deltas": release.iter().flat_map(|it| &it.deltas).map(|it| &it.from).collect::<Vec<_>>(),
            "versions": versions,
            "removed": removed,
            "timestamp": timestamp,
            "expires": expires.rfc3339(),
            "oci": pushed.map(|(location, pushed)| serde_json::json!({
                "name": location.to_string(),
                "digest": format!("sha256:{}", pushed.digest),
                "files": pushed.files,
                "sent": pushed.sent,
                "sent-bytes": pushed.sent_bytes,
            })),
        }));
    }
    let mut text = String::new();
    if let Some(release) = release {
        text += &format!("{} {}\n", release.image, release.version);
    }
    for version in removed {
        text += &format!("{version} is gone\n");
    }
    text += &format!("timestamp {timestamp}, until {expires}\n");
    if let Some((location, pushed)) = pushed {
        text += &format!("{}@sha256:{}\n", location.repository(), pushed.digest);
    }
    print(text)
}
