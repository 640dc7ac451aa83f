//! The target of a request as a path of the site (RFC 9112, section 3.2; RFC 3986, section 3.3).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::status::Status;

/// A path below the root of a site, decoded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SitePath(
    // Invariant: parts between slashes, none of which is empty, begins with a dot or has a NUL; or
    // nothing, for the root.
    Vec<u8>,
);

impl SitePath {
    /// Reads the target of a request, in origin form or in absolute form. A query is passed over.
    ///
    /// # Errors
    /// [`Status::BadRequest`] if it is no such target, [`Status::NotFound`] if it names what no
    /// site has: hidden files, a way upwards, a slash within a name.
    pub fn parse(target: &str) -> Result<Self, Status> {
        let path = target.split('?').next().unwrap_or_default();
        let path = match path.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
                rest.find('/').map_or("/", |at| &rest[at..])
            }
            _ => path,
        };
        let path = path.strip_prefix('/').ok_or(Status::BadRequest)?;
        if path.contains('#') {
            return Err(Status::BadRequest);
        }
        let parts = path.split('/').map(decode).collect::<Result<Vec<_>, _>>()?;
        let hidden = |part: &Vec<u8>| {
            part.is_empty() || part[0] == b'.' || part.iter().any(|byte| b"/\0".contains(byte))
        };
        match parts.as_slice() {
            [only] if only.is_empty() => Ok(Self(Vec::new())),
            parts if parts.iter().any(hidden) => Err(Status::NotFound),
            parts => Ok(Self(parts.join(&b'/'))),
        }
    }

    /// Relative to the root of the site; empty for the root itself.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

/// A part with `%41` as `A`.
fn decode(part: &str) -> Result<Vec<u8>, Status> {
    let digit = |byte: Option<u8>| {
        let digit =
            byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(Status::BadRequest)?;
        u8::try_from(digit).map_err(|_| Status::BadRequest)
    };
    let mut bytes = part.bytes();
    let mut decoded = Vec::with_capacity(part.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            byte => byte,
        });
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_the_path_that_it_means() {
        for (target, want) in [
            ("/", ""),
            ("/?x", ""),
            ("http://localhost:8000", ""),
            ("HTTP://localhost/a/b?c=/d", "a/b"),
            ("/metadata/1.root.json", "metadata/1.root.json"),
            ("/a%2Db%20c%25", "a-b c%"),
            ("/%e4/\\..", "\u{fffd}/\\.."),
            ("/a..b", "a..b"),
        ] {
            let path = SitePath::parse(target).unwrap();
            assert_eq!(path.as_path().to_string_lossy(), want, "{target}");
        }
    }

    #[test]
    fn what_no_site_has_is_not_found_and_what_is_no_path_is_a_mistake() {
        for target in [
            "/..",
            "/../x",
            "/a/../b",
            "/%2e%2e/x",
            "/.git/config",
            "/a/.b",
            "/%2E",
            "//a",
            "/a/",
            "/a//b",
            "/a%2fb",
            "/a%00",
            "/.",
        ] {
            assert_eq!(SitePath::parse(target), Err(Status::NotFound), "{target}");
        }
        for target in
            ["", "*", "a", "localhost:80", "ftp://h/a", "/%", "/%4", "/%4g", "/%+4", "/a#b"]
        {
            assert_eq!(SitePath::parse(target), Err(Status::BadRequest), "{target}");
        }
    }
}
