//! The types of a Pod's fields that manifests use (`k8s.io/api/core/v1`): kubelet does not take a
//! file in which one has a value of another type, such as a number in `env`. Fields that are not
//! here pass, and kubelet passes over those that no Pod has.

use self::Type::{Amount, Boolean, Integer, List, Map, Port, Table, Text};
use super::Fault;
use super::yaml::{Node, Value};
use crate::node_config::kubelet::is_quantity;

/// What a field takes. Nothing (`null`) is right for each.
#[derive(Debug)]
pub(super) enum Type {
    Boolean,
    Integer,
    Text,
    /// `500m`, `1Gi`, or a number.
    Amount,
    /// The number or the name of a port, or a number or a percentage.
    Port,
    List(&'static Type),
    /// A table whose keys its author chooses.
    Map(&'static Type),
    Table(&'static [(&'static str, Type)]),
}

const TEXTS: Type = List(&Text);
const TEXT_MAP: Type = Map(&Text);

const META: Type = Table(&[
    ("name", Text),
    ("namespace", Text),
    ("uid", Text),
    ("labels", TEXT_MAP),
    ("annotations", TEXT_MAP),
]);

const KEY_REF: Type = Table(&[("name", Text), ("key", Text), ("optional", Boolean)]);
const FIELD_REF: Type = Table(&[("apiVersion", Text), ("fieldPath", Text)]);

const ENV: Type = List(&Table(&[
    ("name", Text),
    ("value", Text),
    (
        "valueFrom",
        Table(&[
            ("fieldRef", FIELD_REF),
            ("resourceFieldRef", Table(&[("containerName", Text), ("resource", Text)])),
            ("configMapKeyRef", KEY_REF),
            ("secretKeyRef", KEY_REF),
        ]),
    ),
]));

const HANDLER: &[(&str, Type)] = &[
    ("exec", Table(&[("command", TEXTS)])),
    (
        "httpGet",
        Table(&[
            ("path", Text),
            ("port", Port),
            ("host", Text),
            ("scheme", Text),
            ("httpHeaders", List(&Table(&[("name", Text), ("value", Text)]))),
        ]),
    ),
    ("tcpSocket", Table(&[("port", Port), ("host", Text)])),
    ("grpc", Table(&[("port", Integer), ("service", Text)])),
    ("initialDelaySeconds", Integer),
    ("timeoutSeconds", Integer),
    ("periodSeconds", Integer),
    ("successThreshold", Integer),
    ("failureThreshold", Integer),
    ("terminationGracePeriodSeconds", Integer),
];

const SECURITY: &[(&str, Type)] = &[
    ("privileged", Boolean),
    ("allowPrivilegeEscalation", Boolean),
    ("readOnlyRootFilesystem", Boolean),
    ("runAsNonRoot", Boolean),
    ("runAsUser", Integer),
    ("runAsGroup", Integer),
    ("fsGroup", Integer),
    ("procMount", Text),
    ("capabilities", Table(&[("add", TEXTS), ("drop", TEXTS)])),
    ("seccompProfile", Table(&[("type", Text), ("localhostProfile", Text)])),
    ("appArmorProfile", Table(&[("type", Text), ("localhostProfile", Text)])),
    ("supplementalGroups", List(&Integer)),
    ("sysctls", List(&Table(&[("name", Text), ("value", Text)]))),
];

const CONTAINERS: Type = List(&Table(&[
    ("name", Text),
    ("image", Text),
    ("command", TEXTS),
    ("args", TEXTS),
    ("workingDir", Text),
    ("imagePullPolicy", Text),
    ("restartPolicy", Text),
    ("env", ENV),
    (
        "ports",
        List(&Table(&[
            ("name", Text),
            ("containerPort", Integer),
            ("hostPort", Integer),
            ("hostIP", Text),
            ("protocol", Text),
        ])),
    ),
    ("resources", Table(&[("limits", Map(&Amount)), ("requests", Map(&Amount))])),
    (
        "volumeMounts",
        List(&Table(&[
            ("name", Text),
            ("mountPath", Text),
            ("subPath", Text),
            ("readOnly", Boolean),
            ("mountPropagation", Text),
        ])),
    ),
    ("livenessProbe", Table(HANDLER)),
    ("readinessProbe", Table(HANDLER)),
    ("startupProbe", Table(HANDLER)),
    ("lifecycle", Table(&[("postStart", Table(HANDLER)), ("preStop", Table(HANDLER))])),
    ("securityContext", Table(SECURITY)),
    ("stdin", Boolean),
    ("tty", Boolean),
    ("terminationMessagePath", Text),
    ("terminationMessagePolicy", Text),
]));

