//! How fast an answer must come. A server that sends a byte now and then is never silent, and
//! would hold us for ever.

use std::fmt;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// So many bytes must come in so much time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

impl Pace {
    /// Slower than any line over which somebody would fetch an image.
    pub(super) const USUAL: Self = Self { bytes: 1024, time: Duration::from_secs(60) };

    /// The content of an answer, as long as it comes fast enough.
    pub(super) fn keep<R>(self, inner: R) -> Paced<R> {
        Paced { inner, pace: self, since: Instant::now(), came: 0 }
    }
}

/// See [`Pace::keep`].
#[derive(Debug)]
pub(super) struct Paced<R> {
    inner: R,
    pace: Pace,
    since: Instant,
    came: u64,
}

impl<R> Paced<R> {
    fn came(&mut self, read: usize, now: Instant) -> Result<(), TooSlow> {
        self.came += read as u64;
        let time = now.saturating_duration_since(self.since);
        if time < self.pace.time {
            return Ok(());
        }
        if self.came < self.pace.bytes {
            return Err(TooSlow { bytes: self.came, time });
        }
        (self.since, self.came) = (now, 0);
        Ok(())
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        // The end is never too late.
        if read > 0 {
            self.came(read, Instant::now()).map_err(io::Error::other)?;
        }
        Ok(read)
    }
}

/// How slow it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooSlow {
    bytes: u64,
    time: Duration,
}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in {} s", self.bytes, self.time.as_secs())
    }
}

impl std::error::Error for TooSlow {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_span_of_time_must_bring_its_bytes() {
        let pace = Pace { bytes: 100, time: Duration::from_secs(60) };
        let mut paced = pace.keep(io::empty());
        let start = paced.since;
        let at = |seconds| start + Duration::from_secs(seconds);
        // Slow at first, a pause, and in time all the same.
        for (read, seconds) in [(1, 0), (1, 59), (98, 60), (1, 100), (99, 120), (1, 179)] {
            assert_eq!(paced.came(read, at(seconds)), Ok(()), "{seconds}");
        }
        let slow = TooSlow { bytes: 99, time: Duration::from_secs(61) };
        assert_eq!(paced.came(98, at(181)), Err(slow.clone()));
        assert_eq!(slow.to_string(), "99 bytes in 61 s");
    }
}
