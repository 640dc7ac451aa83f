//! What kubelet takes: the fields of KubeletConfiguration in Kubernetes 1.36 with their types
//! (`k8s.io/kubelet/config/v1beta1/types.go`) and the values that its validation lets through
//! (`pkg/kubelet/apis/config/validation`). kubelet refuses to start with any other.

use self::Type::{
    Address, Boolean, Choice, Cpus, Duration, Either, Fraction, Integer, Keys, List, Map, Quantity,
    Table, Text, Threshold, Within,
};

/// What may stand for a field. Go gives a field that is 0 or empty its default, so that passes too.
#[derive(Debug)]
pub(super) enum Type {
    Boolean,
    /// A whole number in a range, both ends included.
    Integer(i64, i64),
    /// A number above 0, and at most 1.
    Fraction,
    Text,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// An IP address.
    Address,
    /// A duration as Go writes it, from .. to, in milliseconds, both included.
    Duration(i64, i64),
    /// The same where 0 is no default, for it is not kubelet that reads it.
    Within(i64, i64),
    /// An amount as Kubernetes writes it: `100m`, `1Gi`.
    Quantity,
    /// An amount, or a part of what there is: `10%`.
    Threshold,
    /// Processors: `0-3,8`.
    Cpus,
    List(&'static Type),
    /// A table whose keys its author chooses.
    Map(&'static Type),
    /// A table with these keys and no others, all of one type.
    Keys(&'static [&'static str], &'static Type),
    /// A table of fields.
    Table(&'static [(&'static str, Type)]),
    Either(&'static Type, &'static Type),
}

const COUNT: Type = Integer(0, i32::MAX as i64);
const PERCENT: Type = Integer(0, 100);
const IPTABLES_BIT: Type = Integer(0, 31);
const PORT: Type = Integer(0, 65_535);
/// Up to what an `int64` of nanoseconds holds.
const LONGEST: i64 = i64::MAX / 1_000_000;
const TIME: Type = Duration(0, LONGEST);

/// What can be kept back for daemons.
const RESOURCES: &[&str] = &["cpu", "memory", "ephemeral-storage", "pid"];

/// What can run low.
const SIGNALS: &[&str] = &[
    "allocatableMemory.available",
    "containerfs.available",
    "containerfs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "pid.available",
];

/// Splitting of a log stream, the same for each format.
const ROUTING: Type = Table(&[
    ("splitStream", Boolean),
    ("infoBufferSize", Either(&Quantity, &Integer(0, i64::MAX))),
]);

