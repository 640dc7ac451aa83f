//! The way down, after the units have stopped: no process, nothing mounted, no power.
//!
//! Each step has a time limit. Whatever fails on the way is said and passed over: a machine that
//! was told to go down goes down.

use std::convert::Infallible;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::Signal;
use rustix::system::{RebootCommand, reboot};

use crate::event_loop::Finished;
use crate::supervisor::{SHUTDOWN_LIMIT, ShutdownKind};
use crate::sys::signals;
use crate::watchdog;
use crate::{clock, log, marks, process};

/// From `SIGTERM` to `SIGKILL` for what no unit stopped: containers first of all.
const GRACE: Duration = Duration::from_secs(10);
/// From `SIGKILL` on, for what hangs in the kernel.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// For what is still to be written, and to unmount.
const DISK_PATIENCE: Duration = Duration::from_secs(120);
/// For `sync` where nothing is to be unmounted.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);
/// From the request to the end of all patience with PID 1 itself: more than all other limits.
const LAST_RESORT: Duration = SHUTDOWN_LIMIT.saturating_add(LONGEST).saturating_add(READING_TIME);
/// For a console that is slow to take the last lines.
const CONSOLE_PATIENCE: Duration = Duration::from_secs(2);
/// All of that together.
pub(crate) const LONGEST: Duration =
    GRACE.saturating_add(KILL_GRACE).saturating_add(CONSOLE_PATIENCE).saturating_add(DISK_PATIENCE);
/// So that a person can read why.
const READING_TIME: Duration = Duration::from_secs(10);

/// Ends every process, unmounts every file system and then the machine.
pub fn finish(mut finished: Finished) -> ! {
    // What follows has limits of its own, which are shorter.
    if let Some(watchdog) = &mut finished.watchdog {
        watchdog.set(watchdog::DOWN);
    }
    let mut say = |text: &str| {
        log::info(text);
        finished.console.say(text, clock::monotonic());
    };
    if !everyone_ends(&finished.signals, Signal::TERM, GRACE) {
        say("some processes did not end: killing them");
        // By group first, which leaves no time to fork.
        kill_groups(Path::new("/sys/fs/cgroup"));
        if !everyone_ends(&finished.signals, Signal::KILL, KILL_GRACE) {
            say("some processes cannot be killed: going on without them");
        }
    }
    marks::mark("power-off");
    say(&format!("all stopped, {} now", finished.kind));
    finished.console.drain(CONSOLE_PATIENCE);
    // Its file system has a journal; a machine that neither runs nor stops helps nobody.
    let work = || {
        rustix::fs::sync();
        let failures = unmount_all();
        rustix::fs::sync();
        failures
    };
    let failures = within(DISK_PATIENCE, Box::new(work));
    match failures {
        Some(failures) => failures.iter().for_each(|failure| log::warn(failure)),
        None => shout("the disk does not finish: going down without it"),
    }
    // A restart that hangs ends in a reset, and so does all that hung before this; a machine that is
    // to be without power, or to stand still, must not start again. Another kernel finds the watchdog
    // as it is left here.
    match (finished.kind, finished.watchdog.take()) {
        (ShutdownKind::PowerOff | ShutdownKind::Halt, Some(watchdog)) => {
            if let Err(error) = watchdog.stop() {
                shout(&format!("cannot stop the watchdog: {error}"));
            }
        }
        (ShutdownKind::Kexec, Some(mut watchdog)) => watchdog.set(watchdog::OTHER_KERNEL),
        _ => {}
    }
    go_down(finished.kind)
}

/// Sets the time by which the system is down, whatever becomes of the rest of PID 1.
pub fn arm(kind: ShutdownKind) {
    let work = move || {
        std::thread::sleep(LAST_RESORT);
        shout("the shutdown does not end: going down without it");
        go_down(kind)
    };
    if let Err(error) = crate::thread::start("deadline", Box::new(work)) {
        log::warn(&format!("cannot limit the time of the shutdown: {error}"));
    }
}

/// Does what a disk can hold up for ever, and waits no longer than `limit` for it: `None` if that is
/// not enough, else what failed. A thread, because to start a program reads the root, which may be
/// what hangs.
fn within(limit: Duration, work: Box<dyn FnOnce() -> Vec<String> + Send>) -> Option<Vec<String>> {
    let outcome = Arc::new((Mutex::new(None), Condvar::new()));
    let told = Arc::clone(&outcome);
    let work = move || {
        let failures = work();
        if let Ok(mut outcome) = told.0.lock() {
            *outcome = Some(failures);
        }
        told.1.notify_all();
    };
    crate::thread::start("disk", Box::new(work)).ok()?;
    let waits = outcome.0.lock().ok()?;
    let (mut done, _) = outcome.1.wait_timeout_while(waits, limit, |done| done.is_none()).ok()?;
    done.take()
}

