//! A configuration as TOML with everything that holds, defaults included: read again it is the
//! same.

use std::fmt::{Display, Write as _};

use toml::Value;

use super::{
    Api, BootstrapToken, Kubernetes, Link, Lockdown, NodeConfig, Policy, Proxy, Registry, SCHEMA,
    ServingCertificate, Update, Volumes, WhenDamaged,
};
use crate::quote;

/// What becomes of the secret half of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// It is written: the text can be read again.
    Shown,
    /// `***` stands in its place.
    Hidden,
}

impl NodeConfig {
    /// The configuration as TOML. Where nothing is set and no value stands for that, a comment says
    /// what happens.
    pub fn to_toml(&self, secrets: Secrets) -> String {
        let mut page = Page(String::new());
        page.pair("schema", SCHEMA);
        match &self.hostname {
            Some(name) => page.text("hostname", name.as_str()),
            None => page.comment("hostname: from DHCP, else from the hardware address"),
        }
        page.table("network");
        match &self.network.dns {
            Some(servers) => page.list("dns", servers),
            None => page.comment("dns: from DHCP and routers"),
        }
        match &self.network.search {
            Some(domains) => page.list("search", domains),
            None => page.comment("search: from DHCP"),
        }
        if self.network.links.is_empty() {
            page.comment("links: DHCP and router advertisements on every wired link");
        }
        for (name, link) in &self.network.links {
            let name = format!("network.links.{}", quote::key(name));
            page.table(&name);
            link.show(&name, &mut page);
        }
        if self.proxy.is_set() {
            page.table("proxy");
            self.proxy.show(&mut page, secrets);
        }
        if !self.sysctl.is_empty() {
            page.table("sysctl");
            for (name, value) in &self.sysctl {
                page.text(&quote::key(name.as_str()), value);
            }
        }
        page.table("time");
        page.list("servers", &self.time.servers);
        match &self.kubernetes {
            Some(kubernetes) => kubernetes.show(&mut page, secrets),
            None => page.remark("kubernetes: none, so kubelet is not started"),
        }
        if !self.kubelet.is_empty() {
            page.table("kubelet");
            for (key, value) in &self.kubelet {
                page.pair(&quote::key(key), inline(value));
            }
        }
        match &self.cni {
            Some(cni) => {
                page.table("cni");
                page.text("bridge", &cni.bridge.to_string());
            }
            None => page.remark("cni: left to the cluster"),
        }
        if !self.hugepages.is_empty() {
            page.table("hugepages");
            for (size, count) in &self.hugepages {
                page.pair(&quote::key(&size.to_string()), count);
            }
        }
        for (host, registry) in &self.containerd.registries {
            page.table(&format!("containerd.registries.{}", quote::key(host.as_str())));
            registry.show(&mut page, secrets);
        }
        page.table("security");
        page.text("lockdown", word(&Lockdown::NAMES, self.security.lockdown));
        page.pair("kexec", self.security.kexec);
        page.table("update");
        self.update.show(&mut page);
        page.table("config");
        page.text("volumes", word(&Volumes::NAMES, self.volumes));
        page.table("state");
        page.text("when-damaged", word(&WhenDamaged::NAMES, self.when_damaged));
        page.0
    }
}

impl Update {
    fn show(&self, page: &mut Page) {
        match self.channel.as_slice() {
            [] => page.comment("channel: none"),
            [channel] => page.text("channel", &channel.to_string()),
            channels => page.list("channel", channels),
        }
        page.text("policy", word(&Policy::NAMES, self.policy));
        if self.window.is_empty() {
            page.comment("window: at any time");
        } else {
            page.list("window", &self.window);
        }
        if self.policy == Policy::Manual {
            page.comment("check-interval: the node does not look by itself");
        } else {
            page.text("check-interval", &self.check_interval.to_string());
        }
        match self.rate_limit {
            Some(limit) => page.pair("rate-limit", limit),
            None => page.comment("rate-limit: none"),
        }
        if let Some(ca) = &self.ca {
            page.text("ca", ca.pem());
        }
        match &self.root {
            Some(root) => page.text("root", root),
            None => page.comment("root: the image's"),
        }
        match self.deadline {
            Some(seconds) => page.pair("deadline", seconds),
            None => page.comment("deadline: 300"),
        }
        page.pair("node-ready", self.node_ready);
        page.pair("kexec", self.kexec);
    }
}

