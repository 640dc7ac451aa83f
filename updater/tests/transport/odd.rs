//! Servers that err or lie: passed over with words where there is another one, refused with words where
//! there is none.

use updater::transport::Way;

use crate::shared::disk::Disk;
use crate::shared::server::{Odd, Server, nobody};
use crate::shared::world::{Made, World, directory, run, two_images, web};

const SLOT: usize = 2 << 20;

/// A release without deltas, so that blocks and the whole are the ways.
fn world() -> (World, [Made; 2]) {
    let [old, new] = two_images();
    let mut world = World::new();
    world.add("2.0", &new, &[]);
    world.publish();
    (world, [old, new])
}

/// What a node says when the whole image comes from a server with something odd, alone and before a good
/// one.
fn alone_and_with_another(world: &World, new: &Made, part: &str, odd: &Odd) -> String {
    let server = Server::start(&world.place());
    server.odd(part, odd.clone());
    let mut spare = Disk::of(&[], SLOT);
    let alone = run(world, vec![web(&server.url())], None, None, &mut spare);
    let said = alone.result.expect_err(&format!("{odd:?} is accepted"));
    let places = vec![web(&server.url()), directory(&world.place())];
    let both = run(world, places, None, None, &mut spare);
    both.result.unwrap_or_else(|error| panic!("{odd:?}: {error}: {:?}", both.notices));
    assert!(spare.bytes.starts_with(&new.slot()), "{odd:?}");
    assert!(both.notices.iter().any(|it| it.contains(&server.url())), "{:?}", both.notices);
    said
}

#[test]
fn a_server_that_errs_is_passed_over_with_words() {
    let (world, [_, new]) = world();
    for (odd, words) in [
        (Odd::Status("404 Not Found", ""), "it has no such file (404 Not Found)"),
        (Odd::Status("403 Forbidden", ""), "it answers `403 Forbidden`"),
        (Odd::Status("503 Service Unavailable", "Retry-After: 0\r\n"), "503 Service Unavailable"),
        (Odd::Status("429 Too Many Requests", "Retry-After: 999\r\n"), "429 Too Many Requests"),
        (Odd::Page, "a web page instead of the file"),
        (Odd::Packed, "has packed the file (gzip), which nobody asked for"),
        (Odd::Short, "bytes, and not "),
        (Odd::Changed, "not what was signed: its sha256 is not the one that was signed"),
        (Odd::Endless, "not what was signed"),
        (Odd::Cut(100_000), "cut before the end"),
        (Odd::Cut(0), "cut before the end"),
        (Odd::Drip, "the server has given "),
        (Odd::Silent, "the server has said nothing for 300ms"),
    ] {
        // The whole image: after the table there is no more of it than was signed.
        if matches!(odd, Odd::Cut(100_000)) {
            // Each try goes on where the one before it ended, so it comes to its end.
            let server = Server::start(&world.place());
            server.odd("root.zst", odd);
            let mut spare = Disk::of(&[], SLOT);
            let ran = run(&world, vec![web(&server.url())], None, None, &mut spare);
            assert_eq!(ran.result.unwrap().way, Way::Whole);
            assert!(ran.notices.iter().all(|it| it.contains(words)), "{:?}", ran.notices);
            let requests = server.take_requests();
            assert!(requests.iter().any(|it| it.contains("root.zst 100000-")), "{requests:?}");
            continue;
        }
        if matches!(odd, Odd::Endless) {
            // What goes on behind the end is not read.
            let server = Server::start(&world.place());
            server.odd("root.zst", odd);
            let mut spare = Disk::of(&[], SLOT);
            let ran = run(&world, vec![web(&server.url())], None, None, &mut spare);
            let arrived = ran.result.unwrap();
            assert!(arrived.fetched < 2_000_000, "{arrived:?}");
            continue;
        }
        let said = alone_and_with_another(&world, &new, "root.zst", &odd);
        assert!(said.contains(words), "{odd:?}: {said}");
        assert!(said.contains("root.zst` from http") || said.contains("cannot fetch"), "{said}");
    }
}

#[test]
fn a_server_that_drips_what_is_thrown_away_is_given_up_too() {
    let (world, [_, new]) = world();
    let server = Server::start(&world.place());
    server.odd_times("root.zst", Odd::Cut(100_000), 1);
    // It knows no ranges, so what has come before comes again, byte by byte.
    server.odd("root.zst", Odd::DripWhole);
    let mut spare = Disk::of(&[], SLOT);
    let places = vec![web(&server.url()), directory(&world.place())];
    let both = run(&world, places, None, None, &mut spare);
    both.result.unwrap_or_else(|error| panic!("{error}: {:?}", both.notices));
    assert!(spare.bytes.starts_with(&new.slot()));
    assert!(
        both.notices.iter().any(|it| it.contains("the server has given ")),
        "{:?}",
        both.notices
    );
}

