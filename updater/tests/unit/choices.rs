//! Which release of a channel a node goes by: what is for others hides nothing and teaches nothing, and what
//! another one must come before is the same for all who ask.

use std::fs;

use formats::boot_entries::Slot;
use serde_json::Value;
use updater::cancel::Cancel;
use updater::protocol::Request;
use updater::serve::Work as _;

use crate::node::{Asking, OwnNode, UKI, made, world, write};
use crate::shared::server::Server;
use crate::shared::uki::uki;
use crate::shared::world::{Made, World};

/// An image like this one, and other.
fn third(new: &Made) -> Made {
    Made::of(5, new.data.iter().rev().copied().collect())
}

fn add(world: &mut World, version: &str, image: &Made) {
    let uki = made(uki(version, image.root.hash, UKI));
    world.add_with_uki(version, image, &uki, &[]);
}

fn told(unit: &Asking<'_>, words: &str) -> Value {
    let said = unit.good(&format!("--json {words}"));
    let told: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    told["result"].clone()
}

#[test]
fn a_release_of_something_else_raises_no_epoch_and_nor_does_another_place() {
    let (world, server, [old, new], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let unit = Asking::new(&node);
    // Of another image, of another root hash, and of what runs but not from the channel.
    for (image, runs) in [("storage", &old), ("node", &new), ("node", &old)] {
        let mut other = World::new();
        other.architecture.clone_from(&world.architecture);
        (other.image, other.epoch) = (image.to_owned(), 9);
        add(&mut other, "1.0", runs);
        other.publish();
        drop(unit.ask(&format!("stage {}", other.place().display())));
        assert_eq!(told(&unit, "status")["slots"]["epoch"], 0, "{image}");
    }
    // Nor where the channel itself has become one of another image.
    let mut other = World::new();
    other.architecture.clone_from(&world.architecture);
    (other.image, other.epoch) = ("storage".to_owned(), 9);
    add(&mut other, "1.0", &old);
    other.publish();
    let its = Server::start(&other.place());
    let config = |channel: &Server| {
        let text = format!("schema = 1\nupdate.channel = '{}'\n", channel.url());
        write(&node.root(), "var/lib/orlop/node.toml", text);
    };
    config(&its);
    unit.failed("stage");
    assert_eq!(told(&unit, "status")["slots"]["epoch"], 0);
    // What runs, as the channel has it, does.
    (other.image, other.epoch) = ("node".to_owned(), 7);
    add(&mut other, "1.0", &old);
    other.publish();
    unit.good("stage");
    assert_eq!(told(&unit, "status")["slots"]["epoch"], 7);
    config(&server);
    assert!(unit.failed("stage 2.0").contains("its epoch is 3, and this node was in 7"));
}

#[test]
fn what_comes_first_is_a_matter_of_the_order_of_releases_and_of_nothing_else() {
    for (first, own, next) in
        [("1.9-rc1", "1.9", "2.0"), ("r_1", "r_2", "r_3"), ("beta", "alpha", "gamma")]
    {
        let (like, _, [old, new], _) = world();
        let mut world = World::new();
        world.architecture.clone_from(&like.architecture);
        add(&mut world, first, &third(&new));
        add(&mut world, own, &old);
        world.min_from = Some(first.to_owned());
        add(&mut world, next, &new);
        world.publish();
        let server = Server::start(&world.place());
        let node = OwnNode::new(&world, &old, &server.url());
        node.boot(Slot::A, own, &old);
        node.healthy();
        let unit = Asking::new(&node);
        assert_eq!(told(&unit, "check")["against"], Value::Null, "{own}");
        assert_eq!(told(&unit, "stage")["staged"], next);
    }
}

#[test]
fn what_is_for_others_hides_nothing_and_policy_takes_what_it_may() {
    let (mut world, server, [old, new], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let ours = std::mem::replace(&mut world.architecture, "other".to_owned());
    add(&mut world, "4.0-other", &third(&new));
    world.publish();
    let unit = Asking::new(&node);
    let found = told(&unit, "check");
    assert_eq!((&found["newest"], &found["against"]), (&"2.0".into(), &Value::Null));
    assert_eq!(found["by-policy"]["version"], "2.0");
    // A release that this one is reached by only over another: a person is told, the policy takes that.
    (world.architecture, world.min_from) = (ours, Some("2.0".to_owned()));
    add(&mut world, "5.0", &third(&new));
    world.publish();
    let found = told(&unit, "check");
    assert_eq!((&found["newest"], &found["by-policy"]["version"]), (&"5.0".into(), &"2.0".into()));
    assert!(unit.failed("stage").contains("nodes of releases before 2.0 take that one first"));
    assert_eq!(told(&unit, "stage 2.0")["staged"], "2.0");
}

#[test]
fn a_release_that_runs_under_another_version_is_waited_for_no_longer() {
    let (world, server, [old, new], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let unit = Asking::new(&node);
    unit.good("upgrade 2.0 --no-restart");
    // Its image says another version than the channel: somebody else has published it.
    node.boot(Slot::B, "1.1", &new);
    node.healthy();
    node.judged("healthy\n");
    unit.good("upgrade 2.0 --wait");
}

#[test]
fn who_stops_a_way_back_or_a_trial_finds_nothing_arranged() {
    let (world, server, [old, new], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let unit = Asking::new(&node);
    unit.good("upgrade 2.0 --no-restart");
    node.boot(Slot::B, "2.0", &new);
    node.healthy();
    let required = || fs::exists(node.root().join("var/run/reboot-required")).unwrap();
    let stopped = Cancel::new();
    stopped.cancel();
    for request in [
        Request::Rollback { restart: true },
        Request::UpdateLoader { force: true, dry_run: false },
        Request::Upgrade {
            version: Some("1.0".to_owned()),
            from: None,
            asked: updater::plan::Asked::Person,
            restart: true,
        },
    ] {
        let why = node.updater().carry_out(&request, &stopped, &|_| ()).unwrap_err().why;
        assert!(why.ends_with("it was cancelled"), "{why}");
        let status = told(&unit, "status");
        assert_eq!((&status["rollback"], &status["phase"]), (&Value::Null, &"idle".into()));
        assert!(!required(), "{request:?}");
    }
}

#[test]
fn a_channel_that_was_mixed_up_with_another_one_says_how_it_begins_anew() {
    let (world, server, [old, new], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let mut beta = World::new();
    beta.architecture.clone_from(&world.architecture);
    add(&mut beta, "1.0", &old);
    add(&mut beta, "2.0", &new);
    for _ in 0..6 {
        beta.publish();
    }
    let its = Server::start(&beta.place());
    let config = |channel: String| {
        write(
            &node.root(),
            "var/lib/orlop/node.toml",
            format!("schema = 1\nupdate.channel = {channel}\n"),
        );
    };
    let unit = Asking::new(&node);
    config(format!("['{}', '{}']", its.url(), server.url()));
    unit.good("check");
    config(format!("'{}'", server.url()));
    let why = unit.failed("check");
    assert!(why.contains("its version is 1, and 6 is trusted: a rollback"), "{why}");
    let known = why.split('`').rev().nth(1).unwrap();
    assert!(known.contains("/var/lib/orlop/updates/metadata/"), "{why}");
    fs::remove_dir_all(known).unwrap();
    assert_eq!(told(&unit, "check")["newest"], "2.0");
}
