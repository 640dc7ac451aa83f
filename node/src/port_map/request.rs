//! What a CNI runtime asks: the environment, and the configuration on stdin.

use std::net::{IpAddr, Ipv6Addr};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::mapping::{Mapping, Wanted};
use super::{Code, Error};
use crate::nftables::Protocol;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Delete,
    Check,
    Collect,
    Status,
    Version,
}

/// The environment's part of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) verb: Verb,
    /// Empty where the verb is about no container.
    pub(super) container: String,
    /// The name of the pod's link, inside.
    pub(super) link: String,
}

impl Call {
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let needed = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| Error::new(Code::Environment, format!("{name} is not set")))
        };
        let command = needed("CNI_COMMAND")?;
        let verb = match command.as_str() {
            "ADD" => Verb::Add,
            "DEL" => Verb::Delete,
            "CHECK" => Verb::Check,
            "GC" => Verb::Collect,
            "STATUS" => Verb::Status,
            "VERSION" => Verb::Version,
            _ => {
                let message = format!("CNI_COMMAND is `{command}`, which is no command of CNI");
                return Err(Error::new(Code::Environment, message));
            }
        };
        let about_a_container = matches!(verb, Verb::Add | Verb::Delete | Verb::Check);
        let of_it = |name| if about_a_container { needed(name) } else { Ok(String::new()) };
        Ok(Self { verb, container: of_it("CNI_CONTAINERID")?, link: of_it("CNI_IFNAME")? })
    }
}

/// The configuration, as far as it is of interest here.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) version: String,
    pub(super) network: String,
    pub(super) previous: Option<Value>,
    /// Whether the pod's answers are to come back through the node where they would not by
    /// themselves.
    pub(super) masquerade: bool,
    /// Pods that are there, by container and link.
    pub(super) attachments: Vec<(String, String)>,
    wanted: Vec<Wanted>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    #[serde(default)]
    cni_version: String,
    #[serde(default)]
    name: String,
    prev_result: Option<Value>,
    #[serde(default)]
    runtime_config: RuntimeConfig,
    snat: Option<bool>,
    #[serde(default)]
    masq_all: bool,
    #[serde(default, rename = "conditionsV4")]
    conditions_v4: Option<Vec<String>>,
    #[serde(default, rename = "conditionsV6")]
    conditions_v6: Option<Vec<String>>,
    #[serde(default, rename = "cni.dev/valid-attachments")]
    attachments: Vec<Attachment>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeConfig {
    #[serde(default)]
    port_mappings: Option<Vec<PortMapping>>,
}

/// Keys are read in any case, as Go reads them: the convention of CNI has `hostPort`, and containerd
/// sends `HostPort`.
#[derive(Default, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
struct PortMapping {
    host_port: u16,
    container_port: u16,
    protocol: String,
    host_ip: String,
}

impl TryFrom<Map<String, Value>> for PortMapping {
    type Error = serde_json::Error;

    fn try_from(keys: Map<String, Value>) -> Result<Self, serde_json::Error> {
        let mut mapping = Self::default();
        for (key, value) in keys {
            match key.to_ascii_lowercase().as_str() {
                "hostport" => mapping.host_port = serde_json::from_value(value)?,
                "containerport" => mapping.container_port = serde_json::from_value(value)?,
                "protocol" => mapping.protocol = serde_json::from_value(value)?,
                "hostip" => mapping.host_ip = serde_json::from_value(value)?,
                _ => {}
            }
        }
        Ok(mapping)
    }
}

#[derive(Deserialize)]
struct Attachment {
    #[serde(rename = "containerID")]
    container: String,
    #[serde(rename = "ifname")]
    link: String,
}

