//! The units with a node's files in a directory: what is typed goes over the socket to transport and the
//! steps, and the answer comes back. Partitions are files, sysfs is a directory, and nothing boots: a
//! boot is that the command line names another root.

mod choices;
mod judged;
mod node;
#[path = "../shared/mod.rs"]
mod shared;
mod waits;

use std::fs;

use formats::boot_entries::Slot;
use serde_json::Value;
use updater::boot_loader::own_architecture;
use updater::facts;
use updater::node::boot;

use node::{Asking, OwnNode, SLOT, UKI, failed, made, world, write};
use shared::uki::uki;
use shared::world::{Made, NOW};

#[test]
fn what_is_typed_is_staged_tried_promoted_and_left_again() {
    let (world, server, [old, new], ukis) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    let path = node.directory.path().join("updater.sock");
    let nobody = format!("nobody listens at `{}`", path.display());
    assert!(failed(&node, &path, "status").starts_with(&nobody));

    let unit = Asking::new(&node);
    let status = unit.good("status");
    assert!(status.contains("image: node\n") && status.contains("version: 1.0\n"), "{status}");
    assert!(status.contains(&server.url()) && status.contains("doing: none"), "{status}");
    let check = unit.good("check");
    assert!(check.contains("newest: 2.0\n") && check.contains("against: none\n"), "{check}");
    let not_yet = "this version was not found healthy yet, and the other slot would be lost: wait until \
                   it is, the log of `updater` says what is lacking; or go back by `rollback`";
    assert_eq!(unit.failed("stage"), not_yet);
    assert_eq!(node.entries(), ["2a.efi", "1b.efi"]);
    node.healthy();
    assert_eq!(node.entries(), ["2a+3.efi", "1b.efi"], "a disk of the builder is taken over");

    assert_eq!(unit.failed("upgrade 9.0"), "there is no release `9.0`; there are: 1.0, 2.0");
    assert_eq!(unit.good("upgrade 1.0"), "runs: 1.0\n");
    let (staged, notes) = unit.ask("stage").unwrap();
    assert!(staged.contains("staged: 2.0\n") && staged.contains("way: delta\n"), "{staged}");
    assert!(notes.contains("fill 100 %"), "{notes}");
    let slot = fs::read(node.root().join("dev/vda4")).unwrap();
    assert!(slot.starts_with(&new.slot()) && node.has_uki(Slot::B, &ukis[1]));
    let again = unit.good(&format!("--json stage {}", world.place().display()));
    let last: Value = serde_json::from_str(again.lines().last().unwrap()).unwrap();
    assert_eq!(last["result"]["way"], "there", "{again}");
    assert_eq!(unit.good("cancel"), "cancelled: release 2.0\n");
    assert_eq!(unit.failed("cancel"), "no release is staged");

    let tried = unit.good("upgrade --no-restart");
    assert!(tried.contains("way: there\n") && tried.contains("trial: 2.0\n"), "{tried}");
    assert!(tried.contains("restart: is due\n"), "{tried}");
    // No variables: its entry is counted.
    assert_eq!(node.entries(), ["2a.efi", "3b+1.efi"]);
    let required = fs::read_to_string(node.root().join("var/run/reboot-required")).unwrap();
    assert_eq!(required, "2.0 is staged\n");
    let told: Value = serde_json::from_str(&unit.good("--json status")).unwrap();
    assert_eq!(told["result"]["slots"]["trial"]["phase"], "armed", "{told}");
    assert_eq!(
        (&told["result"]["phase"], &told["result"]["staged"]),
        (&"staged".into(), &"2.0".into())
    );
    // Whoever asks again gets what is armed already.
    assert_eq!(unit.good("upgrade 2.0 --no-restart"), "restart: is due\ntrial: 2.0\n");
    assert_eq!(node.entries(), ["2a.efi", "3b+1.efi"]);

    // Its trial.
    node.boot(Slot::B, "2.0", &new);
    node.healthy();
    // A is above until it is healthy: the loader here counts nothing.
    assert_eq!(node.entries(), ["4a.efi", "5b+3.efi"]);
    let back = unit.good("rollback --no-restart");
    assert_eq!(back, "restart: is due\nrollback: 1.0\n");
    assert_eq!(node.entries(), ["6a+3.efi", "5b.efi"]);
    node.boot(Slot::A, "1.0", &old);
    node.healthy();
    let against: Value = serde_json::from_str(&unit.good("--json check")).unwrap();
    let against = &against["result"]["against-by-policy"];
    assert!(against.as_str().unwrap().contains("has failed on this node"), "{against}");
}

