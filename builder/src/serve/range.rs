//! Ranges of bytes (RFC 9110, section 14).

use std::ops::Range;

/// More parts than this are not worth their heads.
const MOST: usize = 256;

/// What of a file was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it. So is what cannot be understood, and what would be more than all.
    Whole,
    /// These parts, one at least, none empty, in this order.
    Parts(Vec<Range<u64>>),
    /// Parts that are all behind its end.
    Nothing,
}

/// Reads the field `Range` for a file of this size.
pub(super) fn asked(field: &str, size: u64) -> Asked {
    let Some(specs) = specs(field) else { return Asked::Whole };
    let parts: Vec<_> = specs.iter().filter_map(|spec| spec.within(size)).collect();
    let total = parts.iter().map(|part| part.end - part.start).fold(0, u64::saturating_add);
    if specs.len() > MOST || total > size {
        return Asked::Whole;
    }
    if parts.is_empty() { Asked::Nothing } else { Asked::Parts(parts) }
}

/// One part as it was written.
#[derive(Debug, Clone, Copy)]
enum Spec {
    /// `4-7` and `4-`, the last one included.
    From(u64, u64),
    /// `-7`: so many at the end.
    Last(u64),
}

impl Spec {
    fn within(self, size: u64) -> Option<Range<u64>> {
        let part = match self {
            Self::From(first, last) => first..last.saturating_add(1).min(size),
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (part.start < part.end).then_some(part)
    }
}

/// The parts that are written; nothing if the field is not of this form.
fn specs(field: &str) -> Option<Vec<Spec>> {
    let (unit, set) = field.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let written = set.split(',').map(|spec| spec.trim_matches([' ', '\t']));
    let written = written.filter(|spec| !spec.is_empty());
    let specs = written.map(|spec| {
        let (first, last) = spec.split_once('-')?;
        match (first, last) {
            ("", last) => number(last).map(Spec::Last),
            (first, "") => Some(Spec::From(number(first)?, u64::MAX)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Spec::From(first, last))
            }
        }
    });
    specs.collect::<Option<Vec<_>>>().filter(|specs| !specs.is_empty())
}

/// Digits; a number beyond all files is just that.
fn number(digits: &str) -> Option<u64> {
    let good = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_those_of_the_standard() {
        let parts = |parts: &[(u64, u64)]| {
            Asked::Parts(parts.iter().map(|(start, end)| *start..*end).collect())
        };
        for (field, want) in [
            ("bytes=0-0", parts(&[(0, 1)])),
            ("bytes=0-499", parts(&[(0, 500)])),
            ("Bytes=500-", parts(&[(500, 1000)])),
            ("bytes=-1", parts(&[(999, 1000)])),
            ("bytes=-2000", parts(&[(0, 1000)])),
            ("bytes=999-99999999999999999999999", parts(&[(999, 1000)])),
            ("bytes=0-0, -1", parts(&[(0, 1), (999, 1000)])),
            ("bytes=,7-8\t,, 3-4", parts(&[(7, 9), (3, 5)])),
            ("bytes=5-6,2000-", parts(&[(5, 7)])),
            ("bytes=1000-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=1000-1001,99999999999999999999999-", Asked::Nothing),
            // Together they are more than all.
            ("bytes=0-,0-", Asked::Whole),
            ("bytes=0-600,400-999", Asked::Whole),
            ("bytes=2-1", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("bytes=,", Asked::Whole),
            ("bytes=0-1,x", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes 0-1", Asked::Whole),
            ("lines=0-1", Asked::Whole),
            ("", Asked::Whole),
        ] {
            assert_eq!(asked(field, 1000), want, "{field}");
        }
        assert_eq!(asked("bytes=0-", 0), Asked::Nothing);
        let many = |count: usize| format!("bytes={}", vec!["0-0"; count].join(","));
        assert_eq!(asked(&many(MOST + 1), 1000), Asked::Whole);
        assert!(matches!(asked(&many(MOST), 1000), Asked::Parts(parts) if parts.len() == MOST));
    }

    proptest! {
        #[test]
        fn whatever_is_asked_lies_within_the_file_and_is_no_more_than_it(
            field in "bytes=([0-9]{0,3}-[0-9]{0,20},? ?){0,6}",
            size in 0u64..1000,
        ) {
            if let Asked::Parts(parts) = asked(&field, size) {
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
                prop_assert!(parts.iter().map(|part| part.end - part.start).sum::<u64>() <= size);
                prop_assert!(!parts.is_empty());
            }
        }
    }
}
