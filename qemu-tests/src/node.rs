//! A node of a cluster: an image, a node config that joins it, and the ports that lead to it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use formats::system::LONGEST_SHUTDOWN;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};
use tempfile::TempDir;

use crate::registry::{PASSWORD, PATH, PROXY_LOGIN, USER};
use crate::{Boot, Cluster, Ended, Machine, Orlop};

/// What a node may take to join on a busy machine without KVM.
const JOIN: Duration = Duration::from_secs(15 * 60);
/// After what the power button may take, by which `orlop run` itself gives up.
const STOP: Duration = LONGEST_SHUTDOWN.saturating_add(Duration::from_secs(60));

/// How a node is configured.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// The node's name.
    pub name: &'a str,
    /// Whether the config says it.
    pub named: bool,
    /// The API server as the guest sees it; without it, the cluster's.
    pub server: Option<String>,
    /// Another CA than the cluster's.
    pub ca: Option<&'a str>,
    /// Another token than the cluster's.
    pub token: Option<&'a str>,
    /// More lines for the table `[kubernetes]`.
    pub kubernetes: &'a str,
    /// More lines for the table `[kubelet]`.
    pub kubelet: &'a str,
    /// More tables.
    pub tables: &'a str,
    /// Whether its pods hang on a bridge of its own.
    pub bridge: bool,
    /// The address by which it registers itself.
    pub address: &'a str,
    /// Where the registry `registry.test` is, a port of this host.
    pub registry: Option<u16>,
    /// Whether its port is that of a proxy, and the registry is behind it, under a name that this
    /// host does not know.
    pub by_proxy: bool,
    /// Kept between boots.
    pub disk: Option<&'a Path>,
    /// Whether firmware and the loader on the disk start it; else QEMU starts the kernel.
    pub firmware: bool,
    /// How large the disk is made that is thrown away.
    pub disk_size: &'a str,
    /// Whether it runs in a network namespace of its own, where no cluster is.
    pub alone: bool,
    /// More arguments of `orlop run`.
    pub args: &'a [&'a str],
}

impl<'a> Setup<'a> {
    /// A node of that name which joins the cluster.
    pub fn new(name: &'a str) -> Self {
        Self {
            name,
            named: true,
            server: None,
            ca: None,
            token: None,
            kubernetes: "",
            kubelet: "",
            tables: "",
            bridge: true,
            address: "10.0.2.15",
            registry: None,
            by_proxy: false,
            disk: None,
            firmware: false,
            disk_size: "6 GiB",
            alone: false,
            args: &[],
        }
    }

    /// The node config.
    fn config(&self, cluster: &Cluster, port: u16) -> String {
        let facts = &cluster.facts;
        let server = self.server.as_deref().unwrap_or(&facts.guest_server);
        let (ca, token) = (self.ca.unwrap_or(&facts.ca), self.token.unwrap_or(&facts.token));
        let Self { name, kubernetes, kubelet, tables, .. } = self;
        let hostname = self.named.then(|| format!("hostname = \"{name}\"\n"));
        let hostname = hostname.unwrap_or_default();
        let registry = self.registry.map_or_else(String::new, |port| {
            let at = format!("10.0.2.2:{port}");
            let (mirror, proxy) = if self.by_proxy {
                let proxy = format!("[proxy]\nhttp = \"http://{PROXY_LOGIN}@{at}\"\n");
                ("mirror.invalid", proxy)
            } else {
                (at.as_str(), String::new())
            };
            format!(
                "[containerd.registries.\"registry.test\"]\n\
                 mirrors = [\"http://{mirror}{PATH}\"]\nskip-fallback = true\n\
                 username = \"{USER}\"\npassword = \"{PASSWORD}\"\n{proxy}"
            )
        });
        let bridge = if self.bridge { "[cni]\nbridge = \"10.88.0.0/16\"\n" } else { "" };
        format!(
            "schema = 1\n{hostname}\
             [kubernetes]\nserver = \"{server}\"\ntoken = \"{token}\"\nca = '''\n{ca}'''\n{kubernetes}\n\
             [kubelet]\nport = {port}\n{kubelet}\
             {bridge}{registry}{tables}"
        )
    }
}

/// A node under way. Dropped, its power is cut.
#[derive(Debug)]
pub struct Node {
    /// The guest.
    pub machine: Machine,
    name: String,
    /// Holds the node config for as long as QEMU may read it.
    directory: TempDir,
    /// Holds the number of the port that leads to its kubelet.
    _port: OwnedFd,
}

impl Node {
    /// Starts it; waits for nothing.
    ///
    /// # Errors
    /// `orlop` cannot be started.
    pub fn start(orlop: &Orlop, cluster: &Cluster, setup: &Setup<'_>) -> Result<Self> {
        Self::start_image(orlop, orlop.node_image()?, cluster, setup)
    }

    /// The same with another image.
    ///
    /// # Errors
    /// `orlop` cannot be started.
    pub fn start_image(
        orlop: &Orlop,
        image: &Path,
        cluster: &Cluster,
        setup: &Setup<'_>,
    ) -> Result<Self> {
        let (held, port) = reserve_port().context("there is no free port")?;
        cluster.lead(&format!("{}:{port}", setup.address), port)?;
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let config = directory.path().join("node.toml");
        std::fs::write(&config, setup.config(cluster, port))?;
        let boot = Self::boot(orlop, image, &config, port, setup);
        Ok(Self { machine: boot.start()?, name: setup.name.to_owned(), directory, _port: held })
    }

    fn boot(orlop: &Orlop, image: &Path, config: &Path, port: u16, setup: &Setup<'_>) -> Boot {
        let direct = if setup.firmware { &[][..] } else { &["--direct"] };
        let mut boot = orlop.boot_other(image).args(direct).args(&["--config"]).path(config);
        boot = boot.args(&["--forward", &format!("{port}:{port}")]);
        match setup.disk {
            Some(disk) => boot = boot.disk(disk),
            None => boot = boot.args(&["--disk-size", setup.disk_size]),
        }
        let boot = boot.args(setup.args);
        if setup.alone { boot.in_own_network() } else { boot }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its configuration is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Waits until the API server has it as Ready.
    ///
    /// # Errors
    /// It is not in time, or `orlop run` ends, for example because of the config; the console is
    /// quoted.
    pub fn ready(&mut self, cluster: &Cluster) -> Result<()> {
        // `kubectl` would wait for a node that never started.
        self.machine.wait_for_mark("root-init-start", JOIN)?;
        let node = format!("node/{}", self.name);
        cluster.wait(&[&node, "--for=condition=Ready"], JOIN).with_context(|| self.machine.so_far())
    }

    /// Presses the power button and waits for the end.
    ///
    /// # Errors
    /// It does not end in time, or badly.
    pub fn power_off(self) -> Result<Ended> {
        self.machine.press_power_button()?;
        let ended = self.machine.finish(STOP)?;
        anyhow::ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
        Ok(ended)
    }
}

/// A port of the loopback address that nobody else is given while the socket is held. It does not
/// listen, so that QEMU, which allows it as this does, can bind the same number and gets all
/// connections (`SO_REUSEADDR` in socket(7)).
fn reserve_port() -> Result<(OwnedFd, u16)> {
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let port = SocketAddrV4::try_from(getsockname(&socket)?)?.port();
    Ok((socket, port))
}
