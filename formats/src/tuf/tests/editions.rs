//! What we publish is what our client reads, whatever is in it, and whenever it looks.

use proptest::prelude::*;

use super::super::*;
use super::world::*;

/// A reader who comes between any two files sees the edition before, or this one, and no mixture.
#[test]
fn who_looks_while_an_edition_comes_sees_a_whole_one() {
    for consistent in [true, false] {
        let mut world = World::new();
        world.root.consistent_snapshot = consistent;
        world.publish_root();
        world.delegate("b", &["b/*"], 7);
        world.publish();
        let before = world.clone();
        world.advance();
        world.targets.targets.insert(path("2.0/a"), target("two"));
        let files = world.edition();
        assert_eq!(files.last().unwrap().address(), "timestamp.json");
        let mut served = before.clone();
        for file in files {
            let old = served.refresh(&mut before.client());
            // Without names for each version a reader may come between, and is told so.
            assert!(old.is_ok() || !consistent);
            if let Ok(trusted) = old {
                assert_eq!(trusted.targets(), Some(&before.targets));
            }
            served.served.insert(file.address(), file.bytes);
        }
        let trusted = served.refresh(&mut before.client()).unwrap();
        assert_eq!(trusted.targets(), Some(&world.targets));
    }
}

/// Roles by their names, each with what it says of targets.
type Roles = std::collections::BTreeMap<String, Vec<(String, String)>>;

fn roles() -> impl Strategy<Value = Roles> {
    let targets = prop::collection::vec(("[a-z?# é]{1,4}(\\.[a-z]{1,3})?", ".{0,20}"), 0..4);
    prop::collection::btree_map("[a-z/. %#]{1,6}", targets, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_target_of_every_role_is_found_as_it_was_published(roles in roles(), consistent: bool) {
        let mut world = World::new();
        world.root.consistent_snapshot = consistent;
        world.publish_root();
        let mut want = Vec::new();
        for (number, (role, targets)) in roles.into_iter().enumerate() {
            let Ok(name) = role.parse::<RoleName>() else { continue };
            world.delegate(&role, &[&format!("{number}/*")], 7);
            let (metadata, _) = world.delegated.get_mut(&name).unwrap();
            for (target_name, content) in targets {
                let Ok(path) = format!("{number}/{target_name}").parse::<TargetPath>() else { continue };
                metadata.targets.insert(path, target(&content));
            }
            want.extend(metadata.targets.clone());
        }
        world.publish();
        let mut client = world.client();
        for (path, said) in want {
            let found = world.find(&mut client, path.as_str()).unwrap();
            prop_assert_eq!((&found.path, &found.file), (&path, &said));
            prop_assert_eq!(found.place(Form::File) == path.as_str(), !consistent);
        }
    }
}
