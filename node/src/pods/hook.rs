//! `preStop` hooks, as kubelet notes them with each container (`pkg/kubelet/kuberuntime/labels.go`):
//! what it would run before it stops one (`pkg/kubelet/lifecycle/handlers.go`).

mod address;
mod http;

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use cri::runtime::Container;
use cri::{Client, Transport};
use serde::Deserialize;

/// kubelet's note of the hook, JSON.
const HOOK_NOTE: &str = "io.kubernetes.container.preStopHandler";
/// kubelet's note of the container's ports, JSON.
const PORTS_NOTE: &str = "io.kubernetes.container.ports";
/// Beyond a hook's time: for the runtime to end a command, or to say where a pod is.
pub(super) const QUESTION: Duration = Duration::from_secs(5);
/// Of what a command says: an answer with more is not taken, however the command ended.
const LONGEST_ANSWER: usize = 256 * 1024;
/// Of a command's last line, characters that are told.
const LONGEST_LINE: usize = 200;

/// What is to be done before a container is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hook {
    /// Run a command in it.
    Exec(Vec<String>),
    /// Ask it by HTTP; without a host, at its pod's address. The path is as it is sent, with the
    /// query.
    Get { https: bool, host: Option<String>, port: u16, path: String, headers: Vec<Header> },
    /// Wait.
    Sleep(Duration),
}

#[derive(Deserialize)]
struct Handler {
    exec: Option<Exec>,
    #[serde(rename = "httpGet")]
    http_get: Option<HttpGet>,
    sleep: Option<Sleep>,
}

#[derive(Deserialize)]
struct Exec {
    #[serde(default)]
    command: Vec<String>,
}

#[derive(Deserialize)]
struct HttpGet {
    #[serde(default)]
    path: String,
    port: Port,
    host: Option<String>,
    scheme: Option<String>,
    #[serde(default, rename = "httpHeaders")]
    headers: Vec<Header>,
}

/// A header of a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Header {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Name(String),
}

#[derive(Deserialize)]
struct Sleep {
    seconds: u64,
}

#[derive(Deserialize)]
struct NamedPort {
    #[serde(default)]
    name: String,
    #[serde(rename = "containerPort")]
    number: u16,
}

impl Hook {
    /// The hook of a container, if it has one.
    ///
    /// # Errors
    /// The note is none that we understand.
    pub(super) fn of(container: &Container) -> Result<Option<Self>, String> {
        let Some(note) = container.annotations.get(HOOK_NOTE) else { return Ok(None) };
        let handler: Handler = serde_json::from_str(note).map_err(|error| error.to_string())?;
        if let Some(exec) = handler.exec {
            return Ok(Some(Self::Exec(exec.command)));
        }
        if let Some(sleep) = handler.sleep {
            return Ok(Some(Self::Sleep(Duration::from_secs(sleep.seconds))));
        }
        let get = handler.http_get.ok_or("it is of a kind that is not known")?;
        let port = match get.port {
            Port::Number(port) => port,
            Port::Name(name) => port(container, &name)?,
        };
        Ok(Some(Self::Get {
            https: get.scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            host: get.host.filter(|host| !host.is_empty()),
            port,
            path: address::target(&get.path),
            headers: get.headers,
        }))
    }

    /// Runs it, for at most `time`.
    ///
    /// # Errors
    /// Why it did not succeed. The container is to be stopped all the same.
    pub(super) fn run<T: Transport>(
        &self,
        container: &Container,
        client: &mut Client<T>,
        time: Duration,
    ) -> Result<(), String> {
        match self {
            Self::Exec(command) => {
                // The runtime takes 0 for no limit.
                let time = time.max(Duration::from_secs(1));
                let ended = client
                    .exec(&container.id, command, time, time + QUESTION)
                    .map_err(|error| error.to_string())?;
                if ended.status == 0 {
                    return Ok(());
                }
                Err(format!("exit status {}{}", ended.status, last_line(&ended.stderr)))
            }
            Self::Sleep(wanted) => {
                thread::sleep(time.min(*wanted));
                Ok(())
            }
            Self::Get { https, host, port, path, headers } => {
                let pod = match host {
                    Some(_) => None,
                    None => client
                        .sandbox_address(&container.sandbox, QUESTION)
                        .map_err(|error| error.to_string())?,
                };
                let url = url(*https, host.as_deref(), pod.as_deref(), *port, path);
                http::get(&url, headers, time)
            }
        }
    }
}

/// A connection for one hook.
///
/// # Errors
/// Nobody listens.
pub(super) fn connect(socket: &Path) -> Result<Client<UnixStream>, String> {
    Client::connect(socket, LONGEST_ANSWER)
        .map_err(|error| format!("cannot connect to {}: {error}", socket.display()))
}

/// What a command said last, to be told after its status.
fn last_line(stderr: &str) -> String {
    let said = stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
    said.map(|line| line.chars().take(LONGEST_LINE).collect::<String>())
        .map_or_else(String::new, |line| format!(": {line}"))
}

