//! The one place where the updater reads a clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since the kernel started, without what it was suspended for.
pub(crate) fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}
