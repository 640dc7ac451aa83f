//! What can go wrong with a call.

use std::fmt;
use std::io;

/// How a server ended a call: `grpc-status` and `grpc-message`. The codes are those of
/// `doc/statuscodes.md` of grpc/grpc.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// 0 is success.
    pub code: u32,
    /// For people; may be empty.
    pub message: String,
}

impl Status {
    /// `CANCELLED`.
    pub const CANCELLED: u32 = 1;
    /// `DEADLINE_EXCEEDED`.
    pub const DEADLINE_EXCEEDED: u32 = 4;
    /// `NOT_FOUND`.
    pub const NOT_FOUND: u32 = 5;
    /// `ALREADY_EXISTS`.
    pub const ALREADY_EXISTS: u32 = 6;
    /// `UNAVAILABLE`.
    pub const UNAVAILABLE: u32 = 14;
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (gRPC status {})", self.message, self.code)
    }
}

/// Why a call did not succeed.
#[derive(Debug)]
pub enum Error {
    /// The connection failed, or was silent for too long.
    Io(io::Error),
    /// The server speaks another protocol, or ours badly.
    Protocol(&'static str),
    /// The server ended the stream or the connection with this HTTP/2 error code.
    Refused(u32),
    /// The server ended the call with an error.
    Status(Status),
}

impl Error {
    /// Whether the server ended the call with this code, [`Status::NOT_FOUND`] for example.
    pub fn is(&self, code: u32) -> bool {
        matches!(self, Self::Status(status) if status.code == code)
    }

    /// Whether there is no answer to what was asked: the server is gone, on its way out, or too
    /// slow. Another time there may be one.
    pub fn is_no_answer(&self) -> bool {
        const NONE: [u32; 3] = [Status::CANCELLED, Status::DEADLINE_EXCEEDED, Status::UNAVAILABLE];
        match self {
            Self::Status(status) => NONE.contains(&status.code),
            Self::Io(_) | Self::Protocol(_) | Self::Refused(_) => true,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                f.write_str("no answer in time")
            }
            Self::Io(error) => write!(f, "no answer: {error}"),
            Self::Protocol(what) => write!(f, "the answer is wrong: {what}"),
            Self::Refused(code) => write!(f, "the call was refused (HTTP/2 error {code})"),
            Self::Status(status) => status.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        // What `set_read_timeout` leads to depends on the system; for us both are the same.
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::Io(io::ErrorKind::TimedOut.into()),
            _ => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_refuses_has_answered_and_one_that_goes_has_not() {
        let status = |code| Error::Status(Status { code, message: String::new() });
        // Unknown, invalid argument, not found, failed precondition.
        for code in [2, 3, 5, 9] {
            assert!(!status(code).is_no_answer(), "{code}");
        }
        let gone = Error::Io(io::ErrorKind::UnexpectedEof.into());
        for error in [status(1), status(4), status(14), gone, Error::Refused(2)] {
            assert!(error.is_no_answer(), "{error}");
        }
    }
}
