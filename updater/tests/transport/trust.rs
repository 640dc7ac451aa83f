//! Which release is believed.

use std::cell::RefCell;

use formats::release::Release;
use updater::cancel::Cancel;
use updater::client::{Mirrors, Place};
use updater::trust::{Channel, Clock, TrustError};

use crate::shared::server::Server;
use crate::shared::world::{CLOCK, DAY, NOW, World, directory, quick, two_images, web};

#[path = "../../examples/simulate-fleet/cost.rs"]
#[expect(dead_code, reason = "of the simulation's model this looks at the numbers of requests")]
mod cost;

/// The version that a node would take.
fn newest(world: &World, places: Vec<Place>, clock: Clock) -> Result<String, TrustError> {
    let mirrors = Mirrors::new(places, quick(), Cancel::new(), &|_| ());
    let store = world.store();
    let channel = Channel::open(&mirrors, &store, clock, None)?;
    channel.release(None).map(|verified| verified.release.version)
}

fn world() -> World {
    let [old, new] = two_images();
    let mut world = World::new();
    world.add("1.0", &old, &[]);
    world.add("0.9-later", &new, &[]);
    world.publish();
    world
}

#[test]
fn the_newest_is_the_one_that_came_last_and_others_are_found_by_name() {
    let world = world();
    let notices = RefCell::new(Vec::new());
    let notice = |line: &str| notices.borrow_mut().push(line.to_owned());
    let mirrors = Mirrors::new(vec![directory(&world.place())], quick(), Cancel::new(), &notice);
    let store = world.store();
    let channel = Channel::open(&mirrors, &store, CLOCK, None).unwrap();
    let release = |version| channel.release(version).map(|it| (it.release.version, it.published));
    assert_eq!(release(None).unwrap(), ("0.9-later".to_owned(), Some(NOW)));
    assert_eq!(release(Some("1.0")).unwrap().0, "1.0");
    let unknown = release(Some("../x")).unwrap_err().to_string();
    assert_eq!(unknown, "there is no release `../x`; there are: 1.0, 0.9-later");
    assert!(notices.into_inner().is_empty());
}

#[test]
fn a_clock_that_is_plainly_wrong_is_a_reason_of_its_own() {
    let world = world();
    let clock = Clock { now: 86_400, floor: NOW };
    let said = newest(&world, vec![directory(&world.place())], clock).unwrap_err();
    assert!(matches!(said, TrustError::Clock(_)));
    assert_eq!(
        said.to_string(),
        "the node's clock says 1970-01-02 00:00:00 UTC, and this image was made at \
         2030-01-01 00:00:00 UTC: is there a time server?"
    );
    assert!(!world.directory.path().join("state").exists(), "nothing was asked for");
}

#[test]
fn what_has_expired_is_refused_until_it_is_refreshed() {
    let mut world = world();
    let place = || vec![directory(&world.place())];
    let later = Clock { now: NOW + 31 * DAY, ..CLOCK };
    let said = newest(&world, place(), later).unwrap_err().to_string();
    assert!(said.contains("`timestamp.json`: it expired at 2030-01-31"), "{said}");
    world.expires = NOW + 60 * DAY;
    world.publish();
    assert_eq!(newest(&world, vec![directory(&world.place())], later).unwrap(), "0.9-later");
}

/// A world that has a release 3.0 by now, and a copy of its place from before that.
fn world_and_old() -> (World, std::path::PathBuf) {
    let mut world = world();
    let old = world.directory.path().join("old");
    copy(&old, &world.place());
    let [_, image] = two_images();
    world.add("3.0", &image, &[]);
    world.publish();
    (world, old)
}

#[test]
fn an_older_state_is_a_rollback_also_after_a_restart_and_another_channel_is_none() {
    let (world, old) = world_and_old();
    assert_eq!(newest(&world, vec![directory(&world.place())], CLOCK).unwrap(), "3.0");
    let said = newest(&world, vec![directory(&old)], CLOCK).unwrap_err().to_string();
    assert!(said.contains("its version is 1, and 2 is trusted: a rollback"), "{said}");
    assert!(said.contains(&old.display().to_string()), "{said}");
    // A mirror that lags behind is passed over.
    let places = vec![directory(&old), directory(&world.place())];
    assert_eq!(newest(&world, places, CLOCK).unwrap(), "3.0");
}

