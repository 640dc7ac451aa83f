//! Times of day: the clock, and how people are told of it. It is never before the image's own time
//! ([`crate::pid1::floor`]), and set by time servers ([`crate::network::time`]).

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time of day in nanoseconds since 1970, which may be far off.
pub fn now() -> i128 {
    let time = clock_gettime(ClockId::Realtime);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// `2026-11-19 02:12:54 UTC` of seconds since 1970 (proleptic Gregorian calendar).
pub fn text(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years begin in March, so that the day that comes and goes is the last one. An era of 400
    // years has 146,097 days; 719,468 of them lie between 1 March of year 0 and 1970.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
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
    fn a_time_is_told_as_a_date() {
        for (seconds, want) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (1_795_054_374, "2026-11-19 02:12:54 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(text(seconds), want);
        }
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
