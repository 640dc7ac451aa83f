//! The event loop with real processes, sockets and signals, in a process of its own: it blocks
//! signals, and takes every child that ends. The units end the loop by signalling their parent.
#![expect(clippy::print_stderr, reason = "says which test hangs")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use init::console::{Console, Screen};
use init::event_loop::{self, Finished, Surroundings};
use init::network;
use init::pid1::built_in::{self, BuiltIn};
use init::supervisor::{ShutdownKind, Supervisor};
use init::sys::signals;
use init::unit::{Liveness, Unit, Units};
use init::watchdog::Watchdog;
use libtest_mimic::{Arguments, Failed, Trial};

#[path = "event_loop/hangs.rs"]
mod hangs;

/// File descriptors this process was started with: some environments leave a few open.
static INHERITED: OnceLock<BTreeSet<u32>> = OnceLock::new();

/// What was asked of the deadline of a shutdown.
static ARMED: Mutex<Vec<ShutdownKind>> = Mutex::new(Vec::new());

fn main() -> ExitCode {
    // The units that are built into PID 1 are this program in the tests.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["unit-log", logs] => return init::log::service::main(Path::new(logs)),
        ["unit-network", directory] => return network_without_links(Path::new(directory)),
        _ => {}
    }
    let open = fs::read_dir("/proc/self/fd").expect("a process has descriptors");
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // The last one is that of the directory, closed by now.
    let mut numbers: BTreeSet<u32> = numbers.collect();
    numbers.retain(|number| fs::exists(format!("/proc/self/fd/{number}")).unwrap_or(false));
    INHERITED.get_or_init(|| numbers);
    // Before there are threads. Each loop gets a descriptor of its own below.
    signals::block_and_open().expect("signals can be blocked");
    let mut arguments = Arguments::from_args();
    // The thread that has the signals blocked, and one loop at a time.
    arguments.test_threads = Some(1);
    let trial = |name: &str, test: fn(&Node)| {
        let owned = name.to_owned();
        Trial::test(name, move || within_a_minute(&owned, || test(&Node::new())))
    };
    let tests = vec![
        trial("a_node_boots_answers_and_goes_down", a_node_boots_answers_and_goes_down),
        trial("the_console_shows_the_last_lines_of_a_failure", the_console_shows_the_last_lines),
        trial("a_unit_inherits_nothing_of_pid_1", a_unit_inherits_nothing_of_pid_1),
        trial("the_signals_of_another_init_are_known", the_signals_of_another_init),
        trial("a_boot_that_is_given_up_is_restarted", a_boot_that_is_given_up),
        trial("a_program_that_is_missing_stops_nothing", a_program_that_is_missing_stops_nothing),
        trial("who_ignores_sigterm_is_killed", who_ignores_sigterm_is_killed),
        trial("a_config_that_was_fetched_is_taken_in", a_config_that_was_fetched_is_taken_in),
        trial("what_a_one_shot_leaves_for_people_stays_on_the_screen", what_a_one_shot_leaves),
        trial("a_unit_has_the_environment_of_a_file_if_there_is_one", a_unit_has_an_environment),
        trial("a_unit_is_wanted_once_its_arguments_are_there", a_unit_is_wanted_later),
        trial("a_one_shot_cleans_up_at_shutdown", a_one_shot_cleans_up_at_shutdown),
        trial("limits_are_written_to_the_group", limits_are_written_to_the_group),
        trial("what_kubelet_complains_of_is_told_in_words", what_kubelet_complains_of_is_told),
        trial("a_log_that_is_killed_costs_no_unit_anything", a_log_that_is_killed),
        trial("a_network_that_is_killed_comes_back_with_its_name", a_network_that_is_killed),
        trial(
            "a_log_that_is_asked_to_end_before_it_begins_has_all_lines",
            hangs::a_log_that_begins_late,
        ),
        trial("the_loop_feeds_the_watchdog", hangs::the_loop_feeds_the_watchdog),
        trial(
            "a_log_that_hangs_holds_up_no_shutdown",
            hangs::a_log_that_hangs_holds_up_no_shutdown,
        ),
        trial("a_disk_that_hangs_holds_up_who_needs_it", hangs::a_disk_that_hangs),
        trial("a_network_that_hangs_is_started_again", hangs::a_network_that_hangs),
        trial("who_hangs_is_killed_and_not_who_is_not_asked", hangs::who_hangs_is_killed),
    ];
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn network_without_links(directory: &Path) -> ExitCode {
    let surroundings = network::service::Surroundings {
        etc: directory.join("etc"),
        system: directory.join("system.toml"),
        start: |_, _| Ok(None),
        clock: network::time::Clock { floor: 0, is_set: false, change: |_| Ok(()) },
        set_hostname: |_| Ok(()),
    };
    let ended = network::service::run(&surroundings);
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A loop that never ends would otherwise hang the whole run.
fn within_a_minute(name: &str, test: impl FnOnce()) -> Result<(), Failed> {
    let (done, wait) = channel::<()>();
    let name = name.to_owned();
    std::thread::spawn(move || {
        if wait.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} did not end within a minute");
            std::process::abort();
        }
    });
    test();
    drop(done);
    Ok(())
}

