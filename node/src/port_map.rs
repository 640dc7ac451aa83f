//! `portmap`, a plugin of the Container Network Interface: makes the host ports of a pod lead to it.
//!
//! Format: CNI specification 1.1.0, <https://www.cni.dev/docs/spec/>; the capability `portMappings`
//! and the plugin's key `snat` as those of the plugin of that name of
//! `github.com/containernetworking/plugins`. That one runs `nft` or `iptables`, which a node has not;
//! this one speaks to the kernel. It stands in containerd's first directory of plugins, so a cluster's
//! CNI that chains `portmap` gets it too.

mod mapping;
mod request;
mod route;
mod rules;

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use serde_json::{Value, json};

use self::request::{Call, Config, Verb};
use crate::nftables::{self, Batch, Family, Protocol, Tables};

/// The name by which CNI calls us.
pub const NAME: &str = "portmap";

/// Of the specification. All of them have results of a form that is only passed on here.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// More than any configuration with the result of the plugins before.
const LIMIT: u64 = 1024 * 1024;

/// Why a call failed, with the code that the specification gives to the kind.
#[derive(Debug, PartialEq, Eq)]
struct Error {
    code: Code,
    message: String,
}

/// The specification's codes, and from 100 on our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Version = 1,
    Environment = 4,
    Io = 5,
    Decode = 6,
    Config = 7,
    Unavailable = 50,
    Kernel = 100,
}

impl Error {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn kernel(doing: &str, error: &std::io::Error) -> Self {
        Self::new(Code::Kernel, format!("cannot {doing}: {error}"))
    }
}

/// Does what the environment and stdin ask for, and answers on stdout.
pub fn main() -> ExitCode {
    let mut version = VERSIONS[VERSIONS.len() - 1].to_owned();
    let (answer, code) = match run(&mut version) {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(Error { code, message }) => {
            let answer = json!({ "cniVersion": version, "code": code as u32, "msg": message });
            (Some(answer), ExitCode::FAILURE)
        }
    };
    let written = answer.map_or(Ok(()), |answer| writeln!(std::io::stdout(), "{answer}"));
    if written.is_err() { ExitCode::FAILURE } else { code }
}

/// What is to be written to stdout. `version` becomes that of the request.
fn run(version: &mut String) -> Result<Option<Value>, Error> {
    let call = Call::read(|name| std::env::var(name).ok())?;
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::new(Code::Io, format!("cannot read stdin: {error}")))?;
    if call.verb == Verb::Version {
        let answer = json!({ "cniVersion": version, "supportedVersions": VERSIONS });
        return Ok(Some(answer));
    }
    let config = Config::parse(&bytes)?;
    if !VERSIONS.contains(&config.version.as_str()) {
        let message = format!("`cniVersion` is `{}`, and this is of {VERSIONS:?}", config.version);
        return Err(Error::new(Code::Version, message));
    }
    version.clone_from(&config.version);
    let table = || rules::table(&config.network, &call.container, &call.link);
    match call.verb {
        Verb::Add => add(&table()?, &call, &config).map(Some),
        Verb::Delete => delete(&table()?, &config).map(|()| None),
        Verb::Check => check(&table()?, &call, &config).map(|()| None),
        Verb::Collect => collect(&config).map(|()| None),
        Verb::Status => status().map(|()| None),
        Verb::Version => Ok(None),
    }
}

/// Makes the rules and passes on what the plugins before have made.
fn add(table: &str, call: &Call, config: &Config) -> Result<Value, Error> {
    let result = config.previous.clone().ok_or_else(|| {
        Error::new(
            Code::Config,
            "there is no `prevResult`: portmap comes after the plugin which makes the pod's link",
        )
    })?;
    let mappings = config.mappings(&call.link)?;
    if mappings.is_empty() {
        return Ok(result);
    }
    let batch = rules::batch(table, &mappings, config.masquerade);
    batch.send().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(
            Code::Kernel,
            "cannot map ports: the kernel lacks one of `nft_chain_nat`, `nft_fib_inet`, `nft_masq`, `nft_nat`",
        ),
        _ => Error::kernel("map ports", &error),
    })?;
    for address in rules::from_loopback(&mappings) {
        route::allow_loopback(address)?;
    }
    forget(config);
    Ok(result)
}

/// Removes the rules; that there are none is fine, and so is a kernel that cannot have any.
fn delete(table: &str, config: &Config) -> Result<(), Error> {
    let mut batch = Batch::new(Family::Both);
    batch.delete_table(table);
    match batch.send() {
        Ok(()) => forget(config),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::Unsupported
            ) => {}
        Err(error) => return Err(Error::kernel("remove mapped ports", &error)),
    }
    Ok(())
}

/// Whoever sends datagrams all the time would go on to be led where the first was led, past a new
/// rule or to a pod that is gone. Without the module for it that is so, and no reason to fail.
fn forget(config: &Config) {
    for port in config.ports(Protocol::Udp) {
        for family in [Family::Ip, Family::Ip6] {
            if let Err(error) = nftables::forget(family, Protocol::Udp, port) {
                eprintln!("portmap: cannot forget what was sent to port {port}: {error}");
            }
        }
    }
}

fn check(table: &str, call: &Call, config: &Config) -> Result<(), Error> {
    let wanted = !config.mappings(&call.link)?.is_empty();
    if wanted && !tables()?.iter().any(|name| name == table) {
        return Err(Error::new(Code::Kernel, format!("there is no table `{table}`")));
    }
    Ok(())
}

/// Removes the rules of this network's pods that are no more.
fn collect(config: &Config) -> Result<(), Error> {
    let mut batch = Batch::new(Family::Both);
    let stale = rules::stale(&config.network, &config.attachments, &tables()?);
    for table in &stale {
        batch.delete_table(table);
    }
    if stale.is_empty() {
        return Ok(());
    }
    batch.send().map_err(|error| Error::kernel("remove mapped ports of pods that are gone", &error))
}

fn status() -> Result<(), Error> {
    Tables::list(Family::Both)
        .map(drop)
        .map_err(|error| Error::new(Code::Unavailable, format!("cannot map ports: {error}")))
}

fn tables() -> Result<Vec<String>, Error> {
    Tables::list(Family::Both).map_err(|error| Error::kernel("list nftables' tables", &error))
}

/// For [`crate::outside`].
pub(crate) fn outside(bytes: &[u8]) {
    if let Ok(config) = Config::parse(bytes) {
        let _ = config.mappings("eth0");
    }
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = route::link_to(std::net::Ipv4Addr::new(10, 88, 0, 5), text);
    }
}
