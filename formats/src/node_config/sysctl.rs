//! `[sysctl]`: settings of the kernel (sysctl.conf(5)). Those are allowed that container hosts are
//! tuned by; those that the node or kubelet relies on, or that reach beyond a setting, are not.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::section::{Placed, Section};
use toml::de::DeValue;

/// The name of a setting: parts with dots between them, `vm.max_map_count`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SysctlName(String);

/// What may be set: a name, or the beginning of names with a `*` behind it.
const ALLOWED: &[&str] = &[
    "fs.aio-max-nr",
    "fs.epoll.*",
    "fs.fanotify.*",
    "fs.file-max",
    "fs.inotify.*",
    "fs.leases-enable",
    "fs.mount-max",
    "fs.mqueue.*",
    "fs.nr_open",
    "fs.pipe-*",
    "fs.protected_*",
    "fs.suid_dumpable",
    "kernel.core_pipe_limit",
    "kernel.core_uses_pid",
    "kernel.dmesg_restrict",
    "kernel.hung_task_*",
    "kernel.io_uring_*",
    "kernel.keys.maxbytes",
    "kernel.keys.maxkeys",
    "kernel.kptr_restrict",
    "kernel.msg*",
    "kernel.nmi_watchdog",
    "kernel.numa_balancing",
    "kernel.perf_*",
    "kernel.pid_max",
    "kernel.randomize_va_space",
    "kernel.sched_*",
    "kernel.sem",
    "kernel.shm*",
    "kernel.soft_watchdog",
    "kernel.softlockup_*",
    "kernel.sysrq",
    "kernel.threads-max",
    "kernel.unprivileged_bpf_disabled",
    "kernel.unprivileged_userns_clone",
    "kernel.watchdog*",
    "kernel.yama.*",
    "net.*",
    "user.max_*",
    "vm.admin_reserve_kbytes",
    "vm.compaction_proactiveness",
    "vm.dirty_*",
    "vm.extfrag_threshold",
    "vm.hugetlb_*",
    "vm.max_map_count",
    "vm.memory_failure_*",
    "vm.min_free_kbytes",
    "vm.mmap_*",
    "vm.nr_hugepages",
    "vm.nr_overcommit_hugepages",
    "vm.oom_*",
    "vm.overcommit_kbytes",
    "vm.overcommit_ratio",
    "vm.page-cluster",
    "vm.stat_interval",
    "vm.swappiness",
    "vm.unprivileged_userfaultfd",
    "vm.user_reserve_kbytes",
    "vm.vfs_cache_pressure",
    "vm.watermark_*",
    "vm.zone_reclaim_mode",
];

const PODS: &str = "without it packets of pods do not pass the node";
const KUBELET: &str = "kubelet wants the value that the node sets, and does not start with another";
const LINKS: &str = "write `slaac` in `network.links`";
const ORDER: &str = "it is an order to the kernel and no setting";

/// What may not be set, in spite of the list above or because somebody could look for it there, and
/// why. A part `*` stands for any one.
const REFUSED: &[(&str, &str)] = &[
    ("net.ipv4.ip_forward", PODS),
    ("net.ipv4.conf.*.forwarding", PODS),
    ("net.ipv6.conf.*.forwarding", PODS),
    ("net.bridge.bridge-nf-call-iptables", PODS),
    ("net.bridge.bridge-nf-call-ip6tables", PODS),
    ("net.ipv6.conf.*.accept_ra", LINKS),
    ("net.ipv6.conf.*.autoconf", LINKS),
    ("net.ipv4.route.flush", ORDER),
    ("net.ipv6.route.flush", ORDER),
    ("vm.drop_caches", ORDER),
    ("vm.compact_memory", ORDER),
    ("vm.overcommit_memory", KUBELET),
    ("vm.panic_on_oom", KUBELET),
    ("kernel.panic", KUBELET),
    ("kernel.panic_on_oops", KUBELET),
    ("kernel.keys.root_maxkeys", KUBELET),
    ("kernel.keys.root_maxbytes", KUBELET),
    ("kernel.hostname", "write `hostname`"),
    ("kernel.domainname", "write `network.search`"),
    ("kernel.printk", "the console is the screen of the node"),
    ("kernel.modprobe", "the node sets the program that loads modules"),
    ("kernel.modules_disabled", "pods need modules that are loaded when they ask for them"),
    ("kernel.core_pattern", "a program in it would run as root beside all containers"),
    ("kernel.ns_last_pid", ORDER),
];

impl SysctlName {
    /// The name, with dots between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the setting lies below `/proc/sys`. As for sysctl(8), a `/` in a name is a dot in the
    /// name of a link: `net.ipv4.conf.eth0/100.rp_filter`.
    pub fn path(&self) -> String {
        swapped(&self.0)
    }

