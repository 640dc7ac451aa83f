//! Questions to what answers well, badly, slowly or not at all.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use proptest::prelude::*;

use super::*;

const SOON: Duration = Duration::from_millis(300);
const MINUTE: Duration = Duration::from_secs(60);

const MOUNTS: &str = "\
21 1 253:0 / / ro,nosuid,nodev - erofs /dev/dm-0 ro
26 21 0:23 / /run rw,nosuid shared:2 - tmpfs tmpfs rw,mode=755
28 21 254:5 / /var rw,nosuid,nodev,noatime shared:9 - ext4 /dev/vda5 rw,errors=remount-ro
";

fn node(mounts: &str) -> (tempfile::TempDir, Prober) {
    let root = tempfile::tempdir().unwrap();
    for (file, text) in
        [("/proc/self/mountinfo", mounts), ("/sys/dev/block/253:0/dm/name", "orlop-root\n")]
    {
        let path = below(root.path(), file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let prober = Prober::new(root.path(), None);
    (root, prober)
}

#[test]
fn root_and_state_are_seen_by_what_is_mounted() {
    let (root, prober) = node(MOUNTS);
    assert_eq!(prober.ask(&How::Verity, MINUTE), Ok(()));
    assert_eq!(prober.ask(&How::State, MINUTE), Ok(()));
    fs::create_dir_all(root.path().join("run/orlop")).unwrap();
    fs::write(below(root.path(), WITHOUT_STATE), "no disk has a partition\n/dev/x\n\n").unwrap();
    assert_eq!(prober.ask(&How::State, MINUTE), Err("no disk has a partition".to_owned()));

    for (from, to, how, want) in [
        ("253:0", "253:1", How::Verity, "the root is erofs on 253:1 and not verified"),
        ("erofs", "ext4", How::Verity, "the root is ext4 on 253:0 and not verified"),
        (" / / ", " / /x ", How::Verity, "nothing is mounted as the root"),
        ("/var rw", "/var ro", How::State, "STATE cannot be written"),
        // As the kernel has it when it has found damage.
        ("vda5 rw,", "vda5 ro,", How::State, "STATE cannot be written"),
        ("ext4 /dev/vda5", "tmpfs tmpfs", How::State, "/var is tmpfs and not STATE"),
        ("/var", "/other", How::State, "nothing is mounted at /var"),
        (MOUNTS, "", How::State, "nothing is mounted at /var"),
    ] {
        let (_root, prober) = node(&MOUNTS.replace(from, to));
        assert_eq!(prober.ask(&how, MINUTE), Err(want.to_owned()), "{from}");
    }
}

/// Answers each connection with `bytes`, and ends when the test is over.
fn serve(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(bytes).unwrap();
        // Until the other side has gone.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    address
}

fn http(address: SocketAddr) -> How {
    How::Check(Question::Http200(HttpAddress { address, path: "/healthz".into() }))
}

#[test]
fn only_status_200_is_good() {
    let (_root, prober) = node(MOUNTS);
    for (answer, good) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], true),
        (b"HTTP/1.0 200 OK\n", true),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", false),
        (b"HTTP/1.1 204 No Content\r\n\r\n", false),
        (b"HTTP/2 200\r\n", false),
        (b"SSH-2.0-x\r\n", false),
    ] {
        let asked = prober.ask(&http(serve(answer)), MINUTE);
        assert_eq!(asked.is_ok(), good, "{asked:?}");
    }
    // It says nothing, or does not come to an end.
    for answer in [&b""[..], b"HTTP/1.1 20"] {
        let asked = prober.ask(&http(serve(answer)), SOON).unwrap_err();
        assert!(asked.starts_with("http://127.0.0.1:"), "{asked}");
    }
}

#[test]
fn nobody_at_an_address_is_told() {
    let (_root, prober) = node(MOUNTS);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let tcp = How::Check(Question::Tcp(address));
    assert_eq!(prober.ask(&tcp, MINUTE), Ok(()));
    drop(listener);
    let told = prober.ask(&tcp, MINUTE).unwrap_err();
    assert!(told.contains("Connection refused"), "{told}");
    let told = prober.ask(&http(address), MINUTE).unwrap_err();
    assert!(told.contains("Connection refused"), "{told}");
}

#[test]
fn a_runtime_that_accepts_and_says_nothing_does_not_answer() {
    let (root, prober) = node(MOUNTS);
    let how = How::Cri("/run/cri.sock".to_owned());
    let told = prober.ask(&how, SOON).unwrap_err();
    assert!(told.starts_with("cannot connect to ") && told.contains("No such file"), "{told}");
    fs::create_dir_all(root.path().join("run")).unwrap();
    let _listener = UnixListener::bind(root.path().join("run/cri.sock")).unwrap();
    assert!(prober.ask(&how, SOON).is_err());
}

#[derive(Debug)]
struct OfATest(Result<String, String>);

impl Cluster for OfATest {
    fn condition(&self, kind: &str, _: Duration) -> Result<String, String> {
        assert_eq!(kind, "Ready");
        self.0.clone()
    }
}

#[test]
fn a_condition_of_the_node_is_compared_with_what_is_wanted() {
    let how = How::Check(Question::NodeCondition("Ready".to_owned().try_into().unwrap()));
    for (known, want) in [
        (None, Err("the node is in no cluster")),
        (Some(Ok("True")), Ok(())),
        (Some(Ok("False")), Err("the node's condition Ready is False")),
        (Some(Err("no route")), Err("no route")),
    ] {
        let owned = |known: Result<&str, &str>| {
            let known = known.map(str::to_owned).map_err(str::to_owned);
            Box::new(OfATest(known)) as Box<dyn Cluster>
        };
        let prober = Prober::new("/", known.map(owned));
        assert_eq!(prober.ask(&how, MINUTE), want.map_err(str::to_owned));
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_of_mounts_panic(text in "([0-9:]{0,5}|/|rw|-| |\n|.){0,60}") {
        let _ = mounted_at(&text, "/");
    }
}
