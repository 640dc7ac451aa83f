//! Manifests in whole configurations.

use expect_test::{Expect, expect};

use super::super::parse;
use super::*;

const HEAD: &str = "schema = 1\n[kubernetes]\nstandalone = true\n[kubernetes.static-pods]\n";

/// `{T}` stands for a tab.
fn problems(pods: &str) -> Vec<Problem> {
    let pods = pods.replace("{T}", "\t");
    let text = format!("{HEAD}{pods}");
    static_pod_problems(&text, &parse(&text).unwrap())
}

fn check(pods: &str, want: Expect) {
    let lines: Vec<_> = problems(pods).iter().map(|problem| format!("{problem}\n")).collect();
    want.assert_eq(&lines.concat());
}

#[test]
fn what_kubelet_runs_passes() {
    check(
        r#"
yaml = """
# A comment before the document.
---
apiVersion: v1
kind: Pod
metadata: { name: a, labels: { app: "1" }, annotations: { n: "x" } }
spec:
  hostNetwork: yes
  restartPolicy: Always
  terminationGracePeriodSeconds: 010
  volumes:
    - name: data
      hostPath: { path: /data, type: DirectoryOrCreate }
    - { name: fields, projected: { sources: [{ downwardAPI: { items: [] } }] } }
  initContainers: [{ name: first, image: b, restartPolicy: Always }]
  containers:
    - &main
      name: main
      image: registry.example:5000/a/b@sha256:00
      command: ["/bin/sh", "-c", "exit 0"]
      env:
        - { name: NUMBER, value: "1" }
        - { name: IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
      ports: [{ containerPort: 80, hostPort: 80, protocol: UDP }]
      resources: { requests: { cpu: 0.5, memory: 64Mi }, limits: { memory: 134217728 } }
      livenessProbe: { httpGet: { port: http }, periodSeconds: 3 }
      volumeMounts: [{ name: data, mountPath: /data }]
      securityContext: null
      unknownField: 1
    - <<: *main
      name: second
---
"""
json = '''{
{T}"apiVersion": "v1", "kind": "Pod",
{T}"metadata": { "name": "b" },
{T}"spec": { "containers": [{ "name": "a", "image": "b" }] }
}'''
"#,
        expect![""],
    );
}

