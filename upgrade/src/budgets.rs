//! What PodDisruptionBudgets say of the pods that leave a node. That they are kept is the API server's
//! doing; here a person is told beforehand what will be waited for.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::node::Metadata;
use crate::pods::Pod;

/// A PodDisruptionBudget of the API, with the fields that are of interest here
/// (<https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/pod-disruption-budget-v1/>).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Of every object.
    pub metadata: Metadata,
    /// What shall be.
    pub spec: Spec,
    /// What is.
    pub status: Status,
}

/// What shall be of a budget.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// Its pods: none of them without a selector, all of the namespace with an empty one.
    pub selector: Option<Selector>,
}

/// What is of a budget.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    /// How many pods may be evicted now.
    pub disruptions_allowed: i64,
    /// How many are healthy.
    pub current_healthy: i64,
    /// How many must be.
    pub desired_healthy: i64,
    /// How many there shall be.
    pub expected_pods: i64,
}

/// Labels that are wanted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Selector {
    /// With these values.
    pub match_labels: BTreeMap<String, String>,
    /// And so.
    pub match_expressions: Vec<Expression>,
}

/// What is wanted of one label.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Expression {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values of the first two.
    pub values: Vec<String>,
}

impl Selector {
    fn takes(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = |key: &str| labels.get(key);
        self.match_labels.iter().all(|(key, want)| value(key) == Some(want))
            && self.match_expressions.iter().all(|wanted| {
                let value = value(&wanted.key);
                let listed = value.is_some_and(|value| wanted.values.contains(value));
                match wanted.operator.as_str() {
                    "In" => listed,
                    "NotIn" => !listed,
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    // One that is not known here: the API server will say.
                    _ => false,
                }
            })
    }
}

impl Budget {
    /// `NAMESPACE/NAME`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// Whether a pod is one of its.
    pub fn covers(&self, pod: &Pod) -> bool {
        let selector = self.spec.selector.as_ref();
        self.metadata.namespace == pod.namespace
            && selector.is_some_and(|selector| selector.takes(&pod.labels))
    }

    /// What stands against an eviction now, if anything does.
    pub fn objection(&self) -> Option<String> {
        let Status { disruptions_allowed, current_healthy, desired_healthy, expected_pods } =
            self.status;
        if disruptions_allowed > 0 {
            return None;
        }
        Some(if desired_healthy >= expected_pods {
            format!("all of its {expected_pods} pods must stay")
        } else {
            format!("{desired_healthy} of its pods must stay, and {current_healthy} are healthy")
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods;

    fn pod(labels: &serde_json::Value) -> Pod {
        let object = json!({ "metadata": { "name": "p", "namespace": "n", "labels": labels } });
        Pod::of(serde_json::from_value::<pods::Object>(object).unwrap())
    }

    fn budget(namespace: &str, selector: &serde_json::Value) -> Budget {
        let object = json!({
            "metadata": { "name": "b", "namespace": namespace },
            "spec": { "selector": selector },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_budget_covers_the_pods_that_its_selector_takes_in_its_namespace() {
        let web = pod(&json!({ "app": "web", "tier": "a" }));
        let expression = |key: &str, operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
        for (selector, want) in [
            (json!({}), true),
            (json!(null), false),
            (json!({ "matchLabels": { "app": "web" } }), true),
            (json!({ "matchLabels": { "app": "web", "tier": "b" } }), false),
            (expression("tier", "In", &["a", "b"]), true),
            (expression("tier", "In", &["b"]), false),
            (expression("tier", "NotIn", &["b"]), true),
            (expression("other", "NotIn", &["b"]), true),
            (expression("tier", "NotIn", &["a"]), false),
            (expression("tier", "Exists", &[]), true),
            (expression("other", "Exists", &[]), false),
            (expression("other", "DoesNotExist", &[]), true),
            (expression("tier", "DoesNotExist", &[]), false),
            (expression("tier", "Later", &[]), false),
        ] {
            assert_eq!(budget("n", &selector).covers(&web), want, "{selector}");
            assert!(!budget("other", &selector).covers(&web), "{selector}");
        }
    }

    #[test]
    fn a_budget_that_allows_no_eviction_says_why() {
        for (allowed, healthy, desired, expected, want) in [
            (1, 3, 2, 3, None),
            (0, 3, 3, 3, Some("all of its 3 pods must stay")),
            (0, 2, 2, 3, Some("2 of its pods must stay, and 2 are healthy")),
        ] {
            let status = Status {
                disruptions_allowed: allowed,
                current_healthy: healthy,
                desired_healthy: desired,
                expected_pods: expected,
            };
            let budget = Budget { status, ..Budget::default() };
            assert_eq!(budget.objection().as_deref(), want);
        }
    }
}
