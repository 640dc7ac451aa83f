//! Numbers that tests draw by lot, from a seed that is told, so that a run can be had again.

use anyhow::{Context as _, Result};

/// The variable of the environment that has the seed of an earlier run.
const SEED: &str = "ORLOP_TEST_SEED";

/// Numbers of an xorshift generator (Marsaglia 2003).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From `ORLOP_TEST_SEED`, or else from a seed of this run.
    ///
    /// # Errors
    /// The variable is no number, or the kernel gives none.
    pub fn new() -> Result<Self> {
        let seed = match std::env::var(SEED) {
            Ok(seed) => seed.parse().with_context(|| format!("`{SEED}` is no number"))?,
            Err(_) => {
                let bytes = std::fs::read("/proc/sys/kernel/random/uuid")?;
                bytes.iter().fold(1, |seed: u64, byte| seed.rotate_left(7) ^ u64::from(*byte))
            }
        };
        // Of zero comes nothing but zero.
        Ok(Self(seed.max(1)))
    }

    /// How to have the numbers that follow again, in words.
    pub fn told(&self) -> String {
        format!("{SEED}={}", self.0)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The lowest bits are the least random ones.
        self.0 >> 8
    }

    /// The next number below `limit`, or zero if there is none.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit.max(1)
    }
}
