//! Names and passwords for servers: those in an address, in apt's `auth.conf` and in `~/.netrc`.
//!
//! They reach the HTTP client of `lock` and `fetch` and nothing else. What holds one shows none:
//! an [`Address`] is written without it, and a [`Login`] is not written at all, so no message, lock,
//! log or report can hold a password by accident. Formats: apt_auth.conf(5), netrc(5) as curl
//! reads it, RFC 3986 (3.2.1), RFC 7617.

mod address;
pub(crate) mod files;
pub(crate) mod registries;

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::source::deb::apt::{Endings, parts};
pub use address::{Address, Scheme, Written, masked, shown};
use files::{Entry, Rules};

/// A name and a password. Its [`fmt::Debug`] tells neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
    source: Source,
}

/// Where a login comes from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From the address itself.
    Address,
    /// From this file.
    File(PathBuf),
    /// From this program.
    Program(String),
}

impl Login {
    pub(crate) fn new(user: String, password: String, source: Source) -> Self {
        Self { user, password, source }
    }

    /// The value of an `Authorization` header.
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }

    /// Name and password, for a protocol of its own.
    pub(crate) fn parts(&self) -> (&str, &str) {
        (&self.user, &self.password)
    }

    /// Where it comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("source", &self.source).finish_non_exhaustive()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => write!(f, "the address"),
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Program(name) => write!(f, "`{name}`"),
        }
    }
}

/// Every login that the user and the host have for servers.
#[derive(Debug, Clone, Default)]
pub struct Logins {
    // Addresses that were given with a login.
    given: Vec<Address>,
    // In the order in which they are asked.
    entries: Vec<Entry>,
    // Files that are there and that we may not read.
    unreadable: Vec<PathBuf>,
}

impl Logins {
    /// The logins of the user's `.netrc`: the file at `named` (the value of `NETRC`), else
    /// `.netrc` in `home`.
    pub fn of_user(home: Option<&Path>, named: Option<&Path>) -> Self {
        let mut logins = Self::default();
        let file = named.map(Path::to_path_buf).or_else(|| Some(home?.join(".netrc")));
        if let Some(file) = file {
            logins.read(&file, Rules::Netrc);
        }
        logins
    }

    /// The same with those of apt below `root`, which come first: they are for package archives.
    #[must_use]
    pub fn with_apt(mut self, root: &Path) -> Self {
        let users = std::mem::take(&mut self.entries);
        let apt = root.join("etc/apt");
        self.read(&apt.join("auth.conf"), Rules::Apt);
        for file in parts(&apt.join("auth.conf.d"), Endings::Conf) {
            self.read(&file, Rules::Apt);
        }
        self.entries.extend(users);
        self
    }

    /// Notes the login of an address, for all that is asked of the same server.
    pub fn give(&mut self, address: &Address) {
        if address.login().is_some() && !self.given.contains(address) {
            self.given.push(address.clone());
        }
    }

    fn read(&mut self, file: &Path, rules: Rules) {
        match fs::read_to_string(file) {
            Ok(text) => self.entries.extend(files::parse(&text, rules, file)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // Not an error yet: it may hold nothing that is needed. `hint` names it.
            Err(_) => self.unreadable.push(file.to_path_buf()),
        }
    }

    /// The login for an address: its own; that of an address of the same server, the one with the
    /// longest path in common; that of the first entry of a file which fits.
    pub fn find(&self, address: &Address) -> Option<Login> {
        if let Some(login) = address.login() {
            return Some(login.clone());
        }
        let mut given: Vec<_> = self.given.iter().filter(|one| one.same_server(address)).collect();
        let within = |one: &&Address| address.path().starts_with(one.path().trim_end_matches('/'));
        given.sort_by_key(|one| (!within(one), std::cmp::Reverse(one.path().len())));
        if let Some(login) = given.first().and_then(|one| one.login()) {
            return Some(login.clone());
        }
        self.entries.iter().find_map(|entry| entry.login_for(address))
    }

    /// The login for a proxy that apt has.
    pub(crate) fn of_proxy(&self, proxy: &Address) -> Option<Login> {
        let mut entries = self.entries.iter().filter(|entry| entry.is_apts());
        entries.find_map(|entry| entry.login_for(proxy))
    }

    /// What cures it that the server of `address` wants a name and a password, or refuses `sent`.
    pub fn hint(&self, address: &Address, sent: Option<&Login>) -> String {
        if let Some(login) = sent {
            return format!("it refuses the name and the password from {}", login.source());
        }
        let unencrypted = self.entries.iter().find(|entry| entry.wants_scheme(address));
        if let Some(entry) = unencrypted {
            return format!(
                "`{}` has a password for `{}`, but apt gives it away over `{}` only if the entry \
                 says `machine {}://{}`",
                entry.file.display(),
                address.host(),
                address.scheme(),
                address.scheme(),
                address.host()
            );
        }
        if let Some(file) = self.unreadable.first() {
            return format!("`{}` cannot be read: is the password in there?", file.display());
        }
        format!("write the name and the password for `{}` into `~/.netrc`", address.host())
    }
}

#[cfg(test)]
mod tests;
