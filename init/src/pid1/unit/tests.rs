//! Units: what is read, and what is refused with its line.

use super::*;
use crate::pid1::built_in;
use crate::question::HttpTarget;

const KUBELET: &str = r#"
exec = ["/usr/bin/kubelet", "--v=0"]
after = ["containerd"]
ready = { http-200 = "http://127.0.0.1:10248/healthz" }
restart = { policy = "always", backoff-min = "100ms", backoff-max = "30s" }
cgroup = "/kubelet"
kill = "cgroup"
oom-score = -999
environment = { PATH = "/usr/bin" }
deadline = "1m"
stop-timeout = "20s"
limits = { nofile = 1048576 }
arguments-from = "/run/orlop/kubelet/arguments"
only-if-exists = "/run/orlop/kubelet/arguments"
stop-exec = ["/usr/lib/orlop/orlop-node", "stop-pods"]
memory-min = "96MiB"
memory-max = "1GiB"
pids-max = 4096
log-limit = "512KiB"
probe = { socket-answers = "/run/x", interval = "90s", failures = 5 }
[sandbox]
no-new-privileges = true
capabilities = ["chown", "checkpoint-restore"]
private-tmp = true
writable = ["/run/orlop", "/var"]
system-calls = ["netlink", "clock"]
visible = ["/run"]
"#;

fn parse(text: &str) -> Result<Unit, String> {
    Unit::parse(Path::new("/units/kubelet.toml"), text).map_err(|error| error.message)
}

fn unit(name: &str, after: &[&str]) -> Unit {
    let after: Vec<_> = after.iter().map(|after| format!("{after:?}")).collect();
    let text = format!(
        "exec = [\"/x\"]\nready = \"started\"\ncgroup = \"/{name}\"\nkill = \"cgroup\"\n\
         deadline = \"1s\"\nafter = [{}]\n",
        after.join(", ")
    );
    Unit::parse(Path::new(&format!("{name}.toml")), &text).expect("a good unit")
}

#[test]
fn a_whole_unit_is_read() {
    let unit = parse(KUBELET).expect("a good unit");
    assert_eq!(unit.name.as_str(), "kubelet");
    assert_eq!(unit.exec, ["/usr/bin/kubelet", "--v=0"]);
    assert_eq!(
        unit.ready,
        Ready::Answers(Question::Http200(HttpTarget {
            address: "127.0.0.1:10248".parse().expect("an address"),
            path: "/healthz".into()
        }))
    );
    let probe = Liveness {
        asked: Asked::Question(Question::SocketAnswers("/run/x".into())),
        interval: Duration::from_secs(90),
        timeout: Duration::from_secs(20),
        failures: 5,
    };
    assert_eq!(unit.probe, Some(probe));
    assert_eq!(unit.restart, Restart { policy: Policy::Always, ..Restart::default() });
    assert_eq!(unit.cgroup.below(Path::new("/sys/fs/cgroup")), Path::new("/sys/fs/cgroup/kubelet"));
    assert_eq!(unit.deadline, Duration::from_secs(60));
    assert_eq!(unit.stop_timeout, Duration::from_secs(20));
    assert_eq!(unit.limits.nofile, Some(1_048_576));
    assert_eq!(unit.oom_score.to_string(), "-999");
    let arguments = Some(AbsolutePath("/run/orlop/kubelet/arguments".into()));
    assert_eq!((&unit.arguments_from, &unit.only_if_exists), (&arguments, &arguments));
    let stop = ["/usr/lib/orlop/orlop-node".to_owned(), "stop-pods".to_owned()];
    assert_eq!(unit.stop_exec.as_deref(), Some(&stop[..]));
    let group =
        GroupLimits { memory_min: Some(96 << 20), memory_max: Some(1 << 30), pids_max: Some(4096) };
    assert_eq!((unit.group, unit.log_limit), (group, 512 << 10));
    let writable = ["/run/orlop", "/var"].map(|path| AbsolutePath(path.into()));
    let visible = [AbsolutePath("/run".into())];
    let sandbox = Sandbox {
        no_new_privileges: true,
        capabilities: Some(Capabilities(1 | 1 << 40)),
        private_tmp: true,
        visible: Some(visible.to_vec()),
        writable: Some(writable.to_vec()),
        system_calls: Some(SystemCalls { netlink: true, clock: true, ..SystemCalls::default() }),
    };
    assert_eq!(unit.sandbox, sandbox);
}

#[test]
fn a_unit_that_asks_for_nothing_gets_no_limits_but_that_of_its_log() {
    let text = "exec = [\"/x\"]\nready = \"exit\"\ncgroup = \"/a\"\ndeadline = \"1s\"\n";
    let unit = Unit::parse(Path::new("a.toml"), text).expect("a good unit");
    assert_eq!(unit.kill, Kill::Cgroup);
    assert_eq!(unit.group, GroupLimits::default());
    assert_eq!(unit.log_limit, 4 << 20);
    assert_eq!((unit.arguments_from, unit.only_if_exists, unit.stop_exec), (None, None, None));
    assert_eq!(unit.environment_from, None);
    assert_eq!(unit.sandbox, Sandbox::default());
    // An empty list is none of them, no list is all.
    let unit = Unit::parse(Path::new("a.toml"), &format!("{text}sandbox.capabilities = []"));
    let sandbox = Sandbox { capabilities: Some(Capabilities(0)), ..Sandbox::default() };
    assert_eq!(unit.expect("a good unit").sandbox, sandbox);
}

