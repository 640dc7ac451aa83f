//! Registries and their mirrors, for containerd.
//!
//! Format: containerd's `docs/hosts.md`, read in `core/remotes/docker/config/hosts.go` of 2.4. It
//! reads the directory at each pull, so nothing is restarted for a change.

use std::fmt::Write as _;

use formats::node_config::{Containerd, Registry, RegistryHost, Scheme, Url};

use super::file::File;
use super::plan::Plan;

/// `config_path` of containerd's CRI plugin; a directory for each registry.
pub(super) const DIRECTORY: &str = "/etc/containerd/certs.d";
/// The first line of our files: the image may bring others of the same names.
pub(super) const MARK: &str = "# Made of the node config at each boot.";

pub(super) fn hosts_path(host: &str) -> String {
    format!("{DIRECTORY}/{host}/hosts.toml")
}

pub(super) fn ca_path(host: &str) -> String {
    format!("{DIRECTORY}/{host}/orlop-ca.crt")
}

pub(super) fn plan(containerd: &Containerd, plan: &mut Plan) {
    for (host, registry) in &containerd.registries {
        if let Some(ca) = &registry.ca {
            plan.write_file(File::public(ca_path(host.as_str()), ca.pem()));
        }
        plan.write_file(File::public(hosts_path(host.as_str()), hosts(host, registry)));
    }
}

/// The mirrors in their order, then the registry itself, which containerd asks last if the file
/// names no `server`; so the last mirror stands in its place where it is not to be asked.
fn hosts(host: &RegistryHost, registry: &Registry) -> String {
    let trust = match &registry.ca {
        Some(_) => format!("ca = {}\n", quoted(&ca_path(host.as_str()))),
        None if registry.skip_verify => "skip_verify = true\n".to_owned(),
        None => String::new(),
    };
    // Given a mirror of plain HTTP and how to verify it, containerd would try HTTPS first.
    let trust_of =
        |mirror: &Url| if mirror.scheme() == Scheme::Https { trust.as_str() } else { "" };
    // A mirror is never pushed to.
    let mirror_keys = |mirror: &Url| {
        let path = if registry.has_api_path(mirror) { "override_path = true\n" } else { "" };
        format!("capabilities = [\"pull\", \"resolve\"]\n{path}{}", trust_of(mirror))
    };
    let (before, last) = match registry.mirrors.split_last() {
        Some((last, before)) if registry.skip_fallback => (before, Some(last)),
        _ => (registry.mirrors.as_slice(), None),
    };
    let mut text = match last {
        Some(last) => {
            format!("{MARK}\nserver = {}\n{}", quoted(&last.to_string()), mirror_keys(last))
        }
        None => format!("{MARK}\n{trust}"),
    };
    for mirror in before {
        let url = quoted(&mirror.to_string());
        let _ = write!(text, "\n[host.{url}]\n{}", mirror_keys(mirror));
    }
    text
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::assemble::testing::CA;

    fn text(registry: &Registry) -> String {
        hosts(&"registry.example:5000".parse().unwrap(), registry)
    }

    #[test]
    fn mirrors_are_asked_in_the_order_of_the_config() {
        let mirrors = ["http://10.0.2.2:5000", "https://b.example/cache", "https://a.example"];
        let registry = Registry {
            mirrors: mirrors.map(|url| url.parse().unwrap()).to_vec(),
            ca: Some(CA.parse().unwrap()),
            ..Registry::default()
        };
        expect![[r##"
            # Made of the node config at each boot.
            ca = "/etc/containerd/certs.d/registry.example:5000/orlop-ca.crt"

            [host."http://10.0.2.2:5000"]
            capabilities = ["pull", "resolve"]

            [host."https://b.example/cache"]
            capabilities = ["pull", "resolve"]
            ca = "/etc/containerd/certs.d/registry.example:5000/orlop-ca.crt"

            [host."https://a.example"]
            capabilities = ["pull", "resolve"]
            ca = "/etc/containerd/certs.d/registry.example:5000/orlop-ca.crt"
        "##]]
        .assert_eq(&text(&registry));
    }

    #[test]
    fn a_registry_without_mirrors_is_itself_trusted_as_said() {
        let ca = Registry { ca: Some(CA.parse().unwrap()), ..Registry::default() };
        let any = Registry { skip_verify: true, ..Registry::default() };
        expect![[r##"
            # Made of the node config at each boot.
            ca = "/etc/containerd/certs.d/registry.example:5000/orlop-ca.crt"
            --
            # Made of the node config at each boot.
            skip_verify = true
            --
            # Made of the node config at each boot.
        "##]]
        .assert_eq(&[text(&ca), text(&any), text(&Registry::default())].join("--\n"));
    }

    #[test]
    fn a_mirror_may_say_where_its_api_begins_and_the_registry_may_be_left_out() {
        let mirrors = ["https://harbor.example/v2/hub", "https://a.example/cache"];
        let mirrors = mirrors.map(|url| url.parse().unwrap()).to_vec();
        let alone = Registry { mirrors, skip_fallback: true, ..Registry::default() };
        let all = Registry { override_path: true, skip_fallback: false, ..alone.clone() };
        expect![[r##"
            # Made of the node config at each boot.
            server = "https://a.example/cache"
            capabilities = ["pull", "resolve"]

            [host."https://harbor.example/v2/hub"]
            capabilities = ["pull", "resolve"]
            override_path = true
            --
            # Made of the node config at each boot.

            [host."https://harbor.example/v2/hub"]
            capabilities = ["pull", "resolve"]
            override_path = true

            [host."https://a.example/cache"]
            capabilities = ["pull", "resolve"]
            override_path = true
        "##]]
        .assert_eq(&[text(&alone), text(&all)].join("--\n"));
    }

    #[test]
    fn what_is_written_is_toml() {
        let registry = Registry {
            mirrors: vec!["https://a.example/it's".parse().unwrap()],
            ..Registry::default()
        };
        let table: toml::Table = text(&registry).parse().unwrap();
        assert_eq!(
            table["host"].as_table().unwrap().keys().collect::<Vec<_>>(),
            ["https://a.example/it's"]
        );
    }
}
