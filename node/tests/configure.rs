//! `orlop-node configure` as PID 1 and the unit call it, on a root of its own.
#![expect(clippy::disallowed_methods, reason = "the rule is for what ships; this is a test")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::thread;

use formats::system::{self, System};

const FW_CFG: &str = "sys/firmware/qemu_fw_cfg/by_name/opt/org.orlop/node.toml/raw";
const COPY: &str = "var/lib/orlop/node.toml";
const CONFIG_URL: &str = "run/orlop/config-url";
const CONFIG_DISKS: &str = "run/orlop/config-disks";
const GOOD: &str = "schema = 1\nhostname = \"worker-1\"\n[network]\ndns = [\"192.0.2.53\"]\n";

/// A node's file system.
struct Node(tempfile::TempDir);

/// How a run ended, and what it said.
struct Run {
    status: Option<i32>,
    said: String,
}

impl Node {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    fn without(self, path: &str) -> Self {
        fs::remove_file(self.0.path().join(path)).unwrap();
        self
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.0.path().join(path)).ok()
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.0.path().join(path)).unwrap().permissions().mode() & 0o7777
    }

    /// What PID 1 is told.
    fn system(&self) -> System {
        System::parse(&self.read(&system::PATH[1..]).expect("system.toml")).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_orlop-node"))
            .args(arguments)
            .arg("--root")
            .arg(self.0.path())
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"");
        Run { status: output.status.code(), said: String::from_utf8(output.stderr).unwrap() }
    }

    fn configure(&self) -> Run {
        let run = self.run(&["configure"]);
        assert_eq!(run.status, Some(0), "{}", run.said);
        run
    }
}

/// A server that answers one request after the other, then hangs up; its address.
fn serve(answers: &'static [&'static str]) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}/n?token=secret", listener.local_addr().unwrap());
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
            let length = answer.len();
            write!(stream, "{head}Content-Length: {length}\r\n\r\n{answer}").unwrap();
        }
    });
    address
}

#[test]
fn a_config_in_fw_cfg_reaches_pid_1_and_is_kept() {
    let node = Node::new().with("proc/cmdline", "quiet\n").with(FW_CFG, GOOD);
    let run = node.configure();
    assert_eq!(
        run.said,
        "fw_cfg opt/org.orlop/node.toml has the node config (asked before: kernel command line: \
         no `orlop.config`)\n"
    );
    let system = node.system();
    assert_eq!(system.hostname.as_deref(), Some("worker-1"));
    assert_eq!(system.source, "fw_cfg opt/org.orlop/node.toml");
    assert_eq!(system.network.dns, Some(vec!["192.0.2.53".parse().unwrap()]));
    assert_eq!((system.problems, system.awaits_url), (vec![], None));
    let copy = format!("# from: fw_cfg opt/org.orlop/node.toml\n{GOOD}");
    assert_eq!(node.read(COPY), Some(copy));
    assert_eq!(node.mode(COPY), 0o600);
    assert_eq!(node.read(CONFIG_URL), None);
}

#[test]
fn a_bad_config_is_told_line_by_line_and_the_copy_is_used_instead() {
    let node = Node::new().with(FW_CFG, GOOD);
    node.configure();
    let copy = node.read(COPY);
    let node = node.with(FW_CFG, "schema = 1\nhostnam = \"x\"\n[network]\ndns = [\"nowhere\"]\n");
    let run = node.configure();
    let system = node.system();
    assert_eq!(system.hostname.as_deref(), Some("worker-1"));
    assert_eq!(system.source, "the last good copy, of fw_cfg opt/org.orlop/node.toml");
    assert_eq!(node.read(COPY), copy);
    let problems = &system.problems;
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].starts_with("fw_cfg opt/org.orlop/node.toml:2:1: "), "{problems:?}");
    assert!(problems[1].starts_with("fw_cfg opt/org.orlop/node.toml:4:8: "), "{problems:?}");
    for problem in problems {
        assert!(run.said.lines().any(|line| line == problem), "{}", run.said);
    }
}

#[test]
fn without_any_config_the_node_says_what_it_lacks_and_goes_on() {
    let node = Node::new();
    node.configure();
    assert_eq!(node.system().problems, [""; 0]);

    let node = node.with("usr/lib/orlop/units/kubelet.toml", "");
    let run = node.configure();
    let system = node.system();
    assert_eq!((system.source.as_str(), system.hostname), ("none", None));
    let [lacking] = &system.problems[..] else { panic!("{:?}", system.problems) };
    assert!(lacking.starts_with("no node config, so kubelet does not run: "), "{lacking}");
    assert!(run.said.ends_with(&format!("{lacking}\n")), "{}", run.said);
    assert_eq!(node.read(COPY), None);
}

