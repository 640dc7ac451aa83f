//! The client of the API server against a mock of one that errs.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use formats::fleet::Phase;
use serde_json::json;

use super::*;
use crate::cluster::credentials::tests::{joined, pair_of, write};
use crate::cluster::mock_api::{Answer, MockApi};
use crate::cluster::occasion::Kind;

/// A name, what is answered, what is said of it.
type Case = (&'static str, fn() -> Answer, &'static str);

const LIMIT: Duration = Duration::from_secs(20);

fn list() -> Value {
    let own = json!({ "metadata": { "name": "a", "uid": "u", "resourceVersion": "4" } });
    json!({ "metadata": { "resourceVersion": "7" }, "items": [own] })
}

#[test]
fn the_own_node_is_asked_for_and_no_other() {
    let asked = Mutex::new(Vec::new());
    let asked: &'static Mutex<Vec<_>> = Box::leak(Box::new(asked));
    let server = MockApi::new(|request| {
        asked.lock().unwrap().push(request.clone());
        match request.path.contains("watch=true") {
            true => Answer::Lines(channel().1),
            false => Answer::json(list()),
        }
    });
    let root = joined(&server.url(), "a");
    let api = Api::new(root.path());
    let (version, seen) = api.look(LIMIT).unwrap();
    assert_eq!((version.as_str(), seen.unwrap().uid.as_str()), ("7", "u"));
    assert!(api.watch("7&x=1", Duration::from_secs(5)).unwrap().next().unwrap().is_none());
    let status = Status::new("1", formats::digest::Sha256::of("1"), Phase::Idle);
    api.annotate(&status, LIMIT).unwrap();
    let occasion =
        Occasion { kind: Kind::Normal, reason: "UpdateStaged", message: "so".to_owned() };
    api.tell("u", &occasion, 0, LIMIT).unwrap();
    // kubelet has been given another certificate.
    write(root.path(), formats::kubelet::CURRENT, &pair_of("b"));
    assert_eq!(api.look(LIMIT).unwrap().1, None, "the list is of another node");
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    let lines: Vec<_> = asked.iter().map(|it| format!("{} {}", it.method, it.path)).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/nodes?fieldSelector=metadata.name%3Da",
            "GET /api/v1/nodes?fieldSelector=metadata.name%3Da&watch=true&allowWatchBookmarks=true\
             &resourceVersion=7x1&timeoutSeconds=5",
            "PATCH /api/v1/nodes/a?fieldManager=orlop-updater",
            "POST /api/v1/namespaces/default/events",
            "GET /api/v1/nodes?fieldSelector=metadata.name%3Db",
        ]
    );
    assert!(asked[0].head.contains("as=partialobjectmetadatalist;"), "{}", asked[0].head);
    assert!(asked[2].head.contains("content-type: application/merge-patch+json"));
    assert!(asked[2].body.starts_with(r#"{"metadata":{"annotations":{"orlop.dev/status":"#));
    let event: Value = serde_json::from_str(&asked[3].body).unwrap();
    assert_eq!(
        event["involvedObject"],
        json!({"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "u"})
    );
    assert_eq!(event["lastTimestamp"], "1970-01-01T00:00:00Z");
}

#[test]
fn a_server_that_is_broken_or_hostile_costs_a_reason() {
    const JSON_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
    let cases: &[Case] = &[
        (
            "login page",
            || Answer::Whole("200 OK", "text/html; charset=utf-8", "<html>".into()),
            "answers with a web page: is there a login page",
        ),
        (
            "other type",
            || Answer::Whole("200 OK", "text/plain", "x".into()),
            "answers with `text/plain` and not with JSON",
        ),
        ("html as json", || Answer::json("<html>"), "what is no object of Kubernetes"),
        ("empty", || Answer::json(""), "what is no object of Kubernetes"),
        ("deep", || Answer::json("[".repeat(100_000)), "what is no object of Kubernetes"),
        (
            "endless",
            || Answer::Endless(JSON_HEAD, &[b' '; 65536]),
            "answers with more than 4194304 bytes",
        ),
        (
            "endless head",
            || Answer::Endless("HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
            "no proper answer",
        ),
        (
            "cut",
            || {
                Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
            },
            "cut before the end",
        ),
        ("no http", || Answer::Raw(b"SSH-2.0-x\r\n"), ""),
        (
            "unknown",
            || {
                let body = json!({ "kind": "Status", "message": "Unauthorized", "code": 401 });
                Answer::Whole("401 Unauthorized", "application/json", body.to_string())
            },
            "answers `401 Unauthorized`: Unauthorized",
        ),
        (
            "forbidden",
            || {
                let body = json!({ "message": "nodes \"b\"\u{1b}[2J is forbidden" });
                Answer::Whole("403 Forbidden", "application/json", body.to_string())
            },
            "answers `403 Forbidden`: nodes \"b\" [2J is forbidden",
        ),
        (
            "refused with an endless page",
            || Answer::Endless("HTTP/1.1 500 Oh\r\nContent-Type: text/html\r\n\r\n", &[b'x'; 4096]),
            "answers `500 Internal Server Error`",
        ),
        (
            "elsewhere",
            || {
                Answer::Raw(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
            },
            "answers `302 Found`",
        ),
    ];
    for &(name, make, words) in cases {
        let server = MockApi::new(move |_| make());
        let root = joined(&server.url(), "a");
        let api = Api::new(root.path());
        let said = api.look(LIMIT).expect_err(name).to_string();
        assert!(said.contains(words) && said.contains(&server.url()), "{name}: {said}");
        assert!(!said.contains(char::is_control), "{name}: {said}");
        let condition = api.condition("Ready", LIMIT).expect_err(name);
        assert!(condition.contains(words), "{name}: {condition}");
    }
}

#[test]
fn who_says_nothing_is_not_waited_for_longer_than_the_limit() {
    let server = MockApi::new(|_| Answer::Silence);
    let root = joined(&server.url(), "a");
    let said = Api::new(root.path()).look(Duration::from_millis(200)).unwrap_err().to_string();
    assert!(said.ends_with("no whole answer within 200ms"), "{said}");
    let address = server.url();
    drop(server);
    let said = Api::new(root.path()).condition("Ready", LIMIT).unwrap_err();
    assert_eq!(
        said,
        format!(
            "the API server {address}: the host refuses the connection: nobody listens at that port"
        )
    );
}

#[test]
fn a_watch_ends_with_what_it_cannot_read() {
    let cases: &[Case] = &[
        (
            "too old",
            || {
                Answer::json(
                    json!({ "type": "ERROR", "object": { "code": 410, "message": "old" } }),
                )
            },
            "answers `410`: old",
        ),
        (
            "a line without end",
            || {
                Answer::Endless(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
                    &[b'1'; 65536],
                )
            },
            "answers with more than 4194304 bytes",
        ),
        ("no line", || Answer::json("{]"), "what is no object of Kubernetes"),
    ];
    for &(name, make, words) in cases {
        let server = MockApi::new(move |_| make());
        let root = joined(&server.url(), "a");
        let mut watch = Api::new(root.path()).watch("1", Duration::from_secs(20)).unwrap();
        let trouble = watch.next().expect_err(name);
        assert!(trouble.to_string().contains(words), "{name}: {trouble}");
        assert_eq!(trouble.is_expired(), name == "too old");
    }
}

#[test]
fn a_busy_server_says_when_to_come_again() {
    let server = MockApi::new(|_| {
        Answer::Raw(
            b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
        )
    });
    let root = joined(&server.url(), "a");
    let trouble = Api::new(root.path()).look(LIMIT).unwrap_err();
    assert_eq!(trouble.again(), Some(Duration::from_secs(7)));
}

#[test]
fn conditions_are_those_of_the_own_node_in_this_boot() {
    let server = MockApi::new(|request| {
        assert_eq!(request.path, "/api/v1/nodes/a");
        let ready = json!({ "type": "Ready", "status": "False" });
        let info = json!({ "bootID": "this" });
        Answer::json(json!({ "status": { "conditions": [ready], "nodeInfo": info } }))
    });
    let root = joined(&server.url(), "a");
    let api = Api::new(root.path());
    let silent = "kubelet has told the API server nothing in this boot";
    // What the object has is of the boot before, or nobody knows of which.
    for (own, want) in [("", Err(silent)), ("next\n", Err(silent)), ("this\n", Ok("False"))] {
        write(root.path(), BOOT_ID, own);
        let said = api.condition("Ready", LIMIT);
        assert_eq!(said.as_deref().map_err(String::as_str), want, "{own:?}");
    }
    let missing = "the Node object has no condition Dancing".to_owned();
    assert_eq!(api.condition("Dancing", LIMIT), Err(missing));
    let node = NodeCondition { boot: String::new(), status: Some("True".into()) };
    assert_eq!(of_this_boot(root.path(), node, "Ready"), Err(silent.to_owned()));
}

#[test]
fn a_certificate_that_cannot_be_used_is_told() {
    let root = joined("https://127.0.0.1:1", "a");
    let [one, other] = ["a", "a"].map(pair_of);
    let certificate = &one[..one.find("-----BEGIN PRIVATE").unwrap()];
    let key = &other[other.find("-----BEGIN PRIVATE").unwrap()..];
    write(root.path(), formats::kubelet::CURRENT, &(certificate.to_owned() + key));
    let said = Api::new(root.path()).look(LIMIT).unwrap_err().to_string();
    assert!(said.starts_with("kubelet's certificate cannot be used: "), "{said}");
    write(root.path(), formats::kubelet::CURRENT, &one);
    // There is no authority by which the server could be known.
    let said = Api::new(root.path()).look(LIMIT).unwrap_err().to_string();
    assert!(said.starts_with("the API server https://127.0.0.1:1: "), "{said}");
}
