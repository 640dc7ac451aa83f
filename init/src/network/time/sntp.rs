//! SNTP messages: client mode of RFC 4330, format of RFC 5905, section 7.3. Pure.
//!
//! The client's transmit time is a random number, not its clock: a server only sends it back, and
//! nobody who cannot see the question can forge an answer.

use std::fmt;

/// Length of a message without extensions, in bytes.
pub const LENGTH: usize = 48;
/// Where servers listen.
pub const PORT: u16 = 123;

/// Version 4, mode 3 (client).
const CLIENT: u8 = 4 << 3 | 3;
const SERVER_MODE: u8 = 4;
const UNSYNCHRONISED: u8 = 3;
const LARGEST_STRATUM: u8 = 15;
/// From 1900 to 1970, in seconds.
const TO_1970: i128 = 2_208_988_800;
const SECOND: i128 = 1_000_000_000;

/// What a server says of itself may be off by so much before it knows no time (`MAXDISP`).
const UNKNOWN: i128 = 16 * SECOND;
/// A time that may be off by more helps nobody to agree. RFC 5905 has half of it (`MAXDIST`), for
/// who asks often and takes the best answer of eight.
const MOST_DISTANCE: i128 = 3 * SECOND;
/// A server cannot hold a question for longer than the answer took, but for the clocks' running at
/// different speeds.
const SKEW: i128 = SECOND / 100;

/// When a server got the question and answered it, in nanoseconds since 1970 on its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    received: i128,
    sent: i128,
    /// How far its clock may be off.
    root: i128,
}

/// What one exchange says of our clock, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// How far it is behind.
    pub offset: i128,
    /// How far that may be off: half of what the packets took, and what the server says of itself
    /// (the root distance of RFC 5905, appendix A.5.5.2).
    pub distance: i128,
}

/// Why an answer does not tell the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The server does not want to be asked (RFC 5905, 7.4): `DENY`, `RSTR`, `RATE`.
    Kiss([u8; 4]),
    /// The server does not know the time itself.
    Unsynchronised,
    /// The answer was too long under way, or its times cannot be.
    Vague,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kiss(code) => {
                let code = String::from_utf8_lossy(code);
                let code: String = code.chars().filter(char::is_ascii_graphic).collect();
                write!(f, "does not want to be asked ({code})")
            }
            Self::Unsynchronised => f.write_str("does not know the time itself"),
            Self::Vague => f.write_str("is too far away to tell the time"),
        }
    }
}

/// The question.
pub fn question(nonce: [u8; 8]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0] = CLIENT;
    bytes[40..].copy_from_slice(&nonce);
    bytes
}

