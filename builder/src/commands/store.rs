//! `orlop store`: looking after the store.

use std::fs::File;
use std::path::PathBuf;

use crate::arguments::Global;
use crate::commands::{print, print_json, shown, unpack};
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Progress;
use crate::settings::Settings;
use serde_json::json;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print where the store is
    Path,
    /// Put files into the store, for machines without network; prints each sha256
    Add {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Read every blob and compare it with its name
    Verify,
    /// Unpack the packages of a recipe as files of this host; not an image
    Unpack(unpack::Args),
}

/// Does it.
///
/// # Errors
/// [`Id::Read`], [`Id::StoreWrite`]; [`Id::WrongDigest`] if a blob is damaged.
pub fn run(
    command: &Command,
    global: &Global,
    settings: &Settings,
    progress: &Progress,
) -> Result<()> {
    match command {
        Command::Path => {
            let path = settings.store_path()?;
            if global.json {
                return print_json(&json!({ "store": shown(path) }));
            }
            print(path.display().to_string())
        }
        Command::Add { files } => {
            let store = settings.store()?;
            let mut blobs = Vec::new();
            for path in files {
                let cannot = || format!("cannot read `{}`", path.display());
                let mut file = File::open(path).or_fail(Id::Read, cannot)?;
                if file.metadata().or_fail(Id::Read, cannot)?.is_dir() {
                    return Err(Error::new(
                        Id::Read,
                        format!("`{}` is a directory", path.display()),
                    ));
                }
                let blob = store.put(&mut file)?;
                if global.json {
                    let (sha256, size) = (blob.sha256.to_string(), blob.size);
                    blobs.push(json!({ "file": shown(path), "sha256": sha256, "size": size }));
                } else {
                    print(format!("{}  {}", blob.sha256, path.display()))?;
                }
            }
            if global.json { print_json(&json!({ "blobs": blobs })) } else { Ok(()) }
        }
        Command::Unpack(args) => unpack::run(args, global, settings, progress),
        Command::Verify => {
            let store = settings.store_to("verify")?;
            let task = progress.task("verify", None);
            let (mut count, mut damaged) = (0_u64, Vec::new());
            for (path, name) in store.blobs()? {
                if crate::digest::of_file(&path, |piece| task.advance(piece.len() as u64))? != name
                {
                    damaged.push(path.display().to_string());
                }
                count += 1;
            }
            if global.json {
                print_json(&json!({ "blobs": count, "damaged": damaged }))?;
            }
            if damaged.is_empty() {
                task.done(format!("{count} blobs are what their names say"));
                return Ok(());
            }
            let message = format!(
                "{} of {count} blobs are damaged:\n  {}",
                damaged.len(),
                damaged.join("\n  ")
            );
            Err(Error::new(Id::WrongDigest, message).hint("remove them and run `orlop fetch`"))
        }
    }
}
