//! What of a node's protection its config gives up. It may have its reasons; people are to see it.
//! What a config may not change at all is refused where it is read ([`super::RESERVED_KUBELET_KEYS`]).

use toml::{Table, Value};

use super::{Host, Lockdown, NodeConfig, Registry, Scheme, Volumes};

/// A protection that is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weakening {
    /// The key that does it, such as `security.lockdown`.
    pub key: String,
    /// What follows, for people, the key included.
    pub line: String,
}

/// Whether a value of a setting of the kernel gives up what it protects.
type GivesUp = fn(i64) -> bool;

/// Settings that protect the kernel, its processes from each other, and the node from its network.
/// A part `*` stands for any one. Only those are here whose default protects.
const SETTINGS: &[(&str, GivesUp)] = &[
    ("fs.protected_fifos", |value| value < 1),
    ("fs.protected_hardlinks", |value| value < 1),
    ("fs.protected_regular", |value| value < 1),
    ("fs.protected_symlinks", |value| value < 1),
    ("fs.suid_dumpable", |value| value == 1),
    ("kernel.dmesg_restrict", |value| value < 1),
    ("kernel.perf_event_paranoid", |value| value < 2),
    ("kernel.randomize_va_space", |value| value < 2),
    // Bits of `Documentation/admin-guide/sysrq.rst`: dumps of registers and memory (8), signals to
    // all processes (64); 1 is all of them.
    ("kernel.sysrq", |value| value == 1 || value & (8 | 64) != 0),
    ("kernel.unprivileged_bpf_disabled", |value| value < 1),
    ("kernel.yama.ptrace_scope", |value| value < 1),
    ("net.ipv4.conf.*.route_localnet", |value| value != 0),
    // Those of `all` and of the link count together; 0 of `all` is the default where packets are
    // forwarded.
    ("net.ipv4.conf.all.accept_redirects", |value| value != 0),
    ("net.ipv4.conf.all.accept_source_route", |value| value != 0),
    ("net.ipv4.icmp_echo_ignore_broadcasts", |value| value == 0),
    ("net.ipv4.ip_unprivileged_port_start", |value| value < 1024),
    ("net.ipv4.tcp_syncookies", |value| value == 0),
    ("vm.mmap_min_addr", |value| value < 4096),
    ("vm.unprivileged_userfaultfd", |value| value != 0),
];

/// What follows from the value of a key of kubelet's, if that gives up a protection.
type Follows = fn(&Value) -> Option<&'static str>;

/// Keys of kubelet's whose default on a node protects, beside [`ciphers`]; a dot leads into a table.
const KUBELET: &[(&str, Follows)] = &[
    ("allowedUnsafeSysctls", |value| {
        let some = value.as_array().is_some_and(|settings| !settings.is_empty());
        some.then_some("pods may change settings of the kernel that reach beyond them")
    }),
    ("enforceNodeAllocatable", |value| {
        let pods = value.as_array().is_some_and(|of| of.iter().any(|o| o.as_str() == Some("pods")));
        (!pods).then_some("pods may use up what containerd, kubelet and PID 1 need")
    }),
    ("eventRecordQPS", |value| {
        (value.as_integer() == Some(0))
            .then_some("what happens to pods is told to the API server without a limit")
    }),
    ("featureGates.KubeletEnsureSecretPulledImages", |value| {
        (value.as_bool() == Some(false)).then_some(OTHERS_IMAGES)
    }),
    ("featureGates.RotateKubeletServerCertificate", |value| {
        (value.as_bool() == Some(false))
            .then_some("the serving certificate that the cluster has signed is not renewed")
    }),
    ("imagePullCredentialsVerificationPolicy", |value| {
        (value.as_str() == Some("NeverVerify")).then_some(OTHERS_IMAGES)
    }),
    ("podPidsLimit", |value| {
        // More there cannot be (`PID_MAX_LIMIT` of include/linux/threads.h).
        let no_limit = value.as_integer().is_some_and(|limit| !(1..4_194_304).contains(&limit));
        no_limit.then_some("one pod may use up the processes of all")
    }),
    ("protectKernelDefaults", |value| {
        (value.as_bool() == Some(false))
            .then_some("kubelet changes settings of the kernel by itself")
    }),
    ("readOnlyPort", |value| {
        value
            .as_integer()
            .is_some_and(|port| port != 0)
            .then_some("whoever reaches this port sees the pods, for nobody is asked who it is")
    }),
    ("seccompDefault", |value| {
        (value.as_bool() == Some(false)).then_some("a pod that says nothing has no seccomp filter")
    }),
    ("tlsMinVersion", |value| {
        value
            .as_str()
            .is_some_and(|version| ["VersionTLS10", "VersionTLS11"].contains(&version))
            .then_some("kubelet takes versions of TLS that are broken")
    }),
];

