//! The API server by plain HTTP, through `kubectl proxy`, for what has to see every change as it comes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use qemu_tests::Cluster;
use serde_json::Value;

/// The proxy. Dropped, it ends, and with it every watch.
pub(crate) struct Proxy {
    child: Child,
    /// Who asks.
    pub(crate) api: Api,
}

/// Asks the API server as an administrator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Api {
    port: u16,
}

impl Proxy {
    pub(crate) fn start(cluster: &Cluster) -> Result<Self> {
        let mut command = cluster.kubectl_command();
        command.args(["proxy", "--port=0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.with_context(|| format!("`kubectl proxy` said `{line}`"))?;
        Ok(Self { child, api: Api { port } })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Api {
    /// The answer, from behind its head on. By HTTP 1.0 it comes as it is, to its end.
    fn ask(self, method: &str, path: &str, body: &Value) -> Result<(u16, BufReader<TcpStream>)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{text}",
            text.len()
        )?;
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("{method} {path}: `{first}`"))?;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            ensure!(reader.read_line(&mut line)? > 0, "{method} {path}: the answer has no end");
        }
        Ok((status, reader))
    }

    /// The answer as JSON, whatever its status.
    pub(crate) fn call(self, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let (status, mut reader) = self.ask(method, path, body)?;
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        let value =
            serde_json::from_str(&text).with_context(|| format!("{method} {path}: {text}"))?;
        Ok((status, value))
    }

    /// An answer of success.
    pub(crate) fn good(self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let (status, value) = self.call(method, path, body)?;
        ensure!((200..300).contains(&status), "{method} {path}: {status} {}", value["message"]);
        Ok(value)
    }

    pub(crate) fn get(self, path: &str) -> Result<Value> {
        self.good("GET", path, &Value::Null)
    }

    /// The events of a collection, those of what is there first, until the proxy ends.
    pub(crate) fn watch(
        self,
        path: &str,
        query: &str,
    ) -> Result<impl Iterator<Item = Value> + use<>> {
        let path = format!("{path}?watch=true&{query}");
        let (status, reader) = self.ask("GET", &path, &Value::Null)?;
        ensure!(status == 200, "GET {path}: {status}");
        let stream = serde_json::Deserializer::from_reader(reader).into_iter::<Value>();
        Ok(stream.map_while(Result::ok))
    }
}
