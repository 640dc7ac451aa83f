//! Work whose input and output somebody else does: it says what it wants next, and goes on with what
//! that has given. So the same rules hold over HTTP, over a directory and in a test, and every limit is
//! known before a byte is asked for.

use super::error::{Reason, Refused};

/// What a workflow wants done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Give it what is kept under this name, if it is there and not longer.
    Load {
        /// A name without `/`.
        file: String,
        /// How many bytes at most.
        limit: u64,
    },
    /// Give it what the repository has at this path below the address of its metadata, if it is there.
    /// Only that a server says it has no such file counts as that; what else fails ends the workflow.
    Fetch {
        /// Quoted as in an address; one name.
        path: String,
        /// How many bytes at most. Whoever reads more than one byte beyond it reads too much.
        limit: u64,
    },
    /// Keep these bytes under this name in place of others: whole or not at all, also over a power cut.
    Store {
        /// A name without `/`.
        file: String,
        /// As they came.
        bytes: Vec<u8>,
    },
    /// Keep nothing under this name.
    Remove {
        /// A name without `/`.
        file: String,
    },
}

/// A workflow.
pub trait Workflow {
    /// What it wants; nothing once it has ended, well or not.
    fn request(&self) -> Option<&Request>;

    /// Goes on. `bytes` are those of [`Request::Load`] and [`Request::Fetch`], and nothing where there
    /// were none or the request was another.
    ///
    /// # Errors
    /// What came is refused; the workflow has ended, and what was stored before stays good.
    fn answer(&mut self, bytes: Option<Vec<u8>>) -> Result<(), Refused>;
}

/// Who does the input and output.
pub trait Io {
    /// Why it failed, or was refused.
    type Error: From<Refused>;

    /// [`Request::Load`].
    ///
    /// # Errors
    /// What is kept cannot be read.
    fn load(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, Self::Error>;

    /// [`Request::Fetch`].
    ///
    /// # Errors
    /// The repository did not answer, or neither with the file nor that it has none.
    fn fetch(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Self::Error>;

    /// [`Request::Store`].
    ///
    /// # Errors
    /// It cannot be kept.
    fn store(&mut self, file: &str, bytes: &[u8]) -> Result<(), Self::Error>;

    /// [`Request::Remove`].
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove(&mut self, file: &str) -> Result<(), Self::Error>;
}

/// Goes through a workflow to its end.
///
/// # Errors
/// The first thing that is refused, or that fails.
pub fn run<I: Io>(workflow: &mut impl Workflow, io: &mut I) -> Result<(), I::Error> {
    while let Some(request) = workflow.request() {
        let bytes = match request {
            Request::Load { file, limit } => io.load(file, *limit)?,
            Request::Fetch { path, limit } => io.fetch(path, *limit)?,
            Request::Store { file, bytes } => io.store(file, bytes).map(|()| None)?,
            Request::Remove { file } => io.remove(file).map(|()| None)?,
        };
        workflow.answer(bytes)?;
    }
    Ok(())
}

/// That no more came than was asked for.
pub(super) fn within(bytes: &[u8], limit: u64) -> Result<(), Reason> {
    if bytes.len() as u64 > limit { Err(Reason::TooLong(limit)) } else { Ok(()) }
}
