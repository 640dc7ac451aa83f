//! When a node may change its image by itself: days and hours, in UTC, for a node has no other time.

use std::fmt;
use std::str::FromStr;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MINUTES_OF_A_DAY: u32 = 24 * 60;
/// In seconds.
const DAY: i64 = 86_400;

/// Hours of some days of the week: `Sat 02:00-06:00`, `Mon-Fri 22:00-04:00`, or `22:00-04:00` for each
/// day. What ends before it begins goes on into the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Days of the week, 0 is Monday. Invariant: below 7. `first..=last`, over Sunday if it falls.
    first: u8,
    last: u8,
    /// Minutes of the day. Invariant: `from` is below a day, `to` from 1 to a day, and they differ.
    from: u32,
    to: u32,
}

impl Window {
    /// Whether this moment is in it, in seconds since 1970.
    pub fn contains(&self, now: i64) -> bool {
        let minute = u32::try_from(now.div_euclid(60).rem_euclid(i64::from(MINUTES_OF_A_DAY)));
        let minute = minute.unwrap_or(0);
        // The first day of 1970 was a Thursday.
        let day = u8::try_from((now.div_euclid(86_400) + 3).rem_euclid(7)).unwrap_or(0);
        let yesterday = (day + 6) % 7;
        if self.from < self.to {
            self.is_on(day) && (self.from..self.to).contains(&minute)
        } else {
            self.is_on(day) && minute >= self.from || self.is_on(yesterday) && minute < self.to
        }
    }

    /// When it opens and closes, in seconds since 1970: each time from a week before this moment to a
    /// week behind it, the earliest first.
    pub fn times_around(&self, now: i64) -> impl Iterator<Item = (i64, i64)> {
        let today = now.div_euclid(DAY);
        let length = (i64::from(self.to) - i64::from(self.from)) * 60;
        let length = if length > 0 { length } else { length + DAY };
        let is_on =
            |day: &i64| u8::try_from((day + 3).rem_euclid(7)).is_ok_and(|it| self.is_on(it));
        let opens = move |day: i64| day.saturating_mul(DAY) + i64::from(self.from) * 60;
        let days = today.saturating_sub(8)..=today.saturating_add(8);
        days.filter(is_on).map(move |day| (opens(day), opens(day) + length))
    }

    fn is_on(&self, day: u8) -> bool {
        (day + 7 - self.first) % 7 <= (self.last + 7 - self.first) % 7
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "`{text}` is no time of the week: it is written as `Sat 02:00-06:00`, \
                 `Mon-Fri 22:00-04:00` or `22:00-04:00`, in UTC"
            )
        };
        let day = |text: &str| {
            let day = DAYS.iter().position(|day| day.eq_ignore_ascii_case(text));
            day.and_then(|day| u8::try_from(day).ok()).ok_or_else(refused)
        };
        let (days, hours) = match text.trim().split_once(' ') {
            Some((days, hours)) => (Some(days), hours.trim()),
            None => (None, text.trim()),
        };
        let (first, last) = match days.map(|days| days.split_once('-').unwrap_or((days, days))) {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (0, 6),
        };
        let (from, to) = hours.split_once('-').ok_or_else(refused)?;
        let (from, to) = (minute(from).ok_or_else(refused)?, minute(to).ok_or_else(refused)?);
        let to = if to == 0 { MINUTES_OF_A_DAY } else { to };
        if from == MINUTES_OF_A_DAY || from == to {
            return Err(refused());
        }
        Ok(Self { first, last, from, to })
    }
}

/// `HH:MM`, up to `24:00`.
fn minute(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, most: u32| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|number| digits && *number <= most)
    };
    let minute = number(hours, 24)? * 60 + number(minutes, 59)?;
    (minute <= MINUTES_OF_A_DAY).then_some(minute)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |day: u8| DAYS.get(usize::from(day)).copied().unwrap_or_default();
        match (self.first, self.last) {
            (0, 6) => {}
            (first, last) if first == last => write!(f, "{} ", day(first))?,
            (first, last) => write!(f, "{}-{} ", day(first), day(last))?,
        }
        let Self { from, to, .. } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday, 1 January 1970, and so many days and minutes behind it.
    fn at(day: i64, hours: i64, minutes: i64) -> i64 {
        day * 86_400 + hours * 3600 + minutes * 60 + 59
    }

    #[test]
    fn a_moment_is_in_a_window_or_not() {
        let (thu, fri, sat, sun, mon) = (0, 1, 2, 3, 4);
        for (window, inside, outside) in [
            ("02:00-06:00", at(fri, 2, 0), at(fri, 6, 0)),
            ("02:00-06:00", at(mon, 5, 59), at(mon, 1, 59)),
            ("Sat 02:00-06:00", at(sat, 3, 0), at(fri, 3, 0)),
            ("Sat 02:00-06:00", at(sat - 7, 3, 0), at(sun, 3, 0)),
            ("Fri 22:00-04:00", at(sat, 3, 59), at(fri, 3, 59)),
            ("Fri 22:00-04:00", at(fri, 22, 0), at(sat, 4, 0)),
            ("Sat-Mon 00:00-24:00", at(mon, 23, 59), at(mon + 1, 0, 0)),
            ("Sat-Mon 00:00-24:00", at(sat, 0, 0), at(fri, 23, 59)),
            ("Sun 12:00-00:00", at(sun, 23, 59), at(mon, 0, 0)),
            ("Mon-Thu 08:00-09:00", at(thu, 8, 30), at(sun, 8, 30)),
        ] {
            let parsed: Window = window.parse().unwrap();
            assert!(parsed.contains(inside) && !parsed.contains(outside), "{window}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{window}");
        }
        let daily: Window = "00:00-24:00".parse().unwrap();
        assert!((-9..9).all(|days| daily.contains(at(days, 12, 0))));
    }

    #[test]
    fn the_times_of_a_window_are_the_moments_that_are_in_it() {
        for window in ["02:00-06:00", "Sat 02:00-06:00", "Fri-Mon 22:00-04:00", "Sun 12:00-00:00"] {
            let window: Window = window.parse().unwrap();
            for now in [at(0, 0, 0), at(1000, 3, 30), at(-3, 23, 0)] {
                let times: Vec<_> = window.times_around(now).collect();
                assert!(times.is_sorted() && times.iter().all(|(opens, closes)| opens < closes));
                for minute in -7 * 24 * 60..7 * 24 * 60 {
                    let moment = now + minute * 60;
                    let inside = times.iter().any(|(from, to)| (*from..*to).contains(&moment));
                    assert_eq!(inside, window.contains(moment), "{window} {moment}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_window_is_told() {
        for text in [
            "",
            "Sat",
            "2:00-6:00",
            "24:00-01:00",
            "25:00-01:00",
            "01:60-02:00",
            "01:00-01:00",
            "Sam 01:00-02:00",
            "Sat-So 01:00-02:00",
            "Sat 01:00",
            "Sat  x",
            "+1:00-02:00",
        ] {
            let error = text.parse::<Window>().unwrap_err();
            assert!(error.starts_with(&format!("`{text}` is no time of the week")), "{error}");
        }
    }
}
