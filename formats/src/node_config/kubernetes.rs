//! `[kubernetes]`: the cluster, and what the node is in it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use super::address::is_host;
use super::label::{LabelKey, LabelValue, Taint};
use super::name::is_subdomain;
use super::pem::Certificates;
use super::section::{Placed, Section};
use super::token::BootstrapToken;
use super::url::{Scheme, Url};

/// The cluster, and what the node is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// Who tells kubelet what to run.
    pub api: Api,
    /// Labels that kubelet registers the node with.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Taints that kubelet registers the node with.
    pub taints: Vec<Taint>,
    /// The addresses that the node is reached at, if kubelet is not to find them itself: at most
    /// one of each family, that of the node's first family first. `0.0.0.0` and `::` stand for the
    /// address of that family that kubelet finds.
    pub node_ips: Vec<IpAddr>,
    /// Where the certificate comes from that kubelet shows to those who connect to it.
    pub serving_certificate: ServingCertificate,
    /// Pods that kubelet runs without being told by an API server: manifests in YAML or JSON, which
    /// are not read here.
    pub static_pods: BTreeMap<StaticPodName, String>,
}

/// Who tells kubelet what to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// An API server.
    Server {
        /// Its address, with `https`.
        server: Url,
        /// The certificates by which it is known.
        ca: Certificates,
        /// What the node shows it once, to be given a certificate of its own.
        token: BootstrapToken,
    },
    /// Nobody: only static pods run.
    Standalone,
}

/// Where kubelet's serving certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServingCertificate {
    /// The node makes and signs it.
    #[default]
    SelfSigned,
    /// The API server signs it (kubelet's `serverTLSBootstrap`); somebody must approve that.
    Bootstrap,
}

impl ServingCertificate {
    pub(super) const NAMES: [(&'static str, Self); 2] =
        [("self-signed", Self::SelfSigned), ("bootstrap", Self::Bootstrap)];
}

/// The name of a static pod's file: lower-case letters, digits, `-` and `.`, at most 200.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StaticPodName(String);

impl StaticPodName {
    /// The name, without the file's suffix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StaticPodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > 200 || !is_subdomain(text) {
            return Err(format!(
                "`{text}` cannot be the name of a static pod: use lower-case letters, digits, `-` \
                 and `.`"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Kubernetes {
    /// Reads the section; nothing if it does not say who kubelet listens to.
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let api = read_api(section);
        let serving = section.choice("serving-certificate", &ServingCertificate::NAMES);
        let serving_certificate = serving.unwrap_or_default();
        if matches!(api, Some(Api::Standalone))
            && serving_certificate == ServingCertificate::Bootstrap
        {
            let span = section.place("serving-certificate").unwrap_or(section.span());
            section.notes.note(span, "without an API server nobody signs a serving certificate");
        }
        let node_ips = read_node_ips(section);
        let (labels, taints) = (read_labels(section), read_taints(section));
        let static_pods = read_static_pods(section);
        let api = api?;
        Some(Self { api, labels, taints, node_ips, serving_certificate, static_pods })
    }
}

fn read_api(section: &mut Section<'_, '_>) -> Option<Api> {
    let standalone = section.boolean("standalone");
    let server = section.parsed::<Url>("server");
    let ca = section.parsed::<Certificates>("ca").map(|ca| ca.value);
    let token = section.parsed::<BootstrapToken>("token").map(|token| token.value);
    let keys = ["server", "ca", "token"];
    if standalone == Some(true) {
        for key in keys {
            if let Some(span) = section.place(key) {
                let message = format!(
                    "`kubernetes.{key}` and `standalone = true` exclude each other: a node alone has \
                     no API server"
                );
                section.notes.note(span, message);
            }
        }
        return Some(Api::Standalone);
    }
    if section.place("standalone").is_none() && keys.iter().all(|key| section.place(key).is_none())
    {
        let message = "`kubernetes` does not say which API server kubelet listens to";
        section.wrong(message).hint =
            Some("write `server`, `ca` and `token`, or `standalone = true`".to_owned());
        return None;
    }
    keys.into_iter().for_each(|key| section.require(key));
    let Placed { value: server, span } = server?;
    if server.scheme() == Scheme::Http {
        let message = format!("`{server}` is not secure: an API server is reached by `https://`");
        section.notes.note(span, message);
    }
    Some(Api::Server { server, ca: ca?, token: token? })
}

fn read_node_ips(section: &mut Section<'_, '_>) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for Placed { value: NodeIp(address), span } in section.one_or_list::<NodeIp>("node-ip") {
        if addresses.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            let message = format!("`{address}` is a second `kubernetes.node-ip` of its family");
            section.notes.note(span, message);
        } else if let Some(first) = addresses.first()
            && (first.is_unspecified() || address.is_unspecified())
        {
            let message = "of two addresses in `kubernetes.node-ip` each must be the node's own";
            section.notes.note(span, message);
        } else {
            addresses.push(address);
        }
    }
    addresses
}

fn read_labels(section: &mut Section<'_, '_>) -> BTreeMap<LabelKey, LabelValue> {
    let mut labels = BTreeMap::new();
    for (name, text) in section.texts("labels") {
        let key = section.understood(name.value.parse::<LabelKey>(), name.span);
        let value = section.understood(text.value.parse::<LabelValue>(), text.span);
        if let Some(key) = &key
            && let Some(why) = key.value.forbidden()
        {
            let message = format!("kubelet does not start with the label `{}`: {why}", key.value);
            section.notes.note(key.span.clone(), message);
        }
        if let (Some(key), Some(value)) = (key, value) {
            labels.insert(key.value, value.value);
        }
    }
    labels
}

fn read_taints(section: &mut Section<'_, '_>) -> Vec<Taint> {
    let mut taints: Vec<Taint> = Vec::new();
    for Placed { value: taint, span } in section.list::<Taint>("taints") {
        let same = |other: &Taint| other.key == taint.key && other.effect == taint.effect;
        if taints.iter().any(same) {
            let message = format!(
                "there is a taint `{}` with the effect `{}` already",
                taint.key, taint.effect
            );
            section.notes.note(span, message);
        } else {
            taints.push(taint);
        }
    }
    taints
}

fn read_static_pods(section: &mut Section<'_, '_>) -> BTreeMap<StaticPodName, String> {
    let mut pods = BTreeMap::new();
    for (name, manifest) in section.texts("static-pods") {
        let pod = section.understood(name.value.parse::<StaticPodName>(), name.span);
        if manifest.value.trim().is_empty() {
            section.notes.note(manifest.span, "the manifest of a static pod is empty");
        } else if let Some(pod) = pod {
            pods.insert(pod.value, manifest.value.to_owned());
        }
    }
    pods
}

/// An address that one host can have, or the one that stands for any of its family.
#[derive(Debug, PartialEq)]
struct NodeIp(IpAddr);

impl FromStr for NodeIp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = |address: &IpAddr| is_host(*address) || address.is_unspecified();
        let address = text.parse::<IpAddr>().ok().filter(good);
        address
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not an IP address that a node can have"))
    }
}
