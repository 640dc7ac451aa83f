//! What an upgrade asks of the API server: lists, watches, changes of nodes, evictions
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/>). Every request has its time limit.

mod refusal;
mod watch;

use std::path::Path;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::budgets::Budget;
use crate::mark::{MARK, Mark};
use crate::node::{self, Node};
use crate::pods::{self, Pod};
use crate::rollout::{Action, Answer, Change, Changed, PodName, Terms, Uncordon};
use formats::fleet::{LOOK, RELEASE, REQUEST};

pub use refusal::Refusal;
pub(crate) use watch::{Seen, follow};

/// How long an answer may take that is no watch: the API server itself gives up after a minute.
const ANSWER: Duration = Duration::from_secs(70);
/// Objects in one answer.
const PAGE: u32 = 500;

/// A cluster's API server, asked as somebody. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    client: Client,
    server: String,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not whom it is asked as.
        f.debug_struct("Api").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoKubeconfig(String);

#[derive(Deserialize)]
struct List<T> {
    metadata: ListMetadata,
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    r#continue: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

impl Api {
    /// As the kubeconfig says: this file, or what `KUBECONFIG` names, or `~/.kube/config`; with its
    /// current context, or this one. Nothing is asked yet. To be called in a runtime.
    ///
    /// # Errors
    /// It cannot be read or used: says why.
    pub async fn new(file: Option<&Path>, context: Option<&str>) -> Result<Self, NoKubeconfig> {
        let told = |error: &dyn std::error::Error| NoKubeconfig(refusal::chain(error));
        let read = file.map_or_else(Kubeconfig::read, Kubeconfig::read_from);
        let kubeconfig = read.map_err(|error| told(&error))?;
        let options =
            KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.map_err(|error| told(&error))?;
        // What is busy is asked again by us, in the time that it names.
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| told(&error))?;
        Ok(Self { client, server })
    }

    /// Its address.
    pub fn server(&self) -> &str {
        self.server.trim_end_matches('/')
    }

    /// Its version, such as `v1.36.3`.
    ///
    /// # Errors
    /// There is no such answer.
    pub async fn version(&self) -> Result<String, Refusal> {
        self.get::<Version>("/version").await.map(|version| version.git_version)
    }

    /// All nodes, or those that a selector takes.
    ///
    /// # Errors
    /// There is no such answer.
    pub async fn nodes(&self, selector: Option<&str>) -> Result<Vec<Node>, Refusal> {
        let query = selector.map(|selector| format!("labelSelector={}", quoted(selector)));
        let (nodes, _) = self
            .list::<node::Object>("/api/v1/nodes", query.as_deref().unwrap_or_default())
            .await?;
        Ok(nodes.into_iter().map(Node::of).collect())
    }

    /// All pods of all nodes.
    ///
    /// # Errors
    /// There is no such answer.
    pub async fn pods(&self) -> Result<Vec<Pod>, Refusal> {
        let (pods, _) = self.list::<pods::Object>("/api/v1/pods", "").await?;
        Ok(pods.into_iter().map(Pod::of).collect())
    }

    /// All budgets for disruptions.
    ///
    /// # Errors
    /// There is no such answer.
    pub async fn budgets(&self) -> Result<Vec<Budget>, Refusal> {
        let path = "/apis/policy/v1/poddisruptionbudgets";
        self.list(path, "").await.map(|(budgets, _)| budgets)
    }

    /// Changes a node as an action says.
    pub(crate) async fn change(&self, terms: &Terms, action: &Action) -> Changed {
        let (change, patch) = match action {
            Action::Look(change) => (change, look(change, terms)),
            Action::Cordon(change, mark) => (change, patch(change, Some(true), Some(mark), None)),
            Action::Ask(change, mark) => (change, patch(change, None, Some(mark), Some(terms))),
            Action::LetGo(change, Uncordon::Yes) => {
                (change, patch(change, Some(false), None, None))
            }
            Action::LetGo(change, Uncordon::No) => (change, patch(change, None, None, None)),
            Action::Evict(..) => return Changed::Never("an eviction changes no node".to_owned()),
        };
        let path = format!("/api/v1/nodes/{}", quoted(&change.node));
        let request = request(Method::PATCH, &path, &patch);
        match self.send::<node::Object>(request).await {
            Ok(object) => Changed::To(Node::of(object)),
            Err(refusal) if refusal.is_conflict() => match self.get::<node::Object>(&path).await {
                Ok(object) => Changed::Conflict(Node::of(object)),
                Err(refusal) => Changed::Later(refusal.wait(), refusal.to_string()),
            },
            // The watch tells that it is gone.
            Err(refusal) if refusal.passes() || refusal.is_gone() => {
                Changed::Later(refusal.wait(), refusal.to_string())
            }
            Err(refusal) => Changed::Never(refusal.to_string()),
        }
    }

