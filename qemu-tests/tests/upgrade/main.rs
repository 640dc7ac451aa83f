//! `orlop upgrade` against a real control plane (etcd, API server, controllers, scheduler). The nodes of
//! most tests are a mock; those of [`live`], with `--full`, are whole machines. `cargo xtask test` sets
//! `ORLOP`, `ORLOP_IMAGE` and `ORLOP_NODE_IMAGE`.

mod api;
mod call;
mod live;
mod mock_nodes;
#[allow(dead_code, unreachable_pub, reason = "tests of the updater share it")]
#[path = "../../../updater/tests/shared/server.rs"]
mod server;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::{Cluster, Orlop};
use rustix::process::Signal;
use serde_json::{Value, json};

use call::{Call, Ended};
use mock_nodes::{Manner, MockNodes, OLD};

/// What a step may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(5 * 60);

const TESTS: &[(&str, Test)] = &[
    ("a_plan_changes_nothing", plan),
    ("a_budget_is_kept_and_what_was_cordoned_stays_so", budget),
    ("an_upgrade_that_was_stopped_is_gone_on_with_by_the_next_call", resume),
    ("a_drain_that_was_stopped_is_gone_on_with_by_the_next_call", resumed_drain),
    ("the_first_fall_back_ends_it", fall_back),
    ("what_a_node_does_not_take_ends_it", refusal),
    ("nodes_are_upgraded_side_by_side_up_to_a_number", side_by_side),
    ("pods_that_do_not_leave_in_time_end_it_and_the_node_is_uncordoned", remaining),
    ("what_stands_against_it_is_said_before_anything_changes", checks),
];

/// With machines, in this order: the second one goes on from where the first one leaves them.
const LONG: &[(&str, Test)] = &[
    ("a_live_node_falls_back_across_versions_of_containerd_and_ends_it", live::falls_back),
    ("a_live_cluster_goes_from_release_to_release_and_back", live::there_and_back),
];

static CLUSTER: Mutex<Option<Arc<Cluster>>> = Mutex::new(None);

fn main() -> ExitCode {
    let code = harness::main(&harness::with_long(TESTS, LONG), Threads::One);
    live::end();
    drop(CLUSTER.lock().unwrap_or_else(PoisonError::into_inner).take());
    code
}

/// The control plane that all share.
fn cluster(orlop: &Orlop) -> Result<Arc<Cluster>> {
    let mut shared = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = &*shared {
        return Ok(Arc::clone(cluster));
    }
    let cluster = Arc::new(Cluster::start(orlop, &[])?);
    cluster.wait(&["serviceaccount/default", "--for=create"], LIMIT)?;
    *shared = Some(Arc::clone(&cluster));
    Ok(cluster)
}

fn call(orlop: &Orlop, cluster: &Cluster, words: &[&str]) -> Result<Ended> {
    Call::start(orlop, cluster, words)?.end()
}

/// Two pods on two nodes of a fleet, and a budget. Dropped, they are gone.
struct Web<'a> {
    cluster: &'a Cluster,
    fleet: &'static str,
}

