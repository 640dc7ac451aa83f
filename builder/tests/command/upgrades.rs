//! `orlop upgrade` before anything is changed: a channel, and a mock of an API server, which only says
//! what is there. The real one is asked by `qemu-tests/tests/upgrade`.

use std::collections::BTreeMap;

use formats::digest::Sha256;
use formats::fleet::{Phase, Status};
use serde_json::{Value, json};

use crate::documented::Table;
use crate::project::Project;
use crate::releases::{project, publish};
use crate::server::{Server, nobody};

/// A mock: it has these nodes, a pod on each, and no budgets.
fn mock_api_server(nodes: &[Value]) -> Server {
    let list = |items: &[Value]| {
        let list = json!({ "metadata": { "resourceVersion": "7" }, "items": items });
        list.to_string().into_bytes()
    };
    let pods = nodes.iter().map(|node| {
        let name = node["metadata"]["name"].as_str().unwrap();
        let owner = json!({ "kind": "ReplicaSet", "controller": true });
        json!({
            "metadata": {
                "name": format!("web-{name}"), "namespace": "default", "uid": name,
                "ownerReferences": [owner],
            },
            "spec": { "nodeName": name },
        })
    });
    let pods: Vec<_> = pods.collect();
    let server = Server::start();
    server.serve(BTreeMap::from([
        ("/version".to_owned(), br#"{"gitVersion":"v1.36.3"}"#.to_vec()),
        ("/api/v1/nodes?limit=500".to_owned(), list(nodes)),
        ("/api/v1/nodes?limit=500&labelSelector=zone%3Da".to_owned(), list(&nodes[..1])),
        ("/api/v1/pods?limit=500".to_owned(), list(&pods)),
        ("/apis/policy/v1/poddisruptionbudgets?limit=500".to_owned(), list(&[])),
    ]));
    server
}

fn node(name: &str, status: &Status) -> Value {
    json!({
        "metadata": {
            "name": name, "resourceVersion": "3",
            "annotations": { "orlop.dev/status": status.text() },
        },
        "status": {
            "conditions": [{ "type": "Ready", "status": "True" }],
            "nodeInfo": { "bootID": "b", "kubeletVersion": "v1.36.3", "architecture": "amd64" },
        },
    })
}

fn kubeconfig(project: &Project, server: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
         contexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
         clusters: [{{name: a, cluster: {{server: \"{server}\"}}}}]\n\
         users: [{{name: a, user: {{token: x}}}}]\n"
    );
    project.write("kubeconfig", text);
}

/// A project with the channel `site`, which has the releases 1.0 and 2.0.
fn channel() -> (Project, Sha256) {
    let project = project();
    publish(&project, "1.0", "site");
    publish(&project, "2.0", "site");
    let report: Value = serde_json::from_slice(&project.read("orlop-out/tiny/build.json")).unwrap();
    let hash = report["root"]["hash"].as_str().unwrap().parse().unwrap();
    (project, hash)
}

#[test]
fn a_plan_says_what_each_node_fetches_by_the_channel() {
    let (project, hash) = channel();
    let nodes = [
        node("worker-1", &Status::new("1.0", hash, Phase::Idle)),
        node("worker-2", &Status::new("0.9", Sha256::from_bytes([9; 32]), Phase::Idle)),
        node("worker-3", &Status::new("2.0", hash, Phase::Idle)),
    ];
    let server = mock_api_server(&nodes);
    kubeconfig(&project, &server.url());
    let words = ["upgrade", "--to", "newest", "--channel", "site", "--root", "keys/1.root.json"];
    let rest = ["--kubeconfig", "kubeconfig", "--dry-run"];
    let ended = project.good(&[&words[..], &["--all"], &rest].concat());
    let digits = |c: char| c.is_ascii_digit();
    let bytes: Vec<_> = ended.stdout.split(|c| !digits(c)).filter(|n| n.len() > 3).collect();
    let mut told = ended.stdout.clone();
    for number in &bytes {
        told = told.replace(number, "N");
    }
    assert!(told.starts_with("worker-1  1.0 -> 2.0\n  fetches "), "{told}");
    let end = "  evicts default/web-worker-1\n\
                worker-2  0.9 -> 2.0\n  \
                fetches at most N bytes: there is no delta for what it runs\n  \
                evicts default/web-worker-2\n\
                worker-3  runs 2.0 already\n\
                one node after the other; at most N bytes together; nothing was changed\n";
    assert!(told.ends_with(end), "{told}");
    assert!(ended.stderr.contains("warning: the SBOM of 2.0 names no kubelet"), "{}", ended.stderr);
    // The same as JSON, for one of them.
    let json = [&["--json"], &words[..], &["-l", "zone=a"], &rest].concat();
    let value: Value = serde_json::from_str(&project.good(&json).stdout).unwrap();
    let mut table = Table::of("`orlop upgrade --dry-run`");
    table.check(&value);
    let planned = &value["nodes"][0];
    assert_eq!((&planned["node"], &value["release"]), (&json!("worker-1"), &json!("2.0")));
    assert_eq!(value["nodes"].as_array().unwrap().len(), 1);
    // Nothing but what is there was asked for.
    let asked = server.take_requests();
    assert!(asked.iter().all(|path| path.contains("limit=500") || path == "/version"), "{asked:?}");
}

#[test]
fn a_release_that_does_not_verify_or_is_not_there_changes_nothing() {
    let (project, hash) = channel();
    let server = mock_api_server(&[node("worker-1", &Status::new("1.0", hash, Phase::Idle))]);
    kubeconfig(&project, &server.url());
    let upgrade = |version: &str| {
        let words = ["upgrade", "worker-1", "--to", version, "--channel", "site", "--kubeconfig"];
        project.run(&[&words[..], &["kubeconfig"]].concat())
    };
    let ended = upgrade("3.0");
    assert!(ended.stderr.contains("error[E0228]: there is no release `3.0`"), "{}", ended.stderr);
    project.write("site/metadata/timestamp.json", "{}");
    let ended = upgrade("2.0");
    assert_eq!(ended.status, Some(8));
    assert!(ended.stderr.contains("error[E0850]"), "{}", ended.stderr);
    assert_eq!(server.take_requests(), [""; 0], "the cluster was asked");
}

#[test]
fn a_release_that_does_not_fit_is_refused_before_anything_is_changed() {
    let (project, hash) = channel();
    let mut foreign = node("worker-1", &Status::new("1.0", hash, Phase::Idle));
    foreign["status"]["nodeInfo"]["architecture"] = "arm64".into();
    let server = mock_api_server(&[foreign]);
    kubeconfig(&project, &server.url());
    let words = ["upgrade", "worker-1", "--to", "2.0", "--channel", "site"];
    let ended = project.run(&[&words[..], &["--kubeconfig", "kubeconfig"]].concat());
    let said = "error[E0873]: node `worker-1` cannot take the release: its processors are arm64, and \
                2.0 is for amd64\n";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert_eq!(ended.status, Some(8));
}

#[test]
fn a_cluster_that_cannot_be_asked_is_an_error_that_says_which() {
    let project = project();
    let upgrade = |words: &[&str]| project.run(&[&["upgrade", "--status"], words].concat());
    let ended = upgrade(&["--kubeconfig", "none"]);
    assert!(
        ended.stderr.starts_with("error[E0870]: cannot use the kubeconfig: "),
        "{}",
        ended.stderr
    );
    let address = nobody();
    kubeconfig(&project, &address);
    let ended = upgrade(&["--kubeconfig", "kubeconfig"]);
    let said = format!("error[E0871]: cannot ask the API server `{address}`: ");
    assert!(ended.stderr.starts_with(&said), "{}", ended.stderr);
    let ended = upgrade(&["--kubeconfig", "kubeconfig", "--context", "other"]);
    assert!(ended.stderr.starts_with("error[E0870]"), "{}", ended.stderr);
}
