//! Why an API server did not do what it was asked for.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use http::response::Parts;
use serde::Deserialize;

use crate::text::line;

/// When nobody says how long to wait: what `kubectl drain` waits before it asks for an eviction again.
const WAIT: Duration = Duration::from_secs(5);
/// Nobody is believed who says that it takes longer.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer, if there was one.
    status: Option<StatusCode>,
    /// In words.
    text: String,
    /// Whether a namespace is on its way out, and with it its pods.
    namespace_goes: bool,
    /// How long it wants to be left alone.
    wait: Option<Duration>,
}

/// A `Status` of the API, with the fields that are of interest here
/// (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    message: String,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: u64,
    causes: Vec<Cause>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
}

impl Refusal {
    /// There was no answer, or none that can be read.
    pub(super) fn unanswered(error: &dyn Error) -> Self {
        Self { status: None, text: line(&chain(error)), namespace_goes: false, wait: None }
    }

    /// There was none in time.
    pub(super) fn late(limit: Duration) -> Self {
        let text = format!("no answer in {} s", limit.as_secs());
        Self { status: None, text, namespace_goes: false, wait: None }
    }

    /// By what was answered.
    pub(super) fn answered(head: &Parts, body: &[u8]) -> Self {
        let status: Status = serde_json::from_slice(body).unwrap_or_default();
        let header = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let named =
            [header.and_then(|text| text.parse().ok()), Some(status.details.retry_after_seconds)];
        let wait = named.into_iter().flatten().find(|seconds| *seconds > 0);
        // Of an eviction the cause says which budget, and the message only that there is one.
        let budget = status.details.causes.iter().find(|cause| cause.reason == "DisruptionBudget");
        let said = budget.map_or(&status.message, |cause| &cause.message);
        let text = match said.as_str() {
            "" => format!("the API server answers {}", head.status),
            said => line(said),
        };
        let mut causes = status.details.causes.iter();
        Self {
            status: Some(head.status),
            text,
            namespace_goes: causes.any(|cause| cause.reason == "NamespaceTerminating"),
            wait: wait.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT)),
        }
    }

    /// By what a watch tells at its end.
    pub(super) fn told(status: &kube::core::Status) -> Self {
        let code = StatusCode::from_u16(status.code).ok();
        Self { status: code, text: line(&status.message), namespace_goes: false, wait: None }
    }

    /// Whether it may be another matter later: nobody answers, somebody is busy, a budget is used up.
    pub(crate) fn passes(&self) -> bool {
        let Some(status) = self.status else { return true };
        // That a pod is under two budgets is an internal error of the API server, and stays one.
        let two = self.text.contains("more than one PodDisruptionBudget");
        let busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        busy && !two || self.namespace_goes
    }

    /// Whether the object is not any more what it was thought to be.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status == Some(StatusCode::CONFLICT)
    }

    /// Whether there is no such object.
    pub(crate) fn is_gone(&self) -> bool {
        self.status == Some(StatusCode::NOT_FOUND)
    }

    /// Whether a watch has to begin with a new list.
    pub(super) fn is_old(&self) -> bool {
        self.status == Some(StatusCode::GONE)
    }

    /// Whether the question itself is wrong, such as a selector that is none.
    pub fn is_mistake(&self) -> bool {
        self.status == Some(StatusCode::BAD_REQUEST)
    }

    /// How long to wait before it is asked again.
    pub(crate) fn wait(&self) -> Duration {
        self.wait.unwrap_or(WAIT)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Refusal {}

/// `outer: inner: innermost`, without what is said twice: many errors show their causes themselves.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(status: u16, retry_after: Option<&str>, body: &serde_json::Value) -> Refusal {
        let mut response = http::Response::builder().status(status);
        if let Some(value) = retry_after {
            response = response.header(RETRY_AFTER, value);
        }
        let (head, ()) = response.body(()).unwrap().into_parts();
        Refusal::answered(&head, body.to_string().as_bytes())
    }

    #[test]
    fn what_passes_is_waited_for_as_long_as_the_server_says() {
        let details = |seconds: u64| json!({ "details": { "retryAfterSeconds": seconds } });
        for (status, header, body, passes, wait) in [
            (429, Some("7"), json!({}), true, 7),
            (429, None, details(10), true, 10),
            (429, Some("3"), details(10), true, 3),
            (429, None, details(0), true, 5),
            (429, Some("Wed, 21 Oct 2026 07:28:00 GMT"), json!({}), true, 5),
            (429, Some("86400"), json!({}), true, 300),
            (503, None, json!({}), true, 5),
            (403, None, json!({ "message": "no" }), false, 5),
            (422, None, json!({}), false, 5),
        ] {
            let refusal = refusal(status, header, &body);
            let seconds = refusal.wait().as_secs();
            assert_eq!((refusal.passes(), seconds), (passes, wait), "{status} {header:?} {body}");
        }
    }

    #[test]
    fn an_eviction_that_is_refused_names_the_budget() {
        let body = json!({
            "message": "Cannot evict pod as it would violate the pod's disruption budget.",
            "details": { "causes": [{
                "reason": "DisruptionBudget",
                "message": "The disruption budget web needs 2 healthy pods and has 2 currently",
            }]},
        });
        let refused = refusal(429, None, &body);
        let want = "The disruption budget web needs 2 healthy pods and has 2 currently";
        assert_eq!(refused.to_string(), want);
        let two = "This pod has more than one PodDisruptionBudget, which the eviction subresource \
                   does not support.";
        assert!(!refusal(500, None, &json!({ "message": two })).passes());
        let goes = json!({ "details": { "causes": [{ "reason": "NamespaceTerminating" }] } });
        assert!(refusal(403, None, &goes).passes());
        assert_eq!(
            refusal(404, None, &json!(7)).to_string(),
            "the API server answers 404 Not Found"
        );
    }
}
