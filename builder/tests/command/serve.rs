//! `orlop serve` as clients meet it: `curl`, and Python's libraries.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use builder::process::Command;
use rustix::process::{Pid, Signal, kill_process};

use crate::documented::Table;
use crate::project::Project;

/// A file whose parts can be told apart.
fn content() -> Vec<u8> {
    (0u32..50_000).flat_map(u32::to_be_bytes).collect()
}

/// A server of the directory `site`, and where it is.
pub(crate) struct Serving<'a> {
    project: &'a Project,
    child: Option<Child>,
    first: String,
}

impl<'a> Serving<'a> {
    pub(crate) fn start(project: &'a Project, words: &[&str]) -> Self {
        let words = [&["serve", "site", "--listen", "127.0.0.1:0"], words].concat();
        let child = project.command(&words).spawn(|command| {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        });
        let mut child = child.unwrap();
        let mut first = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        while stdout.read_line(&mut first).unwrap() > 0 {
            if first.ends_with("/\n") || first.ends_with("\n}\n") {
                break;
            }
        }
        Self { project, child: Some(child), first }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.first.trim_end().to_owned() + path
    }

    fn curl(&self, words: &[&str], path: &str) -> String {
        let curl = Command::new("curl").args(["-sS", "--path-as-is", "--max-time", "60"]);
        let curl = curl.directory(&self.project.path("")).args(words).arg(self.url(path));
        String::from_utf8_lossy(&curl.run().unwrap()).into_owned()
    }

    /// The status that `curl` gets.
    fn status(&self, words: &[&str], path: &str) -> String {
        self.curl(&[&["-o", "/dev/null", "-w", "%{http_code}"], words].concat(), path)
    }

