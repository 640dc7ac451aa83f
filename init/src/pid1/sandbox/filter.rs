//! A seccomp filter as the kernel takes it: a program of classic BPF
//! (`Documentation/userspace-api/seccomp_filter.rst`, `include/uapi/linux/filter.h`).
//!
//! It is an allow-list. First come the calls that depend on an argument, each with its whole answer.
//! The numbers of what is allowed are runs, and their ends a ladder of comparisons: below the first
//! end it is not allowed, below the second it is, below the third it is not. So it takes an
//! instruction for each end, and the kernel, which keeps the answer for each number that has one,
//! goes through it once. What is not allowed fails with `EPERM`, as if a right was missing, and a
//! program can say so.

use libc::sock_filter;

use super::calls::{self, Calls};
use crate::unit::SystemCalls;

/// Calls of 64-bit programs, the only ones that an image has.
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// Where `struct seccomp_data` has what is looked at.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The lower halves of the first two arguments, all that the kernel takes of an `int`.
const FIRST: u32 = 16;
const SECOND: u32 = 24;

/// Load a word; go on at one of two places; end.
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const FAIL: u32 = 0x0005_0000;

/// `CLONE_NEW*` of `include/uapi/linux/sched.h`: a user namespace would give every capability.
const NAMESPACES: u32 = 0x7e02_0080;

const NOT_PERMITTED: u32 = FAIL | libc::EPERM as u32;
const NO_SUCH_CALL: u32 = FAIL | libc::ENOSYS as u32;

/// Stands for the process that will be under the filter, which is not there yet when that is made:
/// [`for_process`]. No process has this number.
const OWN: u32 = u32::MAX;

/// `F_SETOWN`, `F_SETSIG`, `F_SETOWN_EX` of fcntl(2), and the same by ioctl(2) (`FIOSETOWN`,
/// `SIOCSPGRP` of `include/uapi/asm-generic/sockios.h`): a file that is ready sends its owner, who
/// may be anybody, a signal of one's choice.
const OWNERS_BY_FCNTL: [u32; 3] = [8, 10, 15];
const OWNERS_BY_IOCTL: [u32; 2] = [0x8901, 0x8902];

/// The last instructions, by their distance from the end.
const LAST: [u32; 2] = [NOT_PERMITTED, ALLOW];

/// A call whose answer depends on an argument.
struct Rule {
    call: libc::c_long,
    /// Which argument, by its place in `struct seccomp_data`.
    argument: u32,
    test: u16,
    /// Any of these answers the test.
    values: Vec<u32>,
    /// What is said then, and otherwise.
    answers: [u32; 2],
}

/// The program that allows the calls of these groups, and of them with an argument:
///
/// - `clone` without namespaces. The flags of `clone3` are in memory, where a filter cannot look; who
///   calls it then tries `clone`.
/// - `prlimit64` of oneself: of another it needs no capability among processes of one user.
/// - Signals without `signals`: to oneself by `tgkill`, as abort(3) does.
/// - Sockets of the families that are groups.
pub(super) fn program(groups: SystemCalls) -> Vec<sock_filter> {
    assembled(calls::allowed(groups), &rules(groups))
}

/// Puts the number of the process in its place. For a child between fork and exec.
pub(super) fn for_process(program: &mut [sock_filter], process: u32) {
    let places = program.iter_mut().filter(|place| place.code == IF_EQUAL && place.k == OWN);
    places.for_each(|place| place.k = process);
}

