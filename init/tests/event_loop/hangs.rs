//! What hangs is found out, and is not waited for.

use std::fs;

use crate::Node;

/// As one whose disk does not answer.
pub(super) fn a_log_that_hangs_holds_up_no_shutdown(node: &Node) {
    let script = format!(
        "while ! grep -q 'log ready' {0}; do :; done; kill -STOP $(cat {1}); kill -TERM $PPID",
        node.path("console").display(),
        node.path("log.pid").display()
    );
    node.script("end", &script, "ready = \"exit\"\n");
    node.run();
    let console = node.read("console");
    assert!(console.contains("] log did not stop in time: killed\n"), "{console}");
    assert!(console.contains("] log stopped\n"), "{console}");
}

/// `log` asks for PID 1. While it is stopped nobody finds out whether `daemon` answers: `log` is killed,
/// and its next run is told by the daemon that it works, until that is stopped itself.
pub(super) fn who_hangs_is_killed(node: &Node) {
    let socket = node.path("daemon.sock");
    let daemon = "import os, socket, sys\n\
         s = socket.socket(socket.AF_UNIX)\n\
         s.bind(sys.argv[1])\n\
         s.listen(0)\n\
         open(sys.argv[2], \"w\").write(str(os.getpid()))\n\
         while True: s.accept()\n";
    fs::write(node.path("daemon.py"), daemon).expect("written");
    let answers = format!("{{ socket-answers = \"{}\" }}", socket.display());
    let probe = format!(
        "probe = {{ socket-answers = \"{}\", interval = \"200ms\", timeout = \"100ms\", failures = 3 }}",
        socket.display()
    );
    node.script(
        "daemon",
        &format!(
            "rm -f {0}; exec python3 {1} {0} {2}",
            socket.display(),
            node.path("daemon.py").display(),
            node.path("daemon.pid").display()
        ),
        &format!("ready = {answers}\n{probe}\nrestart = {{ policy = \"always\", backoff-min = \"1ms\" }}\n"),
    );
    let script = format!(
        "waits() {{ while ! grep -q \"$1\" {0}; do :; done; }}
         old=$(cat {1}); kill -STOP $old
         waits 'log FAILED: was killed'
         while test \"$(cat {1})\" = $old; do :; done
         kill -STOP $(cat {2})
         waits 'daemon HANGS'
         kill -TERM $PPID",
        node.path("console").display(),
        node.path("log.pid").display(),
        node.path("daemon.pid").display()
    );
    node.script("end", &script, "ready = \"exit\"\nafter = [\"daemon\"]\n");
    node.run();
    let console = node.read("console");
    let at = |text: &str| console.find(text).unwrap_or_else(|| panic!("{text}: {console}"));
    assert!(at("] log FAILED: was killed") < at("] daemon HANGS"), "{console}");
}

/// It says nothing, and nobody else would find out. Then `log`; each answers while the other hangs.
pub(super) fn a_network_that_hangs(node: &Node) {
    fs::write(node.path("asked"), "").expect("written");
    let script = format!(
        "waits() {{ while test $(grep -c \"$1\" {0}) -lt $2; do :; done; }}
         kill -STOP $(cat {1})
         waits 'network HANGS' 1
         waits 'network started' 2
         kill -STOP $(cat {2})
         waits 'log HANGS' 1
         kill -TERM $PPID",
        node.path("console").display(),
        node.path("network.pid").display(),
        node.path("log.pid").display()
    );
    node.script("end", &script, "ready = \"exit\"\nafter = [\"network\"]\n");
    node.run();
    let console = node.read("console");
    let at = |text: &str| console.find(text).unwrap_or_else(|| panic!("{text}: {console}"));
    let hung = at("] network HANGS: no good answer 3 times in a row: no answer in 1 s; killed\n");
    assert!(hung < at("] network FAILED: hung and was killed; restart in "), "{console}");
    assert!(hung < at("] log HANGS: "), "{console}");
    assert_eq!(console.matches("HANGS: no").count(), 2, "{console}");
}

