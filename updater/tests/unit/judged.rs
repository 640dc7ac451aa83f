//! What is armed only in a boot that was judged, and what a release on trial is excused.

use std::fs;
use std::net::TcpListener;

use formats::boot_entries::Slot;
use formats::trial::Note;
use serde_json::Value;
use updater::cancel::Cancel;
use updater::command::Failure;
use updater::plan::Asked;
use updater::protocol::{Event, Failed, Request, Wish};
use updater::serve::Work as _;
use updater::trial::note;

use crate::node::{Asking, OwnNode, UKI, made, world, write};
use crate::shared::uki::uki;
use crate::shared::world::Made;

fn asks(node: &OwnNode, request: &Request) -> Result<(Value, Vec<String>), Failed> {
    let notices = std::cell::RefCell::new(Vec::new());
    let tell = |event| {
        if let Event::Notice { text } = event {
            notices.borrow_mut().push(text);
        }
    };
    let done = node.updater().carry_out(request, &Cancel::new(), &tell);
    done.map(|result| (result, notices.into_inner()))
}

fn upgrade(asked: Asked) -> Request {
    Request::Upgrade { version: Some("2.0".to_owned()), from: None, asked, restart: false }
}

fn stage(version: &str, asked: Asked) -> Request {
    Request::Stage(Wish { version: Some(version.to_owned()), from: None, asked })
}

fn status(unit: &Asking<'_>) -> Value {
    let told: Value = serde_json::from_str(&unit.good("--json status")).unwrap();
    told["result"].clone()
}

fn noted(node: &OwnNode) -> Note {
    note::noted(&node.root()).unwrap().unwrap()
}