#[test]
fn metadata_of_a_server_that_errs_is_passed_over_with_words() {
    let (world, [_, new]) = world();
    for (part, odd, words) in [
        ("timestamp", Odd::Page, "a web page instead of the file"),
        (
            "timestamp",
            Odd::Status("404 Not Found", ""),
            "`timestamp.json`: the repository does not",
        ),
        ("timestamp", Odd::Changed, "`timestamp.json`: "),
        ("timestamp", Odd::Endless, "it has more than the 16384 bytes that are taken"),
        ("timestamp", Odd::Drip, "the server has given "),
        ("timestamp", Odd::Silent, "the server has said nothing"),
        ("2.root", Odd::Status("500 Internal Server Error", ""), "500 Internal Server Error"),
        (
            "1.snapshot",
            Odd::Status("404 Not Found", ""),
            "`snapshot.json`: the repository does not",
        ),
        ("1.targets", Odd::Changed, "`targets.json`: "),
    ] {
        let server = Server::start(&world.place());
        server.odd(part, odd.clone());
        let mut spare = Disk::of(&[], SLOT);
        let alone = run(&world, vec![web(&server.url())], None, None, &mut spare);
        // A root that is not there is no error, and one behind it is none that is asked for.
        let said = alone.result.expect_err(part);
        assert!(said.starts_with("no release can be trusted: "), "{said}");
        assert!(said.contains(words) && said.contains(&server.url()), "{part} {odd:?}: {said}");
        let places = vec![web(&server.url()), directory(&world.place())];
        let both = run(&world, places, None, None, &mut spare);
        assert!(both.result.is_ok(), "{part} {odd:?}: {:?}", both.result);
        assert!(
            both.notices.iter().any(|it| it.contains("is passed over: ")),
            "{:?}",
            both.notices
        );
        assert!(spare.bytes.starts_with(&new.slot()));
        // The next world begins without what this one keeps.
        std::fs::remove_dir_all(world.directory.path().join("state")).unwrap();
    }
}

#[test]
fn a_place_that_is_gone_is_asked_again_and_then_passed_over_for_good() {
    let (world, [_, new]) = world();
    let gone = nobody();
    let mut spare = Disk::of(&[], SLOT);
    let ran = run(&world, vec![web(&gone)], None, None, &mut spare);
    let said = ran.result.unwrap_err();
    let refused = "the host refuses the connection: nobody listens at that port";
    let want = format!(
        "no release can be trusted: cannot fetch `metadata/2.root.json`: from {gone}: {refused}"
    );
    assert_eq!(said, want);
    assert_eq!(ran.notices.len(), 3, "two more tries, and the end: {:?}", ran.notices);
    let server = Server::start(&world.place());
    let ran = run(&world, vec![web(&gone), web(&server.url())], None, None, &mut spare);
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    // Files that come later are asked of the one that is there.
    assert_eq!(ran.notices.len(), 3, "{:?}", ran.notices);
    assert!(spare.bytes.starts_with(&new.slot()));
}

#[test]
fn a_server_that_is_busy_is_asked_again_and_a_redirect_is_followed() {
    let (world, [old, new]) = world();
    let server = Server::start(&world.place());
    server.odd_times("root.zst", Odd::Status("503 Busy", "Retry-After: 0\r\n"), 2);
    let running = Disk::of(&old.slot(), SLOT);
    let mut spare = Disk::of(&[], SLOT);
    let first = Server::start(&world.place());
    first.odd("targets", Odd::Redirect(server.url()));
    let ran = run(&world, vec![web(&first.url())], None, Some((&old, &running)), &mut spare);
    // Ranges outlive a redirect.
    assert_eq!(ran.result.unwrap().way, Way::Blocks, "{:?}", ran.notices);
    assert!(spare.bytes.starts_with(&new.slot()));
    assert_eq!(ran.notices.len(), 2, "{:?}", ran.notices);
    assert!(ran.notices[0].contains("it answers `503"), "{:?}", ran.notices);
}

#[test]
fn a_server_that_lies_about_blocks_is_known_by_them_and_asked_no_more() {
    let (world, [old, new]) = world();
    let running = Disk::of(&old.slot(), SLOT);
    for odd in [Odd::Changed, Odd::OtherRange, Odd::NoRanges] {
        let server = Server::start(&world.place());
        server.odd("root.zst", odd.clone());
        let good = Server::start(&world.place());
        let mut spare = Disk::of(&[], SLOT);
        let places = vec![web(&server.url()), web(&good.url())];
        let ran = run(&world, places, None, Some((&old, &running)), &mut spare);
        let arrived =
            ran.result.unwrap_or_else(|error| panic!("{odd:?} {error} {:?}", ran.notices));
        assert_eq!(arrived.way, Way::Blocks, "{odd:?} {:?}", ran.notices);
        assert!(spare.bytes.starts_with(&new.slot()));
        assert!(ran.notices.iter().any(|it| it.contains(&server.url())), "{:?}", ran.notices);
        let said = ran.notices.iter().any(|it| it.contains("is not asked any more"));
        assert_eq!(said, matches!(odd, Odd::Changed), "{odd:?} {:?}", ran.notices);
    }
}
