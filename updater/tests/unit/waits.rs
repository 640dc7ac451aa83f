//! What waits for a restart: for whom it was armed, who hears of it, and what becomes of it when somebody
//! asks for something else, is killed, or takes it back.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use formats::boot_entries::Slot;
use formats::meta::{Meta, OFFSETS, Phase};
use serde_json::Value;
use updater::cancel::Cancel;
use updater::facts;
use updater::node::{Next, Node};
use updater::plan::Asked;
use updater::protocol::{Request, Wish};
use updater::serve::Work as _;
use updater::steps::How;

use crate::node::{Asking, OwnNode, UKI, made, world, write};
use crate::shared::uki::uki;
use crate::shared::world::Made;

const REQUIRED: &str = "var/run/reboot-required";

/// What others are told of a restart.
fn required(node: &OwnNode) -> Option<String> {
    fs::read_to_string(node.root().join(REQUIRED)).ok()
}

fn status(unit: &Asking<'_>) -> Value {
    let told: Value = serde_json::from_str(&unit.good("--json status")).unwrap();
    told["result"].clone()
}

fn on<T>(node: &OwnNode, step: impl FnOnce(&mut Node) -> T) -> T {
    let facts = facts::read(&node.root()).unwrap();
    step(&mut Node::open(&node.root(), &facts).unwrap())
}

fn meta(node: &OwnNode) -> Meta {
    on(node, |node| node.remembered().unwrap())
}

/// What another part of the unit asks for.
fn asks(node: &OwnNode, request: Request) -> Result<(Value, Vec<String>), String> {
    let notices = std::cell::RefCell::new(Vec::new());
    let tell = |event| {
        if let updater::protocol::Event::Notice { text } = event {
            notices.borrow_mut().push(text);
        }
    };
    let done = node.updater().carry_out(&request, &Cancel::new(), &tell);
    done.map(|result| (result, notices.into_inner())).map_err(|failed| failed.why)
}

fn arms(node: &OwnNode, asked: Asked) -> Result<(Value, Vec<String>), String> {
    let (version, from, restart) = (Some("2.0".to_owned()), None, false);
    asks(node, Request::Upgrade { version, from, asked, restart })
}

fn stages(node: &OwnNode, version: &str, asked: Asked) -> Result<(Value, Vec<String>), String> {
    asks(node, Request::Stage(Wish { version: Some(version.to_owned()), from: None, asked }))
}

