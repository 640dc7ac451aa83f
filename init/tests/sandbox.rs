//! The keys of a unit's table `sandbox` with the kernel: units of a shell script each, in mounts of
//! the test's own. Who is not root gets a user namespace around them.
#![expect(clippy::disallowed_methods, reason = "starts itself; PID 1's `process` starts units")]

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use init::message::{self, Received};
use init::pid1::built_in::{self, BuiltIn};
use init::process::{self, Started};
use init::unit::{AbsolutePath, SystemCalls, Unit};
use libtest_mimic::{Arguments, Trial};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, waitpid};

#[path = "sandbox/captive.rs"]
mod captive;

use captive::CAPTIVE;

/// Set for the process that has mounts of its own.
const INSIDE: &str = "ORLOP_TEST_MOUNT_NAMESPACE";

/// What a program of the host needs of it.
const PROGRAMS: [&str; 4] = ["/bin", "/lib", "/lib64", "/usr"];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(CAPTIVE) {
        return captive::main(std::env::args().skip(2));
    }
    if std::env::var_os(INSIDE).is_none() {
        let own = std::env::current_exe().expect("a program");
        let root = rustix::process::geteuid().is_root();
        let mut command = Command::new("unshare");
        // As a node has them: what is mounted in one namespace is in all that follow it.
        command.args(["--mount", "--propagation", "shared", "--uts"]);
        command.args((!root).then_some("--map-root-user"));
        command.arg("--").arg(own).args(std::env::args_os().skip(1)).env(INSIDE, "1");
        panic!("cannot run unshare(1): {}", command.exec());
    }
    // Of a node, and not the host's.
    mount("run", "/run", "tmpfs", MountFlags::empty(), c"").expect("mounted");
    for directory in ["/run/orlop/network", "/run/containerd"] {
        fs::create_dir_all(directory).expect("made");
    }
    let trial = |name: &str, test: fn(&Place)| {
        Trial::test(name, move || {
            test(&Place::new());
            Ok(())
        })
    };
    let tests = vec![
        trial("a_unit_has_what_its_sandbox_leaves_it", a_unit_has_what_its_sandbox_leaves_it),
        trial("a_unit_without_a_sandbox_has_everything", a_unit_without_a_sandbox),
        trial("what_is_not_in_the_set_of_calls_fails", what_is_not_in_the_set_of_calls_fails),
        trial("a_place_that_is_absent_is_passed_over", a_place_that_is_absent_is_passed_over),
        trial("the_key_that_the_kernel_refuses_is_named", the_key_that_the_kernel_refuses),
        trial("what_the_host_unmounts_is_gone_for_the_unit", what_the_host_unmounts_is_gone),
        trial("what_is_not_visible_is_not_there", what_is_not_visible_is_not_there),
        trial("who_reads_the_network_sees_and_may_change_little", who_reads_the_network),
        trial("who_takes_over_the_network_reaches_nobody", who_takes_over_the_network),
        trial("who_sends_signals_reaches_others", who_sends_signals_reaches_others),
        trial("a_unit_that_aborts_is_seen_to", a_unit_that_aborts_is_seen_to),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// A directory with all that a unit needs.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir_in("/var/tmp").expect("a directory"));
        for name in ["a", "inside", "outside"] {
            fs::create_dir(place.path(name)).expect("made");
        }
        // In the real one the kernel makes this file with the directory.
        fs::write(place.path("a/cgroup.procs"), "").expect("written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts a script with these keys of `sandbox`; `D` in both is the directory.
    fn start(&self, keys: &str, script: &str) -> Result<(Pid, File), String> {
        let directory = self.0.path().to_str().expect("text");
        let text = format!(
            "exec = [\"/bin/sh\", \"-c\", '''exec 2>&1; {script}''']\nready = \"exit\"\n\
             cgroup = \"/a\"\ndeadline = \"1m\"\n[sandbox]\n{keys}"
        );
        let unit = Unit::parse(Path::new("a.toml"), &text.replace("D/", &format!("{directory}/")));
        let unit = unit.expect("a good unit");
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let pid = loaded(process::spawn(&unit, &unit.exec, self.0.path(), writer, None)?);
        Ok((pid?, reader.into()))
    }

    /// What it writes until it ends.
    fn says(&self, keys: &str, script: &str) -> String {
        let started = self.start(keys, script);
        ended(started.unwrap_or_else(|error| panic!("{error}")))
    }
}

/// Waits until the program runs. A child that has none is reaped.
fn loaded(started: Started) -> Result<Pid, String> {
    let Started { pid, mut loading } = started;
    loop {
        if let Some(outcome) = loading.outcome() {
            return outcome.map(|()| pid).inspect_err(|_| {
                waitpid(Some(pid), WaitOptions::empty()).expect("a child of ours");
            });
        }
        poll(&mut [PollFd::new(&loading, PollFlags::IN)], None).expect("waited");
    }
}

fn ended(started: (Pid, File)) -> String {
    end_of(started).0
}

fn end_of((pid, mut output): (Pid, File)) -> (String, WaitStatus) {
    let mut text = String::new();
    output.read_to_string(&mut text).expect("text");
    let (_, status) =
        waitpid(Some(pid), WaitOptions::empty()).expect("a child of ours").expect("ended");
    (text, status)
}

/// A field of `/proc/PID/status`, a number in hexadecimal.
fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    let value = value.unwrap_or_else(|| panic!("no {name} in {status}"));
    u64::from_str_radix(value, 16).expect("hexadecimal")
}

