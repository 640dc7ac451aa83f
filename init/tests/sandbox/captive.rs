//! What somebody tries who has taken over a unit: this test program again, started as that unit.
#![expect(unsafe_code, reason = "no safe wrapper makes calls that are to be refused")]

use std::io::Write as _;
use std::process::ExitCode;

use libc::{c_int, c_long};
use rustix::process::{Resource, Rlimit};

/// The first argument of a captive.
pub(crate) const CAPTIVE: &str = "captive";

/// Ends by abort(3), or, given the number of another process, says which calls fail with `EPERM`, and
/// which do not.
pub(crate) fn main(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    match arguments.next() {
        Some(other) => tell(other.parse().expect("a process")),
        None => {
            // No file is to be left.
            let none = Rlimit { current: Some(0), maximum: Some(0) };
            rustix::process::setrlimit(Resource::Core, none).expect("its own limit");
            std::process::abort();
        }
    }
    ExitCode::SUCCESS
}

fn tell(other: c_long) {
    let own = c_long::from(std::process::id());
    let file = c_long::from(libc::RLIMIT_NOFILE);
    // `F_OWNER_PID`, which libc lacks.
    let owner = [1, i32::try_from(other).expect("a process")];
    let message = Message::with_descriptor();
    let socket = |family: c_int| {
        (libc::SYS_socket, [c_long::from(family), c_long::from(libc::SOCK_DGRAM), 0, 0])
    };
    let mut pair = [0_i32; 2];
    let tries = [
        ("kill", (libc::SYS_kill, [other, 0, 0, 0])),
        ("tkill", (libc::SYS_tkill, [other, 0, 0, 0])),
        ("tgkill", (libc::SYS_tgkill, [other, other, 0, 0])),
        ("tgkill-own", (libc::SYS_tgkill, [own, own, 0, 0])),
        ("pidfd_open", (libc::SYS_pidfd_open, [other, 0, 0, 0])),
        ("pidfd_send_signal", (libc::SYS_pidfd_send_signal, [-1, 0, 0, 0])),
        ("prlimit64", (libc::SYS_prlimit64, [other, file, 0, 0])),
        ("prlimit64-own", (libc::SYS_prlimit64, [0, file, 0, 0])),
        ("F_SETOWN", (libc::SYS_fcntl, [0, 8, other, 0])),
        ("F_SETSIG", (libc::SYS_fcntl, [0, 10, 15, 0])),
        ("F_SETOWN_EX", (libc::SYS_fcntl, [0, 15, address(&owner), 0])),
        ("F_GETFD", (libc::SYS_fcntl, [0, 1, 0, 0])),
        ("FIOSETOWN", (libc::SYS_ioctl, [0, 0x8901, address(&owner[1]), 0])),
        ("SIOCSPGRP", (libc::SYS_ioctl, [0, 0x8902, address(&owner[1]), 0])),
        ("unix", socket(libc::AF_UNIX)),
        ("vsock", socket(libc::AF_VSOCK)),
        ("inet", socket(libc::AF_INET)),
        ("inet6", socket(libc::AF_INET6)),
        ("netlink", socket(libc::AF_NETLINK)),
        ("socketpair", {
            let unix = c_long::from(libc::AF_UNIX);
            (libc::SYS_socketpair, [unix, 1, 0, &raw mut pair as c_long])
        }),
        ("sendmsg", (libc::SYS_sendmsg, [0, address(&message.header.msg_hdr), 0, 0])),
        ("sendmmsg", (libc::SYS_sendmmsg, [0, address(&*message.header), 1, 0])),
        ("send", (libc::SYS_sendto, [0, message.bytes.as_ptr() as c_long, 1, 0])),
    ];
    let mut names = [Vec::new(), Vec::new()];
    for (name, (call, [first, second, third, fourth])) in tries {
        // SAFETY: needed for calls as they are, without what a library makes of them. Sound because
        // all pointers among the arguments are to live values of the types that the call takes.
        let result = unsafe { libc::syscall(call, first, second, third, fourth, 0, 0) };
        let error = std::io::Error::last_os_error().raw_os_error();
        names[usize::from(result < 0 && error == Some(libc::EPERM))].push(name);
    }
    let text = format!("let through: {}\nrefused: {}\n", names[0].join(" "), names[1].join(" "));
    std::io::stdout().write_all(text.as_bytes()).expect("told");
}

fn address<T>(value: &T) -> c_long {
    std::ptr::from_ref(value) as c_long
}

/// A message of one byte, and with it standard input.
struct Message {
    header: Box<libc::mmsghdr>,
    bytes: Box<[u8; 1]>,
    /// The header points to these.
    _parts: (Box<libc::iovec>, Box<[u64; 3]>),
}

impl Message {
    fn with_descriptor() -> Self {
        let mut bytes = Box::new(*b"x");
        let mut part = Box::new(libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 1 });
        // `struct cmsghdr`: length, level and type, then the descriptor.
        let kind = libc::SOL_SOCKET as u64 | (libc::SCM_RIGHTS as u64) << 32;
        let mut control = Box::new([20, kind, 0]);
        // SAFETY: needed because the fields that are padding are private. Sound because it is a
        // structure of numbers and pointers, for all of which zero is a value.
        let mut header: Box<libc::mmsghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_hdr.msg_iov = &raw mut *part;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = control.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = 24;
        Self { header, bytes, _parts: (part, control) }
    }
}
