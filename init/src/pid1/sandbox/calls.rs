//! Which system calls a unit with the key `system-calls` may make: what every program of ours needs
//! to run, and what the groups that the key names add.
//!
//! Some may be made with some arguments only: that is in [`super::filter`].
//!
//! What is not here nobody may make: other processes' memory (`ptrace`, `process_vm_*`), namespaces
//! (`unshare`, `setns`), the kernel itself (`bpf`, `kexec_*`, modules, `perf_event_open`,
//! `io_uring_*`, `userfaultfd`, `keyctl`), the machine and its name (`reboot`, `swapon`, `iopl`), another user.

use libc::c_long;

use crate::unit::SystemCalls;

/// Calls by their numbers: bit `N % 64` of word `N / 64`. Made when we are compiled, so that a set
/// takes 64 bytes of PID 1, whatever is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Calls([u64; 8]);

impl Calls {
    /// Beyond the number of every call that can be in a set.
    pub(super) const END: u32 = 512;

    /// Fails to compile if a number is too large.
    #[expect(clippy::cast_possible_truncation, reason = "numbers of calls are small")]
    const fn of(calls: &[c_long]) -> Self {
        let (mut words, mut at) = ([0; 8], 0);
        while at < calls.len() {
            words[calls[at] as usize / 64] |= 1 << (calls[at] % 64);
            at += 1;
        }
        Self(words)
    }

    pub(super) fn has(self, number: u32) -> bool {
        let word = usize::try_from(number / 64).ok().and_then(|at| self.0.get(at));
        word.is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    const fn and(self, other: Self) -> Self {
        let Self(mut words) = self;
        let mut at = 0;
        while at < words.len() {
            words[at] |= other.0[at];
            at += 1;
        }
        Self(words)
    }
}

/// To run at all: memory, threads, time, files, events, other programs. Files are no group: what may
/// be changed is said by `writable`.
const BASE: Calls = Calls::of(&[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads, processes, programs. `clone` and `prlimit64` have rules of their own in the filter.
    libc::SYS_arch_prctl,
    libc::SYS_capget,
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpgrp,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_vfork,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Time, but not to set it.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_time,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    // Files and directories.
    libc::SYS_access,
    libc::SYS_chdir,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_ioctl,
    libc::SYS_lchown,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_rmdir,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_stat,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_truncate,
    libc::SYS_umask,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd2,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_pipe,
    libc::SYS_pipe2,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_select,
]);

const CLOCK: Calls = Calls::of(&[
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_settimeofday,
]);

const MODULES: Calls = Calls::of(&[libc::SYS_finit_module, libc::SYS_init_module]);

const MOUNT: Calls = Calls::of(&[
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_umount2,
]);

const NODES: Calls = Calls::of(&[libc::SYS_mknod, libc::SYS_mknodat]);

/// To other processes. What a process needs to end itself, every one has: see the filter.
const SIGNALS: Calls = Calls::of(&[
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_tgkill,
    libc::SYS_tkill,
]);

/// Of every family; which of them can be made, the filter decides.
const SOCKETS: Calls = Calls::of(&[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socket,
]);

/// A pair of sockets of datagrams can be turned to any other Unix socket.
const UNIX: Calls = Calls::of(&[libc::SYS_socketpair]);

/// What a filter cannot look into, for it is in memory: also descriptors, for who is at the other
/// end of a Unix socket.
const MESSAGES: Calls = Calls::of(&[libc::SYS_sendmmsg, libc::SYS_sendmsg]);

/// All that may be called.
pub(super) fn allowed(groups: SystemCalls) -> Calls {
    let mut allowed = BASE;
    for (wanted, calls) in [
        (groups.clock, CLOCK),
        (groups.messages, MESSAGES),
        (groups.modules, MODULES),
        (groups.mount, MOUNT),
        (groups.nodes, NODES),
        (groups.signals, SIGNALS),
        (groups.has_sockets(), SOCKETS),
        (groups.unix, UNIX),
    ] {
        if wanted {
            allowed = allowed.and(calls);
        }
    }
    allowed
}

#[cfg(test)]
impl Calls {
    pub(super) fn from_numbers(numbers: impl IntoIterator<Item = u32>) -> Self {
        let numbers: Vec<_> = numbers.into_iter().map(c_long::from).collect();
        Self::of(&numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_stands_in_one_group_only() {
        let groups = [BASE, CLOCK, MESSAGES, MODULES, MOUNT, NODES, SIGNALS, SOCKETS, UNIX];
        for number in 0..Calls::END {
            let count = groups.iter().filter(|calls| calls.has(number)).count();
            assert!(count <= 1, "{number}");
        }
        assert!(!BASE.has(Calls::END) && !BASE.has(u32::MAX));
    }
}