#[test]
fn who_goes_back_with_a_later_restart_is_shown_heard_of_and_may_stay_after_all() {
    let (world, server, [old, new], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    let unit = Asking::new(&node);
    let nothing = "there is nothing to go back to: slot B holds ";
    let none = format!("{nothing}no version that was healthy here");
    assert_eq!(unit.failed("rollback"), none);
    node.healthy();
    let same = format!("{nothing}the release that runs, as on a new disk");
    assert_eq!(unit.failed("rollback --no-restart"), same);
    assert_eq!((required(&node), node.entries()), (None, ["2a+3.efi", "1b.efi"].map(Into::into)));

    unit.good("upgrade 2.0 --no-restart");
    node.boot(Slot::B, "2.0", &new);
    node.healthy();
    assert_eq!((status(&unit)["rollback"].clone(), required(&node)), (Value::Null, None));
    assert_eq!(unit.good("rollback --no-restart"), "restart: is due\nrollback: 1.0\n");
    let told = || (status(&unit)["rollback"].clone(), required(&node));
    let waits = ("1.0".into(), Some("the node goes back to 1.0\n".to_owned()));
    assert_eq!(told(), waits);
    // This boot is judged once more: nobody goes back because it is not healthy.
    node.healthy();
    assert_eq!(meta(&node).failed.len(), 1);
    let words = "the node goes back to release 1.0 at the next restart: first restart, or give that up \
                 by `cancel`";
    assert_eq!(unit.failed("update-loader"), words);
    assert_eq!(stages(&node, "1.0", Asked::Fleet), Err(words.to_owned()));
    // Killed between the entries and the file for others.
    fs::remove_file(node.root().join(REQUIRED)).unwrap();
    node.updater().settle().unwrap();
    assert_eq!(told(), waits);

    assert_eq!(unit.good("cancel"), "cancelled: the way back to release 1.0\n");
    assert_eq!(told(), (Value::Null, None));
    assert_eq!(
        (meta(&node).failed, unit.failed("cancel")),
        (vec![], "no release is staged".into())
    );
    node.healthy();
    assert_eq!(unit.good("rollback --no-restart"), "restart: is due\nrollback: 1.0\n");
    node.boot(Slot::A, "1.0", &old);
    node.healthy();
    assert_eq!((told(), meta(&node).failed.len()), ((Value::Null, None), 1));
}

#[test]
fn what_the_policy_or_a_fleet_has_armed_makes_room_for_who_names_another_one() {
    let (mut world, server, [old, new], _) = world();
    let third = Made::of(5, new.data.iter().rev().copied().collect());
    world.add_with_uki("3.0", &third, &made(uki("3.0", third.root.hash, UKI)), &[]);
    world.publish();
    for (by, asked, yields) in [
        (Asked::Policy, Asked::Fleet, true),
        (Asked::Policy, Asked::Person, true),
        (Asked::Fleet, Asked::Fleet, true),
        (Asked::Person, Asked::Fleet, false),
        (Asked::Person, Asked::Person, false),
    ] {
        let node = OwnNode::new(&world, &old, &server.url());
        node.healthy();
        arms(&node, by).unwrap();
        assert!(required(&node).is_some());
        // Who names the same finds it there.
        assert_eq!(stages(&node, "2.0", asked).unwrap().0["way"], "there");
        assert_eq!(meta(&node).trial.unwrap().phase, Phase::Armed);
        let staged = stages(&node, "3.0", asked);
        if !yields {
            let words = "release 2.0 is armed: first restart to try it, or give it up by `cancel`";
            assert_eq!(staged, Err(words.to_owned()), "{by:?} {asked:?}");
            continue;
        }
        let (result, notices) = staged.unwrap();
        assert_eq!(result["staged"], "3.0", "{by:?} {asked:?}");
        let given_up = "release 2.0, which no person had armed, is given up: 3.0 was asked for";
        assert!(notices.contains(&given_up.to_owned()), "{notices:?}");
        assert_eq!((meta(&node).trial, required(&node)), (None, None));
    }
    // What the policy has armed and a person asks for is the person's from then on.
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    arms(&node, Asked::Policy).unwrap();
    arms(&node, Asked::Person).unwrap();
    assert!(stages(&node, "3.0", Asked::Fleet).is_err());
}

#[test]
fn whoever_is_killed_while_he_arms_leaves_it_armed_with_all_that_belongs_to_it_or_not_at_all() {
    let (world, server, [old, _], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    stages(&node, "2.0", Asked::Policy).unwrap();
    // After the last record, and before anything else.
    on(&node, |node| {
        let staged = node.machine().staged().unwrap().unwrap();
        staged.arm(How::Reboot, Asked::Policy, 1).unwrap();
    });
    assert_eq!(required(&node), None);
    node.updater().settle().unwrap();
    assert_eq!(required(&node).as_deref(), Some("2.0 is staged\n"));
    assert!(matches!(on(&node, |node| node.waits_for().unwrap()), Some(Next::Trial(_))));

    // Before the last record: the loader has been told.
    let mut half = meta(&node);
    half.trial.as_mut().unwrap().phase = Phase::Arming;
    let record = half.record(1000).unwrap();
    let device = File::options().write(true).open(node.root().join("dev/vda2")).unwrap();
    OFFSETS.iter().for_each(|offset| device.write_all_at(&record, *offset).unwrap());
    fs::remove_file(node.root().join(REQUIRED)).unwrap();
    write(&node.root(), "var/lib/orlop/trial", "noted");
    assert_eq!(node.entries(), ["2a.efi", "3b+1.efi"]);
    node.updater().settle().unwrap();
    assert_eq!(node.entries(), ["4a.efi", "3b.efi"]);
    let after = meta(&node);
    assert_eq!((after.trial, after.staged.map(|it| it.attempts)), (None, Some(0)));
    assert!(required(&node).is_none() && !node.root().join("var/lib/orlop/trial").exists());
    // And whoever asks again has it tried.
    assert_eq!(arms(&node, Asked::Policy).unwrap().0["trial"], "2.0");
}

#[test]
fn a_channel_that_was_emptied_says_that_it_has_nothing() {
    let (mut world, server, [old, _], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    arms(&node, Asked::Policy).unwrap();
    world.targets.targets.clear();
    world.publish();
    let (found, _) = asks(&node, Request::Check {}).unwrap();
    let why = "the channel has no release";
    assert_eq!((&found["newest"], &found["against-by-policy"]), (&Value::Null, &why.into()));
    // What the policy does then.
    let (given_up, _) = asks(&node, Request::Cancel {}).unwrap();
    assert_eq!((given_up["cancelled"].as_str(), required(&node)), (Some("release 2.0"), None));
}

#[test]
fn a_release_is_not_armed_whose_trial_would_have_no_copy_of_the_databases() {
    let (world, server, [old, _], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let database = "var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";
    write(&node.root(), database, "");
    let file = File::options().write(true).open(node.root().join(database)).unwrap();
    file.set_len((256 << 20) + 1).unwrap();
    let words = "release 2.0 is not tried, for its trial could not begin: the databases of containerd \
                 and kubelet have 268435457 bytes, more than 268435456";
    assert_eq!(arms(&node, Asked::Person), Err(words.to_owned()));
    let after = meta(&node);
    assert_eq!((after.trial, after.staged.is_some(), after.failed), (None, true, vec![]));
    assert_eq!((required(&node), node.entries()), (None, ["2a.efi", "1b.efi"].map(Into::into)));
    file.set_len(1).unwrap();
    assert_eq!(arms(&node, Asked::Person).unwrap().0["trial"], "2.0");
}
