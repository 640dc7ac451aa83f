//! What a node has to be asked in a trial: what every node has, what this one runs, and the checks
//! that its image brings.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use formats::health::{Check, Condition, DIRECTORY, Question};
use formats::node_config::Update;

use crate::files::below;
use crate::health::judge::{LONGEST_GAP, Wanted};

/// The trial's time, unless the node's owner says another.
pub const DEADLINE: Duration = Duration::from_secs(5 * 60);
/// So long kubelet must be healthy in a row.
pub const STEADY: Duration = Duration::from_secs(10);

/// A node that has this file runs kubelet: it is made of a node config with a cluster.
const KUBELET_ARGUMENTS: &str = "/run/orlop/kubelet/arguments";
/// Where containerd answers.
const CRI_SOCKET: &str = "/run/containerd/containerd.sock";
/// Where kubelet says that it is well. Its unit has the same address.
const KUBELET_HEALTHZ: &str = "http://127.0.0.1:10248/healthz";

/// From one question to the next, of what every node has.
const INTERVAL: Duration = Duration::from_secs(1);
/// What an answer may take, of what every node has.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The API server is asked less often: a fleet may ask at once.
const CLUSTER_INTERVAL: Duration = Duration::from_secs(5);

/// Bytes of a check's file that are read.
const LONGEST_CHECK: u64 = 64 * 1024;
/// Checks of a node at most.
const MOST_CHECKS: usize = 64;

/// How a node is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What is judged.
    pub wanted: Wanted,
    /// What is asked to know it.
    pub how: How,
    /// From one question to the next.
    pub interval: Duration,
    /// What an answer may take.
    pub timeout: Duration,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Whether the root is mounted through dm-verity.
    Verity,
    /// Whether STATE is mounted at `/var` and can be written.
    State,
    /// Whether the container runtime behind this socket tells its version.
    Cri(String),
    /// As a check asks.
    Check(Question),
}

/// All that is asked in a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// In the order in which people are told of it.
    pub asked: Vec<Asked>,
    /// What would be asked and does not count, for it failed before the update.
    pub excused: Vec<Condition>,
}

/// What a node runs, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// It runs kubelet, or did before the update.
    pub kubelet: bool,
    /// Its owner wants it Ready before a release is believed.
    pub node_ready: bool,
}

impl Gate {
    /// Of a node, with the checks of its image. `failed_before` are names of conditions that failed before the
    /// update; that the root is verified and STATE there always counts.
    pub fn new(node: &Node, checks: &[Check], failed_before: &BTreeSet<String>) -> Self {
        let own = |condition, how, steady, interval| Asked {
            wanted: Wanted { condition, deadline: None, steady },
            how,
            interval,
            timeout: TIMEOUT,
        };
        let mut asked = vec![
            own(Condition::Verity, How::Verity, Duration::ZERO, INTERVAL),
            own(Condition::State, How::State, Duration::ZERO, INTERVAL),
            own(Condition::Cri, How::Cri(CRI_SOCKET.to_owned()), Duration::ZERO, INTERVAL),
        ];
        if node.kubelet
            && let Ok(address) = KUBELET_HEALTHZ.to_owned().try_into()
        {
            let how = How::Check(Question::Http200(address));
            asked.push(own(Condition::Kubelet, how, STEADY, INTERVAL));
        }
        if node.kubelet
            && node.node_ready
            && let Ok(ready) = "Ready".to_owned().try_into()
        {
            let how = How::Check(Question::NodeCondition(ready));
            asked.push(own(Condition::NodeReady, how, Duration::ZERO, CLUSTER_INTERVAL));
        }
        asked.extend(checks.iter().map(|check| Asked {
            wanted: Wanted {
                condition: check.condition(),
                deadline: check.deadline,
                steady: Duration::ZERO,
            },
            how: How::Check(check.question.clone()),
            interval: check.interval,
            timeout: check.timeout,
        }));
        let is_excused = |condition: &Condition| {
            !always_counts(condition) && failed_before.contains(&condition.to_string())
        };
        let (excused, asked): (Vec<_>, _) =
            asked.into_iter().partition(|asked: &Asked| is_excused(&asked.wanted.condition));
        let excused = excused.into_iter().map(|asked| asked.wanted.condition).collect();
        Self { asked, excused }
    }

    /// Of this what may be excused at all, and of that what `is_asked` says.
    pub fn excusable(&self, is_asked: impl Fn(&Condition) -> bool) -> Self {
        let asked = self.asked.iter().filter(|asked| {
            let condition = &asked.wanted.condition;
            !always_counts(condition) && is_asked(condition)
        });
        Self { asked: asked.cloned().collect(), excused: Vec::new() }
    }

    /// What is judged.
    pub fn wanted(&self) -> Vec<Wanted> {
        self.asked.iter().map(|asked| asked.wanted.clone()).collect()
    }
}

/// The time in which a boot is judged, for this owner.
pub fn deadline(update: &Update) -> Duration {
    update.deadline.map_or(DEADLINE, |it| Duration::from_secs(it.into()))
}