#[test]
fn every_mistake_is_shown_with_line_and_column() {
    for (from, to, want) in [
        ("oom-score", "oom-scor", "line 8, column 1: unknown key `oom-scor`"),
        ("-999", "-1001", "line 8, column 13: -1001 is not an OOM score: use -1000 to 1000"),
        ("\"1m\"", "\"1 h\"", "line 10, column 12: `1 h` is not a duration"),
        ("\"/usr/bin/kubelet\", ", "", "line 2, column 8: `exec` must begin with the absolute"),
        ("\"containerd\"", "\"Cont\"", "line 3, column 10: `Cont` is not a unit's name"),
        ("http://", "https://", "line 4, column 22: `https://127.0.0.1:10248/healthz` is not"),
        ("\"/kubelet\"", "\"/init\"", "line 6, column 10: `/init` is the control group of PID 1"),
        ("\"/kubelet\"", "\"/a/b\"", "line 6, column 10: `/a/b` is not a control group"),
        ("\"100ms\"", "\"1m\"", "line 5, column 11: `backoff-min` is longer than"),
        ("\"100ms\"", "\"0s\"", "line 5, column 11: `backoff-min` must not be 0"),
        ("PATH =", "\"A=B\" =", "line 9, column 15: a variable's name is empty"),
        (
            "ready = { http-200 = \"http://127.0.0.1:10248/healthz\" }",
            "ready = \"exit\"",
            "line 5, column 11: a unit that is ready when it has ended",
        ),
        ("deadline = \"1m\"\n", "", "line 1, column 1: the key `deadline` is missing"),
        ("\"96MiB\"", "\"96MB\"", "line 16, column 14: `96MB` is not a size: write \"512KiB\""),
        ("\"96MiB\"", "\"2GiB\"", "line 16, column 14: `memory-min` is more than `memory-max`"),
        ("\"512KiB\"", "\"0KiB\"", "line 19, column 13: `0KiB` is not a size"),
        ("\"1GiB\"", "\"99999999999GiB\"", "line 17, column 14: `99999999999GiB` is not a size"),
        ("4096", "0", "line 18, column 12: `pids-max` must not be 0"),
        (
            "deadline = \"1m\"",
            "deadline = \"1m\"\nrestart-machine-after = \"59s\"",
            "line 11, column 25: a boot has 60 s at least",
        ),
        (
            "[\"/usr/lib/orlop/orlop-node\", ",
            "[",
            "line 15, column 13: `stop-exec` must begin with",
        ),
        (
            "kill = \"cgroup\"",
            "kill = \"all\"",
            "line 7, column 8: `all` is neither \"cgroup\" nor",
        ),
        ("\"always\"", "\"maybe\"", "line 5, column 22: `maybe` is not one of \"always\""),
        ("backoff-max", "backof-max", "line 5, column 55: unknown key `backof-max`"),
        ("-999", "\"-999\"", "line 8, column 13: this must be a whole number"),
        ("[\"containerd\"]", "\"containerd\"", "line 3, column 9: this must be a list"),
        ("\"20s\"", "20", "line 11, column 16: this must be a text in quotes"),
        ("{ nofile = 1048576 }", "1", "line 12, column 10: this must be a table"),
        ("http-200", "http-201", "line 4, column 9: write \"exit\", \"started\", or one of"),
        ("nofile", "nofiles", "line 12, column 12: unknown key `nofiles`"),
        ("interval", "intervall", "line 20, column 38: unknown key `intervall`"),
        ("\"90s\"", "\"19s\"", "line 20, column 9: `timeout` and `failures` must not be 0, nor"),
        ("failures = 5", "failures = 0", "line 20, column 9: `timeout` and `failures` must not"),
        ("socket-answers = \"/run/x\", ", "", "line 20, column 9: write one of `socket-answers`"),
        ("\"/run/x\"", "\"x\"", "line 20, column 28: "),
        ("\"always\"", "\"never\"", "line 20, column 9: a unit that ends by itself or is never"),
        ("4096", "-1", "line 18, column 12: this must not be negative"),
        ("private-tmp = true", "private-tmp = 1", "line 24, column 15: this must be true or false"),
        ("private-tmp", "tmp", "line 24, column 1: unknown key `tmp`"),
        ("\"chown\"", "\"CAP_CHOWN\"", "line 23, column 17: `CAP_CHOWN` is not a capability"),
        ("\"clock\"", "\"all\"", "line 26, column 28: `all` is not one of \"clock\","),
        ("\"/var\"", "\"var\"", "line 25, column 27: `var` must begin with `/`"),
        ("only-if-exists = \"/", "only-if-exists = \"", "line 14, column 18: `run/orlop/kubelet"),
    ] {
        let text = KUBELET.replace(from, to);
        assert_ne!(text, KUBELET, "{from}");
        let message = parse(&text).expect_err(to);
        assert!(message.contains(want), "{to}: {message}");
    }
}

