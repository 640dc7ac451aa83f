//! A registry as it should be, and as it should not be. Who is known to it is in a directory of the
//! test's.

use std::fs;
use std::io::Cursor;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::http::Proxies;
use crate::mock_registry::{Asked, MockRegistry, Reply, errors};
use crate::progress::{Mode, Progress};

struct World {
    mock: MockRegistry,
    place: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { mock: MockRegistry::start(), place: tempfile::tempdir().unwrap() }
    }

    /// Somebody is known to the registry of this test.
    fn logged_in(self, member: &str) -> Self {
        let text = format!(r#"{{"auths":{{"{}":{{{member}}}}}}}"#, self.mock.host());
        fs::write(self.place.path().join("config.json"), text).unwrap();
        self
    }

    fn at(&self, called: &str, purpose: Purpose) -> Registry {
        let location = Location::new(&format!("{}/a/b{called}", self.mock.host())).unwrap();
        let docker = Some(self.place.path().to_owned());
        let logins = Registries::new(docker, None, None, "".into());
        let access = Access::from(&Proxies::default());
        let (server, access) = server(&location, Plain::Loopback, access).unwrap();
        let client = Client::with_pause(access, |_| {}).unwrap();
        Registry::of(client, server, &location, purpose, Plain::Loopback, logins)
    }

    fn pushing(&self) -> Registry {
        self.at(":1", Purpose::Push)
    }

    fn send(&self, content: &[u8]) -> Result<()> {
        send(&self.pushing(), content)
    }
}

fn blob(content: &[u8]) -> Blob {
    Blob { sha256: Sha256::of(content), size: content.len() as u64 }
}

fn send(registry: &Registry, content: &[u8]) -> Result<()> {
    let open = || Ok(Box::new(Cursor::new(content.to_vec())) as Box<dyn std::io::Read>);
    registry.send(&blob(content), &open)
}

fn large() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn download(registry: &Registry, content: &[u8], before: &[u8]) -> (Result<()>, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("part");
    fs::write(&path, before).unwrap();
    let task = Progress::new(Mode::None).task("", None);
    let done = registry.download(&blob(content), &path, &task);
    (done, fs::read(&path).unwrap())
}

fn document(text: &str) -> formats::oci::Document {
    formats::oci::Document { bytes: text.into(), blob: blob(text.as_bytes()) }
}

#[test]
fn a_blob_and_a_manifest_come_back_and_a_blob_that_is_there_is_known() {
    let world = World::new();
    let registry = world.pushing();
    for content in [large(), b"small".to_vec(), Vec::new()] {
        assert!(!registry.has(&blob(&content)).unwrap());
        send(&registry, &content).unwrap();
        assert!(registry.has(&blob(&content)).unwrap());
        assert_eq!(registry.bytes(&blob(&content)).unwrap(), content);
        let (done, came) = download(&registry, &content, &content[..content.len() / 2]);
        done.unwrap();
        assert!(came == content);
    }
    let error = registry.manifest().unwrap_err();
    assert_eq!(error.id(), Id::NotFound);
    let host = world.mock.host();
    let want = format!(
        "the registry of `{host}/a/b:1` has no manifest for us (404 Not Found): MANIFEST_UNKNOWN: none"
    );
    assert_eq!(error.chain(), want);
    let manifest = document("{}");
    registry.put_manifest(&manifest).unwrap();
    assert_eq!(registry.manifest().unwrap(), (b"{}".to_vec(), manifest.blob.sha256));
    let by_digest = world.at(&format!("@sha256:{}", manifest.blob.sha256), Purpose::Pull);
    assert_eq!(by_digest.manifest().unwrap().1, manifest.blob.sha256);
}

/// What must be told to be let in, and where a token is had.
fn wants(who: &str, challenge: String) -> impl FnMut(&Asked) -> Option<Reply> + Send + 'static {
    let who = who.to_owned();
    move |asked| {
        let known =
            asked.header("authorization") == Some(&who) || asked.target.starts_with("/token");
        let reply = || Reply::new(401, errors("UNAUTHORIZED", "who?"));
        (!known).then(|| reply().with("WWW-Authenticate", challenge.clone()))
    }
}

