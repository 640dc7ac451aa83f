//! The configuration of a node, `node.toml`, schema 1: what makes one node of an image different
//! from the next. Every key stands in `docs/config.md`.
//!
//! Reading it finds everything that is wrong at once, each with line and column, for the file may
//! come to a node that nobody can log in to. Text in, value out: who finds the file and what is
//! made of it is another's affair.

mod address;
mod belongings;
mod containerd;
mod hugepages;
mod interval;
mod kubelet;
mod kubernetes;
mod label;
mod name;
mod network;
mod pem;
mod problem;
mod proxy;
mod route;
mod section;
mod security;
mod show;
#[cfg(feature = "manifests")]
mod static_pod;
mod sysctl;
mod token;
mod update;
#[cfg(feature = "tuf")]
mod update_trust;
mod url;
mod weakened;
mod window;

pub use address::{Cidr, Mac, Subnet};
pub use belongings::{Volumes, WhenDamaged};
pub use containerd::{Containerd, Login, Registry, RegistryHost};
pub use hugepages::PageSize;
pub use interval::Interval;
pub use kubelet::{
    LONGEST_SHUTDOWN_GRACE, RESERVED as RESERVED_KUBELET_KEYS, SHUTDOWN_GRACE,
    fields as kubelet_fields,
};
pub use kubernetes::{Api, Kubernetes, ServingCertificate, StaticPodName};
pub use label::{Effect, LabelKey, LabelValue, Taint};
pub use name::{DomainName, Host, HostName};
pub use network::{Link, Network, Time, TimeServer};
pub use pem::Certificates;
pub use problem::Problem;
pub use proxy::{Exempt, Proxy, ProxyUrl};
pub use route::{Destination, Route};
pub use security::{Lockdown, Security};
pub use show::Secrets;
#[cfg(feature = "manifests")]
pub use static_pod::static_pod_problems;
pub use sysctl::SysctlName;
pub use token::BootstrapToken;
pub use update::{Policy, Update};
#[cfg(feature = "tuf")]
pub use update_trust::update_problems;
pub use url::{Scheme, Url};
pub use weakened::Weakening;
pub use window::Window;

use section::{Missing, Notes, Section};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::excerpt;
use toml::de::{DeTable, DeValue};

/// The only schema that this version reads.
pub const SCHEMA: u32 = 1;

/// The largest configuration that is read, in bytes.
pub const LARGEST: usize = 1024 * 1024;

/// Of text that is not TOML, so many lines are told.
const MOST_SYNTAX_ERRORS: usize = 20;

/// What the file is called in QEMU's firmware configuration device (`-fw_cfg name=`).
pub const FIRMWARE_NAME: &str = "opt/org.orlop/node.toml";

/// The configuration that a node is demonstrated with, comments included: no cluster, one pod.
pub const EXAMPLE: &str = include_str!("node_config/example.toml");

/// What a person wrote about one node, with the defaults for what was not written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeConfig {
    /// What the node is called, if not as DHCP says or after its hardware address.
    pub hostname: Option<HostName>,
    /// How it is reached.
    pub network: Network,
    /// Who is asked instead of servers beyond its network.
    pub proxy: Proxy,
    /// Settings of the kernel.
    pub sysctl: BTreeMap<SysctlName, String>,
    /// Where the time comes from.
    pub time: Time,
    /// The cluster; without it kubelet is not started.
    pub kubernetes: Option<Kubernetes>,
    /// A fragment of KubeletConfiguration; what it holds can be written as JSON.
    pub kubelet: toml::Table,
    /// The node's own pod network; without it that is left to the cluster.
    pub cni: Option<Cni>,
    /// How many huge pages of each size are set aside before kubelet starts.
    pub hugepages: BTreeMap<PageSize, u32>,
    /// Registries.
    pub containerd: Containerd,
    /// What the node gives up of its protection.
    pub security: Security,
    /// New versions.
    pub update: Update,
    /// `config.volumes`: which volumes the next config may come from.
    pub volumes: Volumes,
    /// `state.when-damaged`: what becomes of a STATE that cannot be used.
    pub when_damaged: WhenDamaged,
}

/// A pod network for a single node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cni {
    /// The addresses of pods and of the bridge that they hang on.
    pub bridge: Subnet,
}

impl NodeConfig {
    /// The demonstration, [`EXAMPLE`].
    ///
    /// # Errors
    /// Never: a test reads it.
    pub fn example() -> Result<Self, Vec<Problem>> {
        parse(EXAMPLE)
    }

    /// What pods get at most when the node goes down, if [`SHUTDOWN_GRACE`] says it: from a second
    /// to [`LONGEST_SHUTDOWN_GRACE`].
    pub fn shutdown_grace(&self) -> Option<Duration> {
        kubelet::shutdown_grace(&self.kubelet)
    }
}

