//! Who asks: each question once, with a time limit.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::health::{HttpAddress, Question};
use formats::system::WITHOUT_STATE;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use crate::clock::monotonic;
use crate::files::{below, read};
use crate::health::gate::How;
use crate::process;

/// Bytes of what the kernel says is mounted: a node with many pods has thousands of lines.
const LONGEST_MOUNTS: u64 = 16 << 20;
/// Bytes of a runtime's version.
const LONGEST_VERSION: usize = 4096;
/// Bytes of an HTTP answer in which its status must be.
const LONGEST_STATUS: usize = 1024;
/// The name that PID 1 gives the root's device.
const ROOT_DEVICE: &str = "orlop-root";

/// What is known of the cluster that the node is in.
pub trait Cluster: fmt::Debug + Send + Sync {
    /// The status of a condition of the node's own Node object: `True`, `False`, `Unknown`.
    ///
    /// # Errors
    /// Why it is not known, for people.
    fn condition(&self, kind: &str, limit: Duration) -> Result<String, String>;
}

/// Asks a node.
#[derive(Debug)]
pub struct Prober {
    root: PathBuf,
    cluster: Option<Box<dyn Cluster>>,
}

impl Prober {
    /// Of the node whose file system begins at `root`; its cluster, if it is in one.
    pub fn new(root: impl Into<PathBuf>, cluster: Option<Box<dyn Cluster>>) -> Self {
        Self { root: root.into(), cluster }
    }

    /// Asks once, for at most `limit`.
    ///
    /// # Errors
    /// Why the answer is not good, for people.
    pub fn ask(&self, how: &How, limit: Duration) -> Result<(), String> {
        match how {
            How::Verity => self.verity(),
            How::State => self.state(),
            How::Cri(socket) => cri_version(&below(&self.root, socket), limit),
            How::Check(Question::Http200(address)) => http_200(address, limit),
            How::Check(Question::Tcp(address)) => {
                let connected = TcpStream::connect_timeout(address, limit);
                connected.map(drop).map_err(|error| format!("{address}: {error}"))
            }
            How::Check(Question::Exec(program)) => process::run(&program.0, limit),
            How::Check(Question::NodeCondition(wanted)) => {
                let cluster = self.cluster.as_ref().ok_or("the node is in no cluster")?;
                match cluster.condition(&wanted.kind, limit)? {
                    status if status == wanted.status => Ok(()),
                    status => Err(format!("the node's condition {} is {status}", wanted.kind)),
                }
            }
        }
    }

    fn mounts(&self) -> Result<String, String> {
        let path = below(&self.root, "/proc/self/mountinfo");
        let text = read(&path, LONGEST_MOUNTS);
        let text = text.map_err(|error| format!("cannot read what is mounted: {error}"))?;
        Ok(text.unwrap_or_default())
    }

    fn verity(&self) -> Result<(), String> {
        let mounts = self.mounts()?;
        let root = mounted_at(&mounts, "/").ok_or("nothing is mounted as the root")?;
        let name = below(&self.root, format!("/sys/dev/block/{}/dm/name", root.device));
        let name = read(&name, 256).ok().flatten().unwrap_or_default();
        match (root.kind, name.trim()) {
            ("erofs", ROOT_DEVICE) => Ok(()),
            (kind, _) => Err(format!("the root is {kind} on {} and not verified", root.device)),
        }
    }

    fn state(&self) -> Result<(), String> {
        // PID 1 says there why it is not.
        if let Ok(Some(why)) = read(&below(&self.root, WITHOUT_STATE), 64 * 1024) {
            return Err(why.lines().next().unwrap_or_default().to_owned());
        }
        let mounts = self.mounts()?;
        let var = mounted_at(&mounts, "/var").ok_or("nothing is mounted at /var")?;
        match (var.kind, var.is_writable) {
            ("ext4", true) => Ok(()),
            ("ext4", false) => Err("STATE cannot be written".to_owned()),
            (kind, _) => Err(format!("/var is {kind} and not STATE")),
        }
    }
}

/// What is seen at a mount point.
#[derive(Debug, PartialEq, Eq)]
struct Mounted<'t> {
    /// `MAJOR:MINOR`.
    device: &'t str,
    kind: &'t str,
    /// The mount and its file system both are.
    is_writable: bool,
}

/// Out of the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)); what is mounted last is seen.
fn mounted_at<'t>(mountinfo: &'t str, path: &str) -> Option<Mounted<'t>> {
    let mount = |line: &'t str| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ');
        let device = before.nth(2)?;
        let at = before.nth(1)?;
        let options = before.next()?;
        let mut after = after.split(' ');
        let (kind, of_file_system) = (after.next()?, after.nth(1)?);
        let writable = |options: &str| options.split(',').any(|option| option == "rw");
        let is_writable = writable(options) && writable(of_file_system);
        (at == path).then_some(Mounted { device, kind, is_writable })
    };
    mountinfo.lines().rev().find_map(mount)
}

fn cri_version(socket: &Path, limit: Duration) -> Result<(), String> {
    // Who accepts nobody has a full queue, and there connect(2) waits as long as a send may.
    let connect = || -> io::Result<_> {
        let stream =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&stream, Timeout::Send, Some(limit))?;
        set_socket_timeout(&stream, Timeout::Recv, Some(limit))?;
        rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
        Ok(std::os::unix::net::UnixStream::from(stream))
    };
    let until = monotonic() + limit;
    let stream =
        connect().map_err(|error| format!("cannot connect to {}: {error}", socket.display()))?;
    let version = cri::Client::new(stream, LONGEST_VERSION).version(left(until));
    version.map(drop).map_err(|error| error.to_string())
}

/// What is left until then; never nothing, which would be no limit at all.
fn left(until: Duration) -> Duration {
    until.saturating_sub(monotonic()).max(Duration::from_millis(1))
}

fn http_200(target: &HttpAddress, limit: Duration) -> Result<(), String> {
    let HttpAddress { address, path } = target;
    let line = status_line(*address, path, monotonic() + limit)
        .map_err(|error| format!("http://{address}{path}: {error}"))?;
    let mut words = line.split(' ');
    match (words.next(), words.next()) {
        (Some(version), Some("200")) if version.starts_with("HTTP/1.") => Ok(()),
        _ => {
            let line: String = line.chars().take(80).collect();
            Err(format!("http://{address}{path} answered `{line}`"))
        }
    }
}

/// The first line of the answer. What follows is not waited for.
fn status_line(address: SocketAddr, path: &str, until: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, left(until))?;
    stream.set_write_timeout(Some(left(until)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut head, mut buffer) = (Vec::new(), [0; 256]);
    while !head.contains(&b'\n') && head.len() < LONGEST_STATUS {
        // Who says a byte now and then has no more time than others.
        if monotonic() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left(until)))?;
        match stream.read(&mut buffer)? {
            0 => break,
            length => head.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests;
