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