const VOLUMES: Type = List(&Table(&[
    ("name", Text),
    ("hostPath", Table(&[("path", Text), ("type", Text)])),
    ("emptyDir", Table(&[("medium", Text), ("sizeLimit", Amount)])),
    (
        "downwardAPI",
        Table(&[
            ("defaultMode", Integer),
            ("items", List(&Table(&[("path", Text), ("fieldRef", FIELD_REF)]))),
        ]),
    ),
    ("nfs", Table(&[("server", Text), ("path", Text), ("readOnly", Boolean)])),
]));

/// A Pod.
pub(super) const POD: Type = Table(&[
    ("apiVersion", Text),
    ("kind", Text),
    ("metadata", META),
    (
        "spec",
        Table(&[
            ("containers", CONTAINERS),
            ("initContainers", CONTAINERS),
            ("volumes", VOLUMES),
            ("restartPolicy", Text),
            ("terminationGracePeriodSeconds", Integer),
            ("activeDeadlineSeconds", Integer),
            ("dnsPolicy", Text),
            (
                "dnsConfig",
                Table(&[
                    ("nameservers", TEXTS),
                    ("searches", TEXTS),
                    ("options", List(&Table(&[("name", Text), ("value", Text)]))),
                ]),
            ),
            ("hostNetwork", Boolean),
            ("hostPID", Boolean),
            ("hostIPC", Boolean),
            ("hostUsers", Boolean),
            ("shareProcessNamespace", Boolean),
            ("automountServiceAccountToken", Boolean),
            ("enableServiceLinks", Boolean),
            ("setHostnameAsFQDN", Boolean),
            ("serviceAccountName", Text),
            ("nodeName", Text),
            ("hostname", Text),
            ("subdomain", Text),
            ("schedulerName", Text),
            ("priorityClassName", Text),
            ("priority", Integer),
            ("runtimeClassName", Text),
            ("nodeSelector", TEXT_MAP),
            ("securityContext", Table(SECURITY)),
            ("hostAliases", List(&Table(&[("ip", Text), ("hostnames", TEXTS)]))),
            (
                "tolerations",
                List(&Table(&[
                    ("key", Text),
                    ("operator", Text),
                    ("value", Text),
                    ("effect", Text),
                    ("tolerationSeconds", Integer),
                ])),
            ),
            ("overhead", Map(&Amount)),
        ]),
    ),
]);

/// Notes every value of another type at `path` and below.
pub(super) fn check(path: &str, node: &Node, wanted: &Type, faults: &mut Vec<Fault>) {
    let inner = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (wanted, &node.value) {
        (_, Value::Null)
        | (Boolean, Value::Boolean(_))
        | (Text, Value::Text(_))
        | (Integer | Port | Amount, Value::Integer(_))
        | (Port, Value::Text(_))
        | (Amount, Value::Fraction(_)) => {}
        (Amount, Value::Text(text)) if is_quantity(text) => {}
        (List(kind), Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                check(&format!("{path}[{index}]"), item, kind, faults);
            }
        }
        (Map(kind), Value::Map(map)) => {
            map.iter().for_each(|(key, node)| check(&inner(key), node, kind, faults));
        }
        (Table(fields), Value::Map(map)) => {
            for (name, kind) in *fields {
                if let Some(node) = map.get(*name) {
                    check(&inner(name), node, kind, faults);
                }
            }
        }
        (wanted, found) => {
            let place = if path.is_empty() { "a manifest" } else { path };
            let (wanted, found) = (in_words(wanted, found), shown(found));
            let message = format!("`{place}` must be {wanted}, not {found}");
            faults.push(Fault { line: node.line, message });
        }
    }
}

fn in_words(wanted: &Type, found: &Value) -> &'static str {
    let scalar = matches!(found, Value::Boolean(_) | Value::Integer(_) | Value::Fraction(_));
    match wanted {
        Boolean => "true or false",
        Integer => "a whole number",
        Text if scalar => "a text, in quotes",
        Text => "a text",
        Amount => "an amount, such as 500m or 1Gi",
        Port => "a number or a name",
        List(_) => "a list",
        Map(_) | Table(_) => "a table",
    }
}

/// Never the value itself, which may be a password.
fn shown(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Boolean(_) => "true or false",
        Value::Integer(_) | Value::Fraction(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Map(_) => "a table",
    }
}