/// For a shell: bit 14 is `SIGTERM`, of the signals that are blocked and have come (proc(5)). It starts
/// no program, for then dash unblocks them.
const UNTIL_SIGTERM_WAITS: &str = "until while read key value; do case $key$value in \
    ShdPnd:*4???) break;; esac; false; done < /proc/$$/status; do :; done;";

/// Directories that stand for a node's.
struct Node {
    directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["units", "cgroups", "logs", "etc"] {
            fs::create_dir(directory.path().join(name)).expect("made");
        }
        fs::write(directory.path().join("console"), "").expect("written");
        let node = Self { directory };
        ["log", "network"].iter().for_each(|name| node.group(name));
        node
    }

    /// In the real one the kernel makes this file with the directory.
    fn group(&self, name: &str) {
        let group = self.path("cgroups").join(name);
        fs::create_dir(&group).expect("made");
        fs::write(group.join("cgroup.procs"), "").expect("written");
    }

    /// The built-in units, with a file `NAME.pid` each.
    fn built_in(&self) -> Vec<Unit> {
        let mut units = built_in::units().expect("good");
        for unit in &mut units {
            let name = unit.name.to_string();
            let argument = match unit.built_in {
                Some(BuiltIn::Log) => self.path("logs"),
                _ => self.path(""),
            };
            let program = std::env::current_exe().expect("a path");
            let late = unit.built_in == Some(BuiltIn::Log) && self.path("late").exists();
            let wait = if late { UNTIL_SIGTERM_WAITS } else { "" };
            let script = format!(
                "echo $$ > {}; {wait} exec {} unit-{name} {}",
                self.path(&format!("{name}.pid")).display(),
                program.display(),
                argument.display()
            );
            unit.exec = vec!["/bin/sh".into(), "-c".into(), script];
            // Asked often, but not so often that one which is slow here hangs.
            let often = Duration::from_secs(1);
            let probe = unit.probe.take().map(|probe| {
                let (interval, timeout) = (often, often);
                Liveness { interval, timeout, ..probe }
            });
            unit.probe = probe.filter(|_| self.path("asked").exists());
            // They write into the test's directory. Who is not root has no capabilities to lose.
            let sandbox = &mut unit.sandbox;
            (sandbox.private_tmp, sandbox.visible, sandbox.writable) = (false, None, None);
            if !rustix::process::geteuid().is_root() {
                sandbox.capabilities = None;
            }
        }
        units
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A unit that runs this shell script; `keys` are further lines of its file.
    fn script(&self, name: &str, script: &str, keys: &str) {
        self.unit(name, &format!("exec = [\"/bin/sh\", \"-c\", '''{script}''']\n{keys}"));
    }

    fn unit(&self, name: &str, text: &str) {
        let text =
            format!("{text}\ncgroup = \"/{name}\"\nkill = \"process\"\ndeadline = \"30s\"\n");
        fs::write(self.path("units").join(format!("{name}.toml")), text).expect("written");
        self.group(name);
    }

    /// A file stands for the device, which wants a sign of life each second, as one that does not
    /// say its time.
    fn watchdog(&self) -> Option<Watchdog> {
        let file = fs::File::create(self.path("watchdog0")).expect("made");
        Some(Watchdog::new(file, "watchdog0".to_owned()))
    }

    fn run(&self) -> Finished {
        self.run_with(Vec::new())
    }

    fn run_with(&self, mut more: Vec<Unit>) -> Finished {
        ARMED.lock().expect("whole").clear();
        more.extend(self.built_in());
        let (units, errors) = Units::load(&self.path("units"), more).expect("readable");
        assert_eq!(errors, []);
        let surroundings = Surroundings {
            signals: signals::block_and_open().expect("signals can be blocked"),
            console: Console::open(&self.path("console")),
            screen: Screen::default(),
            cgroups: self.path("cgroups"),
            kernel_log: self.path("kernel-log"),
            clock: None,
            problems: self.path("problems"),
            reason: self.path("reason"),
            buttons: Vec::new(),
            watchdog: self.watchdog(),
            arm: |kind| ARMED.lock().expect("whole").push(kind),
        };
        let finished = event_loop::run(Supervisor::new(&units), surroundings);
        let finished = finished.expect("epoll works");
        assert_eq!(ARMED.lock().expect("whole")[..], [finished.kind], "one deadline");
        finished
    }
}

