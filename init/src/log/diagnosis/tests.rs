//! Lines as kubelet 1.36 writes them, and what is made of them.

use proptest::prelude::*;

use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const STRANGER: &str = r#"I1121 06:39:45.123456       1 bootstrap.go:297] "Failed to connect to apiserver" err="Get \"https://10.0.2.2:6443/healthz?timeout=1s\": tls: failed to verify certificate: x509: certificate signed by unknown authority""#;
const EXPIRED_TOKEN: &str = r#"E1121 06:39:45.123456       1 certificate_manager.go:596] "Unhandled Error" err="Failed while requesting a signed certificate from the control plane: cannot create certificate signing request: Unauthorized" logger="UnhandledError""#;
const NO_CNI: &str = r#"I1121 06:39:45.123456       1 kubelet.go:3262] "Container runtime network not ready" networkReady="NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized""#;
const REGISTERED: &str = r#"I1121 06:39:45.123456       1 kubelet_node_status.go:78] "Successfully registered node" node="worker-1""#;
const REFUSED: &str = r#"E1121 06:39:45.123456       1 reflector.go:227] "Failed to watch" err="failed to list *v1.Node: Get \"https://10.0.2.2:6443/api/v1/nodes?limit=500\": dial tcp 10.0.2.2:6443: connect: connection refused" logger="UnhandledError" reflector="k8s.io/client-go/informers/factory.go:161" type="*v1.Node""#;

const ANONYMOUS: &str = r#"E1121 06:39:45.1 1 kubelet_node_status.go:108] "Unable to register node with API server" err="nodes is forbidden: User \"system:anonymous\" cannot create resource \"nodes\" in API group \"\" at the cluster scope" node="worker-1""#;
const UNAUTHORIZED: &str = r#"E1121 06:39:45.1 1 kubelet_node_status.go:108] "Unable to register node with API server" err="Unauthorized" node="worker-1""#;

const TOKEN: &str = "the API server refuses the bootstrap token (`token` of the node config): it is unknown there or has expired";

fn told(line: &str) -> String {
    Diagnosis::default().line(s(1), line).told.join("\n")
}