impl<'a> Web<'a> {
    fn start(cluster: &'a Cluster, fleet: &'static str, least: u32) -> Result<Self> {
        let labels = json!({ "app": fleet });
        let spread = json!([{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": { "matchLabels": labels },
        }]);
        let container = json!({ "name": "web", "image": "none.example/web" });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": fleet },
            "spec": {
                "replicas": 2,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": {
                        "nodeSelector": { "fleet": fleet },
                        "containers": [container],
                        "topologySpreadConstraints": spread,
                    },
                },
            },
        });
        let budget = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": fleet },
            "spec": { "minAvailable": least, "selector": { "matchLabels": labels } },
        });
        let web = Self { cluster, fleet };
        cluster.apply(&deployment.to_string())?;
        cluster.apply(&budget.to_string())?;
        web.observed(least)?;
        Ok(web)
    }

    /// Waits until the controller has counted two healthy pods against what must stay.
    fn observed(&self, least: u32) -> Result<()> {
        let name = self.fleet;
        self.cluster.watch(
            &["poddisruptionbudget", name],
            LIMIT,
            "a budget is counted",
            |budget| {
                let status = &budget["status"];
                budget["metadata"]["generation"] == status["observedGeneration"]
                    && status["currentHealthy"] == 2
                    && status["desiredHealthy"] == least
            },
        )?;
        Ok(())
    }

    fn change(&self, least: u32) -> Result<()> {
        let patch = json!({ "spec": { "minAvailable": least } }).to_string();
        self.cluster.kubectl([
            "patch",
            "poddisruptionbudget",
            self.fleet,
            "--type=merge",
            "-p",
            &patch,
        ])?;
        Ok(())
    }
}

impl Drop for Web<'_> {
    fn drop(&mut self) {
        for kind in ["deployment", "poddisruptionbudget"] {
            drop(self.cluster.kubectl(["delete", kind, self.fleet, "--wait=false"]));
        }
    }
}

fn outcomes(ended: &Ended) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes = ended.result["nodes"].as_array().into_iter().flatten();
    nodes.map(|node| (text(&node["node"]), text(&node["outcome"]))).collect()
}

/// What a node is left as: what it runs, whether it is cordoned, whether it is marked.
fn left(nodes: &MockNodes, name: &str) -> Result<(String, bool, bool)> {
    let node = nodes.node(name)?;
    let annotations = &node["metadata"]["annotations"];
    let status: Value =
        serde_json::from_str(annotations["orlop.dev/status"].as_str().unwrap_or(""))?;
    Ok((
        status["version"].as_str().unwrap_or_default().to_owned(),
        node["spec"]["unschedulable"] == true,
        annotations["orlop.dev/cordoned-by-upgrade"].is_string(),
    ))
}

fn is_left(
    nodes: &MockNodes,
    name: &str,
    version: &str,
    cordoned: bool,
    marked: bool,
) -> Result<()> {
    let found = left(nodes, name)?;
    ensure!(found == (version.to_owned(), cordoned, marked), "{name}: {found:?}");
    Ok(())
}

fn revisions(cluster: &Cluster) -> Result<String> {
    let all = "nodes,pods,poddisruptionbudgets,deployments";
    let version =
        "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}\n{end}";
    cluster.kubectl(["get", "-A", all, "-o", version])
}

