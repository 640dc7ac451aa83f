//! Roles that targets are handed on to: who is asked, in which order, and with whose keys.

use super::super::*;
use super::world::*;

/// Roles named by their delegators: (who, whom, scope, key, terminating).
type Edge = (&'static str, &'static str, &'static str, u8, bool);

fn graph(edges: &[Edge]) -> World {
    let mut world = World::new();
    for (_, name, ..) in edges {
        world.delegated.insert(name.parse().unwrap(), (targets(5), vec![]));
    }
    for (from, to, scope, signer, terminating) in edges {
        let delegation =
            Delegation { terminating: *terminating, ..delegation(to, &[scope], *signer) };
        let by = if *from == "targets" {
            &mut world.targets
        } else {
            &mut world.delegated.get_mut(&from.parse().unwrap()).unwrap().0
        };
        by.delegations.get_or_insert_default().add(delegation, *signer);
        world.delegated.get_mut(&to.parse().unwrap()).unwrap().1.push(*signer);
    }
    world
}

/// The roles that were asked, in order.
fn asked(world: &mut World, target: &str) -> String {
    world.publish();
    let mut client = world.client();
    let trusted = world.refresh(&mut client).unwrap();
    let mut search = Search::new(&trusted, path(target), world.limits).unwrap();
    let mut order = String::new();
    while let Some(request) = search.request().cloned() {
        let bytes = match request {
            Request::Fetch { path, .. } => {
                order +=
                    path.strip_prefix("5.").and_then(|name| name.strip_suffix(".json")).unwrap();
                world.served.get(&path).cloned()
            }
            _ => None,
        };
        search.answer(bytes).unwrap();
    }
    let found = search.found().map(|found| found.path);
    assert!(found.as_ref().map_or(true, |found| *found == path(target)));
    if found.is_ok() { order + "!" } else { order }
}

#[test]
fn roles_are_asked_in_pre_order_each_once_and_nobody_after_a_terminating_one() {
    const ANY: &str = "*";
    for (edges, want) in [
        (&[][..], ""),
        (&[("targets", "A", ANY, 7, false), ("targets", "B", ANY, 8, false)], "AB"),
        (
            &[
                ("targets", "A", ANY, 7, false),
                ("targets", "B", ANY, 8, false),
                ("A", "C", ANY, 9, false),
                ("A", "D", ANY, 10, false),
            ],
            "ACDB",
        ),
        (
            &[
                ("targets", "A", ANY, 7, false),
                ("targets", "B", ANY, 8, false),
                ("A", "C", ANY, 9, true),
                ("A", "D", ANY, 10, false),
                ("C", "E", ANY, 11, false),
            ],
            "ACE",
        ),
        (
            &[
                ("targets", "A", "b*", 7, true),
                ("targets", "B", ANY, 8, false),
                ("A", "C", ANY, 9, false),
            ],
            "B",
        ),
        // Circles.
        (
            &[
                ("targets", "A", ANY, 7, false),
                ("A", "B", ANY, 8, false),
                ("B", "A", ANY, 7, false),
                ("B", "B", ANY, 8, false),
            ],
            "AB",
        ),
    ] {
        assert_eq!(asked(&mut graph(edges), "a"), want, "{edges:?}");
    }
}

#[test]
fn the_first_who_may_and_has_it_is_believed() {
    let edges = [
        ("targets", "A", "a/*", 7, false),
        ("targets", "B", "*/*", 8, false),
        ("A", "C", "b/*", 9, false),
    ];
    let mut world = graph(&edges);
    for (role, content) in [("A", "of A"), ("B", "of B"), ("C", "of C")] {
        let (targets, _) = world.delegated.get_mut(&role.parse().unwrap()).unwrap();
        for name in ["a/x", "b/x", "c"] {
            targets.targets.insert(path(name), target(content));
        }
    }
    world.publish();
    let mut client = world.client();
    assert_eq!(world.find(&mut client, "a/x").unwrap().file, target("of A"));
    assert_eq!(world.find(&mut client, "b/x").unwrap().file, target("of B"));
    // All have it, and none of them may speak of it.
    assert_eq!(world.find(&mut client, "c").unwrap_err().reason, Reason::NoTarget);
    world.targets.targets.insert(path("a/x"), target("of targets"));
    world.advance();
    world.publish();
    assert_eq!(world.find(&mut client, "a/x").unwrap().file, target("of targets"));
}

/// One name, named by two with different keys: what was verified for one is nothing to the other.
#[test]
fn a_role_is_verified_for_who_names_it_each_time() {
    let edges = [
        ("targets", "A", "a/*", 7, false),
        ("targets", "B", "b/*", 8, false),
        ("A", "R", "a/*", 9, false),
        ("B", "R", "b/*", 10, false),
    ];
    let mut world = graph(&edges);
    let (release, signers) = world.delegated.get_mut(&"R".parse().unwrap()).unwrap();
    release.targets.extend([(path("a/x"), target("good")), (path("b/x"), target("bad"))]);
    *signers = vec![9];
    world.publish();
    let mut client = world.client();
    assert!(world.find(&mut client, "a/x").is_ok());
    let refused = world.find(&mut client, "b/x").unwrap_err().to_string();
    assert_eq!(refused, "`R.json`: 0 of the keys of `R` have signed it, and 1 must");
    assert!(world.find(&mut client, "a/x").is_ok());
}

#[test]
fn a_role_that_cannot_be_verified_ends_the_search() {
    type Attack = fn(&mut World);
    let attacks: [(Attack, &str); 6] = [
        (
            |w| w.delegated.values_mut().for_each(|(_, signers)| *signers = vec![STRANGER]),
            "`A.json`: 0 of the keys of `A` have signed it, and 1 must",
        ),
        (
            |w| w.delegated.values_mut().for_each(|(role, _)| role.head.expires = NOW),
            "`A.json`: it expired at 2030-01-01 00:00:00 UTC: nothing newer is to be had, or it is \
             kept back",
        ),
        (|w| w.delegated.clear(), "`A.json`: the snapshot does not name it"),
        (|w| w.limits.targets = 2000, "`A.json`: it has more than the 2000 bytes that are taken"),
        (|w| w.limits.roles = 1, "`x`: more than 1 roles would have to be asked for it"),
        (|w| w.limits.roles = 2, "`x`: there is no such target"),
    ];
    for (attack, want) in attacks {
        let mut world = graph(&[("targets", "A", "*", 7, false)]);
        let many = (0..20).map(|n| (path(&n.to_string()), target("x")));
        world.delegated.get_mut(&"A".parse().unwrap()).unwrap().0.targets.extend(many);
        attack(&mut world);
        world.publish();
        let mut client = world.client();
        assert_eq!(world.find(&mut client, "x").unwrap_err().to_string(), want);
    }
    let mut world = graph(&[("targets", "A", "*", 7, false)]);
    world.publish();
    world.served.remove("5.A.json");
    let refused = world.find(&mut world.client(), "x").unwrap_err();
    assert_eq!(refused.to_string(), "`A.json`: the repository does not have it");
}

/// Two hundred roles in a row, each naming the next: a bound ends it.
#[test]
fn a_chain_of_roles_ends_at_the_bound() {
    let mut world = World::new();
    world.delegate("0", &["*"], 7);
    for number in 1..200 {
        let name = number.to_string();
        let before: RoleName = (number - 1).to_string().parse().unwrap();
        let (by, _) = world.delegated.get_mut(&before).unwrap();
        by.delegations.get_or_insert_default().add(delegation(&name, &["*"], 7), 7);
        world.delegated.insert(name.parse().unwrap(), (targets(5), vec![7]));
    }
    world.publish();
    let refused = world.find(&mut world.client(), "x").unwrap_err();
    assert_eq!(refused.reason, Reason::TooManyRoles(32));
}

#[test]
fn odd_names_of_roles_are_one_name_in_the_repository_and_in_what_is_kept() {
    for (name, quoted) in [("?", "%3F"), ("#", "%23"), ("/a", "%2Fa"), ("../a", "..%2Fa")] {
        let mut world = World::new();
        world.delegate(name, &["*"], 7);
        world.publish();
        let mut client = world.client();
        let refused = world.find(&mut client, "x").unwrap_err();
        assert_eq!(refused.reason, Reason::NoTarget);
        assert!(
            world.served.contains_key(&format!("5.{quoted}.json")),
            "{:?}",
            world.served.keys()
        );
        assert!(client.kept.contains_key(&format!("{quoted}.json")), "{:?}", client.kept.keys());
    }
}