#[test]
fn what_kubelet_says_becomes_what_is_wrong() {
    for (line, want) in [
        (
            STRANGER,
            "the API server's certificate is not signed by the authority in `ca` of the node config",
        ),
        (
            r#"E1121 06:39:45.1 1 reflector.go:227] "Failed to watch" err="failed to list *v1.Node: Get \"https://10.0.2.2:6443/api/v1/nodes\": tls: failed to verify certificate: x509: certificate is valid for 10.0.0.1, 127.0.0.1, not 10.0.2.2" logger="UnhandledError""#,
            "the API server's certificate is for others: certificate is valid for 10.0.0.1, 127.0.0.1, not 10.0.2.2",
        ),
        (
            r#"I0101 00:00:45.1 1 bootstrap.go:297] "Failed to connect to apiserver" err="Get \"https://10.0.2.2:6443/healthz?timeout=1s\": tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 1970-01-01T00:00:45Z is before 2026-11-21T06:00:00Z""#,
            "a certificate is not valid at the time that this node's clock shows: current time 1970-01-01T00:00:45Z is before 2026-11-21T06:00:00Z",
        ),
        (EXPIRED_TOKEN, TOKEN),
        (
            r#"E1121 06:39:45.1 1 run.go:72] "command failed" err="failed to run Kubelet: cannot create certificate signing request: the server has asked for the client to provide credentials""#,
            TOKEN,
        ),
        (
            r#"E1121 06:39:45.1 1 certificate_manager.go:596] "Failed while requesting a signed certificate from the control plane" err="cannot create certificate signing request: certificatesigningrequests.certificates.k8s.io is forbidden: User \"system:bootstrap:oxoe0c\" cannot create resource \"certificatesigningrequests\" in API group \"certificates.k8s.io\" at the cluster scope""#,
            "the bootstrap token (`token` of the node config) may not ask for a certificate: its group lacks system:node-bootstrapper",
        ),
        (
            r#"E1121 06:39:45.1 1 certificate_manager.go:612] "Certificate request was not signed" err="certificate signing request is denied, reason: X, message: no" logger="kubernetes.io/kube-apiserver-client-kubelet.UnhandledError""#,
            "the cluster has denied this node's request for a certificate",
        ),
        (
            r#"E1121 06:39:45.1 1 kubelet_node_status.go:114] "Unable to register node with API server, error getting existing node" err="nodes \"beta\" is forbidden: User \"system:node:alpha\" cannot get resource \"nodes\" in API group \"\" at the cluster scope: node 'alpha' cannot read 'beta', only its own Node object" node="beta""#,
            "the API server does not register this node: nodes \"beta\" is forbidden: User \"system:node:alpha\" cannot get resource \"nodes\" in API group \"\" at the cluster scope: node 'alpha' cannot read 'beta', only its own Node object",
        ),
        (
            r#"E1121 06:39:45.1 1 run.go:72] "command failed" err="failed to load kubelet config file, path: /run/orlop/kubelet/config.json, error: failed to load Kubelet config file /run/orlop/kubelet/config.json, error failed to decode, error: json: cannot unmarshal string into Go struct field KubeletConfiguration.maxPods of type int32""#,
            "kubelet does not start: failed to load kubelet config file, path: /run/orlop/kubelet/config.json, error: failed to load Kubelet config file /run/orlop/kubelet/config.json, error failed to decode, error: json: cannot unmarshal string into Go struct field KubeletConfiguration.maxPods of type int32",
        ),
        (
            r#"E1121 06:39:45.1 1 kubelet.go:1821] "Failed to start ContainerManager" err="start cpu manager error: could not restore state from checkpoint: configured policy \"static\" differs from state checkpoint policy \"none\", please drain this node and delete the CPU manager checkpoint file \"/var/lib/kubelet/cpu_manager_state\" before restarting Kubelet""#,
            "kubelet does not start: start cpu manager error: could not restore state from checkpoint: configured policy \"static\" differs from state checkpoint policy \"none\", please drain this node and delete the CPU manager checkpoint file \"/var/lib/kubelet/cpu_manager_state\" before restarting Kubelet",
        ),
        (
            r#"E1121 06:39:45.1 1 file.go:186] "Could not process manifest file" err="invalid pod: [spec.containers[0].name: Invalid value: \"UPPER\": a lowercase RFC 1123 label must consist of ...]" path="/run/orlop/kubelet/manifests/y.yaml""#,
            "the static pod y.yaml is ignored: invalid pod: [spec.containers[0].name: Invalid value: \"UPPER\": a lowercase RFC 1123 label must consist of ...]",
        ),
        (
            "panic: failed to merge global and in-flight KubeletConfiguration while setting defaults, error: unrecognized feature gate: NoSuchGate",
            "kubelet or containerd panicked: failed to merge global and in-flight KubeletConfiguration while setting defaults, error: unrecognized feature gate: NoSuchGate",
        ),
        (
            NO_CNI,
            "there is no pod network: neither the cluster nor `[cni]` of the node config has put a configuration into /etc/cni/net.d",
        ),
        (
            r#"I1121 06:39:45.1 1 kubelet.go:3262] "Container runtime network not ready" networkReady="NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: no networks found""#,
            "the pod network is not ready: Network plugin returns error: no networks found",
        ),
        (
            r#"E1121 06:39:45.1 1 kubelet.go:1500] "Image garbage collection failed" err="write /var/lib/kubelet/x: no space left on device""#,
            "the disk is full (STATE, mounted at /var)",
        ),
        (
            r#"I1121 06:39:45.1 1 eviction_manager.go:381] "Eviction manager: attempting to reclaim" resourceName="ephemeral-storage""#,
            "kubelet evicts pods, for the node is short of ephemeral-storage",
        ),
    ] {
        assert_eq!(told(line), want);
    }
}

