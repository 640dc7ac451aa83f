//! A seccomp filter as the kernel takes it: a program of classic BPF
//! (`Documentation/userspace-api/seccomp_filter.rst`, `include/uapi/linux/filter.h`).
//!
//! It is an allow-list. The numbers of what is allowed are runs, and their ends a ladder of
//! comparisons: below the first end it is not allowed, below the second it is, below the third it is
//! not. So it takes an instruction for each end, and the kernel, which keeps the answer for each
//! number, goes through it once. What is not allowed fails with `EPERM`, as if a right was missing,
//! and a program can say so.

use libc::sock_filter;

use super::calls::Calls;

/// Calls of 64-bit programs, the only ones that an image has.
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// Where `struct seccomp_data` has what is looked at.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The lower half of the first argument: the flags of `clone`.
const FLAGS: u32 = 16;

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

/// The last instructions, by their distance from the end.
const LAST: [u32; 4] = [NOT_PERMITTED, ALLOW, NO_SUCH_CALL, KILL];

/// The program that allows these calls, and `clone` without namespaces.
pub(super) fn program(allowed: Calls) -> Vec<sock_filter> {
    let ends = ends(allowed);
    let length = 4 + ends.len() + 2 + 2 + LAST.len();
    let mut program = Vec::with_capacity(length);
    // A jump counts from the instruction after it.
    let to = |program: &Vec<_>, at: usize| u8::try_from(at - program.len() - 1).unwrap_or(u8::MAX);
    let last = |which: u32| {
        let from_end = LAST.iter().position(|&end| end == which).unwrap_or(0);
        length - LAST.len() + from_end
    };
    let clone = 4 + ends.len() + 2;

    program.push(always(LOAD, ARCHITECTURE));
    let kill = to(&program, last(KILL));
    program.push(jump(IF_EQUAL, AUDIT_ARCH_X86_64, 0, kill));
    program.push(always(LOAD, NUMBER));
    // Its flags are in memory, where a filter cannot look; who calls it then tries `clone`.
    let absent = to(&program, last(NO_SUCH_CALL));
    program.push(jump(IF_EQUAL, number(libc::SYS_clone3), absent, 0));
    let check = to(&program, clone);
    program.push(jump(IF_EQUAL, number(libc::SYS_clone), check, 0));
    for (at, end) in ends.iter().enumerate() {
        let below = last(if at % 2 == 0 { NOT_PERMITTED } else { ALLOW });
        let below = to(&program, below);
        program.push(jump(IF_AT_LEAST, *end, 0, below));
    }
    // Past all of them: also calls of the x32 kind.
    program.push(always(RETURN, NOT_PERMITTED));
    program.push(always(LOAD, FLAGS));
    let (refuse, allow) = (to(&program, last(NOT_PERMITTED)), to(&program, last(ALLOW)));
    program.push(jump(IF_ANY_BIT, NAMESPACES, refuse, allow));
    program.extend(LAST.map(|value| always(RETURN, value)));
    program
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

    use super::super::calls;
    use super::*;
    use crate::pid1::built_in::BuiltIn;
    use crate::unit::SystemCalls;

    const ALL: SystemCalls =
        SystemCalls { clock: true, modules: true, mount: true, network: true, nodes: true };

    /// What the program says of a call, as the kernel runs it (`___bpf_prog_run`): every jump leads
    /// forward, into the program.
    fn run(program: &[sock_filter], architecture: u32, number: u32, flags: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let instruction = program[at];
            at += 1;
            let decide = |is: bool| usize::from(if is { instruction.jt } else { instruction.jf });
            match (instruction.code, instruction.k) {
                (LOAD, NUMBER) => loaded = number,
                (LOAD, ARCHITECTURE) => loaded = architecture,
                (LOAD, FLAGS) => loaded = flags,
                (IF_EQUAL, k) => at += decide(loaded == k),
                (IF_AT_LEAST, k) => at += decide(loaded >= k),
                (IF_ANY_BIT, k) => at += decide(loaded & k != 0),
                (RETURN, k) => return k,
                (code, k) => panic!("no instruction of ours: {code:#x} {k:#x}"),
            }
        }
    }

    fn says(program: &[sock_filter], number: u32) -> u32 {
        run(program, AUDIT_ARCH_X86_64, number, 0)
    }

    #[test]
    fn the_largest_set_fits_the_reach_of_a_jump() {
        let program = program(calls::allowed(ALL));
        assert!(program.len() < 256, "{}", program.len());
        let groups = SystemCalls { network: true, ..SystemCalls::default() };
        let program = super::program(calls::allowed(groups));
        assert_eq!(says(&program, number(libc::SYS_socket)), ALLOW);
        assert_eq!(says(&program, number(libc::SYS_mount)), NOT_PERMITTED);
        assert_eq!(says(&program, number(libc::SYS_bpf)), NOT_PERMITTED);
    }

    #[test]
    fn the_unit_network_may_set_the_clock_and_filter_packets_and_log_may_not() {
        let units = crate::pid1::built_in::units().expect("good").into_iter();
        let programs = units.map(|unit| {
            let groups = unit.sandbox.system_calls.expect("a filter");
            (unit.built_in, program(calls::allowed(groups)))
        });
        for (kind, program) in programs {
            let clock = match kind {
                Some(BuiltIn::Network) => ALLOW,
                _ => NOT_PERMITTED,
            };
            for call in [libc::SYS_adjtimex, libc::SYS_clock_adjtime] {
                assert_eq!(says(&program, number(call)), clock, "{kind:?}");
            }
            // `SO_ATTACH_FILTER`; `log` has sockets as well.
            assert_eq!(says(&program, number(libc::SYS_setsockopt)), ALLOW, "{kind:?}");
            for call in [libc::SYS_mount, libc::SYS_sethostname, libc::SYS_ptrace] {
                assert_eq!(says(&program, number(call)), NOT_PERMITTED, "{kind:?}");
            }
        }
    }

    #[test]
    fn no_thread_or_process_gets_namespaces_of_its_own() {
        let program = program(calls::allowed(ALL));
        let clone = |flags| run(&program, AUDIT_ARCH_X86_64, number(libc::SYS_clone), flags);
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
        let program = program(calls::allowed(ALL));
        let read = number(libc::SYS_read);
        assert_eq!(says(&program, read), ALLOW);
        assert_eq!(says(&program, read | 0x4000_0000), NOT_PERMITTED, "x32");
        let i386 = 0x4000_0003;
        assert_eq!(run(&program, i386, read, 0), KILL);
    }

    proptest! {
        #[test]
        fn what_is_in_the_set_is_allowed_and_nothing_else(
            set in prop::collection::btree_set(0_u32..200, 0..60),
            number in 0_u32..220,
        ) {
            let program = program(Calls::from_numbers(set.iter().copied()));
            let clones = [56, 435];
            prop_assume!(!clones.contains(&number));
            let want = if set.contains(&number) { ALLOW } else { NOT_PERMITTED };
            prop_assert_eq!(says(&program, number), want);
        }
    }
}
