//! `orlop keys`: the keys that sign releases.

mod signing;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::arguments::Global;
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::keys::file::to_pem;
use crate::keys::passphrase::{Purpose, Source};
use crate::keys::roles::{FILE_NAME, Holder, Role, Roles, Signing};
use crate::keys::store::{State, look, open};
use crate::keys::{PrivateKey, PublicKey, Signer as _, create, salt, seed};
use crate::progress::Progress;
use crate::recipe::model::Name;

pub use signing::KeysArgs;

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a key: its private half goes into NAME.pem, and what `keys.toml` wants of it is printed
    New(NewArgs),
    /// Make the keys of a release, who signs for what, and its first root
    Init(signing::InitArgs),
    /// Add the signatures of the keys that are here to a file of metadata
    Sign(signing::SignArgs),
    /// Make the next root, in which a role has the keys that `keys.toml` gives it now
    Rotate(signing::RotateArgs),
    /// Say which keys sign for which role, and where each key is
    Show {
        /// The file, or its directory
        #[arg(value_name = "FILE", default_value = FILE_NAME)]
        file: PathBuf,
    },
    /// Print the public key of a private one, in PEM
    Public {
        /// The file of the private key
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
}

/// Arguments of `new`.
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// What the key is called: 1 to 32 of a-z, 0-9 and `-`, a letter first
    #[arg(value_name = "NAME", value_parser = name)]
    name: Name,
    /// Where its file goes [default: here]
    #[arg(short, long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Do not encrypt it: whoever reads the file can sign with it
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    no_passphrase: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Where a passphrase comes from.
#[derive(Debug, clap::Args)]
pub struct PassphraseArgs {
    /// The passphrase is the first line of this file [default: it is asked for on the terminal]
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_fd")]
    passphrase_file: Option<PathBuf>,
    /// The passphrase is the first line of what this open descriptor gives
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
}

impl PassphraseArgs {
    fn source(&self) -> Source {
        match (&self.passphrase_file, self.passphrase_fd) {
            (Some(file), _) => Source::File(file.clone()),
            (None, Some(number)) => Source::Descriptor(number),
            (None, None) => Source::Terminal,
        }
    }
}

fn name(text: &str) -> Result<Name, String> {
    Name::try_from(text.to_owned())
}

/// Does it.
///
/// # Errors
/// Those of [`create`], [`Roles::load`], [`look`] and [`open`], and of who makes and signs roots.
pub fn run(command: &Command, global: &Global, progress: &Progress) -> Result<()> {
    match command {
        Command::New(args) => new(args, global, progress),
        Command::Init(args) => signing::init(args, global, progress),
        Command::Sign(args) => signing::sign_file(args, global, progress),
        Command::Rotate(args) => signing::rotate(args, global, progress),
        Command::Show { file } => show(file, global, progress),
        Command::Public { file, passphrase } => {
            let key = open(file, &passphrase.source())?;
            if global.json {
                return print_json(&Told::of(file, key.public()));
            }
            print(key.public().to_pem())
        }
    }
}

/// What `--json` says of a public key.
#[derive(Serialize)]
struct Told {
    file: String,
    public: String,
    pem: String,
}

impl Told {
    fn of(file: &Path, public: &PublicKey) -> Self {
        Self { file: shown(file), public: public.to_string(), pem: public.to_pem() }
    }
}

fn new(args: &NewArgs, global: &Global, progress: &Progress) -> Result<()> {
    let file = format!("{}.pem", args.name);
    let path = args.directory.as_deref().unwrap_or(Path::new("")).join(&file);
    let passphrase = match args.no_passphrase {
        true => None,
        false => Some(args.passphrase.source().get(Purpose::New, &path)?),
    };
    let key = PrivateKey::from_seed(seed()?);
    let salt = salt()?;
    create(&path, &to_pem(&key, passphrase.as_ref().map(|passphrase| (passphrase, &salt))))?;
    if passphrase.is_none() {
        let path = path.display();
        progress.warn(format!("`{path}` is not encrypted: whoever reads it can sign with it"));
    }
    if global.json {
        return print_json(&Told::of(&path, key.public()));
    }
    print(format!("[key.{}]\npublic = \"{}\"\nfile = \"{file}\"", args.name, key.public()))
}

