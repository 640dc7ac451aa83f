//! Times of day: the clock, and how people are told of it. It is never before the image's own time
//! ([`crate::pid1::floor`]), and set by time servers ([`crate::network::time`]).

use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The image's own time: seconds since 1970 as decimal digits.
pub const FLOOR: &str = "/usr/lib/orlop/time-floor";

/// What such a file says; an image without it has no floor.
pub fn floor(file: &Path) -> Option<i64> {
    parse_floor(&std::fs::read_to_string(file).ok()?)
}

fn parse_floor(text: &str) -> Option<i64> {
    text.trim_end().parse().ok().filter(|floor| (0..=4_294_967_296).contains(floor))
}

/// The time of day in nanoseconds since 1970, which may be far off.
pub fn now() -> i128 {
    let time = clock_gettime(ClockId::Realtime);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// A difference of clocks for people: `+12 years`, `-3.250 s`.
pub fn difference(nanoseconds: i128) -> String {
    let sign = if nanoseconds < 0 { '-' } else { '+' };
    let time =
        u64::try_from(nanoseconds.unsigned_abs()).map_or(Duration::MAX, Duration::from_nanos);
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{sign}{seconds}.{:03} s", time.subsec_millis()),
        60..7200 => format!("{sign}{} minutes", seconds / 60),
        7200..172_800 => format!("{sign}{} hours", seconds / 3600),
        172_800..63_072_000 => format!("{sign}{} days", seconds / 86_400),
        _ => format!("{sign}{} years", seconds / 31_556_952),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_a_number_of_seconds_of_our_time() {
        for (text, want) in
            [("1795054374\n", Some(1_795_054_374)), ("", None), ("-1", None), ("9e9", None)]
        {
            assert_eq!(parse_floor(text), want);
        }
        assert_eq!(parse_floor("99999999999999"), None, "a clock that no certificate outlives");
    }

    #[test]
    fn a_difference_is_told_in_a_unit_of_its_size() {
        for (nanoseconds, want) in [
            (-3_250_000_000, "-3.250 s"),
            (90_000_000_000, "+1 minutes"),
            (-7_200_000_000_000, "-2 hours"),
            (1_795_054_374_000_000_000, "+56 years"),
            (i128::MAX, "+584554049253 years"),
        ] {
            assert_eq!(difference(nanoseconds), want);
        }
    }
}
