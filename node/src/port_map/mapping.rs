//! One port of the node that leads to one of a pod.

use std::net::IpAddr;

use crate::nftables::Protocol;

/// A port of the node and where it leads, both of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) protocol: Protocol,
    /// On all addresses of the node, or on this one.
    pub(super) on: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) pod: IpAddr,
    pub(super) pod_port: u16,
}

impl Mapping {
    /// Whether the node's own loopback address may be asked.
    pub(super) fn is_on_loopback(&self) -> bool {
        self.on.is_none_or(|address| address.is_loopback())
    }
}

/// A mapping as it is asked for, before it is known which addresses the pod has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) protocol: Protocol,
    pub(super) on: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) pod_port: u16,
}

impl Wanted {
    /// To this address of the pod, if the wish is of its family.
    pub(super) fn to(self, pod: IpAddr) -> Option<Mapping> {
        let Self { protocol, on, port, pod_port } = self;
        if on.is_some_and(|on| on.is_ipv4() != pod.is_ipv4()) {
            return None;
        }
        // `0.0.0.0` and `::` are all addresses of their family.
        let on = on.filter(|on| !on.is_unspecified());
        Some(Mapping { protocol, on, port, pod, pod_port })
    }
}
