//! What a request makes its answer depend on (RFC 9110, section 13): what the client has already.

use std::time::{Duration, UNIX_EPOCH};

use super::Found;
use super::request::Fields;

/// What tells one content of a path from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validators {
    /// `"tag"`, or `W/"tag"` if the content may change again without its tag.
    pub(super) etag: String,
    /// Seconds since 1970.
    pub(super) modified: u64,
    /// Whether both say that every byte is the same.
    strong: bool,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is answered, and its ranges count.
    Go,
    /// It is answered with the whole: the client has parts of something else.
    Whole,
    /// The client has it.
    NotModified,
    /// It is not what the client wants to have.
    Failed,
}

impl Validators {
    /// Those of what was found, at this moment.
    pub(super) fn of(found: &Found, now: u64) -> Self {
        // The clock of a file system is coarse: two changes may get one time.
        let strong = found.modified.saturating_add(1) < now;
        let weak = if strong { "" } else { "W/" };
        Self { etag: format!("{weak}\"{}\"", found.tag), modified: found.modified.min(now), strong }
    }

    /// In the order of section 13.2.2.
    pub(super) fn judge(&self, fields: &Fields) -> Verdict {
        match (&fields.if_match, &fields.if_unmodified_since) {
            (Some(tags), _) if tags != "*" && !list(tags).any(|tag| self.is_same(tag)) => {
                return Verdict::Failed;
            }
            (None, Some(date)) if seconds(date).is_some_and(|date| self.modified > date) => {
                return Verdict::Failed;
            }
            _ => {}
        }
        match (&fields.if_none_match, &fields.if_modified_since) {
            (Some(tags), _) if tags == "*" || list(tags).any(|tag| self.is_like(tag)) => {
                return Verdict::NotModified;
            }
            (None, Some(date)) if seconds(date).is_some_and(|date| self.modified <= date) => {
                return Verdict::NotModified;
            }
            _ => {}
        }
        match &fields.if_range {
            Some(mark) if !self.is_exactly(mark) => Verdict::Whole,
            _ => Verdict::Go,
        }
    }

    /// The strong comparison of section 8.8.3.2: the same bytes.
    fn is_same(&self, tag: &str) -> bool {
        self.strong && tag == self.etag
    }

    /// The weak comparison.
    fn is_like(&self, tag: &str) -> bool {
        tag.trim_start_matches("W/") == self.etag.trim_start_matches("W/")
    }

    /// Whether this is what the client has parts of: a tag, or a date.
    fn is_exactly(&self, mark: &str) -> bool {
        let date = || seconds(mark) == Some(self.modified);
        self.is_same(mark) || self.strong && !mark.contains('"') && date()
    }
}

/// Tags of a list. None of ours has a comma, so what a comma within another's leaves is not ours.
fn list(tags: &str) -> impl Iterator<Item = &str> {
    tags.split(',').map(|tag| tag.trim_matches([' ', '\t']))
}

/// A date in one of the three forms of section 5.6.7.
fn seconds(date: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(date).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// The form in which dates are sent. They are never behind the present.
pub(super) fn date(seconds: u64) -> String {
    // The last moment that the form has.
    const LAST: u64 = 253_402_300_799;
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST)))
}

#[cfg(test)]
mod tests {
    use super::super::Content;
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const MODIFIED: u64 = 784_111_777;

    fn validators(now: u64) -> Validators {
        let content = Content::Bytes([].into());
        let tag = "7-a".to_owned();
        Validators::of(&Found { content, size: 0, tag, modified: MODIFIED, media: "" }, now)
    }

    fn judge(fields: &[(&str, &str)], now: u64) -> Verdict {
        let mut all = Fields::default();
        for (name, value) in fields {
            all.add(name, value);
        }
        validators(now).judge(&all)
    }

    #[test]
    fn conditions_are_judged_in_the_order_of_the_standard() {
        let same = "Sun, 06 Nov 1994 08:49:37 GMT";
        let (before, after) = ("Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:38 GMT");
        use Verdict::{Failed, Go, NotModified, Whole};
        for (fields, want) in [
            (&[][..], Go),
            (&[("if-none-match", "\"7-a\"")], NotModified),
            (&[("If-None-Match", "\"x\", W/\"7-a\"")], NotModified),
            (&[("if-none-match", "\"x\""), ("if-none-match", "\"7-a\"")], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "7-a")], Go),
            (&[("if-none-match", "\"x\""), ("if-modified-since", same)], Go),
            (&[("if-modified-since", same)], NotModified),
            (&[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")], NotModified),
            (&[("if-modified-since", "Sun Nov  6 08:49:37 1994")], NotModified),
            (&[("if-modified-since", before)], Go),
            (&[("if-modified-since", "yesterday")], Go),
            (&[("if-match", "\"7-a\"")], Go),
            (&[("if-match", "*")], Go),
            (&[("if-match", "\"x\"")], Failed),
            (&[("if-match", "W/\"7-a\"")], Failed),
            (&[("if-match", "\"x\""), ("if-none-match", "\"7-a\"")], Failed),
            (&[("if-match", "\"7-a\""), ("if-unmodified-since", before)], Go),
            (&[("if-unmodified-since", before)], Failed),
            (&[("if-unmodified-since", same)], Go),
            (&[("if-range", "\"7-a\"")], Go),
            (&[("if-range", "W/\"7-a\"")], Whole),
            (&[("if-range", "\"x\"")], Whole),
            (&[("if-range", same)], Go),
            (&[("if-range", after)], Whole),
            (&[("if-range", "")], Whole),
        ] {
            assert_eq!(judge(fields, MODIFIED + 100), want, "{fields:?}");
        }
    }

    #[test]
    fn what_may_change_unseen_is_not_put_together_of_parts() {
        for (after, etag) in [(0, "W/\"7-a\""), (1, "W/\"7-a\""), (2, "\"7-a\"")] {
            assert_eq!(validators(MODIFIED + after).etag, etag);
        }
        for mark in ["\"7-a\"", "W/\"7-a\"", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(judge(&[("if-range", mark)], MODIFIED + 1), Verdict::Whole, "{mark}");
        }
        assert_eq!(judge(&[("if-match", "\"7-a\"")], MODIFIED + 1), Verdict::Failed);
        assert_eq!(judge(&[("if-none-match", "\"7-a\"")], MODIFIED), Verdict::NotModified);
    }

    #[test]
    fn a_date_is_never_behind_the_present() {
        assert_eq!(validators(MODIFIED - 5).modified, MODIFIED - 5);
        assert_eq!(date(MODIFIED), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