fn own_status() -> String {
    fs::read_to_string("/proc/self/status").expect("readable")
}

fn a_unit_has_what_its_sandbox_leaves_it(place: &Place) {
    let keys = "no-new-privileges = true\ncapabilities = [\"kill\", \"net-admin\"]\n\
                private-tmp = true\nwritable = [\"D/inside\"]\nsystem-calls = []\n";
    let seen = tempfile::NamedTempFile::new_in("/tmp").expect("a file in /tmp");
    let script = "cat /proc/self/status; echo in > D/inside/file; echo out > D/outside/file;
                  echo /tmp/* /tmp; echo mine > /tmp/file; cat /tmp/file; echo x > /proc/self/comm";
    let status = place.says(keys, script);

    let kept = (1 << 5 | 1 << 12) & field(&own_status(), "CapBnd");
    for set in ["CapBnd", "CapPrm", "CapEff"] {
        assert_eq!(field(&status, set), kept, "{set}: {status}");
    }
    for (set, value) in [("CapInh", 0), ("CapAmb", 0), ("NoNewPrivs", 1), ("Seccomp", 2)] {
        assert_eq!(field(&status, set), value, "{set}: {status}");
    }
    let rest: Vec<_> = status.lines().skip_while(|line| !line.contains("outside")).collect();
    assert_eq!(rest.len(), 4, "{status}");
    assert!(rest[0].ends_with("/outside/file: Read-only file system"), "{status}");
    // Empty at first: the pattern fits nothing.
    assert_eq!(rest[1..3], ["/tmp/* /tmp", "mine"], "{status}");
    assert!(rest[3].ends_with("/proc/self/comm: Read-only file system"), "{status}");
    assert_eq!(fs::read_to_string(place.path("inside/file")).expect("written"), "in\n");
    assert!(!place.path("outside/file").exists() && !Path::new("/tmp/file").exists());
    assert!(seen.path().exists());
}

fn a_unit_without_a_sandbox(place: &Place) {
    let status = place.says("", "cat /proc/self/status; readlink /proc/self/ns/mnt");
    let own = own_status();
    for set in ["CapBnd", "CapPrm", "CapEff", "NoNewPrivs", "Seccomp"] {
        assert_eq!(field(&status, set), field(&own, set), "{set}: {status}");
    }
    let mounts = fs::read_link("/proc/self/ns/mnt").expect("readable");
    assert!(status.ends_with(&format!("{}\n", mounts.display())), "{status}");
}

fn what_is_not_in_the_set_of_calls_fails(place: &Place) {
    // A user namespace needs no right at all, and gives every capability inside. Many pipes and
    // processes: what a shell does works.
    let script = "unshare --user true && echo more; chroot / true && echo root;
                  echo one | cat | cat; (sleep 0 & wait)";
    let said = place.says("system-calls = []\n", script);
    let lines: Vec<_> = said.lines().collect();
    let ends = [": Operation not permitted"; 2];
    assert!(lines.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{said}");
    assert_eq!(lines[2..], ["one"], "{said}");
}

fn a_place_that_is_absent_is_passed_over(place: &Place) {
    let keys = "writable = [\"D/absent\", \"D/inside\"]\n";
    let said = place.says(keys, "mkdir D/absent; mkdir D/inside/more && echo made");
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].contains("Read-only file system"), "{said}");
    assert_eq!(lines[1..], ["made"], "{said}");
}

fn the_key_that_the_kernel_refuses(place: &Place) {
    fs::write(place.path("file"), "").expect("written");
    let error = place.start("writable = [\"D/file/below\"]\n", "echo ran").unwrap_err();
    let want = "cannot start /bin/sh: `writable` of its sandbox: Not a directory (os error 20)";
    assert_eq!(error, want);
}

fn what_is_not_visible_is_not_there(place: &Place) {
    fs::write(place.path("file"), "seen\n").expect("written");
    let programs = PROGRAMS.map(|path| format!("{path:?}")).join(", ");
    let keys = |more: &str| {
        let places = format!("\"D/absent/below\", \"D/file\", \"D/inside\", {programs}");
        format!("visible = [{places}]\n{more}")
    };
    let script =
        "ls -A / | tr '\\n' ' '; ls -A D/; cat D/file; echo in > D/inside/file && echo written
                  ls -A D/inside; echo out > /new";
    let said = place.says(&keys("private-tmp = true\nwritable = [\"D/inside\"]\n"), script);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines[..5],
        ["bin lib lib64 tmp usr var file", "inside", "seen", "written", "file"],
        "{said}"
    );
    assert!(lines[5].ends_with("/new: Read-only file system"), "{said}");
    // Without `writable` it may write what it sees.
    let said = place.says(&keys(""), "echo more > D/inside/more && cat D/inside/more");
    assert_eq!(said, "more\n");
    assert_eq!(fs::read_to_string(place.path("inside/more")).expect("the host's"), "more\n");
}

/// The unit `network` as it is, but for this program and what that needs.
fn network(place: &Place, exec: &[&str]) -> Unit {
    let mut units = built_in::units().expect("good").into_iter();
    let mut unit = units.find(|unit| unit.built_in == Some(BuiltIn::Network)).unwrap();
    let group = place.path("network");
    fs::create_dir(&group).expect("made");
    fs::write(group.join("cgroup.procs"), "").expect("written");
    unit.exec = exec.iter().map(|&argument| argument.to_owned()).collect();
    let seen = unit.sandbox.visible.as_mut().expect("not all");
    seen.extend(PROGRAMS.map(|path| AbsolutePath(path.into())));
    seen.push(AbsolutePath(place.path("own")));
    unit
}

fn started(place: &Place, unit: &Unit, channel: Option<OwnedFd>) -> (Pid, File) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let started = process::spawn(unit, &unit.exec, place.0.path(), writer, channel);
    (started.and_then(loaded).expect("started"), reader.into())
}

fn who_reads_the_network(place: &Place) {
    // The name is of a namespace of the test's own.
    let script = "exec 2>&1; echo n1 > /proc/sys/kernel/hostname; cat /proc/sys/kernel/hostname
                  for place in /dev /proc /proc/sys /proc/sys/kernel /run /run/orlop /sys /tmp
                  do echo $place $(ls -A $place); done
                  for place in / /etc /var /run /run/orlop /run/orlop/network /sys/devices \\
                      /proc/sys/net/ipv6/conf/lo/accept_ra
                  do test -w $place && echo $place; done";
    let unit = network(place, &["/bin/sh", "-c", script]);
    let said = ended(started(place, &unit, None));
    let want = "n1\n/dev null urandom\n/proc sys\n/proc/sys kernel net\n/proc/sys/kernel hostname\n\
                /run orlop\n/run/orlop network\n/sys class devices\n/tmp\n\
                /run/orlop/network\n/proc/sys/net/ipv6/conf/lo/accept_ra\n";
    assert_eq!(said, want);
}

/// What a captive says as this unit, and what has come to the other end of its channel.
fn captive(place: &Place, unit: &Unit) -> (String, Vec<Received>) {
    let (ours, theirs) = message::pair().expect("descriptors");
    let said = ended(started(place, unit, Some(theirs)));
    let mut received = Vec::new();
    while let Received::Packet(bytes, with) = message::receive_with(&ours) {
        received.push(Received::Packet(bytes, with));
    }
    (said, received)
}

fn who_takes_over_the_network(place: &Place) {
    let (own, other) = (own_program(place), std::process::id().to_string());
    let unit = network(place, &[&own, CAPTIVE, &other]);
    let (said, received) = captive(place, &unit);
    assert_eq!(
        said,
        "let through: tgkill-own prlimit64-own F_GETFD inet inet6 netlink send\n\
         refused: kill tkill tgkill pidfd_open pidfd_send_signal prlimit64 F_SETOWN F_SETSIG \
         F_SETOWN_EX FIOSETOWN SIOCSPGRP unix vsock socketpair sendmsg sendmmsg\n"
    );
    assert!(
        matches!(&received[..], [Received::Packet(bytes, None)] if bytes == b"x"),
        "{received:?}"
    );
}

fn who_sends_signals_reaches_others(place: &Place) {
    let (own, other) = (own_program(place), std::process::id().to_string());
    let mut unit = network(place, &[&own, CAPTIVE, &other]);
    let (messages, signals, unix) = (true, true, true);
    let groups = SystemCalls { messages, signals, unix, ..SystemCalls::default() };
    unit.sandbox.system_calls = Some(groups);
    let (said, received) = captive(place, &unit);
    assert_eq!(
        said,
        "let through: kill tkill tgkill tgkill-own pidfd_open pidfd_send_signal prlimit64-own \
         F_SETOWN F_SETSIG F_SETOWN_EX F_GETFD FIOSETOWN SIOCSPGRP unix socketpair sendmsg \
         sendmmsg send\nrefused: prlimit64 vsock inet inet6 netlink\n"
    );
    let with = |received: &Received| matches!(received, Received::Packet(_, Some(_)));
    assert_eq!(received.iter().map(with).collect::<Vec<_>>(), [true, true, false]);
}

fn a_unit_that_aborts_is_seen_to(place: &Place) {
    let own = own_program(place);
    let unit = network(place, &[&own, CAPTIVE]);
    let (said, status) = end_of(started(place, &unit, None));
    assert_eq!((said.as_str(), status.terminating_signal()), ("", Some(Signal::ABORT.as_raw())));
}

/// This program where the unit can see it: the checkout may lie below `/tmp`, which each has for itself.
fn own_program(place: &Place) -> String {
    let own = place.path("own");
    fs::copy("/proc/self/exe", &own).expect("copied");
    own.to_str().expect("text").to_owned()
}

fn what_the_host_unmounts_is_gone(place: &Place) {
    let disk = place.path("outside");
    mount("disk", &disk, "tmpfs", MountFlags::empty(), c"").expect("mounted");
    for name in ["ready", "go"] {
        let made = rustix::fs::mknodat(
            rustix::fs::CWD,
            place.path(name),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        );
        made.expect("a fifo");
    }
    let script = "grep -c D/outside /proc/self/mountinfo; : > D/ready; read -r line < D/go;
                  grep -c D/outside /proc/self/mountinfo";
    let keys = "private-tmp = true\nwritable = [\"D/\"]\n";
    let started = place.start(keys, script).expect("started");
    // Opens when the other end does: each has seen what it was to see.
    File::open(place.path("ready")).expect("opened");
    unmount(&disk, UnmountFlags::empty()).expect("not busy");
    drop(File::options().write(true).open(place.path("go")).expect("opened"));
    assert_eq!(ended(started), "1\n0\n");
}
