//! `[kubelet]`: a fragment of KubeletConfiguration (`kubelet.config.k8s.io/v1beta1`), merged into
//! the one that the node makes.
//!
//! A key is refused if the node sets it and could not work with another value, if its value is of
//! a type that kubelet does not take, for then it would not start, or if it is a slip of one that
//! kubelet knows: kubelet 1.36 only warns of keys it does not know. Other keys pass, for a later
//! kubelet may know them.

mod schema;
mod value;

use std::time::Duration;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::section::Section;
#[cfg(feature = "manifests")]
pub(super) use value::is_quantity;

/// The key that says how long pods have at most when the node goes down. kubelet is not told, for
/// it would ask systemd: `orlop-node stop-pods` does it.
pub const SHUTDOWN_GRACE: &str = "shutdownGracePeriod";

/// What that key can say at most: PID 1 gives `stop-pods` so much and some for its work.
pub const LONGEST_SHUTDOWN_GRACE: Duration = Duration::from_secs(80);

/// Keys that the node sets itself, and why nobody else can. Dots lead into tables.
pub const RESERVED: &[(&str, &str)] = &[
    ("apiVersion", "the node writes it"),
    ("kind", "the node writes it"),
    ("authentication.anonymous", "whoever may speak to kubelet is decided by the API server"),
    ("authentication.webhook.enabled", "the node decides it by `kubernetes.server`"),
    ("authentication.x509", "clients are known by `kubernetes.ca`"),
    ("authorization.mode", "the node decides it by `kubernetes.server`"),
    ("cgroupDriver", "there is no systemd on the node"),
    ("cgroupRoot", "PID 1 makes the cgroups"),
    ("cgroupsPerQOS", "without them pods could crowd out containerd and PID 1"),
    ("containerRuntimeEndpoint", "the node's containerd is the only runtime"),
    ("enableServer", "the node decides it by `kubernetes.server`"),
    ("healthzBindAddress", "PID 1 asks kubelet there how it is"),
    ("healthzPort", "PID 1 asks kubelet there how it is"),
    ("imageServiceEndpoint", "the node's containerd is the only runtime"),
    ("kubeReservedCgroup", "PID 1 makes the cgroups"),
    ("kubeletCgroups", "PID 1 makes the cgroups"),
    ("podLogsDir", "containerd and the cluster's log collectors look in `/var/log/pods`"),
    ("registerNode", "the node decides it by `kubernetes.server`"),
    ("registerWithTaints", "write `kubernetes.taints`"),
    ("resolvConf", "write `network.dns` and `network.search`"),
    ("rotateCertificates", "without it the node leaves the cluster when its certificate ends"),
    ("runOnce", "kubelet is a daemon here"),
    ("serverTLSBootstrap", "write `kubernetes.serving-certificate`"),
    ("shutdownGracePeriodByPodPriority", "all pods are stopped at once"),
    ("shutdownGracePeriodCriticalPods", "all pods are stopped at once"),
    ("staticPodPath", "write `kubernetes.static-pods`"),
    ("staticPodURL", "write `kubernetes.static-pods`"),
    ("staticPodURLHeader", "write `kubernetes.static-pods`"),
    ("systemCgroups", "PID 1 makes the cgroups"),
    ("systemReservedCgroup", "PID 1 makes the cgroups"),
    ("tlsCertFile", "write `kubernetes.serving-certificate`"),
    ("tlsPrivateKeyFile", "write `kubernetes.serving-certificate`"),
    ("volumePluginDir", "the default is read-only on the node, so it names a directory on STATE"),
];

/// Reads the fragment. What it holds can be written as JSON.
pub(super) fn read(section: &mut Section<'_, '_>) -> Table {
    let mut fragment = Table::new();
    for (name, value) in section.entries("kubelet") {
        let (key, before) = (name.value, section.notes.problems.len());
        let whole = RESERVED.iter().any(|(reserved, _)| *reserved == key);
        match schema::FIELDS.iter().find(|(field, _)| *field == key) {
            Some((_, kind)) => value::check(section, &format!("kubelet.{key}"), value, kind),
            None if whole => {}
            None => {
                if let Some(meant) = value::meant(key, known()) {
                    let message = format!("`{key}` is not a key that kubelet knows");
                    let problem = section.notes.note(name.span.clone(), message);
                    problem.hint = Some(format!("did you mean `{meant}`?"));
                }
            }
        }
        refuse_reserved(section, key, name.span, value);
        // Of a value of another type that has been told.
        if section.notes.problems.len() == before
            && let Some(value) = owned(section, value)
        {
            fragment.insert(key.to_owned(), value);
        }
    }
    refuse_conflicts(section, &fragment);
    fragment
}

/// What a fragment gives pods when the node goes down, if it says it.
pub(super) fn shutdown_grace(fragment: &Table) -> Option<Duration> {
    let nanoseconds = value::duration(fragment.get(SHUTDOWN_GRACE)?.as_str()?)?;
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

/// Every field of KubeletConfiguration, without those within tables.
fn known() -> impl Iterator<Item = &'static str> + Clone {
    let reserved = RESERVED.iter().map(|(key, _)| *key).filter(|key| !key.contains('.'));
    schema::FIELDS.iter().map(|(field, _)| *field).chain(reserved)
}