#[test]
fn an_image_that_cannot_be_pulled_is_named_with_the_reason() {
    let service = |error: &str| {
        format!(
            r#"E1121 06:39:45.1 1 remote_image.go:250] "PullImage from image service failed" err="rpc error: code = Unknown desc = failed to pull and unpack image \"reg.example/app:1\": {error}" image="reg.example/app:1""#
        )
    };
    for (error, want) in [
        (
            r#"failed to do request: Head \"https://reg.example/v2/\": dial tcp: lookup reg.example on 10.0.2.3:53: no such host"#,
            "the name of its registry has no address",
        ),
        (
            r#"Head \"https://reg.example/v2/\": dial tcp 10.0.2.2:443: connect: connection refused"#,
            "its registry refuses connections",
        ),
        (
            r#"Head \"https://reg.example/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority"#,
            "the certificate of its registry is not trusted",
        ),
        (
            r#"failed to resolve reference \"reg.example/app:1\": reg.example/app:1: not found"#,
            "its registry has no such image",
        ),
        (
            r#"failed to authorize: failed to fetch anonymous token"#,
            "its registry wants credentials",
        ),
        (r#"something else"#, "the log of kubelet says why"),
    ] {
        let want = format!("the image reg.example/app:1 cannot be pulled: {want}");
        assert_eq!(told(&service(error)), want);
    }
    let sandbox = r#"E1121 07:56:39.663576     159 remote_runtime.go:237] "RunPodSandbox from runtime service failed" err="rpc error: code = Unknown desc = failed to pull image \"reg.example/pause:3\": failed to pull and unpack image \"reg.example/pause:3\": failed to resolve image: failed to do request: Head \"https://reg.example/v2/pause/manifests/3\": dial tcp: lookup reg.example on 10.0.2.3:53: no such host""#;
    let want =
        "the image reg.example/pause:3 cannot be pulled: the name of its registry has no address";
    assert_eq!(told(sandbox), want);
    let backoff = r#"E1121 06:39:45.1 1 pod_workers.go:1338] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"web\" with ImagePullBackOff: \"Back-off pulling image \\\"reg.example/app:1\\\": ErrImagePull: dial tcp 10.0.2.2:443: i/o timeout\"" pod="default/web" podUID="1""#;
    let want = "the image reg.example/app:1 cannot be pulled: its registry does not answer";
    assert_eq!(told(backoff), want);
}

#[test]
fn other_lines_mean_nothing() {
    for line in [
        "",
        "Flag --container-runtime-endpoint has been deprecated",
        r#"I1121 06:39:45.1 1 server.go:1] "Started kubelet""#,
        r#"I1121 06:39:45.1 1 prober.go:1] "Probe failed" probeType="Readiness" probeResult="failure" output="Get \"https://10.88.0.5:8443/\": tls: failed to verify certificate: x509: certificate signed by unknown authority""#,
        r#"I1121 06:39:45.1 1 image_manager.go:1] "Pulling image" image="reg.example/app:1""#,
        r#"level=warning msg="Configuration migrated""#,
        "x509: something new",
    ] {
        assert_eq!(Diagnosis::default().line(s(1), line), Outcome::default(), "{line}");
    }
}

#[test]
fn a_server_that_is_not_there_is_suspected_and_left_to_the_network() {
    let mut diagnosis = Diagnosis::default();
    let outcome = diagnosis.line(s(1), REFUSED);
    assert_eq!(outcome, Outcome { told: vec![], suspects_server: true });
    assert_eq!(diagnosis.causes().count(), 0);
    let probe = r#""Probe failed" output="Get \"https://10.88.0.5/\": dial tcp 10.88.0.5:443: connect: connection refused""#;
    assert!(!diagnosis.line(s(1), probe).suspects_server);
}

#[test]
fn a_cause_is_told_once_and_taken_back_after_a_silence() {
    let mut diagnosis = Diagnosis::default();
    assert_eq!(diagnosis.line(s(10), NO_CNI).told.len(), 1);
    for second in [15, 20, 25] {
        assert_eq!(diagnosis.line(s(second), NO_CNI).told.len(), 0);
    }
    assert_eq!(diagnosis.causes().count(), 1);
    assert_eq!(diagnosis.next_deadline(), Some(s(25) + POD_SILENCE));
    assert_eq!(diagnosis.tick(s(84)), [""; 0]);
    let over = diagnosis.tick(s(85));
    assert!(over[0].starts_with("no longer: there is no pod network"), "{over:?}");
    assert_eq!((diagnosis.causes().count(), diagnosis.next_deadline()), (0, None));
    assert_eq!(diagnosis.line(s(100), NO_CNI).told.len(), 1);
}

#[test]
fn a_node_that_is_registered_has_no_trouble_with_its_server() {
    let mut diagnosis = Diagnosis::default();
    for line in [EXPIRED_TOKEN, STRANGER, NO_CNI] {
        diagnosis.line(s(1), line);
    }
    let told = diagnosis.line(s(2), REGISTERED).told;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|line| line.starts_with("no longer: the API server")), "{told:?}");
    assert_eq!(diagnosis.causes().count(), 1);
}

