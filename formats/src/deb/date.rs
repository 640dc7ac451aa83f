//! Dates of release files: `Sat, 12 Sep 2026 07:55:41 UTC`, the form of RFC 2822 (`date -R -u`),
//! always in universal time.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// The text is not a date of this form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a date such as `Sat, 12 Sep 2026 07:55:41 UTC`")]
pub struct DateError(String);

/// Seconds since 1970-01-01 00:00 UTC.
///
/// # Errors
/// The text has another form, another zone than UTC, a year before 1970 or after 9999, names a
/// day that is not in the calendar or not that day of the week.
pub fn parse(text: &str) -> Result<u64, DateError> {
    seconds(text).ok_or_else(|| DateError(text.to_owned()))
}

fn seconds(text: &str) -> Option<u64> {
    let words: Vec<_> = text.split_whitespace().collect();
    let &[weekday, day, month, year, time, zone] = words.as_slice() else { return None };
    if !matches!(zone, "UTC" | "GMT" | "Z" | "+0000") {
        return None;
    }
    let weekday = DAYS.iter().position(|name| weekday.strip_suffix(',') == Some(name))?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let day = number(day, 1..=2)?;
    let year = number(year, 4..=4)?;
    let mut parts = time.split(':').map(|part| number(part, 1..=2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    // A leap second is written as second 60.
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days(year, month as u64 + 1, day)?;
    if u64::try_from(weekday) != Ok(days % 7) {
        return None;
    }
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(400) || (year.is_multiple_of(4) && !year.is_multiple_of(100))
}

fn lengths(year: u64) -> [u64; 12] {
    [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Days from 1970-01-01 to the first of January.
fn days_before(year: u64) -> u64 {
    let before = year - 1;
    (year - 1970) * 365 + (before / 4 - before / 100 + before / 400) - 477
}

/// Days since 1970-01-01, if there is such a day, `month` counted from 1.
pub(super) fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let month = usize::try_from(month).ok()?.checked_sub(1)?;
    let length = *lengths(year).get(month)?;
    if !(1970..10_000).contains(&year) || day == 0 || day > length {
        return None;
    }
    Some(days_before(year) + lengths(year)[..month].iter().sum::<u64>() + day - 1)
}

/// Year, month and day, the last two counted from 1, so many days after 1970-01-01.
pub(super) fn calendar(days: u64) -> (u64, u64, u64) {
    // No year has more than 366 days, so the guess is never too late.
    let mut year = 1970 + days / 366;
    while days_before(year + 1) <= days {
        year += 1;
    }
    let mut day = days - days_before(year);
    let mut month = 1;
    for length in lengths(year) {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let good = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if good { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_become_seconds() {
        // As `date -u -d TEXT +%s` has it.
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0),
            ("Thu, 1 Jan 1970  0:00:01 +0000", 1),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Sat, 12 Sep 2026 07:55:41 UTC", 1_789_199_741),
            ("Wed, 25 Nov 2026 22:17:43 UTC", 1_795_645_063),
            ("Mon, 01 Mar 2100 00:00:00 UTC", 4_107_542_400),
        ] {
            assert_eq!(parse(text), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_not_such_a_date_is_refused() {
        for text in [
            "",
            "2026-09-12",
            "Fri, 12 Sep 2026 07:55:41 UTC",
            "Sat, 12 Sep 2026 07:55:41 CET",
            "Sat, 12 Sep 2026 07:55 UTC",
            "Sat, 12 Sep 2026 24:55:41 UTC",
            "Sat, 12 sep 2026 07:55:41 UTC",
            "Sat 12 Sep 2026 07:55:41 UTC",
            "Sun, 29 Feb 2026 00:00:00 UTC",
            "Mon, 00 Jan 2026 00:00:00 UTC",
            "Wed, 31 Dec 1969 23:59:59 UTC",
            "Sat, 12 Sep 2026 07:55:41 UTC now",
            "Sat, +2 Sep 2026 07:55:41 UTC",
        ] {
            assert_eq!(parse(text), Err(DateError(text.to_owned())), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([A-Z][a-z]{2}, [0-9]{1,3} (Jan|Dec) [0-9]{0,5} [0-9:]{0,9} (UTC|.)|.*)") {
            drop(parse(&text));
        }
    }
}
