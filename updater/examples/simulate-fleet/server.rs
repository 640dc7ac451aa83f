//! The server: what it is asked for, second by second.

use super::cost::Asked;

/// What was asked for since the beginning.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// Requests in each second.
    seconds: Vec<u32>,
    /// Bytes of all.
    pub(crate) bytes: u64,
    /// Requests of all.
    pub(crate) requests: u64,
}

/// Requests in a second.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Rate {
    /// In the second with the most.
    pub(crate) peak: u32,
    /// Of 100 seconds 99 have no more.
    pub(crate) percentile_99: u32,
    /// On average.
    pub(crate) mean: f64,
}

impl Server {
    /// Something is asked for in the `length` seconds from `at` on, evenly.
    pub(crate) fn asked(&mut self, at: i64, length: i64, asked: Asked) {
        self.bytes += asked.bytes;
        self.requests += u64::from(asked.requests);
        let at = usize::try_from(at).unwrap_or(0);
        let length = usize::try_from(length).unwrap_or(0).max(1);
        if self.seconds.len() < at + length {
            self.seconds.resize(at + length, 0);
        }
        let requests = asked.requests as usize;
        for request in 0..requests {
            self.seconds[at + request * length / requests] += 1;
        }
    }

    /// The rate of requests in the seconds `from..until`.
    pub(crate) fn rate(&self, from: i64, until: i64) -> Rate {
        let [from, until] = [from, until].map(|at| usize::try_from(at).unwrap_or(0));
        let mut seconds = self.seconds.clone();
        seconds.resize(until.max(seconds.len()), 0);
        let mut seconds = seconds[from.min(until)..until].to_vec();
        seconds.sort_unstable();
        let count = seconds.len().max(1);
        let total: u64 = seconds.iter().map(|requests| u64::from(*requests)).sum();
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        Rate {
            peak: seconds.last().copied().unwrap_or(0),
            percentile_99: seconds.get((count - 1) * 99 / 100).copied().unwrap_or(0),
            mean: total as f64 / count as f64,
        }
    }
}
