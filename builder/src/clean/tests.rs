//! What goes and what stays, as a table.

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn category_of(name: &str) -> usize {
    CATEGORIES.iter().position(|row| row.name == name).unwrap()
}

fn item(category: &str, days: u32, id: ItemId) -> Item {
    Item {
        category: category_of(category),
        path: PathBuf::from(category),
        bytes: 10,
        age: DAY * days,
        id,
    }
}

fn sha(text: &str) -> Sha256 {
    Sha256::of(text)
}

fn blob(text: &str, days: u32) -> Item {
    item("blobs", days, ItemId::Blob(sha(text)))
}

fn result(kind: &str, days: u32, names: &[&str]) -> Item {
    let names = names.iter().map(|name| sha(name)).collect();
    item("steps", days, ItemId::Step { kind: kind.into(), key: sha(kind), names })
}

fn verdicts(items: &[Item], needed: &Needed) -> Vec<Verdict> {
    decide(items, DAY * 14, needed, |_| true)
}

#[test]
fn what_is_old_goes_unless_a_lock_or_something_young_needs_it() {
    let needed = Needed {
        blobs: [sha("package")].into(),
        steps: [("go-modules".to_owned(), sha("go-modules")), ("go".to_owned(), sha("go"))].into(),
        ..Needed::default()
    };
    let items = [
        (blob("package", 100), Verdict::Needed),
        (blob("old", 100), Verdict::Remove),
        (blob("new", 1), Verdict::Young),
        // What a compiler has fetched for a lock stays, with its blobs.
        (result("go-modules", 100, &["module"]), Verdict::Needed),
        (blob("module", 100), Verdict::Needed),
        (result("other-modules", 100, &["other"]), Verdict::Remove),
        (blob("other", 100), Verdict::Remove),
        // What can be made again goes by its age, although the lock's last build has used it.
        (result("go", 100, &["program"]), Verdict::Remove),
        (blob("program", 100), Verdict::Remove),
        // The parts of a young result stay.
        (result("image", 1, &["root"]), Verdict::Young),
        (blob("root", 100), Verdict::Young),
        // A note only names.
        (result("latest", 1, &["noted"]), Verdict::Young),
        (blob("noted", 100), Verdict::Remove),
        (item("partial", 100, ItemId::Blob(sha("package"))), Verdict::Needed),
        (item("partial", 100, ItemId::Blob(sha("begun"))), Verdict::Remove),
        (item("go-build", 20, ItemId::Other), Verdict::Remove),
        (item("go-build", 13, ItemId::Other), Verdict::Young),
    ];
    let (items, want): (Vec<_>, Vec<_>) = items.into_iter().unzip();
    assert_eq!(verdicts(&items, &needed), want);
}

#[test]
fn only_what_was_asked_for_goes() {
    let items = [blob("old", 100), item("go", 100, ItemId::Other), result("go", 100, &["part"])];
    let items = [&items[..], &[blob("part", 100)]].concat();
    let only = |name: &'static str| {
        decide(&items, Duration::ZERO, &Needed::default(), move |row| row.name == name)
    };
    use Verdict::{NotAsked, Remove, Young};
    assert_eq!(only("go"), [NotAsked, Remove, NotAsked, NotAsked]);
    // The result stays, so what it is made of does.
    assert_eq!(only("blobs"), [Remove, NotAsked, NotAsked, Young]);
}

#[test]
fn every_kind_of_step_is_known_to_be_made_again() {
    for kind in step::Kind::ALL {
        assert!(made_again(kind.name()));
    }
    assert!(!made_again("go-modules") && !made_again("something new"));
}

#[test]
fn each_category_stands_once_and_has_a_directory_of_its_own() {
    let places = Places { store: Path::new("/s"), caches: Path::new("/c") };
    let names: BTreeSet<_> = CATEGORIES.iter().map(|row| row.name).collect();
    let directories: BTreeSet<_> = CATEGORIES.iter().map(|r| r.kind.directory(places)).collect();
    assert_eq!((names.len(), directories.len()), (CATEGORIES.len(), CATEGORIES.len()));
}

#[test]
fn the_table_is_for_people() {
    let items = [blob("a", 0), item("go", 0, ItemId::Other)];
    let places = Places { store: Path::new("/s"), caches: Path::new("/c") };
    let verdicts = [Verdict::Needed, Verdict::Remove];
    let text = |outcome| {
        let needed = Needed::default();
        Report::new(&items, &verdicts, &needed, places, DAY, outcome).to_string()
    };
    expect_test::expect![[r#"
               would go  needed by locks  used lately
        blobs  -         1, 10 B          -
        go     1, 10 B   -                -
        10 B would be freed, 10 B stay; nothing was removed"#]]
    .assert_eq(&text(Outcome::DryRun));
    expect_test::expect![[r#"
               removed  needed by locks  used lately
        blobs  -        1, 10 B          -
        go     1, 10 B  -                -
        10 B freed, 10 B stay"#]]
    .assert_eq(&text(Outcome::Removed));
}