#[test]
fn a_release_that_does_not_start_is_left_with_its_reason_and_what_is_no_good_touches_nothing() {
    let (mut world, server, [old, new], ukis) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let unit = Asking::new(&node);
    let before = fs::read(node.root().join("dev/vda1")).unwrap();
    // Signed, and put together wrongly.
    world.add_with_uki("3.0", &new, &made(ukis[0].clone()), &[]);
    world.add_with_uki("4.0", &new, &made(uki("4.0", new.root.hash, 2 * UKI)), &[]);
    world.publish();
    let told = unit.failed("upgrade 3.0");
    assert!(told.starts_with("the UKI of the release starts the root "), "{told}");
    let told = unit.failed("upgrade 4.0");
    assert_eq!(told, "the release has a UKI of 524288 bytes, and this node's have 262144");
    assert!(fs::read(node.root().join("dev/vda1")).unwrap() == before);

    assert!(unit.good("upgrade 2.0 --no-restart").contains("trial: 2.0\n"));
    // The trial has left what it was judged.
    let hash = new.root.hash;
    let outcome = format!(
        "root-hash = \"{hash}\"\nverdict = \"unhealthy\"\nreason = \"kubelet is not there\"\n"
    );
    write(&node.root(), "var/lib/orlop/trial-outcome", outcome);
    node.boot(Slot::B, "2.0", &new);
    let facts = facts::read(&node.root()).unwrap();
    assert_eq!(boot::begin(&node.root(), &facts, NOW).unwrap(), boot::Begun::Trial);
    // It hangs; the watchdog resets, and the other entry starts.
    node.boot(Slot::A, "1.0", &old);
    let facts = facts::read(&node.root()).unwrap();
    let boot::Begun::FellBack(fallback) = boot::begin(&node.root(), &facts, NOW).unwrap() else {
        panic!("it fell back")
    };
    assert_eq!(fallback.reason, "it was not healthy: kubelet is not there");
    assert_eq!(boot::begin(&node.root(), &facts, NOW).unwrap(), boot::Begun::Ordinary, "once");
    let told: Value = serde_json::from_str(&unit.good("--json status")).unwrap();
    assert_eq!(told["result"]["slots"]["fell-back"]["version"], "2.0", "{told}");
    node.healthy();
    // A person may ask for it again.
    assert!(unit.good("upgrade 2.0 --no-restart").contains("trial: 2.0\n"));
}

