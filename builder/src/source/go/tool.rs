//! `go` as it is started: what it may see of this host when it fetches, and that it sees nothing
//! of it otherwise.

use std::ffi::OsStr;
use std::path::Path;

use super::modules::Proxy;
use crate::environment::Environment;
use crate::error::Error;
use crate::process::Command;
use crate::source::caches::Caches;

/// Settings of a user's Go that are not about access. A download does not depend on most of them,
/// but Go ends when it does not like one.
const STEERING: &[&str] = &[
    "AR",
    "CC",
    "CXX",
    "FC",
    "GCCGO",
    "GO111MODULE",
    "GO386",
    "GOAMD64",
    "GOARCH",
    "GOARM",
    "GOARM64",
    "GOBIN",
    "GOCACHEPROG",
    "GOCOVERDIR",
    "GOEXPERIMENT",
    "GOFIPS140",
    "GOMIPS",
    "GOMIPS64",
    "GOOS",
    "GOPPC64",
    "GORISCV64",
    "GOROOT",
    "GOTOOLDIR",
    "GOWASM",
    "PKG_CONFIG",
];

/// `go` that fetches, with all access that the user has: proxies, agents, credentials and helpers,
/// and what `go env -w` keeps.
pub(super) fn for_fetch(
    go: &Path,
    directory: &Path,
    environment: &Environment,
    caches: &Caches,
) -> Command {
    let steers = |name: &OsStr| {
        let name = name.to_str().unwrap_or_default();
        STEERING.contains(&name) || name.starts_with("CGO_")
    };
    let seen = environment.for_fetch().filter(|(name, _)| !steers(name));
    let command = Command::new(go).directory(directory).env_clear();
    let command = seen.fold(command, |command, (name, value)| command.env(name, value));
    with_caches(command.env("PATH", environment.path()), caches)
        // Otherwise the cache could only be removed after a chmod.
        .env("GOFLAGS", "-modcacherw")
}

/// `go` that has a proxy on disk and no network, and sees nothing of our environment.
pub(super) fn offline(go: &Path, directory: &Path, caches: &Caches, proxy: &Proxy) -> Command {
    with_caches(Command::new(go).directory(directory).env_clear(), caches)
        .env("GOENV", "off")
        .env("GOPROXY", proxy.url())
        // What the store holds was checked when it was fetched, and `go.sum` checks it again.
        .env("GOSUMDB", "off")
        // An empty value would let the settings of the toolchain through.
        .env("GOFLAGS", "-modcacherw -mod=readonly")
}

fn with_caches(command: Command, caches: &Caches) -> Command {
    command
        .env("GO111MODULE", "on")
        .env("GOTOOLCHAIN", "local")
        // A workspace above a component is none of its business.
        .env("GOWORK", "off")
        .env("GOPATH", &caches.go_mod)
        .env("GOMODCACHE", caches.go_modules())
        .env("GOCACHE", &caches.go_build)
}

/// What helps when a download fails.
pub(super) fn fetch_hints(error: Error) -> Error {
    let error =
        error.hint("`GOPROXY` names another module mirror, `GOSUMDB` another checksum database");
    if !error.to_string().contains("GOSUMDB=off") {
        return error;
    }
    error.hint("a toolchain is believed by a checksum database only: `GOSUMDB` must name one")
}
