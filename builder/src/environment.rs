//! What this host tells us about itself. Read once, where the command line is read; everything
//! below is handed the parts that it may know, and no part of it shapes an output.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::credentials::Logins;
use crate::http::{Access, Proxies};

/// Variables that Go and Cargo may see while they fetch: where to fetch from, through which proxy,
/// and whom to trust. A build sees none of them.
const FETCH: &[&str] = &[
    "GOAUTH",
    "GOINSECURE",
    "GONOPROXY",
    "GONOSUMDB",
    "GOPRIVATE",
    "GOPROXY",
    "GOSUMDB",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "XDG_CONFIG_HOME",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Variables by which `cargo` finds its own files and toolchain.
const CARGO: &[&str] = &["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];

/// The environment variables that we look at, and nothing else of the environment.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<&'static str, OsString>,
}

impl Environment {
    /// Asks `get` for each variable that matters: `std::env::var_os` at the command line's rim,
    /// a closure in a test. A variable that is set to nothing counts as not set.
    pub fn new(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let others = ["HOME", "NETRC", "PATH", "XDG_CACHE_HOME", "ALL_PROXY"];
        let names = FETCH.iter().chain(CARGO).copied().chain(others);
        let variable =
            |name| get(name).filter(|value| !value.is_empty()).map(|value| (name, value));
        Self { variables: names.filter_map(variable).collect() }
    }

    /// Where programs are searched.
    pub fn path(&self) -> OsString {
        self.variables.get("PATH").cloned().unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
    }

    /// The user's home directory.
    pub fn home(&self) -> Option<PathBuf> {
        self.variables.get("HOME").map(PathBuf::from)
    }

    /// The directory for what can be made again: `orlop` in the user's cache directory (XDG base
    /// directory specification). `None` on a host that tells us neither that nor a home.
    pub fn cache(&self) -> Option<PathBuf> {
        let named = self.variables.get("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = named.filter(|path| path.is_absolute());
        cache.or_else(|| Some(self.home()?.join(".cache"))).map(|path| path.join("orlop"))
    }

    /// What a program may see that fetches: proxies, mirrors, whom to trust.
    pub fn for_fetch(&self) -> impl Iterator<Item = (&'static str, &OsString)> {
        self.only(FETCH).chain(self.only(&["HOME", "ALL_PROXY"]))
    }

    /// What `cargo` must see to find its own files.
    pub fn for_cargo(&self) -> impl Iterator<Item = (&'static str, &OsString)> {
        self.only(CARGO).chain(self.only(&["HOME"]))
    }

    /// The names and passwords that the user has for servers.
    pub fn logins(&self) -> Logins {
        let named = self.variables.get("NETRC").map(PathBuf::from);
        Logins::of_user(self.home().as_deref(), named.as_deref())
    }

    /// How our own requests reach servers.
    pub fn access(&self) -> Access {
        Access { proxies: self.proxies(), logins: self.logins() }
    }

    /// The proxies for our own requests: the lower-case spelling wins, as everywhere.
    pub fn proxies(&self) -> Proxies {
        let text = |names: [&str; 2]| {
            let value = names.iter().find_map(|name| self.variables.get(name));
            value.and_then(|value| value.to_str()).map(str::to_owned)
        };
        let all = text(["all_proxy", "ALL_PROXY"]);
        let none_for = text(["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Proxies {
            http: text(["http_proxy", "HTTP_PROXY"]).or_else(|| all.clone()),
            https: text(["https_proxy", "HTTPS_PROXY"]).or(all),
            none_for: none_for.split(',').map(|host| host.trim().to_owned()).collect(),
            by_host: BTreeMap::new(),
        }
    }

    fn only(&self, names: &'static [&str]) -> impl Iterator<Item = (&'static str, &OsString)> {
        names.iter().filter_map(|name| Some((*name, self.variables.get(name)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let map: BTreeMap<_, _> = variables.iter().copied().collect();
        Environment::new(|name| map.get(name).map(OsString::from))
    }

    #[test]
    fn the_cache_is_where_the_user_keeps_caches() {
        for (variables, want) in [
            (&[("HOME", "/home/a")][..], Some("/home/a/.cache/orlop")),
            (&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "/c")], Some("/c/orlop")),
            (&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "c")], Some("/home/a/.cache/orlop")),
            (&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "")], Some("/home/a/.cache/orlop")),
            (&[], None),
        ] {
            assert_eq!(environment(variables).cache(), want.map(PathBuf::from), "{variables:?}");
        }
    }

    #[test]
    fn each_scheme_has_its_proxy_and_one_may_serve_all() {
        let environment = environment(&[
            ("all_proxy", "http://proxy.example:1"),
            ("HTTPS_PROXY", "http://proxy.example:2"),
            ("no_proxy", "localhost, .example"),
        ]);
        let proxies = environment.proxies();
        assert_eq!(proxies.http.as_deref(), Some("http://proxy.example:1"));
        assert_eq!(proxies.https.as_deref(), Some("http://proxy.example:2"));
        assert_eq!(proxies.none_for, ["localhost", ".example"]);
    }

    #[test]
    fn a_program_that_fetches_sees_what_it_needs_and_no_more() {
        let environment =
            environment(&[("GOPROXY", "off"), ("PATH", "/bin"), ("GOFLAGS", "-x"), ("HOME", "/h")]);
        let names: Vec<_> = environment.for_fetch().map(|(name, _)| name).collect();
        assert_eq!(names, ["GOPROXY", "HOME"]);
    }
}