#[test]
fn a_place_without_the_version_that_is_wanted_is_passed_over() {
    let (world, old) = world_and_old();
    let store = world.store();
    let find = |wanted: &str| {
        let places = vec![directory(&old), directory(&world.place())];
        let mirrors = Mirrors::new(places, quick(), Cancel::new(), &|_| ());
        let channel = Channel::open(&mirrors, &store, CLOCK, Some(wanted)).unwrap();
        channel.release(Some(wanted)).map(|it| it.release.version).map_err(|why| why.to_string())
    };
    // The first of them lags behind, and nobody knows that yet.
    assert_eq!(find("1.0"), Ok("1.0".to_owned()));
    assert_eq!(find("3.0"), Ok("3.0".to_owned()));
    let none = "there is no release `4.0`; there are: 1.0, 0.9-later, 3.0";
    assert_eq!(find("4.0"), Err(none.to_owned()));
}

#[test]
fn a_stranger_s_signature_is_none() {
    let (ours, mut theirs) = (world(), World::new());
    theirs.targets.head.expires = NOW + DAY;
    let [image, _] = two_images();
    theirs.add("6.6.6", &image, &[]);
    theirs.publish();
    // The same keys, but what one has signed is not what lies there.
    let stamp = theirs.place().join("metadata/timestamp.json");
    let text = std::fs::read_to_string(&stamp).unwrap().replace("\"version\": 1", "\"version\": 9");
    std::fs::write(&stamp, text).unwrap();
    let said = newest(&theirs, vec![directory(&theirs.place())], CLOCK).unwrap_err().to_string();
    assert!(said.contains("0 of the keys of `timestamp` have signed it, and 1 must"), "{said}");
    let places = vec![directory(&theirs.place()), directory(&ours.place())];
    assert_eq!(newest(&ours, places, CLOCK).unwrap(), "0.9-later");
}

#[test]
fn a_release_that_says_another_version_than_its_directory_is_refused() {
    let mut world = world();
    let one = world.targets.targets[&"1.0/release.json".parse().unwrap()].clone();
    let text = std::fs::read_dir(world.place().join("targets/1.0")).unwrap();
    let name = format!("{}.release.json", one.hashes.prefix().unwrap());
    let file = text.map(|it| it.unwrap().path()).find(|it| it.ends_with(&name));
    let bytes = std::fs::read(file.unwrap()).unwrap();
    assert_eq!(Release::parse(&bytes).unwrap().version, "1.0");
    assert_eq!(one.length, bytes.len() as u64);
    world.target("4.0/release.json", bytes, Some(9));
    world.publish();
    let said = newest(&world, vec![directory(&world.place())], CLOCK).unwrap_err().to_string();
    assert_eq!(said, "the release 4.0 is refused: it says that it is 1.0");
    world.target("5.0/release.json", b"{}".to_vec(), Some(10));
    world.publish();
    let said = newest(&world, vec![directory(&world.place())], CLOCK).unwrap_err().to_string();
    assert!(said.starts_with("the release 5.0 is refused: it is not the description"), "{said}");
}

fn copy(to: &std::path::Path, from: &std::path::Path) {
    for entry in walk(from) {
        let at = to.join(entry.strip_prefix(from).unwrap());
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::copy(&entry, at).unwrap();
    }
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|it| if it.is_dir() { walk(&it) } else { vec![it] }).collect()
}

#[test]
fn a_look_asks_for_as_much_as_the_simulation_of_fleets_counts() {
    let mut world = world();
    let server = Server::start(&world.place());
    let look = |world: &World| {
        newest(world, vec![web(&server.url())], CLOCK).unwrap();
        u32::try_from(server.take_requests().len()).unwrap()
    };
    look(&world);
    assert_eq!((look(&world), look(&world)), (cost::QUIET_LOOK, cost::QUIET_LOOK));
    let [old, _] = two_images();
    world.add("3.0", &old, &[]);
    world.publish();
    assert_eq!(look(&world), cost::LOOK);
    assert_eq!(look(&world), cost::QUIET_LOOK);
}
