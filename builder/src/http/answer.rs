//! What the head of an answer says beside its status.

use std::time::Duration;

use formats::deb::date;
use ureq::Body;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_RANGE, DATE, HeaderName, RETRY_AFTER};
use ureq::http::{HeaderMap, Response};

/// Whether the answer is the rest, from byte `have` on, of a file of `size` bytes, if known.
pub(super) fn continues(response: &Response<Body>, have: u64, size: Option<u64>) -> bool {
    let range = text(response.headers(), &CONTENT_RANGE);
    let range = range.and_then(|header| header.strip_prefix("bytes "));
    let parts = range.and_then(|range| {
        let (span, total) = range.split_once('/')?;
        let (first, _) = span.split_once('-')?;
        Some((first.trim().parse::<u64>().ok()?, total.trim()))
    });
    let right = |total: &str| size.is_none_or(|size| total == "*" || total.parse() == Ok(size));
    parts.is_some_and(|(first, total)| first == have && right(total))
}

/// How long a server that is busy wants to be left alone (RFC 9110, 10.2.3): seconds, or a time,
/// which is taken by the server's clock.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let wanted = text(headers, &RETRY_AFTER)?.trim();
    if !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(wanted.parse().unwrap_or(u64::MAX)));
    }
    let now = date::parse(text(headers, &DATE)?).ok()?;
    Some(Duration::from_secs(date::parse(wanted).ok()?.saturating_sub(now)))
}

/// How a server has packed what it sends, if it has: we ask for the bytes as they are. A digest is
/// that of the bytes which come, for many servers say so of a `.gz` file that was packed all along.
pub(super) fn packed(headers: &HeaderMap) -> Option<String> {
    let packed = text(headers, &CONTENT_ENCODING)?.trim();
    (!packed.is_empty() && !packed.eq_ignore_ascii_case("identity")).then(|| packed.to_owned())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_is_read_in_both_forms() {
        let date = "Thu, 19 Nov 2026 02:12:54 GMT";
        for (wanted, now, want) in [
            ("120", None, Some(120)),
            (" 0 ", None, Some(0)),
            ("99999999999999999999999", None, Some(u64::MAX)),
            ("Thu, 19 Nov 2026 02:13:54 GMT", Some(date), Some(60)),
            ("Thu, 19 Nov 2026 01:13:54 GMT", Some(date), Some(0)),
            ("Thu, 19 Nov 2026 02:13:54 GMT", None, None),
            ("-1", Some(date), None),
            ("soon", Some(date), None),
            ("", Some(date), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, wanted.parse().unwrap());
            if let Some(now) = now {
                headers.insert(DATE, now.parse().unwrap());
            }
            assert_eq!(retry_after(&headers), want.map(Duration::from_secs), "{wanted} {now:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