/// What is told, with the second, when these lines come in these seconds.
fn told_in_time(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
    let mut diagnosis = Diagnosis::default();
    let mut told = Vec::new();
    for (second, line) in lines {
        let lines = diagnosis.line(s(*second), line).told;
        told.extend(lines.into_iter().map(|line| (*second, line)));
    }
    told
}

#[test]
fn a_node_that_comes_further_has_what_came_before_behind_it() {
    let stranger = told(STRANGER);
    assert_eq!(
        told_in_time(&[(1, STRANGER), (3, EXPIRED_TOKEN), (5, ANONYMOUS), (40, REGISTERED)]),
        [
            (1, stranger.clone()),
            (3, format!("no longer: {stranger}")),
            (3, TOKEN.to_owned()),
            (40, format!("no longer: {TOKEN}")),
        ]
    );
    let again = r#"I1121 06:39:45.1 1 kubelet_node_status.go:125] "Node was previously registered" node="worker-1""#;
    assert_eq!(told_in_time(&[(1, EXPIRED_TOKEN), (2, again)]).len(), 2);
}

#[test]
fn a_certificate_that_is_not_there_yet_is_told_if_that_lasts() {
    assert_eq!(told_in_time(&[(1, ANONYMOUS), (9, ANONYMOUS), (10, REGISTERED)]), []);
    for (line, words) in [(ANONYMOUS, "is not approved yet"), (UNAUTHORIZED, "accepts no")] {
        let told = told_in_time(&[(1, line), (9, line), (16, line), (60, REGISTERED)]);
        assert_eq!(told.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [16, 60]);
        assert!(told[0].1.contains(words) && told[1].1.starts_with("no longer: "), "{told:?}");
    }
    let told = told_in_time(&[(1, ANONYMOUS), (17, ANONYMOUS), (20, EXPIRED_TOKEN)]);
    assert_eq!(told.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [17, 20, 20]);
    let serving = r#""Certificate request was not signed" err="timed out" logger="kubernetes.io/kubelet-serving.UnhandledError""#;
    assert_eq!(told_in_time(&[(1, serving), (60, serving)]), []);
}

#[test]
fn the_silence_of_a_kubelet_that_does_not_work_says_nothing() {
    let mut diagnosis = Diagnosis::default();
    diagnosis.line(s(1), EXPIRED_TOKEN);
    diagnosis.kubelet(s(2), false);
    assert_eq!((diagnosis.next_deadline(), diagnosis.tick(s(1000))), (None, vec![]));
    diagnosis.kubelet(s(1000), true);
    assert_eq!(diagnosis.next_deadline(), Some(s(1000) + API_SILENCE));
    assert_eq!(diagnosis.tick(s(1000) + API_SILENCE), [format!("no longer: {TOKEN}")]);
}

#[test]
fn an_image_has_come_when_the_pod_runs_that_waited_for_it() {
    let line = r#"E1121 06:39:45.1 1 pod_workers.go:1338] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"web\" with ImagePullBackOff: \"Back-off pulling image \\\"reg.example/app:1\\\": ErrImagePull: Head \\\"https://reg.example/v2/\\\": dial tcp: lookup reg.example on 10.0.2.99:53: read udp 10.0.2.15:4->10.0.2.99:53: i/o timeout\"" pod="default/web" podUID="1""#;
    let runs = r#"I1121 06:40:45.1 1 pod_startup_latency_tracker.go:148] "Observed pod startup duration" pod="default/web" podStartSLOduration=1.2"#;
    let other = runs.replace("/web", "/db");
    let want =
        "the image reg.example/app:1 cannot be pulled: the name server 10.0.2.99 does not answer";
    let told = told_in_time(&[(1, line), (2, other.as_str()), (3, runs)]);
    assert_eq!(told, [(1, want.to_owned()), (3, format!("no longer: {want}"))]);
}

#[test]
fn an_api_server_that_hangs_up_is_suspected() {
    for error in ["EOF", "net/http: TLS handshake timeout", "http2: client connection lost"] {
        let line = format!(
            "\"Failed to update lease\" err=\"Put \\\"https://10.0.2.2:6443/\\\": {error}\""
        );
        assert!(Diagnosis::default().line(s(1), &line).suspects_server, "{line}");
    }
}