/// For what can fail without a word.
fn sync_only() -> Vec<String> {
    rustix::fs::sync();
    Vec::new()
}

/// Kills all that is in a control group but our own: containers are in `/kubepods`, their shims
/// in `/runtime`.
fn kill_groups(root: &Path) {
    let Ok(groups) = std::fs::read_dir(root) else { return };
    for group in groups.flatten().filter(|group| group.file_name() != "init") {
        let kill = std::fs::File::options().write(true).open(group.path().join("cgroup.kill"));
        // What is no group has no such file.
        if let Ok(mut kill) = kill
            && let Err(error) = kill.write_all(b"1")
        {
            log::warn(&format!("cannot kill {}: {error}", group.path().display()));
        }
    }
}

/// For a boot that cannot succeed: says why, gives people time to read it, and starts again. What
/// starts then is the boot loader's choice.
pub fn boot_failed(reason: &str) -> ! {
    let text =
        format!("the boot failed: {reason}\nstarting again in {} seconds", READING_TIME.as_secs());
    // Not as an error, which the kernel would show on the console a second time.
    log::warn(&text);
    shout(&text);
    // Nothing else runs, so there is nothing to wait for but time.
    std::thread::sleep(READING_TIME);
    within(SYNC_PATIENCE, Box::new(sync_only));
    go_down(ShutdownKind::Reboot)
}

/// A panic is a bug of ours. Without its main thread PID 1 is nothing: the kernel would panic as well
/// once it is gone, but say less. A helper thread that panics while units run costs what it was to
/// find out, and waits for ever; it holds no lock that others need, for helpers do not log.
pub fn restart_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let helper = is_helper() && SERVING.load(Ordering::Relaxed);
        let what = if helper { "a helper of PID 1 panicked" } else { "PID 1 panicked, restarting" };
        // The log may be locked by the very thread that panics, so it is not used.
        let text = format!("{what}: {panic}");
        shout(&text);
        if let Ok(mut kmsg) = std::fs::File::options().write(true).open("/dev/kmsg") {
            let line = text.replace('\n', " ");
            // Nobody is left to tell if this fails.
            let _ = kmsg.write_all(format!("<24>orlop: {line}").as_bytes());
        }
        if helper {
            loop {
                std::thread::park();
            }
        }
        within(SYNC_PATIENCE, Box::new(sync_only));
        go_down(ShutdownKind::Reboot);
    }));
}

/// Units run: from now on the node does without a helper thread that panics.
pub fn serving() {
    SERVING.store(true, Ordering::Relaxed);
}

static SERVING: AtomicBool = AtomicBool::new(false);

fn is_helper() -> bool {
    rustix::thread::gettid() != rustix::process::getpid()
}

fn shout(text: &str) {
    // A line that somebody has stopped stops nobody here.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let mut options = std::fs::File::options();
    if let Ok(mut console) = options.write(true).custom_flags(flags).open("/dev/console") {
        let _ = writeln!(console, "\n*** {}", text.replace('\n', "\n*** "));
    }
}

fn go_down(kind: ShutdownKind) -> ! {
    let command = match kind {
        ShutdownKind::PowerOff => RebootCommand::PowerOff,
        ShutdownKind::Reboot => RebootCommand::Restart,
        ShutdownKind::Halt => RebootCommand::Halt,
        ShutdownKind::Kexec => {
            // It only returns if no kernel was loaded; then the firmware starts one.
            if let Err(error) = reboot(RebootCommand::Kexec) {
                shout(&format!("cannot {kind}: {error}; restarting"));
            }
            RebootCommand::Restart
        }
    };
    let result: Result<Infallible, Errno> = match reboot(command) {
        Err(error) => Err(error),
        // It does not return; if it did there would be nothing left to do either.
        Ok(()) => Err(Errno::INVAL),
    };
    let Err(error) = result;
    shout(&format!("cannot {kind}: {error}"));
    loop {
        // PID 1 must not end. The watchdog or a person has to help now.
        std::thread::park();
    }
}