/// Answers `Version` as containerd does, after having refused it once as if without CRI.
fn serve_cri(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).expect("bound");
    let server = listener.try_clone().expect("cloned");
    std::thread::spawn(move || {
        // Frames of HTTP/2; header blocks are literals.
        let settings: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
        let trailers_only: &[u8] = b"\0\0\x11\x01\x05\0\0\0\x01\x88\0\x0bgrpc-status\x0212";
        let answer: &[u8] = b"\0\0\x01\x01\x04\0\0\0\x01\x88\
            \0\0\x24\0\0\0\0\0\x01\0\0\0\0\x1f\
            \x0a\x050.1.0\x12\x0acontainerd\x1a\x06v2.4.2\x22\x02v1\
            \0\0\x0f\x01\x05\0\0\0\x01\0\x0bgrpc-status\x010";
        for reply in [trailers_only, answer] {
            let Ok((mut stream, _)) = server.accept() else { return };
            let mut request = [0; 512];
            let length = stream.read(&mut request).expect("a request");
            assert!(request[..length].starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
            stream.write_all(&[settings, reply].concat()).expect("written");
            // Until the client has hung up, or what it did not read yet is lost.
            while stream.read(&mut request).is_ok_and(|length| length > 0) {}
        }
    });
    listener
}

fn a_node_boots_answers_and_goes_down(node: &Node) {
    let socket = node.path("cri.sock");
    let ready = format!("ready = {{ cri-version = \"{}\" }}\n", socket.display());
    let _listener = serve_cri(&socket);
    node.script("containerd", "echo serving; exec sleep 1000", &ready);
    let after = "ready = \"exit\"\nafter = [\"containerd\"]\n";
    node.script("kubelet", "echo out; echo err >&2", after);
    node.script("end", "kill -TERM $PPID", "ready = \"exit\"\nafter = [\"kubelet\"]\n");

    let finished = node.run();
    assert_eq!(finished.kind, ShutdownKind::PowerOff);
    assert_eq!(node.read("logs/containerd.log"), "serving\n");
    assert_eq!(node.read("logs/kubelet.log"), "out\nerr\n");
    assert_eq!(node.read("cgroups/containerd/cgroup.procs"), "0");
    let console = node.read("console");
    let at = |text: &str| console.find(text).unwrap_or_else(|| panic!("{text}: {console}"));
    let order = [
        at("] containerd started\n"),
        at("] containerd ready, CRI v1 containerd v2.4.2 after "),
        at("] kubelet started\n"),
        at("] kubelet ready after "),
        at("] end started\n"),
        at("] going down to power off\n"),
        at("] containerd stopped\n"),
    ];
    assert!(order.is_sorted(), "{console}");
    assert!(!console.contains("FAILED"), "{console}");
}

