//! A way into a pod for the API server (`pods/proxy`, `services/proxy`, webhooks): pods live behind
//! QEMU's user-mode network, where only kubelet is reached. So the pod that has the address is
//! looked up, and a `kubectl port-forward` of its own carries each connection.
//!
//! kubelet connects inside the pod, to its loopback address: a program that listens on the pod's
//! own address alone is not reached.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::cluster::api::Client;
use crate::process::Command;

/// Finds pods by their address.
#[derive(Debug, Clone)]
pub(super) struct Pods {
    /// Of an administrator.
    pub(super) client: Client,
    /// The program.
    pub(super) kubectl: PathBuf,
    /// What it is to use.
    pub(super) kubeconfig: PathBuf,
}

/// A connection to a pod, and what carries it.
#[derive(Debug)]
pub struct Reached {
    /// Leads to the pod.
    pub stream: TcpStream,
    _forwarding: Option<Forwarding>,
}

impl From<TcpStream> for Reached {
    fn from(stream: TcpStream) -> Self {
        Self { stream, _forwarding: None }
    }
}

/// `kubectl` at work, for as long as this lives.
#[derive(Debug)]
struct Forwarding(Child);

impl Drop for Forwarding {
    fn drop(&mut self) {
        // Both are harmless if it has ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Pods {
    /// Connects to the pod that runs at `target`, an address with a port. Must be called from a
    /// thread that lives as long as the connection.
    ///
    /// # Errors
    /// Why there is no way, in words.
    pub(super) fn connect(&self, target: &str) -> Result<Reached, String> {
        let nobody = || format!("no node is registered at {target}, and no pod runs there");
        let address: SocketAddr = target.parse().map_err(|_| nobody())?;
        let list = self.client.get(&query(address.ip()));
        let list = list.map_err(|error| format!("cannot look for a pod at {target}: {error}"))?;
        let (namespace, pod) = first(&list).ok_or_else(nobody)?;
        self.forward(namespace, pod, address.port())
            .map_err(|why| format!("pod {namespace}/{pod} is not reached: {why}"))
    }

    fn forward(&self, namespace: &str, pod: &str, port: u16) -> Result<Reached, String> {
        let command = Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--namespace", namespace, "port-forward", "--address", "127.0.0.1"])
            .args([format!("pod/{pod}"), format!(":{port}")]);
        let child = command.spawn(|command| {
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        });
        let mut forwarding = Forwarding(child.map_err(|error| error.to_string())?);
        let mut line = String::new();
        if let Some(stdout) = &mut forwarding.0.stdout {
            // It says no more before a connection comes, and little then: the pipe holds it.
            BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        }
        let Some(own) = own_port(&line) else {
            let mut said = String::new();
            if let Some(stderr) = &mut forwarding.0.stderr {
                // What cannot be read is not said.
                drop(stderr.take(1000).read_to_string(&mut said));
            }
            return Err(said.split_whitespace().collect::<Vec<_>>().join(" "));
        };
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, own))
            .map_err(|error| format!("its forwarder does not answer: {error}"))?;
        Ok(Reached { stream, _forwarding: Some(forwarding) })
    }
}

fn query(address: IpAddr) -> String {
    format!("/api/v1/pods?fieldSelector=status.podIP%3D{address}%2Cstatus.phase%3DRunning")
}

/// Namespace and name of the first pod of a list. Pods of the host's network share an address, and
/// each of them leads to all that listens there.
fn first(list: &Value) -> Option<(&str, &str)> {
    let metadata = &list["items"].as_array()?.first()?["metadata"];
    Some((metadata["namespace"].as_str()?, metadata["name"].as_str()?))
}

/// Out of `Forwarding from 127.0.0.1:34567 -> 8080`.
fn own_port(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("Forwarding from 127.0.0.1:")?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_pod_of_a_list_is_taken() {
        let pod = |name: &str| json!({ "metadata": { "namespace": "a", "name": name } });
        assert_eq!(first(&json!({ "items": [pod("one"), pod("two")] })), Some(("a", "one")));
        for list in [json!({ "items": [] }), json!({}), json!({ "items": [{}] }), json!(7)] {
            assert_eq!(first(&list), None);
        }
    }

    #[test]
    fn the_port_is_read_out_of_what_kubectl_says() {
        assert_eq!(own_port("Forwarding from 127.0.0.1:34567 -> 8080\n"), Some(34567));
        for line in ["", "Forwarding from [::1]:1 -> 2", "Forwarding from 127.0.0.1:99999 -> 1"] {
            assert_eq!(own_port(line), None, "{line}");
        }
    }

    #[test]
    fn a_pod_is_asked_for_by_its_address() {
        let want = "/api/v1/pods?fieldSelector=status.podIP%3D10.88.0.2%2Cstatus.phase%3DRunning";
        assert_eq!(query([10, 88, 0, 2].into()), want);
    }
}