/// What `--json` says of a role.
#[derive(Serialize)]
struct ToldRole<'a> {
    name: String,
    threshold: u32,
    days: u32,
    keys: &'a [Name],
}

/// What `--json` says of a key.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ToldKey<'a> {
    name: &'a Name,
    public: String,
    file: Option<String>,
    sign_with: Option<&'a [String]>,
    here: bool,
    encrypted: Option<bool>,
}

fn show(file: &Path, global: &Global, progress: &Progress) -> Result<()> {
    let file = if file.is_dir() { file.join(FILE_NAME) } else { file.to_owned() };
    let roles = Roles::load(&file)?;
    let directory = file.parent().unwrap_or(Path::new(""));
    let mut keys = Vec::new();
    for (name, key) in roles.keys() {
        let state = match &key.holder {
            Holder::File(file) => Some(look(&directory.join(file), &key.public)?),
            Holder::Command(_) | Holder::Elsewhere => None,
        };
        if let (Some(State::Plain), Holder::File(file)) = (&state, &key.holder) {
            let file = directory.join(file);
            progress.warn(format!(
                "`{}` is not encrypted: whoever reads it can sign with it",
                file.display()
            ));
        }
        keys.push((name, key, state));
    }
    if global.json {
        let roles: Vec<_> = Role::ALL
            .into_iter()
            .map(|role| {
                let Signing { threshold, days, keys } = roles.role(role);
                ToldRole { name: role.to_string(), threshold: *threshold, days: *days, keys }
            })
            .collect();
        let keys: Vec<_> = keys
            .iter()
            .map(|(name, key, state)| ToldKey {
                name,
                public: key.public.to_string(),
                file: match &key.holder {
                    Holder::File(file) => Some(shown(&directory.join(file))),
                    _ => None,
                },
                sign_with: match &key.holder {
                    Holder::Command(words) => Some(words),
                    _ => None,
                },
                here: match &key.holder {
                    Holder::File(_) => *state != Some(State::Absent),
                    Holder::Command(_) => true,
                    Holder::Elsewhere => false,
                },
                encrypted: match state {
                    Some(State::Encrypted) => Some(true),
                    Some(State::Plain) => Some(false),
                    Some(State::Absent) | None => None,
                },
            })
            .collect();
        return print_json(&serde_json::json!({
            "file": shown(&file), "roles": roles, "keys": keys,
        }));
    }
    let mut text = String::new();
    for role in Role::ALL {
        let Signing { threshold, days, keys } = roles.role(role);
        let of = keys.len();
        let keys: Vec<_> = keys.iter().map(Name::as_str).collect();
        let (role, keys) = (role.to_string(), keys.join(", "));
        text += &format!("{role:<10} {threshold} of {of}  {days:>4} days  {keys}\n");
    }
    text += "\n";
    let width = keys.iter().map(|(name, ..)| name.as_str().len()).max().unwrap_or(0);
    for (name, key, state) in &keys {
        let whereabouts = match (&key.holder, state) {
            (Holder::File(file), Some(State::Encrypted)) => {
                format!("{}, encrypted", file.display())
            }
            (Holder::File(file), Some(State::Plain)) => {
                format!("{}, not encrypted", file.display())
            }
            (Holder::File(file), _) => format!("{}, which is not here", file.display()),
            (Holder::Command(words), _) => format!("signs with `{}`", words.join(" ")),
            (Holder::Elsewhere, _) => "somebody else has it".to_owned(),
        };
        text += &format!("{:<width$} {}  {whereabouts}\n", name.as_str(), key.public);
    }
    print(text)
}