/// Reads an answer; `None` if it is none to the question with this number.
pub fn answer(bytes: &[u8], nonce: [u8; 8]) -> Option<Result<Reply, Refusal>> {
    let bytes: &[u8; LENGTH] = bytes.get(..LENGTH)?.try_into().ok()?;
    let (leap, version, mode) = (bytes[0] >> 6, bytes[0] >> 3 & 7, bytes[0] & 7);
    if mode != SERVER_MODE || !(3..=4).contains(&version) || bytes[24..32] != nonce {
        return None;
    }
    let time = |at: usize| -> u64 {
        bytes[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    // Two numbers of 16 bits of seconds and 16 of fraction.
    let (delay, dispersion) = (time(4) >> 32, time(4) & 0xffff_ffff);
    let root = ((i128::from(delay) / 2 + i128::from(dispersion)) * SECOND) >> 16;
    Some(match bytes[1] {
        0 => Err(Refusal::Kiss([bytes[12], bytes[13], bytes[14], bytes[15]])),
        1..=LARGEST_STRATUM if leap != UNSYNCHRONISED && time(40) != 0 && root < UNKNOWN => {
            Ok(Reply { received: since_1970(time(32)), sent: since_1970(time(40)), root })
        }
        _ => Err(Refusal::Unsynchronised),
    })
}

impl Reply {
    /// How far our clock is behind the server's. `asked` and `answered` are on our clock.
    ///
    /// # Errors
    /// When that may be off by seconds.
    pub fn sample(&self, asked: i128, answered: i128) -> Result<Sample, Refusal> {
        let offset = ((self.received - asked) + (self.sent - answered)) / 2;
        let delay = (answered - asked) - (self.sent - self.received);
        let distance = delay.max(0) / 2 + self.root;
        if delay < -SKEW || self.sent < self.received || distance > MOST_DISTANCE {
            return Err(Refusal::Vague);
        }
        Ok(Sample { offset, distance })
    }
}

/// A 64-bit timestamp: 32 bits of seconds since 1900 or, from 2036 on, since then (RFC 4330,
/// section 3), 32 bits of fraction.
fn since_1970(timestamp: u64) -> i128 {
    let (seconds, fraction) = (timestamp >> 32, timestamp & 0xffff_ffff);
    let era = if seconds & 0x8000_0000 == 0 { 1_i128 << 32 } else { 0 };
    (i128::from(seconds) + era - TO_1970) * SECOND + ((i128::from(fraction) * SECOND) >> 32)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: [u8; 8] = *b"question";

    /// What a server says whose clock shows `time`, in nanoseconds since 1970.
    pub(crate) fn reply(question: &[u8], time: i128) -> [u8; LENGTH] {
        let seconds = u32::try_from((time.div_euclid(SECOND) + TO_1970) & 0xffff_ffff).unwrap();
        let fraction = u32::try_from((time.rem_euclid(SECOND) << 32) / SECOND).unwrap();
        let mut bytes = [0; LENGTH];
        (bytes[0], bytes[1]) = (4 << 3 | SERVER_MODE, 2);
        bytes[24..32].copy_from_slice(&question[40..]);
        for at in [32, 40] {
            bytes[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
            bytes[at + 4..at + 8].copy_from_slice(&fraction.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn a_question_says_no_more_than_it_must() {
        let bytes = question(NONCE);
        assert_eq!(bytes[0], 0x23);
        assert!(bytes[1..40].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[40..], NONCE);
    }

    #[test]
    fn the_offset_is_that_of_the_middle_of_the_exchange() {
        let server = 1_795_054_374 * SECOND + SECOND / 2;
        let bytes = reply(&question(NONCE), server);
        let reply = answer(&bytes, NONCE).unwrap().unwrap();
        let asked = 1000 * SECOND;
        let sample = reply.sample(asked, asked + SECOND / 5).unwrap();
        assert_eq!(sample.offset, server - asked - SECOND / 10);
        assert_eq!(sample.distance, SECOND / 10);
    }

    #[test]
    fn what_a_server_says_of_itself_and_the_way_there_make_its_time_less_sure() {
        let server = 1_795_054_374 * SECOND;
        let asked = 1000 * SECOND;
        let told = |delay: [u8; 4], dispersion: [u8; 4]| {
            let mut bytes = reply(&question(NONCE), server);
            bytes[4..8].copy_from_slice(&delay);
            bytes[8..12].copy_from_slice(&dispersion);
            answer(&bytes, NONCE).unwrap()
        };
        // A second and a half, a quarter of a second.
        let sure = told([0, 1, 0x80, 0], [0, 0, 0x40, 0]).unwrap();
        let sample = |answered| sure.sample(asked, answered).map(|sample| sample.distance);
        assert_eq!(sample(asked), Ok(SECOND));
        assert_eq!(sample(asked + SECOND), Ok(SECOND * 3 / 2));
        assert_eq!(sample(asked + 4 * SECOND), Ok(3 * SECOND));
        assert_eq!(sample(asked + 4 * SECOND + 2), Err(Refusal::Vague));
        assert_eq!(told([0; 4], [0, 16, 0, 0]), Err(Refusal::Unsynchronised));
        assert_eq!(told([255; 4], [255; 4]), Err(Refusal::Unsynchronised));

        // It had the question for longer than it took, or answered it before it came.
        for (received, sent) in [(0, SECOND), (SECOND, 0)] {
            let reply = Reply { received: server + received, sent: server + sent, root: 0 };
            assert_eq!(reply.sample(asked, asked + SECOND / 2), Err(Refusal::Vague));
        }
    }

    #[test]
    fn times_go_on_after_2036() {
        assert_eq!(since_1970(0), 2_085_978_496 * SECOND);
        assert_eq!(since_1970(0xffff_ffff << 32), 2_085_978_495 * SECOND);
        let late = 2_100_000_000 * SECOND;
        let reply = answer(&reply(&question(NONCE), late), NONCE).unwrap().unwrap();
        assert_eq!(reply.sent, late);
    }

    #[test]
    fn who_does_not_know_the_time_or_does_not_want_to_tell_is_not_believed() {
        let good = reply(&question(NONCE), 1_795_054_374 * SECOND);
        let changed = |changes: &[(usize, u8)]| {
            let mut bytes = good;
            changes.iter().for_each(|(at, value)| bytes[*at] = *value);
            answer(&bytes, NONCE)
        };
        assert!(matches!(changed(&[]), Some(Ok(_))));
        assert_eq!(changed(&[(0, 0xe4)]), Some(Err(Refusal::Unsynchronised)), "leap 3");
        assert_eq!(changed(&[(1, 16)]), Some(Err(Refusal::Unsynchronised)), "stratum 16");
        let kiss = changed(&[(1, 0), (12, b'D'), (13, b'E'), (14, b'N'), (15, b'Y')]);
        assert_eq!(kiss, Some(Err(Refusal::Kiss(*b"DENY"))));
        assert_eq!(Refusal::Kiss(*b"RA\n\xff").to_string(), "does not want to be asked (RA)");
        assert_eq!(changed(&[(24, 0)]), None, "an answer to another question");
        assert_eq!(changed(&[(0, 0x23)]), None, "a question");
        assert_eq!(answer(&good[..47], NONCE), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = answer(&bytes, NONCE);
            if bytes.len() >= LENGTH {
                (bytes[0], bytes[1]) = (0x24, 1);
                bytes[24..32].copy_from_slice(&NONCE);
                if let Some(Ok(reply)) = answer(&bytes, NONCE) {
                    let _ = reply.sample(i128::from(i64::MIN), i128::from(i64::MAX));
                }
            }
        }

        #[test]
        fn a_time_survives_the_wire(time in 0_i128..4_000_000_000 * SECOND) {
            let reply = answer(&reply(&question(NONCE), time), NONCE).unwrap().unwrap();
            prop_assert!((reply.sent - time).abs() <= 1);
        }
    }
}