/// Reads a configuration.
///
/// # Errors
/// All that is wrong, in the order of the text. Of a file with another schema only that is said,
/// for its other keys may be right.
pub fn parse(text: &str) -> Result<NodeConfig, Vec<Problem>> {
    if text.len() > LARGEST {
        let message = format!("the file has {} bytes; {LARGEST} is the most", text.len());
        return Err(vec![Problem::at(text, 0..0, message)]);
    }
    let mut notes = Notes::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let table = table.get_ref();
    if let Some(schema) = other_schema(table) {
        let mut problem = Problem::at(text, schema.span(), format!("this is not schema {SCHEMA}"));
        problem.hint =
            Some(format!("this version reads `schema = {SCHEMA}` and nothing before or after it"));
        return Err(vec![problem]);
    }
    let mut broken: Vec<Range<usize>> = Vec::new();
    for error in errors.iter().take(MOST_SYNTAX_ERRORS) {
        let span = error.span().unwrap_or(0..0);
        let line = excerpt::position(text, span.start).range;
        // After the first, the parser is guessing.
        if !broken.contains(&line) {
            notes.note(span.clone(), syntax_message(text, error, span));
            broken.push(line);
        }
    }
    if !broken.is_empty() {
        notes.missing = Missing::Forgiven;
    }
    let syntax = notes.problems.len();
    let config = Section::read(table, 0..0, String::new(), &mut notes, read);
    if notes.problems.is_empty() {
        return Ok(config);
    }
    let mut read = notes.problems.split_off(syntax);
    let is_broken = |at: usize| broken.iter().any(|line| (line.start..=line.end).contains(&at));
    read.retain(|problem| !is_broken(problem.span.start));
    notes.problems.append(&mut read);
    Err(notes.into_problems())
}

/// The value of `schema`, if there is one and it is not ours.
fn other_schema<'a>(table: &'a DeTable<'a>) -> Option<&'a toml::Spanned<DeValue<'a>>> {
    let schema = table.get("schema")?;
    let number = schema.get_ref().as_integer();
    let ours = number.and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok()) == Some(SCHEMA);
    (!ours).then_some(schema)
}

fn syntax_message(text: &str, error: &toml::de::Error, span: Range<usize>) -> String {
    if error.message() == "duplicate key"
        && let Some(key) = text.get(span)
    {
        return format!("`{key}` stands here for the second time");
    }
    let message: Vec<_> = error.message().split_whitespace().collect();
    format!("not TOML: {}", message.join(" "))
}

fn read(section: &mut Section<'_, '_>) -> NodeConfig {
    section.number("schema", SCHEMA..SCHEMA + 1);
    section.require("schema");
    let hostname = section.parsed::<HostName>("hostname").map(|name| name.value);
    let network = section.section("network", Network::read).unwrap_or_default();
    let proxy = section.section("proxy", Proxy::read).unwrap_or_default();
    let sysctl = sysctl::read(section);
    let time = section.section("time", Time::read).unwrap_or_default();
    let kubernetes = section.section("kubernetes", Kubernetes::read).flatten();
    let kubelet = kubelet::read(section);
    if let Some(span) = section.place("kubelet")
        && !kubelet.is_empty()
        && section.place("kubernetes").is_none()
    {
        section
            .notes
            .note(span, "`kubelet` has no effect without `kubernetes`: kubelet is not started");
    }
    let cni = section.section("cni", |section| Cni::read(section, &network)).flatten();
    let hugepages = hugepages::read(section);
    let containerd = section.section("containerd", Containerd::read).unwrap_or_default();
    let security = section.section("security", Security::read).unwrap_or_default();
    let update = section.section("update", Update::read).unwrap_or_default();
    let volumes = section.section("config", Volumes::read).unwrap_or_default();
    let when_damaged = section.section("state", WhenDamaged::read).unwrap_or_default();
    NodeConfig {
        hostname,
        network,
        proxy,
        sysctl,
        time,
        kubernetes,
        kubelet,
        cni,
        hugepages,
        containerd,
        security,
        update,
        volumes,
        when_damaged,
    }
}

impl Cni {
    fn read(section: &mut Section<'_, '_>, network: &Network) -> Option<Self> {
        let bridge = section.parsed::<Subnet>("bridge");
        section.require("bridge");
        let bridge = bridge?;
        let own = network.links.values().flat_map(|link| &link.addresses);
        for cidr in own {
            if bridge.value.contains(cidr.address()) || cidr.contains(bridge.value.first()) {
                let message = format!("`{}` overlaps the node's own `{cidr}`", bridge.value);
                section.notes.note(bridge.span.clone(), message);
            }
        }
        Some(Self { bridge: bridge.value })
    }
}

#[cfg(test)]
mod tests;
