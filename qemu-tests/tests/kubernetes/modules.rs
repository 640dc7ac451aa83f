//! What a network's or a storage driver's pod asks of the kernel, by the calls that it makes: all of
//! it is in modules that nobody loads before. On the shared node.

use anyhow::{Result, ensure};
use qemu_tests::Orlop;
use serde_json::json;

use crate::world::{NETWORK, pod, removed, runs, world};

/// Busybox would take its own.
const PROGRAMS: &str = "
ip() { /usr/sbin/ip \"$@\"; }
tc() { /usr/sbin/tc \"$@\"; }
modprobe() { /usr/sbin/modprobe \"$@\"; }
on() { ip -n links \"$@\"; }
host() { nsenter -t 1 -m -- /usr/sbin/modprobe \"$@\"; }
";

/// Links of every kind, in a network namespace of their own.
const LINKS: &str = "
ip netns add links
on link set lo up
on link add d0 type dummy
! on link show dummy0
on link add dummy0 type dummy
on link add bond0 type bond
on link add ifb0 type ifb
on address add 192.0.2.1/24 dev d0
on link set d0 up
on link add v5 link d0 type vlan id 5
on link add m0 link d0 type macvlan mode bridge
on link add mt0 link d0 type macvtap
on link add p0 link v5 type ipvlan mode l3
on link add t0 type ipip local 192.0.2.1 remote 192.0.2.2
on link add g0 type gre local 192.0.2.1 remote 192.0.2.2
on link add gt0 type gretap local 192.0.2.1 remote 192.0.2.2
on link add s0 type sit local 192.0.2.1 remote 192.0.2.2
on link add t6 type ip6tnl local 2001:db8::1 remote 2001:db8::2
on link add g6 type ip6gre local 2001:db8::1 remote 2001:db8::2
on link add x0 type vxlan id 7 dstport 4789 local 192.0.2.1
on link add n0 type geneve id 7 remote 192.0.2.2
on link add w0 type wireguard
on link add r0 type vrf table 7
on link add xf0 type xfrm dev lo if_id 7
modprobe fou && on fou add port 5555 ipproto 4
on xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 7 aead rfc4106\\(gcm\\(aes\\)\\) 0x0102030405060708090a0b0c0d0e0f1011121314 128
";

/// Queues, classes, filters and actions, as Cilium, Kata and tests that disturb networks set them.
const QUEUES: &str = "
tc -n links qdisc add dev d0 root handle 1: htb default 1
tc -n links class add dev d0 parent 1: classid 1:1 htb rate 1mbit
tc -n links qdisc add dev d0 parent 1:1 netem delay 1ms
tc -n links qdisc add dev m0 root fq
tc -n links qdisc add dev v5 root tbf rate 1mbit burst 10k latency 1ms
tc -n links qdisc add dev x0 clsact
tc -n links qdisc add dev n0 ingress
tc -n links filter add dev x0 ingress matchall action mirred egress redirect dev d0
tc -n links filter add dev x0 ingress protocol ip u32 match u32 0 0 action gact ok
tc -n links filter add dev x0 ingress protocol ip flower ip_proto tcp action tunnel_key unset
tc -n links filter add dev n0 parent ffff: protocol ip basic action skbedit priority 1
tc -n links filter add dev x0 egress matchall action police rate 1mbit burst 10k drop
";

/// Rules as portmap, kube-proxy, Calico and Cilium make them.
const RULES: &str = "
table inet t {
    flowtable f { hook ingress priority 0; devices = { d0 }; }
    chain a {
        type filter hook prerouting priority mangle
        fib saddr . iif oif missing drop
        meta l4proto tcp socket transparent 1 accept
        meta l4proto tcp tproxy to :1 meta mark set 1
        ct state new ct count over 9 reject
        log prefix \"x\"
        queue num 1 bypass
        limit rate 9/second quota over 9 mbytes counter
    }
    chain b { type filter hook forward priority 0; ip protocol tcp flow add @f; }
    chain n {
        type nat hook postrouting priority srcnat
        masquerade random
        ip daddr 192.0.2.9 snat to numgen inc mod 2 map { 0 : 192.0.2.3, 1 : 192.0.2.4 }
    }
}
table ip d {
    chain a { type filter hook prerouting priority 0; dup to 192.0.2.7 device d0; }
}
table netdev n {
    chain a { type filter hook ingress device d0 priority 0; fwd to m0; }
}
table bridge b {
    chain a { type filter hook input priority 0; meta ibrname x reject; }
}
";

/// What the kernel would ask for by these names, by a `modprobe` of the pod's own; and what is part
/// of the kernel is there.
const NAMES: &str = "
modprobe -a nfnetlink-subsys-6 ip_set_hash:ip ip_set_hash:net ip_set_hash:ip,port
modprobe -a ip_set_bitmap:port ip_set_list:set xt_set ipt_set
modprobe -a ip_vs ip_vs_rr ip_vs_wlc ip_vs_sh xt_ipvs
modprobe -a ipt_rpfilter ip6t_rpfilter xt_CT xt_TPROXY xt_socket xt_u32 xt_LOG xt_NFLOG
modprobe -a ip_tables iptable_nat ip6table_mangle net-pf-2-proto-132 openvswitch algif_hash
modprobe -a fs-xfs fs-btrfs fs-nfs fs-nfs4 fs-nfsd fs-cifs fs-ceph fs-squashfs fs-binfmt_misc
modprobe -a loop nbd iscsi_tcp nvme_tcp rbd dm_crypt dm_thin_pool dm_snapshot dm_multipath
modprobe -a char-major-10-200 vhost_net vhost_vsock kvm vfio_pci configfs
modprobe -a ext4 fuse nvme
! modprobe no_such_module
test 7 = $(grep -cw -e xfs -e btrfs -e nfs4 -e cifs -e ceph -e squashfs -e fuse /proc/filesystems)
ip tuntap add dev tun0 mode tun && ip link delete tun0
";

/// By the node's own `modprobe`, for pods that enter the host's mounts.
const HOST: &str = "
host ip_vs_wrr && grep -w ip_vs_wrr /proc/modules
host -v ext4 && host -a sctp sch_cake
! host no_such_module
";

/// A script that does all lines and tells which failed.
fn each_line(script: &str) -> String {
    let line = |line: &str| format!("{line} || {{ failed=1; echo \"failed: {line}\" >&2; }}\n");
    let lines: String = script.lines().filter(|text| !text.is_empty()).map(line).collect();
    lines + "test -z \"$failed\"\n"
}

pub(crate) fn what_is_asked_for_is_loaded(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let container = json!({
        "image": NETWORK,
        "command": ["/bin/sh", "-c", "mkdir -p /run/netns && tail -f /dev/null"],
        "securityContext": { "privileged": true },
        "volumeMounts": [
            { "name": "modules", "mountPath": "/lib/modules", "readOnly": true },
            { "name": "devices", "mountPath": "/dev" },
        ],
    });
    let spec = json!({
        "hostNetwork": true,
        "hostPID": true,
        "volumes": [
            { "name": "modules", "hostPath": { "path": "/lib/modules" } },
            { "name": "devices", "hostPath": { "path": "/dev" } },
        ],
    });
    let driver = runs(cluster, &pod("driver", node, container, spec))?;
    let modules = || -> Result<usize> {
        Ok(cluster.exec(&driver, &["cat", "/proc/modules"])?.lines().count())
    };
    let before = modules()?;
    let rules = format!("ip netns exec links nft -f - <<RULES\n{RULES}RULES\n");
    let scripts = [LINKS, QUEUES, NAMES, HOST].map(each_line);
    let wrong: Vec<_> = [&scripts[0], &scripts[1], &rules, &scripts[2], &scripts[3]]
        .into_iter()
        .filter_map(|script| {
            cluster.exec(&driver, &["sh", "-c", &format!("{PROGRAMS}{script}")]).err()
        })
        .map(|error| error.to_string())
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let after = modules()?;
    ensure!(after > before + 150, "{before} modules before, {after} after");
    orlop.measured(format!("modules on a node with all kinds of links and rules: {after}"));
    removed(cluster, &driver)
}
