//! The manifests of `docs/fleets.md`, and what system-upgrade-controller makes of a `Plan`: the controller
//! itself is not here, so its Job is made in the shape that its source has (`pkg/upgrade/job/job.go` and
//! `pkg/upgrade/container/container.go` of its commit d357e2302999).

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Cluster;

/// The kind `Plan`, with as much of a schema as an API server wants; [`job`] is strict.
pub const PLAN_KIND: &str = r#"{
  "apiVersion": "apiextensions.k8s.io/v1",
  "kind": "CustomResourceDefinition",
  "metadata": { "name": "plans.upgrade.cattle.io" },
  "spec": {
    "group": "upgrade.cattle.io",
    "names": { "kind": "Plan", "plural": "plans", "singular": "plan" },
    "scope": "Namespaced",
    "versions": [{
      "name": "v1", "served": true, "storage": true,
      "schema": { "openAPIV3Schema": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true
      } }
    }]
  }
}"#;

/// The manifest of this kind on the page, as it stands there.
///
/// # Errors
/// There is none.
pub fn manifest(kind: &str) -> Result<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fleets.md");
    let text = std::fs::read_to_string(page)?;
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut blocks = blocks.filter(|block| block.contains(&format!("\nkind: {kind}\n")));
    Ok(blocks.next().with_context(|| format!("no {kind} in docs/fleets.md"))?.to_owned())
}

/// Makes the kind, and the plan of the page; the plan as the API server has it.
///
/// # Errors
/// The API server refuses one.
pub fn plan(cluster: &Cluster) -> Result<Value> {
    cluster.apply(PLAN_KIND)?;
    cluster.kubectl([
        "wait",
        "--for=condition=Established",
        "crd/plans.upgrade.cattle.io",
        "--timeout=120s",
    ])?;
    for (kind, name) in [("namespace", "system-upgrade"), ("serviceaccount", "system-upgrade")] {
        cluster.kubectl(["create", kind, name, "--namespace", "system-upgrade"])?;
    }
    cluster.apply(&manifest("Plan")?)?;
    cluster.get(&["plan", "orlop", "--namespace", "system-upgrade"])
}

/// Of `spec` of a `Plan` what the page uses. The controller knows more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec {
    version: String,
    concurrency: i64,
    job_active_deadline_secs: i64,
    node_selector: Value,
    service_account_name: String,
    drain: Drain,
    upgrade: Container,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Drain {
    ignore_daemon_sets: bool,
    delete_emptydir_data: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Container {
    image: String,
    command: Vec<String>,
    args: Vec<String>,
    security_context: Value,
}

/// The Job of a plan for a node. `kubectl` is the image that drains.
///
/// # Errors
/// The plan says what the controller, or this, does not know.
pub fn job(plan: &Value, node: &str, kubectl: &str) -> Result<Value> {
    let spec: Spec = serde_json::from_value(plan["spec"].clone())?;
    let Drain { ignore_daemon_sets, delete_emptydir_data } = spec.drain;
    ensure!(spec.concurrency >= 1 && spec.node_selector["matchLabels"].is_object(), "{spec:?}");
    ensure!(ignore_daemon_sets && delete_emptydir_data, "{:?}", spec.drain);
    let (name, namespace) = (&plan["metadata"]["name"], &plan["metadata"]["namespace"]);
    let name = name.as_str().context("a plan has a name")?;
    // It becomes a label and an image's tag.
    let version = spec.version.replace('+', "-");
    let hash = "5f0c4d";
    let mut labels = json!({
        "upgrade.cattle.io/controller": "system-upgrade-controller",
        "upgrade.cattle.io/exclusive": "false",
        "upgrade.cattle.io/node": node,
        "upgrade.cattle.io/plan": name,
        "upgrade.cattle.io/version": version,
    });
    labels[format!("plan.upgrade.cattle.io/{name}")] = hash.into();
    let own = |field: &str| json!({ "fieldRef": { "apiVersion": "v1", "fieldPath": field } });
    let env = json!([
        { "name": "SYSTEM_UPGRADE_NODE_NAME", "valueFrom": own("spec.nodeName") },
        { "name": "SYSTEM_UPGRADE_POD_NAME", "valueFrom": own("metadata.name") },
        { "name": "SYSTEM_UPGRADE_POD_UID", "valueFrom": own("metadata.uid") },
        { "name": "SYSTEM_UPGRADE_PLAN_NAME", "value": name },
        { "name": "SYSTEM_UPGRADE_PLAN_LATEST_HASH", "value": hash },
        { "name": "SYSTEM_UPGRADE_PLAN_LATEST_VERSION", "value": version },
    ]);
    let container = |name: &str, image: &str, args: &[String]| {
        json!({
            "name": name,
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "args": args,
            "env": env,
            "volumeMounts": [
                { "name": "host-root", "mountPath": "/host" },
                { "name": "pod-info", "mountPath": "/run/system-upgrade/pod", "readOnly": true },
            ],
        })
    };
    let mut upgrade = container("upgrade", &spec.upgrade.image, &spec.upgrade.args);
    upgrade["command"] = json!(spec.upgrade.command);
    upgrade["securityContext"] = spec.upgrade.security_context;
    let selector = "!upgrade.cattle.io/controller";
    let drain = ["drain", node, "--pod-selector", selector, "--ignore-daemonsets"];
    let drain = drain.into_iter().chain(["--delete-emptydir-data"]).map(str::to_owned);
    let drain = container("drain", kubectl, &drain.collect::<Vec<_>>());
    let info = |path: &str, field: &str| json!({ "path": path, "fieldRef": { "apiVersion": "v1", "fieldPath": field } });
    let is = |key: &str, value: &str| json!([{ "key": key, "operator": "In", "values": [value] }]);
    Ok(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": format!("apply-{name}-on-{node}-with-{hash}"),
            "namespace": namespace,
            "annotations": { "upgrade.cattle.io/ttl-seconds-after-finished": "900" },
            "labels": labels,
        },
        "spec": {
            "podReplacementPolicy": "TerminatingOrFailed",
            "backoffLimit": 99,
            "ttlSecondsAfterFinished": 900,
            "activeDeadlineSeconds": spec.job_active_deadline_secs,
            "completions": 1,
            // It is made with 0, and is begun when the plan has noted it.
            "parallelism": 1,
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "hostIPC": true,
                    "hostPID": true,
                    "hostNetwork": true,
                    "dnsPolicy": "ClusterFirstWithHostNet",
                    "serviceAccountName": spec.service_account_name,
                    "restartPolicy": "Never",
                    "affinity": {
                        "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [{
                                "matchExpressions": is("kubernetes.io/hostname", node),
                            }],
                        } },
                        "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
                            "labelSelector": {
                                "matchExpressions": is("upgrade.cattle.io/plan", name),
                            },
                            "topologyKey": "kubernetes.io/hostname",
                        }] },
                    },
                    "tolerations": [{
                        "key": "node.kubernetes.io/unschedulable",
                        "operator": "Exists",
                        "effect": "NoSchedule",
                    }],
                    "volumes": [
                        { "name": "host-root", "hostPath": { "path": "/", "type": "Directory" } },
                        { "name": "pod-info", "downwardAPI": { "defaultMode": 420, "items": [
                            info("labels", "metadata.labels"),
                            info("annotations", "metadata.annotations"),
                        ] } },
                    ],
                    "initContainers": [drain],
                    "containers": [upgrade],
                },
            },
        },
    }))
}