/// Every field of KubeletConfiguration that this version knows, in Kubernetes 1.36, with the kind of
/// its value, `None` for those that the node sets itself: for a test that compares them with
/// kubelet's own source.
pub fn fields() -> Vec<(&'static str, Option<&'static str>)> {
    let not_kubelets = ["apiVersion", "kind"];
    let kind = |field| {
        let found = schema::FIELDS.iter().find(|(name, _)| *name == field);
        found.map(|(_, kind)| kind.kind())
    };
    let fields = known().filter(|field| !not_kubelets.contains(field));
    fields.map(|field| (field, kind(field))).collect()
}

/// Notes fields that kubelet does not take together, as far as the fragment alone tells.
fn refuse_conflicts(section: &mut Section<'_, '_>, fragment: &Table) {
    let number = |key: &str| fragment.get(key).and_then(Value::as_integer);
    let text = |key: &str| fragment.get(key).and_then(Value::as_str);
    let mut wrong = Vec::new();
    // 85 and 80 are kubelet's own.
    let high = number("imageGCHighThresholdPercent").unwrap_or(85);
    let low = number("imageGCLowThresholdPercent").unwrap_or(80);
    if low >= high {
        wrong.push(format!(
            "`kubelet.imageGCLowThresholdPercent` ({low}) must be below `imageGCHighThresholdPercent` ({high})"
        ));
    }
    let serial = fragment.get("serializeImagePulls").and_then(Value::as_bool).unwrap_or(true);
    if serial && number("maxParallelImagePulls").is_some_and(|pulls| pulls > 1) {
        wrong.push(
            "`kubelet.maxParallelImagePulls` above 1 needs `serializeImagePulls = false`"
                .to_owned(),
        );
    }
    if text("memoryManagerPolicy") == Some("Static") && !fragment.contains_key("reservedMemory") {
        wrong.push("`kubelet.memoryManagerPolicy` \"Static\" needs `reservedMemory`".to_owned());
    }
    if fragment.contains_key("preloadedImagesVerificationAllowlist")
        && text("imagePullCredentialsVerificationPolicy") != Some("NeverVerifyAllowlistedImages")
    {
        wrong.push(
            "`kubelet.preloadedImagesVerificationAllowlist` needs \
             `imagePullCredentialsVerificationPolicy = \"NeverVerifyAllowlistedImages\"`"
                .to_owned(),
        );
    }
    let signals =
        |key: &str| fragment.get(key).and_then(Value::as_table).cloned().unwrap_or_default();
    let (soft, grace) = (signals("evictionSoft"), signals("evictionSoftGracePeriod"));
    for signal in soft.keys().filter(|signal| !grace.contains_key(*signal)) {
        wrong.push(format!(
            "`kubelet.evictionSoft` has `{signal}`, which `evictionSoftGracePeriod` lacks"
        ));
    }
    for signal in grace.keys().filter(|signal| !soft.contains_key(*signal)) {
        wrong.push(format!(
            "`kubelet.evictionSoftGracePeriod` has `{signal}`, which `evictionSoft` lacks"
        ));
    }
    let span = section.place("kubelet").unwrap_or(section.span());
    for message in wrong {
        section.notes.note(span.clone(), message);
    }
}

/// Notes each reserved key at or below `path`.
fn refuse_reserved(
    section: &mut Section<'_, '_>,
    path: &str,
    place: std::ops::Range<usize>,
    value: &Spanned<DeValue<'_>>,
) {
    if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| *reserved == path) {
        let message = format!("`kubelet.{path}` cannot be set: {why}");
        section.notes.note(place, message);
        return;
    }
    let inner = |(reserved, _): &(&str, &str)| {
        reserved.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
    };
    if let Some(table) = value.get_ref().as_table()
        && RESERVED.iter().any(inner)
    {
        for (key, value) in table {
            refuse_reserved(section, &format!("{path}.{}", key.get_ref()), key.span(), value);
        }
    }
}

/// The value without its places; nothing if JSON has no such thing.
fn owned(section: &mut Section<'_, '_>, value: &Spanned<DeValue<'_>>) -> Option<Value> {
    let refused = match value.get_ref() {
        DeValue::String(text) => return Some(Value::String(text.to_string())),
        DeValue::Boolean(boolean) => return Some(Value::Boolean(*boolean)),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => return Some(Value::Integer(number)),
            Err(_) => "a number of more than 64 bits",
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => return Some(Value::Float(number)),
            _ => "an infinite number or none",
        },
        DeValue::Datetime(_) => "a date: write it in quotes",
        DeValue::Array(items) => {
            return Some(
                items.iter().filter_map(|item| owned(section, item)).collect::<Vec<_>>().into(),
            );
        }
        DeValue::Table(table) => return Some(Value::Table(owned_table(section, table))),
    };
    section.notes.note(value.span(), format!("kubelet cannot be given {refused}"));
    None
}

fn owned_table(section: &mut Section<'_, '_>, table: &DeTable<'_>) -> Table {
    let mut owned_table = Table::new();
    for (key, value) in table {
        if let Some(value) = owned(section, value) {
            owned_table.insert(key.get_ref().to_string(), value);
        }
    }
    owned_table
}
