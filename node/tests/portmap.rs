//! The CNI plugin `portmap` with the kernel's real packet filter: a node, two pods on its bridge and
//! a host outside, each a network namespace. `nft` is the judge of what is left. Needs `unshare`,
//! `nsenter`, `ip` and `nft`, and root or user namespaces.
#![expect(clippy::disallowed_methods, reason = "a test starts programs")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

#[path = "../../init/tests/network/namespace.rs"]
mod namespace;

use namespace::run;

/// For an answer that comes, on a busy machine.
const ANSWER: Duration = Duration::from_secs(20);
/// For one that does not come.
const SILENCE: Duration = Duration::from_millis(700);

fn main() -> ExitCode {
    namespace::main(&[
        ("a_host_port_leads_to_its_pod_from_everywhere", from_everywhere),
        ("protocol_and_address_of_a_host_port_are_respected", protocol_and_address),
        ("a_flow_of_datagrams_follows_its_port", a_flow_of_datagrams),
        ("what_is_left_is_removed_and_what_is_missing_is_told", removal),
        ("the_node_s_own_loopback_stays_its_own", loopback_stays_closed),
        ("a_call_that_cannot_be_is_answered_as_cni_says", answers),
    ])
}

/// A network namespace, gone with the value.
struct Host {
    holder: Child,
    namespace: File,
}

impl Host {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["-n", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("unshare(1)");
        // Once it echoes, it is in the namespace.
        holder.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("written");
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("read");
        let namespace = File::open(format!("/proc/{}/ns/net", holder.id())).expect("a namespace");
        Self { holder, namespace }
    }

    fn ip(&self, arguments: &str) {
        run("nsenter", &format!("-t {} -n ip {arguments}", self.holder.id()));
    }

    fn set(&self, name: &str, value: &str) {
        self.run(|| fs::write(format!("/proc/sys/{name}"), value)).expect(name);
    }

    /// Does something in it.
    fn run<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.namespace.as_fd(), kind).expect("entered");
            what()
        };
        thread::scope(|scope| scope.spawn(enter).join().expect("no panic"))
    }

    /// Answers on TCP and UDP with its name and the client's address, until it is gone.
    fn serve(&self, name: &'static str, tcp: u16, udp: u16) {
        let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let (listener, socket) =
            self.run(|| (TcpListener::bind(any(tcp)).unwrap(), UdpSocket::bind(any(udp)).unwrap()));
        thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept() {
                let _gone = write!(stream, "{name} {}", from.ip().to_canonical());
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                let text = format!("{name} {}", from.ip().to_canonical());
                let _gone = socket.send_to(text.as_bytes(), from);
            }
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _gone = self.holder.kill();
        let _gone = self.holder.wait();
    }
}

/// The node is the namespace of this program.
struct World {
    pods: [Host; 2],
    outside: Host,
    plugins: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        for line in [
            "link set lo up",
            "link add cni0 type bridge",
            "address add 10.88.0.1/16 dev cni0",
            "address add fd00:88::1/64 dev cni0 nodad",
            "link set cni0 up",
        ] {
            run("ip", line);
        }
        for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            fs::write(format!("/proc/sys/net/{name}"), "1").expect(name);
        }
        let pods = [5, 6].map(|number| {
            let pod = Host::new();
            let id = pod.holder.id();
            run("ip", &format!("link add veth{number} type veth peer name eth0 netns {id}"));
            run("ip", &format!("link set veth{number} master cni0 up"));
            run("ip", &format!("link set veth{number} type bridge_slave hairpin on"));
            pod.ip(&format!("address add 10.88.0.{number}/16 dev eth0"));
            pod.ip(&format!("address add fd00:88::{number}/64 dev eth0 nodad"));
            pod.ip("link set eth0 up");
            pod.ip("route add default via 10.88.0.1");
            pod.ip("-6 route add default via fd00:88::1");
            pod
        });
        let outside = Host::new();
        run("ip", &format!("link add up0 type veth peer name eth0 netns {}", outside.holder.id()));
        run("ip", "address add 192.0.2.1/24 dev up0");
        run("ip", "address add 192.0.2.2/24 dev up0");
        run("ip", "address add 2001:db8::1/64 dev up0 nodad");
        run("ip", "link set up0 up");
        outside.ip("address add 192.0.2.9/24 dev eth0");
        outside.ip("address add 2001:db8::9/64 dev eth0 nodad");
        outside.ip("link set eth0 up");
        let plugins = tempfile::tempdir().expect("a directory");
        let own = env!("CARGO_BIN_EXE_orlop-node");
        symlink(own, plugins.path().join("portmap")).expect("a link");
        let [first, second] = &pods;
        first.serve("first", 80, 5353);
        second.serve("second", 80, 5353);
        Self { pods, outside, plugins }
    }

    /// Calls the plugin for a pod, whose number is the end of its address.
    fn call(&self, command: &str, pod: u8, mappings: &Value) -> (bool, Value) {
        let text = json!({
            "cniVersion": "1.0.0", "name": "orlop", "type": "portmap",
            "runtimeConfig": { "portMappings": mappings },
            "prevResult": { "cniVersion": "1.0.0",
                "interfaces": [{ "name": "cni0" }, { "name": "eth0", "sandbox": "/run/x" }],
                "ips": [
                    { "address": format!("10.88.0.{pod}/16"), "interface": 1 },
                    { "address": format!("fd00:88::{pod}/64"), "interface": 1 },
                ] },
        });
        self.ask(command, &format!("pod{pod}"), &text.to_string())
    }

    fn ask(&self, command: &str, container: &str, text: &str) -> (bool, Value) {
        let mut child = Command::new(self.plugins.path().join("portmap"))
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", container)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", "/run/x")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the plugin");
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("waited");
        let answer = if output.stdout.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&output.stdout).expect("JSON")
        };
        (output.status.success(), answer)
    }

    fn done(&self, command: &str, pod: u8, mappings: &Value) {
        let (ok, answer) = self.call(command, pod, mappings);
        assert!(ok, "{command}: {answer}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for link in ["up0", "veth5", "veth6", "cni0"] {
            let _gone = Command::new("ip").args(["link", "delete", link]).status();
        }
        let _gone = Command::new("nft").args(["flush", "ruleset"]).status();
    }
}