fn plan(orlop: &Orlop) -> Result<()> {
    let cluster = cluster(orlop)?;
    let nodes = MockNodes::start(
        &cluster,
        "plan",
        &[("plan-1", Manner::Good), ("plan-2", Manner::Cordoned)],
    )?;
    let web = Web::start(&cluster, "plan", 2)?;
    let before = revisions(&cluster)?;
    let ended = call(orlop, &cluster, &["plan-1", "plan-2", "--to", "1.2", "--dry-run"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let [one, other] = [&ended.result["nodes"][0], &ended.result["nodes"][1]];
    ensure!(one["does"] == "upgrade" && one["from"] == OLD && one["bytes"].is_null(), "{one}");
    ensure!(one["evicted"].as_array().is_some_and(|pods| pods.len() == 2), "{one}");
    ensure!(one["stays-cordoned"] == false && other["stays-cordoned"] == true, "{other}");
    let warnings = ended.result["warnings"].to_string();
    ensure!(warnings.contains("the budget default/plan allows no eviction now"), "{warnings}");
    ensure!(warnings.contains("no channel was named"), "{warnings}");
    let status = call(orlop, &cluster, &["--status", "-l", "fleet=plan"])?;
    let found = status.result["nodes"].as_array().map(Vec::len);
    ensure!(status.code == Some(0) && found == Some(2), "{status:?}");
    ensure!(status.result["nodes"][1]["cordoned"] == "yes", "{status:?}");
    let after = revisions(&cluster)?;
    ensure!(before == after, "before:\n{before}after:\n{after}");
    drop((web, nodes));
    Ok(())
}

fn budget(orlop: &Orlop) -> Result<()> {
    let cluster = cluster(orlop)?;
    let nodes = MockNodes::start(
        &cluster,
        "budget",
        &[("budget-1", Manner::Good), ("budget-2", Manner::Cordoned), ("budget-3", Manner::Good)],
    )?;
    let web = Web::start(&cluster, "budget", 2)?;
    let words = ["budget-1", "budget-2", "budget-3", "--to", "1.2"];
    let mut call = Call::start(orlop, &cluster, &words)?;
    // The eviction is refused, and the node is not asked.
    call.wait_for(
        "budget-1",
        "The disruption budget budget needs 2 healthy pods and has 2 currently",
    )?;
    let asked = &nodes.node("budget-1")?["metadata"]["annotations"]["orlop.dev/release"];
    ensure!(asked.is_null() && nodes.fewest_healthy() == Some(2), "{asked}");
    web.change(1)?;
    let ended = call.end()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let came: Vec<_> = outcomes(&ended).into_iter().map(|(_, outcome)| outcome).collect();
    ensure!(came == ["upgraded"; 3], "{ended:?}");
    ensure!(nodes.fewest_healthy().is_some_and(|fewest| fewest >= 1), "fewer than the budget has");
    ensure!(nodes.most_marked() == 1, "{} at once", nodes.most_marked());
    is_left(&nodes, "budget-1", "1.2", false, false)?;
    is_left(&nodes, "budget-2", "1.2", true, false)?;
    is_left(&nodes, "budget-3", "1.2", false, false)?;
    // Whoever asks again is told that there is nothing to do. What follows the last uncordon is over then.
    nodes.settle(&cluster)?;
    cluster.wait(&["deployment/budget", "--for=jsonpath={.status.readyReplicas}=2"], LIMIT)?;
    web.observed(1)?;
    let before = revisions(&cluster)?;
    let again = self::call(orlop, &cluster, &words)?;
    let came: Vec<_> = outcomes(&again).into_iter().map(|(_, outcome)| outcome).collect();
    ensure!(again.code == Some(0) && came == ["already"; 3], "{again:?}");
    ensure!(before == revisions(&cluster)?, "something has changed");
    Ok(())
}

fn resume(orlop: &Orlop) -> Result<()> {
    let cluster = cluster(orlop)?;
    let nodes = MockNodes::start(
        &cluster,
        "resume",
        &[("resume-1", Manner::Cordoned), ("resume-2", Manner::Good)],
    )?;
    for (held, waiting) in [("resume-1", "resume-2"), ("resume-2", "")] {
        nodes.hold(held);
        let words = ["-l", "fleet=resume", "--to", "1.2"];
        let mut call = Call::start(orlop, &cluster, &words)?;
        call.wait_for(held, "staging")?;
        call.signal(Signal::INT)?;
        let ended = call.end()?;
        ensure!(ended.code == Some(8) && ended.failure()["id"] == "E0889", "{ended:?}");
        is_left(&nodes, held, OLD, true, true)?;
        if !waiting.is_empty() {
            is_left(&nodes, waiting, OLD, false, false)?;
        }
        let request = |name: &str| -> Result<Value> {
            Ok(nodes.node(name)?["metadata"]["annotations"]["orlop.dev/request"].clone())
        };
        let asked = request(held)?;
        // The next call sees it under way, and asks for nothing anew.
        let mut call = Call::start(orlop, &cluster, &words)?;
        call.wait_for(held, "staging")?;
        if waiting.is_empty() {
            nodes.go_on(held);
        } else {
            nodes.hold(waiting);
            nodes.go_on(held);
            call.wait_for(waiting, "staging")?;
            call.signal(Signal::TERM)?;
        }
        let ended = call.end()?;
        let code = if waiting.is_empty() { 0 } else { 8 };
        ensure!(ended.code == Some(code), "{ended:?}");
        ensure!(request(held)? == asked, "it was asked anew");
    }
    is_left(&nodes, "resume-1", "1.2", true, false)?;
    is_left(&nodes, "resume-2", "1.2", false, false)
}

fn resumed_drain(orlop: &Orlop) -> Result<()> {
    let cluster = cluster(orlop)?;
    let nodes = MockNodes::start(
        &cluster,
        "drain",
        &[("drain-1", Manner::Good), ("drain-2", Manner::Good)],
    )?;
    let web = Web::start(&cluster, "drain", 2)?;
    let words = ["drain-1", "drain-2", "--to", "1.2"];
    let mut call = Call::start(orlop, &cluster, &words)?;
    call.wait_for("drain-1", "The disruption budget")?;
    call.signal(Signal::INT)?;
    let ended = call.end()?;
    ensure!(ended.failure()["id"] == "E0889", "{ended:?}");
    is_left(&nodes, "drain-1", OLD, true, true)?;
    is_left(&nodes, "drain-2", OLD, false, false)?;
    web.change(1)?;
    let ended = self::call(orlop, &cluster, &words)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    is_left(&nodes, "drain-1", "1.2", false, false)?;
    is_left(&nodes, "drain-2", "1.2", false, false)
}

fn fall_back(orlop: &Orlop) -> Result<()> {
    let cluster = cluster(orlop)?;
    let nodes = MockNodes::start(
        &cluster,
        "back",
        &[("back-1", Manner::Good), ("back-2", Manner::FallsBack), ("back-3", Manner::Good)],
    )?;
    let words = ["back-1", "back-2", "back-3", "--to", "1.2"];
    let ended = call(orlop, &cluster, &words)?;
    let failure = ended.failure();
    ensure!(ended.code == Some(8) && failure["id"] == "E0881", "{ended:?}");
    let said = "node `back-2` fell back from 1.2: the CRI does not answer";
    ensure!(failure["message"] == said, "{failure}");
    let came: Vec<_> = outcomes(&ended).into_iter().map(|(_, outcome)| outcome).collect();
    ensure!(came == ["upgraded", "fell-back", "not-begun"], "{ended:?}");
    is_left(&nodes, "back-1", "1.2", false, false)?;
    is_left(&nodes, "back-2", OLD, false, false)?;
    is_left(&nodes, "back-3", OLD, false, false)?;
    let untouched = &nodes.node("back-3")?["metadata"]["annotations"];
    ensure!(untouched["orlop.dev/release"].is_null(), "{untouched}");
    Ok(())
}

fn refusal(orlop: &Orlop) -> Result<()> {
    let cluster = cluster(orlop)?;
    let nodes = MockNodes::start(
        &cluster,
        "refusal",
        &[("refusal-1", Manner::Refuses), ("refusal-2", Manner::Good)],
    )?;
    let ended = call(orlop, &cluster, &["--all", "--to", "1.2", "--no-drain"])?;
    ensure!(ended.code == Some(8) && ended.failure()["id"] == "E0882", "{ended:?}");
    is_left(&nodes, "refusal-1", OLD, false, false)?;
    is_left(&nodes, "refusal-2", OLD, false, false)
}

fn side_by_side(orlop: &Orlop) -> Result<()> {
    let cluster = cluster(orlop)?;
    let names = ["side-1", "side-2", "side-3"];
    let nodes = MockNodes::start(&cluster, "side", &names.map(|name| (name, Manner::Good)))?;
    nodes.hold("side-1");
    nodes.hold("side-2");
    let words = ["-l", "fleet=side", "--to", "1.2", "--max-unavailable", "2"];
    let mut call = Call::start(orlop, &cluster, &words)?;
    call.wait_for("side-1", "staging")?;
    nodes.go_on("side-2");
    call.wait_for("side-3", "staging")?;
    nodes.go_on("side-1");
    let ended = call.end()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(nodes.most_marked() == 2, "{} at once", nodes.most_marked());
    names.iter().try_for_each(|name| is_left(&nodes, name, "1.2", false, false))
}

fn remaining(orlop: &Orlop) -> Result<()> {
    let cluster = cluster(orlop)?;
    let nodes = MockNodes::start(&cluster, "remain", &[("remain-1", Manner::Good)])?;
    let web = Web::start(&cluster, "remain", 2)?;
    let ended = call(orlop, &cluster, &["remain-1", "--to", "1.2", "--timeout", "1s"])?;
    ensure!(ended.code == Some(8) && ended.failure()["id"] == "E0880", "{ended:?}");
    is_left(&nodes, "remain-1", OLD, false, false)?;
    ensure!(nodes.fewest_healthy() == Some(2), "a pod was evicted");
    drop(web);
    Ok(())
}

fn checks(orlop: &Orlop) -> Result<()> {
    let cluster = cluster(orlop)?;
    let nodes = MockNodes::start(
        &cluster,
        "checks",
        &[("checks-1", Manner::Good), ("checks-2", Manner::Good)],
    )?;
    let lone = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "lone" },
        "spec": {
            "nodeName": "checks-1",
            "containers": [{ "name": "lone", "image": "none.example/lone" }],
            "volumes": [{ "name": "data", "emptyDir": {} }],
        },
    });
    cluster.apply(&lone.to_string())?;
    cluster.wait(&["pod/lone", "--for=condition=Ready"], LIMIT)?;
    let foreign = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": "checks-foreign" },
    });
    cluster.apply(&foreign.to_string())?;
    let annotate = |node: &str, mark: &str| {
        let mark = format!("orlop.dev/cordoned-by-upgrade{mark}");
        cluster.kubectl(["annotate", "node", node, &mark]).map(drop)
    };
    let fails = |words: &[&str], id: &str| -> Result<()> {
        let ended = call(orlop, &cluster, &[words, &["--to", "1.2"]].concat())?;
        ensure!(ended.failure()["id"] == id, "{words:?}: {ended:?}");
        Ok(())
    };
    fails(&["checks-none"], "E0872")?;
    fails(&["checks-foreign"], "E0872")?;
    fails(&["-l", "fleet=none"], "E0872")?;
    fails(&["-l", "fleet in"], "E0872")?;
    fails(&["checks-1"], "E0874")?;
    fails(&["checks-1", "--force"], "E0874")?;
    fails(&["checks-2", "--context", "none"], "E0870")?;
    annotate("checks-1", "={\"cordoned\":false}")?;
    fails(&["checks-2"], "E0875")?;
    annotate("checks-1", "-")?;
    for name in ["checks-1", "checks-2"] {
        let asked = &nodes.node(name)?["metadata"]["annotations"]["orlop.dev/release"];
        ensure!(asked.is_null(), "{name} was asked");
        is_left(&nodes, name, OLD, false, false)?;
    }
    // What may be lost is said, and is lost.
    let words = ["checks-1", "--to", "1.2", "--force", "--delete-emptydir-data"];
    let ended = call(orlop, &cluster, &words)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(cluster.get(&["pod", "lone"]).is_err(), "it is still there");
    cluster.kubectl(["delete", "node", "checks-foreign"])?;
    // An API server that is not there any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let kubeconfig = std::fs::read_to_string(&cluster.facts.kubeconfig)?;
    let place = tempfile::tempdir()?;
    let file = place.path().join("kubeconfig");
    std::fs::write(&file, kubeconfig.replace(&cluster.facts.server, &format!("https://{closed}")))?;
    let mut command = orlop.command();
    command.args(["upgrade", "--status", "--json", "--kubeconfig"]).arg(&file);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(8) && said.contains("E0871"), "{said}");
    Ok(())
}
