//! What a node is, where its channel is, and what it trusts: read from files, each time that it is
//! needed, so that a new node config counts at once.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use formats::architecture::Architecture;
use formats::command_line::CommandLine;
use formats::digest::Sha256;
use formats::node_config::{self, Update};
use formats::os_release;

use crate::client::bucket::Rate;
use crate::client::{Place, Settings, web_place};
use crate::eligible::Node;

/// The root that the image begins with.
pub const FIRST_ROOT: &str = "/usr/lib/orlop/updates/root.json";

const TIME_FLOOR: &str = "/usr/lib/orlop/time-floor";
const MACHINE_ID: &str = "/etc/machine-id";
const COMMAND_LINE: &str = "/proc/cmdline";
/// The node config in memory, where STATE did not take it, and on STATE: `orlop-node` keeps them.
const CONFIGS: [&str; 2] = ["/run/orlop/node.toml", "/var/lib/orlop/node.toml"];

/// No file that is read here is larger.
const LARGEST: u64 = 16 << 20;

/// A node.
#[derive(Debug)]
pub struct Facts {
    /// What it is. What META knows is not in it.
    pub node: Node,
    /// `[update]` of its config; of one that cannot be used, what a node without one has.
    pub update: Update,
    /// Why the config cannot be used, or why no channel is trusted. In nobody's way who asks for none.
    problem: Option<String>,
    /// When its image was made, in seconds since 1970.
    pub floor: i64,
    /// The root that it begins with.
    pub first_root: Vec<u8>,
    /// Variables of the environment that name proxies.
    proxies: String,
    /// Authorities, in PEM.
    authorities: Vec<u8>,
}

/// Reads a node whose file system begins at `root`.
///
/// # Errors
/// In words: what is missing or cannot be read.
pub fn read(root: &Path) -> Result<Facts, String> {
    let text = |path: &str| {
        let bytes = file(root, path)?.ok_or_else(|| format!("`{path}` is not there"))?;
        String::from_utf8(bytes).map_err(|_| format!("`{path}` is no text"))
    };
    let said = os_release::fields(&text(os_release::PATH)?);
    let says = |key: &str| said.get(key).cloned().unwrap_or_default();
    let line = CommandLine::parse(&text(COMMAND_LINE)?).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        errors.join("; ")
    })?;
    let written = CONFIGS.iter().find_map(|path| file(root, path).transpose());
    let update = written.map_or_else(|| Ok(Update::default()), |bytes| config(&bytes?));
    let mut problem = update.as_ref().err().cloned();
    let update = update.unwrap_or_default();
    let first_root = match &update.root {
        Some(text) => Some(text.clone().into_bytes()),
        None => file(root, FIRST_ROOT)?,
    };
    if first_root.is_none() {
        problem.get_or_insert(format!(
            "this image trusts no channel: `{FIRST_ROOT}` is not there, nor `update.root`"
        ));
    }
    let mut authorities = file(root, web::CA_BUNDLE)?.unwrap_or_default();
    authorities.push(b'\n');
    authorities.extend(update.ca.iter().flat_map(|ca| ca.pem().bytes()));
    let proxies = file(root, web::proxy::PATH)?.unwrap_or_default();
    let floor = file(root, TIME_FLOOR)?.and_then(|text| String::from_utf8(text).ok());
    let architecture = Architecture::of_machine(std::env::consts::ARCH);
    let node = Node {
        image: says(os_release::IMAGE),
        architecture: architecture.map(|it| it.to_string()).unwrap_or_default(),
        version: says(os_release::VERSION),
        running: line.root_hash,
        epoch: 0,
        failed: Vec::new(),
        machine_id: text(MACHINE_ID)?.trim().to_owned(),
    };
    Ok(Facts {
        node,
        update,
        problem,
        floor: floor.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
        first_root: first_root.unwrap_or_default(),
        proxies: String::from_utf8_lossy(&proxies).into_owned(),
        authorities,
    })
}

impl Facts {
    /// The places of releases: that which was named, or those of the channel.
    ///
    /// # Errors
    /// There is none, or it cannot be one; nothing is trusted here; the config cannot be used.
    pub fn places(&self, named: Option<&str>) -> Result<Vec<Place>, String> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let addresses = match named {
            Some(named) if named.starts_with('/') => {
                return Ok(vec![Place::Directory(PathBuf::from(named))]);
            }
            Some(named) => {
                let url: node_config::Url = named.parse()?;
                vec![url.to_string()]
            }
            None => self.update.channel.iter().map(ToString::to_string).collect(),
        };
        if addresses.is_empty() {
            return Err(
                "there is no channel: `update.channel` of the node config names none, and \
                        no place was named"
                    .to_owned(),
            );
        }
        let authorities = web::authorities(&self.authorities);
        let limits = web::Limits::default();
        let place =
            |address: &String| web_place(address, authorities.clone(), &self.proxies, limits);
        addresses.iter().map(place).collect()
    }

    /// How the client behaves.
    pub fn settings(&self) -> Settings {
        let rate = self.update.rate_limit.map(|kib| Rate::new(u64::from(kib) << 10));
        let id = Sha256::of(&self.node.machine_id);
        let seed = id.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes);
        Settings { rate, seed, ..Settings::default() }
    }
}

fn config(bytes: &[u8]) -> Result<Update, String> {
    let text = String::from_utf8_lossy(bytes);
    match node_config::parse(&text) {
        Ok(config) => Ok(config.update),
        Err(problems) => {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            Err(format!("the node config cannot be used: {first}"))
        }
    }
}

/// The file's bytes; nothing if there is no such file.
fn file(root: &Path, path: &str) -> Result<Option<Vec<u8>>, String> {
    let failed = |error: io::Error| format!("cannot read `{path}`: {error}");
    match File::open(root.join(path.trim_start_matches('/'))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
            if bytes.len() as u64 > LARGEST {
                return Err(format!("`{path}` has more than {LARGEST} bytes"));
            }
            Ok(Some(bytes))
        }
    }
}
