//! `orlop keys init`, `sign` and `rotate`: the root of a release and who has signed it.

use std::path::{Path, PathBuf};

use formats::moment::Moment;
use serde::Serialize;

use super::PassphraseArgs;
use crate::arguments::Global;
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::keys::begin::{self, Plan};
use crate::keys::keyring::Keyring;
use crate::keys::passphrase::{Purpose, Source};
use crate::keys::roles::{FILE_NAME, Role};
use crate::keys::sign::{Outcome, sign};
use crate::keys::{roots, sign};
use crate::progress::Progress;
use crate::recipe::model::Name;
use crate::settings::seconds;

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// A new directory, or one whose `keys.toml` says which keys there are
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// How many keys of root are made
    #[arg(long, value_name = "N", default_value_t = 3)]
    roots: u32,
    /// How many of them must sign
    #[arg(long, value_name = "N", default_value_t = 2)]
    threshold: u32,
    /// Do not encrypt new keys: whoever reads their files can sign with them
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    no_passphrase: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
pub struct SignArgs {
    /// Metadata of any of the four roles, such as `2.root.json`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    keys: KeysArgs,
}

/// Arguments of `rotate`.
#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// The role that has other keys in `keys.toml` now: root, targets, snapshot or timestamp
    #[arg(value_name = "ROLE", value_parser = role)]
    role: Role,
    #[command(flatten)]
    keys: KeysArgs,
}

/// What leads to keys.
#[derive(Debug, clap::Args)]
pub struct KeysArgs {
    /// The file that says which keys there are, or its directory
    #[arg(long, value_name = "FILE", default_value = FILE_NAME)]
    keys: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl KeysArgs {
    /// The keys that it leads to.
    ///
    /// # Errors
    /// Those of [`Keyring::load`].
    pub fn keyring<'a>(&self, progress: &'a Progress) -> Result<Keyring<'a>> {
        Keyring::load(&self.keys, self.passphrase.source(), progress)
    }
}

fn role(text: &str) -> Result<Role, String> {
    let role = Role::ALL.into_iter().find(|role| role.to_string() == text);
    role.ok_or_else(|| "use root, targets, snapshot or timestamp".to_owned())
}

/// Makes keys unless there are some, and the first root.
///
/// # Errors
/// Those of [`begin::keys`] and [`begin::first`].
pub(super) fn init(args: &InitArgs, global: &Global, progress: &Progress) -> Result<()> {
    let directory = &args.directory;
    let path = roots::path(directory, 1);
    let source = args.passphrase.source();
    if directory.join(FILE_NAME).symlink_metadata().is_ok() {
        let mut keyring = Keyring::load(directory, source, progress)?;
        return tell(&path, &begin::first(&mut keyring, seconds())?, global);
    }
    let passphrase = match args.no_passphrase {
        true => None,
        false => Some(source.get(Purpose::New, &directory.join("*.pem"))?),
    };
    let plan = Plan { roots: args.roots, threshold: args.threshold };
    begin::keys(directory, plan, passphrase.as_ref(), seconds())?;
    if passphrase.is_none() {
        let keys = directory.display();
        progress
            .warn(format!("the keys of `{keys}` are not encrypted: whoever reads them can sign"));
    }
    // Nobody is asked for a passphrase again: all have signed.
    let mut keyring = Keyring::load(directory, Source::Terminal, progress)?;
    tell(&path, &sign::sign(&path, &mut keyring)?, global)
}

/// Adds signatures to a file.
///
/// # Errors
/// Those of [`sign()`].
pub(super) fn sign_file(args: &SignArgs, global: &Global, progress: &Progress) -> Result<()> {
    let mut keyring = args.keys.keyring(progress)?;
    tell(&args.file, &sign(&args.file, &mut keyring)?, global)
}

/// Makes the next root.
///
/// # Errors
/// Those of [`begin::next`].
pub(super) fn rotate(args: &RotateArgs, global: &Global, progress: &Progress) -> Result<()> {
    let mut keyring = args.keys.keyring(progress)?;
    let outcome = begin::next(args.role, &mut keyring, seconds())?;
    tell(&roots::path(&keyring.directory, outcome.version), &outcome, global)
}

/// What `--json` says of signatures.
#[derive(Serialize)]
struct ToldCount<'a> {
    root: u64,
    have: usize,
    want: u64,
    keys: &'a [Name],
}

fn tell(path: &Path, outcome: &Outcome, global: &Global) -> Result<()> {
    let Outcome { role, version, expires, added, counts } = outcome;
    let expires = Moment::at(*expires);
    if global.json {
        let counts = counts.iter().map(|count| ToldCount {
            root: count.root,
            have: count.have,
            want: count.want,
            keys: &count.names,
        });
        return print_json(&serde_json::json!({
            "file": shown(path),
            "role": role.as_str(),
            "version": version,
            "expires": expires.rfc3339(),
            "added": added,
            "complete": outcome.is_complete(),
            "signatures": counts.collect::<Vec<_>>(),
        }));
    }
    let mut text = format!("{}\n{role} {version}, until {expires}\n", path.display());
    for count in counts {
        let names: Vec<_> = count.names.iter().map(Name::as_str).collect();
        let names =
            if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
        text +=
            &format!("root {}: {} of {} signatures{names}\n", count.root, count.have, count.want);
    }
    print(text)
}
