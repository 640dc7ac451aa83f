//! `orlop verify`: whether a node would take a release.

use std::path::{Path, PathBuf};

use formats::moment::Moment;
use formats::tuf::Limits;
use serde::Serialize;

use crate::arguments::Global;
use crate::commands::{print, print_json};
use crate::error::{Error, Id, Result};
use crate::http::Client;
use crate::keys::roots;
use crate::progress::Progress;
use crate::release::kept::Kept;
use crate::release::reader::Place;
use crate::release::verify::{Verified, verify};
use crate::settings::{Settings, seconds};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub struct Args {
    /// The directory of releases, or its address
    #[arg(value_name = "PLACE")]
    place: String,
    #[command(flatten)]
    trust: Trust,
    /// The time that it is, such as 2027-01-31T00:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<i64>,
    /// The version [default: the newest]
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
}

/// Whom a look at releases believes.
#[derive(Debug, clap::Args)]
pub(super) struct Trust {
    /// The root to begin with [default: `metadata/1.root.json` of the place, which is then believed]
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// A directory that keeps what is trusted: the next look goes on from there, and nothing may be older
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Trust {
    /// What a look at this place begins with.
    ///
    /// # Errors
    /// [`Id::Read`] if a file that was named cannot be read; those of asking the place.
    pub(super) fn kept(&self, place: &Place, progress: &Progress) -> Result<Kept> {
        let root = || match &self.root {
            Some(file) => roots::read(file, Limits::DEFAULT.root)?
                .ok_or_else(|| Error::new(Id::Read, format!("there is no `{}`", file.display()))),
            None => {
                progress.warn(
                    "the first root is taken from the place itself: name yours with `--root`",
                );
                place.first_root()
            }
        };
        match &self.state {
            Some(directory) => Kept::directory(directory, root),
            None => Ok(Kept::once(&root()?)),
        }
    }
}

fn time(text: &str) -> Result<i64, String> {
    Moment::seconds_of(text).ok_or_else(|| "use a time like 2027-01-31T00:00:00Z".to_owned())
}

/// What leads to releases.
///
/// # Errors
/// [`Id::Read`] if it is neither a directory nor an address; those of [`Client::new`].
pub(super) fn place(text: &str, settings: &Settings, progress: &Progress) -> Result<Place> {
    if ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
        let client = Client::new(settings.environment.access())?;
        return Ok(Place::Web(text.to_owned(), Box::new(client), progress.clone()));
    }
    let directory = Path::new(text);
    if !directory.is_dir() {
        return Err(Error::new(Id::Read, format!("there is no directory `{text}`"))
            .hint("an address begins with `https://` or `http://`"));
    }
    Ok(Place::Directory(directory.to_owned()))
}

#[derive(Serialize)]
struct ToldRole {
    name: &'static str,
    version: u64,
    expires: String,
}

/// Verifies it.
///
/// # Errors
/// Those of [`verify()`].
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let place = place(&args.place, settings, progress)?;
    let kept = args.trust.kept(&place, progress)?;
    let now = args.at.unwrap_or_else(seconds);
    let verified = verify(&place, kept, args.version.as_deref(), now)?;
    let versions = verified.versions();
    let Verified { release, roles, expires, .. } = &verified;
    let expires = *expires;
    if global.json {
        let roles = roles.iter().map(|(name, version, expires)| ToldRole {
            name,
            version: *version,
            expires: Moment::at(*expires).rfc3339(),
        });
        return print_json(&serde_json::json!({
            "image": release.image,
            "version": release.version,
            "kernel": release.kernel,
            "root-hash": release.root.hash,
            "epoch": release.epoch,
            "versions": versions,
            "roles": roles.collect::<Vec<_>>(),
            "expires": Moment::at(expires).rfc3339(),
        }));
    }
    let mut text = format!(
        "{} {}, kernel {}\nroot hash {}\n",
        release.image, release.version, release.kernel, release.root.hash
    );
    for (role, version, expires) in roles {
        text += &format!("{role} {version}, until {}\n", Moment::at(*expires));
    }
    print(text + &format!("trusted until {}\n", Moment::at(expires)))
}
