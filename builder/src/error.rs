//! What can go wrong, each kind with an id that has a page (`orlop explain E0301`) and an exit
//! class. The message says what could not be done and to what; hints say what cures it.

mod ids;
mod report;
mod several;

use std::error::Error as StdError;
use std::fmt;

pub use ids::Id;
pub use report::{Failure, SCHEMA};
pub(crate) use several::{Shown, several};

/// What the exit status tells a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// A difference was found, or a check of the image failed.
    CheckFailed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The recipe is wrong.
    Recipe = 3,
    /// The lock is missing, stale or cannot be made.
    Lock = 4,
    /// Something could not be fetched.
    Fetch = 5,
    /// The host lacks something.
    Environment = 6,
    /// Reading or writing failed.
    Io = 7,
    /// A signature, a digest or a format is not what it must be.
    Verification = 8,
    /// Our own mistake.
    Bug = 70,
}

/// One failure, ready to be shown.
#[derive(Debug)]
pub struct Error {
    id: Id,
    message: String,
    hints: Vec<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of kind `id`: `message` in lower case, names in backticks, no full stop.
    pub fn new(id: Id, message: impl Into<String>) -> Self {
        Self { id, message: message.into(), hints: Vec::new(), source: None }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds what it came from; its text follows the message after a colon.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same failure inside of a larger undertaking: `what` could not be done because of it.
    #[must_use]
    pub fn within(self, what: impl Into<String>) -> Self {
        let (id, hints) = (self.id, self.hints.clone());
        Self { id, message: what.into(), hints, source: Some(Box::new(self)) }
    }

    /// The cause of this type, if there is one among all causes.
    pub fn chained<T: StdError + 'static>(&self) -> Option<&T> {
        let mut cause = self.source();
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }

    /// Which kind of failure.
    pub fn id(&self) -> Id {
        self.id
    }

    /// What the user can do about it.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The hints, or what can be said of every failure of this kind.
    pub fn cures(&self) -> Vec<String> {
        if self.hints.is_empty() { vec![self.id.cure()] } else { self.hints.clone() }
    }

    /// The message and all its causes: `outer: inner: innermost`.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut source = self.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Turns the error of a library into ours, saying what we were about to do.
pub trait Context<T> {
    /// `message` is only made when there is an error.
    fn or_fail<M: Into<String>>(self, id: Id, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Context<T> for std::result::Result<T, E> {
    fn or_fail<M: Into<String>>(self, id: Id, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|source| Error::new(id, message()).caused_by(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_says_every_cause_once() {
        let inner = std::io::Error::other("no space left on device");
        let error = Err::<(), _>(inner).or_fail(Id::StoreWrite, || "cannot write blob `ab`");
        let error = error.unwrap_err().hint("make room");
        assert_eq!(error.chain(), "cannot write blob `ab`: no space left on device");
        let outer = error.within("cannot build");
        assert_eq!(outer.chain(), "cannot build: cannot write blob `ab`: no space left on device");
        assert_eq!((outer.id(), outer.hints()), (Id::StoreWrite, &["make room".to_owned()][..]));
        assert!(outer.chained::<std::io::Error>().is_some());
        assert!(outer.chained::<std::fmt::Error>().is_none());
    }
}
