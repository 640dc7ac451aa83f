//! The slowest server that is borne with: one that gives a byte now and then is never silent, and would
//! keep a node for ever.

use std::time::Duration;

/// At least so many bytes in each window of waiting for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes.
    pub least: u64,
    /// Time that was spent in waiting for the server; what the rate limit or a disk takes does not count.
    pub window: Duration,
}

impl Default for Pace {
    /// 1 KiB a second: an update of 5 MB in an hour and a half.
    fn default() -> Self {
        Self { least: 30 << 10, window: Duration::from_secs(30) }
    }
}

/// The server drips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server has given {bytes} bytes in {window:?}")]
pub struct TooSlow {
    /// What came.
    pub bytes: u64,
    /// In this time.
    pub window: Duration,
}

/// What came in the window under way.
#[derive(Debug, Clone)]
pub struct Watch {
    pace: Pace,
    bytes: u64,
    spent: Duration,
}

impl Watch {
    /// Begins.
    pub fn new(pace: Pace) -> Self {
        Self { pace, bytes: 0, spent: Duration::ZERO }
    }

    /// So many bytes came after so long a wait.
    ///
    /// # Errors
    /// [`TooSlow`] when a window has ended with less than the pace wants.
    pub fn took(&mut self, bytes: u64, spent: Duration) -> Result<(), TooSlow> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.spent = self.spent.saturating_add(spent);
        if self.spent < self.pace.window {
            return Ok(());
        }
        let slow = self.bytes < self.pace.least;
        let error = TooSlow { bytes: self.bytes, window: self.spent };
        *self = Self::new(self.pace);
        if slow { Err(error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_drips_is_told_from_one_that_is_slow() {
        let second = Duration::from_secs(1);
        let pace = Pace { least: 100, window: second * 10 };
        let mut slow = Watch::new(pace);
        assert!((0..100).all(|_| slow.took(10, second) == Ok(())));
        let mut drips = Watch::new(pace);
        assert!((0..9).all(|_| drips.took(9, second) == Ok(())));
        assert_eq!(drips.took(9, second), Err(TooSlow { bytes: 90, window: second * 10 }));
        // A window begins anew: what came before is not held against, nor for, what comes.
        assert_eq!(drips.took(0, second * 9), Ok(()));
        assert_eq!(drips.took(1000, second), Ok(()));
    }
}