#[test]
fn the_number_of_causes_is_bounded() {
    let mut diagnosis = Diagnosis::default();
    for number in 0..100 {
        let line = format!("\"PullImage from image service failed\" err=\"x\" image=\"i{number}\"");
        assert_eq!(diagnosis.line(s(number), &line).told.len(), 1);
    }
    assert_eq!(diagnosis.causes().count(), MOST);
    assert!(
        diagnosis
            .causes()
            .all(|text| text.starts_with("the image i9") || text.starts_with("the image i8"))
    );
}

proptest! {
    #[test]
    fn any_bytes_in_any_order_take_limited_memory(
        lines in prop::collection::vec((0..9_usize, any::<Vec<u8>>()), 0..100),
    ) {
        let known = [
            STRANGER,
            EXPIRED_TOKEN,
            ANONYMOUS,
            REGISTERED,
            "\"PullImage from image service failed\" err image=",
            "\"Observed pod startup duration\" pod=\"",
            "err ulling image x lookup ",
        ];
        let mut diagnosis = Diagnosis::default();
        for (second, (choice, bytes)) in (0..).zip(lines) {
            let known = known.get(choice).copied().unwrap_or_default();
            let line = known.to_owned() + &String::from_utf8_lossy(&bytes);
            let _ = diagnosis.line(s(second), &line);
            prop_assert!(diagnosis.causes.len() <= MOST);
            for cause in &diagnosis.causes {
                prop_assert!(cause.pod.as_ref().is_none_or(|pod| pod.chars().count() <= POD));
            }
        }
    }

    #[test]
    fn no_line_makes_it_panic(line in "\\PC{0,120}", at in 0..4_usize) {
        let mut diagnosis = Diagnosis::default();
        let _ = diagnosis.line(s(1), &line);
        let before = ["x509: not yet valid: ", "err failed to pull image ", "message:", "lookup x on "][at];
        let known = "\"Container runtime network not ready\" \"Eviction manager: attempting to reclaim\"";
        let _ = diagnosis.line(s(1), &format!("{known} {before}{line}"));
        let _ = diagnosis.tick(s(1000));
    }
}

#[test]
fn a_pod_that_gets_no_sandbox_is_told_when_it_lasts_and_until_it_runs() {
    let failed = r#"E1128 11:20:01.1 1 kuberuntime_sandbox.go:70] "Failed to create sandbox for pod" err="rpc error: code = Unknown desc = failed to start sandbox \"ab\": failed to create containerd task: OCI runtime create failed: exec /pause: exec format error" pod="default/hello-n1""#;
    let started = r#"I1128 11:21:01.1 1 pod_startup_latency_tracker.go:148] "Observed pod startup duration" pod="default/hello-n1" podStartSLOduration=1"#;
    let mut diagnosis = Diagnosis::default();
    assert_eq!(diagnosis.line(s(1), failed).told, [""; 0], "a network plugin may be on its way");
    let want = "the pod default/hello-n1 gets no sandbox: rpc error: code = Unknown desc = failed \
                to start sandbox \"ab\": failed to create containerd task: OCI runtime create \
                failed: exec /pause: exec format error";
    assert_eq!(diagnosis.line(s(14), failed).told, [want]);
    assert_eq!(diagnosis.line(s(60), started).told, [format!("no longer: {want}")]);
}

#[test]
fn damage_on_state_stays_on_the_screen_whatever_else_is_said() {
    let mut diagnosis = Diagnosis::default();
    assert!(Diagnosis::follows("devices"));
    let text = "the kernel has found damage on STATE (vda5)";
    assert_eq!(diagnosis.line(s(1), &format!("{STATE_IS_DAMAGED}{text}")).told, [text]);
    for second in 2..40 {
        let line =
            format!("E \"PullImage from image service failed\" err=\"x\" image=\"i{second}\"");
        let _ = diagnosis.line(s(second), &line);
    }
    assert_eq!(diagnosis.causes().count(), MOST);
    let _ = diagnosis.tick(s(100_000));
    assert_eq!(diagnosis.causes().collect::<Vec<_>>(), [text]);
    // Within a kubelet's line it is somebody else's word.
    assert_eq!(diagnosis.line(s(1), "I1128 \"STATE: x\"").told, [""; 0]);
}