/// Who has a write lease of a file holds up everyone who opens it, exec(2) too, until it gives that
/// back (fcntl(2)): as a disk does that hangs.
pub(super) fn a_disk_that_hangs(node: &Node) {
    let (program, fifo) = (node.path("program"), node.path("fifo"));
    fs::copy("/bin/sleep", &program).expect("copied");
    let pipe = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, pipe, mode, 0).expect("a fifo");
    let disk = "import fcntl, os, signal, socket, sys\n\
         program = os.open(sys.argv[1], os.O_RDONLY)\n\
         fcntl.fcntl(program, fcntl.F_SETSIG, signal.SIGURG)\n\
         fcntl.fcntl(program, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
         s = socket.socket(socket.AF_UNIX)\n\
         s.bind(sys.argv[3])\n\
         s.listen(9)\n\
         open(sys.argv[2]).read()\n\
         fcntl.fcntl(program, fcntl.F_SETLEASE, fcntl.F_UNLCK)\n\
         while True: s.accept()\n";
    fs::write(node.path("disk.py"), disk).expect("written");
    let (script, socket) = (node.path("disk.py"), node.path("disk.sock"));
    node.script(
        "disk",
        &format!(
            "exec python3 {} {} {} {}",
            script.display(),
            program.display(),
            fifo.display(),
            socket.display()
        ),
        &format!("ready = {{ socket-answers = \"{}\" }}\n", socket.display()),
    );
    node.unit(
        "a-slow",
        &format!(
            "exec = [\"{}\", \"1000\"]\nready = \"started\"\nafter = [\"disk\"]",
            program.display()
        ),
    );
    // Started after it. The disk answers when this runs, and no process keeps the watchdog open.
    let script = format!(
        "while ! grep -q 'quick started' {0}; do :; done
         keeps() {{ for child in $(cat /proc/$PPID/task/*/children); do ls -l /proc/$child/fd; done; }}
         while keeps | grep -q watchdog0; do :; done
         name() {{ tr '\\0' ' ' < /proc/$1/cmdline; }}
         for child in $(cat /proc/$PPID/task/*/children); do
             test \"$(name $child)\" = \"$(name $PPID)\" && : > {2}
         done
         echo > {1}",
        node.path("console").display(),
        fifo.display(),
        node.path("still-waits").display()
    );
    node.script("quick", &script, "ready = \"exit\"\nafter = [\"disk\"]\n");
    let after = "ready = \"exit\"\nafter = [\"a-slow\", \"quick\"]\n";
    node.script("end", "kill -TERM $PPID", after);
    node.run();
    let console = node.read("console");
    let at = |text: &str| console.find(text).unwrap_or_else(|| panic!("{text}: {console}"));
    assert!(at("] quick started\n") < at("] a-slow started\n"), "{console}");
    // The kernel takes the lease back after a while.
    assert!(node.path("still-waits").exists(), "it was open until the program was loaded");
    assert!(!console.contains("FAILED"), "{console}");
}

pub(super) fn a_log_that_begins_late(node: &Node) {
    fs::write(node.path("late"), "").expect("written");
    node.script("work", "echo work", "ready = \"exit\"");
    node.script("end", "kill -TERM $PPID", "ready = \"exit\"\nafter = [\"work\"]");
    node.run();
    assert_eq!(node.read("logs/work.log"), "work\n");
}

/// Twice without any other event, and never the byte that would let it stop.
pub(super) fn the_loop_feeds_the_watchdog(node: &Node) {
    let file = node.path("watchdog0");
    let wait = format!(
        "while test $(stat -c %s {}) -lt 2; do :; done; kill -INT $PPID; exec sleep 100",
        file.display()
    );
    node.script("waits", &wait, "ready = \"started\"");
    let finished = node.run();
    let fed = fs::read(&file).expect("readable");
    assert!(fed.len() >= 2 && fed.iter().all(|byte| *byte == 0), "{fed:?}");
    let watchdog = finished.watchdog.expect("it goes on after the units");
    watchdog.stop().expect("stopped");
    assert_eq!(fs::read(&file).expect("readable").last(), Some(&b'V'));
}
