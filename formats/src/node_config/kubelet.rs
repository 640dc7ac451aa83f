//! `[kubelet]`: a fragment of KubeletConfiguration (`kubelet.config.k8s.io/v1beta1`), merged into
//! the one that the node makes.
//!
//! Values are kubelet's affair. A key is refused if the node sets it and could not work with
//! another value, or if it is a slip of one that kubelet knows: kubelet 1.36 only warns of keys it
//! does not know. Other keys pass, for a later kubelet may know them.

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::section::Section;
use crate::near::near;

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
    ("shutdownGracePeriod", "it needs systemd; PID 1 gives pods their grace"),
    ("shutdownGracePeriodByPodPriority", "it needs systemd; PID 1 gives pods their grace"),
    ("shutdownGracePeriodCriticalPods", "it needs systemd; PID 1 gives pods their grace"),
    ("staticPodPath", "write `kubernetes.static-pods`"),
    ("staticPodURL", "write `kubernetes.static-pods`"),
    ("staticPodURLHeader", "write `kubernetes.static-pods`"),
    ("systemCgroups", "PID 1 makes the cgroups"),
    ("systemReservedCgroup", "PID 1 makes the cgroups"),
    ("tlsCertFile", "write `kubernetes.serving-certificate`"),
    ("tlsPrivateKeyFile", "write `kubernetes.serving-certificate`"),
    ("volumePluginDir", "the default is read-only on the node, so it names a directory on STATE"),
];

/// The keys of KubeletConfiguration in Kubernetes 1.36 that are not in [`RESERVED`] as a whole.
const KNOWN: &[&str] = &[
    "address",
    "allowedUnsafeSysctls",
    "authentication",
    "authorization",
    "clusterDNS",
    "clusterDomain",
    "configMapAndSecretChangeDetectionStrategy",
    "containerLogMaxFiles",
    "containerLogMaxSize",
    "containerLogMaxWorkers",
    "containerLogMonitorInterval",
    "contentType",
    "cpuCFSQuota",
    "cpuCFSQuotaPeriod",
    "cpuManagerPolicy",
    "cpuManagerPolicyOptions",
    "cpuManagerReconcilePeriod",
    "crashLoopBackOff",
    "enableContentionProfiling",
    "enableControllerAttachDetach",
    "enableDebugFlagsHandler",
    "enableDebuggingHandlers",
    "enableProfilingHandler",
    "enableSystemLogHandler",
    "enableSystemLogQuery",
    "enforceNodeAllocatable",
    "eventBurst",
    "eventRecordQPS",
    "evictionHard",
    "evictionMaxPodGracePeriod",
    "evictionMinimumReclaim",
    "evictionPressureTransitionPeriod",
    "evictionSoft",
    "evictionSoftGracePeriod",
    "failCgroupV1",
    "failSwapOn",
    "featureGates",
    "fileCheckFrequency",
    "hairpinMode",
    "httpCheckFrequency",
    "imageGCHighThresholdPercent",
    "imageGCLowThresholdPercent",
    "imageMaximumGCAge",
    "imageMinimumGCAge",
    "imagePullCredentialsVerificationPolicy",
    "iptablesDropBit",
    "iptablesMasqueradeBit",
    "kernelMemcgNotification",
    "kubeAPIBurst",
    "kubeAPIQPS",
    "kubeReserved",
    "localStorageCapacityIsolation",
    "logging",
    "makeIPTablesUtilChains",
    "maxOpenFiles",
    "maxParallelImagePulls",
    "maxPods",
    "memoryManagerPolicy",
    "memoryReservationPolicy",
    "memorySwap",
    "memoryThrottlingFactor",
    "mergeDefaultEvictionSettings",
    "nodeLeaseDurationSeconds",
    "nodeStatusMaxImages",
    "nodeStatusReportFrequency",
    "nodeStatusUpdateFrequency",
    "oomScoreAdj",
    "podCIDR",
    "podPidsLimit",
    "podsPerCore",
    "port",
    "preloadedImagesVerificationAllowlist",
    "protectKernelDefaults",
    "providerID",
    "qosReserved",
    "readOnlyPort",
    "registryBurst",
    "registryPullQPS",
    "reservedMemory",
    "reservedSystemCPUs",
    "runtimeRequestTimeout",
    "seccompDefault",
    "serializeImagePulls",
    "showHiddenMetricsForVersion",
    "singleProcessOOMKill",
    "streamingConnectionIdleTimeout",
    "syncFrequency",
    "systemReserved",
    "tlsCipherSuites",
    "tlsCurvePreferences",
    "tlsMinVersion",
    "topologyManagerPolicy",
    "topologyManagerPolicyOptions",
    "topologyManagerScope",
    "tracing",
    "userNamespaces",
    "volumeStatsAggPeriod",
];

/// Reads the fragment. What it holds can be written as JSON.
pub(super) fn read(section: &mut Section<'_, '_>) -> Table {
    let mut fragment = Table::new();
    for (name, value) in section.entries("kubelet") {
        let key = name.value;
        let whole = RESERVED.iter().any(|(reserved, _)| *reserved == key);
        if !whole
            && !KNOWN.contains(&key)
            && let Some(meant) = near_key(key)
        {
            let message = format!("`{key}` is not a key that kubelet knows");
            let problem = section.notes.note(name.span.clone(), message);
            problem.hint = Some(format!("did you mean `{meant}`?"));
        }
        refuse_reserved(section, key, name.span, value);
        if let Some(value) = owned(section, value) {
            fragment.insert(key.to_owned(), value);
        }
    }
    fragment
}

/// The key that was probably meant; `max-pods` and `max_pods` are `maxPods`.
fn near_key(key: &str) -> Option<&'static str> {
    let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let reserved = RESERVED.iter().map(|(key, _)| *key).filter(|key| !key.contains('.'));
    let known = || KNOWN.iter().copied().chain(reserved.clone());
    let same = known().find(|known| plain(known) == plain(key));
    same.or_else(|| near(key, known()).and_then(|near| known().find(|known| *known == near)))
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
