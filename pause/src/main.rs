//! The process of a pod's sandbox container: it does nothing, so that the pod's namespaces stay
//! open while its containers come and go.
//!
//! Where a pod shares one PID namespace it is that namespace's PID 1, so it reaps what is left to
//! it, and it must ask for the signals which end it: the kernel drops those that a PID 1 has
//! neither blocked nor a handler for (`sig_ignored` in Linux's `kernel/signal.c`).
//!
//! There is no C library below it. The system calls are those of x86-64,
//! `arch/x86/entry/syscalls/syscall_64.tbl`.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;
use core::ptr::null;

const SYS_RT_SIGPROCMASK: usize = 14;
const SYS_WAIT4: usize = 61;
const SYS_RT_SIGTIMEDWAIT: usize = 128;
const SYS_EXIT_GROUP: usize = 231;

const SIG_BLOCK: usize = 0;
const SIGINT: isize = 2;
const SIGTERM: isize = 15;
const SIGCHLD: isize = 17;

const WNOHANG: usize = 1;
/// `wait4` with this waits for any child.
const ANY_CHILD: usize = usize::MAX;

const EINTR: isize = 4;

/// The kernel's `sigset_t`: signal N is bit N - 1.
type SignalSet = u64;

const WAITED_FOR: SignalSet = 1 << (SIGINT - 1) | 1 << (SIGTERM - 1) | 1 << (SIGCHLD - 1);

// The kernel enters with the stack pointer at a multiple of 16; a function expects to be called.
// The frame pointer of the outermost frame is zero (System V ABI, x86-64, 3.4.1).
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "call {main}", main = sym main);

extern "C" fn main() -> ! {
    let set: SignalSet = WAITED_FOR;
    let set_size = size_of::<SignalSet>();
    // Blocked, signals are kept for the call that waits for them.
    // SAFETY: the kernel reads `set_size` bytes at `set`, which lives until the end of the program,
    // and may leave the place for the old set null.
    let blocked = unsafe {
        system_call(SYS_RT_SIGPROCMASK, [SIG_BLOCK, address(&set), null::<()>() as usize, set_size])
    };
    if blocked != 0 {
        end(1);
    }
    loop {
        // SAFETY: as above; nobody wants the details of the signal, and there is no time limit.
        let signal = unsafe {
            system_call(SYS_RT_SIGTIMEDWAIT, [address(&set), 0, null::<()>() as usize, set_size])
        };
        match signal {
            SIGCHLD => reap(),
            SIGINT | SIGTERM => end(0),
            // A stop and a continue interrupt the call.
            error if error == -EINTR => {}
            _ => end(1),
        }
    }
}

/// Takes note of all children that have ended: several of them may be one signal.
fn reap() {
    // SAFETY: nobody wants status or usage, so the kernel writes nowhere.
    while unsafe { system_call(SYS_WAIT4, [ANY_CHILD, 0, WNOHANG, 0]) } > 0 {}
}

fn end(status: usize) -> ! {
    loop {
        // SAFETY: the call has no arguments but the status. It does not come back.
        unsafe { system_call(SYS_EXIT_GROUP, [status, 0, 0, 0]) };
    }
}

fn address(set: &SignalSet) -> usize {
    core::ptr::from_ref(set) as usize
}

/// Enters the kernel; returns what the call does, or the negative error number.
///
/// # Safety
/// What the call does with its arguments must be sound: addresses among them must be those of
/// memory that it may read or write as it does.
unsafe fn system_call(number: usize, arguments: [usize; 4]) -> isize {
    let result: isize;
    // SAFETY: the registers are those of the kernel's calling convention, and all that it changes
    // is named; the caller answers for the arguments.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    end(1)
}