/// The number of a port of the container's that has this name; like kubelet, it takes a number that
/// was written as a text.
fn port(container: &Container, name: &str) -> Result<u16, String> {
    let note = container.annotations.get(PORTS_NOTE).map_or("[]", String::as_str);
    let ports: Vec<NamedPort> = serde_json::from_str(note).map_err(|error| error.to_string())?;
    let found = ports.iter().find(|port| port.name == name).map(|port| port.number);
    found.or_else(|| name.parse().ok()).ok_or_else(|| format!("there is no port `{name}`"))
}

/// A pod without an address is in the host's network.
fn url(https: bool, host: Option<&str>, pod: Option<&str>, port: u16, path: &str) -> String {
    let scheme = if https { "https" } else { "http" };
    let host = host.or(pod).map_or_else(|| Ipv4Addr::LOCALHOST.to_string(), str::to_owned);
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("{scheme}://[{address}]:{port}{path}"),
        _ => format!("{scheme}://{host}:{port}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(hook: &str) -> Container {
        let ports = r#"[{"name":"web","containerPort":8080,"protocol":"TCP"},{"containerPort":1}]"#;
        let notes = [(HOOK_NOTE, hook), (PORTS_NOTE, ports)];
        let annotations = notes.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Container { annotations, ..Container::default() }
    }

    fn get(port: u16, path: &str) -> Hook {
        let path = path.to_owned();
        Hook::Get { https: false, host: None, port, path, headers: Vec::new() }
    }

    #[test]
    fn hooks_are_read_as_kubelet_notes_them() {
        let exec = |words: &[&str]| Hook::Exec(words.iter().map(|&w| w.to_owned()).collect());
        for (note, want) in [
            (r#"{"exec":{"command":["sh","-c",""]}}"#, exec(&["sh", "-c", ""])),
            (r#"{"sleep":{"seconds":7}}"#, Hook::Sleep(Duration::from_secs(7))),
            (r#"{"httpGet":{"path":"/bye","port":80,"scheme":"HTTP"}}"#, get(80, "/bye")),
            (r#"{"httpGet":{"path":"bye","port":"web"}}"#, get(8080, "/bye")),
            (r#"{"httpGet":{"path":"good bye","port":80}}"#, get(80, "/good%20bye")),
            (r#"{"httpGet":{"path":"/bye","port":"81"}}"#, get(81, "/bye")),
            (r#"{"sleep":{"seconds":0}}"#, Hook::Sleep(Duration::ZERO)),
            (
                r#"{"httpGet":{"port":1,"host":"h","scheme":"HTTPS",
                    "httpHeaders":[{"name":"A","value":"b"}]}}"#,
                Hook::Get {
                    https: true,
                    host: Some("h".to_owned()),
                    port: 1,
                    path: "/".to_owned(),
                    headers: vec![Header { name: "A".to_owned(), value: "b".to_owned() }],
                },
            ),
        ] {
            assert_eq!(Hook::of(&container(note)), Ok(Some(want)), "{note}");
        }
        assert_eq!(Hook::of(&Container::default()), Ok(None));
    }

    #[test]
    fn what_is_no_hook_is_told() {
        for (note, want) in [
            ("{}", "not known"),
            (r#"{"tcpSocket":{"port":1}}"#, "not known"),
            ("soon", "expected value"),
            (r#"{"httpGet":{"port":"none"}}"#, "there is no port `none`"),
            (r#"{"httpGet":{"port":99999}}"#, "Port"),
            (r#"{"httpGet":{"port":"99999"}}"#, "there is no port `99999`"),
            (r#"{"sleep":{"seconds":-1}}"#, "-1"),
        ] {
            let error = Hook::of(&container(note)).unwrap_err();
            assert!(error.contains(want), "{note}: {error}");
        }
    }

    #[test]
    fn a_pod_is_asked_at_its_address_and_one_of_the_hosts_network_at_the_hosts() {
        for (host, pod, want) in [
            (None, Some("10.88.0.2"), "http://10.88.0.2:80/x"),
            (None, Some("fd00::2"), "http://[fd00::2]:80/x"),
            (None, None, "http://127.0.0.1:80/x"),
            (Some("example.com"), Some("10.88.0.2"), "http://example.com:80/x"),
        ] {
            assert_eq!(url(false, host, pod, 80, "/x"), want);
        }
        assert_eq!(url(true, Some("h"), None, 1, "/"), "https://h:1/");
    }

    #[test]
    fn of_what_a_command_said_a_part_of_the_last_line_is_told() {
        assert_eq!(last_line("first\n  not found \n\n"), ": not found");
        assert_eq!(last_line(" \n"), "");
        assert_eq!(last_line(&"x".repeat(1 << 20)).len(), 2 + LONGEST_LINE);
    }

    proptest::proptest! {
        #[test]
        fn no_note_makes_it_panic(note in r#"[{}"a-zA-Z:0-9,\[\]]{0,60}"#) {
            drop(Hook::of(&container(&note)));
        }
    }
}
