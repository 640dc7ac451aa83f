//! `orlop pull`: releases of a registry become a directory.

use std::path::PathBuf;
use std::sync::Arc;

use formats::moment::Moment;
use formats::oci::Location;
use formats::tuf::Limits;

use crate::arguments::Global;
use crate::commands::publish::RegistryArgs;
use crate::commands::{print, print_json, shown};
use crate::error::{Error, Id, Result};
use crate::keys::roots;
use crate::progress::Progress;
use crate::registry::Purpose;
use crate::release::pull::{Belief, Pulled, pull};
use crate::settings::{Settings, seconds};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What `orlop publish --oci` has pushed, by its tag or as REGISTRY/NAME@sha256:DIGEST
    #[arg(value_name = "REGISTRY/NAME:TAG", value_parser = location)]
    name: Location,
    /// The directory of releases, made if it is not there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The root to begin with [default: that of the releases in DIR, else that of the registry, which is
    /// then believed]
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

fn location(text: &str) -> Result<Location, String> {
    Location::new(text).map_err(|error| error.to_string())
}

/// Pulls.
///
/// # Errors
/// Those of [`pull()`].
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let root = match &args.root {
        Some(file) => Some(
            roots::read(file, Limits::DEFAULT.root)?
                .ok_or_else(|| Error::new(Id::Read, format!("there is no `{}`", file.display())))?,
        ),
        None => None,
    };
    let belief = root.as_ref().map_or(Belief::Place, |root| Belief::Root(root, seconds()));
    let registry = Arc::new(args.registry.registry(&args.name, Purpose::Pull, settings)?);
    let Pulled { digest, files, fetched, fetched_bytes, versions, timestamp, expires } =
        pull(&registry, &args.to, belief, progress)?;
    let expires = Moment::at(expires);
    if global.json {
        return print_json(&serde_json::json!({
            "directory": shown(&args.to),
            "name": args.name.to_string(),
            "digest": format!("sha256:{digest}"),
            "files": files,
            "fetched": fetched,
            "fetched-bytes": fetched_bytes,
            "versions": versions,
            "timestamp": timestamp,
            "expires": expires.rfc3339(),
        }));
    }
    let newest = versions.last().map(|version| format!("{version}\n")).unwrap_or_default();
    print(format!("{newest}timestamp {timestamp}, until {expires}\n"))
}