#[test]
fn each_fault_is_told_on_its_line() {
    check(
        r#"
tabbed = """
apiVersion: v1
kind: Pod
metadata:
{T}name: tabbed
"""
upper = '''
apiVersion: v1
kind: Pod
metadata: { name: Up, namespace: a.b, labels: { a: b c } }
spec:
  restartPolicy: always
  volumes:
    - { name: v, configMap: { name: c } }
    - { name: v, emptyDir: {}, hostPath: {} }
  containers:
    - name: UPPER
      image: "a b"
      args: [1, yes, "x"]
      env: [{ name: P, value: 1234 }, { value: "" }, { name: S, valueFrom: { secretKeyRef: {} } }]
      ports: [{ containerPort: "80" }, { containerPort: 70000 }, { hostPort: 1 }]
      resources: { limits: { memory: 1GB } }
      volumeMounts: [{ name: w, mountPath: /a }, { name: v }]
    - image: x
    - { name: c }
    - { name: c, image: x, imagePullPolicy: Sometimes }
'''
deployment = "apiVersion: apps/v1\nkind: Deployment\n"
version = "{ apiVersion: v2, kind: Pod }"
nothing = '# nothing'
text = "hello"
nobody = "{ apiVersion: v1, kind: Pod, spec: { runtimeClassName: x, serviceAccountName: me } }"
"#,
        expect![[r#"
            10:2: static pod `tabbed`: not YAML: tabs disallowed within this context (block indentation)
            15:1: static pod `upper`: `a.b` cannot be the name of a namespace: use at most 63 lower-case letters, digits and `-`, a letter or digit at both ends
            15:1: static pod `upper`: `b c` is not a value of Kubernetes: use at most 63 letters, digits, `-`, `_` and `.`, a letter or digit at both ends
            15:1: static pod `upper`: `Up` cannot be the name of a pod: use lower-case letters, digits, `-` and `.`, a letter or digit at both ends of each part
            17:3: static pod `upper`: `restartPolicy` must be one of `Always`, `OnFailure`, `Never`
            19:5: static pod `upper`: a static pod cannot have `configMap`, which only an API server knows
            20:5: static pod `upper`: there is a volume `v` already
            20:5: static pod `upper`: a volume has two sources
            20:5: static pod `upper`: a `hostPath` lacks its `path`
            22:5: static pod `upper`: `UPPER` cannot be the name of a container: use at most 63 lower-case letters, digits and `-`, a letter or digit at both ends
            23:7: static pod `upper`: the `image` of a container has a space in it
            24:7: static pod `upper`: `spec.containers[0].args[0]` must be a text, in quotes, not a number
            24:7: static pod `upper`: `spec.containers[0].args[1]` must be a text, in quotes, not true or false
            25:7: static pod `upper`: `spec.containers[0].env[0].value` must be a text, in quotes, not a number
            25:7: static pod `upper`: a variable of `env` lacks its `name`
            25:7: static pod `upper`: a static pod cannot have `secretKeyRef`, which only an API server knows
            26:7: static pod `upper`: `spec.containers[0].ports[0].containerPort` must be a whole number, not a text
            26:7: static pod `upper`: `containerPort` must be from 1 to 65535
            26:7: static pod `upper`: a port lacks its `containerPort`
            27:7: static pod `upper`: `spec.containers[0].resources.limits.memory` must be an amount, such as 500m or 1Gi, not a text
            28:7: static pod `upper`: there is no volume `w` to mount
            28:7: static pod `upper`: a volume is mounted without its `mountPath`
            29:5: static pod `upper`: a container lacks its `name`
            30:5: static pod `upper`: a container lacks its `image`
            31:5: static pod `upper`: there is a container `c` already
            31:5: static pod `upper`: `imagePullPolicy` must be one of `Always`, `IfNotPresent`, `Never`
            33:14: static pod `deployment`: kubelet takes `kind: Pod` of `apiVersion: v1` only; here the kind is `Deployment` and the version `apps/v1`
            34:11: static pod `version`: kubelet takes `kind: Pod` of `apiVersion: v1` only; here the kind is `Pod` and the version `v2`
            35:11: static pod `nothing`: there is no document in it
            36:8: static pod `text`: `a manifest` must be a table, not a text
            37:10: static pod `nobody`: `metadata.name` is missing
            37:10: static pod `nobody`: a static pod cannot have a `serviceAccountName`: kubelet refuses it
            37:10: static pod `nobody`: a node without an API server knows no `runtimeClassName`: kubelet would crash
            37:10: static pod `nobody`: `spec.containers` has none
        "#]],
    );
}

#[test]
fn two_pods_of_one_name_and_a_second_document_are_told() {
    check(
        r#"
one = """
apiVersion: v1
kind: Pod
metadata: { name: a }
spec: { containers: [{ name: a, image: b }] }
"""
two = """
apiVersion: v1
kind: Pod
metadata: { name: a, namespace: default }
spec: { containers: [{ name: a, image: b }] }
---
kind: Pod
"""
"#,
        expect![[r#"
            13:1: static pod `two`: the pod `a` in the namespace `default` is that of `one` already
            18:1: static pod `two`: kubelet reads the first document of a manifest only: write one key of `static-pods` for each pod
        "#]],
    );
}

#[test]
fn a_manifest_cannot_take_all_memory_or_all_of_the_stack() {
    let deep = format!("deep = '{}'\n", "[".repeat(5000));
    let mut laughs = "laughs = \"\"\"\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = vec![format!("*a{}", n - 1); 10].join(", ");
        laughs += &format!("a{n}: &a{n} [{before}]\n");
    }
    laughs += "\"\"\"\n";
    for text in [deep, laughs] {
        let problems = problems(&text);
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "([a-z:&*\\-\\[\\]{},#|>'\"! \n\t<]|\\PC){0,80}") {
        let _ = yaml::first_document(&text);
    }
}
