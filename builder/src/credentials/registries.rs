//! Names and passwords for registries of container images, where the usual tools keep them: `config.json`
//! of docker and oras, `auth.json` of podman and skopeo, and the programs that these files name.
//!
//! Formats: <https://github.com/docker/cli/blob/v28.0.0/docs/reference/commandline/login.md>,
//! containers-auth.json(5), <https://github.com/docker/docker-credential-helpers> (`get`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::{Login, Source};
use crate::error::{Context as _, Error, Id, Result};
use crate::process::Command;

/// A file of more bytes is not read.
const LARGEST: u64 = 1 << 20;
/// The name that stands for an identity token in place of a user.
const TOKEN_USER: &str = "<token>";

/// What a registry is told of who asks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// A name and a password.
    Login(Login),
    /// A token that is exchanged for others.
    Identity(String),
}

/// It tells no secret.
impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login(login) => login.fmt(f),
            Self::Identity(_) => f.write_str("Identity"),
        }
    }
}

/// The files in which logins for registries may be, in the order in which they are asked.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    files: Vec<PathBuf>,
    path: OsString,
}

impl Registries {
    /// `config.json` in `docker` (the value of `DOCKER_CONFIG`) or in `.docker` of `home`, and
    /// `containers/auth.json` in `runtime` (`XDG_RUNTIME_DIR`). Programs are looked for in `path`.
    pub(crate) fn new(
        docker: Option<PathBuf>,
        home: Option<PathBuf>,
        runtime: Option<PathBuf>,
        path: OsString,
    ) -> Self {
        let docker = docker.or_else(|| Some(home?.join(".docker")));
        let docker = docker.map(|directory| directory.join("config.json"));
        let podman = runtime.map(|directory| directory.join("containers/auth.json"));
        Self { files: docker.into_iter().chain(podman).collect(), path }
    }