fn the_console_shows_the_last_lines(node: &Node) {
    // It fails once; started again, it asks for a restart of the machine when the screen was shown.
    let script = format!(
        "test -e {0} && {{ until grep -q '^---$' {1}; do :; done; kill -INT $PPID; \
         exec sleep 1000; }}; : > {0}; echo first; echo cause >&2; exit 3",
        node.path("marker").display(),
        node.path("console").display()
    );
    // Only `log` knows the lines, which is asked for them for half a second.
    let keys = "ready = \"started\"\nafter = [\"log\"]\n\
                restart = { policy = \"always\", backoff-min = \"1ms\" }\n";
    node.script("bad", &script, keys);

    assert_eq!(node.run().kind, ShutdownKind::Reboot);
    let console = node.read("console");
    assert!(console.contains("] bad FAILED: ended with status 3; restart in 0.0 s\n"), "{console}");
    assert!(console.contains("              | first\n              | cause\n"), "{console}");
    assert!(console.contains("] going down to restart\n"), "{console}");
}

fn a_unit_inherits_nothing_of_pid_1(node: &Node) {
    node.unit("env", "exec = [\"/usr/bin/env\"]\nready = \"exit\"\nenvironment = { A = \"b c\" }");
    let files = "exec = [\"/bin/ls\", \"-l\", \"/proc/self/fd\"]\nready = \"exit\"\n";
    node.unit("files", &format!("{files}after = [\"env\"]"));
    let status = "exec = [\"/bin/cat\", \"/proc/self/status\", \"/proc/self/limits\"]\n";
    node.unit(
        "status",
        &format!("{status}ready = \"exit\"\nafter = [\"files\"]\nlimits = {{ nofile = 512 }}"),
    );
    node.script("end", "kill -TERM $PPID", "ready = \"exit\"\nafter = [\"status\"]\n");

    node.run();
    assert_eq!(node.read("logs/env.log"), "A=b c\nPATH=/usr/bin:/usr/sbin\n");
    // Standard input, output and error, the directory that `ls` reads, and what the test itself
    // was started with.
    let files = node.read("logs/files.log");
    let numbers = files.lines().filter_map(|line| {
        let (start, _) = line.split_once(" -> ")?;
        start.rsplit(' ').next()?.parse::<u32>().ok()
    });
    let inherited = INHERITED.get().expect("set by main");
    let own: Vec<_> = numbers.filter(|number| !inherited.contains(number)).collect();
    assert!(own.len() <= 1 && own.iter().all(|&number| number > 2), "{files}");
    assert!(files.contains(" 0 -> /dev/null\n"), "{files}");
    let status = node.read("logs/status.log");
    assert!(status.contains("\nSigBlk:\t0000000000000000\n"), "{status}");
    // Rust ignores SIGPIPE, signal 13; programs expect to die of it.
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
    let ignored = u64::from_str_radix(ignored.expect("in proc_pid_status(5)"), 16);
    assert_eq!(ignored.expect("hexadecimal") & (1 << 12), 0, "{status}");
    assert!(status.contains("Max open files            512                  512 "), "{status}");
}