#[test]
fn a_node_whose_place_is_gone_goes_on_with_its_copy() {
    let node = Node::new().with(FW_CFG, GOOD);
    node.configure();
    let node = node.without(FW_CFG);
    node.configure();
    let system = node.system();
    assert_eq!(system.hostname.as_deref(), Some("worker-1"));
    assert_eq!(system.source, "the last good copy, of fw_cfg opt/org.orlop/node.toml");
    assert_eq!(system.problems, Vec::<String>::new());
}

#[test]
fn an_address_is_noted_fetched_when_the_network_is_up_and_its_copy_used_at_the_next_boot() {
    let address = serve(&[GOOD]);
    let shown = format!("{}?...", address.split('?').next().unwrap());
    let node = Node::new().with("proc/cmdline", format!("orlop.config={address} quiet\n"));

    let run = node.configure();
    assert!(!run.said.contains("secret"), "{}", run.said);
    let system = node.system();
    assert_eq!((system.source.as_str(), system.awaits_url.as_ref()), ("none", Some(&shown)));
    assert_eq!(system.problems, Vec::<String>::new());
    assert_eq!(node.read(CONFIG_URL).as_ref(), Some(&address));
    assert_eq!(node.mode(CONFIG_URL), 0o600);

    let run = node.run(&["configure", "--url"]);
    assert_eq!((run.status, run.said.as_str()), (Some(0), ""));
    let system = node.system();
    assert_eq!((&system.source, &system.awaits_url), (&shown, &None));
    assert_eq!(system.hostname.as_deref(), Some("worker-1"));
    assert_eq!(node.read(COPY), Some(format!("# from: {address}\n{GOOD}")));

    node.configure();
    let system = node.system();
    assert_eq!(system.hostname.as_deref(), Some("worker-1"));
    assert_eq!(system.source, format!("the last good copy, of {shown}"));
    assert_eq!(system.awaits_url, Some(shown));
}

#[test]
fn settings_of_a_config_that_was_fetched_are_made_when_those_of_the_last_one_are() {
    const FIRST: &str = "schema = 1\n[sysctl]\n\"vm.max_map_count\" = 262144\n";
    const NEXT: &str = "schema = 1\n[sysctl]\n\"vm.swappiness\" = 1\n";
    let address = serve(&[FIRST, NEXT, GOOD]);
    let fetch = |node: &Node| {
        let run = node.run(&["configure", "--url"]);
        assert_eq!((run.status, run.said.as_str()), (Some(0), ""));
        (node.read("run/orlop/sysctl.conf"), node.read("run/orlop/sysctl-fetched"))
    };
    let node = Node::new().with("proc/cmdline", format!("orlop.config={address}\n"));
    node.configure();
    // The unit `sysctl` waits for the first settings, and takes them as they are then.
    assert_eq!(fetch(&node), (Some("vm.max_map_count = 262144\n".to_owned()), None));
    // It may be done with those of the last good copy.
    node.configure();
    let want = (Some("vm.swappiness = 1\n".to_owned()), Some(String::new()));
    assert_eq!(fetch(&node), want);
    // Another boot, and there is nothing to set.
    let node = node.without("run/orlop/sysctl-fetched");
    node.configure();
    assert_eq!(fetch(&node), (None, None));
}

#[test]
fn a_fetch_that_fails_or_brings_a_bad_config_changes_nothing_and_ends_with_status_1() {
    let address = serve(&["schema = 1\nhostnam = \"x\"\n", "<!doctype html>"]);
    let shown = format!("{}?...", address.split('?').next().unwrap());
    let node = Node::new().with("proc/cmdline", format!("orlop.config={address}\n"));
    node.configure();
    let before = node.system();
    for said in [
        format!("orlop-node: {shown}:2:1: "),
        format!(
            "orlop-node: cannot fetch the node config from `{shown}`: the server answers with a \
             web page instead of the file\n"
        ),
        format!("orlop-node: cannot fetch the node config from `{shown}`: the host refuses"),
    ] {
        let run = node.run(&["configure", "--url"]);
        assert_eq!(run.status, Some(1), "{}", run.said);
        assert!(run.said.starts_with(&said), "{} instead of {said}", run.said);
        assert_eq!((node.system(), node.read(COPY)), (before.clone(), None));
    }
}