fn rules(groups: SystemCalls) -> Vec<Rule> {
    let rule = |call, argument, test, values: &[u32], answers| Rule {
        call,
        argument,
        test,
        values: values.to_vec(),
        answers,
    };
    let (only, never) = ([ALLOW, NOT_PERMITTED], [NOT_PERMITTED, ALLOW]);
    let mut rules = vec![
        rule(libc::SYS_clone, FIRST, IF_ANY_BIT, &[NAMESPACES], never),
        rule(libc::SYS_clone3, FIRST, IF_EQUAL, &[], [NO_SUCH_CALL; 2]),
        rule(libc::SYS_prlimit64, FIRST, IF_EQUAL, &[0], only),
    ];
    if !groups.signals {
        rules.push(rule(libc::SYS_tgkill, FIRST, IF_EQUAL, &[OWN], only));
        rules.push(rule(libc::SYS_fcntl, SECOND, IF_EQUAL, &OWNERS_BY_FCNTL, never));
        rules.push(rule(libc::SYS_ioctl, SECOND, IF_EQUAL, &OWNERS_BY_IOCTL, never));
    }
    if groups.has_sockets() {
        let families = families(groups);
        for call in [libc::SYS_socket, libc::SYS_socketpair] {
            if call == libc::SYS_socket || groups.unix {
                rules.push(rule(call, FIRST, IF_EQUAL, &families, only));
            }
        }
    }
    rules
}

fn families(groups: SystemCalls) -> Vec<u32> {
    let SystemCalls { inet, netlink, packet, unix, .. } = groups;
    let families = [
        (inet, libc::AF_INET),
        (inet, libc::AF_INET6),
        (netlink, libc::AF_NETLINK),
        (packet, libc::AF_PACKET),
        (unix, libc::AF_UNIX),
    ];
    let wanted = families.into_iter().filter(|(wanted, _)| *wanted);
    wanted.filter_map(|(_, family)| u32::try_from(family).ok()).collect()
}