    /// What is known for a path of a registry. A file that is not there has nothing.
    ///
    /// # Errors
    /// A file that is there cannot be read or understood, or the program that it names fails.
    pub(crate) fn find(&self, host: &str, path: &str) -> Result<Option<Known>> {
        for file in &self.files {
            let Some(config) = read(file)? else { continue };
            if let Some(program) = config.program(host) {
                if let Some(known) = ask(program, host, &self.path, file)? {
                    return Ok(Some(known));
                }
                continue;
            }
            if let Some(known) = config.known(host, path, file) {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// What cures it that a registry wants to know who asks.
    pub(crate) fn hint(&self, host: &str) -> String {
        let place = self.files.first().map_or_else(
            || "`config.json` in the directory that `DOCKER_CONFIG` names".to_owned(),
            |file| format!("`{}`", file.display()),
        );
        format!(
            "`oras login {host}` or `docker login {host}` writes a name and a password into {place}"
        )
    }
}

/// The members of such a file that are looked at.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Config {
    auths: BTreeMap<String, Auth>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

impl Config {
    /// Reads the text of such a file.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The program that has the login for a registry.
    fn program(&self, host: &str) -> Option<&str> {
        let own = self.helpers.get(host).map(String::as_str);
        own.or(Some(self.store.as_str())).filter(|name| !name.is_empty())
    }

    /// What stands there itself: for the longest beginning of `HOST/PATH`, as podman has it, or for the
    /// host, as docker has it, with or without a scheme.
    pub(crate) fn known(&self, host: &str, path: &str, file: &Path) -> Option<Known> {
        let whole = format!("{host}/{path}");
        let fits = |key: &str| {
            let plain = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
            let plain = plain.unwrap_or(key);
            let plain = plain.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
            let rest = whole.strip_prefix(plain)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(plain.len())
        };
        let fitting = self.auths.iter().filter_map(|(key, auth)| Some((fits(key)?, auth)));
        let known = fitting.filter_map(|(length, auth)| Some((length, auth.known(file)?)));
        known.max_by_key(|(length, _)| *length).map(|(_, known)| known)
    }
}

impl Auth {
    fn known(&self, file: &Path) -> Option<Known> {
        if !self.identitytoken.is_empty() {
            return Some(Known::Identity(self.identitytoken.clone()));
        }
        let decoded = BASE64_STANDARD.decode(self.auth.trim()).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let (user, password) = match decoded.split_once(':') {
            Some((user, password)) => (user.to_owned(), password.trim_matches('\0').to_owned()),
            None => (self.username.clone(), self.password.clone()),
        };
        let there = !user.is_empty() || !password.is_empty();
        there.then(|| Known::Login(Login::new(user, password, Source::File(file.to_owned()))))
    }
}

fn read(path: &Path) -> Result<Option<Config>> {
    let cannot = || format!("cannot read the logins for registries in `{}`", path.display());
    let file = match File::open(path) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(None);
        }
        file => file.or_fail(Id::Read, cannot)?,
    };
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).or_fail(Id::Read, cannot)?;
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    // The reason repeats nothing of the text, which may be a secret: only where it is wrong.
    Config::parse(&text).map(Some).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Error::new(Id::Read, cannot()).caused_by(format!("it is not as it must be in {place}"))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks the program for the login for a registry.
fn ask(name: &str, host: &str, path: &OsString, file: &Path) -> Result<Option<Known>> {
    let program = format!("docker-credential-{name}");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let found = std::env::split_paths(path).map(|directory| directory.join(&program));
    let found = found.into_iter().find(|path| path.is_file());
    let Some(found) = found.filter(|_| name.chars().all(plain)) else {
        let message = format!("`{program}`, which `{}` names, is not on this host", file.display());
        return Err(Error::new(Id::MissingTool, message));
    };
    let failed = |what: &str| Error::new(Id::ToolFailed, format!("`{program} get` {what}"));
    let mut child = Command::new(found).arg("get").spawn(|command| {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read it says so by its answer.
        let _ = stdin.write_all(format!("{host}\n").as_bytes());
    }
    let mut text = Vec::new();
    let read =
        child.stdout.take().map_or(Ok(0), |stdout| stdout.take(LARGEST).read_to_end(&mut text));
    let status = child.wait();
    read.and(status.as_ref().map(|_| 0).map_err(|error| error.kind().into()))
        .or_fail(Id::ToolFailed, || format!("cannot read what `{program}` says"))?;
    if !status.is_ok_and(|status| status.success()) {
        // The one failure that is none, in the words that the protocol has for it.
        let none = String::from_utf8_lossy(&text).contains("credentials not found");
        return if none { Ok(None) } else { Err(failed("fails")) };
    }
    let answer: Answer =
        serde_json::from_slice(&text).map_err(|_| failed("says nothing that can be understood"))?;
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Known::Identity(answer.secret),
        _ => Known::Login(Login::new(answer.username, answer.secret, Source::Program(program))),
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::process::write_program;

    fn told(known: Option<Known>) -> Option<String> {
        known.map(|known| match known {
            Known::Login(login) => format!("{}:{}", login.user, login.password),
            Known::Identity(token) => format!("token {token}"),
        })
    }

    fn place(config: &str) -> (tempfile::TempDir, Registries) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), config).unwrap();
        let path = directory.path().as_os_str().to_owned();
        let docker = Some(directory.path().to_owned());
        let registries = Registries::new(docker, None, Some(directory.path().to_owned()), path);
        (directory, registries)
    }

    #[test]
    fn the_entry_with_the_longest_beginning_of_the_name_counts() {
        let auth = |login: &str| format!(r#"{{"auth":"{}"}}"#, BASE64_STANDARD.encode(login));
        let config = format!(
            r#"{{"auths":{{"r.example":{},"r.example/team":{},"https://s.example/v1/":{},
                "t.example:5000":{{"identitytoken":"t0ken"}},"u.example":{{"username":"a","password":"b"}},
                "empty.example":{{}}}}}}"#,
            auth("one:1"),
            auth("two:2:2"),
            auth("three:3")
        );
        let (_directory, registries) = place(&config);
        for (host, path, want) in [
            ("r.example", "x", Some("one:1")),
            ("r.example", "team/x", Some("two:2:2")),
            ("r.example", "teams/x", Some("one:1")),
            ("r.example:80", "x", None),
            ("xr.example", "x", None),
            ("s.example", "x", Some("three:3")),
            ("t.example:5000", "x", Some("token t0ken")),
            ("u.example", "x", Some("a:b")),
            ("empty.example", "x", None),
        ] {
            let found = registries.find(host, path).unwrap();
            assert!(!format!("{found:?}").contains("t0ken"), "{found:?}");
            assert_eq!(told(found).as_deref(), want, "{host}/{path}");
        }
        assert!(registries.hint("r.example").contains("oras login r.example"));
    }

    #[test]
    fn the_file_of_the_second_tool_is_asked_after_that_of_the_first() {
        let (directory, registries) = place("");
        assert_eq!(registries.find("r.example", "x").unwrap(), None);
        fs::create_dir(directory.path().join("containers")).unwrap();
        let auth = BASE64_STANDARD.encode("p:q");
        let text = format!(r#"{{"auths":{{"r.example":{{"auth":"{auth}"}}}}}}"#);
        fs::write(directory.path().join("containers/auth.json"), text).unwrap();
        assert_eq!(told(registries.find("r.example", "x").unwrap()).as_deref(), Some("p:q"));
    }

    #[test]
    fn a_program_is_asked_for_what_it_has() {
        let (directory, registries) = place(
            r#"{"credHelpers":{"r.example":"one","t.example":"tokens","n.example":"none","x.example":"../x"},
                "credsStore":"gone"}"#,
        );
        let write = |name: &str, text: &str| {
            let path = directory.path().join(format!("docker-credential-{name}"));
            write_program(&path, format!("#!/bin/sh\nread server\n{text}\n").as_bytes());
        };
        write(
            "one",
            r#"echo "{\"ServerURL\":\"$server\",\"Username\":\"$1\",\"Secret\":\"$server\"}""#,
        );
        write("tokens", r#"echo '{"Username":"<token>","Secret":"t"}'"#);
        write("none", "echo credentials not found in native keychain; exit 1");
        let find = |host: &str| registries.find(host, "x");
        assert_eq!(told(find("r.example").unwrap()).as_deref(), Some("get:r.example"));
        assert_eq!(told(find("t.example").unwrap()).as_deref(), Some("token t"));
        assert_eq!(told(find("n.example").unwrap()), None);
        for host in ["other.example", "x.example"] {
            assert_eq!(find(host).unwrap_err().id(), Id::MissingTool, "{host}");
        }
        for (text, want) in [("exit 1", "fails"), ("echo {", "says nothing that can be understood")]
        {
            write("gone", text);
            let error = find("other.example").unwrap_err();
            assert_eq!(error.to_string(), format!("`docker-credential-gone get` {want}"));
        }
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_named_and_nothing_of_it_is_shown() {
        let (_directory, registries) = place(r#"{"auths":{"r.example":{"auth":"s3cret"#);
        let error = registries.find("r.example", "x").unwrap_err();
        assert_eq!(error.id(), Id::Read);
        assert!(!error.chain().contains("s3cret") && error.chain().contains("line 1"), "{error:?}");
    }
}