#[test]
fn nothing_is_fetched_if_no_place_says_so() {
    let node = Node::new().with(CONFIG_URL, "http://127.0.0.1/left").with(FW_CFG, GOOD);
    node.configure();
    let run = node.run(&["configure", "--url"]);
    let said = "orlop-node: nothing is to be fetched: `/run/orlop/config-url` is absent\n";
    assert_eq!((run.status, run.said.as_str()), (Some(1), said));
}

#[test]
fn a_node_of_a_cluster_gets_kubelets_files_whose_certificate_the_next_run_leaves_alone() {
    let config = format!("{GOOD}[kubernetes]\nstandalone = true\n");
    let node = Node::new().with(FW_CFG, config);
    node.configure();
    let arguments = node.read("run/orlop/kubelet/arguments").expect("arguments");
    assert!(arguments.lines().any(|line| line.starts_with("--config=")), "{arguments}");
    let certificate = node.read("var/lib/kubelet/pki/orlop-serving.crt").expect("certificate");
    node.configure();
    assert_eq!(node.read("var/lib/kubelet/pki/orlop-serving.crt"), Some(certificate));

    let node = node.with(FW_CFG, GOOD);
    node.configure();
    assert_eq!(node.read("run/orlop/kubelet/arguments"), None);
}

/// A plain file where a device should be: no kernel mounts it, whoever asks.
fn disc(label: &str) -> Vec<u8> {
    let mut disc = vec![0; 0x8800];
    disc[0x8000..0x8006].copy_from_slice(b"\x01CD001");
    disc[0x8028..0x8048].copy_from_slice(format!("{label:32}").as_bytes());
    disc
}

impl Node {
    fn with_disk(self, name: &str, label: &str) -> Self {
        let class = format!("sys/class/block/{name}/size");
        self.with(&format!("dev/{name}"), disc(label)).with(&class, "68\n")
    }
}

#[test]
fn a_volume_that_cannot_be_mounted_is_told() {
    let node = Node::new().with_disk("vdb", "CIDATA");
    node.configure();
    let problems = node.system().problems;
    // Whether it is the file, a lack of rights or a kernel without ISO 9660 depends on the host.
    assert!(problems[0].starts_with("volume cidata (vdb): "), "{problems:?}");
    assert!(problems[0].contains("iso9660"), "{problems:?}");
    let left: Vec<_> = fs::read_dir(node.0.path().join("run/orlop")).unwrap().flatten().collect();
    let volumes = left.iter().filter(|e| e.file_name().to_string_lossy().starts_with("volume"));
    assert_eq!(volumes.count(), 0, "{left:?}");
    assert!(problems[1].starts_with("there is no last good copy"), "{problems:?}");
}

#[test]
fn a_disk_that_comes_later_does_not_become_the_node_s_config() {
    let node = Node::new().with(FW_CFG, GOOD);
    node.configure();
    let copy = node.read(COPY);
    let node = node.without(FW_CFG).with_disk("vdb", "ORLOP");
    node.configure();
    let system = node.system();
    assert_eq!(system.hostname.as_deref(), Some("worker-1"));
    assert_eq!(system.source, "the last good copy, of fw_cfg opt/org.orlop/node.toml");
    let refused = "volume ORLOP (vdb) is not heard: this node's config is from fw_cfg \
        opt/org.orlop/node.toml; if it is to change hands, start it once with \
        `orlop.config-source=reset` on the kernel command line";
    assert_eq!(system.problems[0], refused);
    assert_eq!((node.read(COPY), node.read(CONFIG_DISKS)), (copy.clone(), None));

    // Its owner may say so, and then it is read.
    let node = node.with("proc/cmdline", "orlop.config-source=reset\n").with("dev/console", "");
    node.configure();
    let problems = node.system().problems;
    assert!(problems[0].starts_with("volume ORLOP (vdb): "), "{problems:?}");
    let said = "`orlop.config-source=reset`: volume ORLOP (vdb) (kernel:vdb) may give this node \
        its config from now on, and no other volume; take the word off the kernel command line";
    assert!(problems.iter().any(|problem| problem == said), "{problems:?}");
    assert_eq!(node.read("dev/console"), Some(format!("*** {said}\n")));
    assert_eq!(node.read(COPY), copy);
}

#[test]
fn a_volume_is_heard_again_from_the_device_that_it_was_on() {
    for (device, heard) in [("path=kernel:vdb", true), ("path=kernel:vdc", false)] {
        let copy = format!("# from: volume cidata (vdb)\t{device}\n{GOOD}");
        let node = Node::new().with(COPY, copy).with_disk("vdb", "cidata");
        node.configure();
        let system = node.system();
        assert_eq!(system.source, "the last good copy, of volume cidata (vdb)");
        let begins = if heard { "volume cidata (vdb): " } else { "volume cidata (vdb) is not" };
        assert!(system.problems[0].starts_with(begins), "{:?}", system.problems);
    }
}

