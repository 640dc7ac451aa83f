//! The two clocks PID 1 reads.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Time since the kernel started, without time asleep: what deadlines are counted in
/// and the console shows.
pub fn monotonic() -> Duration {
    duration(clock_gettime(ClockId::Monotonic))
}

/// Time since the kernel started, time asleep included: what boot marks and log lines show.
pub fn since_boot() -> Duration {
    duration(clock_gettime(ClockId::Boottime))
}

fn duration(time: Timespec) -> Duration {
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds)
}
