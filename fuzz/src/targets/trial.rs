//! What releases tell each other about a trial, what one is asked in it, and what people ask of the
//! updater.

use std::path::PathBuf;

use formats::fleet::{Asked, Status};
use formats::health::Check;
use formats::loader;
use formats::trial::{Note, Outcome};
use updater::protocol::Request;
use updater::snapshot::list::List;

use super::text;

/// What was read is written and read again.
pub(crate) fn trial(bytes: &[u8]) {
    if let Some(id) = loader::parse(bytes) {
        assert_eq!(loader::encode(&id).and_then(|bytes| loader::parse(&bytes)), Some(id));
    }
    text(bytes, |text| {
        drop(loader::entry_id(text));
        drop(Check::parse(&PathBuf::from("check.toml"), text));
        if let Some(note) = Note::parse(text) {
            assert_eq!(Note::parse(&note.text()), Some(note));
        }
        if let Some(outcome) = Outcome::parse(text) {
            assert_eq!(Outcome::parse(&outcome.text()), Some(outcome));
        }
        if let Some(list) = List::parse(text) {
            assert_eq!(List::parse(&list.text()), Some(list));
        }
    });
}

pub(crate) fn updater(bytes: &[u8]) {
    text(bytes, |line| {
        let Ok(request) = Request::parse(line) else { return };
        let line = serde_json::to_string(&request).expect("a request has text for its keys");
        assert_eq!(Request::parse(&line), Ok(request));
    });
}

/// What was read is written and read again.
pub(crate) fn node_object(bytes: &[u8]) {
    updater::outside::node_object(bytes);
    text(bytes, |text| {
        if let Some(asked) = Asked::read(Some(text), Some(text)) {
            let again = Asked::read(Some(&asked.release), asked.request.as_deref());
            assert_eq!(again, Some(asked));
        }
        if let Ok(status) = Status::parse(text) {
            assert_eq!(Status::parse(&status.text()).ok(), Some(status));
        }
    });
}
