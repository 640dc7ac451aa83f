//! A Node object, as far as an upgrade looks at it.

use formats::digest::Sha256;
use formats::fleet::{self, Asked, Looked, Phase, Status};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::mark::{self, Mark};
use crate::text::line;

/// What an upgrade knows of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Which state of the object this is: rises with every change.
    pub revision: String,
    /// Whether no new pods come to it.
    pub unschedulable: bool,
    /// Whether kubelet says that it is Ready, or why not.
    pub ready: Result<(), String>,
    /// Another one after each boot.
    pub boot_id: String,
    /// kubelet's version, such as `v1.36.3`.
    pub kubelet: String,
    /// Such as `amd64`.
    pub architecture: String,
    /// The release that somebody asks it for.
    pub asked: Option<Asked>,
    /// That somebody asks it to look which release is the newest for it.
    pub look: Option<String>,
    /// What its updater says; `None` if it has none, else the status or why it cannot be read.
    pub status: Option<Result<Status, String>>,
    /// That an upgrade is at it, or why that cannot be read.
    pub mark: Option<Result<Mark, String>>,
}

impl Node {
    /// What an object of the API says.
    pub fn of(object: Object) -> Self {
        let Object { metadata, spec, status } = object;
        let annotation = |name: &str| metadata.annotations.get(name).map(String::as_str);
        let ready = status.conditions.iter().find(|condition| condition.r#type == "Ready");
        let ready = match ready {
            None => Err("its kubelet has not said anything yet".to_owned()),
            Some(condition) if condition.status == "True" => Ok(()),
            Some(condition) if condition.message.is_empty() => {
                Err("it does not say why".to_owned())
            }
            Some(condition) => Err(line(&condition.message)),
        };
        let read = |text| Status::parse(text).map_err(|error| error.to_string());
        Self {
            unschedulable: spec.unschedulable,
            ready,
            boot_id: line(&status.node_info.boot_id),
            kubelet: line(&status.node_info.kubelet_version),
            architecture: line(&status.node_info.architecture),
            asked: Asked::read(annotation(fleet::RELEASE), annotation(fleet::REQUEST)),
            look: Looked::question(annotation(fleet::LOOK)),
            status: annotation(fleet::STATUS).map(read),
            mark: annotation(mark::MARK).map(Mark::parse),
            revision: metadata.resource_version,
            name: metadata.name,
        }
    }

    /// The mark, if there is one that can be read.
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()?.as_ref().ok()
    }

    /// The status, if there is one that can be read.
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()?.as_ref().ok()
    }

    /// Whether nothing has to be done so that it runs this version.
    pub fn runs(&self, version: &str) -> bool {
        self.status().is_some_and(|status| {
            status.version == version && (status.phase == Phase::Idle || status.phase.is_bad())
        })
    }

    /// What it has answered to this question.
    pub fn looked(&self, question: &str) -> Option<&Looked> {
        let looked = self.status()?.looked.as_ref();
        looked.filter(|looked| looked.look == question)
    }

    /// The root hash of what runs.
    pub fn root_hash(&self) -> Option<Sha256> {
        self.status().map(|status| status.root_hash)
    }

    /// Whether what kubelet says is of the boot that its updater is in. One that does not say which that is
    /// is believed.
    pub fn kubelet_has_spoken(&self) -> bool {
        let boot = self.status().and_then(|status| status.boot_id.as_ref());
        boot.is_none_or(|boot| *boot == self.boot_id)
    }

    /// Whether this is an older state of the object than the other one.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        match (self.revision.parse::<u64>(), other.revision.parse::<u64>()) {
            (Ok(ours), Ok(theirs)) => ours < theirs,
            _ => false,
        }
    }
}

/// A Node object of the API, with the fields that are of interest here
/// (<https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/>).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Object {
    /// Of every object.
    pub metadata: Metadata,
    /// What shall be.
    pub spec: Spec,
    /// What is.
    pub status: ObjectStatus,
}

/// What every object of the API has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace, if objects of its kind have one.
    pub namespace: String,
    /// Another one for another object of the same name.
    pub uid: String,
    /// Which state of the object this is.
    pub resource_version: String,
    /// By what it is selected.
    pub labels: BTreeMap<String, String>,
    /// Notes on it.
    pub annotations: BTreeMap<String, String>,
    /// Whose it is.
    pub owner_references: Vec<Owner>,
    /// When somebody wanted it to be gone.
    pub deletion_timestamp: Option<String>,
}

/// Whose an object is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Owner {
    /// Such as `ReplicaSet`.
    pub kind: String,
    /// Whether it makes a new one if this one goes.
    pub controller: bool,
}

/// What shall be of a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// Whether no new pods come to it.
    pub unschedulable: bool,
}

/// What is of a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectStatus {
    /// What is so.
    pub conditions: Vec<Condition>,
    /// What runs.
    pub node_info: Info,
}

/// Something that is so, or not.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Such as `Ready`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, for people.
    pub message: String,
}

/// What runs on a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Info {
    /// Of this boot.
    #[serde(rename = "bootID")]
    pub boot_id: String,
    /// kubelet's version.
    pub kubelet_version: String,
    /// Such as `amd64`.
    pub architecture: String,
}
