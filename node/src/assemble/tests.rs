//! Whole plans, and what is on the disk when they are done.

use std::os::unix::fs::PermissionsExt as _;

use expect_test::expect;
use formats::node_config::parse;

use super::testing::{CA, CLUSTER, OTHER_CA, STANDALONE};
use super::*;

const NOW: u64 = 1_795_000_000;

/// The plan for a node that nothing was ever written to.
fn plan(config: &str) -> String {
    let facts = Facts { now: NOW, memory: Some(4 << 30), ..Facts::default() };
    super::plan(&parse(config).unwrap(), &facts).to_string()
}

#[test]
fn plan_of_a_cluster_node() {
    expect![[r#"
        remove /run/orlop/kernel-left-open
        remove /run/orlop/proxy.env
        remove /run/orlop/sysctl.conf
        remove /var/lib/kubelet/kubeconfig
        remove /var/lib/orlop/cni/net.d/10-orlop.conflist
        directory /var/home
        directory /var/mnt
        directory /var/srv
        directory /var/lib/orlop/cni/net.d
        directory /var/lib/orlop/cni/bin
        directory /run/orlop/kubelet/manifests
        directory /var/lib/kubelet/volume-plugins
        serving pair for ["worker-1", "192.0.2.10", "2001:db8::10"], good from 1794913600 to 2110360000
        0644 /etc/containerd/certs.d/docker.io/hosts.toml
            # Made of the node config at each boot.

            [host."http://10.0.2.2:5000"]
            capabilities = ["pull", "resolve"]
        0644 /etc/containerd/certs.d/registry.example:5000/hosts.toml
            # Made of the node config at each boot.
        0600 /run/orlop/kubelet/config.json
            {
              "apiVersion": "kubelet.config.k8s.io/v1beta1",
              "authentication": {
                "anonymous": {
                  "enabled": false
                },
                "webhook": {
                  "enabled": true
                },
                "x509": {
                  "clientCAFile": "/run/orlop/kubelet/ca.crt"
                }
              },
              "authorization": {
                "mode": "Webhook"
              },
              "cgroupDriver": "cgroupfs",
              "cgroupRoot": "/",
              "clusterDNS": [
                "10.96.0.10"
              ],
              "containerLogMaxFiles": 3,
              "containerLogMaxSize": "10Mi",
              "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
              "enforceNodeAllocatable": [
                "pods"
              ],
              "evictionHard": {
                "imagefs.available": "10%",
                "imagefs.inodesFree": "5%",
                "memory.available": "100Mi",
                "nodefs.available": "10%",
                "nodefs.inodesFree": "5%",
                "pid.available": "5%"
              },
              "failSwapOn": false,
              "healthzBindAddress": "127.0.0.1",
              "healthzPort": 10248,
              "kind": "KubeletConfiguration",
              "kubeReserved": {
                "cpu": "50m",
                "memory": "256Mi"
              },
              "makeIPTablesUtilChains": false,
              "maxPods": 50,
              "podPidsLimit": 4096,
              "protectKernelDefaults": true,
              "readOnlyPort": 0,
              "registerWithTaints": [
                {
                  "effect": "NoSchedule",
                  "key": "dedicated",
                  "value": "gpu"
                },
                {
                  "effect": "PreferNoSchedule",
                  "key": "spot",
                  "value": ""
                }
              ],
              "resolvConf": "/etc/resolv.conf",
              "rotateCertificates": true,
              "seccompDefault": true,
              "shutdownGracePeriod": "0s",
              "shutdownGracePeriodCriticalPods": "0s",
              "staticPodPath": "/run/orlop/kubelet/manifests",
              "systemReserved": {
                "memory": "64Mi",
                "pid": "1000"
              },
              "tlsCertFile": "/var/lib/kubelet/pki/orlop-serving.crt",
              "tlsCipherSuites": [
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"
              ],
              "tlsMinVersion": "VersionTLS12",
              "tlsPrivateKeyFile": "/var/lib/kubelet/pki/orlop-serving.key",
              "volumePluginDir": "/var/lib/kubelet/volume-plugins"
            }
        0644 /run/orlop/shutdown-grace
            65
        0644 /run/orlop/kubelet/ca.crt
            -----BEGIN CERTIFICATE-----
            MAMCAQE=
            -----END CERTIFICATE-----
        0600 /run/orlop/kubelet/bootstrap-kubeconfig
            {
              "apiVersion": "v1",
              "clusters": [
                {
                  "cluster": {
                    "certificate-authority": "/run/orlop/kubelet/ca.crt",
                    "server": "https://10.0.2.2:6443"
                  },
                  "name": "cluster"
                }
              ],
              "contexts": [
                {
                  "context": {
                    "cluster": "cluster",
                    "user": "bootstrap"
                  },
                  "name": "bootstrap"
                }
              ],
              "current-context": "bootstrap",
              "kind": "Config",
              "users": [
                {
                  "name": "bootstrap",
                  "user": {
                    "token": "abcdef.0123456789abcdef"
                  }
                }
              ]
            }
        0644 /var/lib/orlop/cluster.json
            {"ca":["1b65f68a522c858715f5dd951cd0402dc16691778814bf0759822b7a257421d0"],"server":"https://10.0.2.2:6443"}
        0600 /run/orlop/kubelet/registry-logins.json
            {
              "registry.example:5000": {
                "password": "secret of the registry",
                "username": "builder"
              }
            }
        0644 /run/orlop/kubelet/credential-providers.json
            {
              "apiVersion": "kubelet.config.k8s.io/v1",
              "kind": "CredentialProviderConfig",
              "providers": [
                {
                  "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
                  "args": [
                    "image-credentials"
                  ],
                  "defaultCacheDuration": "0s",
                  "matchImages": [
                    "registry.example:5000"
                  ],
                  "name": "orlop-node"
                }
              ]
            }
        0644 /run/orlop/kubelet/arguments
            --config=/run/orlop/kubelet/config.json
            --hostname-override=worker-1
            --node-ip=192.0.2.10
            --node-labels=example.com/rack=7,zone=a
            --bootstrap-kubeconfig=/run/orlop/kubelet/bootstrap-kubeconfig
            --kubeconfig=/var/lib/kubelet/kubeconfig
            --image-credential-provider-config=/run/orlop/kubelet/credential-providers.json
            --image-credential-provider-bin-dir=/usr/lib/orlop
            --cert-dir=/var/lib/kubelet/pki
    "#]].assert_eq(&plan(CLUSTER));
}

#[test]
fn plan_of_a_node_on_its_own() {
    expect![[r#"
        remove /run/orlop/kernel-left-open
        remove /run/orlop/kubelet/bootstrap-kubeconfig
        remove /run/orlop/kubelet/ca.crt
        remove /run/orlop/kubelet/credential-providers.json
        remove /run/orlop/kubelet/registry-logins.json
        remove /run/orlop/proxy.env
        remove /run/orlop/shutdown-grace
        remove /run/orlop/sysctl.conf
        directory /var/home
        directory /var/mnt
        directory /var/srv
        directory /var/lib/orlop/cni/net.d
        directory /var/lib/orlop/cni/bin
        directory /run/orlop/kubelet/manifests
        directory /var/lib/kubelet/volume-plugins
        serving pair for [], good from 1794913600 to 2110360000
        0644 /var/lib/orlop/cni/net.d/10-orlop.conflist
            {
              "cniVersion": "1.0.0",
              "name": "orlop",
              "plugins": [
                {
                  "bridge": "cni0",
                  "hairpinMode": true,
                  "ipam": {
                    "dataDir": "/run/cni-ipam",
                    "ranges": [
                      [
                        {
                          "subnet": "10.88.0.0/16"
                        }
                      ]
                    ],
                    "routes": [
                      {
                        "dst": "0.0.0.0/0"
                      }
                    ],
                    "type": "host-local"
                  },
                  "isGateway": true,
                  "type": "bridge"
                },
                {
                  "capabilities": {
                    "portMappings": true
                  },
                  "type": "portmap"
                }
              ]
            }
        0600 /run/orlop/kubelet/config.json
            {
              "apiVersion": "kubelet.config.k8s.io/v1beta1",
              "authentication": {
                "anonymous": {
                  "enabled": false
                },
                "webhook": {
                  "enabled": false
                },
                "x509": {
                  "clientCAFile": "/var/lib/kubelet/pki/orlop-serving.crt"
                }
              },
              "authorization": {
                "mode": "AlwaysAllow"
              },
              "cgroupDriver": "cgroupfs",
              "cgroupRoot": "/",
              "containerLogMaxFiles": 3,
              "containerLogMaxSize": "10Mi",
              "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
              "enableServer": false,
              "enforceNodeAllocatable": [
                "pods"
              ],
              "evictionHard": {
                "imagefs.available": "10%",
                "imagefs.inodesFree": "5%",
                "memory.available": "100Mi",
                "nodefs.available": "10%",
                "nodefs.inodesFree": "5%",
                "pid.available": "5%"
              },
              "failSwapOn": false,
              "healthzBindAddress": "127.0.0.1",
              "healthzPort": 10248,
              "kind": "KubeletConfiguration",
              "kubeReserved": {
                "cpu": "50m",
                "memory": "256Mi"
              },
              "makeIPTablesUtilChains": false,
              "podPidsLimit": 4096,
              "protectKernelDefaults": true,
              "readOnlyPort": 0,
              "resolvConf": "/etc/resolv.conf",
              "seccompDefault": true,
              "shutdownGracePeriod": "0s",
              "shutdownGracePeriodCriticalPods": "0s",
              "staticPodPath": "/run/orlop/kubelet/manifests",
              "systemReserved": {
                "memory": "64Mi",
                "pid": "1000"
              },
              "tlsCertFile": "/var/lib/kubelet/pki/orlop-serving.crt",
              "tlsCipherSuites": [
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"
              ],
              "tlsMinVersion": "VersionTLS12",
              "tlsPrivateKeyFile": "/var/lib/kubelet/pki/orlop-serving.key",
              "volumePluginDir": "/var/lib/kubelet/volume-plugins"
            }
        0600 /run/orlop/kubelet/manifests/hello.yaml
            kind: Pod
        0644 /run/orlop/kubelet/arguments
            --config=/run/orlop/kubelet/config.json
            --cert-dir=/var/lib/kubelet/pki
    "#]]
    .assert_eq(&plan(STANDALONE));
}

#[test]
fn plan_without_kubernetes() {
    expect![[r#"
        remove /run/orlop/kernel-left-open
        remove /run/orlop/kubelet/arguments
        remove /run/orlop/kubelet/bootstrap-kubeconfig
        remove /run/orlop/kubelet/ca.crt
        remove /run/orlop/kubelet/config.json
        remove /run/orlop/kubelet/credential-providers.json
        remove /run/orlop/kubelet/registry-logins.json
        remove /run/orlop/proxy.env
        remove /run/orlop/shutdown-grace
        remove /run/orlop/sysctl.conf
        remove /var/lib/orlop/cni/net.d/10-orlop.conflist
        directory /var/home
        directory /var/mnt
        directory /var/srv
        directory /var/lib/orlop/cni/net.d
        directory /var/lib/orlop/cni/bin
    "#]]
    .assert_eq(&plan("schema = 1"));
}

#[test]
fn plan_of_registries() {
    let config = format!(
        "schema = 1\n[containerd.registries.'docker.io']\nmirrors = ['http://10.0.2.2:5000', \
         'https://m.example']\n[containerd.registries.'registry.example:5000']\nca = '''{CA}'''\n\
         [containerd.registries._default]\nskip-verify = true\n"
    );
    expect![[r#"
        remove /run/orlop/kernel-left-open
        remove /run/orlop/kubelet/arguments
        remove /run/orlop/kubelet/bootstrap-kubeconfig
        remove /run/orlop/kubelet/ca.crt
        remove /run/orlop/kubelet/config.json
        remove /run/orlop/kubelet/credential-providers.json
        remove /run/orlop/kubelet/registry-logins.json
        remove /run/orlop/proxy.env
        remove /run/orlop/shutdown-grace
        remove /run/orlop/sysctl.conf
        remove /var/lib/orlop/cni/net.d/10-orlop.conflist
        directory /var/home
        directory /var/mnt
        directory /var/srv
        directory /var/lib/orlop/cni/net.d
        directory /var/lib/orlop/cni/bin
        0644 /etc/containerd/certs.d/_default/hosts.toml
            # Made of the node config at each boot.
            skip_verify = true
        0644 /etc/containerd/certs.d/docker.io/hosts.toml
            # Made of the node config at each boot.

            [host."http://10.0.2.2:5000"]
            capabilities = ["pull", "resolve"]

            [host."https://m.example"]
            capabilities = ["pull", "resolve"]
        0644 /etc/containerd/certs.d/registry.example:5000/orlop-ca.crt
            -----BEGIN CERTIFICATE-----
            MAMCAQE=
            -----END CERTIFICATE-----
        0644 /etc/containerd/certs.d/registry.example:5000/hosts.toml
            # Made of the node config at each boot.
            ca = "/etc/containerd/certs.d/registry.example:5000/orlop-ca.crt"
    "#]]
    .assert_eq(&plan(&config));
}

#[test]
fn plan_of_a_cluster_which_signs_the_serving_certificate() {
    let config = CLUSTER.replace("token =", "serving-certificate = 'bootstrap'\ntoken =");
    let plan = plan(&config);
    let words = ["serving", "tlsCert", "tlsPrivate"];
    let about = plan.lines().filter(|line| words.iter().any(|word| line.contains(word)));
    assert_eq!(plan.matches("serverTLSBootstrap").count(), 1);
    assert_eq!(about.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// A node in a directory.
struct Node {
    _directory: tempfile::TempDir,
    root: Root,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { root: Root::new(directory.path()), _directory: directory }
    }

    fn boot(&self, config: &str) -> System {
        self.boot_at(config, NOW)
    }

    fn boot_at(&self, config: &str, now: u64) -> System {
        assemble(&parse(config).unwrap(), &self.root, now, NOW).unwrap()
    }

    /// What kubelet leaves when it has joined.
    fn join(&self) {
        for name in JOINED {
            let path = self.root.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
    }

    fn joined(&self) -> [bool; 2] {
        JOINED.map(|name| self.has(name))
    }

    fn has(&self, path: &str) -> bool {
        self.root.path(path).exists()
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.path(path)).unwrap()
    }

    fn mode(&self, path: &str) -> u32 {
        std::fs::metadata(self.root.path(path)).unwrap().permissions().mode() & 0o7777
    }
}

const JOINED: [&str; 2] =
    ["/var/lib/kubelet/kubeconfig", "/var/lib/kubelet/pki/kubelet-client-current.pem"];

#[test]
fn only_root_reads_what_is_secret() {
    let node = Node::new();
    node.boot(CLUSTER);
    for (path, want) in [
        ("/run/orlop/kubelet/bootstrap-kubeconfig", 0o600),
        ("/var/lib/kubelet/pki/orlop-serving.key", 0o600),
        ("/var/lib/kubelet/pki/orlop-serving.crt", 0o644),
        ("/var/lib/kubelet/pki/orlop-serving.json", 0o644),
        ("/run/orlop/kubelet/config.json", 0o600),
        ("/run/orlop/kubelet/registry-logins.json", 0o600),
        ("/run/orlop/kubelet/ca.crt", 0o644),
    ] {
        assert_eq!(node.mode(path), want, "{path}");
    }
    node.boot(STANDALONE);
    assert_eq!(node.mode("/run/orlop/kubelet/manifests/hello.yaml"), 0o600);
}

#[test]
fn what_the_next_config_does_not_have_is_removed() {
    let node = Node::new();
    let registry = "[containerd.registries.'a.example']\nskip-verify = true\n";
    node.boot(&format!("{STANDALONE}{registry}"));
    let files = [
        "/run/orlop/kubelet/arguments",
        "/run/orlop/kubelet/config.json",
        "/run/orlop/kubelet/manifests/hello.yaml",
        "/etc/containerd/certs.d/a.example/hosts.toml",
        "/var/lib/orlop/cni/net.d/10-orlop.conflist",
    ];
    assert_eq!(files.map(|file| node.has(file)), [true; 5]);
    let of_the_cluster = "/var/lib/orlop/cni/net.d/10-other.conflist";
    std::fs::write(node.root.path(of_the_cluster), "").unwrap();
    node.boot("schema = 1");
    assert_eq!(files.map(|file| node.has(file)), [false; 5]);
    assert!(node.has(of_the_cluster), "what a cluster's CNI wrote is not ours");
}

#[test]
fn a_joined_node_stays_so_until_the_config_names_another_cluster() {
    let other_ca = |config: &str| {
        let block = |pem: &str| pem.lines().nth(1).unwrap().to_owned();
        config.replace(&block(CA), &block(OTHER_CA))
    };
    let both = CLUSTER.replace(CA, &format!("{CA}{OTHER_CA}"));
    for (config, [kubeconfig, certificate], why) in [
        (CLUSTER.to_owned(), [true, true], "nothing changed"),
        (CLUSTER.replace("0123456789abcdef", "fedcba9876543210"), [true, true], "another token"),
        (both, [true, true], "one more certificate"),
        (CLUSTER.replace("10.0.2.2:6443", "10.0.2.3:6443"), [false, true], "another address"),
        (other_ca(CLUSTER), [false, false], "another CA"),
        (STANDALONE.to_owned(), [true, true], "no cluster for a while"),
    ] {
        let node = Node::new();
        node.boot(CLUSTER);
        node.join();
        node.boot(&config);
        assert_eq!(node.joined(), [kubeconfig, certificate], "{why}");
        if why == "no cluster for a while" {
            node.boot(CLUSTER);
            assert_eq!(node.joined(), [true, true], "back again");
        }
    }
}

#[test]
fn credentials_of_unknown_origin_are_not_used() {
    let node = Node::new();
    node.join();
    node.boot(CLUSTER);
    assert_eq!(node.joined(), [false, false]);
}

#[test]
fn a_serving_pair_is_kept_and_a_damaged_one_replaced() {
    const KEY: &str = "/var/lib/kubelet/pki/orlop-serving.key";
    let node = Node::new();
    node.boot(STANDALONE);
    let first = node.text(KEY);
    node.boot(STANDALONE);
    assert_eq!(node.text(KEY), first, "kept");
    // Once more with a clock that was reset: the floor stands in.
    node.boot_at(STANDALONE, 0);
    assert_eq!(node.text(KEY), first, "kept in 1970");
    std::fs::write(node.root.path(KEY), "cut short").unwrap();
    node.boot(STANDALONE);
    let second = node.text(KEY);
    assert!(second.starts_with("-----BEGIN PRIVATE KEY-----") && second != first);
    node.boot(&STANDALONE.replace("schema = 1", "schema = 1\nhostname = 'other'"));
    assert_ne!(node.text(KEY), second, "another name");
}

#[test]
fn a_file_that_is_as_it_should_be_is_left_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let node = Node::new();
    let inode = || std::fs::metadata(node.root.path("/var/lib/orlop/cluster.json")).unwrap().ino();
    node.boot(CLUSTER);
    let first = inode();
    node.boot(CLUSTER);
    assert_eq!(inode(), first);
}

#[test]
fn what_cannot_be_written_is_named_and_kubelet_does_not_start() {
    let node = Node::new();
    std::fs::create_dir_all(node.root.path("/run/orlop/kubelet/config.json/in-the-way")).unwrap();
    let error = assemble(&parse(STANDALONE).unwrap(), &node.root, NOW, NOW).unwrap_err();
    assert_eq!(error.to_string(), "cannot write /run/orlop/kubelet/config.json");
    assert!(!node.has("/run/orlop/kubelet/arguments"));
}

#[test]
fn what_a_config_gives_up_of_the_node_s_protection_is_told() {
    let node = Node::new();
    assert_eq!(node.boot("schema = 1\n").problems, [""; 0]);
    let want = "whoever can attach a disk to the machine owns the node: `config.volumes` is `any`";
    assert_eq!(node.boot("schema = 1\nconfig.volumes = 'any'\n").problems, [want]);
}