/// What is answered at an address.
fn tcp(to: &str) -> Option<String> {
    let end = Instant::now() + ANSWER;
    // A link that was just made may not be ready.
    loop {
        let answer = tcp_once(to, ANSWER / 4);
        if answer.is_some() || Instant::now() > end {
            return answer;
        }
    }
}

/// What is answered to one attempt, or nothing.
fn tcp_once(to: &str, patience: Duration) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&to.parse().unwrap(), patience).ok()?;
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Nobody answers.
fn closed(to: &str) -> bool {
    tcp_once(to, SILENCE).is_none()
}

fn udp(socket: &UdpSocket, to: &str, patience: Duration) -> Option<String> {
    let end = Instant::now() + patience;
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let mut buffer = [0; 64];
    // A datagram may be refused, which the next call tells.
    while Instant::now() < end {
        let _refused = socket.send_to(b"x", to);
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            return Some(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    }
    None
}

fn ask_udp(to: &str, patience: Duration) -> Option<String> {
    let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    udp(&UdpSocket::bind(any).unwrap(), to, patience)
}

fn web() -> Value {
    json!([
        { "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "" },
        { "hostPort": 5300, "containerPort": 5353, "protocol": "udp" },
    ])
}

fn from_everywhere() {
    let world = World::new();
    assert!(world.outside.run(|| closed("192.0.2.1:8080")));
    world.done("ADD", 5, &web());
    // Who asks from outside is seen by the pod as who it is.
    let said = |name: &str, from: &str| Some(format!("{name} {from}"));
    for (to, from) in [("192.0.2.1", "192.0.2.9"), ("[2001:db8::1]", "2001:db8::9")] {
        assert_eq!(world.outside.run(|| tcp(&format!("{to}:8080"))), said("first", from));
        let asked = world.outside.run(|| ask_udp(&format!("{to}:5300"), ANSWER));
        assert_eq!(asked, said("first", from));
    }
    // The node itself, by each of its addresses.
    for to in ["192.0.2.1", "10.88.0.1", "127.0.0.1", "127.0.0.5", "[2001:db8::1]", "[fd00:88::1]"]
    {
        let answer = tcp(&format!("{to}:8080")).unwrap_or_default();
        assert!(answer.starts_with("first "), "{to}: {answer}");
        let answer = ask_udp(&format!("{to}:5300"), ANSWER).unwrap_or_default();
        assert!(answer.starts_with("first "), "{to}: {answer}");
    }
    // The pod itself, and another one on the bridge.
    for pod in &world.pods {
        for to in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            let answer = pod.run(|| tcp(to)).unwrap_or_default();
            assert!(answer.starts_with("first "), "{to}: {answer}");
        }
    }
    // What a pod itself serves on that port is nobody's host port.
    assert!(world.outside.run(|| closed("192.0.2.1:80")));
}

fn protocol_and_address() {
    let world = World::new();
    let one = |ip: &str, protocol: &str, to: u16| json!([{ "hostPort": 5300, "containerPort": to, "protocol": protocol, "hostIP": ip }]);
    world.done("ADD", 5, &one("127.0.0.1", "tcp", 80));
    let both = json!([one("192.0.2.1", "tcp", 80)[0], one("192.0.2.2", "udp", 5353)[0]]);
    world.done("ADD", 6, &both);
    assert!(tcp("127.0.0.1:5300").unwrap().starts_with("first "));
    assert!(tcp("192.0.2.1:5300").unwrap().starts_with("second "));
    assert!(closed("192.0.2.2:5300"));
    assert_eq!(world.outside.run(|| tcp("192.0.2.1:5300")).as_deref(), Some("second 192.0.2.9"));
    assert!(world.outside.run(|| closed("192.0.2.2:5300")));
    let asked = |to: &str, patience| world.outside.run(|| ask_udp(to, patience));
    assert_eq!(asked("192.0.2.2:5300", ANSWER).as_deref(), Some("second 192.0.2.9"));
    assert_eq!(asked("192.0.2.1:5300", SILENCE), None);
    // As the conformance test asks: with an address of its own, at the loopback's.
    assert!(closed("[::1]:5300"));
}

fn a_flow_of_datagrams() {
    let world = World::new();
    let bind = || UdpSocket::bind("0.0.0.0:0").unwrap();
    let flow = world.outside.run(bind);
    let mapping = json!([{ "hostPort": 5300, "containerPort": 5353, "protocol": "udp" }]);
    // Known to the kernel as a flow to the node itself.
    assert_eq!(udp(&flow, "192.0.2.1:5300", SILENCE), None);
    world.done("ADD", 5, &mapping);
    assert_eq!(udp(&flow, "192.0.2.1:5300", ANSWER).as_deref(), Some("first 192.0.2.9"));
    world.done("DEL", 5, &mapping);
    world.done("ADD", 6, &mapping);
    let mut answer = None;
    // What the first pod still had to say may come before.
    for _ in 0..3 {
        answer = udp(&flow, "192.0.2.1:5300", ANSWER);
        if answer.as_deref() == Some("second 192.0.2.9") {
            break;
        }
    }
    assert_eq!(answer.as_deref(), Some("second 192.0.2.9"));
}

fn removal() {
    let world = World::new();
    for pod in [5, 6] {
        // Once more is as once.
        world.done(
            "ADD",
            pod,
            &json!([{ "hostPort": 8000 + u16::from(pod), "containerPort": 80 }]),
        );
        world.done(
            "ADD",
            pod,
            &json!([{ "hostPort": 8000 + u16::from(pod), "containerPort": 80 }]),
        );
    }
    let tables = || run("nft", "list tables");
    assert!(tables().contains("hostport/orlop/pod5/eth0") && tables().contains("pod6"));
    let mapping = json!([{ "hostPort": 8005, "containerPort": 80 }]);
    world.done("CHECK", 5, &mapping);
    // The configuration may have changed since: the port of the first call goes.
    world.done("DEL", 5, &Value::Null);
    world.done("DEL", 5, &Value::Null);
    assert!(!tables().contains("pod5"), "{}", tables());
    assert!(world.outside.run(|| closed("192.0.2.1:8005")));
    assert!(world.outside.run(|| tcp("192.0.2.1:8006")).is_some());
    let (ok, answer) = world.call("CHECK", 5, &mapping);
    assert!(!ok && answer["msg"] == "there is no table `hostport/orlop/pod5/eth0`", "{answer}");

    let valid = json!([{ "containerID": "pod6", "ifname": "eth0" }]);
    world.done("ADD", 5, &mapping);
    let text =
        json!({ "cniVersion": "1.1.0", "name": "orlop", "cni.dev/valid-attachments": valid });
    assert_eq!(world.ask("GC", "", &text.to_string()), (true, Value::Null));
    assert!(!tables().contains("pod5") && tables().contains("pod6"), "{}", tables());
}

fn loopback_stays_closed() {
    let world = World::new();
    world.done("ADD", 5, &web());
    let own = TcpListener::bind("127.0.0.1:9999").expect("a port");
    thread::spawn(move || {
        while let Ok((mut stream, _)) = own.accept() {
            let _gone = stream.write_all(b"own");
        }
    });
    assert_eq!(tcp("127.0.0.1:9999").as_deref(), Some("own"));
    let [_, pod] = &world.pods;
    // The pod's own loopback is off: it sends such packets to the node.
    pod.ip("route add 127.0.0.1/32 via 10.88.0.1");
    pod.set("net/ipv4/conf/all/route_localnet", "1");
    assert!(pod.run(|| closed("127.0.0.1:9999")));
    // It is our rule which stops them.
    run("nft", "delete table inet hostport");
    assert_eq!(pod.run(|| tcp("127.0.0.1:9999")).as_deref(), Some("own"));
}

fn answers() {
    let world = World::new();
    let (ok, version) = world.ask("VERSION", "", "{}");
    assert!(ok && version["supportedVersions"].as_array().unwrap().contains(&json!("1.0.0")));
    // What the plugins before have made is passed on as it is, also where nothing is to be done.
    let (ok, result) = world.call("ADD", 5, &json!([]));
    assert!(ok && result["interfaces"][1]["name"] == "eth0", "{result}");
    assert!(!run("nft", "list tables").contains("hostport"));
    for (text, code) in [
        (r#"{"cniVersion":"0.2.0","name":"n"}"#, 1),
        ("{", 6),
        (r#"{"cniVersion":"1.0.0","name":"n"}"#, 7),
    ] {
        let (ok, error) = world.ask("ADD", "c", text);
        assert!(!ok && error["code"] == code && error["msg"].is_string(), "{text}: {error}");
    }
}