fn assembled(allowed: Calls, rules: &[Rule]) -> Vec<sock_filter> {
    let mut program = vec![
        always(LOAD, ARCHITECTURE),
        jump(IF_EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        always(RETURN, KILL),
        always(LOAD, NUMBER),
    ];
    rules.iter().for_each(|rule| rule.write(&mut program));
    let ends = ends(allowed);
    // A jump counts from the instruction after it. Past all ends: also calls of the x32 kind.
    let length = program.len() + ends.len() + LAST.len();
    for (at, end) in ends.iter().enumerate() {
        let answer = if at % 2 == 0 { NOT_PERMITTED } else { ALLOW };
        let from_end = LAST.iter().rev().position(|&last| last == answer).unwrap_or(0) + 1;
        let below = length - from_end - program.len() - 1;
        program.push(jump(IF_AT_LEAST, *end, 0, u8::try_from(below).unwrap_or(u8::MAX)));
    }
    program.extend(LAST.map(|value| always(RETURN, value)));
    program
}

impl Rule {
    /// For another call it is passed over, with the number still loaded.
    fn write(&self, program: &mut Vec<sock_filter>) {
        let [then, otherwise] = self.answers;
        let few = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        program.push(jump(IF_EQUAL, number(self.call), 0, few(self.values.len() + 3)));
        program.push(always(LOAD, self.argument));
        for (at, value) in self.values.iter().enumerate() {
            program.push(jump(self.test, *value, few(self.values.len() - at), 0));
        }
        program.push(always(RETURN, otherwise));
        program.push(always(RETURN, then));
    }
}

/// Where runs of numbers begin and where they are over, in turns.
fn ends(allowed: Calls) -> Vec<u32> {
    let mut ends = Vec::new();
    let mut inside = false;
    for number in 0..=Calls::END {
        if allowed.has(number) != inside {
            inside = !inside;
            ends.push(number);
        }
    }
    ends
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

const fn always(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pid1::built_in::BuiltIn;

    const ALL: SystemCalls = SystemCalls {
        clock: true,
        inet: true,
        messages: true,
        modules: true,
        mount: true,
        netlink: true,
        nodes: true,
        packet: true,
        signals: true,
        unix: true,
    };
    const NONE: SystemCalls = SystemCalls {
        clock: false,
        inet: false,
        messages: false,
        modules: false,
        mount: false,
        netlink: false,
        nodes: false,
        packet: false,
        signals: false,
        unix: false,
    };

    /// What the program says of a call with these first two arguments, as the kernel runs it
    /// (`___bpf_prog_run`): every jump leads forward, into the program.
    fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u32; 2]) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let instruction = program[at];
            at += 1;
            let decide = |is: bool| usize::from(if is { instruction.jt } else { instruction.jf });
            match (instruction.code, instruction.k) {
                (LOAD, NUMBER) => loaded = number,
                (LOAD, ARCHITECTURE) => loaded = architecture,
                (LOAD, FIRST) => loaded = arguments[0],
                (LOAD, SECOND) => loaded = arguments[1],
                (IF_EQUAL, k) => at += decide(loaded == k),
                (IF_AT_LEAST, k) => at += decide(loaded >= k),
                (IF_ANY_BIT, k) => at += decide(loaded & k != 0),
                (RETURN, k) => return k,
                (code, k) => panic!("no instruction of ours: {code:#x} {k:#x}"),
            }
        }
    }

    fn says(program: &[sock_filter], number: u32) -> u32 {
        run(program, AUDIT_ARCH_X86_64, number, [0; 2])
    }

    /// With the first argument, and with the second.
    fn first(program: &[sock_filter], call: libc::c_long, argument: u32) -> u32 {
        run(program, AUDIT_ARCH_X86_64, number(call), [argument, 0])
    }

    fn second(program: &[sock_filter], call: libc::c_long, argument: u32) -> u32 {
        run(program, AUDIT_ARCH_X86_64, number(call), [0, argument])
    }

    #[test]
    fn every_set_fits_the_reach_of_a_jump() {
        for groups in [ALL, NONE, SystemCalls { signals: false, ..ALL }] {
            let program = program(groups);
            let longest = program.iter().map(|place| place.jt.max(place.jf)).max();
            assert!(longest < Some(u8::MAX), "{longest:?}");
        }
        let program = super::program(SystemCalls { inet: true, ..NONE });
        assert_eq!(says(&program, number(libc::SYS_bind)), ALLOW);
        assert_eq!(says(&program, number(libc::SYS_mount)), NOT_PERMITTED);
        assert_eq!(says(&program, number(libc::SYS_bpf)), NOT_PERMITTED);
        assert_eq!(says(&super::program(NONE), number(libc::SYS_bind)), NOT_PERMITTED);
    }

    #[test]
    fn the_unit_network_may_set_the_clock_and_filter_packets_and_log_may_not() {
        let units = crate::pid1::built_in::units().expect("good").into_iter();
        let programs = units.map(|unit| {
            let groups = unit.sandbox.system_calls.expect("a filter");
            (unit.built_in, program(groups))
        });
        for (kind, program) in programs {
            let is_network = kind == Some(BuiltIn::Network);
            let clock = if is_network { ALLOW } else { NOT_PERMITTED };
            for call in [libc::SYS_adjtimex, libc::SYS_clock_adjtime] {
                assert_eq!(says(&program, number(call)), clock, "{kind:?}");
            }
            // `SO_ATTACH_FILTER`; `log` has sockets as well.
            assert_eq!(says(&program, number(libc::SYS_setsockopt)), ALLOW, "{kind:?}");
            for call in [
                libc::SYS_mount,
                libc::SYS_sethostname,
                libc::SYS_ptrace,
                libc::SYS_kill,
                libc::SYS_pidfd_send_signal,
                // PID 1 would have to close what comes with a message.
                libc::SYS_sendmsg,
                libc::SYS_sendmmsg,
            ] {
                assert_eq!(says(&program, number(call)), NOT_PERMITTED, "{kind:?} {call}");
            }
            let made = |family: libc::c_int| first(&program, libc::SYS_socket, family as u32);
            assert_eq!(made(libc::AF_INET6), ALLOW);
            assert_eq!(made(libc::AF_PACKET) == ALLOW, is_network);
            assert_eq!(made(libc::AF_UNIX) == ALLOW, !is_network);
        }
    }

    #[test]
    fn a_socket_is_of_a_family_that_is_a_group() {
        for (groups, families) in [
            (SystemCalls { inet: true, ..NONE }, &[libc::AF_INET, libc::AF_INET6][..]),
            (SystemCalls { netlink: true, ..NONE }, &[libc::AF_NETLINK]),
            (SystemCalls { packet: true, ..NONE }, &[libc::AF_PACKET]),
            (SystemCalls { unix: true, ..NONE }, &[libc::AF_UNIX]),
            (NONE, &[]),
        ] {
            let program = program(groups);
            for family in 0..50 {
                let want = if families.contains(&family) { ALLOW } else { NOT_PERMITTED };
                let made = first(&program, libc::SYS_socket, family as u32);
                assert_eq!(made, want, "{groups:?} {family}");
            }
            let pair = first(&program, libc::SYS_socketpair, libc::AF_UNIX as u32);
            assert_eq!(pair == ALLOW, groups.unix, "{groups:?}");
        }
    }

    #[test]
    fn other_processes_are_out_of_reach_without_signals() {
        let mut program = super::program(SystemCalls { signals: false, ..ALL });
        for_process(&mut program, 77);
        let of = |process| first(&program, libc::SYS_tgkill, process);
        assert_eq!(
            [of(77), of(1), of(0), of(OWN)],
            [ALLOW, NOT_PERMITTED, NOT_PERMITTED, NOT_PERMITTED]
        );
        for call in [libc::SYS_kill, libc::SYS_tkill, libc::SYS_pidfd_open] {
            assert_eq!(first(&program, call, 77), NOT_PERMITTED, "{call}");
        }
        for command in [libc::F_SETOWN, 10, 15] {
            assert_eq!(second(&program, libc::SYS_fcntl, command as u32), NOT_PERMITTED);
        }
        for command in [libc::F_DUPFD_CLOEXEC, libc::F_SETFL, libc::F_GETFD] {
            assert_eq!(second(&program, libc::SYS_fcntl, command as u32), ALLOW);
        }
        assert_eq!(second(&program, libc::SYS_ioctl, 0x8901), NOT_PERMITTED);
        assert_eq!(second(&program, libc::SYS_ioctl, 0x8902), NOT_PERMITTED);
        assert_eq!(second(&program, libc::SYS_ioctl, 0x541b), ALLOW, "FIONREAD");

        let program = super::program(ALL);
        assert_eq!(first(&program, libc::SYS_kill, 1), ALLOW);
        assert_eq!(second(&program, libc::SYS_fcntl, libc::F_SETOWN as u32), ALLOW);
        // With them too.
        assert_eq!(first(&program, libc::SYS_prlimit64, 0), ALLOW);
        assert_eq!(first(&program, libc::SYS_prlimit64, 1), NOT_PERMITTED);
    }

    #[test]
    fn no_thread_or_process_gets_namespaces_of_its_own() {
        let program = program(ALL);
        let clone = |flags| first(&program, libc::SYS_clone, flags);
        // `pthread_create` and `fork` of glibc, and `CLONE_NEWUSER`.
        assert_eq!([clone(0x003d_0f00), clone(0x0120_0011)], [ALLOW; 2]);
        assert_eq!(clone(0x1000_0011), NOT_PERMITTED);
        for flag in [
            libc::CLONE_NEWCGROUP,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWNS,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWTIME,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWUTS,
        ] {
            assert_eq!(clone(flag as u32), NOT_PERMITTED, "{flag:#x}");
        }
        assert_eq!(says(&program, number(libc::SYS_clone3)), NO_SUCH_CALL);
    }

    #[test]
    fn calls_of_another_kind_are_not_taken_for_ours() {
        let program = program(ALL);
        let read = number(libc::SYS_read);
        assert_eq!(says(&program, read), ALLOW);
        assert_eq!(says(&program, read | 0x4000_0000), NOT_PERMITTED, "x32");
        let i386 = 0x4000_0003;
        assert_eq!(run(&program, i386, read, [0; 2]), KILL);
    }

    proptest! {
        #[test]
        fn what_is_in_the_set_is_allowed_and_nothing_else(
            set in prop::collection::btree_set(0_u32..200, 0..60),
            number in 0_u32..220,
        ) {
            let program = assembled(Calls::from_numbers(set.iter().copied()), &[]);
            let want = if set.contains(&number) { ALLOW } else { NOT_PERMITTED };
            prop_assert_eq!(says(&program, number), want);
        }
    }
}