const OTHERS_IMAGES: &str = "a pod may run private images that another pod had the password for";

impl NodeConfig {
    /// What it gives up of the node's protection, each key that does so.
    pub fn weakened(&self) -> Vec<Weakening> {
        let mut found = Vec::new();
        let mut give_up = |key: &str, line: String| {
            found.push(Weakening { key: key.to_owned(), line });
        };
        if self.security.lockdown == Lockdown::None {
            let line = "the kernel is open to privileged pods: `security.lockdown` is `none`";
            give_up("security.lockdown", line.to_owned());
        }
        if self.security.kexec {
            let line = "privileged pods may start another kernel: `security.kexec` is true";
            give_up("security.kexec", line.to_owned());
        }
        if self.volumes == Volumes::Any {
            let line = "whoever can attach a disk to the machine owns the node: `config.volumes` is \
                        `any`";
            give_up("config.volumes", line.to_owned());
        }
        for (name, value) in &self.sysctl {
            let setting = SETTINGS.iter().find(|(pattern, _)| name.is_like(pattern));
            if setting.is_some_and(|(_, gives_up)| number(value).is_some_and(gives_up)) {
                let line =
                    format!("a protection of the kernel is off: `sysctl` sets `{name}` to {value}");
                give_up(&format!("sysctl.{name}"), line);
            }
        }
        for (host, registry) in &self.containerd.registries {
            let host = host.as_str();
            for (key, line) in of_registry(host, registry) {
                give_up(&format!("containerd.registries.{host}.{key}"), line);
            }
        }
        for (key, follows) in KUBELET {
            if let Some(value) = at(&self.kubelet, key)
                && let Some(what) = follows(value)
            {
                let value = shown(value);
                give_up(&format!("kubelet.{key}"), format!("{what}: `kubelet.{key}` is {value}"));
            }
        }
        if let Some(line) = ciphers(&self.kubelet) {
            give_up("kubelet.tlsCipherSuites", line);
        }
        found
    }
}

fn of_registry(host: &str, registry: &Registry) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if registry.skip_verify {
        let line = format!("whoever answers for registry `{host}` is believed: `skip-verify`");
        lines.push(("skip-verify", line));
    }
    let is_here = |host: &Host| match host {
        Host::Address(address) => address.is_loopback(),
        Host::Name(name) => name.to_string() == "localhost",
    };
    let open = |mirror: &&super::Url| mirror.scheme() == Scheme::Http && !is_here(mirror.host());
    lines.extend(registry.mirrors.iter().filter(open).map(|mirror| {
        let line = format!(
            "whoever is on the way to `{mirror}` may change images of registry `{host}`: the mirror \
             has no TLS"
        );
        ("mirrors", line)
    }));
    lines
}

/// The value of a key with dots.
fn at<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    match key.split_once('.') {
        Some((first, rest)) => at(table.get(first)?.as_table()?, rest),
        None => table.get(key),
    }
}

/// As it is written.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{text}\""),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => "not as it should be".to_owned(),
    }
}

