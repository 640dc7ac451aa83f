//! Releases as users publish and fetch them: by address, two at once, and with `orlop` killed at each of its
//! deeds.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use builder::process::Command;
use expect_test::expect;

use crate::project::{Ended, Project, refusal, start};
use crate::releases::{build, copy, files, project, publish, verify};
use crate::serve::Serving;

const ROOT: [&str; 2] = ["--root", "keys/1.root.json"];

/// Runs a program and kills it before the deed of a number: a rename, a link, a new directory, or something
/// that is removed. Nothing else changes what others see.
const KILLER: &str = r#"
import ctypes, os, platform, signal, struct, sys
number, words = int(sys.argv[1]), sys.argv[2:]
deeds = {
    "x86_64": {82, 83, 84, 86, 87, 258, 263, 264, 265, 316},
    "aarch64": {34, 35, 37, 38, 276},
}[platform.machine()]
TRACEME, SYSCALL, SETOPTIONS, GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
TRACESYSGOOD, EXITKILL = 1, 0x100000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
def ptrace(request, pid, address=0, data=0):
    result = libc.ptrace(request, pid, address, data)
    if result < 0:
        sys.exit("ptrace: " + os.strerror(ctypes.get_errno()))
    return result
pid = os.fork()
if pid == 0:
    ptrace(TRACEME, 0)
    os.execv(words[0], words)