#[test]
fn a_disk_that_does_not_answer_is_asked_again_and_the_copy_used_meanwhile() {
    let copy = format!("# from: volume cidata (vdb)\tpath=kernel:vdb\n{GOOD}");
    let node = Node::new().with(COPY, copy).with_disk("vdb", "none").with_disk("vdc", "none");
    let lock = node.0.path().join("run/orlop/asked/vdb");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let asked = fs::File::create(&lock).unwrap();
    // As one that still waits for the disk.
    asked.lock().unwrap();
    node.configure();
    let told = "the disk vdb does not answer: is a node config on it?";
    let used = "used is the last good copy, of volume cidata (vdb)";
    assert_eq!(node.system().problems, [told, used]);
    assert_eq!(node.system().hostname.as_deref(), Some("worker-1"));
    assert_eq!(node.read(CONFIG_DISKS).as_deref(), Some(""));

    let run = node.run(&["configure", "--disks"]);
    assert_eq!(run.status, Some(1), "{}", run.said);
    assert!(run.said.contains(told), "{}", run.said);
    drop(asked);
    let run = node.run(&["configure", "--disks"]);
    assert_eq!(run.status, Some(0), "{}", run.said);
    assert_eq!((node.system().problems, node.read(CONFIG_DISKS)), (vec![], None));
}

#[test]
fn a_first_run_that_was_killed_is_made_up_for() {
    let node = Node::new().with(CONFIG_DISKS, "").with(FW_CFG, GOOD);
    let run = node.run(&["configure", "--disks"]);
    assert_eq!(run.status, Some(0), "{}", run.said);
    assert_eq!(node.system().hostname.as_deref(), Some("worker-1"));
    assert!(node.read(COPY).is_some());
}

/// A directory of the name under which the copy is written first: STATE takes all else.
const IN_THE_WAY: &str = "var/lib/orlop/.node.toml.new/file";

#[test]
fn a_node_that_cannot_keep_where_its_config_is_from_says_so_and_hears_nobody_else_until_it_can() {
    let node = Node::new().with(FW_CFG, GOOD).with(IN_THE_WAY, "");
    node.configure();
    let unpinned = |node: &Node| {
        let problems = node.system().problems;
        assert!(problems[0].starts_with("the node is not pinned to where its config is from: "));
        assert!(problems[0].contains("cannot keep the node config"), "{problems:?}");
        assert_eq!(node.read(CONFIG_DISKS).as_deref(), Some(""), "it is tried again");
        problems
    };
    unpinned(&node);
    assert_eq!(node.system().hostname.as_deref(), Some("worker-1"));
    // Its place is gone, and somebody has attached a disk.
    let node = node.without(FW_CFG).with_disk("vdb", "ORLOP");
    let run = node.run(&["configure", "--disks"]);
    assert_eq!(run.status, Some(1), "{}", run.said);
    let problems = unpinned(&node);
    assert!(problems[1].starts_with("volume ORLOP (vdb) is not heard: "), "{problems:?}");
    assert_eq!(node.system().hostname.as_deref(), Some("worker-1"));

    fs::remove_dir_all(node.0.path().join(IN_THE_WAY).parent().unwrap()).unwrap();
    let run = node.run(&["configure", "--disks"]);
    assert_eq!(run.status, Some(0), "{}", run.said);
    let copy = format!("# from: fw_cfg opt/org.orlop/node.toml\n{GOOD}");
    assert_eq!((node.read(COPY), node.read(CONFIG_DISKS)), (Some(copy), None));
    assert!(!node.system().problems.iter().any(|problem| problem.contains("not pinned")));
}

#[test]
fn a_fetched_config_that_cannot_be_kept_is_carried_out_and_fetched_again() {
    let address = serve(&[GOOD, GOOD]);
    let node =
        Node::new().with("proc/cmdline", format!("orlop.config={address}\n")).with(IN_THE_WAY, "");
    node.configure();
    let run = node.run(&["configure", "--url"]);
    assert_eq!(run.status, Some(1), "{}", run.said);
    assert!(node.system().problems[0].starts_with("the node is not pinned"), "{}", run.said);
    assert_eq!(node.system().hostname.as_deref(), Some("worker-1"));
    fs::remove_dir_all(node.0.path().join(IN_THE_WAY).parent().unwrap()).unwrap();
    assert_eq!(node.run(&["configure", "--url"]).status, Some(0));
    assert_eq!(node.system().problems, [""; 0]);
    assert_eq!(node.read(COPY), Some(format!("# from: {address}\n{GOOD}")));
}