impl Config {
    /// Reads and checks it.
    ///
    /// # Errors
    /// It is no such configuration, or asks for what cannot be done.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text: Text = serde_json::from_slice(bytes).map_err(|error| {
            Error::new(Code::Decode, format!("what stands on stdin is no configuration: {error}"))
        })?;
        let refused = |message: &str| Err(Error::new(Code::Config, message));
        if text.masq_all {
            return refused("`masqAll` is not supported");
        }
        let conditions = [text.conditions_v4, text.conditions_v6];
        if conditions.into_iter().flatten().any(|conditions| !conditions.is_empty()) {
            return refused(
                "`conditionsV4` and `conditionsV6` are for iptables, which a node has not",
            );
        }
        let mappings = text.runtime_config.port_mappings.unwrap_or_default();
        let wanted = mappings.iter().filter(|mapping| mapping.host_port != 0).map(wanted);
        Ok(Self {
            version: text.cni_version,
            network: text.name,
            previous: text.prev_result,
            masquerade: text.snat != Some(false),
            attachments: text.attachments.into_iter().map(|a| (a.container, a.link)).collect(),
            wanted: wanted.collect::<Result<_, _>>()?,
        })
    }

    /// The mappings to the addresses that the pod's link got of the plugins before.
    pub(super) fn mappings(&self, link: &str) -> Result<Vec<Mapping>, Error> {
        let pod =
            self.previous.as_ref().map_or(Ok(Vec::new()), |result| addresses(result, link))?;
        let mappings: Vec<_> = self
            .wanted
            .iter()
            .flat_map(|wanted| pod.iter().filter_map(|address| wanted.to(*address)))
            .collect();
        if let Some(lost) = self.wanted.iter().find(|wanted| {
            self.previous.is_some() && !pod.iter().any(|address| wanted.to(*address).is_some())
        }) {
            let family = lost.on.map_or("", |on| if on.is_ipv4() { "IPv4 " } else { "IPv6 " });
            let message =
                format!("port {} cannot be mapped: the pod has no {family}address", lost.port);
            return Err(Error::new(Code::Config, message));
        }
        Ok(mappings)
    }

    /// The host ports of a protocol.
    pub(super) fn ports(&self, protocol: Protocol) -> impl Iterator<Item = u16> {
        self.wanted.iter().filter(move |wanted| wanted.protocol == protocol).map(|w| w.port)
    }
}

fn wanted(mapping: &PortMapping) -> Result<Wanted, Error> {
    let PortMapping { host_port: port, container_port: pod_port, protocol, host_ip } = mapping;
    let wrong = |what: String| Error::new(Code::Config, format!("host port {port}: {what}"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(wrong(format!("`{other}` is not a protocol with ports"))),
    };
    if *pod_port == 0 {
        return Err(wrong("it leads to no port of the pod".to_owned()));
    }
    let on = match host_ip.as_str() {
        "" => None,
        // As in a URL: some write IPv6 so.
        text => {
            let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let address: IpAddr = plain
                .unwrap_or(text)
                .parse()
                .map_err(|_| wrong(format!("`{text}` is not an address")))?;
            if address == Ipv6Addr::LOCALHOST {
                return Err(wrong("the kernel lets nothing from `::1` leave the node".to_owned()));
            }
            Some(address.to_canonical())
        }
    };
    Ok(Wanted { protocol, on, port: *port, pod_port: *pod_port })
}

/// The first address of each family on the pod's link, of a CNI result: those of the node's side
/// say so.
fn addresses(result: &Value, link: &str) -> Result<Vec<IpAddr>, Error> {
    let none = Vec::new();
    let interfaces = result["interfaces"].as_array().unwrap_or(&none);
    let is_the_pods = |ip: &&Value| {
        // An address that names no link, or none of the list, may be the pod's.
        let index = ip["interface"].as_u64().and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| interfaces.get(index)).is_none_or(|interface| {
            let inside = interface["sandbox"].as_str().is_some_and(|path| !path.is_empty());
            inside && interface["name"] == link
        })
    };
    let mut found: Vec<IpAddr> = Vec::new();
    for ip in result["ips"].as_array().unwrap_or(&none).iter().filter(is_the_pods) {
        let text = ip["address"].as_str().unwrap_or_default();
        let address: IpAddr = text.split('/').next().unwrap_or(text).parse().map_err(|_| {
            Error::new(Code::Config, format!("`{text}` in `prevResult` is not an address"))
        })?;
        if !found.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            found.push(address);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
