//! The few words of QEMU's control protocol that we need: one JSON object a line in each direction
//! (QEMU documentation, "QEMU Machine Protocol Specification").

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use serde::Deserialize;

/// The longest line we take from QEMU: its own messages have a few hundred bytes.
const LONGEST_LINE: u64 = 64 * 1024;

/// The sending side of the control channel.
#[derive(Debug)]
pub(super) struct Qmp(UnixStream);

/// What QEMU says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// First of all.
    Greeting,
    /// A command was done.
    Done,
    /// A command was not done, and why.
    Refused(String),
    /// The guest is gone, and why: `guest-shutdown`, `guest-reset`, ...
    Shutdown(String),
    /// Any other event.
    Other,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<serde_json::Value>,
    #[serde(rename = "return")]
    done: Option<serde_json::Value>,
    error: Option<Refusal>,
    event: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

#[derive(Deserialize)]
struct Data {
    reason: Option<String>,
}

impl Message {
    fn parse(line: &str) -> Result<Self, serde_json::Error> {
        let line: Line = serde_json::from_str(line)?;
        Ok(match line {
            Line { greeting: Some(_), .. } => Self::Greeting,
            Line { error: Some(error), .. } => Self::Refused(error.desc),
            Line { event: Some(event), data, .. } if event == "SHUTDOWN" => {
                Self::Shutdown(data.and_then(|data| data.reason).unwrap_or_default())
            }
            Line { done: Some(_), .. } => Self::Done,
            _ => Self::Other,
        })
    }
}

/// The receiving side of the control channel.
#[derive(Debug)]
pub(super) struct Messages<R>(BufReader<R>);

impl<R: Read> Messages<R> {
    /// The next message; nothing when QEMU has ended.
    pub(super) fn next(&mut self) -> io::Result<Option<Message>> {
        let mut line = String::new();
        if self.0.by_ref().take(LONGEST_LINE).read_line(&mut line)? == 0 {
            return Ok(None);
        }
        Message::parse(&line).map(Some).map_err(io::Error::other)
    }
}

impl Qmp {
    /// Waits for the greeting and leaves the negotiation mode. When this returns, QEMU has set up
    /// the whole machine.
    pub(super) fn open(stream: UnixStream) -> io::Result<(Self, Messages<UnixStream>)> {
        let mut messages = Messages(BufReader::new(stream.try_clone()?));
        let mut qmp = Self(stream);
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        while messages.next()?.ok_or_else(ended)? != Message::Greeting {}
        qmp.execute("qmp_capabilities")?;
        loop {
            match messages.next()?.ok_or_else(ended)? {
                Message::Done => return Ok((qmp, messages)),
                Message::Refused(why) => return Err(io::Error::other(why)),
                _ => {}
            }
        }
    }

    /// Sends a command without arguments. Its answer comes as a message.
    pub(super) fn execute(&mut self, command: &str) -> io::Result<()> {
        self.0.write_all(format!("{{\"execute\":\"{command}\"}}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_told_apart() {
        for (line, want) in [
            (r#"{"QMP":{"version":{},"capabilities":["oob"]}}"#, Message::Greeting),
            (r#"{"return":{}}"#, Message::Done),
            (
                r#"{"error":{"class":"GenericError","desc":"no such thing"}}"#,
                Message::Refused("no such thing".into()),
            ),
            (
                r#"{"timestamp":{"seconds":1,"microseconds":2},"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-reset"}}"#,
                Message::Shutdown("guest-reset".into()),
            ),
            (r#"{"event":"STOP","timestamp":{}}"#, Message::Other),
            (r#"{"event":"NIC_RX_FILTER_CHANGED","data":{"path":"/x"}}"#, Message::Other),
        ] {
            assert_eq!(Message::parse(line).unwrap(), want, "{line}");
        }
    }

    #[test]
    fn an_endless_line_is_an_error_and_not_all_of_memory() {
        let mut messages = Messages(BufReader::new(io::repeat(b'x')));
        assert!(messages.next().is_err());
    }

    #[test]
    fn opening_waits_for_the_greeting_and_the_answer() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"{\"QMP\":{}}\n{\"event\":\"X\"}\n{\"return\":{}}\n").unwrap();
        let (mut qmp, _messages) = Qmp::open(ours).unwrap();
        qmp.execute("cont").unwrap();
        drop((qmp, _messages));
        let mut said = String::new();
        theirs.read_to_string(&mut said).unwrap();
        assert_eq!(said, "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"cont\"}\n");
    }

    #[test]
    fn an_emulator_that_ends_while_starting_is_an_error() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"{\"QMP\":{}}\n").unwrap();
        drop(theirs);
        assert!(Qmp::open(ours).is_err());
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(line in ".*") {
            drop(Message::parse(&line));
        }
    }
}