fn a_program_that_is_missing_stops_nothing(node: &Node) {
    let missing =
        "exec = [\"/nonexistent\"]\nready = \"started\"\nrestart = { policy = \"never\" }";
    node.unit("a", missing);
    let script = format!(
        "while ! grep -q 'a FAILED' {}; do :; done; kill -TERM $PPID",
        node.path("console").display()
    );
    node.script("b", &script, "ready = \"exit\"\n");

    assert_eq!(node.run().kind, ShutdownKind::PowerOff);
    let console = node.read("console");
    let want = "] a FAILED: cannot start /nonexistent: No such file or directory (os error 2); its \
                unit forbids a restart\n";
    assert!(console.contains(want), "{console}");
    assert!(console.contains("] b started\n"), "{console}");
}

fn a_config_that_was_fetched_is_taken_in(node: &Node) {
    let script = format!("echo 'hostname = \"n2\"' > {}", node.path("system.toml").display());
    node.script("configure", &script, "ready = \"exit\"\n");
    let hosts = node.path("etc/hosts");
    let script = format!("while ! grep -q n2 {}; do :; done; kill -TERM $PPID", hosts.display());
    node.script("end", &script, "ready = \"exit\"\nafter = [\"configure\"]\n");
    node.run();
    assert_eq!(node.read("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 n2\n");
}

fn what_a_one_shot_leaves(node: &Node) {
    let place = node.path("problems");
    fs::create_dir(&place).expect("made");
    let script = format!("echo 'a layer is damaged' > {}/repair", place.display());
    node.script("repair", &script, "ready = \"exit\"\n");
    // A failure shows the screen; when it is tried again the screen was there.
    let failed = node.path("failed");
    let script = format!("test -e {0} && kill -TERM $PPID; : > {0}; exit 1", failed.display());
    node.script("end", &script, "ready = \"exit\"\nafter = [\"repair\"]\n");
    node.run();
    let console = node.read("console");
    assert!(console.contains("] a layer is damaged\n"), "{console}");
    assert!(console.contains("problem   a layer is damaged\n"), "{console}");
}

/// By the numbers that kured and others send. Who asks for it at once does not wait for units.
fn the_signals_of_another_init(_: &Node) {
    use ShutdownKind::{Halt, Kexec, PowerOff, Reboot};
    for (number, kind) in
        [(37, Halt), (38, PowerOff), (39, Reboot), (40, Kexec), (47, Halt), (49, Reboot)]
    {
        let node = Node::new();
        fs::write(node.path("reason"), "a new release is tried\nnot this\n").expect("written");
        node.script("end", &format!("kill -{number} $PPID"), "ready = \"exit\"\n");
        assert_eq!(node.run().kind, kind, "{number}");
        let console = node.read("console");
        assert!(console.contains("] a new release is tried\n"), "{console}");
        assert!(!console.contains("not this"), "{console}");
        let orderly = console.contains(&format!("] going down to {kind}\n"));
        assert_eq!(orderly, number < 44, "{number}: {console}");
    }
}

fn a_boot_that_is_given_up(node: &Node) {
    node.script("trial", "exit 1", "ready = \"exit\"\nrestart-machine-after = \"1m\"\n");
    let path = node.path("units").join("trial.toml");
    let mut unit = Unit::parse(&path, &node.read("units/trial.toml")).expect("a good unit");
    fs::remove_file(path).expect("there");
    unit.restart_machine_after = Some(Duration::from_millis(50));
    let finished = node.run_with(vec![unit]);
    assert_eq!(finished.kind, ShutdownKind::Reboot);
    let console = node.read("console");
    assert!(
        console.contains("] trial was not ready in 0.0 s: the machine is restarted\n"),
        "{console}"
    );
    assert!(console.contains("] going down to restart\n"), "{console}");
}

fn who_ignores_sigterm_is_killed(node: &Node) {
    let fifo = node.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a fifo");
    // Opening the other end waits until the trap is set.
    let script = format!("trap '' TERM; : > {}; while :; do sleep 1000; done", fifo.display());
    node.script("stubborn", &script, "ready = \"started\"\nstop-timeout = \"10ms\"\n");
    let script = format!("read -r line < {}; kill -TERM $PPID", fifo.display());
    node.script("end", &script, "ready = \"exit\"\nafter = [\"stubborn\"]\n");

    node.run();
    let console = node.read("console");
    assert!(console.contains("] stubborn did not stop in time: killed\n"), "{console}");
    assert!(console.contains("] stubborn stopped\n"), "{console}");
}

fn a_unit_has_an_environment(node: &Node) {
    let keys = format!(
        "ready = \"exit\"\nenvironment-from = {:?}\nenvironment = {{ A = \"own\", B = \"own\" }}\n",
        node.path("environment")
    );
    node.script("none", "echo $A $B $C", &keys);
    let script =
        format!("printf 'B=x=y z\\n\\nnothing\\nC=3\\n' > {}", node.path("environment").display());
    node.script("write", &script, "ready = \"exit\"\nafter = [\"none\"]\n");
    node.script("some", "echo $A $B $C", &format!("{keys}after = [\"write\"]\n"));
    node.script("end", "kill -TERM $PPID", "ready = \"exit\"\nafter = [\"some\"]\n");

    node.run();
    assert_eq!(node.read("logs/none.log"), "own own\n");
    assert_eq!(node.read("logs/some.log"), "own x=y z 3\n");
}

fn a_unit_is_wanted_later(node: &Node) {
    let arguments = node.path("arguments");
    let text = format!(
        "exec = [\"/bin/echo\", \"first\"]\nready = \"exit\"\nonly-if-exists = {0:?}\n\
         arguments-from = {0:?}\nrestart = {{ policy = \"never\" }}",
        arguments
    );
    node.unit("a", &text);
    let script = format!("printf 'second word\\n\\nthird\\n' > {}", arguments.display());
    node.script("b", &script, "ready = \"exit\"\nafter = [\"a\"]\n");
    // After `a` is started again: a one-shot is done and there is something to do.
    let script = format!(
        "while ! test -s {}; do :; done; kill -TERM $PPID",
        node.path("logs/a.log").display()
    );
    node.script("end", &script, "ready = \"exit\"\nafter = [\"b\"]\n");

    node.run();
    assert_eq!(node.read("logs/a.log"), "first second word third\n");
    let console = node.read("console");
    let want = format!("] a not wanted: there is no {}\n", arguments.display());
    assert_eq!(console.matches(&want).count(), 1, "{console}");
}

fn a_one_shot_cleans_up_at_shutdown(node: &Node) {
    node.script("daemon", "exec sleep 1000", "ready = \"started\"\n");
    let keys = "ready = \"exit\"\nafter = [\"daemon\"]\n\
                stop-exec = [\"/bin/sh\", \"-c\", \"echo cleaned\"]\n";
    node.script("work", "echo worked", keys);
    node.script("end", "kill -TERM $PPID", "ready = \"exit\"\nafter = [\"work\"]\n");

    node.run();
    assert_eq!(node.read("logs/work.log"), "worked\ncleaned\n");
    let console = node.read("console");
    let at = |text: &str| console.find(text).unwrap_or_else(|| panic!("{text}: {console}"));
    let order = [
        at("] going down to power off\n"),
        at("] work: its stop-exec runs\n"),
        at("] work: its stop-exec ended with status 0\n"),
        at("] work stopped\n"),
        at("] daemon stopped\n"),
    ];
    assert!(order.is_sorted(), "{console}");
}

fn limits_are_written_to_the_group(node: &Node) {
    let keys = "ready = \"exit\"\nmemory-min = \"64MiB\"\npids-max = 99\n";
    node.script("a", "kill -TERM $PPID", keys);
    for name in ["memory.min", "memory.max", "pids.max"] {
        fs::write(node.path("cgroups/a").join(name), "").expect("written");
    }
    node.run();
    assert_eq!(node.read("cgroups/a/memory.min"), "67108864");
    assert_eq!(node.read("cgroups/a/memory.max"), "");
    assert_eq!(node.read("cgroups/a/pids.max"), "99");
}

fn what_kubelet_complains_of_is_told(node: &Node) {
    let line = r#"I1121 kubelet.go:1] "Failed to connect" err="x509: certificate signed by unknown authority""#;
    node.script("kubelet", &format!("echo '{line}'; echo '{line}'"), "ready = \"exit\"\n");
    // Until the console has told it, which it does before it looks at this one's end.
    let script = format!(
        "while ! grep -q authority {}; do :; done; kill -TERM $PPID",
        node.path("console").display()
    );
    node.script("end", &script, "ready = \"exit\"\nafter = [\"kubelet\"]\n");

    node.run();
    let console = node.read("console");
    let want = "] the API server's certificate is not signed by the authority in `ca` of the node \
                config\n";
    assert_eq!(console.matches(want).count(), 1, "{console}");
}

/// Kills a built-in unit.
fn killer(node: &Node, unit: &str) -> String {
    let file = node.path(&format!("{unit}.pid"));
    format!("kill -KILL $(cat {0}) && rm {0}", file.display())
}

fn a_log_that_is_killed(node: &Node) {
    let (log, killed) = (node.path("logs/a.log"), node.path("killed"));
    let script = format!(
        "trap 'echo pipe > {0}.pipe' PIPE; echo one; while ! test -e {0}; do :; done; \
         echo two; echo three; exec sleep 1000",
        killed.display()
    );
    node.script("a", &script, "ready = \"started\"\n");
    let script = format!(
        "while ! grep -q one {}; do :; done; {}; : > {}",
        log.display(),
        killer(node, "log"),
        killed.display()
    );
    node.script("kill", &script, "ready = \"exit\"\nafter = [\"a\"]\n");
    let script = format!("while ! grep -q three {}; do :; done; kill -TERM $PPID", log.display());
    node.script("end", &script, "ready = \"exit\"\nafter = [\"kill\"]\n");

    node.run();
    assert_eq!(node.read("logs/a.log"), "one\ntwo\nthree\n");
    assert!(!node.path("killed.pipe").exists(), "it got SIGPIPE");
    let console = node.read("console");
    let want = "] log FAILED: was killed (SIGKILL; out of memory?); restart in 0.1 s\n";
    assert_eq!(console.matches(want).count(), 1, "{console}");
    assert_eq!(console.matches("] log ready after ").count(), 2, "{console}");
    assert_eq!(console.matches("FAILED").count(), 1 + console.matches("log      FAILED").count());
    // What PID 1 said while there was none, too.
    let log = node.read("logs/init.log");
    assert!(log.contains("] warning: log FAILED: was killed"), "{log}");
    assert!(log.contains("] going down to power off\n"), "{log}");
}

fn a_network_that_is_killed(node: &Node) {
    fs::write(node.path("system.toml"), "hostname = \"n1\"\n").expect("written");
    let keys = "ready = \"exit\"\nafter = [\"network\"]\n";
    node.script("kill", &killer(node, "network"), keys);
    let script = format!(
        "while ! test -s {}; do :; done; kill -USR1 $PPID; kill -TERM $PPID",
        node.path("network.pid").display()
    );
    node.script("end", &script, "ready = \"exit\"\nafter = [\"kill\"]\n");

    node.run();
    let console = node.read("console");
    let want = "] network FAILED: was killed (SIGKILL; out of memory?); restart in 0.1 s\n";
    assert_eq!(console.matches(want).count(), 1, "{console}");
    assert_eq!(console.matches("] network started\n").count(), 2, "{console}");
    assert!(console.contains("    hostname  n1\n"), "what it has shown stays: {console}");
    assert_eq!(node.read("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 n1\n");
}
