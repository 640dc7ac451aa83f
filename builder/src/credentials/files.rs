//! The two files of one ancestor: apt's `auth.conf` and the user's `.netrc`. Each tool has its own
//! rules of what fits, and both are kept: apt looks at port and path and gives no password away
//! over `http` unasked; for curl, Go and git the name of the host decides.

use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

use super::address::{Address, Scheme};
use super::{Login, Source};

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    Apt,
    Netrc,
}

/// One `machine` of a file.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) file: PathBuf,
    rules: Rules,
    // None: `default`, which fits every host.
    machine: Option<String>,
    user: Option<String>,
    password: Option<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("file", &self.file).finish_non_exhaustive()
    }
}

/// What an entry of apt's says of an address.
enum Fit {
    Yes,
    No,
    /// It would, but for a scheme without encryption the entry must name it.
    Unencrypted,
}

impl Entry {
    /// The login, if the entry is for this address.
    pub(crate) fn login_for(&self, address: &Address) -> Option<Login> {
        let fits = match (self.rules, &self.machine) {
            (Rules::Apt, Some(machine)) => matches!(apt_fit(machine, address), Fit::Yes),
            (Rules::Apt, None) => false,
            (Rules::Netrc, Some(machine)) => machine.eq_ignore_ascii_case(address.host()),
            (Rules::Netrc, None) => true,
        };
        let login = || {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            Login::new(text(&self.user), text(&self.password), Source::File(self.file.clone()))
        };
        (fits && (self.user.is_some() || self.password.is_some())).then(login)
    }

    pub(super) fn is_apts(&self) -> bool {
        self.rules == Rules::Apt
    }

    /// Whether it is for this address but for the scheme that it does not name.
    pub(crate) fn wants_scheme(&self, address: &Address) -> bool {
        let machine = self.machine.as_deref().filter(|_| self.rules == Rules::Apt);
        machine.is_some_and(|machine| matches!(apt_fit(machine, address), Fit::Unencrypted))
    }
}

/// As `MaybeAddAuth` of apt 1.5 and later: with a slash, the machine is a beginning of
/// `host[:port]/path`; without one, it is the host, or the host and the port.
fn apt_fit(machine: &str, address: &Address) -> Fit {
    let (named, machine) = match machine.split_once("://") {
        Some((scheme, rest)) if scheme == address.scheme().to_string() => (true, rest),
        Some(_) => return Fit::No,
        None => (false, machine),
    };
    let place = match address.port() {
        Some(port) => format!("{}:{port}", address.host()),
        None => address.host().to_owned(),
    };
    let path = if address.path().is_empty() { "/" } else { address.path() };
    let fits = if machine.contains('/') {
        format!("{place}{path}").starts_with(machine)
    } else {
        machine == address.host() || machine == place
    };
    match fits {
        false => Fit::No,
        true if named || address.scheme() == Scheme::Https => Fit::Yes,
        true => Fit::Unencrypted,
    }
}

/// The entries of a file, in its order. What is no entry is passed over, as by apt and curl.
pub(crate) fn parse(text: &str, rules: Rules, file: &Path) -> Vec<Entry> {
    let mut words = Words { rest: text.chars().peekable(), rules };
    let mut entries: Vec<Entry> = Vec::new();
    let entry = |machine| {
        let file = file.to_path_buf();
        Entry { file, rules, machine, user: None, password: None }
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "machine" => match words.next() {
                Some(machine) => entries.push(entry(Some(machine))),
                None => break,
            },
            "default" if rules == Rules::Netrc => entries.push(entry(None)),
            // A macro of ftp goes on to the next empty line.
            "macdef" if rules == Rules::Netrc => words.skip_macro(),
            "login" | "user" | "password" | "account" if !entries.is_empty() => {
                let value = words.next();
                let last = entries.last_mut().expect("there is one");
                match word.as_str() {
                    "login" => last.user = value,
                    "password" => last.password = value,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    entries
}

struct Words<'a> {
    rest: Peekable<Chars<'a>>,
    rules: Rules,
}

impl Words<'_> {
    fn skip_line(&mut self) {
        while self.rest.next_if(|c| *c != '\n').is_some() {}
    }

    fn skip_macro(&mut self) {
        let mut blank = false;
        for c in self.rest.by_ref() {
            if c == '\n' && std::mem::replace(&mut blank, true) {
                return;
            }
            blank &= c == '\n' || c == '\r';
        }
    }
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            while self.rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
            match self.rest.peek()? {
                // Only curl and its kin know comments and quotes here.
                '#' if self.rules == Rules::Netrc => self.skip_line(),
                '"' if self.rules == Rules::Netrc => {
                    self.rest.next();
                    let mut word = String::new();
                    while let Some(c) = self.rest.next() {
                        match c {
                            '"' => break,
                            '\\' => word.push(match self.rest.next()? {
                                'n' => '\n',
                                'r' => '\r',
                                't' => '\t',
                                c => c,
                            }),
                            c => word.push(c),
                        }
                    }
                    return Some(word);
                }
                _ => {
                    let mut word = String::new();
                    while let Some(c) = self.rest.next_if(|c| !c.is_ascii_whitespace()) {
                        word.push(c);
                    }
                    return Some(word);
                }
            }
        }
    }
}