/// Sends `signal` to all and reaps; whether nobody is left in time.
fn everyone_ends(signals: &impl AsFd, signal: Signal, limit: Duration) -> bool {
    match signals::send_to_all(signal) {
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return true,
        Err(error) => log::error(&format!("cannot signal the processes that are left: {error}")),
        Ok(()) => {}
    }
    let deadline = clock::monotonic() + limit;
    loop {
        loop {
            match process::reap() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                // Every process is our descendant, and each orphan our child.
                Err(_) => return true,
            }
        }
        let left = deadline.saturating_sub(clock::monotonic());
        if left.is_zero() {
            return false;
        }
        let timeout = Timespec::try_from(left).ok();
        let mut fds = [PollFd::new(signals, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return false,
            // What else was signalled changes nothing: we are going down already.
            Ok(_) => drop(signals::read(signals)),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Unmounts what [`plan`] says, twice, for what one mount was in the way of another; what is
/// still busy is made read-only, so that its file system is clean.
fn unmount_all() -> Vec<String> {
    let read = || std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for _ in 0..2 {
        for path in plan(&read()) {
            // The second try says why.
            let _ = unmount(&path, UnmountFlags::NOFOLLOW);
        }
    }
    let mut failures = Vec::new();
    for path in plan(&read()) {
        if let Err(busy) = unmount(&path, UnmountFlags::NOFOLLOW)
            && let Err(error) = mount_remount(&path, MountFlags::RDONLY, c"")
        {
            let path = path.display();
            failures.push(format!("cannot unmount {path}: {busy}; nor make it read-only: {error}"));
        }
    }
    failures
}

/// The mount points to unmount, last mounted first, out of the text of `/proc/self/mountinfo`
/// (proc_pid_mountinfo(5)). The root is read-only, `/etc` and `/run` are in memory, and the
/// kernel's own file systems hold nothing; but what containers left below `/run` keeps STATE busy.
fn plan(mountinfo: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .filter(|path| {
            let kept = ["/", "/etc", "/run", "/tmp"].iter().any(|kept| path == Path::new(kept));
            let kernels = ["/proc", "/sys", "/dev"].iter().any(|tree| path.starts_with(tree));
            !kept && !kernels
        })
        .collect();
    paths.reverse();
    paths
}

/// Space, tab, line break and backslash are written as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if code.is_ascii() => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            _ => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
21 1 254:0 / / ro,relatime shared:1 - erofs /dev/dm-0 ro
22 21 0:20 / /proc rw,nosuid - proc proc rw
23 21 0:21 / /sys rw,nosuid - sysfs sysfs rw
24 23 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
25 21 0:5 / /dev rw - devtmpfs devtmpfs rw
26 21 0:23 / /run rw - tmpfs tmpfs rw
27 21 0:24 / /etc rw - overlay overlay rw
28 21 253:4 / /var rw - ext4 /dev/vda5 rw
29 26 0:30 / /run/containerd/io.containerd.runtime.v2.task/k8s.io/a/rootfs rw - overlay overlay rw
30 26 0:4 net:[4026532] /run/netns/cni-1 rw - nsfs nsfs rw
31 28 0:31 / /var/lib/kubelet/pods/x/volumes/a\\040b rw - tmpfs tmpfs rw
";

    #[test]
    fn the_last_mounted_goes_first_and_the_kernels_own_stay() {
        let paths: Vec<_> = plan(MOUNTS).iter().map(|path| path.display().to_string()).collect();
        assert_eq!(
            paths,
            [
                "/var/lib/kubelet/pods/x/volumes/a b",
                "/run/netns/cni-1",
                "/run/containerd/io.containerd.runtime.v2.task/k8s.io/a/rootfs",
                "/var",
            ]
        );
    }

    #[test]
    fn what_a_disk_holds_up_is_waited_for_no_longer_than_its_limit() {
        assert_eq!(within(Duration::from_secs(60), Box::new(Vec::new)), Some(Vec::new()));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let work = move || {
            // Until it is released.
            let _ = held.recv();
            Vec::new()
        };
        assert_eq!(within(Duration::from_millis(50), Box::new(work)), None);
        drop(release);
    }

    #[test]
    fn every_group_is_killed_but_our_own() {
        let root = tempfile::tempdir().expect("a directory");
        for group in ["init", "kubepods", "runtime"] {
            std::fs::create_dir(root.path().join(group)).expect("made");
            std::fs::write(root.path().join(group).join("cgroup.kill"), "").expect("written");
        }
        std::fs::write(root.path().join("cgroup.procs"), "").expect("written");
        kill_groups(root.path());
        let read = |group| std::fs::read_to_string(root.path().join(group).join("cgroup.kill"));
        let killed = ["init", "kubepods", "runtime"].map(|group| read(group).expect("readable"));
        assert_eq!(killed, ["", "1", "1"]);
    }

    #[test]
    fn octal_escapes_are_undone_and_other_backslashes_stay() {
        for (text, want) in [
            ("/a\\040b\\134c", "/a b\\c"),
            ("/a\\", "/a\\"),
            ("/a\\04", "/a\\04"),
            ("/a\\999", "/a\\999"),
            ("/é\\011é", "/é\té"),
        ] {
            assert_eq!(unescape(text), want);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_plan_panic(text in "(.{0,40}|\\\\.{0,6}| |\n){0,20}") {
            let _ = plan(&text);
            let _ = unescape(&text);
        }
    }
}
