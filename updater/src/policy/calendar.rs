//! Windows as one calendar: which time is open, and until when.

use formats::node_config::Window;

/// A week, in seconds: what is open for longer is always open, for windows come again each week.
const WEEK: i64 = 7 * 86_400;

/// What a moment is, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// There is no window, or they leave nothing out.
    Always,
    /// In a window, or in several that follow each other.
    Open {
        /// When it has opened.
        since: i64,
        /// When it closes.
        until: i64,
    },
    /// In none: the next one.
    Shut {
        /// When it opens.
        since: i64,
        /// When it closes.
        until: i64,
    },
}

/// What this moment is.
pub(super) fn opening(windows: &[Window], now: i64) -> Opening {
    let mut times: Vec<_> = windows.iter().flat_map(|window| window.times_around(now)).collect();
    times.sort_unstable();
    let mut open: Vec<(i64, i64)> = Vec::new();
    for (since, until) in times {
        match open.last_mut() {
            Some((_, last)) if since <= *last => *last = (*last).max(until),
            _ => open.push((since, until)),
        }
    }
    match open.into_iter().find(|(_, until)| now < *until) {
        None => Opening::Always,
        Some((since, until)) if until - since >= WEEK => Opening::Always,
        Some((since, until)) if since <= now => Opening::Open { since, until },
        Some((since, until)) => Opening::Shut { since, until },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn windows(texts: &[&str]) -> Vec<Window> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn windows_that_follow_each_other_are_one() {
        // Thursday.
        let (day, hour) = (86_400, 3600);
        for (texts, now, want) in [
            (&[][..], 0, Opening::Always),
            (&["00:00-24:00"], 5, Opening::Always),
            (&["00:00-12:00", "12:00-00:00"], 5, Opening::Always),
            (&["02:00-06:00"], 0, Opening::Shut { since: 2 * hour, until: 6 * hour }),
            (&["02:00-06:00"], 2 * hour, Opening::Open { since: 2 * hour, until: 6 * hour }),
            (
                &["02:00-06:00"],
                6 * hour,
                Opening::Shut { since: day + 2 * hour, until: day + 6 * hour },
            ),
            (
                &["22:00-02:00", "02:00-03:00"],
                hour,
                Opening::Open { since: -2 * hour, until: 3 * hour },
            ),
            (&["Wed 00:00-24:00"], 0, Opening::Shut { since: 6 * day, until: 7 * day }),
            (&["Thu-Tue 00:00-24:00"], day, Opening::Open { since: 0, until: 6 * day }),
        ] {
            assert_eq!(opening(&windows(texts), now), want, "{texts:?} {now}");
        }
    }

    proptest! {
        #[test]
        fn a_moment_is_open_if_a_window_says_so(
            now in -10_000_000_i64..10_000_000,
            from in proptest::collection::vec((0_u32..24, 0_u32..24, 0_usize..8), 0..4),
        ) {
            let texts: Vec<_> = from
                .iter()
                .filter(|(from, to, _)| from != to)
                .map(|(from, to, day)| {
                    let day = ["", "Mon ", "Tue ", "Wed ", "Thu ", "Fri ", "Sat ", "Sun "][*day];
                    format!("{day}{from:02}:00-{to:02}:00")
                })
                .collect();
            let windows = windows(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            let inside = windows.iter().any(|window| window.contains(now));
            match opening(&windows, now) {
                Opening::Always => prop_assert!(windows.is_empty() || inside),
                Opening::Open { since, until } => {
                    prop_assert!(inside && (since..until).contains(&now));
                }
                Opening::Shut { since, until } => {
                    prop_assert!(!inside && now < since && since < until);
                }
            }
        }
    }
}
