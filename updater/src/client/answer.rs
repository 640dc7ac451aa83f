//! What the head of an answer is worth: whether the body can be what was asked for, before a byte of it is
//! read.

use std::ops::Range;
use std::time::Duration;

use super::retry::retry_after;

/// The head of an answer: what of it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// The status in words.
    pub text: String,
    /// `Content-Type`, or nothing.
    pub content_type: String,
    /// `Content-Encoding`, if there is one.
    pub content_encoding: Option<String>,
    /// `Content-Length`, if there is one.
    pub content_length: Option<u64>,
    /// `Content-Range`, if there is one.
    pub content_range: Option<String>,
    /// `Retry-After`, if there is one.
    pub retry_after: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A file of unknown length.
    All,
    /// A file of this length.
    Whole(u64),
    /// These bytes of a file of this length.
    Part(Range<u64>, u64),
}

/// What the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// What was asked for.
    AsAsked,
    /// The whole file, though a part was asked for.
    Whole,
}

/// The answer is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Odd {
    /// There is no such file.
    #[error("it has no such file ({0})")]
    Missing(String),
    /// It is asked for too much, or is out of order for now; when to come again, if it says so.
    #[error("it answers `{0}`")]
    Busy(String, Option<Duration>),
    /// Another status.
    #[error("it answers `{0}`")]
    Status(String),
    /// A page for people.
    #[error(
        "it answers with a web page instead of the file: is there a login page or a proxy between?"
    )]
    WebPage,
    /// It has packed the file, which it was asked not to do.
    #[error("it has packed the file ({}), which nobody asked for", .0.escape_debug())]
    Packed(String),
    /// Another length.
    #[error("its file has {said} bytes, and not {want}")]
    Length {
        /// What it says.
        said: u64,
        /// What was signed, or asked for.
        want: u64,
    },
    /// It goes on.
    #[error("its file has more than {0} bytes")]
    TooLong(u64),
    /// It knows no ranges.
    #[error("it gives the whole file where a part was asked for")]
    NoRanges,
    /// Another range.
    #[error("it gives the range `{}`, and not the one that was asked for", .0.escape_debug())]
    OtherRange(String),
}

impl Odd {
    /// Whether it may be otherwise in a while.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Busy(..))
    }
}

/// Reads a head.
///
/// # Errors
/// See [`Odd`].
pub fn judge(head: &Head, asked: &Asked) -> Result<Body, Odd> {
    let body = match (head.status, asked) {
        (200, Asked::Part(..)) => Body::Whole,
        (200, _) | (206, Asked::Part(..)) => Body::AsAsked,
        (404 | 410, _) => return Err(Odd::Missing(head.text.clone())),
        (408 | 425 | 429 | 500 | 502 | 503 | 504, _) => {
            let again = head.retry_after.as_deref().and_then(retry_after);
            return Err(Odd::Busy(head.text.clone(), again));
        }
        _ => return Err(Odd::Status(head.text.clone())),
    };
    if web::is_web_page(&head.content_type) {
        return Err(Odd::WebPage);
    }
    let packed = head.content_encoding.as_deref().map(str::trim);
    if let Some(packed) = packed.filter(|it| !it.is_empty() && !it.eq_ignore_ascii_case("identity"))
    {
        return Err(Odd::Packed(packed.chars().take(40).collect()));
    }
    let want = match (asked, body) {
        (Asked::All, _) => None,
        (Asked::Whole(length) | Asked::Part(_, length), Body::Whole)
        | (Asked::Whole(length), Body::AsAsked) => Some(*length),
        (Asked::Part(range, length), Body::AsAsked) => {
            let said = head.content_range.as_deref().unwrap_or_default().trim();
            if said != format!("bytes {}-{}/{length}", range.start, range.end - 1)
                && said != format!("bytes {}-{}/*", range.start, range.end - 1)
            {
                return Err(Odd::OtherRange(said.chars().take(80).collect()));
            }
            Some(range.end - range.start)
        }
    };
    match (head.content_length, want) {
        (Some(said), Some(want)) if said != want => Err(Odd::Length { said, want }),
        _ => Ok(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, change: impl Fn(&mut Head)) -> Head {
        let mut head = Head { status, text: format!("{status}"), ..Head::default() };
        change(&mut head);
        head
    }

    #[test]
    fn a_body_is_read_only_if_its_head_fits_what_was_asked_for() {
        let part = Asked::Part(10..20, 100);
        let range =
            |text: &'static str| move |head: &mut Head| head.content_range = Some(text.to_owned());
        let length = |length| move |head: &mut Head| head.content_length = Some(length);
        let kind = |text: &'static str| move |head: &mut Head| head.content_type = text.to_owned();
        let packed = |text: &'static str| {
            move |head: &mut Head| head.content_encoding = Some(text.to_owned())
        };
        for (head, asked, want) in [
            (head(200, |_| ()), &Asked::All, Ok(Body::AsAsked)),
            (head(200, length(100)), &Asked::Whole(100), Ok(Body::AsAsked)),
            (head(200, |_| ()), &Asked::Whole(100), Ok(Body::AsAsked)),
            (head(200, length(99)), &Asked::Whole(100), Err(Odd::Length { said: 99, want: 100 })),
            (head(206, range("bytes 10-19/100")), &part, Ok(Body::AsAsked)),
            (head(206, range("bytes 10-19/*")), &part, Ok(Body::AsAsked)),
            (
                head(206, range("bytes 10-18/100")),
                &part,
                Err(Odd::OtherRange("bytes 10-18/100".to_owned())),
            ),
            (head(206, |_| ()), &part, Err(Odd::OtherRange(String::new()))),
            (head(206, |_| ()), &Asked::All, Err(Odd::Status("206".to_owned()))),
            (head(200, length(100)), &part, Ok(Body::Whole)),
            (head(200, length(10)), &part, Err(Odd::Length { said: 10, want: 100 })),
            (head(200, kind("text/html; charset=utf-8")), &Asked::All, Err(Odd::WebPage)),
            (head(200, packed("gzip")), &Asked::All, Err(Odd::Packed("gzip".to_owned()))),
            (head(200, packed("identity")), &Asked::All, Ok(Body::AsAsked)),
            (head(404, |_| ()), &Asked::All, Err(Odd::Missing("404".to_owned()))),
            (head(403, |_| ()), &part, Err(Odd::Status("403".to_owned()))),
            (head(416, |_| ()), &part, Err(Odd::Status("416".to_owned()))),
            (head(204, |_| ()), &Asked::All, Err(Odd::Status("204".to_owned()))),
            (
                head(503, |head| head.retry_after = Some("7".to_owned())),
                &part,
                Err(Odd::Busy("503".to_owned(), Some(Duration::from_secs(7)))),
            ),
            (head(429, |_| ()), &Asked::All, Err(Odd::Busy("429".to_owned(), None))),
        ] {
            assert_eq!(judge(&head, asked), want, "{head:?} {asked:?}");
        }
    }
}
