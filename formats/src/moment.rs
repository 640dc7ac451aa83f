//! Moments as people write them: dates of the Gregorian calendar, also before it was made, in UTC.

use std::fmt;

const DAY: i64 = 86_400;
/// An era of the calendar: 400 years.
const ERA: i64 = 146_097;
/// From 1 March of the year 0 to 1 January 1970.
const TO_1970: i64 = 719_468;

/// A moment of UTC, without leap seconds. Shown as `2026-11-19 02:12:54 UTC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    year: i64,
    month: i64,
    day: i64,
    second: i64,
}

impl Moment {
    /// So many seconds after 1970 began, or before it.
    pub fn at(seconds: i64) -> Self {
        let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        // Years begin in March, so that the day that comes and goes is the last one.
        let days = days + TO_1970;
        let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
        let year = (day - day / 1460 + day / 36_524 - day / (ERA - 1)) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
        Self { year: era * 400 + year + i64::from(month <= 2), month, day, second }
    }

    /// The same of a number that cannot be before 1970; what is beyond all calendars is far away.
    pub fn since_1970(seconds: u64) -> Self {
        Self::at(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    /// `2026-11-19`.
    pub fn date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// `2026-11-19T02:12:54Z`.
    pub fn rfc3339(&self) -> String {
        format!("{}T{}Z", self.date(), self.time())
    }

    /// How many seconds after 1970 the moment is that is written `2026-11-19T02:12:54Z`, and in no other
    /// way; nothing if there is no such day or time.
    pub fn seconds_of(rfc3339: &str) -> Option<i64> {
        let number = |range: std::ops::Range<usize>| {
            let digits = rfc3339.get(range)?;
            digits
                .bytes()
                .all(|digit| digit.is_ascii_digit())
                .then(|| digits.parse::<i64>().ok())?
        };
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        // The way back of `at`: years begin in March.
        let (from_march, year) = ((month + 9) % 12, year - i64::from(month <= 2));
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let days = 365 * of_era + of_era / 4 - of_era / 100 + (153 * from_march + 2) / 5 + day - 1;
        let seconds = (era * ERA + days - TO_1970) * DAY + hour * 3600 + minute * 60 + second;
        // What is no date, or stands otherwise, is written otherwise.
        (Self::at(seconds).rfc3339() == rfc3339).then_some(seconds)
    }

    fn time(&self) -> String {
        let (hour, minute) = (self.second / 3600, self.second / 60 % 60);
        format!("{hour:02}:{minute:02}:{:02}", self.second % 60)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} UTC", self.date(), self.time())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (1_795_054_374, "2026-11-19 02:12:54 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(Moment::at(seconds).to_string(), want);
        }
        let moment = Moment::since_1970(1_798_761_599);
        assert_eq!(
            (moment.date(), moment.rfc3339()),
            ("2026-12-31".to_owned(), "2026-12-31T23:59:59Z".to_owned())
        );
        assert!(Moment::since_1970(u64::MAX).to_string().ends_with(" UTC"));
    }

    #[test]
    fn what_is_no_moment_is_not_read_as_one() {
        assert_eq!(Moment::seconds_of("2026-12-31T23:59:59Z"), Some(1_798_761_599));
        assert_eq!(Moment::seconds_of("0000-01-01T00:00:00Z"), Some(-62_167_219_200));
        for text in [
            "",
            "2026-12-31",
            "2026-12-31T23:59:59",
            "2026-12-31t23:59:59z",
            "2026-12-31 23:59:59Z",
            "2026-12-31T23:59:59+00:00",
            "2026-12-31T23:59:59.5Z",
            "2026-12-31T23:59:60Z",
            "2026-12-31T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "+026-01-01T00:00:00Z",
            "12026-01-01T00:00:00Z",
            "2026-01-01T00:00:0éZ",
        ] {
            assert_eq!(Moment::seconds_of(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_moment_comes_back_from_its_text(seconds in -62_167_219_200_i64..253_402_300_800) {
            prop_assert_eq!(Moment::seconds_of(&Moment::at(seconds).rfc3339()), Some(seconds));
        }

        #[test]
        fn any_text_is_a_moment_or_none(text in ".*") {
            if let Some(seconds) = Moment::seconds_of(&text) {
                prop_assert_eq!(Moment::at(seconds).rfc3339(), text);
            }
        }

        /// A day after another is the next of its month, or the first of the next.
        #[test]
        fn no_day_is_left_out(seconds in any::<i64>()) {
            let today = Moment::at(seconds.min(i64::MAX - DAY));
            let tomorrow = Moment::at(seconds.min(i64::MAX - DAY) + DAY);
            prop_assert!((1..=12).contains(&today.month) && (1..=31).contains(&today.day));
            let is_next = (tomorrow.year, tomorrow.month, tomorrow.day)
                == (today.year, today.month, today.day + 1);
            let is_first = tomorrow.day == 1 && today.day >= 28 && {
                let (months, before) =
                    (tomorrow.year * 12 + tomorrow.month, today.year * 12 + today.month);
                months == before + 1
            };
            prop_assert!(is_next || is_first, "{today} {tomorrow}");
            prop_assert_eq!(today.second, tomorrow.second);
        }
    }
}
