//! The pod network of a single node: a bridge, when the config asks for one.
//!
//! Format: CNI specification 1.0.0; plugins `bridge` and `host-local` of
//! `github.com/containernetworking/plugins` 1.9.
//!
//! containerd reads `/etc/cni/net.d` and runs plugins of `/usr/lib/orlop/cni`, which has
//! [`crate::port_map`], of `/opt/cni/bin` and of `/usr/lib/cni`. A
//! cluster's CNI comes as a pod which writes to `/etc/cni/net.d` and `/opt/cni/bin` through `hostPath` and expects to find
//! there after a reboot what it wrote. So PID 1 binds both to directories on STATE, and what this
//! program writes it writes there.

use std::net::IpAddr;

use formats::node_config::Cni;
use serde_json::json;

use super::file::File;
use super::plan::Plan;
use crate::port_map;

/// The name of the bridge's link.
pub const BRIDGE: &str = "cni0";
/// What is `/etc/cni/net.d` on a running node.
pub const CONFIGURATIONS: &str = "/var/lib/orlop/cni/net.d";
/// What is `/opt/cni/bin` on a running node.
pub const PLUGINS: &str = "/var/lib/orlop/cni/bin";

/// Sorts before what cluster CNIs call theirs, of which containerd takes the first.
const FILE: &str = "/var/lib/orlop/cni/net.d/10-orlop.conflist";
/// In memory: on STATE, addresses of pods that ended with the power would never be free again.
const LEASES: &str = "/run/cni-ipam";

pub(super) fn plan(cni: Option<&Cni>, plan: &mut Plan) {
    plan.directory(CONFIGURATIONS);
    plan.directory(PLUGINS);
    match cni {
        Some(cni) => plan.write_file(File::public(FILE, list(cni))),
        None => plan.remove(FILE),
    }
}

/// No `ipMasq`, for which the plugin would run programs that a node does not have: the rule is made
/// by [`crate::masquerade`]. `portmap` is [`crate::port_map`].
fn list(cni: &Cni) -> String {
    let everywhere = match cni.bridge.first() {
        IpAddr::V4(_) => "0.0.0.0/0",
        IpAddr::V6(_) => "::/0",
    };
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "orlop",
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": LEASES,
                "ranges": [[{ "subnet": cni.bridge.to_string() }]],
                "routes": [{ "dst": everywhere }],
            },
        }, {
            "type": port_map::NAME,
            "capabilities": { "portMappings": true },
        }],
    });
    format!("{list:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_go_everywhere_by_the_bridge_in_the_family_of_its_subnet() {
        for (bridge, route) in [("10.88.0.0/16", "0.0.0.0/0"), ("fd00:88::/64", "::/0")] {
            let list: serde_json::Value =
                serde_json::from_str(&list(&Cni { bridge: bridge.parse().unwrap() })).unwrap();
            let ipam = &list["plugins"][0]["ipam"];
            assert_eq!(ipam["ranges"], json!([[{ "subnet": bridge }]]));
            assert_eq!(ipam["routes"], json!([{ "dst": route }]));
        }
    }

    #[test]
    fn without_the_section_the_bridge_of_an_earlier_config_goes() {
        let mut plan = Plan::default();
        super::plan(None, &mut plan);
        let removal = "remove /var/lib/orlop/cni/net.d/10-orlop.conflist\n";
        assert!(plan.to_string().starts_with(removal), "{plan}");
    }
}