    /// Evicts a pod, and no other that has come to its name.
    pub(crate) async fn evict(&self, pod: &PodName) -> Answer {
        let PodName { namespace, name, uid } = pod;
        let path =
            format!("/api/v1/namespaces/{}/pods/{}/eviction", quoted(namespace), quoted(name));
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": name, "namespace": namespace },
            "deleteOptions": { "preconditions": { "uid": uid } },
        });
        match self.send::<Value>(request(Method::POST, &path, &eviction)).await {
            Ok(_) => Answer::Goes,
            Err(refusal) if refusal.is_gone() || refusal.is_conflict() => Answer::Goes,
            Err(refusal) if refusal.passes() => Answer::Later(refusal.wait(), refusal.to_string()),
            Err(refusal) => Answer::Never(refusal.to_string()),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refusal> {
        self.send(request(Method::GET, path, &Value::Null)).await
    }

    /// All objects of a collection, page by page, and the revision of the list.
    async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &str,
    ) -> Result<(Vec<T>, String), Refusal> {
        let mut objects = Vec::new();
        let mut from = String::new();
        loop {
            let mut page = format!("{path}?limit={PAGE}");
            if !query.is_empty() {
                page += &format!("&{query}");
            }
            if !from.is_empty() {
                page += &format!("&continue={}", quoted(&from));
            }
            let list = self.get::<List<T>>(&page).await?;
            objects.extend(list.items);
            if list.metadata.r#continue.is_empty() {
                return Ok((objects, list.metadata.resource_version));
            }
            from = list.metadata.r#continue;
        }
    }

    async fn send<T: DeserializeOwned>(&self, request: Request<Vec<u8>>) -> Result<T, Refusal> {
        let answer = tokio::time::timeout(ANSWER, async {
            let response = self.client.send(request.map(Body::from)).await;
            let (head, body) = response.map_err(|error| Refusal::unanswered(&error))?.into_parts();
            let body = body.collect_bytes().await.map_err(|error| Refusal::unanswered(&error))?;
            if head.status.is_success() {
                return serde_json::from_slice(&body).map_err(|error| Refusal::unanswered(&error));
            }
            Err(Refusal::answered(&head, &body))
        });
        answer.await.unwrap_or_else(|_| Err(Refusal::late(ANSWER)))
    }
}

/// A change of a node that is made only if it is still at its revision.
fn patch(
    change: &Change,
    unschedulable: Option<bool>,
    mark: Option<&Mark>,
    asked: Option<&Terms>,
) -> Value {
    let mut annotations = json!({ MARK: mark.map(Mark::text) });
    if let Some(terms) = asked {
        annotations[RELEASE] = terms.release.as_str().into();
        annotations[REQUEST] = terms.request.as_str().into();
    }
    let metadata = json!({ "resourceVersion": change.revision, "annotations": annotations });
    let mut patch = json!({ "metadata": metadata });
    if let Some(unschedulable) = unschedulable {
        // Away, as on a node that never was cordoned, and not `false`.
        let value = unschedulable.then_some(true);
        patch["spec"] = json!({ "unschedulable": value });
    }
    patch
}

/// A question to a node, which changes nothing else of it.
fn look(change: &Change, terms: &Terms) -> Value {
    let annotations = json!({ LOOK: terms.request });
    json!({ "metadata": { "resourceVersion": change.revision, "annotations": annotations } })
}

fn request(method: Method, path: &str, body: &Value) -> Request<Vec<u8>> {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let kind = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let mut request = Request::new(bytes);
    *request.method_mut() = method;
    // All of a path that others have written is quoted.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(ACCEPT, http::HeaderValue::from_static("application/json"));
    request.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    request
}

/// Fit for a path or a query of an address.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            quoted += &format!("%{byte:02X}");
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::mark;
    use crate::rollout::Drain;

    #[test]
    fn every_change_of_a_node_names_the_revision_and_is_one_patch() {
        let change = Change { node: "worker-1".to_owned(), revision: "7".to_owned() };
        let asked = mark::Request {
            request: "r".to_owned(),
            from: "1.1".to_owned(),
            boot_id: "b".to_owned(),
        };
        let terms = Terms {
            release: "1.2".to_owned(),
            request: "r".to_owned(),
            max_unavailable: 1,
            drain: Drain::Leave,
            drain_limit: Duration::ZERO,
            node_limit: Duration::ZERO,
        };
        let cordon = Mark { cordoned: true, asked: None };
        let ask = Mark { cordoned: true, asked: Some(asked) };
        let text = [
            patch(&change, Some(true), Some(&cordon), None),
            patch(&change, None, Some(&ask), Some(&terms)),
            patch(&change, Some(false), None, None),
            patch(&change, None, None, None),
        ];
        expect![[r#"
            {"metadata":{"annotations":{"orlop.dev/cordoned-by-upgrade":"{\"cordoned\":true}"},"resourceVersion":"7"},"spec":{"unschedulable":true}}
            {"metadata":{"annotations":{"orlop.dev/cordoned-by-upgrade":"{\"cordoned\":true,\"asked\":{\"request\":\"r\",\"from\":\"1.1\",\"boot-id\":\"b\"}}","orlop.dev/release":"1.2","orlop.dev/request":"r"},"resourceVersion":"7"}}
            {"metadata":{"annotations":{"orlop.dev/cordoned-by-upgrade":null},"resourceVersion":"7"},"spec":{"unschedulable":null}}
            {"metadata":{"annotations":{"orlop.dev/cordoned-by-upgrade":null},"resourceVersion":"7"}}"#]]
        .assert_eq(&text.map(|patch| patch.to_string()).join("\n"));
    }

    #[test]
    fn what_others_have_written_stays_one_part_of_a_path() {
        assert_eq!(quoted("worker-1.example_~"), "worker-1.example_~");
        assert_eq!(quoted("a/../b?c=d&e f"), "a%2F..%2Fb%3Fc%3Dd%26e%20f");
        let request = request(Method::GET, &format!("/x/{}", quoted("ä b")), &Value::Null);
        assert_eq!(request.uri(), "/x/%C3%A4%20b");
    }
}
