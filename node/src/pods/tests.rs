//! Containers and pods of a runtime that is made up.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn graced(note: Option<&str>, longest: u64) -> u64 {
    let annotations =
        note.map(|note| (GRACE_NOTE.to_owned(), note.to_owned())).into_iter().collect();
    let container = Container { annotations, ..Container::default() };
    grace(&container, Duration::from_secs(longest)).as_secs()
}

#[test]
fn a_container_gets_what_its_pod_asks_for_within_the_limit() {
    for (note, longest, want) in [
        (Some("5"), 100, 5),
        (Some("0"), 100, 0),
        (Some("3600"), 100, 100),
        (None, 100, 30),
        (None, 10, 10),
        (Some("-1"), 100, 30),
        (Some("soon"), 100, 30),
    ] {
        assert_eq!(graced(note, longest), want, "{note:?} {longest}");
    }
}

#[test]
fn what_a_hook_took_is_lost_to_the_signal_but_for_the_least() {
    for (grace, hook, want) in
        [(30, 0, 30), (30, 10, 20), (30, 29, 2), (30, 3600, 2), (1, 0, 2), (0, 0, 2)]
    {
        let left = left(Duration::from_secs(grace), Duration::from_secs(hook));
        assert_eq!(left.as_secs(), want, "{grace} {hook}");
    }
}

#[test]
fn all_that_it_may_take_fits_into_what_pid_1_gives_it() {
    let unit = include_str!("../../../rootfs-overlays/node/usr/lib/orlop/units/images.toml");
    let unit: toml::Table = unit.parse().expect("a unit");
    let command = unit["stop-exec"].as_array().expect("a list");
    assert_eq!(command[1].as_str(), Some("stop-pods"), "{command:?}");
    let minutes = unit["stop-timeout"].as_str().and_then(|text| text.strip_suffix('m'));
    let given: u64 = minutes.and_then(|minutes| minutes.parse().ok()).expect("minutes");
    // A busy machine needs a moment to start it and to write its last line.
    let used = WHOLE + Duration::from_secs(3);
    assert!(used <= Duration::from_secs(60 * given), "{used:?} of {given} minutes");
}

#[test]
fn a_command_that_leaves_its_output_to_another_costs_less_than_a_grace() {
    let config = include_str!("../../../rootfs-overlays/base/etc/containerd/config.toml");
    let config: toml::Table = config.parse().expect("containerd's configuration");
    let limit = &config["plugins"]["io.containerd.cri.v1.runtime"]["drain_exec_sync_io_timeout"];
    let seconds = limit.as_str().and_then(|text| text.strip_suffix('s')).expect("seconds");
    // Without a number there is no limit, and 0 is none either.
    let limit = Duration::from_secs(seconds.parse().expect("a number"));
    assert!(!limit.is_zero() && limit < DEFAULT_GRACE, "{limit:?}");
}

#[test]
fn a_runtime_that_is_slow_has_the_time_that_graces_leave() {
    let seconds = Duration::from_secs;
    for (left, passed) in [(2, 0), (2, 30), (80, 5), (2, 90)] {
        let (left, passed) = (seconds(left), seconds(passed));
        let patience = patience(left, passed);
        assert!(patience >= left + WORK, "{left:?} {passed:?}: {patience:?}");
        // The pods come after it.
        assert_eq!(passed + patience + LIST + WORK, WHOLE, "{left:?} {passed:?}");
    }
}

