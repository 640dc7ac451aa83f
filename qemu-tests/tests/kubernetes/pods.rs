//! A node joins, and pods on it do what pods do. All on the shared node.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::{Cluster, Orlop, registry};
use serde_json::{Value, json};

use crate::world::{LIMIT, pod, privileged, removed, runs, script, world};

pub(crate) fn a_node_joins_by_bootstrap_token(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, name) = (&world.cluster, world.worker(orlop)?);

    let requests = cluster.get(&["csr"])?;
    let ours = |request: &&Value| {
        request["spec"]["signerName"] == "kubernetes.io/kube-apiserver-client-kubelet"
            && request["spec"]["username"]
                .as_str()
                .is_some_and(|user| user.starts_with("system:bootstrap:"))
    };
    let requests = requests["items"].as_array().context("a list")?;
    let request = requests.iter().find(ours).context("no request by the bootstrap token")?;
    let approved = request["status"]["conditions"][0]["type"] == "Approved";
    ensure!(approved && request["status"]["certificate"].is_string(), "{request:#}");

    let node = cluster.get(&["node", name])?;
    let labels = &node["metadata"]["labels"];
    ensure!(labels["zone"] == "a" && labels["example.com/disk"] == "fast", "{labels}");
    let taints = node["spec"]["taints"].as_array().context("taints")?;
    let taint = json!({ "key": "dedicated", "value": "tests", "effect": "NoSchedule" });
    ensure!(taints.contains(&taint), "{taints:?}");
    let info = &node["status"]["nodeInfo"];
    ensure!(info["kubeletVersion"] == "v1.36.3", "{info}");
    let os = info["osImage"].as_str().unwrap_or_default();
    ensure!(os.starts_with("OrlopOS"), "{info}");
    let runtime = info["containerRuntimeVersion"].as_str().unwrap_or_default();
    ensure!(runtime.starts_with("containerd://"), "{info}");
    let addresses = node["status"]["addresses"].as_array().context("addresses")?;
    let own = json!({ "type": "InternalIP", "address": "10.0.2.15" });
    ensure!(addresses.contains(&own), "{addresses:?}");
    Ok(())
}

/// What the shared node's config says beside its cluster.
pub(crate) fn the_keys_of_a_node_are_used(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let pod = runs(cluster, &privileged("keys", node, "tail -f /dev/null"))?;
    // The registry has a password and a path of its own, behind a proxy that has a password too.
    ensure!(world.proxied() > 0, "the image came past the proxy");
    let cat = |file: &str| cluster.exec(&pod, &["cat", file]);
    ensure!(cat("/proc/sys/vm/max_map_count")?.trim() == "262144");
    ensure!(cat("/proc/sys/net/ipv4/conf/eth0/log_martians")?.trim() == "1");
    let routes = cluster.exec(&pod, &["ip", "route"])?;
    let route = "198.51.100.0/24 via 10.0.2.9 dev eth0";
    let found = routes.lines().any(|line| line.starts_with(route) && line.contains("metric 7"));
    ensure!(found, "{routes}");
    // Who may read the files of root may read them; nobody else is told.
    let mode = cluster.exec(&pod, &["stat", "-c", "%a", "/proc/1/root/run/orlop/proxy.env"])?;
    ensure!(mode.trim() == "600", "{mode}");
    let logs = "cat /proc/1/root/var/log/orlop/*.log /proc/1/root/run/orlop/system.toml";
    let logs = cluster.exec(&pod, &["sh", "-c", logs])?;
    let (_, of_proxy) = registry::PROXY_LOGIN.split_once(':').context("a password")?;
    for secret in [registry::PASSWORD, of_proxy] {
        ensure!(!logs.contains(secret), "a log has `{secret}`");
    }
    removed(cluster, &pod)
}

pub(crate) fn a_deployment_runs_two_pods(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    // Ends by itself when it is asked to, and says so in its log.
    let serve = "mkdir /www; hostname > /www/index.html; trap 'echo asked to end; exit 0' TERM; \
                 httpd -p 8080 -h /www; echo serving; tail -f /dev/null & wait";
    let template = script("web", node, serve);
    let mut spec = template["spec"].clone();
    spec["restartPolicy"] = "Always".into();
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": template["metadata"], "spec": spec },
        },
    });
    cluster.apply(&deployment.to_string())?;
    cluster.wait(&["deployment/web", "--for=condition=Available"], LIMIT)?;
    let pods = cluster.get(&["pods", "--selector", "app=web"])?;
    let pods = pods["items"].as_array().context("a list")?;
    ensure!(pods.len() == 2, "{} pods", pods.len());
    let first = pods[0]["metadata"]["name"].as_str().context("a pod has a name")?;

    cluster.log_line(first, "serving", LIMIT)?;
    ensure!(cluster.exec(first, &["hostname"])?.trim() == first);
    ensure!(forwarded(cluster, first)?.ends_with(&format!("{first}\n")));
    // The API server reaches it too, by its address and port.
    let raw = format!("/api/v1/namespaces/default/pods/{first}:8080/proxy/");
    let page = cluster.kubectl(["get", "--raw", &raw])?;
    ensure!(page.trim() == first, "{page}");
    let closed = format!("/api/v1/namespaces/default/pods/{first}:8081/proxy/");
    ensure!(cluster.kubectl(["get", "--raw", &closed]).is_err(), "nobody listens on 8081");
    // Each pod reaches the other on its bridge.
    let other = pods[1]["status"]["podIP"].as_str().context("a pod has an address")?;
    let page = cluster.exec(first, &["wget", "-q", "-O", "-", &format!("http://{other}:8080/")])?;
    ensure!(pods[1]["metadata"]["name"] == page.trim(), "{page}");

    // Grace: the log of the one that is removed ends with what it says on SIGTERM.
    let mut follow = cluster.kubectl_command();
    follow.args(["logs", "--follow", first]).stdout(Stdio::piped());
    let follow = follow.spawn()?;
    cluster.kubectl(["delete", "deployment", "web", "--wait=false"])?;
    let said = String::from_utf8(follow.wait_with_output()?.stdout)?;
    ensure!(said.ends_with("asked to end\n"), "{said}");
    cluster.wait(&[&format!("pod/{first}"), "--for=delete"], LIMIT)
}

