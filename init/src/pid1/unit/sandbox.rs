//! What the processes of a unit may do: the keys of its table `sandbox`, as values. How they are
//! carried out is in [`crate::sandbox`].

use super::AbsolutePath;

/// What the processes of a unit may do. By default everything: containerd starts what pods are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// No program that it starts gets rights which it does not have itself (`PR_SET_NO_NEW_PRIVS`,
    /// `Documentation/userspace-api/no_new_privs.rst` of the kernel).
    pub no_new_privileges: bool,
    /// What it keeps of root's capabilities; without the key, all.
    pub capabilities: Option<Capabilities>,
    /// A `/tmp` of its own, empty and gone with it.
    pub private_tmp: bool,
    /// What it has of the host's files: nothing else is there for it, no device, no process, no
    /// socket. Without the key, all. A path that is not there when it starts is passed over.
    pub visible: Option<Vec<AbsolutePath>>,
    /// Where files may change; everything else is read-only for it. Without the key it may change
    /// what its user may. A path that is not there when it starts is passed over.
    pub writable: Option<Vec<AbsolutePath>>,
    /// What it may ask of the kernel; without the key, everything.
    pub system_calls: Option<SystemCalls>,
}

impl Sandbox {
    /// Whether it needs mounts of its own, which the host does not see.
    pub fn has_mounts(&self) -> bool {
        self.private_tmp || self.visible.is_some() || self.writable.is_some()
    }
}

/// All capabilities, by their numbers (`include/uapi/linux/capability.h`): without `CAP_`, in small
/// letters, `-` for `_`. One text, for a table of 41 would be larger than all that uses it.
const NAMES: &str = "chown dac-override dac-read-search fowner fsetid kill setgid setuid setpcap \
    linux-immutable net-bind-service net-broadcast net-admin net-raw ipc-lock ipc-owner sys-module \
    sys-rawio sys-chroot sys-ptrace sys-pacct sys-admin sys-boot sys-nice sys-resource sys-time \
    sys-tty-config mknod lease audit-write audit-control setfcap mac-override mac-admin syslog \
    wake-alarm block-suspend audit-read perfmon bpf checkpoint-restore";

/// A set of capabilities: bit `N` is capability `N`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// The set of the one with this name.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        match NAMES.split(' ').position(|known| known == name) {
            Some(number) => Ok(Self(1 << number)),
            None => Err(format!("`{name}` is not a capability: write \"net-admin\"")),
        }
    }
}

/// What may be asked of the kernel beside what every program asks for, by groups; the calls of each
/// are in `init/src/pid1/sandbox/calls.rs`. A group of sockets is a family of which they may be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemCalls {
    /// `clock`: set it.
    pub clock: bool,
    /// `inet`: sockets of IPv4 and IPv6.
    pub inet: bool,
    /// `messages`: send by `sendmsg`, which can also hand over a descriptor.
    pub messages: bool,
    /// `modules`: load modules of the kernel.
    pub modules: bool,
    /// `mount`: mount and unmount.
    pub mount: bool,
    /// `netlink`: sockets of the kernel.
    pub netlink: bool,
    /// `nodes`: make device nodes.
    pub nodes: bool,
    /// `packet`: sockets of whole frames.
    pub packet: bool,
    /// `signals`: send them to other processes.
    pub signals: bool,
    /// `unix`: sockets of this machine.
    pub unix: bool,
}

impl SystemCalls {
    /// Adds the group with this name.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn add(&mut self, name: &str) -> Result<(), String> {
        let mut groups = self.groups();
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, group)) => **group = true,
            None => {
                let known: Vec<_> = groups.iter().map(|(known, _)| format!("{known:?}")).collect();
                return Err(format!("`{name}` is not one of {}", known.join(", ")));
            }
        }
        Ok(())
    }

    fn groups(&mut self) -> [(&'static str, &mut bool); 10] {
        [
            ("clock", &mut self.clock),
            ("inet", &mut self.inet),
            ("messages", &mut self.messages),
            ("modules", &mut self.modules),
            ("mount", &mut self.mount),
            ("netlink", &mut self.netlink),
            ("nodes", &mut self.nodes),
            ("packet", &mut self.packet),
            ("signals", &mut self.signals),
            ("unix", &mut self.unix),
        ]
    }

    /// Whether sockets of any family may be made.
    pub fn has_sockets(self) -> bool {
        self.inet || self.netlink || self.packet || self.unix
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::CapabilitySet;

    use super::*;

    #[test]
    fn a_capability_has_the_kernels_number() {
        // rustix has them from the kernel's header.
        let known = CapabilitySet::all().iter_names();
        let ours = known.map(|(name, set)| (name.to_lowercase().replace('_', "-"), set.bits()));
        let ours: Vec<_> = ours.collect();
        assert_eq!(ours.len(), NAMES.split(' ').count());
        for (name, bits) in ours {
            assert_eq!(Capabilities::named(&name), Ok(Capabilities(bits)), "{name}");
        }
        assert!(Capabilities::named("").is_err() && Capabilities::named("cap-kill").is_err());
    }
}
