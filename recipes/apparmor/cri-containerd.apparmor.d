# What containers are kept from whose pods ask for AppArmor's `RuntimeDefault`, or for nothing: the
# language is that of apparmor.d(5).
#
# Name and rules are those of the profile that containerd would make of its own template
# (contrib/apparmor/template.go) and hand to a compiler on the node. There it finds this one loaded
# and needs none. A test compiles both and compares.

# What is not known to this version of AppArmor's rules is not restricted: user namespaces, io_uring.
abi <abi/3.0>,

profile cri-containerd.apparmor.d flags=(attach_disconnected, mediate_deleted) {
    # Beside what follows a container may do what its capabilities, seccomp and its mounts let it.
    capability,
    file,
    network,
    umount,

    # Mounts would undo what is denied below by path.
    deny mount,

    # Signals come from the node and from the program that starts containers; containers see and end
    # each other's processes as far as they share them.
    signal (receive) peer=unconfined,
    signal (receive) peer=crun,
    signal (receive) peer=runc,
    signal (send, receive) peer=cri-containerd.apparmor.d,
    ptrace (read, readby, trace, tracedby) peer=cri-containerd.apparmor.d,

    # The kernel's own files in /proc: writable are those of processes, and below sys the settings
    # that begin with kernel/shm.
    deny /proc/* w,
    deny /proc/{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}/** w,
    deny /proc/sys/[^k]** w,
    deny /proc/sys/kernel/{?,??,[^s][^h][^m]**} w,
    deny /proc/kcore rwklx,
    deny /proc/sysrq-trigger rwklx,

    # Of /sys only the control groups can be written, and some of it is not even read.
    deny /sys/[^f]*/** wklx,
    deny /sys/f[^s]*/** wklx,
    deny /sys/fs/[^c]*/** wklx,
    deny /sys/fs/c[^g]*/** wklx,
    deny /sys/fs/cg[^r]*/** wklx,
    deny /sys/devices/virtual/powercap/** rwklx,
    deny /sys/firmware/** rwklx,
    deny /sys/kernel/security/** rwklx,
}
