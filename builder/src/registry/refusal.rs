//! What a registry says when it refuses something, in words.

use serde::Deserialize;
use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::{Registry, whole};
use crate::error::{Error, Id};
use crate::http::{Failure, is_web_page};

/// So much of a refusal is read, in bytes.
const LONGEST: u64 = 64 * 1024;
/// So much of a word of the registry's is shown, in characters.
const SHOWN: usize = 200;

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The reasons of a refusal, for people: `CODE: message`, each once.
pub(crate) fn reasons(bytes: &[u8]) -> Vec<String> {
    let Ok(Errors { errors }) = serde_json::from_slice(bytes) else { return Vec::new() };
    let plain = |text: &str| -> String {
        text.chars().filter(|character| !character.is_control()).take(SHOWN).collect()
    };
    let mut reasons: Vec<String> = Vec::new();
    for Reason { code, message } in errors.into_iter().take(4) {
        let (code, message) = (plain(&code), plain(&message));
        let reason = if message.is_empty() { code } else { format!("{code}: {message}") };
        if !reason.is_empty() && !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}

impl Registry {
    /// What to say of an answer that is not the one that was hoped for; `what` ends a sentence about the
    /// registry. Whether another attempt is worth it is in it, too.
    pub(super) fn refusal(&self, response: Response<Body>, what: &str) -> Failure {
        let status = response.status();
        let mut failure = Failure::answer(&self.location.to_string(), &response);
        // What cannot be read of it says nothing.
        let body = whole(response, LONGEST, &self.server).unwrap_or_default();
        let said = reasons(&body);
        let unknown_name = said.iter().any(|reason| reason.starts_with("NAME_UNKNOWN"));
        let (id, message) = match status {
            StatusCode::UNAUTHORIZED => (Id::Unauthorized, format!("{what} ({status})")),
            _ if said.is_empty() && is_web_page(&body) => {
                (Id::WebPage, "answers with a web page".to_owned())
            }
            StatusCode::FORBIDDEN => (Id::Unauthorized, format!("{what} ({status})")),
            StatusCode::NOT_FOUND if unknown_name => {
                (Id::NotFound, format!("has no repository `{}`", self.location.path()))
            }
            StatusCode::NOT_FOUND => (Id::NotFound, format!("{what} ({status})")),
            StatusCode::PAYLOAD_TOO_LARGE => {
                (Id::HttpStatus, format!("takes nothing so large ({status})"))
            }
            StatusCode::INSUFFICIENT_STORAGE => (Id::HttpStatus, format!("is full ({status})")),
            _ => (Id::HttpStatus, format!("{what} ({status})")),
        };
        let mut error = Error::new(id, format!("the registry of `{}` {message}", self.location));
        if !said.is_empty() {
            error = error.caused_by(said.join("; "));
        }
        if id == Id::Unauthorized {
            error = error.hint(self.who_hint());
        }
        failure.passing &= status != StatusCode::INSUFFICIENT_STORAGE;
        Failure { error, ..failure }
    }

    /// What cures it that nobody is let in, or that who we are is not enough.
    fn who_hint(&self) -> String {
        match self.known() {
            Ok(Some(super::Known::Login(login))) => {
                format!("it refuses the name and the password from {}", login.source())
            }
            Ok(Some(super::Known::Identity(_))) => "it refuses the token that is kept".to_owned(),
            _ => self.logins.hint(self.location.host()),
        }
    }
}