#[test]
fn without_time_no_hook_runs() {
    let hook = ("io.kubernetes.container.preStopHandler", r#"{"exec":{"command":["x"]}}"#);
    let annotations = [(hook.0.to_owned(), hook.1.to_owned())].into();
    let container = Container { annotations, ..Container::default() };
    let nobody = Path::new("/nobody/listens");
    assert_eq!(run_hook(&container, nobody, Duration::ZERO), Ok(()));
    let error = run_hook(&container, nobody, Duration::from_secs(1)).expect_err("nobody");
    assert!(error.starts_with("cannot connect"), "{error}");
    assert_eq!(run_hook(&Container::default(), nobody, Duration::from_secs(1)), Ok(()));
}

#[test]
fn a_container_is_told_with_its_pod() {
    let labels = [(POD_NAMESPACE, "default"), (POD_NAME, "web-0")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let container = Container { labels, name: "main".to_owned(), ..Container::default() };
    assert_eq!(name(&container), "default/web-0/main");
}

#[test]
fn all_work_is_done_and_every_failure_told() {
    let done = AtomicUsize::new(0);
    let done = &done;
    let work = (0..20).map(|number| {
        move || {
            done.fetch_add(1, Ordering::Relaxed);
            if number % 10 == 3 { Err(format!("number {number}")) } else { Ok(()) }
        }
    });
    let failures = in_parallel(work.collect());
    assert_eq!(failures, ["number 3", "number 13"]);
    assert_eq!(done.load(Ordering::Relaxed), 20);
}

/// A runtime with one container and one pod, each of whose lists fails a few times.
#[derive(Default)]
struct Made {
    lists_fail: usize,
    stops_fail: bool,
    asked: AtomicUsize,
    graces: Mutex<Vec<Duration>>,
}

impl Made {
    fn listed<V: Default>(&self) -> Result<Vec<V>, NoList> {
        match self.asked.fetch_add(1, Ordering::Relaxed) < self.lists_fail {
            true => Err(NoList::Failed("no answer".to_owned())),
            false => Ok(vec![V::default()]),
        }
    }

    fn stopped(&self, time: Duration) -> Result<(), String> {
        self.graces.lock().expect("no panic").push(time);
        if self.stops_fail { Err("it stays".to_owned()) } else { Ok(()) }
    }
}

impl Runtime for Made {
    fn containers(&self) -> Result<Vec<Container>, NoList> {
        self.listed()
    }
    fn stop_container(&self, _: &Container, grace: Duration) -> Result<(), String> {
        self.stopped(grace)
    }
    fn sandboxes(&self) -> Result<Vec<Sandbox>, NoList> {
        self.listed()
    }
    fn stop_sandbox(&self, _: &Sandbox, time: Duration) -> Result<(), String> {
        self.stopped(time)
    }
}

/// As it looks to a command that began so long ago.
fn stop_made(made: &Made, ago: Duration) -> Result<(), String> {
    let began = Instant::now().checked_sub(ago).expect("a clock that runs");
    stop_all(made, LONGEST_SHUTDOWN_GRACE, began, &mut Vec::new())
}

#[test]
fn a_list_is_asked_for_again_while_there_is_time() {
    let made = Made { lists_fail: 2, ..Made::default() };
    assert_eq!(stop_made(&made, Duration::ZERO), Ok(()));
    assert_eq!(made.asked.into_inner(), 4, "twice in vain, and each of two lists");
    assert_eq!(made.graces.into_inner().expect("no panic")[0], DEFAULT_GRACE);

    let asked = AtomicUsize::new(0);
    let why = || asked.fetch_add(1, Ordering::Relaxed).to_string();
    let there_is_time = || asked.load(Ordering::Relaxed) < 5;
    let fails = || Err::<(), _>(NoList::Failed(why()));
    assert_eq!(again(there_is_time, Duration::ZERO, fails), Err("4".to_owned()));
    let gone = || Err::<(), _>(NoList::Gone(why()));
    assert_eq!(again(|| true, Duration::ZERO, gone), Err("5".to_owned()));
}

#[test]
fn a_list_that_fails_hides_no_other_failure_and_ends_nothing() {
    let made = Made { lists_fail: usize::MAX, ..Made::default() };
    let error = stop_made(&made, WHOLE).expect_err("no answer");
    let want = "cannot list the containers: no answer\ncannot list the pods: no answer";
    assert_eq!(error, want);

    // The pods are stopped all the same.
    let made = Made { lists_fail: 1, stops_fail: true, ..Made::default() };
    let error = stop_made(&made, WHOLE).expect_err("no answer");
    assert_eq!(error, "cannot list the containers: no answer\ncannot stop pod /: it stays");

    let made = Made { stops_fail: true, ..Made::default() };
    let error = stop_made(&made, WHOLE).expect_err("they stay");
    assert_eq!(error, "cannot stop container //: it stays\ncannot stop pod /: it stays");
}

#[test]
fn a_list_that_was_long_in_coming_costs_graces() {
    let made = Made::default();
    let left = Duration::from_secs(10);
    let ago = WHOLE.saturating_sub(CONTAINERS).saturating_sub(left);
    assert_eq!(stop_made(&made, ago), Ok(()));
    let graces = made.graces.into_inner().expect("no panic");
    assert!(graces[0] <= left, "{graces:?}");
    assert!(graces[1] >= WORK, "{graces:?}");
}

#[test]
fn without_containerd_it_fails() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("x.sock");
    let error =
        stop_pods(&socket, LONGEST_SHUTDOWN_GRACE, &mut Vec::new()).expect_err("nobody there");
    assert!(error.starts_with("cannot connect to "), "{error}");
}
