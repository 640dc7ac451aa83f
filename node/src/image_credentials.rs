//! `orlop-node image-credentials`: kubelet asks who pulls an image.
//!
//! Format: `credentialprovider.kubelet.k8s.io/v1` of Kubernetes, a request in JSON on stdin and a
//! response on stdout. kubelet hands the answer to containerd with the order to pull, and containerd
//! shows it to the registry and to its mirrors in the way that they ask for.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use formats::node_config::Containerd;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::arguments::{Arguments, Failure};
use crate::root::Root;

/// Where the names and passwords lie: in memory, for root alone.
pub(crate) const PATH: &str = "/run/orlop/kubelet/registry-logins.json";
/// The command by which kubelet calls us.
pub(crate) const COMMAND: &str = "image-credentials";
/// The version of request and response.
pub(crate) const VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";

/// More than any config holds, and than kubelet asks.
const LIMIT: u64 = 1024 * 1024;

/// Who pulls, by the host in the names of images.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Logins(BTreeMap<String, Login>);

#[derive(Serialize, Deserialize)]
struct Login {
    username: String,
    password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({}, ***)", self.username)
    }
}

impl Logins {
    /// Those of a config.
    pub(crate) fn of(containerd: &Containerd) -> Self {
        let logins = containerd.registries.iter().filter_map(|(host, registry)| {
            let login = registry.login.as_ref()?;
            let (username, password) = (login.username.clone(), login.expose().to_owned());
            Some((host.as_str().to_owned(), Login { username, password }))
        });
        Self(logins.collect())
    }

    pub(crate) fn hosts(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        format!("{:#}\n", json!(self))
    }

    /// What kubelet is answered about an image: nothing about one of another registry.
    fn response(&self, image: &str) -> serde_json::Value {
        let host = image.split_once('/').map_or(image, |(host, _)| host).to_ascii_lowercase();
        let auth = self.0.get_key_value(&host);
        json!({
            "apiVersion": VERSION,
            "kind": "CredentialProviderResponse",
            "cacheKeyType": "Registry",
            // The next config may have another password.
            "cacheDuration": "0s",
            "auth": auth.into_iter().collect::<BTreeMap<_, _>>(),
        })
    }
}

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "apiVersion")]
    version: String,
    image: String,
}

/// Answers the request on stdin.
///
/// # Errors
/// When the request or the file of passwords cannot be read.
pub(crate) fn command(arguments: &mut Arguments) -> Result<(), Failure> {
    let root = Root::new(arguments.option("--root")?.unwrap_or_else(|| "/".to_owned()));
    arguments.finish()?;
    let failed =
        |what: &str, why: &dyn std::fmt::Display| Failure::Failed(format!("{what}: {why}"));
    let mut request = Vec::new();
    std::io::stdin()
        .take(LIMIT)
        .read_to_end(&mut request)
        .map_err(|error| failed("cannot read the request", &error))?;
    let bytes =
        root.read(PATH, LIMIT).map_err(|error| failed("cannot read the passwords", &error))?;
    let response = answer(&request, bytes.as_deref())?;
    writeln!(std::io::stdout(), "{response}").map_err(|error| failed("cannot answer", &error))
}

fn answer(request: &[u8], logins: Option<&[u8]>) -> Result<serde_json::Value, Failure> {
    let request: Request = serde_json::from_slice(request).map_err(|error| {
        Failure::Failed(format!("what stands on stdin is not a CredentialProviderRequest: {error}"))
    })?;
    if request.version != VERSION {
        let message = format!("`{}` was asked, and only `{VERSION}` is known", request.version);
        return Err(Failure::Failed(message));
    }
    // Without the file no config has a password.
    let logins = logins.map_or(Ok(Logins::default()), serde_json::from_slice);
    // The parser's words could repeat a password.
    let logins = logins.map_err(|_| Failure::Failed(format!("`{PATH}` is damaged")))?;
    Ok(logins.response(&request.image))
}

#[cfg(test)]
mod tests {
    use formats::node_config::parse;

    use super::*;

    const REQUEST: &str = r#"{"kind":"CredentialProviderRequest",
        "apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"reg.example:5000/a/b"}"#;

    fn logins() -> Logins {
        let text = "schema = 1\n[containerd.registries.'Reg.example:5000']\nusername = 'u'\n\
                    password = 'p\"w'\n[containerd.registries.'other.example']\nskip-verify = true";
        Logins::of(&parse(text).unwrap().containerd)
    }

    #[test]
    fn kubelet_is_told_who_pulls_from_this_registry_and_from_no_other() {
        let text = logins().text();
        let answer = answer(REQUEST.as_bytes(), Some(text.as_bytes())).unwrap();
        assert_eq!(
            answer["auth"],
            json!({ "reg.example:5000": { "username": "u", "password": "p\"w" } })
        );
        assert_eq!(answer["kind"], "CredentialProviderResponse");
        for image in ["reg.example/a", "other.example/a", "reg.example:5000.evil.example/a", ""] {
            assert_eq!(logins().response(image)["auth"], json!({}), "{image}");
        }
    }

    #[test]
    fn what_is_not_a_request_or_is_damaged_is_refused_without_a_password() {
        let text = logins().text();
        let other = REQUEST.replace("/v1", "/v2");
        for (request, logins, want) in [
            ("", text.as_str(), "what stands on stdin is not a CredentialProviderRequest"),
            (&other, &text, "`credentialprovider.kubelet.k8s.io/v2` was asked"),
            (REQUEST, "{\"a\": \"secret\"", "`/run/orlop/kubelet/registry-logins.json` is damaged"),
        ] {
            let failure = answer(request.as_bytes(), Some(logins.as_bytes())).unwrap_err();
            assert!(failure.to_string().starts_with(want), "{failure}");
            assert!(!failure.to_string().contains("secret"), "{failure}");
        }
        assert_eq!(answer(REQUEST.as_bytes(), None).unwrap()["auth"], json!({}));
        assert!(!format!("{:?}", logins()).contains("p\"w"));
    }
}