os.waitpid(pid, 0)
ptrace(SETOPTIONS, pid, 0, TRACESYSGOOD | EXITKILL)
info, given = ctypes.create_string_buffer(128), 0
while True:
    ptrace(SYSCALL, pid, 0, given)
    status = os.waitpid(pid, 0)[1]
    given = 0
    if not os.WIFSTOPPED(status):
        print("ended", os.waitstatus_to_exitcode(status))
        break
    stop = os.WSTOPSIG(status)
    if stop != signal.SIGTRAP | 0x80:
        given = 0 if stop == signal.SIGTRAP else stop
        continue
    ptrace(GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    entry, call = info.raw[0] == 1, struct.unpack_from("Q", info.raw, 24)[0]
    if entry and call in deeds:
        if number == 0:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            print("killed")
            break
        number -= 1
"#;

/// Whether `orlop` was killed before its deed of this number; otherwise it has ended well.
fn killed(project: &Project, words: &[&str], deed: usize) -> bool {
    let python = project.placed(Command::new("/usr/bin/env"), "http://127.0.0.1:9");
    // What is in PATH is the project's; Python is the host's.
    let python = python.env("PATH", std::env::var_os("PATH").unwrap()).args(["python3", "-c"]);
    let python = python.args([KILLER, &deed.to_string(), env!("CARGO_BIN_EXE_orlop")]).args(words);
    let said = String::from_utf8(python.run().unwrap()).unwrap();
    let last = said.lines().last().unwrap_or_default();
    assert!(["killed", "ended 0"].contains(&last), "{words:?} {deed}: {said}");
    last == "killed"
}

/// Deeds to be killed at: all, or some of them if time is short.
fn deeds() -> impl Iterator<Item = usize> {
    let step = if std::env::var_os("ORLOP_TEST_FULL").is_some() { 1 } else { 5 };
    (0..).step_by(step)
}

fn version(ended: &Ended) -> String {
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    ended.stdout.split([' ', ',']).nth(1).unwrap().to_owned()
}

#[test]
fn publish_killed_at_every_deed_leaves_one_state_or_the_next_and_goes_on() {
    let project = project();
    publish(&project, "1.0", "base");
    project.good(&["keys", "rotate", "snapshot", "--keys", "keys"]);
    let build = build(&project, "2.0");
    let words = ["publish", &build, "--keys", "keys", "--to", "site"];
    let look = || verify(&project, &[&["site", "--state", "state"][..], &ROOT].concat());
    let mut seen = Vec::new();
    for deed in deeds() {
        for directory in ["site", "state"] {
            drop(fs::remove_dir_all(project.path(directory)));
        }
        copy(&project.path("base"), &project.path("site"));
        assert_eq!(version(&look()), "1.0");
        if !killed(&project, &words, deed) {
            assert_eq!(version(&look()), "2.0");
            break;
        }
        let there = version(&look());
        if there == "2.0" {
            let again = project.run(&words);
            assert!(again.stderr.contains("E0227"), "{}", again.stderr);
            project.good(&["publish", "--refresh", "--keys", "keys", "--to", "site"]);
        } else {
            project.good(&words);
        }
        let ended = look();
        assert_eq!(version(&ended), "2.0");
        assert!(ended.stdout.contains("\nroot 2, until"), "{}", ended.stdout);
        let odd = |name: &&String| name.contains(".orlop-");
        assert_eq!(files(&project.path("site")).keys().find(odd), None, "after {deed}");
        seen.push(there);
    }
    assert!(seen.contains(&"1.0".to_owned()) && seen.len() > 3, "{seen:?}");
}

#[test]
fn keys_that_are_killed_in_the_making_or_in_a_rotation_are_whole_and_sign() {
    let project = Project::locked();
    project.good(&["build", "--no-commit"]);
    let init = ["keys", "init", "keys", "--no-passphrase"];
    for deed in 0.. {
        let killed = killed(&project, &init, deed);
        let there = project.path("keys").exists();
        if there {
            project.good(&["keys", "show", "keys"]);
            fs::remove_dir_all(project.path("keys")).unwrap();
        }
        if !killed {
            assert!(there && deed > 0);
            break;
        }
    }
    project.good(&init);
    publish(&project, "1.0", "base");
    copy(&project.path("keys"), &project.path("before"));
    let rotate = ["keys", "rotate", "timestamp", "--keys", "keys"];
    for deed in 0.. {
        for (from, to) in [("before", "keys"), ("base", "site")] {
            drop(fs::remove_dir_all(project.path(to)));
            copy(&project.path(from), &project.path(to));
        }
        let killed = killed(&project, &rotate, deed);
        // Whether the root is there or not, what is published can be signed, and the rotation goes on.
        publish(&project, "2.0", "site");
        project.good(&rotate);
        publish(&project, "3.0", "site");
        let ended = verify(&project, &[&["site"][..], &ROOT].concat());
        assert_eq!(version(&ended), "3.0");
        if !killed {
            assert!(deed > 0);
            break;
        }
    }
}

#[test]
fn of_two_publishers_at_once_one_is_told() {
    let project = project();
    publish(&project, "1.0", "site");
    // The first one waits for its signature of the timestamp until a file is there.
    let script = "#!/bin/sh -e\nPATH=/usr/bin:/bin\ncat > payload\n: > begun\n\
                  while ! test -e go; do :; done\n\
                  exec openssl pkeyutl -sign -rawin -inkey timestamp.pem -in payload\n";
    project.write("keys/slow", script);
    fs::set_permissions(project.path("keys/slow"), PermissionsExt::from_mode(0o755)).unwrap();
    let keys = String::from_utf8(project.read("keys/keys.toml")).unwrap();
    let slow = keys.replace("file = \"timestamp.pem\"", "sign-with = [\"./slow\"]");
    assert_ne!(keys, slow);
    project.write("keys/keys.toml", slow);
    let builds = ["2.0", "3.0"].map(|version| build(&project, version));
    let words = ["--keys", "keys", "--to", "site"];
    let of = |build: usize| [&["publish", &*builds[build]][..], &words].concat();
    let mut first = start(project.command(&of(0)));
    while !project.path("keys/begun").exists() {
        assert!(first.try_wait().unwrap().is_none(), "the first one has ended");
        std::thread::yield_now();
    }
    for words in [
        &of(1)[..],
        &["withdraw", "1.0", "--keys", "keys", "--to", "site"],
        &["publish", "--refresh", "--keys", "keys", "--to", "site"],
    ] {
        let told = project.run(&[words, &["--progress", "none"]].concat());
        refusal(
            &told,
            expect![[r#"
                exit 7
                error[E0709]: another `orlop` publishes to `site`
                  hint: wait for its end, and try again
            "#]],
        );
    }
    project.write("keys/go", "");
    let first = project.end(first);
    assert_eq!(first.status, Some(0), "{}", first.stderr);
    assert_eq!(version(&verify(&project, &[&["site"][..], &ROOT].concat())), "2.0");
    publish(&project, "3.0", "site");
    assert_eq!(version(&verify(&project, &[&["site"][..], &ROOT].concat())), "3.0");
    let names = files(&project.path("site")).into_keys();
    let other = |name: &String| !name.starts_with("metadata/") && !name.starts_with("targets/");
    assert_eq!(names.filter(other).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn releases_are_verified_and_promoted_by_their_address() {
    let project = project();
    publish(&project, "1.0", "site");
    publish(&project, "2.0", "site");
    let serving = Serving::start(&project, &[]);
    let url = serving.url("");
    let by_address = verify(&project, &[&[url.as_str()][..], &ROOT].concat());
    let in_place = verify(&project, &[&["site"][..], &ROOT].concat());
    assert_eq!((version(&by_address), &by_address.stdout), ("2.0".to_owned(), &in_place.stdout));
    project.good(&["promote", "1.0", "--from", &url, "--to", "stable", "--keys", "keys"]);
    assert_eq!(version(&verify(&project, &[&["stable"][..], &ROOT].concat())), "1.0");
    let [from, to] = ["site", "stable"].map(|name| files(&project.path(name)));
    let of = |files: &crate::releases::Files| {
        let files = files.iter().filter(|(path, _)| path.starts_with("targets/1.0/"));
        files.map(|(path, bytes)| (path.clone(), bytes.clone())).collect::<Vec<_>>()
    };
    assert!(!of(&to).is_empty() && of(&from) == of(&to));
    let log = serving.end();
    assert!(log.contains("GET /metadata/timestamp.json 200 "), "{log}");
    let gone = verify(&project, &[&[url.as_str()][..], &ROOT].concat());
    assert_eq!(gone.status, Some(5), "{}", gone.stderr);
}

#[test]
fn the_commit_of_a_release_is_the_one_with_its_root_image() {
    let project = Project::locked();
    project.good(&["build"]);
    project.good(&["keys", "init", "keys", "--no-passphrase"]);
    let head = || {
        let log = project.command(&["log", "--json"]).run().unwrap();
        let log: serde_json::Value = serde_json::from_slice(&log).unwrap();
        log["refs"][0]["versions"][0]["commit"].as_str().unwrap().to_owned()
    };
    let own = head();
    let commit = |to: &str| -> Option<String> {
        let files = files(&project.path(to));
        let (_, bytes) = files.iter().find(|(path, _)| path.ends_with(".release.json")).unwrap();
        let release: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        release.get("commit").map(|commit| commit.as_str().unwrap().to_owned())
    };
    publish(&project, "1.0", "own");
    assert_eq!(commit("own").as_ref(), Some(&own));

    // A build that was not committed has none, and no other build's is taken for it.
    project.write("overlay/etc/motd", "another\n");
    project.good(&["build", "--no-commit"]);
    publish(&project, "1.0", "none");
    assert_eq!(commit("none"), None);
    let words = ["publish", "orlop-out/tiny", "--to", "other", "--keys", "keys", "--commit"];
    let refused = project.run(&[&words[..], &[&own]].concat());
    assert_eq!(refused.status, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("error[E0229]: the commit SHA256 is not of"),
        "{}",
        refused.stderr
    );
    assert!(!project.path("other").exists());
    project.good(&["commit", "orlop-out/tiny"]);
    publish(&project, "1.0", "then");
    assert_eq!(commit("then"), Some(head()));
    assert_ne!(head(), own);
}
