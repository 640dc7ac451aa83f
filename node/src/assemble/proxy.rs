//! The proxy, for kubelet, containerd and what this program fetches itself: a file of variables of
//! the environment, which PID 1 gives the two daemons at their start.
//!
//! Format: a line `NAME=VALUE` each; the names and what they mean are those of Go's
//! `golang.org/x/net/http/httpproxy`.

use std::net::IpAddr;

use formats::node_config::{Api, NodeConfig, ProxyUrl};
pub(crate) use web::proxy::PATH;
use web::proxy::{DIRECT, HTTP, HTTPS};

use super::file::File;
use super::plan::Plan;
use crate::root::Root;

/// More than any config makes of it.
const LIMIT: u64 = 1024 * 1024;

/// What no proxy can reach for a node: itself, its links, which is where clouds have their metadata,
/// and services of its cluster.
const ALWAYS: &[&str] = &["localhost", "127.0.0.0/8", "::1", "169.254.0.0/16", "fe80::/10", ".svc"];
/// What a cluster is called unless it says otherwise.
const CLUSTER_DOMAIN: &str = "cluster.local";

pub(super) fn plan(config: &NodeConfig, plan: &mut Plan) {
    match environment(config) {
        Some(text) => plan.write_file(File::secret(PATH, text)),
        None => plan.remove(PATH),
    }
}

fn environment(config: &NodeConfig) -> Option<String> {
    let proxy = &config.proxy;
    if !proxy.is_set() {
        return None;
    }
    let urls = [(HTTP, &proxy.http), (HTTPS, &proxy.https)];
    let urls = urls.iter().filter_map(|(name, url)| Some((name, url.as_ref()?.expose())));
    let mut lines: Vec<String> = urls.map(|(name, url)| format!("{name}={url}\n")).collect();
    lines.push(format!("{DIRECT}={}\n", direct(config).join(",")));
    Some(lines.concat())
}

/// All that is asked directly: what the config says, and what follows from the rest of it.
fn direct(config: &NodeConfig) -> Vec<String> {
    let mut direct: Vec<String> = ALWAYS.iter().map(|&exempt| exempt.to_owned()).collect();
    let kubelet = |key: &str| config.kubelet.get(key);
    let domain = kubelet("clusterDomain").and_then(toml::Value::as_str);
    let domain = domain.filter(|domain| !domain.is_empty()).unwrap_or(CLUSTER_DOMAIN);
    direct.push(format!(".{}", domain.trim_matches('.')));
    direct.extend(config.hostname.as_ref().map(ToString::to_string));
    let links = config.network.links.values().flat_map(|link| &link.addresses);
    direct.extend(links.map(|cidr| cidr.address().to_string()));
    if let Some(kubernetes) = &config.kubernetes {
        let own = kubernetes.node_ips.iter().filter(|address| !address.is_unspecified());
        direct.extend(own.map(IpAddr::to_string));
        if let Api::Server { server, .. } = &kubernetes.api {
            direct.push(server.host().to_string());
        }
    }
    direct.extend(config.cni.as_ref().map(|cni| cni.bridge.to_string()));
    let ranges = kubelet("podCIDR").and_then(toml::Value::as_str).unwrap_or_default();
    direct.extend(ranges.split(',').filter(|range| !range.is_empty()).map(str::to_owned));
    let dns = kubelet("clusterDNS").and_then(toml::Value::as_array);
    let dns = dns.into_iter().flatten().filter_map(toml::Value::as_str);
    direct.extend(dns.map(str::to_owned));
    direct.extend(config.proxy.no_proxy.iter().map(ToString::to_string));
    let mut once: Vec<String> = Vec::new();
    for exempt in direct {
        if !once.contains(&exempt) {
            once.push(exempt);
        }
    }
    once
}

/// The file's text.
pub(crate) fn text(root: &Root) -> Option<String> {
    root.read(PATH, LIMIT).ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok())
}

/// The proxy that an address is fetched by at present; `None` if it is asked directly.
pub(crate) fn proxy_for(root: &Root, address: &str) -> Option<ProxyUrl> {
    web::proxy::proxy_for(&text(root)?, address)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use formats::node_config::parse;

    use super::*;
    use crate::assemble::testing::CLUSTER;
    use crate::root::{Keep, SECRET};

    const PROXY: &str = "\n[proxy]\nhttp = 'http://proxy.example:3128'\n\
        https = 'http://me:s%40cret@proxy.example:3128'\nno-proxy = ['internal', '10.0.0.0/8']\n";

    #[test]
    fn what_the_config_names_is_asked_directly_whatever_no_proxy_says() {
        let text = format!("{CLUSTER}{PROXY}");
        expect![[r#"
            HTTP_PROXY=http://proxy.example:3128
            HTTPS_PROXY=http://me:s%40cret@proxy.example:3128
            NO_PROXY=localhost,127.0.0.0/8,::1,169.254.0.0/16,fe80::/10,.svc,.cluster.local,worker-1,192.0.2.10,2001:db8::10,10.0.2.2,10.96.0.10,internal,10.0.0.0/8
        "#]]
        .assert_eq(&environment(&parse(&text).unwrap()).unwrap());
        assert_eq!(environment(&parse("schema = 1").unwrap()), None);
    }

    #[test]
    fn what_is_fetched_goes_by_the_proxy_of_its_scheme() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let by = |address: &str| proxy_for(&root, address).map(|proxy| proxy.expose());
        assert_eq!(by("http://a.example"), None);
        let text = environment(&parse(&format!("schema = 1{PROXY}")).unwrap()).unwrap();
        root.write(PATH, text.as_bytes(), SECRET, Keep::ThisBoot).unwrap();
        let (http, https) = ("http://proxy.example:3128", "http://me:s%40cret@proxy.example:3128");
        for (address, want) in [
            ("http://a.example/node.toml?x=y@z", Some(http)),
            ("https://a.example", Some(https)),
            ("https://node.internal/n", None),
            ("https://notinternal/n", Some(https)),
            ("http://10.7.7.7:8080/n", None),
            ("http://169.254.169.254/latest", None),
            ("http://[fe80::1]/n", None),
            ("http://[2001:db8::1]/n", Some(http)),
            ("http://localhost/n", None),
            ("http://a.svc.cluster.local/n", None),
            ("nonsense", None),
        ] {
            assert_eq!(by(address).as_deref(), want, "{address}");
        }
    }
}