#[test]
fn a_trial_is_armed_only_in_a_boot_that_was_judged() {
    let (world, server, [old, _], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    let unit = Asking::new(&node);
    // A node that has just joined: whoever asks again and again waits, and asks no channel meanwhile.
    server.take_requests();
    for asked in [Asked::Policy, Asked::Fleet, Asked::Person] {
        let failed = asks(&node, &stage("2.0", asked)).unwrap_err();
        assert!(failed.later && failed.why.starts_with("this version was not found healthy yet"));
    }
    assert_eq!(server.take_requests(), Vec::<String>::new());
    node.healthy();
    // The next boot is young: containerd may not have come up.
    node.boot(Slot::A, "1.0", &old);
    assert_eq!(status(&unit)["judged"], "not-yet");
    let why = "release 2.0 is not tried yet, for this boot is not judged yet, and what does not answer may \
               only not have come up: ask again in 300 s at the latest";
    for asked in [Asked::Policy, Asked::Fleet, Asked::Person] {
        let failed = asks(&node, &upgrade(asked)).unwrap_err();
        assert_eq!(failed, Failed::later(why.to_owned()));
    }
    assert_eq!(unit.ask("upgrade 2.0"), Err(Failure::Busy(why.to_owned())));
    assert!(note::noted(&node.root()).unwrap().is_none());
    node.judged("unhealthy cri\n");
    assert_eq!(status(&unit)["judged"], "unhealthy");
    assert!(unit.good("upgrade 2.0 --no-restart").contains("trial: 2.0\n"));
    assert_eq!(noted(&node).failed_before, ["cri".to_owned()].into());
}

#[test]
fn what_is_down_for_a_moment_is_no_excuse_and_what_holds_by_the_restart_is_none() {
    let (world, server, [old, _], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let check = format!("ask = {{ tcp = \"{port}\" }}\n");
    write(&node.root(), "usr/lib/orlop/health.d/port.toml", check);
    node.healthy();
    let listener = std::cell::RefCell::new(None);
    let told = "check:port fails, and did not when this boot was judged: it has 300 s to come back";
    let comes_back = |event| {
        if event == (Event::Notice { text: told.to_owned() }) {
            *listener.borrow_mut() = Some(TcpListener::bind(port).unwrap());
        }
    };
    let armed = node.updater().carry_out(&upgrade(Asked::Policy), &Cancel::new(), &comes_back);
    armed.unwrap();
    assert_eq!(noted(&node).failed_before, ["cri".to_owned()].into());

    // It has failed as long as this boot was judged, and works by the time of the restart.
    asks(&node, &Request::Disarm {}).unwrap();
    drop(listener.take());
    node.judged("unhealthy cri check:port\n");
    let unit = Asking::new(&node);
    unit.good("upgrade 2.0 --no-restart");
    assert_eq!(noted(&node).failed_before, ["check:port", "cri"].map(str::to_owned).into());
    let _listener = TcpListener::bind(port).unwrap();
    // A directory of a test has no PID 1.
    let failed = unit.failed("upgrade 2.0");
    assert!(failed.starts_with("it is arranged, and PID 1 cannot be asked"), "{failed}");
    assert_eq!(noted(&node).failed_before, ["cri".to_owned()].into());
}

#[test]
fn what_is_armed_stays_if_the_release_that_was_asked_for_is_none_for_this_node() {
    let (mut world, server, [old, new], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let third = Made::of(5, new.data.iter().rev().copied().collect());
    world.add_with_uki("3.0", &third, &made(uki("3.0", new.root.hash, UKI)), &[]);
    world.add_with_uki("4.0", &third, &made(uki("4.0", third.root.hash, 2 * UKI)), &[]);
    world.publish();
    asks(&node, &upgrade(Asked::Policy)).unwrap();
    let unit = Asking::new(&node);
    let told = unit.failed("stage 3.0");
    assert!(told.starts_with("the UKI of the release starts the root "), "{told}");
    let told = unit.failed("stage 4.0");
    assert!(told.starts_with("the release has a UKI of "), "{told}");
    assert_eq!(status(&unit)["slots"]["trial"]["version"], "2.0");
}

#[test]
fn what_a_person_cancels_the_policy_does_not_take_again_and_status_says_so() {
    let (world, server, [old, _], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let unit = Asking::new(&node);
    // The policy takes back its own.
    asks(&node, &upgrade(Asked::Policy)).unwrap();
    asks(&node, &Request::Disarm {}).unwrap();
    assert_eq!(status(&unit)["given-up"], Value::Null);
    asks(&node, &upgrade(Asked::Policy)).unwrap();
    unit.good("cancel");
    assert_eq!(status(&unit)["given-up"], "2.0");
    let given_up = node.root().join("run/orlop/updater-given-up");
    assert!(fs::read_to_string(&given_up).unwrap().ends_with(" 2.0\n"));
    // Who names it wants it.
    for wanted in ["stage 2.0", "upgrade 2.0 --no-restart"] {
        unit.good(wanted);
        assert_eq!(status(&unit)["given-up"], Value::Null, "{wanted}");
        unit.good("cancel");
        assert_eq!(status(&unit)["given-up"], "2.0");
    }
}

#[test]
fn a_state_that_takes_nothing_lets_the_node_see_what_was_withdrawn_and_take_nothing() {
    let (mut world, server, [old, _], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let unit = Asking::new(&node);
    unit.good("check");
    let metadata = node.root().join("var/lib/orlop/updates/metadata");
    let channel = fs::read_dir(&metadata).unwrap().map(|entry| entry.unwrap().path());
    let channel = channel.into_iter().find(|path| path.is_dir()).unwrap();
    // Where a file is written something else is.
    for file in ["timestamp.json", "snapshot.json", "targets.json"] {
        fs::create_dir_all(channel.join(format!("{file}.new/x"))).unwrap();
    }
    world.publish();
    let told = unit.failed("stage 2.0");
    assert!(told.starts_with("cannot keep the metadata `timestamp.json`: "), "{told}");
    world.targets.targets.clear();
    world.publish();
    let (found, notes) = unit.ask("check").unwrap();
    assert!(found.contains("newest: none\n"), "{found}");
    let told =
        "the metadata `timestamp.json` is verified and cannot be kept, so no release is taken: ";
    assert!(notes.starts_with(told), "{notes}");
    // Nor does what was kept before let an older one in.
    assert_eq!(status(&unit)["slots"]["staged"], Value::Null);
}

#[test]
fn databases_that_are_not_back_yet_keep_another_trial_waiting() {
    use updater::roles::Role;
    let (world, server, [old, new], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let unit = Asking::new(&node);
    let state = "var/lib/kubelet/dra_manager_state";
    write(&node.root(), state, "old");
    unit.good("upgrade 2.0 --no-restart");
    let databases = || {
        let mut lines = Vec::new();
        let mut say = |line: &str| lines.push(line.to_owned());
        Role::Databases.run(node.updater(), &node.root().join("x"), &mut say).unwrap();
        lines
    };
    node.boot(Slot::B, "2.0", &new);
    databases();
    fs::remove_file(node.root().join(state)).unwrap();
    write(&node.root(), &format!("{state}/x"), "");
    node.boot(Slot::A, "1.0", &old);
    assert!(databases()[1].ends_with("; the next restart tries it again"));
    node.healthy();
    let told = unit.failed("upgrade 2.0 --no-restart");
    let want =
        "release 2.0 is not tried, for databases of before an earlier trial are not put back yet";
    assert!(told.starts_with(want), "{told}");
    // META has learnt of the fall-back; the note says what is left to do.
    fs::remove_dir_all(node.root().join(state)).unwrap();
    node.boot(Slot::A, "1.0", &old);
    assert!(databases().last().unwrap().ends_with("are as before the trial"));
    assert_eq!(fs::read_to_string(node.root().join(state)).unwrap(), "old");
    node.healthy();
    assert!(unit.good("upgrade 2.0 --no-restart").contains("trial: 2.0\n"));
}
