//! Which pods leave a node before it goes down, by the rules of `kubectl drain`
//! (<https://kubernetes.io/docs/tasks/administer-cluster/safely-drain-node/>).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::node::Metadata;

/// kubelet makes such a pod of a file, and the API server has a picture of it only.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod, as far as an upgrade looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Another one for another pod of the same name.
    pub uid: String,
    /// Its node.
    pub node: String,
    /// By what budgets select it.
    pub labels: BTreeMap<String, String>,
    /// Who makes a new one.
    pub owner: Owner,
    /// Whether it has an `emptyDir`, whose data goes with it.
    pub has_data: bool,
    /// Whether it has done its work.
    pub is_finished: bool,
    /// Whether it is on its way out.
    pub is_leaving: bool,
}

/// Who makes a new pod if one goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Nobody.
    Nobody,
    /// A controller, elsewhere.
    Controller,
    /// A DaemonSet, on the same node.
    DaemonSet,
    /// kubelet, from a file of the node.
    Kubelet,
}

/// What of pods may be lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Pods that nobody makes anew.
    pub unmanaged: bool,
    /// The data of `emptyDir` volumes.
    pub data: bool,
}

/// What becomes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is evicted.
    Evicted,
    /// It goes already: it is waited for.
    Leaving,
    /// It stays until the node goes down, and comes back with it.
    Stays,
    /// It would be lost for good, and nobody has said that it may.
    Unmanaged,
    /// Its data would be lost, and nobody has said that it may.
    Data,
}

impl Pod {
    /// `NAMESPACE/NAME`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// What becomes of it.
    pub fn fate(&self, may: Losses) -> Fate {
        match self.owner {
            Owner::Kubelet => Fate::Stays,
            Owner::DaemonSet if !self.is_finished => Fate::Stays,
            _ if self.is_leaving => Fate::Leaving,
            _ if self.is_finished => Fate::Evicted,
            _ if self.has_data && !may.data => Fate::Data,
            Owner::Nobody if !may.unmanaged => Fate::Unmanaged,
            _ => Fate::Evicted,
        }
    }

    /// What an object of the API says.
    pub fn of(object: Object) -> Self {
        let Object { metadata, spec, status } = object;
        let controller = metadata.owner_references.iter().find(|owner| owner.controller);
        let owner = match controller {
            _ if metadata.annotations.contains_key(MIRROR) => Owner::Kubelet,
            None => Owner::Nobody,
            Some(owner) if owner.kind == "DaemonSet" => Owner::DaemonSet,
            Some(_) => Owner::Controller,
        };
        Self {
            owner,
            has_data: spec.volumes.iter().any(|volume| volume.empty_dir.is_some()),
            is_finished: ["Succeeded", "Failed"].contains(&status.phase.as_str()),
            is_leaving: metadata.deletion_timestamp.is_some(),
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            labels: metadata.labels,
            node: spec.node_name,
        }
    }
}

/// A Pod object of the API, with the fields that are of interest here
/// (<https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Object {
    /// Of every object.
    pub metadata: Metadata,
    /// What shall be.
    pub spec: Spec,
    /// What is.
    pub status: Status,
}

/// What shall be of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// Where it is.
    pub node_name: String,
    /// What its containers may mount.
    pub volumes: Vec<Volume>,
}

/// What containers may mount.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Volume {
    /// A directory that goes with the pod.
    pub empty_dir: Option<serde::de::IgnoredAny>,
}

/// What is of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Such as `Running`.
    pub phase: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(extra: &serde_json::Value) -> Pod {
        let mut object = json!({
            "metadata": { "name": "a", "namespace": "n", "uid": "u" },
            "spec": { "nodeName": "worker-1", "volumes": [{ "name": "s", "secret": {} }] },
            "status": { "phase": "Running" },
        });
        for (part, value) in extra.as_object().unwrap() {
            for (key, value) in value.as_object().unwrap() {
                object[part][key] = value.clone();
            }
        }
        Pod::of(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn pods_leave_or_stay_as_kubectl_drain_has_it() {
        let owner = |kind: &str| json!([{ "kind": kind, "controller": true }]);
        let owned = json!({ "metadata": { "ownerReferences": owner("ReplicaSet") } });
        let daemon = json!({ "metadata": { "ownerReferences": owner("DaemonSet") } });
        let data = json!({
            "metadata": { "ownerReferences": owner("StatefulSet") },
            "spec": { "volumes": [{ "name": "d", "emptyDir": {} }] },
        });
        let by_file = json!({ "metadata": { "annotations": { MIRROR: "x" } } });
        let held = json!({ "metadata": { "ownerReferences": [{ "kind": "ReplicaSet" }] } });
        let done = json!({ "status": { "phase": "Succeeded" } });
        let done_daemon = json!({
            "metadata": { "ownerReferences": owner("DaemonSet") },
            "status": { "phase": "Failed" },
        });
        let leaving = json!({ "metadata": { "deletionTimestamp": "2026-11-29T00:00:00Z" } });
        let nothing = Losses::default();
        let all = Losses { unmanaged: true, data: true };
        for (object, careful, careless) in [
            (owned, Fate::Evicted, Fate::Evicted),
            (daemon, Fate::Stays, Fate::Stays),
            (data, Fate::Data, Fate::Evicted),
            (by_file, Fate::Stays, Fate::Stays),
            (held, Fate::Unmanaged, Fate::Evicted),
            (json!({}), Fate::Unmanaged, Fate::Evicted),
            (done, Fate::Evicted, Fate::Evicted),
            (done_daemon, Fate::Evicted, Fate::Evicted),
            (leaving, Fate::Leaving, Fate::Leaving),
        ] {
            let pod = pod(&object);
            assert_eq!((pod.fate(nothing), pod.fate(all)), (careful, careless), "{object}");
            assert_eq!((pod.id(), pod.node.as_str()), ("n/a".to_owned(), "worker-1"));
        }
    }
}