fn auth(login: &str) -> String {
    format!(r#""auth":"{}""#, BASE64_STANDARD.encode(login))
}

#[test]
fn a_name_and_a_password_are_told_when_they_are_asked_for() {
    let basic = format!("Basic {}", BASE64_STANDARD.encode("me:secret"));
    let world = World::new().logged_in(&auth("me:secret"));
    world.mock.odd(wants(&basic, "Basic realm=\"x\"".to_owned()));
    world.send(&large()).unwrap();
    let asked = world.mock.take_asked();
    assert_eq!(asked[0], "POST /v2/a/b/blobs/uploads/");
    assert_eq!(asked[1], format!("POST /v2/a/b/blobs/uploads/ as {basic}"));
    assert_eq!(asked.len(), 3, "what is known is not found out again");
    let (done, came) = download(&world.at(":1", Purpose::Pull), &large(), b"");
    done.unwrap();
    assert!(came == large());

    let world = World::new().logged_in(&auth("me:wrong"));
    world.mock.odd(wants(&basic, "Basic realm=\"x\"".to_owned()));
    let error = world.send(b"x").unwrap_err();
    assert_eq!(error.id(), Id::Unauthorized);
    assert!(error.hints()[0].starts_with("it refuses the name and the password from `"));
    let world = World::new();
    world.mock.odd(wants(&basic, "Basic realm=\"x\"".to_owned()));
    let error = world.send(b"x").unwrap_err();
    assert_eq!(error.id(), Id::Unauthorized);
    assert!(error.hints()[0].starts_with("`oras login 127.0.0.1:"), "{error:?}");
}

#[test]
fn a_token_is_had_for_what_is_to_be_done_and_a_new_one_when_it_is_over() {
    for (member, told) in [
        (String::new(), None),
        (auth("me:secret"), Some(format!("Basic {}", BASE64_STANDARD.encode("me:secret")))),
    ] {
        let world = World::new().logged_in(&member);
        let realm = format!("http://{}/token?x=y", world.mock.host());
        let mut tokens = 0;
        let mut uses = 0;
        let challenge =
            format!("Bearer realm=\"{realm}\",service=\"s e\",scope=\"repository:a/b:pull\"");
        world.mock.odd(move |asked| {
            if asked.target.starts_with("/token") {
                tokens += 1;
                uses = 0;
                return Some(Reply::new(200, format!(r#"{{"access_token":"t{tokens}"}}"#)));
            }
            uses += 1;
            let good = asked.header("authorization") == Some(&format!("Bearer t{tokens}"));
            // Each is good for three questions.
            let refused = Reply::new(401, "").with("WWW-Authenticate", challenge.clone());
            (!good || uses > 3).then_some(refused)
        });
        let registry = world.pushing();
        for content in [&b"1"[..], b"2", b"3"] {
            send(&registry, content).unwrap();
        }
        assert_eq!(registry.bytes(&blob(b"1")).unwrap(), b"1");
        assert_eq!(registry.bytes(&blob(b"2")).unwrap(), b"2");
        assert_eq!(world.mock.blobs(), 3);
        let asked = world.mock.take_asked();
        let tokens: Vec<_> = asked.iter().filter(|line| line.contains("/token")).collect();
        let query = "x=y&service=s%20e&scope=repository%3Aa%2Fb%3Apull%2Cpush&\
                     scope=repository%3Aa%2Fb%3Apull";
        let who = told.map_or(String::new(), |who| format!(" as {who}"));
        assert!(tokens.len() > 1, "{asked:?}");
        assert!(
            tokens.iter().all(|line| **line == format!("GET /token?{query}{who}")),
            "{asked:?}"
        );
    }
}

#[test]
fn a_kept_token_is_exchanged_for_one_of_a_registry() {
    let world = World::new().logged_in(r#""identitytoken":"long""#);
    let challenge = format!("Bearer realm=\"http://{}/token\"", world.mock.host());
    let mut wants = wants("Bearer short", challenge);
    world.mock.odd(move |asked| {
        if asked.target.starts_with("/token") {
            let form = "grant_type=refresh_token&client_id=orlop&refresh_token=long&\
                        scope=repository%3Aa%2Fb%3Apull%2Cpush";
            let good = asked.method == "POST" && asked.content == form.as_bytes();
            let reply = Reply::new(if good { 200 } else { 400 }, r#"{"token":"short"}"#);
            return Some(reply);
        }
        wants(asked)
    });
    world.send(b"x").unwrap();
}

#[test]
fn whoever_an_answer_points_to_is_told_no_password() {
    let elsewhere = MockRegistry::start();
    elsewhere.put_blob(&large());
    elsewhere.odd(|asked| (asked.method == "PUT").then(|| Reply::new(201, "")));
    let basic = format!("Basic {}", BASE64_STANDARD.encode("me:secret"));
    let world = World::new().logged_in(&auth("me:secret"));
    let (mut wants, other) = (wants(&basic, "Basic".to_owned()), elsewhere.host());
    world.mock.odd(move |asked| {
        wants(asked).or_else(|| {
            let status = match asked.method.as_str() {
                "GET" => 307,
                "POST" => 202,
                _ => return None,
            };
            let place = format!("http://{other}{}", asked.target);
            Some(Reply::new(status, "").with("Location", place))
        })
    });
    let registry = world.pushing();
    send(&registry, &large()).unwrap();
    assert!(registry.bytes(&blob(&large())).unwrap() == large());
    let (done, came) = download(&registry, &large(), &large()[..1000]);
    done.unwrap();
    assert!(came == large());
    let asked = elsewhere.take_asked();
    assert!(asked.len() == 3 && asked.iter().all(|line| !line.contains(" as ")), "{asked:?}");
}

#[test]
fn a_password_goes_to_no_server_of_tokens_without_encryption() {
    let world = World::new().logged_in(&auth("me:secret"));
    world.mock.odd(wants("x", "Bearer realm=\"http://tokens.example/\"".to_owned()));
    let error = world.send(b"x").unwrap_err();
    assert_eq!(error.id(), Id::Registry);
    assert!(
        error.chain().ends_with("`http://tokens.example/`, which is not encrypted"),
        "{error:?}"
    );
}

#[test]
fn only_this_host_is_spoken_to_without_encryption_unless_told_otherwise() {
    for (host, plain, want, direct) in [
        ("registry.example", Plain::Loopback, "https://registry.example", false),
        ("registry.example:5000", Plain::Always, "http://registry.example:5000", false),
        ("127.0.0.1:5000", Plain::Loopback, "http://127.0.0.1:5000", true),
        ("localhost:5000", Plain::Loopback, "http://localhost:5000", true),
        ("localhost.example", Plain::Loopback, "https://localhost.example", false),
        ("10.0.0.1:5000", Plain::Loopback, "https://10.0.0.1:5000", false),
        ("docker.io", Plain::Loopback, "https://registry-1.docker.io", false),
    ] {
        let location = Location::new(&format!("{host}/a:1")).unwrap();
        let (server, access) = server(&location, plain, Access::default()).unwrap();
        assert_eq!((server.as_str(), !access.proxies.none_for.is_empty()), (want, direct));
    }
}

/// What a registry answers to a method, and what is made of it.
#[test]
fn refusals_are_told_in_the_words_of_the_registry() {
    let full = errors("UNKNOWN", "no space\\u001b left");
    for (method, status, content, id, want) in [
        (
            "POST",
            404,
            errors("NAME_UNKNOWN", "x"),
            Id::NotFound,
            "has no repository `a/b`: NAME_UN",
        ),
        (
            "POST",
            403,
            errors("DENIED", "not you"),
            Id::Unauthorized,
            "takes no blob (403 Forbidden): DENIED: not you",
        ),
        (
            "POST",
            500,
            full,
            Id::HttpStatus,
            "takes no blob (500 Internal Server Error): UNKNOWN: no space left",
        ),
        ("POST", 200, String::new(), Id::HttpStatus, "takes no blob (200 OK)"),
        (
            "PUT",
            413,
            String::new(),
            Id::HttpStatus,
            "takes nothing so large (413 Payload Too Large)",
        ),
        ("PUT", 507, "full".to_owned(), Id::HttpStatus, "is full (507 Insufficient Storage)"),
        (
            "PUT",
            400,
            errors("DIGEST_INVALID", ""),
            Id::HttpStatus,
            "does not take a blob (400 Bad Request): DIGEST_INVALID",
        ),
        ("POST", 403, "<html>log in".to_owned(), Id::WebPage, "answers with a web page"),
    ] {
        let world = World::new();
        let method = method.to_owned();
        world.mock.odd(move |asked| (asked.method == method).then(|| Reply::new(status, &content)));
        let error = world.send(&large()).unwrap_err();
        assert_eq!(error.id(), id, "{}", error.chain());
        let start = format!("the registry of `{}/a/b:1` {want}", world.mock.host());
        assert!(error.chain().starts_with(&start), "{}", error.chain());
        let again = world.mock.take_asked().len();
        assert!(if status == 500 { again == 5 } else { again <= 2 }, "{status}: {again}");
    }
}

#[test]
fn what_passes_by_itself_is_tried_again() {
    let world = World::new();
    let mut left = 3;
    world.mock.odd(move |_| {
        left -= 1;
        (left >= 0).then(|| Reply::new(503, ""))
    });
    world.send(&large()).unwrap();
    let mut cuts = vec![399_999, 1000];
    world.mock.odd(move |asked| {
        let cut = (asked.method == "GET").then(|| cuts.pop())??;
        Some(Reply { cut: Some(cut), ..Reply::new(200, large()) })
    });
    let (done, came) = download(&world.pushing(), &large(), b"");
    done.unwrap();
    assert!(came == large());
}

#[test]
fn an_answer_against_the_protocol_is_an_error_of_its_own() {
    let refused = |reply: Reply| {
        let world = World::new();
        let first = reply.clone();
        world.mock.odd(move |asked| (asked.method == "POST").then(|| first.clone()));
        let error = world.send(b"x").unwrap_err();
        assert_eq!(error.id(), Id::Registry, "{}", error.chain());
        error.chain()
    };
    for (reply, want) in [
        (Reply::new(202, ""), "does not say where to go on"),
        (Reply::new(202, "").with("Location", "ftp://x/"), "points to a place that is none"),
        (Reply::new(307, ""), "does not say where to go on"),
        (Reply::new(307, "").with("Location", "/v2/x"), "points from one place to the next"),
        (Reply::new(401, ""), "does not say what it wants to be told"),
        (
            Reply::new(401, "").with("WWW-Authenticate", "Bearer realm=\"x\""),
            "names a server of tokens",
        ),
    ] {
        let said = refused(reply);
        assert!(said.contains(want), "{said}");
    }
    // A server of tokens that has none.
    for answer in ["<html>", "{}", r#"{"token":"a b"}"#] {
        let world = World::new();
        let mut wants = wants("x", format!("Bearer realm=\"http://{}/token\"", world.mock.host()));
        let answer = answer.to_owned();
        world.mock.odd(move |asked| {
            wants(asked)
                .or_else(|| asked.target.starts_with("/token").then(|| Reply::new(200, &answer)))
        });
        let error = world.send(b"x").unwrap_err();
        assert_eq!(error.id(), Id::Registry, "{}", error.chain());
    }
}

#[test]
fn what_has_another_digest_or_size_or_no_end_is_not_believed() {
    let world = World::new();
    let registry = world.pushing();
    let manifest = document("{}");
    registry.put_manifest(&manifest).unwrap();
    let other = world.at(&format!("@sha256:{}", Sha256::of("other")), Purpose::Pull);
    world.mock.odd(|asked| {
        let other = Reply::new(200, "{ }")
            .with("Docker-Content-Digest", format!("sha256:{}", Sha256::of("{}")));
        (asked.method == "GET" && asked.target.contains("manifests")).then_some(other)
    });
    assert_eq!(registry.manifest().unwrap_err().id(), Id::WrongDigest);
    world.mock.odd(|_| Some(Reply::new(200, "{}")));
    assert_eq!(other.manifest().unwrap_err().id(), Id::WrongDigest);
    let endless = || Reply { endless: true, ..Reply::new(200, vec![b' '; 1 << 16]) };
    world.mock.odd(move |_| Some(endless()));
    assert_eq!(registry.manifest().unwrap_err().id(), Id::TooLarge);
    assert_eq!(registry.bytes(&blob(b"x")).unwrap_err().id(), Id::TooLarge);
    let (done, _) = download(&registry, b"x", b"");
    assert_eq!(done.unwrap_err().id(), Id::WrongDigest);
    world.mock.odd(|_| Some(Reply::new(200, "y")));
    assert_eq!(registry.bytes(&blob(b"x")).unwrap_err().id(), Id::WrongDigest);
    let said = format!("sha256:{}", Sha256::of("other"));
    world.mock.odd(move |asked| {
        let reply = Reply::new(201, "").with("Docker-Content-Digest", said.clone());
        (asked.method == "PUT").then_some(reply)
    });
    assert_eq!(world.send(b"x").unwrap_err().id(), Id::WrongDigest);
    assert_eq!(registry.put_manifest(&manifest).unwrap_err().id(), Id::WrongDigest);
    // One that was cut off in the registry is none.
    world.mock.odd(|asked| (asked.method == "HEAD").then(|| Reply::new(200, "cut")));
    assert!(!registry.has(&blob(&large())).unwrap());
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_an_error() {
    let world = World::new();
    let open = || Ok(Box::new(Cursor::new(b"short".to_vec())) as Box<dyn std::io::Read>);
    let error = world.pushing().send(&blob(&large()), &open).unwrap_err();
    assert_eq!(error.id(), Id::Read);
    assert!(error.chain().ends_with("it is shorter than it was"), "{}", error.chain());
    assert_eq!(world.mock.blobs(), 0);
    let gone = || Err(std::io::ErrorKind::NotFound.into());
    let error = world.pushing().send(&blob(b"x"), &gone).unwrap_err();
    assert_eq!(error.to_string(), "cannot read what is to be pushed");
}