/// Whatever was before: every release must have it.
fn always_counts(condition: &Condition) -> bool {
    matches!(condition, Condition::Verity | Condition::State)
}

/// Whether the node runs kubelet, by what was made of its node config in this boot.
pub fn runs_kubelet(root: &Path) -> bool {
    below(root, KUBELET_ARGUMENTS).exists()
}

/// The checks that the image brings, by name; and what is wrong with those that cannot be read, a line
/// each. A check that cannot be read is not asked: it would be bad for ever, and it was built so.
///
/// # Errors
/// The directory is there and cannot be read.
pub fn checks(root: &Path) -> io::Result<(Vec<Check>, Vec<String>)> {
    let entries = match fs::read_dir(below(root, DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let (mut checks, mut wrong) = (Vec::new(), Vec::new());
    for (number, file) in files.iter().enumerate() {
        if number == MOST_CHECKS {
            wrong.push(format!(
                "{DIRECTORY} has more than {MOST_CHECKS} checks: the rest is not asked"
            ));
            break;
        }
        let text = crate::files::read(file, LONGEST_CHECK);
        let text = text.map_err(|error| format!("{}: {error}", file.display()));
        match text.and_then(|text| Check::parse(file, &text.unwrap_or_default())) {
            Ok(check) => checks.push(check),
            Err(why) => wrong.push(format!("cannot use a check: {why}")),
        }
    }
    Ok((checks, wrong))
}

const _: () = assert!(
    INTERVAL.as_secs() + TIMEOUT.as_secs() < LONGEST_GAP.as_secs(),
    "two good answers that are one after the other must count as such"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(gate: &Gate) -> Vec<String> {
        gate.asked.iter().map(|asked| asked.wanted.condition.to_string()).collect()
    }

    #[test]
    fn a_node_is_asked_what_it_runs() {
        let check = |name: &str| {
            Check::parse(Path::new(name), "ask = { tcp = \"127.0.0.1:53\" }\ndeadline = \"1m\"")
                .unwrap()
        };
        let checks = [check("a.toml"), check("b.toml")];
        let without = Node::default();
        let with = Node { kubelet: true, node_ready: false };
        let ready = Node { kubelet: true, node_ready: true };
        let unclear = Node { kubelet: false, node_ready: true };
        for (node, want) in [
            (&without, vec!["verity", "state", "cri", "check:a", "check:b"]),
            (&unclear, vec!["verity", "state", "cri", "check:a", "check:b"]),
            (&with, vec!["verity", "state", "cri", "kubelet", "check:a", "check:b"]),
            (&ready, vec!["verity", "state", "cri", "kubelet", "node-ready", "check:a", "check:b"]),
        ] {
            let gate = Gate::new(node, &checks, &BTreeSet::new());
            assert_eq!(conditions(&gate), want, "{node:?}");
            assert_eq!(gate.excused, []);
        }
        let gate = Gate::new(&with, &checks, &BTreeSet::new());
        let of = |name: &str| gate.asked.iter().find(|a| a.wanted.condition.to_string() == name);
        assert_eq!(of("kubelet").unwrap().wanted.steady, STEADY);
        assert_eq!(of("check:a").unwrap().wanted.deadline, Some(Duration::from_secs(60)));
    }

    #[test]
    fn what_failed_before_does_not_count_but_for_what_every_release_must_have() {
        let failed =
            ["verity", "state", "kubelet", "check:a", "check:gone"].map(str::to_owned).into();
        let check = Check::parse(Path::new("a.toml"), "ask = { tcp = \"127.0.0.1:53\" }").unwrap();
        let gate = Gate::new(&Node { kubelet: true, node_ready: true }, &[check], &failed);
        assert_eq!(conditions(&gate), ["verity", "state", "cri", "node-ready"]);
        let excused: Vec<_> = gate.excused.iter().map(ToString::to_string).collect();
        assert_eq!(excused, ["kubelet", "check:a"]);
    }

    #[test]
    fn the_checks_of_an_image_are_read_and_a_bad_one_is_told() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(checks(root.path()).unwrap(), (vec![], vec![]));
        let directory = below(root.path(), DIRECTORY);
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in [
            ("b.toml", "ask = { tcp = \"127.0.0.1:53\" }"),
            ("a.toml", "ask = { exec = [\"/usr/bin/a\"] }"),
            ("bad.toml", "ask = { tcp = \"x\" }"),
            ("README", "of another kind"),
        ] {
            fs::write(directory.join(name), text).unwrap();
        }
        let (read, wrong) = checks(root.path()).unwrap();
        let names: Vec<_> = read.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(wrong.len() == 1 && wrong[0].contains("bad.toml: line 1, column "), "{wrong:?}");
    }

    #[test]
    fn a_node_runs_kubelet_if_its_arguments_were_made() {
        let root = tempfile::tempdir().unwrap();
        assert!(!runs_kubelet(root.path()));
        let arguments = below(root.path(), KUBELET_ARGUMENTS);
        fs::create_dir_all(arguments.parent().unwrap()).unwrap();
        fs::write(arguments, "--config=x\n").unwrap();
        assert!(runs_kubelet(root.path()));
    }
}
