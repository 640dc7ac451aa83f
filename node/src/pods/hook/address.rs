//! Addresses as Go's `net/url` reads and writes them, because kubelet does.

use ureq::http::Uri;

/// What follows the host in the address of a hook: path and query, of which the hook says `text`.
/// What may not stand there as it is, is percent-encoded.
pub(super) fn target(text: &str) -> String {
    // A fragment is not sent.
    let (sent, _) = text.split_once('#').unwrap_or((text, ""));
    let (path, query) = match sent.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (sent, None),
    };
    let is_address = !text.bytes().any(|byte| byte.is_ascii_control());
    let (path, query) = match decoded(path).filter(|_| is_address) {
        Some(_) if path.bytes().all(may_stand_in_path) => (path.to_owned(), query),
        Some(plain) => (escaped(&plain, |byte| stays_in_path(*byte)), query),
        // kubelet takes the whole for a path, if it is no address.
        None => (escaped(text.as_bytes(), |byte| stays_in_path(*byte)), None),
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    let query = query.map_or_else(String::new, |query| {
        // Go leaves it as it is. With these in it would be no request.
        let stays = |byte: &u8| byte.is_ascii_graphic() && !b"\"<>".contains(byte);
        format!("?{}", escaped(query.as_bytes(), stays))
    });
    format!("{slash}{path}{query}")
}

/// Where an answer from `from` leads (RFC 3986, 5.2).
pub(super) fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    let end = location.find(['/', '?', '#']).unwrap_or(location.len());
    let (scheme, rest) = match location[..end].split_once(':') {
        Some((scheme, _)) => (scheme.to_ascii_lowercase(), &location[scheme.len() + 1..]),
        None => (from.scheme_str()?.to_owned(), location),
    };
    if let Some(rest) = rest.strip_prefix("//") {
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        return format!("{scheme}://{authority}{}", target(rest)).parse().ok();
    }
    if rest.len() < location.len() {
        // `mailto:`.
        return None;
    }
    let (rest, _) = rest.split_once('#').unwrap_or((rest, ""));
    let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let base = from.path();
    let text = match path {
        "" if query.is_empty() => from.path_and_query()?.to_string(),
        "" => format!("{base}{query}"),
        _ if path.starts_with('/') => format!("{}{query}", without_dots(path)),
        _ => {
            let directory = base.rfind('/').map_or("", |end| &base[..end]);
            format!("{}{query}", without_dots(&format!("{directory}/{path}")))
        }
    };
    format!("{scheme}://{}{}", from.authority()?, target(&text)).parse().ok()
}

/// A path without `.` and `..`.
fn without_dots(path: &str) -> String {
    let (mut kept, mut is_directory) = (Vec::new(), false);
    for segment in path.split('/').skip(1) {
        is_directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let slash = if is_directory && !kept.is_empty() { "/" } else { "" };
    format!("/{}{slash}", kept.join("/"))
}

/// What stays in a path that Go encodes (`shouldEscape`).
fn stays_in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte)
}

/// What may stand in one that is encoded already (`validEncoded`).
fn may_stand_in_path(byte: u8) -> bool {
    stays_in_path(byte) || b"!'()*[]%".contains(&byte)
}

/// Without percent-encoding; nothing if it is wrong.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    Some(plain)
}

fn escaped(bytes: &[u8], stays: impl Fn(&u8) -> bool) -> String {
    let one = |byte: &u8| match stays(byte) {
        true => char::from(*byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    bytes.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_encoded_as_go_encodes_it() {
        for (text, want) in [
            ("", "/"),
            ("bye", "/bye"),
            ("/bye?now=1&x=%20", "/bye?now=1&x=%20"),
            ("?x", "/?x"),
            ("/good bye", "/good%20bye"),
            ("/<a \"b\">", "/%3Ca%20%22b%22%3E"),
            ("/q?a b=\"<c>\"", "/q?a%20b=%22%3Cc%3E%22"),
            ("/ä", "/%C3%A4"),
            // What is encoded stays so, unless something else is to be encoded.
            ("/a%2Fb!", "/a%2Fb!"),
            ("/a%2Fb! c", "/a/b%21%20c"),
            ("/bye#now", "/bye"),
            // Not an address.
            ("/100%?x#y", "/100%25%3Fx%23y"),
            ("/a\tb?c", "/a%09b%3Fc"),
        ] {
            assert_eq!(target(text), want, "{text}");
        }
    }

    #[test]
    fn a_redirect_is_resolved_against_the_request() {
        for (location, want) in [
            ("there", "http://pod:80/a/there"),
            ("there?x=1#y", "http://pod:80/a/there?x=1"),
            ("./there/", "http://pod:80/a/there/"),
            ("../there", "http://pod:80/there"),
            ("../../..", "http://pod:80/"),
            (".", "http://pod:80/a/"),
            ("?x", "http://pod:80/a/b?x"),
            ("", "http://pod:80/a/b?q=1"),
            ("#y", "http://pod:80/a/b?q=1"),
            ("/there/./c", "http://pod:80/there/c"),
            ("/a b", "http://pod:80/a%20b"),
            ("//other/x", "http://other/x"),
            ("HTTPS://other:1?x", "https://other:1/?x"),
            ("there/a:b", "http://pod:80/a/there/a:b"),
        ] {
            let from: Uri = "http://pod:80/a/b?q=1".parse().unwrap();
            assert_eq!(resolve(&from, location).unwrap().to_string(), want, "{location}");
        }
        let from = Uri::from_static("http://pod/");
        for location in ["mailto:x", "http://", "http://a b/"] {
            assert_eq!(resolve(&from, location), None, "{location}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_hook_says_is_an_address(text in ".{0,40}") {
            let address = format!("http://127.0.0.1:1{}", target(&text));
            prop_assert!(address.parse::<Uri>().is_ok(), "{}", address);
            let _ = resolve(&Uri::from_static("http://pod:80/a/b"), &text);
        }
    }
}