    /// Ends it as Ctrl-C does, and gives its log.
    pub(crate) fn end(mut self) -> String {
        let mut child = self.child.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{log}");
        log
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn project() -> Project {
    let project = Project::new();
    project.write("site/a b/root.zst", content());
    project.write("site/timestamp.json", "{}");
    project.write("secret", "secret");
    project.write("site/.hidden", "hidden");
    // Long ago, so that its tag is a strong one.
    let file = fs::File::options().write(true).open(project.path("site/a b/root.zst")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(784_111_777)).unwrap();
    project
}

#[test]
fn curl_gets_files_parts_and_what_it_lacks() {
    let project = project();
    let serving = Serving::start(&project, &[]);
    let (root, content) = ("a%20b/root.zst", content());
    serving.curl(&["-o", "whole"], root);
    assert_eq!(project.read("whole"), content);
    serving.curl(&["-o", "part", "-r", "1000-1999"], root);
    assert_eq!(project.read("part"), content[1000..2000]);
    serving.curl(&["-o", "last", "-r", "-7"], root);
    assert_eq!(project.read("last"), content[content.len() - 7..]);
    // What was broken off goes on where it was.
    project.write("whole", &content[..12_345]);
    serving.curl(&["-o", "whole", "-C", "-"], root);
    assert_eq!(project.read("whole"), content);

    let head = serving.curl(&["-I"], root);
    let length = format!("Content-Length: {}\r\n", content.len());
    for field in
        ["HTTP/1.1 200 OK\r\n", &length, "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"]
    {
        assert!(head.contains(field), "{head}");
    }
    assert!(!head.contains("Encoding"), "{head}");
    serving.curl(&["--etag-save", "tag", "-o", "whole"], root);
    for (words, path, want) in [
        (&["--etag-compare", "tag"][..], root, "304"),
        (&["-z", "Sun, 06 Nov 1994 08:49:37 GMT"], root, "304"),
        (&["-z", "Sun, 06 Nov 1994 08:49:36 GMT"], root, "200"),
        (&["-r", "200000-"], root, "416"),
        (&[], "timestamp.json?v=1", "200"),
        (&[], "../secret", "404"),
        (&[], "a%20b/../../secret", "404"),
        (&[], "%2e%2e/secret", "404"),
        (&[], ".hidden", "404"),
        (&[], "", "404"),
        (&[], "%zz", "400"),
        (&["-d", "x=y"], "timestamp.json", "405"),
        (&["-X", "DELETE"], "timestamp.json", "405"),
        (&["-0"], "timestamp.json", "200"),
        (&["-H", "Host:"], "timestamp.json", "400"),
    ] {
        assert_eq!(serving.status(words, path), want, "{words:?} {path}");
    }
    let log = serving.end();
    let lines: Vec<_> = log.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert!(lines.iter().all(|(client, _)| client.starts_with("127.0.0.1:")), "{log}");
    for line in [
        "GET /a%20b/root.zst 200 200000",
        "GET /a%20b/root.zst 206 1000",
        "GET /a%20b/root.zst 206 187655",
        "HEAD /a%20b/root.zst 200 0",
        "GET /../secret 404 10",
        "DELETE /timestamp.json 405 19",
    ] {
        assert!(lines.iter().any(|(_, what)| *what == line), "{line}: {log}");
    }
}

/// Python reads the parts of one answer as the parts of a mail.
const READER: &str = r#"
import email, http.client, sys, urllib.error, urllib.request
address, data = sys.argv[1], open(sys.argv[2], "rb").read()
host, path = address[len("http://"):].split("/", 1)
assert urllib.request.urlopen(address).read() == data
connection = http.client.HTTPConnection(host)
socket = None
def get(method="GET", **fields):
    global socket
    fields = {name.replace("_", "-"): value for name, value in fields.items()}
    connection.request(method, "/" + path, headers=fields)
    answer = connection.getresponse()
    body = answer.read()
    assert socket in (None, connection.sock), "another connection"
    socket = connection.sock
    return answer, body
answer, body = get(Range="bytes=100000-,0-0, 7-9")
assert answer.status == 206
head = ("Content-Type: %s\n\n" % answer.headers["Content-Type"]).encode()
parts = email.message_from_bytes(head + body).get_payload()
got = [(part["Content-Range"], part["Content-Type"], part.get_payload(decode=True)) for part in parts]
place = "bytes %d-%d/" + str(len(data))
want = [(place % (a, b - 1), "application/zstd", data[a:b]) for a, b in [(100000, len(data)), (0, 1), (7, 10)]]
assert got == want, [(place, len(part)) for place, _, part in got]
tag, date = answer.headers["ETag"], answer.headers["Last-Modified"]
for mark, status in [(tag, 206), (date, 206), ('"x"', 200), ("Sun, 06 Nov 1994 08:49:38 GMT", 200)]:
    answer, body = get(Range="bytes=5-9", If_Range=mark)
    assert answer.status == status and body == (data[5:10] if status == 206 else data), mark
answer, body = get("HEAD")
assert answer.status == 200 and body == b"" and answer.headers["Content-Length"] == str(len(data))
answer, body = get(If_None_Match='"x", ' + tag)
assert answer.status == 304 and body == b""
answer, body = get(Range="bytes=%d-" % len(data))
assert answer.status == 416 and answer.headers["Content-Range"] == "bytes */%d" % len(data)
answer, body = get(If_Match='"x"')
assert answer.status == 412
print("good")
"#;

#[test]
fn python_reads_several_parts_and_keeps_its_connection() {
    let project = project();
    let serving = Serving::start(&project, &[]);
    project.write("data", content());
    let python =
        Command::new("python3").args(["-c", READER, &serving.url("a%20b/root.zst"), "data"]);
    let said = python.directory(&project.path("")).run().unwrap();
    assert_eq!(said, b"good\n");
    // The two bytes that changed just now may change again.
    let head = serving.curl(&["-I"], "timestamp.json");
    let fresh = head.contains("ETag: W/\"");
    assert!(fresh || head.contains("ETag: \""), "{head}");
    serving.end();
}

#[test]
fn where_it_listens_is_said_as_json_too() {
    let project = project();
    let serving = Serving::start(&project, &["--json", "--progress", "json"]);
    let value = serde_json::from_str(&serving.first).unwrap();
    let mut table = Table::of("`orlop serve`");
    table.check(&value);
    table.complete();
    let url = value["url"].as_str().unwrap();
    assert_eq!(url, format!("http://127.0.0.1:{}/", value["port"]));
    Command::new("curl").args(["-sS", "-o", "/dev/null", url]).run().unwrap();
    let log = serving.end();
    let note: serde_json::Value = serde_json::from_str(log.trim_end()).unwrap();
    assert!(note["name"].as_str().unwrap().ends_with(" GET / 404 10"), "{note}");
}
