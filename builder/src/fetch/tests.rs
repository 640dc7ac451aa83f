//! Fetching: from one mirror or the next, resumed, once for all who want it.

use super::*;
use crate::http::Proxies;
use crate::http::loopback::{Answer, Server, nobody};
use crate::progress::Mode;

const CONTENT: &[u8] = b"what the lock names";

fn wanted() -> Blob {
    Blob { sha256: Sha256::of(CONTENT), size: CONTENT.len() as u64 }
}

fn whole() -> Answer {
    Answer::Whole(CONTENT.to_vec())
}

/// As long as the content, and not the content.
fn wrong() -> Answer {
    Answer::Whole(b"what somebody sends".to_vec())
}

struct Fixture {
    _directory: tempfile::TempDir,
    store: Store,
    client: Client,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let client = Client::with_pause(&Proxies::default(), |_| {}).unwrap();
        Self { _directory: directory, store, client }
    }

    fn fetch(&self, urls: &[String]) -> Result<()> {
        let task = Progress::new(Mode::None).task("thing", None);
        blob(&self.client, &self.store, urls, &wanted(), "thing", &task)
    }

    fn partials(&self) -> usize {
        fs::read_dir(self.store.root().join("partial")).unwrap().count()
    }
}

#[test]
fn a_blob_is_fetched_once() {
    let fixture = Fixture::new();
    let server = Server::start([whole()]);
    fixture.fetch(&[server.url("a")]).unwrap();
    fixture.fetch(&[server.url("a")]).unwrap();
    assert_eq!(fixture.store.read_blob(&wanted()).unwrap(), CONTENT);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(fixture.partials(), 0);
}

#[test]
fn what_has_another_digest_is_refused_and_not_kept() {
    let fixture = Fixture::new();
    let server = Server::start([wrong()]);
    let error = fixture.fetch(&[server.url("a")]).unwrap_err();
    assert_eq!(error.id(), Id::WrongDigest);
    let text = format!(
        "`{}` has sha256 `{}`, and `{}` was asked for",
        server.url("a"),
        Sha256::of("what somebody sends"),
        Sha256::of(CONTENT)
    );
    assert_eq!(error.to_string(), text);
    assert!(!fixture.store.has(&wanted()));
    assert_eq!(fixture.partials(), 0);
}

#[test]
fn the_next_address_is_tried_whatever_the_first_one_does() {
    let page = Answer::Whole(b"<html>login</html>.".to_vec());
    for bad in [wrong(), page, Answer::HangUp, Answer::Status(404, ""), Answer::Status(500, "")] {
        let fixture = Fixture::new();
        let (first, second) = (Server::start([bad.clone()]), Server::start([whole()]));
        fixture.fetch(&[first.url("a"), second.url("b")]).unwrap();
        assert!(fixture.store.has(&wanted()), "{bad:?}");
    }
    let fixture = Fixture::new();
    let second = Server::start([whole()]);
    fixture.fetch(&[nobody(), second.url("b")]).unwrap();
    assert!(fixture.store.has(&wanted()));
}

#[test]
fn the_error_tells_for_each_address_why() {
    let fixture = Fixture::new();
    let (first, second) = (Server::start([Answer::Status(404, "")]), Server::start([wrong()]));
    let third = nobody();
    let urls = [first.url("a"), second.url("b"), third];
    let error = fixture.fetch(&urls).unwrap_err();
    assert_eq!(error.id(), Id::FetchFailed);
    let text = error.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "cannot fetch `thing` from any of 3 addresses");
    assert_eq!(lines.len(), 4);
    for ((line, url), code) in lines[1..].iter().zip(&urls).zip(["E0502", "E0801", "E0504"]) {
        assert!(line.starts_with(&format!("  {code}: ")) && line.contains(url), "{line}");
    }
}

#[test]
fn addresses_that_fail_alike_keep_their_kind_of_failure() {
    let fixture = Fixture::new();
    let server = Server::start([Answer::Status(404, "")]);
    let error = fixture.fetch(&[server.url("a"), server.url("b")]).unwrap_err();
    assert_eq!(error.id(), Id::NotFound);
    assert_eq!(fixture.fetch(&[]).unwrap_err().id(), Id::FetchFailed);
}

#[test]
fn a_download_that_an_earlier_run_left_is_resumed() {
    let fixture = Fixture::new();
    let server = Server::start([Answer::Cut(CONTENT.to_vec(), 7)]);
    assert_eq!(fixture.fetch(&[server.url("a")]).unwrap_err().id(), Id::CutShort);
    assert_eq!(fixture.partials(), 1);
    let server = Server::start([Answer::Part(CONTENT.to_vec())]);
    fixture.fetch(&[server.url("a")]).unwrap();
    assert!(server.requests()[0].to_lowercase().contains("range: bytes=7-"));
    assert_eq!(fixture.store.read_blob(&wanted()).unwrap(), CONTENT);
    assert_eq!(fixture.partials(), 0);
}

#[test]
fn a_bad_beginning_costs_one_full_download_and_no_more() {
    let fixture = Fixture::new();
    fs::write(fixture.store.partial_path(&wanted().sha256), b"nonsense").unwrap();
    let server = Server::start([Answer::Part(CONTENT.to_vec())]);
    fixture.fetch(&[server.url("a")]).unwrap();
    assert_eq!(server.requests().len(), 2);

    let fixture = Fixture::new();
    fs::write(fixture.store.partial_path(&wanted().sha256), b"nonsense").unwrap();
    let server = Server::start([Answer::Part(b"what somebody sends".to_vec())]);
    assert_eq!(fixture.fetch(&[server.url("a")]).unwrap_err().id(), Id::WrongDigest);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_web_page_of_the_right_size_is_still_called_one() {
    let fixture = Fixture::new();
    let server = Server::start([Answer::Whole(b"<html>login</html>.".to_vec())]);
    let error = fixture.fetch(&[server.url("a")]).unwrap_err();
    assert_eq!(error.id(), Id::WebPage, "{}", error.chain());
}

#[test]
fn all_who_want_one_blob_at_once_get_it_by_one_download() {
    let fixture = Fixture::new();
    let server = Server::start([whole()]);
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| fixture.fetch(&[server.url("a")]))).collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
    assert_eq!(server.requests().len(), 1);
    assert_eq!(fixture.partials(), 0);
}

#[test]
fn one_that_fails_does_not_keep_the_others_from_coming() {
    let fixture = Fixture::new();
    let server = Server::start([Answer::Part(CONTENT.to_vec())]);
    let absent = |name: &str| Wanted {
        name: name.to_owned(),
        urls: vec![nobody()],
        blob: Blob { sha256: Sha256::of(name), size: 4 },
    };
    let present = Wanted { name: "thing".to_owned(), urls: vec![server.url("a")], blob: wanted() };
    let progress = Progress::new(Mode::None);
    let list = [absent("lost"), absent("gone"), present].map(|wanted| (&fixture.client, wanted));
    let error = all(&fixture.store, &list, &progress, 2).unwrap_err();
    assert_eq!(error.id(), Id::NoConnection);
    let text = error.to_string();
    assert!(text.starts_with("cannot fetch 2 of 3 files\n  E0504: "), "{text}");
    assert_eq!(text.matches("\n  E0504: ").count(), 2, "{text}");
    assert_eq!(error.hints().len(), 1, "one cure for both");
    assert!(fixture.store.has(&wanted()));
}
