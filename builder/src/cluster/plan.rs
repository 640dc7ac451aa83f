//! How each program of the control plane is called: a pure function, printed by its test.
//!
//! Every program runs in the cluster's directory, so paths are relative: command lines do not
//! depend on where that is, and sockets have short names wherever it is (unix(7) allows 107
//! bytes). etcd listens on Unix sockets only. Options:
//! <https://etcd.io/docs/latest/op-guide/configuration/>,
//! <https://kubernetes.io/docs/reference/command-line-tools-reference/>.

use crate::cluster::Life;

/// Services' addresses: not on any link, kube-proxy on a node gives them a meaning.
pub const SERVICE_NETWORK: &str = "10.96.0.0/16";
/// The Service `kubernetes`: the first address of [`SERVICE_NETWORK`].
pub const SERVICE_IP: &str = "10.96.0.1";
/// This host's loopback address as a guest behind QEMU's user-mode network sees it.
pub const HOST_IN_GUEST: &str = "10.0.2.2";

/// etcd's name, and the executable's.
pub const ETCD: &str = "etcd";
/// The API server's name, and the executable's.
pub const API_SERVER: &str = "kube-apiserver";
/// The controller manager's name, and the executable's.
pub const CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// The scheduler's name, and the executable's.
pub const SCHEDULER: &str = "kube-scheduler";

/// Where our proxy to kubelets listens, in the cluster's directory.
pub const EGRESS_SOCKET: &str = "egress.sock";
/// All sockets in the cluster's directory.
pub const SOCKETS: [&str; 3] = [EGRESS_SOCKET, "etcd.sock", "etcd-peer.sock"];

/// Something for each process that has a port on 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports<T> {
    /// kube-apiserver's.
    pub api_server: T,
    /// kube-controller-manager's.
    pub controller_manager: T,
    /// kube-scheduler's.
    pub scheduler: T,
}

impl<T> Ports<T> {
    /// The same for other values.
    pub fn map<U>(&self, f: impl Fn(&T) -> U) -> Ports<U> {
        Ports {
            api_server: f(&self.api_server),
            controller_manager: f(&self.controller_manager),
            scheduler: f(&self.scheduler),
        }
    }
}

/// A process to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its name, which is its executable's too.
    pub name: &'static str,
    /// Its arguments.
    pub args: Vec<String>,
}

/// All processes of a control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Keeps the objects.
    pub etcd: Process,
    /// Serves them. May be started together with etcd.
    pub api_server: Process,
    /// Those that end if the API server is not ready after a while, with the port where each
    /// says `ok` to `/healthz`.
    pub clients: [(Process, u16); 2],
}

/// Plans the processes.
pub fn plan(ports: &Ports<u16>, certificate_life: Life) -> Plan {
    Plan {
        etcd: etcd(),
        api_server: api_server(ports.api_server),
        clients: [
            (
                controller_manager(ports.controller_manager, certificate_life),
                ports.controller_manager,
            ),
            (scheduler(ports.scheduler), ports.scheduler),
        ],
    }
}

fn process(name: &'static str, args: &[&str]) -> Process {
    Process { name, args: args.iter().map(|arg| (*arg).to_owned()).collect() }
}

