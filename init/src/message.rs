//! What PID 1 and the units that are built into it say to each other: packets over a socket pair, a
//! message each. The first byte says which, then come texts, each behind its length of two bytes.
//! Parsing is total: what is not understood is no message.

mod channel;

use std::time::Duration;

use crate::question::Question;

pub use channel::{Ending, Received, pair, receive, receive_with, send, send_with};

/// Bytes of a packet at most; what does not fit is left out by who sends it.
pub const LONGEST: usize = 32 * 1024;
/// Bytes of one text in it; the rest of a longer one is left out.
const TEXT: usize = 8 * 1024;

/// What PID 1 says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToUnit {
    /// The first message of a run: what happened before it.
    Begin {
        /// What was wrong with the clock when the system started.
        clock: Option<String>,
        /// What an earlier run has kept.
        kept: Vec<String>,
    },
    /// A unit has come to a new state.
    Unit(String, Happened),
    /// The container runtime behind this socket answers.
    Runtime(String),
    /// Somebody cannot reach the API server.
    Suspect,
    /// Ask a unit, and say in [`FromUnit::Answer`] what became of that.
    Ask {
        /// The unit.
        unit: String,
        /// What it is asked for.
        about: About,
        /// What it is asked.
        question: Question,
        /// How long the exchange may take.
        limit: Duration,
    },
    /// Say [`FromUnit::Alive`] with this number, to show that you do not hang.
    Alive(u32),
    /// Do not ask this unit any more whether it is ready.
    Leave(String),
    /// Lines of PID 1's own log.
    Lines(Vec<String>),
    /// So many messages did not reach this unit.
    Lacking(u64),
    /// What a run of a unit writes, with the reading end of a pipe.
    Output {
        /// PID 1's number for it.
        id: u32,
        /// Whose it is.
        unit: String,
        /// Bytes of each of the two files of its log.
        limit: u64,
    },
}

/// What a unit is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Whether this run of it is ready: asked until it is.
    Run(u32),
    /// Whether it still works: the question of this number, asked once.
    Question(u32),
}

/// What has become of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// It works, or is done.
    Ready,
    /// It ended without being asked to, and that is no failure.
    Ended,
    /// It ended, and that is a failure.
    Failed,
    /// It is not ready in time.
    Late,
}

/// What a unit says that is built in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromUnit {
    /// It works.
    Ready,
    /// A line for people, and for the log.
    Say(String),
    /// What it has for the screen; the last one counts.
    View(View),
    /// What the next run shall know, whatever it is; the last one counts.
    Keep(Vec<String>),
    /// A boot mark.
    Mark(String),
    /// Somebody cannot reach the API server.
    Suspect,
    /// What became of a question: of one that is asked until it has a good answer, any number of
    /// reasons why there was none, and then that.
    Answer {
        /// Who was asked.
        unit: String,
        /// For what.
        about: About,
        /// What it answered, for people, or what was wrong.
        result: Result<String, String>,
    },
    /// What [`ToUnit::Alive`] asks for.
    Alive(u32),
    /// So many more of PID 1's own lines are done with: written, or counted as lacking.
    Written(u64),
    /// Nobody can write any more to the pipe of this number, and it is empty.
    Closed(u32),
    /// The last lines that a unit wrote which failed.
    Wrote {
        /// The unit.
        unit: String,
        /// Oldest first.
        lines: Vec<String>,
    },
}

/// A part of the screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The node's name; empty if another knows it.
    pub hostname: String,
    /// By link: addresses and gateways.
    pub addresses: Vec<(String, String)>,
    /// What is wrong now.
    pub problems: Vec<String>,
}

impl ToUnit {
    /// As a packet.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Begin { clock, kept } => {
                let mut all = vec![clock.as_deref().unwrap_or_default()];
                all.extend(texts(kept));
                packet(b'B', &all)
            }
            Self::Unit(unit, happened) => packet(b'U', &[unit, happened.word()]),
            Self::Runtime(socket) => packet(b'R', &[socket]),
            Self::Suspect => packet(b'S', &[]),
            Self::Ask { unit, about, question, limit } => {
                let ((about, number), (key, text)) = (about.words(), question.words());
                let limit = limit.as_millis().to_string();
                packet(b'A', &[unit, about, &number, key, &text, &limit])
            }
            Self::Alive(number) => packet(b'?', &[&number.to_string()]),
            Self::Leave(unit) => packet(b'F', &[unit]),
            Self::Lines(lines) => packet(b'L', &texts(lines)),
            Self::Lacking(count) => packet(b'N', &[&count.to_string()]),
            Self::Output { id, unit, limit } => {
                packet(b'O', &[&id.to_string(), unit, &limit.to_string()])
            }
        }
    }

    /// Out of a packet.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (kind, texts) = unpack(packet)?;
        Some(match (kind, &texts[..]) {
            (b'B', [clock, kept @ ..]) => {
                let clock = Some((*clock).to_owned()).filter(|clock| !clock.is_empty());
                Self::Begin { clock, kept: owned(kept) }
            }
            (b'U', [unit, word]) => Self::Unit((*unit).to_owned(), Happened::of(word)?),
            (b'R', [socket]) => Self::Runtime((*socket).to_owned()),
            (b'S', []) => Self::Suspect,
            (b'A', [unit, about, number, key, text, limit]) => Self::Ask {
                unit: (*unit).to_owned(),
                about: About::of(about, number)?,
                question: Question::of(key, text)?,
                limit: Duration::from_millis(limit.parse().ok()?),
            },
            (b'?', [number]) => Self::Alive(number.parse().ok()?),
            (b'F', [unit]) => Self::Leave((*unit).to_owned()),
            (b'L', lines) => Self::Lines(owned(lines)),
            (b'N', [count]) => Self::Lacking(count.parse().ok()?),
            (b'O', [id, unit, limit]) => Self::Output {
                id: id.parse().ok()?,
                unit: (*unit).to_owned(),
                limit: limit.parse().ok()?,
            },
            _ => return None,
        })
    }
}

