//! Bootstrap tokens: what a node shows until it has a certificate of its own
//! (<https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>).

use std::fmt;
use std::io::{self, Read};

const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// A bootstrap token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    // Invariant: 6 and 16 characters of `ALPHABET`.
    id: String,
    secret: String,
}

impl Token {
    /// Draws a token from a source of random bytes.
    ///
    /// # Errors
    /// The source's.
    pub fn draw(random: &mut impl Read) -> io::Result<Self> {
        Ok(Self { id: word(random, 6)?, secret: word(random, 16)? })
    }

    /// The part that is no secret: it names the token.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret part.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}.*)", self.id)
    }
}

fn word(random: &mut impl Read, length: usize) -> io::Result<String> {
    let mut word = String::new();
    while word.len() < length {
        let mut byte = [0];
        random.read_exact(&mut byte)?;
        // 252 is the largest multiple of 36 in a byte: what lies above would favour some letters.
        if byte[0] < 252 {
            word.push(char::from(ALPHABET[usize::from(byte[0]) % ALPHABET.len()]));
        }
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_form_that_the_api_server_asks_for() {
        let bytes: Vec<u8> = (240..=255).chain(0..=40).collect();
        let token = Token::draw(&mut &bytes[..]).unwrap();
        assert_eq!(token.to_string(), "yz0123.456789abcdefghij");
        assert_eq!((token.id(), token.secret()), ("yz0123", "456789abcdefghij"));
        assert_eq!(format!("{token:?}"), "Token(yz0123.*)");
    }

    #[test]
    fn a_source_that_ends_is_an_error() {
        assert!(Token::draw(&mut &[1, 2, 3][..]).is_err());
    }
}
