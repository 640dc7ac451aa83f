//! What a registry says that it wants to be told: the header `WWW-Authenticate` (RFC 9110, 11.6.1), as
//! far as registries use it: <https://distribution.github.io/distribution/spec/auth/token/>.

/// How it wants to be told who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// By a name and a password.
    Basic,
    /// By a token that another server gives.
    Bearer {
        /// The address of that server.
        realm: String,
        /// How the registry is called there.
        service: Option<String>,
        /// What the token must be for.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Reads the values of all these headers: the first token that is asked for, else a name and a
    /// password, else nothing that is known here.
    pub(crate) fn choose<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for (scheme, parameters) in headers.into_iter().flat_map(parse) {
            let parameter = |name: &str| {
                let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Self::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = parameter("realm")
            {
                let (service, scope) = (parameter("service"), parameter("scope"));
                return Some(Self::Bearer { realm, service, scope });
            }
        }
        basic
    }
}

type Parameters = Vec<(String, String)>;

/// The challenges of one header, each with its parameters. What follows something odd is left out.
fn parse(text: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            return challenges;
        }
        let value = after.trim_start_matches([' ', '\t']).strip_prefix('=');
        match (value, challenges.last_mut()) {
            (Some(value), Some((_, parameters))) => {
                let value = value.trim_start_matches([' ', '\t']);
                let Some((value, after)) = quoted(value).or_else(|| {
                    let (value, after) = token(value);
                    (!value.is_empty()).then(|| (value.to_owned(), after))
                }) else {
                    return challenges;
                };
                parameters.push((word.to_owned(), value));
                rest = after;
            }
            (Some(_), None) => return challenges,
            (None, _) => {
                challenges.push((word.to_owned(), Vec::new()));
                rest = after;
            }
        }
    }
}

/// A word at the beginning, and what follows it.
fn token(text: &str) -> (&str, &str) {
    let good = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c);
    text.split_at(text.find(|c| !good(c)).unwrap_or(text.len()))
}

/// A text in quotes at the beginning, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut characters = text.strip_prefix('"')?.char_indices();
    let mut value = String::new();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_before_a_password_and_what_is_unknown_is_passed_over() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let (service, scope) = (service.map(str::to_owned), scope.map(str::to_owned));
            Some(Challenge::Bearer { realm: realm.to_owned(), service, scope })
        };
        for (headers, want) in [
            (
                &[
                    r#"Bearer realm="https://a.example/t",service="r",scope="repository:a/b:pull,push""#,
                ][..],
                bearer("https://a.example/t", Some("r"), Some("repository:a/b:pull,push")),
            ),
            (&[r#"basic Realm="x, y""#], Some(Challenge::Basic)),
            (&["Basic realm=x", "bearer  REALM = https://a , scope=\"a \\\"b\\\\\""], {
                bearer("https://a", None, Some("a \"b\\"))
            }),
            (&[r#"Negotiate, Basic realm="x", Bearer realm="r""#], bearer("r", None, None)),
            (&["Bearer service=\"x\""], None),
            (&["Digest realm=\"x\""], None),
            (&["Bearer realm=\"x"], None),
            (&["realm=\"x\""], None),
            (&["", ", ,", "\"", "Bearer realm="], None),
        ] {
            assert_eq!(Challenge::choose(headers.iter().copied()), want, "{headers:?}");
        }
    }
}