impl About {
    fn words(self) -> (&'static str, String) {
        match self {
            Self::Run(number) => ("run", number.to_string()),
            Self::Question(number) => ("question", number.to_string()),
        }
    }

    fn of(word: &str, number: &str) -> Option<Self> {
        let number = number.parse().ok()?;
        match word {
            "run" => Some(Self::Run(number)),
            "question" => Some(Self::Question(number)),
            _ => None,
        }
    }
}

impl Happened {
    fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::Late => "late",
        }
    }

    fn of(word: &str) -> Option<Self> {
        let all = [Self::Ready, Self::Ended, Self::Failed, Self::Late];
        all.into_iter().find(|known| known.word() == word)
    }
}

impl FromUnit {
    /// As a packet.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ready => packet(b'r', &[]),
            Self::Say(line) => packet(b's', &[line]),
            Self::View(view) => {
                let addresses = view.addresses.len().to_string();
                let mut all = vec![view.hostname.as_str(), &addresses];
                all.extend(view.addresses.iter().flat_map(|(link, text)| [link.as_str(), text]));
                all.extend(texts(&view.problems));
                packet(b'v', &all)
            }
            Self::Keep(kept) => packet(b'k', &texts(kept)),
            Self::Mark(name) => packet(b'm', &[name]),
            Self::Suspect => packet(b'x', &[]),
            Self::Answer { unit, about, result } => {
                let (about, number) = about.words();
                let (word, text) = match result {
                    Ok(detail) => ("good", detail),
                    Err(reason) => ("bad", reason),
                };
                packet(b'a', &[unit, about, &number, word, text])
            }
            Self::Alive(number) => packet(b'!', &[&number.to_string()]),
            Self::Written(count) => packet(b'd', &[&count.to_string()]),
            Self::Closed(id) => packet(b'c', &[&id.to_string()]),
            Self::Wrote { unit, lines } => {
                let mut all = vec![unit.as_str()];
                all.extend(texts(lines));
                packet(b'w', &all)
            }
        }
    }

    /// Out of a packet.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (kind, texts) = unpack(packet)?;
        Some(match (kind, &texts[..]) {
            (b'r', []) => Self::Ready,
            (b's', [line]) => Self::Say((*line).to_owned()),
            (b'v', [hostname, count, rest @ ..]) => {
                let count = count.parse::<usize>().ok()?.checked_mul(2)?;
                let (addresses, problems) = rest.split_at_checked(count)?;
                let pair = |pair: &[&str]| (pair[0].to_owned(), pair[1].to_owned());
                Self::View(View {
                    hostname: (*hostname).to_owned(),
                    addresses: addresses.chunks_exact(2).map(pair).collect(),
                    problems: owned(problems),
                })
            }
            (b'k', kept) => Self::Keep(owned(kept)),
            (b'm', [name]) => Self::Mark((*name).to_owned()),
            (b'x', []) => Self::Suspect,
            (b'a', [unit, about, number, word, text]) => Self::Answer {
                unit: (*unit).to_owned(),
                about: About::of(about, number)?,
                result: match *word {
                    "good" => Ok((*text).to_owned()),
                    "bad" => Err((*text).to_owned()),
                    _ => return None,
                },
            },
            (b'!', [number]) => Self::Alive(number.parse().ok()?),
            (b'd', [count]) => Self::Written(count.parse().ok()?),
            (b'c', [id]) => Self::Closed(id.parse().ok()?),
            (b'w', [unit, lines @ ..]) => {
                Self::Wrote { unit: (*unit).to_owned(), lines: owned(lines) }
            }
            _ => return None,
        })
    }
}

/// How long a loop may wait until `deadline`, which may be past.
pub fn until(deadline: Option<Duration>) -> Option<rustix::time::Timespec> {
    // An hour is far below what the kernel can count to.
    let left = deadline?.saturating_sub(crate::clock::monotonic()).min(Duration::from_secs(3600));
    Some(crate::sys::timespec(left))
}

