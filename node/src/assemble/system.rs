//! What PID 1 is told of the config: names, links, clocks and the server to watch.

use std::collections::BTreeMap;

use formats::node_config::{Api, Link, NodeConfig, Route};
use formats::system::{self, System};

/// Where the config came from and what is wrong with it is left for others to add.
pub fn system(config: &NodeConfig) -> System {
    let NodeConfig { hostname, network, time, kubernetes, .. } = config;
    let server = kubernetes.as_ref().and_then(|kubernetes| match &kubernetes.api {
        Api::Server { server, .. } => Some(server.host_port()),
        Api::Standalone => None,
    });
    let links: BTreeMap<_, _> =
        network.links.iter().map(|(name, settings)| (name.clone(), link(settings))).collect();
    System {
        hostname: hostname.as_ref().map(ToString::to_string),
        server,
        network: system::Network {
            dns: network.dns.clone(),
            search: network.search.as_ref().map(|domains| texts(domains)),
            links,
        },
        time: system::Time { servers: texts(&time.servers) },
        ..System::default()
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn link(link: &Link) -> system::Link {
    system::Link {
        mac: link.mac.map(|mac| mac.to_string()),
        dhcp: link.dhcp,
        slaac: link.slaac,
        addresses: texts(&link.addresses),
        gateways: link.gateways.clone(),
        routes: link.routes.iter().map(route).collect(),
        mtu: link.mtu,
    }
}

fn route(route: &Route) -> system::Route {
    system::Route { to: route.to.to_string(), via: route.via, metric: route.metric }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use formats::node_config::parse;

    use super::*;
    use crate::assemble::testing::CLUSTER;

    #[test]
    fn pid_1_is_told_names_links_clocks_and_the_server() {
        let text = toml::to_string(&system(&parse(CLUSTER).unwrap())).unwrap();
        expect![[r#"
            hostname = "worker-1"
            source = ""
            server = "10.0.2.2:6443"

            [network]
            dns = ["192.0.2.53"]
            search = ["example.internal"]

            [network.links.eth0]
            dhcp = false
            slaac = true
            addresses = ["192.0.2.10/24", "2001:db8::10/64"]
            gateways = ["192.0.2.1"]
            mtu = 1400

            [network.links.storage]
            mac = "52:54:00:12:34:56"
            dhcp = true
            slaac = false
            addresses = []
            gateways = []

            [time]
            servers = ["192.0.2.123"]
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn of_an_empty_config_all_is_default() {
        assert_eq!(system(&NodeConfig::default()), System::default());
    }
}
