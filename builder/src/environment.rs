//! What this host tells us about itself. Read once, where the command line is read; everything
//! below is handed the parts that it may know, and no part of it shapes an output.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use crate::credentials::Logins;
use crate::credentials::registries::Registries;
use crate::http::{Access, Disk, Proxies};

/// Variables by which `cargo` finds its own files and toolchain.
const CARGO: &[&str] = &["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];

/// Variables that we look at ourselves.
const OWN: &[&str] = &[
    "ALL_PROXY",
    "DOCKER_CONFIG",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NETRC",
    "NO_PROXY",
    "PATH",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// The environment: the variables that we look at, and all of them for programs that fetch.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<&'static str, OsString>,
    all: Vec<(OsString, OsString)>,
}

impl Environment {
    /// Takes what the process was started with, or in a test a list. A variable that is set to
    /// nothing counts as not set, where we look at it ourselves.
    pub fn new(all: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let all = Vec::from_iter(all);
        let known = |name: &OsString| {
            OWN.iter().chain(CARGO).copied().find(|known| *known == name.as_os_str())
        };
        let set = all.iter().filter(|(_, value)| !value.is_empty());
        let variables = set.filter_map(|(name, value)| Some((known(name)?, value.clone())));
        Self { variables: variables.collect(), all }
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

    /// What a program may see that fetches: everything, as if the user had started it. Access to
    /// a private module or crate lies in agents, helpers and variables of any name, and what comes
    /// is believed by its digest only. A build sees nothing of it.
    pub fn for_fetch(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.all.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
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

    /// Where the user's names and passwords for registries are.
    pub fn registries(&self) -> Registries {
        let directory = |name| self.variables.get(name).map(PathBuf::from);
        let (docker, runtime) = (directory("DOCKER_CONFIG"), directory("XDG_RUNTIME_DIR"));
        Registries::new(docker, self.home(), runtime, self.path())
    }

    /// How our own requests reach servers.
    pub fn access(&self) -> Access {
        Access { proxies: self.proxies(), logins: self.logins(), disk: Disk::Refused }
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

/// Names only: values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.all.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::new(variables.iter().map(|(name, value)| (name.into(), value.into())))
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
    fn a_program_that_fetches_sees_what_the_user_sees_and_nothing_shows_it() {
        let variables = [("GOPROXY", "off"), ("MY_HELPERS_TOKEN", "secret"), ("EMPTY", "")];
        let environment = environment(&variables);
        let seen = environment.for_fetch().map(|(n, v)| (n.to_str().unwrap(), v.to_str().unwrap()));
        assert_eq!(seen.collect::<Vec<_>>(), variables);
        assert_eq!(format!("{environment:?}"), r#"{"GOPROXY", "MY_HELPERS_TOKEN", "EMPTY"}"#);
    }
}