#[test]
fn a_unit_after_one_that_does_not_exist_is_refused_and_so_are_those_behind_it() {
    let (units, refused) =
        Units::new(vec![unit("a", &[]), unit("b", &["missing"]), unit("c", &["b", "a"])]);
    assert_eq!(units.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(), ["a"]);
    let refused: Vec<_> = refused.iter().map(|(n, m)| format!("{n}: {m}")).collect();
    assert_eq!(
        refused,
        [
            "b: line 6, column 10: it comes after `missing`, which is no usable unit",
            "c: line 6, column 10: it comes after `b`, which is no usable unit",
        ]
    );
}

#[test]
fn a_circle_is_refused_and_the_rest_is_kept() {
    let (units, refused) = Units::new(vec![
        unit("a", &["b"]),
        unit("b", &["a"]),
        unit("c", &["a"]),
        unit("d", &[]),
        unit("e", &["e"]),
    ]);
    assert_eq!(units.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(), ["d"]);
    let names: Vec<_> = refused.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "e"]);
    assert!(refused[3].1.contains("which in a circle comes after itself"), "{refused:?}");
}

#[test]
fn two_units_cannot_share_a_group_that_is_killed_whole() {
    let mut second = unit("b", &[]);
    second.cgroup = unit("a", &[]).cgroup;
    let (units, refused) = Units::new(vec![unit("a", &[]), second.clone()]);
    assert_eq!(units.iter().count(), 1);
    assert!(refused[0].1.contains("would kill both"), "{refused:?}");

    second.kill = Kill::Process;
    let (units, refused) = Units::new(vec![unit("a", &[]), second]);
    assert_eq!(units.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(refused.len(), 1);
}

#[test]
fn what_is_built_in_may_be_waited_for_and_no_file_takes_its_place() {
    let mut units = built_in::units().expect("good");
    let mut thief = unit("a-thief", &[]);
    thief.cgroup = units[0].cgroup.clone();
    units.extend([unit("network", &[]), thief, unit("a", &["network"]), unit("b", &["a"])]);
    let (units, refused) = Units::new(units);
    let names: Vec<_> = units.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "log", "network"]);
    assert!(units.iter().all(|u| u.built_in.is_some() == (u.ready == Ready::Said)));
    let refused: Vec<_> = refused.iter().map(|(n, m)| format!("{n}: {m}")).collect();
    assert_eq!(refused[0], "network: that name is of a built-in unit");
    assert!(refused[1].starts_with("a-thief: its control group is that of `log`"), "{refused:?}");
}

#[test]
fn one_bad_file_does_not_hide_the_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("written");
    };
    write("kubelet.toml", &KUBELET.replace("after = [\"containerd\"]\n", ""));
    write("broken.toml", "exec = [");
    write("README", "not a unit");
    let (units, errors) = Units::load(directory.path(), Vec::new()).expect("readable");
    assert_eq!(units.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(), ["kubelet"]);
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].file, directory.path().join("broken.toml"));
    assert!(errors[0].message.starts_with("line 1, column"), "{}", errors[0]);
}

#[test]
fn the_units_of_our_images_are_good() {
    let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rootfs-overlays");
    let image = tempfile::tempdir().expect("a temporary directory");
    // An image has the units of all overlays up to its own.
    for (overlay, names) in [
        (
            "base",
            [
                "configure",
                "configure-disks",
                "containerd",
                "databases",
                "devices",
                "kernel",
                "log",
                "masquerade",
                "network",
                "sysctl",
                "sysctl-fetched",
                "trial",
                "updater",
            ]
            .as_slice(),
        ),
        (
            "node",
            &[
                "configure",
                "configure-disks",
                "containerd",
                "databases",
                "devices",
                "images",
                "kernel",
                "kubelet",
                "log",
                "masquerade",
                "network",
                "sysctl",
                "sysctl-fetched",
                "trial",
                "updater",
            ],
        ),
    ] {
        let directory = overlays.join(overlay).join("usr/lib/orlop/units");
        for entry in std::fs::read_dir(&directory).expect("readable") {
            let path = entry.expect("readable").path();
            std::fs::copy(&path, image.path().join(path.file_name().expect("a name")))
                .expect("written");
        }
        let (units, errors) =
            Units::load(image.path(), built_in::units().expect("good")).expect("readable");
        assert_eq!(errors, []);
        assert_eq!(units.iter().map(|unit| unit.name.as_str()).collect::<Vec<_>>(), names);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        let _ = parse(&text);
        let _ = HttpTarget::try_from(format!("http://{text}"));
        let _ = value::TextDuration::try_from(text.clone());
        let _ = value::TextSize::try_from(text);
    }
}
