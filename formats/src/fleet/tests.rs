//! What a Node object says, written and read again, and what it must not say.

use expect_test::expect;
use proptest::prelude::*;

use super::*;

fn asked(release: &str, request: Option<&str>) -> Asked {
    Asked { release: release.to_owned(), request: request.map(str::to_owned) }
}

fn full() -> Status {
    Status {
        boot_id: Some("b".to_owned()),
        percent: Some(42),
        fetched: Some(123),
        reason: Some("so".to_owned()),
        fallback: Some(Fallback { version: "1.2".into(), reason: "no".into(), time: 7 }),
        looked: Some(Looked { look: "Q".into(), newest: Some("1.3".into()), reason: None }),
        ..Status::new("1.1", Sha256::of("1.1"), Phase::Staging).about(&asked("1.2", Some("ID")))
    }
}

#[test]
fn a_status_is_one_line_as_documented() {
    expect![[
        r#"{"schema":1,"version":"1.1","root-hash":"b05e244762b1e472be89a93800cc3ee326743cecb55984bf12813addb8de66d0","phase":"idle"}"#
    ]]
    .assert_eq(&Status::new("1.1", Sha256::of("1.1"), Phase::Idle).text());
    let text = full().text();
    for part in [
        r#""boot-id":"b","phase":"staging","release":"1.2","request":"ID","percent":42,"fetched":123,"#,
        r#""reason":"so","fallback":{"version":"1.2","reason":"no","time":7},"looked":{"look":"Q","newest":"1.3"}}"#,
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(Status::parse(&text).unwrap(), full());
}

#[test]
fn every_phase_has_the_name_that_is_written() {
    for (name, phase) in Phase::ALL {
        assert_eq!(serde_json::to_string(&phase).unwrap(), format!("\"{name}\""));
        assert_eq!(
            (phase.name(), serde_json::from_str(&format!("\"{name}\"")).ok()),
            (name, Some(phase))
        );
    }
    assert_eq!(serde_json::from_str::<Phase>("\"dancing\"").unwrap(), Phase::Unknown);
    assert!(Phase::ALL.iter().all(|(_, phase)| *phase != Phase::Unknown));
}

#[test]
fn what_a_later_updater_adds_is_passed_over_and_what_it_changes_is_not() {
    let hash = Sha256::of("x");
    let later = format!(
        r#"{{"schema":1,"version":"2","root-hash":"{hash}","phase":"dancing","new":{{"a":[1]}}}}"#
    );
    assert_eq!(Status::parse(&later).unwrap(), Status::new("2", hash, Phase::Unknown));
    for (text, words) in [
        (later.replace("\"schema\":1", "\"schema\":2"), "has schema 2, and 1 is known here"),
        (later.replace("\"schema\":1,", ""), "missing field `schema`"),
        (later.replace(&hash.to_string(), "x"), "`x` is not a sha256"),
        (later.replace("\"version\":\"2\",", ""), "missing field `version`"),
        (String::new(), "is not what a node writes: EOF"),
        (format!("{later}{}", " ".repeat(LARGEST)), "bytes, and 8192 are read"),
    ] {
        let error = Status::parse(&text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn what_is_asked_for_is_a_version_or_the_newest_one() {
    for (release, want) in [("1.2~rc1+a", Ok(Some("1.2~rc1+a"))), ("newest", Ok(None))] {
        assert_eq!(asked(release, None).version(), want);
    }
    let long = "1".repeat(65);
    for release in ["../x", "1.uki", "a b", &long] {
        let asked = Asked::read(Some(release), None).unwrap();
        let words = asked.version().unwrap_err().to_string();
        assert!(words.starts_with(&format!("`{release}` is neither `newest` nor a version")));
    }
    assert_eq!(Asked::read(Some(" 1.2\n"), Some("\n")), Some(asked("1.2", None)));
    assert_eq!(Asked::read(None, Some("x")), None);
    assert_eq!(Asked::read(Some(" "), Some("x")), None);
    assert_eq!(Asked::read(Some("1"), Some("a\tb")), Some(asked("1", Some("a b"))));
}

#[test]
fn a_status_is_of_the_request_that_it_names() {
    let status = full();
    assert!(status.is_about(&asked("1.2", Some("ID"))));
    for other in [asked("1.2", None), asked("1.3", Some("ID")), asked("1.2", Some("other"))] {
        assert!(!status.is_about(&other), "{other:?}");
    }
    assert!(!Status::new("1", Sha256::of("1"), Phase::Idle).is_about(&asked("1", None)));
}

fn some<T: std::fmt::Debug>(it: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::of(it)
}

prop_compose! {
    fn statuses()(
        version in ".{0,400}", phase in prop::sample::select(Phase::ALL.map(|(_, it)| it).to_vec()),
        (release, request, reason) in (some(".{0,400}"), some(".{0,400}"), some(any::<String>())),
        (percent, fetched) in (some(any::<u8>()), some(any::<u64>())),
        fallback in some((".{0,400}", "[\"\\\\\\x00-\\x20]{0,400}", any::<u64>())),
        looked in some((".{0,400}", some(".{0,400}"), some(any::<String>()))),
    ) -> Status {
        let looked = looked.map(|(look, newest, reason)| Looked { look, newest, reason });
        let fallback = fallback.map(|(version, reason, time)| Fallback { version, reason, time });
        let new = Status::new(version, Sha256::of("x"), phase);
        Status { release, request, reason, percent, fetched, fallback, looked, ..new }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_bounded_and_read_back(status in statuses()) {
        let text = status.text();
        prop_assert!(text.len() <= LARGEST && !text.contains(char::is_control), "{}", text);
        let read = Status::parse(&text).unwrap();
        prop_assert_eq!(&read, &status.bounded());
        prop_assert_eq!(read.text(), text);
    }

    #[test]
    fn what_is_asked_for_is_bounded_and_the_same_when_it_is_read_again(
        release in any::<String>(), request in some(any::<String>()),
    ) {
        if let Some(asked) = Asked::read(Some(&release), request.as_deref()) {
            let again = Asked::read(Some(&asked.release), asked.request.as_deref());
            prop_assert_eq!(again, Some(asked.clone()));
            let chars = asked.request.iter().flat_map(|it| it.chars()).chain(asked.release.chars());
            prop_assert!(chars.clone().count() <= 129 && !chars.clone().any(char::is_control));
        }
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "[{}\\[\\]\":,a-z0-9. -]{0,80}|\\PC*") {
        let _ = (Status::parse(&text).is_ok(), Asked::read(Some(&text), None));
    }
}
