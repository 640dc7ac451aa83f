//! Whatever is changed on the way, and wherever it is cut off, what is trusted is what was signed.

use proptest::prelude::*;

use super::super::*;
use super::world::*;

/// A client of the first edition, and a repository that has gone on: another root with other keys.
fn moved_on() -> (World, Memory) {
    let mut world = World::new();
    world.delegate("b", &["b/*"], 7);
    world.publish();
    let mut client = world.client();
    world.refresh(&mut client).unwrap();
    world.root = root(2, 8, 9);
    world.publish_root();
    world.root.head.version = 3;
    world.publish_root();
    (world.timestamp_signers, world.snapshot_signers) = (vec![8], vec![9]);
    world.advance();
    world.publish();
    (world, client)
}

/// A power cut after any number of steps: the next refresh comes to the same end.
#[test]
fn a_refresh_that_was_cut_off_is_done_by_the_next() {
    let (world, before) = moved_on();
    let mut done = before.clone();
    world.refresh(&mut done).unwrap();
    for steps in 0.. {
        let mut client = before.clone();
        client.served.clone_from(&world.served);
        let mut refresh = Refresh::new(world.now, world.limits);
        let mut taken = 0;
        while let Some(request) = refresh.request().cloned().filter(|_| taken < steps) {
            let bytes = match request {
                Request::Load { file, limit } => client.load(&file, limit),
                Request::Fetch { path, limit } => client.fetch(&path, limit),
                Request::Store { file, bytes } => client.store(&file, &bytes).map(|()| None),
                Request::Remove { file } => client.remove(&file).map(|()| None),
            };
            refresh.answer(bytes.unwrap()).unwrap();
            taken += 1;
        }
        let ended = refresh.request().is_none();
        world.refresh(&mut client).unwrap();
        assert_eq!(client, done, "cut off after {steps}");
        if ended {
            assert!(steps > 10, "{steps}");
            return;
        }
    }
}

/// What comes of an answer that is none.
#[test]
fn a_refresh_that_has_ended_wants_nothing_and_takes_anything() {
    let (world, mut client) = moved_on();
    client.served.clone_from(&world.served);
    let mut refresh = Refresh::new(world.now, world.limits);
    run(&mut refresh, &mut client).unwrap();
    assert_eq!(refresh.answer(Some(vec![1])), Ok(()));
    assert_eq!(refresh.request(), None);
    assert!(refresh.into_trusted().is_some());
    assert!(Refresh::new(world.now, world.limits).into_trusted().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One byte of one file: it is refused, or says the same.
    #[test]
    fn a_changed_byte_changes_nothing_that_is_trusted(which: prop::sample::Index, at: prop::sample::Index, to: u8) {
        let (mut world, mut client) = moved_on();
        let honest = world.clone();
        let paths: Vec<_> = world.served.keys().cloned().collect();
        let bytes = world.served.get_mut(which.get(&paths)).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(trusted) = world.refresh(&mut client) {
            prop_assert_eq!(trusted.root(), &honest.root);
            prop_assert_eq!(trusted.targets(), Some(&honest.targets));
        }
        // Nor does it harm what comes after.
        let trusted = honest.refresh(&mut client).unwrap();
        prop_assert_eq!(trusted.targets(), Some(&honest.targets));
    }

    /// Files in each other's places, cut off, or not there.
    #[test]
    fn files_in_wrong_places_change_nothing_that_is_trusted(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4)
    ) {
        let (mut world, mut client) = moved_on();
        let honest = world.clone();
        let paths: Vec<_> = world.served.keys().cloned().collect();
        for (from, to, cut) in changes {
            let bytes = honest.served[from.get(&paths)].clone();
            let cut = cut.index(bytes.len() * 2);
            world.served.insert(to.get(&paths).clone(), bytes[..cut.min(bytes.len())].to_vec());
        }
        if let Ok(trusted) = world.refresh(&mut client) {
            // An older edition is trusted only by who has seen no newer one: this client has version 5.
            let version = trusted.targets().unwrap().head.version;
            prop_assert!(version == 5 || version == 6);
        }
        let trusted = honest.refresh(&mut client).unwrap();
        prop_assert_eq!(trusted.targets(), Some(&honest.targets));
    }

    /// Metadata is what was written, and unknown members stay.
    #[test]
    fn metadata_comes_back_from_its_file(
        version in 1..=i64::MAX as u64,
        expires in 0_i64..253_402_300_800,
        custom in prop::collection::btree_map("[a-z]{1,8}", json_value(), 0..4),
    ) {
        let mut targets = targets(version);
        targets.head.expires = expires;
        targets.head.more.extend(custom.iter().map(|(k, v)| (format!("x-{k}"), v.clone())));
        let mut file_ = target("x");
        file_.custom = Some(custom);
        targets.targets.insert(path("a/b"), file_);
        let bytes = file(&targets, &[TARGETS]);
        let signed = Signed::parse(&bytes).unwrap();
        prop_assert_eq!(signed.metadata::<Targets>(), Ok(targets));
    }
}

fn json_value() -> impl Strategy<Value = Json> {
    json::tests::json()
}
