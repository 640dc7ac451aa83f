//! The doors for fuzz targets to parsers of what others wrote, where those are private to us.
//! Nothing here is called by a command.

use std::path::Path;

use crate::credentials::Address;
use crate::credentials::files::{self, Rules};
use crate::credentials::registries::Config;

/// `auth.conf` of apt and `.netrc`, with an address that a login is wanted for.
pub fn logins(text: &str) {
    let (address, text) = text.split_once('\n').unwrap_or(("https://mirror.example/debian", text));
    let address = Address::parse(address);
    for rules in [Rules::Apt, Rules::Netrc] {
        for entry in files::parse(text, rules, Path::new("file")) {
            if let Ok(address) = &address {
                let _ = (entry.login_for(address), entry.wants_scheme(address));
            }
        }
    }
}

/// A request that `orlop serve` gets, and the answer to it.
pub fn request(bytes: &[u8]) {
    crate::serve::judge(bytes);
}

/// A line of the port on which a guest tells how far it has come.
pub fn mark(line: &str) {
    if let Some(mark) = crate::run::Mark::parse(line) {
        let _ = mark.seconds();
    }
}

/// What a registry says of who may come in, why it refuses and which token it gives, and a file of logins.
pub fn registry(bytes: &[u8]) {
    crate::registry::judge(bytes);
    if let Ok(config) = Config::parse(bytes) {
        let _ = config.known("r.example", "a/b", Path::new("file"));
    }
}

/// The script of a package, of which only calls of `update-alternatives` are read.
pub fn script(text: &str) {
    let _ = crate::source::deb::alternatives::parse(text);
}