#[test]
fn the_boot_loader_is_replaced_by_that_of_the_image_and_not_while_a_release_is_tried() {
    let (world, server, [old, new], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    let unit = Asking::new(&node);
    let early = "this version was not found healthy yet: the boot loader is left alone until it is, the \
                 log of `updater` says what is lacking";
    assert_eq!(unit.failed("update-loader"), early);
    node.healthy();
    assert!(unit.good("upgrade 2.0 --no-restart").contains("trial: 2.0\n"));
    let tried = "release 2.0 is armed: first restart to try it, or give it up by `cancel`";
    assert_eq!(unit.failed("update-loader --force"), tried);
    unit.good("cancel");

    let path = own_architecture().boot_file();
    let versions = "before: 257.9-1\nloader: 257.13-1\n";
    let would = unit.good("update-loader --dry-run");
    assert_eq!(would, format!("{versions}would-replace: [\"{path}\"]\n"));
    let status = unit.good("status");
    assert!(status.contains("loader: 257.9-1\nloader-of-image: 257.13-1\n"), "{status}");
    let done = unit.good("update-loader");
    assert_eq!(done, format!("{versions}replaced: [\"{path}\"]\n"));
    assert!(unit.good("status").contains("loader: 257.13-1\n"));
    assert!(unit.good("update-loader").ends_with("replaced: []\n"));
    // Slots and entries are as they were.
    assert!(unit.good("upgrade 2.0 --no-restart").contains("trial: 2.0\n"));
    node.boot(Slot::B, "2.0", &new);
    node.healthy();

    fs::remove_file(node.root().join("usr/lib/orlop/systemd-boot.efi")).unwrap();
    let told = unit.failed("update-loader");
    let want = "cannot read the boot loader of this image, `/usr/lib/orlop/systemd-boot.efi`: ";
    assert!(told.starts_with(want), "{told}");
}

#[test]
fn a_release_that_is_larger_than_the_slot_is_refused_before_anything_of_it_is_fetched() {
    let (mut world, server, [old, _], _) = world();
    let large = Made::of(9, vec![7; usize::try_from(SLOT).unwrap()]);
    world.add_with_uki("3.0", &large, &made(uki("3.0", large.root.hash, UKI)), &[]);
    world.publish();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let unit = Asking::new(&node);
    let parts = || {
        ["vda1", "vda2", "vda3", "vda4"]
            .map(|it| fs::read(node.root().join("dev").join(it)).unwrap())
    };
    server.take_requests();
    let needs = large.slot().len();
    let want =
        format!("the release takes {needs} bytes of a root slot, and this node's have {SLOT}");
    assert_eq!(unit.failed("upgrade 3.0"), want);
    // META has learnt of the channel which epoch it is in.
    let before = parts();
    assert_eq!(unit.failed("upgrade 3.0"), want);
    let requests = server.take_requests();
    let is_metadata = |path: &String| path.contains("metadata/") || path.contains("release.json");
    assert!(requests.iter().all(is_metadata), "{requests:?}");
    assert!(parts() == before);
}

#[test]
fn records_that_are_damaged_are_told_and_renewed_for_who_asks() {
    let (world, server, [old, _], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let unit = Asking::new(&node);
    let whole = "the records of META can be read: nothing is to be renewed";
    assert_eq!(unit.failed("renew"), whole);
    write(&node.root(), "dev/vda2", vec![7; 1 << 20]);
    let damaged =
        "what this node remembers of its updates cannot be read: both records of META are damaged";
    assert_eq!(unit.failed("upgrade --no-restart"), damaged);
    let told: Value = serde_json::from_str(&unit.good("--json status")).unwrap();
    assert_eq!(told["result"]["slots"]["unknown"], damaged, "{told}");
    assert_eq!(unit.good("renew"), "renewed: the records of META\n");
    let not_yet = "this version was not found healthy yet, and the other slot would be lost: wait until \
                   it is, the log of `updater` says what is lacking; or go back by `rollback`";
    assert_eq!(unit.failed("stage"), not_yet);
    node.healthy();
    assert!(unit.good("upgrade --no-restart").contains("trial: 2.0\n"));
}

#[test]
fn a_partition_that_cannot_be_written_is_named_and_the_others_are_as_they_were() {
    let (world, server, [old, _], _) = world();
    for (device, what) in
        [("vda1", "the EFI system partition"), ("vda2", "META"), ("vda4", "the spare root slot")]
    {
        let node = OwnNode::new(&world, &old, &server.url());
        node.healthy();
        let unit = Asking::new(&node);
        let path = node.root().join("dev").join(device);
        // What nobody can write to, not even root.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let told = unit.failed("stage");
        let want = format!("cannot open {what}, `{}`, to write to it: ", path.display());
        assert!(told.starts_with(&want), "{told}");
        let told: Value = serde_json::from_str(&unit.good("--json status")).unwrap();
        let unknown = told["result"]["slots"]["unknown"].as_str().unwrap();
        assert!(unknown.starts_with(&want), "{unknown}");
    }
}

#[test]
fn a_node_without_slots_or_channel_says_so() {
    let (world, server, [old, _], _) = world();
    let node = OwnNode::new(&world, &old, &server.url());
    node.healthy();
    let unit = Asking::new(&node);
    write(&node.root(), "var/lib/orlop/node.toml", "schema = 1\n");
    assert!(unit.failed("check").starts_with("there is no channel: "));
    write(&node.root(), "var/lib/orlop/node.toml", "schema = 1\nupdate.chanel = 1\n");
    assert!(unit.failed("check").starts_with("the node config cannot be used: 2:"));
    fs::remove_file(node.root().join("usr/lib/orlop/updates/root.json")).unwrap();
    write(&node.root(), "var/lib/orlop/node.toml", "schema = 1\n");
    assert!(unit.failed("stage").starts_with("this image trusts no channel: "));
    // What is good stays good, whatever the channel.
    node.healthy();
    write(&node.root(), "sys/class/block/dm-0/dm/name", "something\n");
    let told = unit.failed("stage");
    assert!(told.starts_with("this node runs from no slot of a disk"), "{told}");
    let told: Value = serde_json::from_str(&unit.good("--json status")).unwrap();
    assert!(told["result"]["slots"]["unknown"].is_string(), "{told}");
}
