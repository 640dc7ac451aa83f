//! A Kubernetes control plane of one's own, for as long as a value lives: etcd, API server,
//! controller manager and scheduler as plain processes on this host's loopback address.
//!
//! [`parts`] builds the programs, [`pki`] makes a throw-away CA, [`plan`] says how each program is
//! called, [`processes`] starts and watches them, [`objects`] are what nodes need to join, and
//! [`egress`] lets the API server reach kubelets that sit behind a port of this host. Nothing
//! listens on any other address. See `docs/cluster.md`.

pub mod api;
pub mod egress;
pub mod events;
pub mod files;
pub mod follow;
mod forward;
pub mod node;
pub mod objects;
pub mod options;
pub mod parts;
pub mod pki;
pub mod plan;
pub mod ports;
pub mod processes;
mod start;
pub mod token;
pub mod view;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::TempDir;

use crate::error::{Context as _, Id, Result};

pub use events::{Event, Events};
pub use options::{Extra, Life, Options};
pub use start::{Setup, start};
pub use token::Token;

use egress::Proxy;
use plan::Ports;
use ports::Port;
use processes::Processes;

/// A control plane that runs. Dropped, it is gone: processes, sockets, and its directory unless
/// the user named one.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they must go: the proxy's connections end with the API server, and
    // nobody writes into the directory any more when it is removed.
    processes: Processes,
    proxy: Proxy,
    _ports: Ports<Port>,
    report: Report,
    client: api::Client,
    directory: Directory,
}

/// What somebody must know to use a cluster. Paths are absolute.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Everything below is in here.
    #[serde(serialize_with = "crate::stored::path")]
    pub directory: PathBuf,
    /// The administrator's kubeconfig.
    #[serde(serialize_with = "crate::stored::path")]
    pub kubeconfig: PathBuf,
    /// The API server's address for this host.
    pub server: String,
    /// The API server's address for a guest behind QEMU's user-mode network.
    pub guest_server: String,
    /// The CA's certificate, in PEM.
    pub ca: String,
    /// A bootstrap token with which nodes join.
    pub token: String,
    /// A `kubectl` of the cluster's version.
    #[serde(serialize_with = "crate::stored::path")]
    pub kubectl: PathBuf,
    /// All programs of the cluster's version, static. `kube-proxy`, which does not run here, is
    /// to be put into an image.
    #[serde(serialize_with = "crate::stored::path")]
    pub bin: PathBuf,
    /// A node config that joins a guest.
    #[serde(serialize_with = "crate::stored::path")]
    pub node_config: PathBuf,
    /// A file `ADDRESS:PORT` in here, with a port of this host in it, tells the API server how to
    /// reach a kubelet.
    #[serde(serialize_with = "crate::stored::path")]
    pub nodes: PathBuf,
    /// A log for each process.
    #[serde(serialize_with = "crate::stored::path")]
    pub logs: PathBuf,
    /// Ports on 127.0.0.1 by the name of the process.
    pub ports: BTreeMap<String, u16>,
    /// Process ids by the name of the process.
    pub processes: BTreeMap<String, u32>,
}

impl Cluster {
    /// What somebody must know to use it.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Speaks with its API server as its administrator.
    pub fn client(&self) -> &api::Client {
        &self.client
    }

    /// The error for a process that has ended although nobody asked it to.
    pub fn ended(&mut self, name: &str) -> crate::error::Error {
        self.processes.ended(Id::ClusterEnded, name)
    }

    /// Tells the API server that the kubelet at `address`, such as `10.0.2.15:10250`, is reached
    /// by a port of this host's loopback address.
    ///
    /// # Errors
    /// [`Id::Write`].
    pub fn register(&self, address: &str, port: u16) -> Result<()> {
        let path = self.report.nodes.join(address);
        fs::write(&path, format!("{port}\n"))
            .or_fail(Id::Write, || format!("cannot write `{}`", path.display()))
    }

    /// Stays until it shall end.
    ///
    /// # Errors
    /// [`Id::ClusterEnded`] if a process ends by itself.
    pub fn wait(&mut self, events: &Events) -> Result<()> {
        match events.next() {
            Event::Ended(name) => Err(self.ended(name)),
            Event::Interrupted => Ok(()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.processes.kill();
        self.proxy.stop();
        self.directory.remove_sockets();
    }
}

/// Where a cluster keeps its files.
#[derive(Debug)]
enum Directory {
    /// Ours: removed at the end.
    Temporary(TempDir),
    /// The user's: stays, without sockets.
    Named(PathBuf),
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Named(path) => path,
        }
    }

    fn remove_sockets(&self) {
        for socket in plan::SOCKETS {
            // It may never have been made.
            drop(fs::remove_file(self.path().join(socket)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_cluster_is_documented() {
        let path = |name: &str| Path::new("/c").join(name);
        let report = Report {
            directory: path(""),
            kubeconfig: path("kubeconfig"),
            server: "https://127.0.0.1:6443".into(),
            guest_server: "https://10.0.2.2:6443".into(),
            ca: "PEM".into(),
            token: "abcdef.0123456789abcdef".into(),
            kubectl: path("bin/kubectl"),
            bin: path("bin"),
            node_config: path("node.toml"),
            nodes: path("nodes"),
            logs: path("logs"),
            ports: [("etcd".to_owned(), 2379)].into(),
            processes: [("etcd".to_owned(), 42)].into(),
        };
        let mut value = serde_json::to_value(&report).unwrap();
        value["schema"] = crate::error::SCHEMA.into();
        let mut table = crate::documented::Table::of("`orlop cluster`");
        table.check(&value);
        table.complete();
    }
}