    /// Whether it is this one; a part `*` stands for any.
    pub(super) fn is_like(&self, pattern: &str) -> bool {
        let (mut own, mut wanted) = (self.0.split('.'), pattern.split('.'));
        loop {
            match (own.next(), wanted.next()) {
                (None, None) => return true,
                (Some(own), Some(wanted)) if own == wanted || wanted == "*" => {}
                _ => return false,
            }
        }
    }

    /// Why the setting may not be changed, if it may not.
    fn refusal(&self) -> Option<String> {
        if let Some((_, why)) = REFUSED.iter().find(|(pattern, _)| self.is_like(pattern)) {
            return Some((*why).to_owned());
        }
        let allowed = |entry: &str| match entry.strip_suffix('*') {
            Some(beginning) => self.0.starts_with(beginning),
            None => self.0 == entry,
        };
        let known = ALLOWED.iter().any(|entry| allowed(entry));
        (!known).then(|| "it is not among those that docs/config.md lists".to_owned())
    }
}

/// With dots for slashes, and slashes for dots.
fn swapped(text: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    text.chars().map(swap).collect()
}

impl fmt::Display for SysctlName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SysctlName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // sysctl(8) takes both forms; the first separator says which it is.
        let slashes = text.find(['.', '/']).is_some_and(|at| text[at..].starts_with('/'));
        let name: String = if slashes { swapped(text) } else { text.to_owned() };
        let good = |part: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/:@".contains(&byte);
            !part.is_empty() && part.bytes().all(known) && !part.split('/').any(str::is_empty)
        };
        if !name.contains('.') || name.len() > 200 || !name.split('.').all(good) {
            return Err(format!(
                "`{text}` is not the name of a kernel setting, such as `vm.max_map_count`"
            ));
        }
        Ok(Self(name))
    }
}

/// Reads the section.
pub(super) fn read(section: &mut Section<'_, '_>) -> BTreeMap<SysctlName, String> {
    let mut settings = BTreeMap::new();
    for (name, value) in section.entries("sysctl") {
        let text = match value.get_ref() {
            DeValue::String(text) => Some(text.trim().to_owned()),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string())
            }
            _ => None,
        };
        let plain = |text: &String| {
            let known = |byte: u8| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t';
            (1..=1024).contains(&text.len()) && text.bytes().all(known)
        };
        let text = text.filter(plain);
        if text.is_none() {
            let key = format!("sysctl.{}", crate::quote::key(name.value));
            section.mismatch(&key, value, "a whole number or one line of text");
        }
        let Some(Placed { value: name, span }) =
            section.understood(name.value.parse::<SysctlName>(), name.span)
        else {
            continue;
        };
        if let Some(why) = name.refusal() {
            section.notes.note(span, format!("`{name}` cannot be set: {why}"));
        } else if let Some(text) = text
            && settings.insert(name.clone(), text).is_some()
        {
            section.notes.note(span, format!("`{name}` stands here for the second time"));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_the_name_of_a_link_with_a_dot() {
        for (text, path) in [
            ("vm.max_map_count", "vm/max_map_count"),
            ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
            ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ] {
            assert_eq!(text.parse::<SysctlName>().unwrap().path(), path);
        }
        for bad in [
            "",
            "vm",
            "vm.",
            ".vm",
            "vm..x",
            "vm/../x",
            "../x",
            "net./../x",
            "/proc/sys/vm",
            "vm.x y",
            "vm.\u{e4}",
            "net.ipv4.conf.//.x",
        ] {
            let path = bad.parse::<SysctlName>().map(|name| name.path());
            assert!(path.is_err(), "{bad}: {path:?}");
        }
    }

    #[test]
    fn what_containers_are_tuned_by_may_be_set_and_what_the_node_needs_may_not() {
        let refusal = |name: &str| name.parse::<SysctlName>().unwrap().refusal();
        for good in [
            "vm.max_map_count",
            "net.core.somaxconn",
            "net.ipv4.conf.all.rp_filter",
            "net.ipv6.conf.all.disable_ipv6",
            "net.netfilter.nf_conntrack_max",
            "fs.inotify.max_user_watches",
            "kernel.pid_max",
            "kernel.shmmax",
            "kernel.msgmnb",
            "kernel.watchdog_thresh",
            "user.max_user_namespaces",
        ] {
            assert_eq!(refusal(good), None, "{good}");
        }
        for (bad, want) in [
            ("net.ipv4.ip_forward", "pods"),
            ("net.ipv4.conf.all.forwarding", "pods"),
            ("net.ipv6.conf.eth0/1.accept_ra", "slaac"),
            ("vm.overcommit_memory", "kubelet"),
            ("kernel.core_pattern", "as root"),
            ("kernel.semantics", "docs/config.md"),
            ("dev.cdrom.autoclose", "docs/config.md"),
            ("vm.max_map_counts", "docs/config.md"),
        ] {
            let why = refusal(bad).unwrap();
            assert!(why.contains(want), "{bad}: {why}");
        }
    }
}
