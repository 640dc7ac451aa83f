//! Answers that are not the file which was asked for.

use crate::error::{Error, Id};

/// Whether these first bytes of a file are those of a web page: what captive portals and error
/// pages send with a cheerful status. The type that a server claims is not asked: many have one for
/// all files.
pub fn is_web_page(start: &[u8]) -> bool {
    let mut start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    while let Some(comment) = start.strip_prefix(b"<!--") {
        let end = comment.windows(3).position(|end| end == b"-->");
        start = end.map_or(&[][..], |end| comment[end + 3..].trim_ascii_start());
    }
    let begins = |tag: &&str| {
        start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()))
    };
    let tags = ["<!doctype html", "<html", "<head", "<body", "<title", "<meta", "<script"];
    tags.iter().any(begins)
}

/// What to do about a server that has another file than the one that was asked for.
pub const OTHER_FILE: &str =
    "another mirror may have the right file (`--mirror URL`); for a `url`, check its `sha256`";

/// The error, with what may be behind it.
pub fn packed_unasked(error: Error, packed: Option<&str>) -> Error {
    match packed {
        None => error,
        Some(packed) => error.hint(format!(
            "the server has packed what it sent (`Content-Encoding: {packed}`), which nobody \
             asked it to"
        )),
    }
}

pub(super) fn too_large(url: &str, limit: u64) -> Error {
    Error::new(Id::TooLarge, format!("`{url}` has more than {limit} bytes"))
}

/// `start` is what came, or some of it.
pub(super) fn wrong_size(url: &str, start: &[u8], size: u64, offered: &str) -> Error {
    if is_web_page(start) {
        return web_page(url);
    }
    Error::new(Id::WrongDigest, format!("`{url}` offers {offered} bytes instead of {size}"))
        .hint(OTHER_FILE)
}

/// The error for an answer which [`is_web_page`].
pub fn web_page(url: &str) -> Error {
    Error::new(Id::WebPage, format!("the server answered with a web page instead of `{url}`"))
        .hint("is there a login page or a filter between this host and the server?")
}