#[test]
fn a_copy_of_an_image_that_pinned_nothing_hears_no_volume_and_says_how_to_change_that() {
    let copy = format!("# from: volume cidata (vdb)\n{GOOD}");
    let node = Node::new().with(COPY, &copy).with_disk("vdb", "cidata");
    node.configure();
    let system = node.system();
    assert_eq!(system.hostname.as_deref(), Some("worker-1"));
    let refused = "volume cidata (vdb) is not heard: this node's config is from volume cidata \
        (vdb), on a disk that was not noted then; if it is to change hands, start it once with \
        `orlop.config-source=reset` on the kernel command line";
    assert_eq!(system.problems[0], refused);
    assert_eq!(node.read(COPY), Some(copy));
}

#[test]
fn a_node_that_cannot_be_written_to_is_a_failure() {
    let node = Node::new().with("run", "in the way").with(FW_CFG, GOOD);
    let run = node.run(&["configure"]);
    assert_eq!(run.status, Some(1));
    let said = "orlop-node: cannot write `/run/orlop/system.toml`: ";
    assert!(run.said.lines().any(|line| line.starts_with(said)), "{}", run.said);
}

#[test]
fn if_the_files_cannot_be_made_the_network_is_still_as_the_config_says() {
    // kubelet's files go below a directory which is a file here.
    let config = format!("{GOOD}[kubernetes]\nstandalone = true\n");
    let node = Node::new().with(FW_CFG, config).with("run/orlop/kubelet", "in the way");
    let run = node.run(&["configure"]);
    assert_eq!(run.status, Some(1), "{}", run.said);
    let system = node.system();
    assert_eq!(system.hostname.as_deref(), Some("worker-1"));
    let [problem] = &system.problems[..] else { panic!("{:?}", system.problems) };
    assert!(problem.starts_with("the node config is not carried out: "), "{problem}");
    assert!(run.said.ends_with(&format!("orlop-node: {problem}\n")), "{}", run.said);
    assert_eq!(node.read(COPY), None);
}

#[test]
fn a_wrong_call_ends_with_status_2() {
    let run = Node::new().run(&["configure", "--urls"]);
    assert_eq!(run.status, Some(2));
    let said = "orlop-node: `--urls` is not expected here\norlop-node: usage: orlop-node COMMAND\n";
    assert!(run.said.starts_with(said), "{}", run.said);
}

#[test]
fn without_state_kubelet_does_not_run_and_nothing_is_kept() {
    let config = format!("{GOOD}[kubernetes]\nstandalone = true\n");
    let missing = "cannot use /dev/vda5 (STATE): it holds no ext4 file system\n/dev/vda5\n";
    let node = Node::new()
        .with(FW_CFG, config)
        .with("usr/lib/orlop/units/kubelet.toml", "")
        .with("run/orlop/without-state", missing);
    node.configure();
    let system = node.system();
    assert_eq!(system.hostname.as_deref(), Some("worker-1"));
    let problem = "without STATE kubelet does not run, and the node is not Ready: start it once \
        with `orlop.state=reset` on the kernel command line to make STATE anew: all that is on it \
        is lost then";
    assert_eq!(system.problems, [problem]);
    assert_eq!((node.read("run/orlop/kubelet/arguments"), node.read(COPY)), (None, None));
}

#[test]
fn a_config_makes_a_damaged_state_anew_after_it_was_said() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("vda5");
    fs::File::create(&state).unwrap().set_len(16 << 20).unwrap();
    let missing = format!("it is damaged\n{}\ndamaged\n", state.display());
    let config = format!("{GOOD}[state]\nwhen-damaged = \"reset\"\n");
    let node = Node::new()
        .with(FW_CFG, config)
        .with("dev/console", "")
        .with("run/orlop/without-state", missing);
    node.configure();
    let said = node.read("dev/console").unwrap();
    let [before, done] = &said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert!(before.starts_with("*** `state.when-damaged = \"reset\"` of the node config: STATE ("));
    let told = done.strip_prefix("*** ").unwrap();
    assert!(told.starts_with("STATE (") && told.ends_with(" is made anew: the node starts again"));
    let judge = Command::new("e2fsck").arg("-fn").arg(&state).output();
    let judge = judge.expect("`e2fsck` must be installed: package e2fsprogs");
    assert!(judge.status.success(), "{}", String::from_utf8_lossy(&judge.stdout));
    assert!(node.system().problems.iter().any(|problem| problem == told));
}