/// Of TLS 1.2 only what has forward secrecy and AEAD is strong, as items of benchmarks have it; in
/// TLS 1.3 there is nothing else and nothing to choose.
fn ciphers(kubelet: &Table) -> Option<String> {
    let suites = kubelet.get("tlsCipherSuites")?.as_array()?;
    if kubelet.get("tlsMinVersion").and_then(Value::as_str) == Some("VersionTLS13") {
        return None;
    }
    let is_strong = |name: &str| {
        let aead = ["_GCM_", "_CHACHA20_"].iter().any(|mode| name.contains(mode));
        aead && ["TLS_ECDHE_", "TLS_AES_", "TLS_CHACHA20_"].iter().any(|key| name.starts_with(key))
    };
    let mut names = suites.iter().filter_map(Value::as_str);
    let weak = match names.find(|name| !is_strong(name)) {
        Some(weak) => format!("has `{weak}`"),
        // Go's own, some of which have CBC.
        None if suites.is_empty() => "is empty, so all are taken".to_owned(),
        None => return None,
    };
    Some(format!("kubelet takes weak ciphers of TLS 1.2: `kubelet.tlsCipherSuites` {weak}"))
}

/// The first number in the value of a setting, as the kernel reads it (`proc_get_long` of
/// kernel/sysctl.c).
fn number(value: &str) -> Option<i64> {
    let word = value.split_whitespace().next()?;
    let (sign, digits) = word.strip_prefix('-').map_or((1, word), |digits| (-1, digits));
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (lower.as_str(), 10),
    };
    i64::from_str_radix(digits, radix).ok()?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::super::{RESERVED_KUBELET_KEYS, parse};
    use super::*;

    fn lines(config: &str) -> Vec<String> {
        let config = format!("schema = 1\n{config}");
        parse(&config).unwrap().weakened().into_iter().map(|weakening| weakening.line).collect()
    }

    #[test]
    fn each_key_that_gives_up_a_protection_is_named() {
        let config = "config.volumes = 'any'
[security]
lockdown = 'none'
kexec = true
[sysctl]
'kernel.randomize_va_space' = 1
'fs/protected_symlinks' = '0x0'
'kernel.sysrq' = 438
'kernel.unprivileged_bpf_disabled' = 2
'net.ipv4.conf.eth0/1.route_localnet' = 1
'net.ipv4.tcp_syncookies' = '00'
[kubernetes]
standalone = true
[containerd.registries.'registry.example']
skip-verify = true
[containerd.registries.'docker.io']
mirrors = ['http://192.0.2.5:5000', 'http://localhost:5000', 'http://[::1]', 'https://a.example']";
        let want = [
            "the kernel is open to privileged pods: `security.lockdown` is `none`",
            "privileged pods may start another kernel: `security.kexec` is true",
            "whoever can attach a disk to the machine owns the node: `config.volumes` is `any`",
            "a protection of the kernel is off: `sysctl` sets `fs.protected_symlinks` to 0x0",
            "a protection of the kernel is off: `sysctl` sets `kernel.randomize_va_space` to 1",
            "a protection of the kernel is off: `sysctl` sets `net.ipv4.conf.eth0/1.route_localnet` \
             to 1",
            "a protection of the kernel is off: `sysctl` sets `net.ipv4.tcp_syncookies` to 00",
            "whoever is on the way to `http://192.0.2.5:5000` may change images of registry \
             `docker.io`: the mirror has no TLS",
            "whoever answers for registry `registry.example` is believed: `skip-verify`",
        ];
        assert_eq!(lines(config), want);
    }

    /// Of each key of kubelet's a value that gives its protection up, and one that does not.
    const VALUES: &[(&str, &str, &str)] = &[
        ("allowedUnsafeSysctls", "['net.core.somaxconn']", "[]"),
        ("enforceNodeAllocatable", "['none']", "['pods']"),
        ("enforceNodeAllocatable", "[]", "['pods']"),
        ("eventRecordQPS", "0", "5"),
        ("featureGates.KubeletEnsureSecretPulledImages", "false", "true"),
        ("featureGates.RotateKubeletServerCertificate", "false", "true"),
        ("imagePullCredentialsVerificationPolicy", "'NeverVerify'", "'AlwaysVerify'"),
        ("podPidsLimit", "-1", "1024"),
        ("podPidsLimit", "0", "32768"),
        ("podPidsLimit", "4194304", "1"),
        ("protectKernelDefaults", "false", "true"),
        ("readOnlyPort", "10255", "0"),
        ("seccompDefault", "false", "true"),
        ("tlsCipherSuites", "[]", "['TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256']"),
        (
            "tlsCipherSuites",
            "['TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA']",
            "['TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305', 'TLS_AES_128_GCM_SHA256']",
        ),
        (
            "tlsCipherSuites",
            "['TLS_RSA_WITH_AES_128_GCM_SHA256']",
            "[]\ntlsMinVersion = 'VersionTLS13'",
        ),
        ("tlsMinVersion", "'VersionTLS10'", "'VersionTLS12'"),
        ("tlsMinVersion", "'VersionTLS11'", "'VersionTLS13'"),
    ];

    #[test]
    fn what_kubelet_protects_is_named_when_it_is_given_up_and_only_then() {
        let weakened = |key: &str, value: &str| {
            let config = format!(
                "schema = 1\n[kubernetes]\nstandalone = true\n[kubelet]\n{key} = {value}\n"
            );
            parse(&config).unwrap().weakened()
        };
        for (key, weak, strong) in VALUES {
            let [found] = &weakened(key, weak)[..] else { panic!("{key} = {weak}") };
            assert_eq!(found.key, format!("kubelet.{key}"));
            assert!(found.line.contains(&format!("`kubelet.{key}` ")), "{}", found.line);
            assert_eq!(weakened(key, strong), [], "{key} = {strong}");
        }
        let tried = |key: &&(&str, Follows)| VALUES.iter().any(|(name, ..)| *name == key.0);
        assert_eq!(KUBELET.iter().filter(tried).count(), KUBELET.len());
    }

    /// The keys of section 4.2 of the benchmark that a node passes (docs/security-pods.md):
    /// `streamingConnectionIdleTimeout` has no value that ends nothing.
    #[test]
    fn what_a_benchmark_asks_of_kubelet_is_refused_another_value_or_named() {
        let passed = [
            "authentication.anonymous",
            "authorization.mode",
            "authentication.x509",
            "readOnlyPort",
            "eventRecordQPS",
            "tlsCertFile",
            "tlsPrivateKeyFile",
            "rotateCertificates",
            "featureGates.RotateKubeletServerCertificate",
            "tlsCipherSuites",
            "podPidsLimit",
            "seccompDefault",
            "protectKernelDefaults",
        ];
        let is_held = |key: &&str| {
            RESERVED_KUBELET_KEYS.iter().any(|(reserved, _)| reserved == key)
                || VALUES.iter().any(|(named, ..)| named == key)
        };
        let open: Vec<_> = passed.iter().filter(|key| !is_held(key)).collect();
        assert_eq!(open, [&""; 0]);
    }

    #[test]
    fn each_setting_is_named_at_a_value_that_gives_up_its_protection() {
        for (pattern, gives_up) in SETTINGS {
            let name = pattern.replace('*', "all");
            let weak = [0, 1].into_iter().find(|value| gives_up(*value)).unwrap();
            let found = lines(&format!("[sysctl]\n'{name}' = {weak}\n"));
            let want =
                format!("a protection of the kernel is off: `sysctl` sets `{name}` to {weak}");
            assert_eq!(found, [want]);
        }
        // As some distributions and kube-proxy have them.
        let strong = "[sysctl]\n'kernel.sysrq' = 176\n'kernel.perf_event_paranoid' = 3\n\
                      'net.ipv4.conf.all.rp_filter' = 0\n'net.ipv4.conf.eth0.accept_redirects' = 1\n\
                      'net.ipv4.ip_unprivileged_port_start' = 1024\n'net.ipv4.tcp_syncookies' = 2\n";
        assert_eq!(lines(strong), [""; 0]);
    }

    #[test]
    fn a_setting_is_read_as_the_kernel_reads_it() {
        for (text, want) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("0X1f", Some(31)),
            ("010", Some(8)),
            ("4096 87380\t6291456", Some(4096)),
            ("fq_codel", None),
            ("", None),
        ] {
            assert_eq!(number(text), want, "{text}");
        }
    }
}