fn texts(owned: &[String]) -> Vec<&str> {
    owned.iter().map(String::as_str).collect()
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The last texts are left out if all of them are too long.
fn packet(kind: u8, texts: &[&str]) -> Vec<u8> {
    let mut packet = vec![kind];
    for text in texts {
        let end = (0..=TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        let text = &text[..end.unwrap_or(0)];
        let Ok(length) = u16::try_from(text.len()) else { break };
        if packet.len() + 2 + text.len() > LONGEST {
            break;
        }
        packet.extend(length.to_le_bytes());
        packet.extend(text.as_bytes());
    }
    packet
}

fn unpack(packet: &[u8]) -> Option<(u8, Vec<&str>)> {
    let (kind, mut rest) = packet.split_first()?;
    let mut texts = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length));
        let (text, more) = more.split_at_checked(length).filter(|_| length <= TEXT)?;
        texts.push(std::str::from_utf8(text).ok()?);
        rest = more;
    }
    rest.is_empty().then_some((*kind, texts))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        ".{0,40}"
    }

    fn some_texts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(text(), 0..6)
    }

    fn about() -> impl Strategy<Value = About> {
        (any::<bool>(), any::<u32>()).prop_map(|(run, number)| match run {
            true => About::Run(number),
            false => About::Question(number),
        })
    }

    fn question() -> impl Strategy<Value = Question> {
        let address = any::<std::net::SocketAddr>();
        prop_oneof![
            "/[ -~]{0,40}".prop_map(|path| Question::SocketAnswers(path.into())),
            "/[ -~]{0,40}".prop_map(|path| Question::CriVersion(path.into())),
            (address, "/[a-z]{0,9}").prop_map(|(address, path)| {
                let text = format!("http://{address}{path}");
                Question::of("http-200", &text).expect("an address")
            }),
        ]
    }

    fn to_unit() -> impl Strategy<Value = ToUnit> {
        let clock = prop::option::of(".{1,40}");
        let happened = prop::sample::select(vec![
            Happened::Ready,
            Happened::Ended,
            Happened::Failed,
            Happened::Late,
        ]);
        prop_oneof![
            (clock, some_texts()).prop_map(|(clock, kept)| ToUnit::Begin { clock, kept }),
            (text(), happened).prop_map(|(unit, happened)| ToUnit::Unit(unit, happened)),
            text().prop_map(ToUnit::Runtime),
            Just(ToUnit::Suspect),
            (text(), about(), question(), any::<u32>()).prop_map(
                |(unit, about, question, limit)| {
                    let limit = Duration::from_millis(limit.into());
                    ToUnit::Ask { unit, about, question, limit }
                }
            ),
            any::<u32>().prop_map(ToUnit::Alive),
            text().prop_map(ToUnit::Leave),
            some_texts().prop_map(ToUnit::Lines),
            any::<u64>().prop_map(ToUnit::Lacking),
            (any::<u32>(), text(), any::<u64>()).prop_map(|(id, unit, limit)| ToUnit::Output {
                id,
                unit,
                limit
            }),
        ]
    }

    fn from_unit() -> impl Strategy<Value = FromUnit> {
        let addresses = prop::collection::vec((text(), text()), 0..4);
        let view = (text(), addresses, some_texts()).prop_map(|(hostname, addresses, problems)| {
            FromUnit::View(View { hostname, addresses, problems })
        });
        prop_oneof![
            Just(FromUnit::Ready),
            text().prop_map(FromUnit::Say),
            view,
            some_texts().prop_map(FromUnit::Keep),
            text().prop_map(FromUnit::Mark),
            Just(FromUnit::Suspect),
            (text(), about(), prop::result::maybe_ok(text(), text()))
                .prop_map(|(unit, about, result)| FromUnit::Answer { unit, about, result }),
            any::<u32>().prop_map(FromUnit::Alive),
            any::<u64>().prop_map(FromUnit::Written),
            any::<u32>().prop_map(FromUnit::Closed),
            (text(), some_texts()).prop_map(|(unit, lines)| FromUnit::Wrote { unit, lines }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_is_understood(to in to_unit(), from in from_unit()) {
            prop_assert_eq!(ToUnit::parse(&to.encode()), Some(to));
            prop_assert_eq!(FromUnit::parse(&from.encode()), Some(from));
        }

        #[test]
        fn no_packet_makes_the_parsers_panic(bytes: Vec<u8>, to in to_unit(), from in from_unit(), at: u8, new: u8) {
            let changed = |mut packet: Vec<u8>| {
                let length = packet.len();
                packet[usize::from(at) % length] = new;
                packet
            };
            for packet in [bytes, changed(to.encode()), changed(from.encode())] {
                let _ = ToUnit::parse(&packet);
                let _ = FromUnit::parse(&packet);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let lines = vec!["x".repeat(8_000); 5];
        let kept = ToUnit::parse(&ToUnit::Lines(lines.clone()).encode());
        assert_eq!(kept, Some(ToUnit::Lines(lines[..4].to_vec())));
        let said = FromUnit::parse(&FromUnit::Say("é".repeat(70_000)).encode());
        assert_eq!(said, Some(FromUnit::Say("é".repeat(TEXT / 2))));
    }
}