/// The fields in alphabetical order, but for those that the node reserves as a whole.
pub(super) const FIELDS: &[(&str, Type)] = &[
    ("address", Address),
    ("allowedUnsafeSysctls", List(&Text)),
    (
        "authentication",
        Table(&[
            ("x509", Table(&[("clientCAFile", Text)])),
            ("webhook", Table(&[("enabled", Boolean), ("cacheTTL", TIME)])),
            ("anonymous", Table(&[("enabled", Boolean)])),
        ]),
    ),
    (
        "authorization",
        Table(&[
            ("mode", Choice(&["AlwaysAllow", "Webhook"])),
            ("webhook", Table(&[("cacheAuthorizedTTL", TIME), ("cacheUnauthorizedTTL", TIME)])),
        ]),
    ),
    ("clusterDNS", List(&Address)),
    ("clusterDomain", Text),
    ("configMapAndSecretChangeDetectionStrategy", Choice(&["Get", "Cache", "Watch"])),
    ("containerLogMaxFiles", Integer(2, i32::MAX as i64)),
    ("containerLogMaxSize", Quantity),
    ("containerLogMaxWorkers", Integer(1, i32::MAX as i64)),
    ("containerLogMonitorInterval", Duration(3000, LONGEST)),
    ("contentType", Text),
    ("cpuCFSQuota", Boolean),
    ("cpuCFSQuotaPeriod", Duration(1, 1000)),
    ("cpuManagerPolicy", Choice(&["none", "static"])),
    ("cpuManagerPolicyOptions", Map(&Text)),
    ("cpuManagerReconcilePeriod", TIME),
    ("crashLoopBackOff", Table(&[("maxContainerRestartPeriod", Duration(1000, 300_000))])),
    ("enableContentionProfiling", Boolean),
    ("enableControllerAttachDetach", Boolean),
    ("enableDebugFlagsHandler", Boolean),
    ("enableDebuggingHandlers", Boolean),
    ("enableProfilingHandler", Boolean),
    ("enableSystemLogHandler", Boolean),
    ("enableSystemLogQuery", Boolean),
    // Those of system and kube want a cgroup that only PID 1 makes.
    ("enforceNodeAllocatable", List(&Choice(&["none", "pods"]))),
    ("eventBurst", COUNT),
    ("eventRecordQPS", COUNT),
    ("evictionHard", Keys(SIGNALS, &Threshold)),
    ("evictionMaxPodGracePeriod", Integer(i32::MIN as i64, i32::MAX as i64)),
    ("evictionMinimumReclaim", Keys(SIGNALS, &Threshold)),
    ("evictionPressureTransitionPeriod", TIME),
    ("evictionSoft", Keys(SIGNALS, &Threshold)),
    ("evictionSoftGracePeriod", Keys(SIGNALS, &TIME)),
    ("failCgroupV1", Boolean),
    ("failSwapOn", Boolean),
    ("featureGates", Map(&Boolean)),
    ("fileCheckFrequency", TIME),
    ("hairpinMode", Choice(&["none", "hairpin-veth", "promiscuous-bridge"])),
    ("httpCheckFrequency", TIME),
    ("imageGCHighThresholdPercent", PERCENT),
    ("imageGCLowThresholdPercent", PERCENT),
    ("imageMaximumGCAge", TIME),
    ("imageMinimumGCAge", TIME),
    (
        "imagePullCredentialsVerificationPolicy",
        Choice(&[
            "NeverVerify",
            "NeverVerifyPreloadedImages",
            "NeverVerifyAllowlistedImages",
            "AlwaysVerify",
        ]),
    ),
    ("iptablesDropBit", IPTABLES_BIT),
    ("iptablesMasqueradeBit", IPTABLES_BIT),
    ("kernelMemcgNotification", Boolean),
    ("kubeAPIBurst", COUNT),
    ("kubeAPIQPS", COUNT),
    ("kubeReserved", Keys(RESOURCES, &Quantity)),
    ("localStorageCapacityIsolation", Boolean),
    (
        "logging",
        Table(&[
            ("format", Choice(&["text", "json"])),
            ("flushFrequency", Either(&TIME, &Integer(0, i64::MAX))),
            ("verbosity", Integer(0, i32::MAX as i64)),
            ("vmodule", List(&Table(&[("filePattern", Text), ("verbosity", COUNT)]))),
            ("options", Table(&[("text", ROUTING), ("json", ROUTING)])),
        ]),
    ),
    ("makeIPTablesUtilChains", Boolean),
    ("maxOpenFiles", Integer(0, i64::MAX)),
    ("maxParallelImagePulls", Integer(1, i32::MAX as i64)),
    ("maxPods", COUNT),
    ("memoryManagerPolicy", Choice(&["None", "Static"])),
    ("memoryReservationPolicy", Choice(&["None", "TieredReservation"])),
    ("memorySwap", Table(&[("swapBehavior", Choice(&["", "NoSwap", "LimitedSwap"]))])),
    ("memoryThrottlingFactor", Fraction),
    ("mergeDefaultEvictionSettings", Boolean),
    ("nodeLeaseDurationSeconds", COUNT),
    ("nodeStatusMaxImages", Integer(-1, i32::MAX as i64)),
    ("nodeStatusReportFrequency", TIME),
    ("nodeStatusUpdateFrequency", TIME),
    ("oomScoreAdj", Integer(-1000, 1000)),
    ("podCIDR", Text),
    ("podPidsLimit", Integer(-1, i64::MAX)),
    ("podsPerCore", COUNT),
    ("port", PORT),
    ("preloadedImagesVerificationAllowlist", List(&Text)),
    ("protectKernelDefaults", Boolean),
    ("providerID", Text),
    ("qosReserved", Map(&Text)),
    ("readOnlyPort", PORT),
    ("registryBurst", COUNT),
    ("registryPullQPS", COUNT),
    ("reservedMemory", List(&Table(&[("numaNode", COUNT), ("limits", Map(&Quantity))]))),
    ("reservedSystemCPUs", Cpus),
    ("runtimeRequestTimeout", TIME),
    ("seccompDefault", Boolean),
    ("serializeImagePulls", Boolean),
    ("showHiddenMetricsForVersion", Text),
    (super::SHUTDOWN_GRACE, Within(1000, 1000 * super::LONGEST_SHUTDOWN_GRACE.as_secs() as i64)),
    ("singleProcessOOMKill", Boolean),
    ("streamingConnectionIdleTimeout", TIME),
    ("syncFrequency", TIME),
    ("systemReserved", Keys(RESOURCES, &Quantity)),
    ("tlsCipherSuites", List(&Text)),
    ("tlsCurvePreferences", List(&Integer(0, i32::MAX as i64))),
    ("tlsMinVersion", Choice(&["VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"])),
    ("topologyManagerPolicy", Choice(&["none", "best-effort", "restricted", "single-numa-node"])),
    ("topologyManagerPolicyOptions", Map(&Text)),
    ("topologyManagerScope", Choice(&["container", "pod"])),
    ("tracing", Table(&[("endpoint", Text), ("samplingRatePerMillion", Integer(0, 1_000_000))])),
    ("userNamespaces", Table(&[("idsPerPod", Integer(65_536, 4_294_967_295))])),
    ("volumeStatsAggPeriod", Duration(-LONGEST, LONGEST)),
];
