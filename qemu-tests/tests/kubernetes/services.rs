//! A Service, by kube-proxy in a pod which brings its own `nft`.

use anyhow::{Context as _, Result, ensure};
use qemu_tests::Orlop;
use serde_json::json;

use crate::world::{LIMIT, PROXY, removed, runs, script, world};

pub(crate) fn a_service_answers_from_a_pod(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "kube-proxy" },
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": "tests:kube-proxy" },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier",
        },
        "subjects": [{ "kind": "ServiceAccount", "name": "kube-proxy", "namespace": "default" }],
    });
    let mounted = "/var/run/secrets/kubernetes.io/serviceaccount";
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": {
            "server": cluster.facts.guest_server, "certificate-authority": format!("{mounted}/ca.crt"),
        }}],
        "users": [{ "name": "u", "user": { "tokenFile": format!("{mounted}/token") } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "c",
    });
    let config = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "kube-proxy" },
        "data": { "kubeconfig": kubeconfig.to_string() },
    });
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "kube-proxy" },
        "spec": {
            "selector": { "matchLabels": { "app": "kube-proxy" } },
            "template": {
                "metadata": { "labels": { "app": "kube-proxy" } },
                "spec": {
                    "serviceAccountName": "kube-proxy",
                    "hostNetwork": true,
                    "nodeSelector": { "kubernetes.io/hostname": node },
                    "tolerations": [{ "operator": "Exists" }],
                    "volumes": [{ "name": "config", "configMap": { "name": "kube-proxy" } }],
                    "containers": [{
                        "name": "kube-proxy",
                        "image": PROXY,
                        "command": [
                            "/usr/bin/kube-proxy", "--proxy-mode=nftables",
                            "--kubeconfig=/config/kubeconfig", "--cluster-cidr=10.88.0.0/16",
                            &format!("--hostname-override={node}"),
                        ],
                        "securityContext": { "privileged": true },
                        "volumeMounts": [{ "name": "config", "mountPath": "/config" }],
                        "readinessProbe": { "httpGet": { "path": "/healthz", "port": 10256 } },
                    }],
                },
            },
        },
    });
    for object in [&account, &binding, &config, &set] {
        cluster.apply(&object.to_string())?;
    }

    let serve = "mkdir /www && echo through the service > /www/index.html && \
                 httpd -f -p 8080 -h /www";
    let server = runs(cluster, &script("server", node, serve))?;
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "server" },
        "spec": { "selector": { "app": "server" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    });
    cluster.apply(&service.to_string())?;
    let service = cluster.get(&["service", "server"])?;
    let address = service["spec"]["clusterIP"].as_str().context("a Service has an address")?;
    cluster.watch(&["daemonset", "kube-proxy"], LIMIT, "kube-proxy is ready", |set| {
        set["status"]["numberReady"] == 1
    })?;

    // kube-proxy may still be writing its rules: the client tries until it has an answer.
    let client = runs(cluster, &script("client", node, "tail -f /dev/null"))?;
    let ask = format!("until timeout 5 wget -q -O - http://{address}/; do sleep 1; done");
    let page = cluster.exec(&client, &["timeout", "300", "sh", "-c", &ask])?;
    ensure!(page == "through the service\n", "{page}");
    let proxied = "/api/v1/namespaces/default/services/server:80/proxy/";
    let page = cluster.kubectl(["get", "--raw", proxied])?;
    ensure!(page == "through the service\n", "{page}");
    for pod in [&client, &server] {
        removed(cluster, pod)?;
    }
    Ok(())
}