impl Proxy {
    fn show(&self, page: &mut Page, secrets: Secrets) {
        for (key, url) in [("http", &self.http), ("https", &self.https)] {
            let Some(url) = url else { continue };
            let shown = if secrets == Secrets::Shown { url.expose() } else { url.to_string() };
            page.text(key, &shown);
        }
        page.list("no-proxy", &self.no_proxy);
    }
}

impl Link {
    fn show(&self, name: &str, page: &mut Page) {
        if let Some(mac) = self.mac {
            page.text("mac", &mac.to_string());
        }
        page.pair("dhcp", self.dhcp);
        page.list("addresses", &self.addresses);
        page.list("gateways", &self.gateways);
        page.pair("slaac", self.slaac);
        match self.mtu {
            Some(mtu) => page.pair("mtu", mtu),
            None => page.comment("mtu: as the driver or the network says"),
        }
        for route in &self.routes {
            page.line(&format!("\n[[{name}.routes]]"));
            page.text("to", &route.to.to_string());
            if let Some(via) = route.via {
                page.text("via", &via.to_string());
            }
            match route.metric {
                Some(metric) => page.pair("metric", metric),
                None => page.comment("metric: that of the link's gateways"),
            }
        }
    }
}

impl Kubernetes {
    fn show(&self, page: &mut Page, secrets: Secrets) {
        page.table("kubernetes");
        match &self.api {
            Api::Standalone => page.pair("standalone", true),
            Api::Server { server, ca, token } => {
                page.text("server", &server.to_string());
                page.text("ca", ca.pem());
                page.text("token", &shown(token, secrets));
            }
        }
        page.list("taints", &self.taints);
        match self.node_ips.as_slice() {
            [] => page.comment("node-ip: kubelet finds it"),
            [address] => page.text("node-ip", &address.to_string()),
            addresses => page.list("node-ip", addresses),
        }
        let serving = word(&ServingCertificate::NAMES, self.serving_certificate);
        page.text("serving-certificate", serving);
        if !self.labels.is_empty() {
            page.table("kubernetes.labels");
            for (key, value) in &self.labels {
                page.text(&quote::key(key.as_str()), value.as_str());
            }
        }
        if !self.static_pods.is_empty() {
            page.table("kubernetes.static-pods");
            for (name, manifest) in &self.static_pods {
                page.text(&quote::key(name.as_str()), manifest);
            }
        }
    }
}

impl Registry {
    fn show(&self, page: &mut Page, secrets: Secrets) {
        page.list("mirrors", &self.mirrors);
        if let Some(ca) = &self.ca {
            page.text("ca", ca.pem());
        }
        page.pair("skip-verify", self.skip_verify);
        page.pair("override-path", self.override_path);
        page.pair("skip-fallback", self.skip_fallback);
        if let Some(login) = &self.login {
            page.text("username", &login.username);
            page.text("password", if secrets == Secrets::Shown { login.expose() } else { "***" });
        }
    }
}

fn shown(token: &BootstrapToken, secrets: Secrets) -> String {
    match secrets {
        Secrets::Shown => token.expose().to_owned(),
        Secrets::Hidden => token.to_string(),
    }
}

fn word<T: PartialEq + Copy>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, named)| *named == value).map_or("", |(name, _)| name)
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quote::string(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            let pairs: Vec<_> = table
                .iter()
                .map(|(key, value)| format!("{} = {}", quote::key(key), inline(value)))
                .collect();
            if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
        }
        // With its point, or it would be read as a whole number.
        Value::Float(number) => format!("{number:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Datetime(date) => date.to_string(),
    }
}

struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn table(&mut self, name: &str) {
        self.line(&format!("\n[{name}]"));
    }

    /// `key` must be written as TOML wants it.
    fn pair(&mut self, key: &str, value: impl Display) {
        writeln!(self.0, "{key} = {value}").expect("writing to a string cannot fail");
    }

    fn text(&mut self, key: &str, text: &str) {
        self.pair(key, quote::text(text));
    }

    fn list<T: Display>(&mut self, key: &str, items: &[T]) {
        let items: Vec<_> = items.iter().map(T::to_string).collect();
        self.pair(key, quote::list(items.iter().map(String::as_str)));
    }

    /// A comment on a table that is not there.
    fn remark(&mut self, remark: &str) {
        self.line(&format!("\n# {remark}"));
    }

    fn comment(&mut self, comment: &str) {
        self.line(&format!("# {comment}"));
    }
}
