//! Bootstrap tokens: what a node shows the API server once, to be given a certificate of its own
//! (Kubernetes, "Authenticating with Bootstrap Tokens").

use std::fmt;
use std::str::FromStr;

/// A bootstrap token: `abcdef.0123456789abcdef`, 6 and 16 of `a-z` and `0-9`.
///
/// The second half is a secret: neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken(String);

impl BootstrapToken {
    /// The whole token, secret included.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The half that is no secret: which token it is.
    pub fn id(&self) -> &str {
        self.0.split_once('.').map_or("", |(id, _)| id)
    }
}

impl FromStr for BootstrapToken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = |half: &str, length| {
            half.len() == length
                && half.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        match text.split_once('.') {
            Some((id, secret)) if good(id, 6) && good(secret, 16) => Ok(Self(text.to_owned())),
            // The text is not repeated: it may be most of a secret.
            _ => {
                Err("this is not a bootstrap token: it has 6 lower-case letters or digits, a dot, \
                      and 16 more"
                    .to_owned())
            }
        }
    }
}

impl fmt::Display for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.***", self.id())
    }
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootstrapToken({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_two_halves_and_keeps_one_to_itself() {
        let token: BootstrapToken = "abcdef.0123456789abcdef".parse().unwrap();
        assert_eq!(token.id(), "abcdef");
        assert_eq!(token.expose(), "abcdef.0123456789abcdef");
        assert_eq!(format!("{token} {token:?}"), "abcdef.*** BootstrapToken(abcdef.***)");
    }

    #[test]
    fn what_is_no_token_is_refused_without_repeating_it() {
        for bad in [
            "",
            ".",
            "abcdef",
            "abcdef.0123456789abcde",
            "abcdef.0123456789abcdef0",
            "ABCDEF.0123456789abcdef",
            "abcdef.0123456789abcdef ",
            "abcde.f0123456789abcdef",
        ] {
            let error = bad.parse::<BootstrapToken>().unwrap_err();
            assert!(bad.len() < 2 || !error.contains(bad), "{error}");
        }
    }
}