/// What a pod answers on port 8080 through `kubectl port-forward`.
fn forwarded(cluster: &Cluster, pod: &str) -> Result<String> {
    let mut command = cluster.kubectl_command();
    command.args(["port-forward", &format!("pod/{pod}"), ":8080"]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let answer = (|| {
        // Open until the end: it says more, and a closed pipe would end it.
        let mut stdout = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let port = line.strip_prefix("Forwarding from 127.0.0.1:");
        let port = port.and_then(|rest| rest.split(' ').next()?.parse::<u16>().ok());
        let port = port.with_context(|| format!("`kubectl port-forward` said `{line}`"))?;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        drop(stdout);
        Ok(text)
    })();
    child.kill()?;
    child.wait()?;
    answer
}

pub(crate) fn volumes_of_every_kind_are_there(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let map = |value: &str| {
        let kind =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "words" } });
        let mut kind = kind;
        kind["data"] = json!({ "word": value });
        kind.to_string()
    };
    cluster.apply(&map("before\n"))?;
    let mounts =
        [("host", "/host"), ("memory", "/memory"), ("token", "/token"), ("words", "/words")];
    let mounts = mounts.map(|(name, path)| json!({ "name": name, "mountPath": path }));
    let token = json!({ "serviceAccountToken": { "path": "token", "expirationSeconds": 3600 } });
    let look = "cat /words/word; until grep after /words/word; do sleep 1; done; tail -f /dev/null";
    let container = json!({ "command": ["/bin/sh", "-c", look], "volumeMounts": mounts });
    let volumes = json!({ "volumes": [
        { "name": "host", "hostPath": { "path": "/etc" } },
        { "name": "memory", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } },
        { "name": "token", "projected": { "sources": [token] } },
        { "name": "words", "configMap": { "name": "words" } },
    ]});
    let pod = runs(cluster, &pod("volumes", node, container, volumes))?;
    let cat = |path: &str| cluster.exec(&pod, &["cat", path]);

    let info = &cluster.get(&["node", node])?["status"]["nodeInfo"];
    ensure!(info["machineID"] == cat("/host/machine-id")?.trim());
    let mounts = cat("/proc/mounts")?;
    let memory = mounts.lines().find(|line| line.contains(" /memory ")).context("/memory")?;
    ensure!(memory.starts_with("tmpfs ") && memory.contains("size=1024k"), "{memory}");
    // A token is three parts of base64; the first says what it is.
    ensure!(cat("/token/token")?.starts_with("eyJ"));
    cluster.log_line(&pod, "before", LIMIT)?;
    cluster.apply(&map("after\n"))?;
    // Touching the pod makes kubelet look at once instead of within a minute.
    cluster.kubectl(["annotate", "pod", &pod, "look=again"])?;
    cluster.log_line(&pod, "after", LIMIT)?;
    removed(cluster, &pod)
}

pub(crate) fn limits_and_an_oom_kill(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let limits = json!({ "limits": { "cpu": "250m", "memory": "32Mi" } });
    let container =
        json!({ "command": ["/bin/sh", "-c", "tail -f /dev/null"], "resources": limits });
    let quiet = runs(cluster, &pod("limited", node, container, json!({})))?;
    let read = |file: &str| cluster.exec(&quiet, &["cat", &format!("/sys/fs/cgroup/{file}")]);
    ensure!(read("memory.max")?.trim() == (32_u64 << 20).to_string());
    ensure!(read("cpu.max")?.trim() == "25000 100000");
    removed(cluster, &quiet)?;

    let container = json!({ "command": ["tail", "/dev/zero"], "resources": limits });
    let hungry = pod("hungry", node, container, json!({}));
    cluster.apply(&hungry.to_string())?;
    let last = cluster.watch(&["pod", "hungry"], LIMIT, "hungry is killed", |pod| {
        pod["status"]["phase"] == "Failed"
    })?;
    let state = &last["status"]["containerStatuses"][0]["state"]["terminated"];
    ensure!(state["reason"] == "OOMKilled" && state["exitCode"] == 137, "{state}");
    removed(cluster, "hungry")
}
