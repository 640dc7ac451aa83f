//! `[containerd]`: registries and their mirrors (containerd's `docs/hosts.md`).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::pem::Certificates;
use super::section::Section;
use super::url::{Bracketed, Url, host_port};

/// What containerd is told beside what the image says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Containerd {
    /// By the host in the names of images, such as `docker.io`.
    pub registries: BTreeMap<RegistryHost, Registry>,
}

/// How a registry is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registry {
    /// Asked in this order before the registry itself.
    pub mirrors: Vec<Url>,
    /// The certificates by which mirrors and registry are known, instead of the image's.
    pub ca: Option<Certificates>,
    /// Whether any certificate will do.
    pub skip_verify: bool,
    /// Whether the paths of mirrors are where the registry's API begins, instead of what stands
    /// before its `/v2`. A path that begins with `/v2` is that in any case.
    pub override_path: bool,
    /// Whether only mirrors are asked, and not the registry itself.
    pub skip_fallback: bool,
    /// Who asks for images; nobody in particular without.
    pub login: Option<Login>,
}

/// A user of a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub username: String,
    // Private, so that it is shown by nobody who does not say that he does.
    password: String,
}

impl Login {
    /// The password.
    pub fn expose(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}, ***)", self.username)
    }
}

impl Registry {
    /// Whether the path of this mirror is where the registry's API begins.
    pub fn has_api_path(&self, mirror: &Url) -> bool {
        let path = mirror.path();
        self.override_path || path == "/v2" || path.starts_with("/v2/")
    }
}

/// The host of a registry as it stands in the names of images, `docker.io` or `localhost:5000`;
/// `_default` is all that have no entry of their own. It becomes the name of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryHost(String);

impl RegistryHost {
    /// The host, with its port if it has one.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegistryHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "_default" {
            return Ok(Self(text.to_owned()));
        }
        let (host, port) = host_port(text).ok_or_else(|| {
            format!(
                "`{text}` is not the host of a registry, such as `docker.io` or \
                 `registry.example:5000`"
            )
        })?;
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        Ok(Self(format!("{}{port}", Bracketed(&host))))
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Containerd {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let mut registries = BTreeMap::new();
        section.sections("registries", |name, section| {
            let registry = Registry::read(section, name.value);
            let Some(host) =
                section.understood(name.value.parse::<RegistryHost>(), name.span.clone())
            else {
                return;
            };
            if registries.insert(host.value, registry).is_some() {
                let message = format!("the registry `{}` stands twice", name.value);
                section.notes.note(name.span, message);
            }
        });
        Self { registries }
    }
}

impl Registry {
    fn read(section: &mut Section<'_, '_>, host: &str) -> Self {
        let mirrors = section.list::<Url>("mirrors");
        let ca = section.parsed::<Certificates>("ca").map(|ca| ca.value);
        let skip_verify = section.boolean("skip-verify").unwrap_or(false);
        if let Some(span) = section.place("skip-verify")
            && skip_verify
            && section.place("ca").is_some()
        {
            let message = "`ca` and `skip-verify = true` exclude each other: nothing is verified";
            section.notes.note(span, message);
        }
        let [override_path, skip_fallback] = ["override-path", "skip-fallback"].map(|key| {
            let set = section.boolean(key).unwrap_or(false);
            if let Some(span) = section.place(key)
                && set
                && section.place("mirrors").is_none()
            {
                let message = format!("`{key} = true` is about `mirrors`, and there are none");
                section.notes.note(span, message);
            }
            set
        });
        let login = read_login(section, host);
        let mirrors = mirrors.into_iter().map(|url| url.value).collect();
        Self { mirrors, ca, skip_verify, override_path, skip_fallback, login }
    }
}

fn read_login(section: &mut Section<'_, '_>, host: &str) -> Option<Login> {
    let username = section.string("username");
    let password = section.string("password");
    for (key, other) in [("username", "password"), ("password", "username")] {
        if section.place(key).is_some() {
            section.require(other);
        }
    }
    let (username, password) = (username?, password?);
    if host == "_default" {
        let message = "`_default` cannot have a password: any registry could ask for it";
        section.notes.note(username.span, message);
        return None;
    }
    // RFC 7617 section 2: the name ends at the first colon.
    if username.value.is_empty() || username.value.contains(':') {
        section.notes.note(username.span, "a `username` is not empty and holds no `:`");
        return None;
    }
    Some(Login { username: username.value.to_owned(), password: password.value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_named_as_in_the_names_of_images() {
        for (text, want) in [
            ("docker.io", "docker.io"),
            ("Registry.Example:5000", "registry.example:5000"),
            ("10.0.2.2:5000", "10.0.2.2:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("_default", "_default"),
        ] {
            assert_eq!(text.parse::<RegistryHost>().unwrap().as_str(), want);
        }
        for bad in ["", "https://docker.io", "docker.io/library", "..", "a:0", "_other", "a b"] {
            assert!(bad.parse::<RegistryHost>().is_err(), "{bad}");
        }
    }
}