fn etcd() -> Process {
    process(
        ETCD,
        &[
            "--name=orlop",
            "--data-dir=etcd",
            // Of a URL for peers etcd takes the host only, so these sockets have no directory.
            "--listen-client-urls=unix://etcd.sock",
            "--advertise-client-urls=unix://etcd.sock",
            "--listen-peer-urls=unix://etcd-peer.sock",
            "--initial-advertise-peer-urls=unix://etcd-peer.sock",
            "--initial-cluster=orlop=unix://etcd-peer.sock",
            "--enable-grpc-gateway=false",
            // What is thrown away need not survive a power cut.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
    )
}

/// What all three servers with a port have in common.
fn serving(port: u16) -> [String; 4] {
    [
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--tls-cert-file=pki/serving.crt".to_owned(),
        "--tls-private-key-file=pki/serving.key".to_owned(),
    ]
}

fn api_server(port: u16) -> Process {
    let mut process = process(
        API_SERVER,
        &[
            "--etcd-servers=unix://etcd.sock",
            "--client-ca-file=pki/ca.crt",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--enable-bootstrap-token-auth=true",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--service-account-key-file=pki/service-account.pub",
            "--service-account-signing-key-file=pki/service-account.key",
            "--kubelet-client-certificate=pki/kubelet-client.crt",
            "--kubelet-client-key=pki/kubelet-client.key",
            // The proxy below knows nodes by their addresses.
            "--kubelet-preferred-address-types=InternalIP",
            "--egress-selector-config-file=egress.json",
            // Webhooks and aggregated API servers in pods are reached as pods, not as Services,
            // whose addresses mean nothing here.
            "--enable-aggregator-routing=true",
            // kube-proxy and network plugins are privileged pods.
            "--allow-privileged=true",
        ],
    );
    process.args.push(format!("--service-cluster-ip-range={SERVICE_NETWORK}"));
    // Where the Service `kubernetes` leads to: pods are in guests.
    process.args.push(format!("--advertise-address={HOST_IN_GUEST}"));
    process.args.extend(serving(port));
    process
}

fn controller_manager(port: u16, certificate_life: Life) -> Process {
    let mut process = process(
        CONTROLLER_MANAGER,
        &[
            "--kubeconfig=controller-manager.kubeconfig",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            "--service-account-private-key-file=pki/service-account.key",
            "--root-ca-file=pki/ca.crt",
            "--cluster-signing-cert-file=pki/ca.crt",
            "--cluster-signing-key-file=pki/ca.key",
            // The token cleaner, which removes expired bootstrap tokens, is off by default.
            "--controllers=*,token-cleaner-controller",
        ],
    );
    process.args.push(format!("--cluster-signing-duration={certificate_life}"));
    process.args.extend(serving(port));
    process
}

fn scheduler(port: u16) -> Process {
    let mut process =
        process(SCHEDULER, &["--kubeconfig=scheduler.kubeconfig", "--leader-elect=false"]);
    process.args.extend(serving(port));
    process
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn every_process_is_called_as_planned() {
        let ports = Ports { api_server: 6443, controller_manager: 10257, scheduler: 10259 };
        let plan = plan(&ports, "2m".parse().unwrap());
        let [(controller_manager, first), (scheduler, second)] = &plan.clients;
        assert_eq!([*first, *second], [10257, 10259]);
        let mut text = String::new();
        for process in [&plan.etcd, &plan.api_server, controller_manager, scheduler] {
            text += &format!("{}\n  {}\n", process.name, process.args.join("\n  "));
        }
        expect![[r#"
            etcd
              --name=orlop
              --data-dir=etcd
              --listen-client-urls=unix://etcd.sock
              --advertise-client-urls=unix://etcd.sock
              --listen-peer-urls=unix://etcd-peer.sock
              --initial-advertise-peer-urls=unix://etcd-peer.sock
              --initial-cluster=orlop=unix://etcd-peer.sock
              --enable-grpc-gateway=false
              --unsafe-no-fsync
              --log-level=warn
            kube-apiserver
              --etcd-servers=unix://etcd.sock
              --client-ca-file=pki/ca.crt
              --authorization-mode=Node,RBAC
              --enable-admission-plugins=NodeRestriction
              --enable-bootstrap-token-auth=true
              --service-account-issuer=https://kubernetes.default.svc.cluster.local
              --service-account-key-file=pki/service-account.pub
              --service-account-signing-key-file=pki/service-account.key
              --kubelet-client-certificate=pki/kubelet-client.crt
              --kubelet-client-key=pki/kubelet-client.key
              --kubelet-preferred-address-types=InternalIP
              --egress-selector-config-file=egress.json
              --enable-aggregator-routing=true
              --allow-privileged=true
              --service-cluster-ip-range=10.96.0.0/16
              --advertise-address=10.0.2.2
              --bind-address=127.0.0.1
              --secure-port=6443
              --tls-cert-file=pki/serving.crt
              --tls-private-key-file=pki/serving.key
            kube-controller-manager
              --kubeconfig=controller-manager.kubeconfig
              --leader-elect=false
              --use-service-account-credentials=true
              --service-account-private-key-file=pki/service-account.key
              --root-ca-file=pki/ca.crt
              --cluster-signing-cert-file=pki/ca.crt
              --cluster-signing-key-file=pki/ca.key
              --controllers=*,token-cleaner-controller
              --cluster-signing-duration=120s
              --bind-address=127.0.0.1
              --secure-port=10257
              --tls-cert-file=pki/serving.crt
              --tls-private-key-file=pki/serving.key
            kube-scheduler
              --kubeconfig=scheduler.kubeconfig
              --leader-elect=false
              --bind-address=127.0.0.1
              --secure-port=10259
              --tls-cert-file=pki/serving.crt
              --tls-private-key-file=pki/serving.key
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn nothing_listens_beyond_this_host_and_every_socket_is_removed_at_the_end() {
        let ports = Ports { api_server: 1, controller_manager: 2, scheduler: 3 };
        let plan = plan(&ports, "1h".parse().unwrap());
        for (process, port) in plan.clients.iter().chain(&[(plan.api_server.clone(), 1)]) {
            assert!(process.args.contains(&"--bind-address=127.0.0.1".to_owned()));
            assert!(process.args.contains(&format!("--secure-port={port}")));
        }
        let sockets = plan.etcd.args.iter().filter_map(|arg| arg.rsplit_once("unix://"));
        assert!(sockets.clone().count() >= 5);
        for (_, socket) in sockets {
            assert!(SOCKETS.contains(&socket), "{socket}");
        }
    }
}
