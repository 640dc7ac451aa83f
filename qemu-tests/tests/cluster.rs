//! The Kubernetes control plane that `orlop cluster` runs, without a node: does it work, and is
//! nothing left of it? `cargo xtask test` sets `ORLOP` and `ORLOP_IMAGE`.

#[path = "cluster/node_object.rs"]
mod node_object;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use qemu_tests::Orlop;
use qemu_tests::cluster::Cluster;
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::process::{command, run};
use rustix::process::Signal;

const TESTS: &[(&str, Test)] = &[
    ("a_deployment_gets_its_pods_from_the_controllers", deployment),
    ("a_bootstrap_token_may_ask_for_a_nodes_certificate_and_gets_it", bootstrap),
    ("what_a_kubelet_says_is_asked_for_through_the_proxy_alone", proxy),
    ("the_manifests_of_fleets_are_taken_by_the_api_server", fleets),
    ("a_process_that_dies_ends_the_cluster_and_is_named", death),
    ("two_clusters_run_side_by_side", two),
    ("a_node_answers_at_its_node_object_and_tells_by_events", node_object::life),
    ("a_node_may_change_its_own_node_object_and_no_other", node_object::rights),
    ("the_role_for_upgrades_is_taken_and_grants_what_it_says", node_object::manifests),
];

fn main() -> ExitCode {
    harness::main(TESTS, Threads::One)
}

fn deployment(orlop: &Orlop) -> Result<()> {
    let start = Instant::now();
    let cluster = Cluster::start(orlop, &[])?;
    let seconds = start.elapsed().as_secs_f64();
    orlop.measured(format!("a control plane took {seconds:.1} s to be ready"));
    cluster.kubectl(["create", "deployment", "web", "--image=none.example/web", "--replicas=2"])?;
    // Deployment, ReplicaSet, pods: two controllers have done their part.
    let replicas = "--for=jsonpath={.status.replicas}=2";
    cluster.kubectl(["wait", replicas, "deployment/web", "--timeout=120s"])?;
    let owners = "jsonpath={.items[*].metadata.ownerReferences[*].kind}";
    let pods = cluster.kubectl(["get", "pods", "-l", "app=web", "-o", owners])?;
    ensure!(pods == "ReplicaSet ReplicaSet", "{pods}");
    // And the scheduler its own: it looks for nodes, and there are none.
    let condition = "--for=condition=PodScheduled=false";
    cluster.kubectl(["wait", condition, "pods", "-l", "app=web", "--timeout=120s"])?;
    let versions = cluster.kubectl(["version", "-o", "json"])?;
    let versions: serde_json::Value = serde_json::from_str(&versions)?;
    let [client, server] = ["clientVersion", "serverVersion"].map(|v| &versions[v]["gitVersion"]);
    ensure!(
        client == server && client.as_str().is_some_and(|v| v.starts_with("v1.")),
        "{versions}"
    );
    let facts = cluster.facts.clone();
    cluster.stop()?;
    facts.are_gone()
}

/// As kubelet does it: shows the token, asks for a certificate as a node, and becomes that node.
fn bootstrap(orlop: &Orlop) -> Result<()> {
    let cluster = Cluster::start(orlop, &["--certificate-life", "10m"])?;
    let place = tempfile::tempdir()?;
    let at = |name: &str| place.path().join(name).display().to_string();
    let subject = "/O=system:nodes/CN=system:node:worker-1";
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"];
    let mut openssl = command("openssl");
    openssl
        .args(["req", "-new", "-subj", subject])
        .args(key)
        .arg(at("key"))
        .args(["-out", &at("csr")]);
    run(&mut openssl)?;
    let request = run(command("base64").args(["--wrap=0", &at("csr")]))?;
    let object = serde_json::json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": { "name": "worker-1" },
        "spec": {
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "request": request,
            "usages": ["digital signature", "client auth"],
        },
    });
    std::fs::write(at("csr.json"), object.to_string())?;
    let facts = &cluster.facts;
    std::fs::write(at("ca"), &facts.ca)?;
    let nobody = |args: &[&str]| {
        let mut kubectl = command(&facts.kubectl);
        kubectl.env("HOME", place.path()).args(["--kubeconfig", "/dev/null"]);
        kubectl.args(["--server", &facts.server, "--certificate-authority", &at("ca")]);
        run(kubectl.args(args))
    };
    let create = ["create", "-f", &at("csr.json")];
    ensure!(nobody(&create).is_err(), "somebody without a token may ask for a certificate");
    nobody(&[&["--token", &facts.token][..], &create].concat())?;
    // Approved and signed without anybody's doing.
    cluster.kubectl([
        "wait",
        "--for=jsonpath={.status.certificate}",
        "csr/worker-1",
        "--timeout=120s",
    ])?;
    let certificate = cluster.kubectl([
        "get",
        "csr",
        "worker-1",
        "-o",
        "go-template={{.status.certificate | base64decode}}",
    ])?;
    std::fs::write(at("certificate"), certificate)?;
    run(command("openssl").args(["verify", "-CAfile", &at("ca"), &at("certificate")]))?;
    let check = |seconds: &str| {
        let check = ["x509", "-noout", "-checkend", seconds, "-in", &at("certificate")];
        run(command("openssl").args(check))
    };
    ensure!(check("60").is_ok() && check("660").is_err(), "it does not live for ten minutes");
    let identity = ["--client-certificate", &at("certificate"), "--client-key", &at("key")];
    let who = nobody(
        &[&identity[..], &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]]
            .concat(),
    )?;
    ensure!(who == "system:node:worker-1", "{who}");
    // It may make its own Node and no other.
    for (name, want) in [("worker-1", true), ("worker-2", false)] {
        let node =
            serde_json::json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
        std::fs::write(at("node.json"), node.to_string())?;
        let made = nobody(&[&identity[..], &["create", "-f", &at("node.json")]].concat());
        ensure!(made.is_ok() == want, "{name}: {made:?}");
    }
    cluster.stop()
}

fn proxy(orlop: &Orlop) -> Result<()> {
    let place = tempfile::tempdir()?;
    let directory = place.path().join("cluster");
    let cluster = Cluster::start(orlop, &["--dir", &directory.display().to_string()])?;
    let node = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": "worker-1" },
        "status": {
            "addresses": [{ "type": "InternalIP", "address": "10.0.2.15" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
        },
    });
    let file = place.path().join("node.json");
    std::fs::write(&file, node.to_string())?;
    cluster.kubectl(["create".as_ref(), "-f".as_ref(), file.as_os_str()])?;
    let ask = || cluster.kubectl(["get", "--raw", "/api/v1/nodes/worker-1/proxy/healthz"]);
    let answer = format!("{:#}", ask().unwrap_err());
    ensure!(answer.contains("no node is registered at 10.0.2.15:10250, and no pod"), "{answer}");
    // Something that listens and is no kubelet: the connection comes, TLS does not.
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::fs::write(cluster.facts.nodes.join("10.0.2.15:10250"), port.to_string())?;
    let first_bytes = std::thread::spawn(move || -> Result<[u8; 2]> {
        let (mut connection, _) = listener.accept()?;
        let mut bytes = [0; 2];
        std::io::Read::read_exact(&mut connection, &mut bytes)?;
        Ok(bytes)
    });
    ensure!(ask().is_err(), "what is no kubelet is believed");
    let first_bytes = first_bytes.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
    ensure!(first_bytes == [0x16, 0x03], "{first_bytes:?} is no TLS handshake");
    cluster.stop()?;
    ensure!(directory.join("logs/kube-apiserver.log").is_file(), "the logs are gone");
    Ok(())
}

/// The plan of the page becomes the controller's Job, and kured's DaemonSet is one: each word of them is
/// known to the API server.
fn fleets(orlop: &Orlop) -> Result<()> {
    let cluster = Cluster::start(orlop, &[])?;
    let plan = qemu_tests::fleets::plan(&cluster)?;
    let job = qemu_tests::fleets::job(&plan, "worker-1", "none.example/kubectl")?;
    let place = tempfile::tempdir()?;
    let taken = |manifest: &str| {
        let file = place.path().join("manifest");
        std::fs::write(&file, manifest)?;
        let words = ["create", "--dry-run=server", "--validate=strict", "-o", "json", "-f"];
        let text = cluster.kubectl(words.iter().map(AsRef::as_ref).chain([file.as_os_str()]))?;
        Ok::<serde_json::Value, anyhow::Error>(serde_json::from_str(&text)?)
    };
    let job = taken(&job.to_string())?;
    let pod = &job["spec"]["template"]["spec"];
    let upgrade = &pod["containers"][0];
    // The client, the socket, and the version that kubelet puts in are those of the node.
    let command = upgrade["command"][0].as_str().unwrap_or_default();
    ensure!(command.strip_prefix("/host") == Some("/usr/lib/orlop/orlop-updater"), "{upgrade}");
    let args = ["--socket", "/host/run/orlop/updater.sock", "upgrade", "--wait"];
    let version = "$(SYSTEM_UPGRADE_PLAN_LATEST_VERSION)";
    let args: Vec<_> = args.into_iter().chain([version]).collect();
    ensure!(upgrade["args"] == serde_json::json!(args), "{upgrade}");
    let env = upgrade["env"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = |it: &&serde_json::Value| it["name"] == "SYSTEM_UPGRADE_PLAN_LATEST_VERSION";
    let latest = env.iter().find(named).map(|it| &it["value"]);
    ensure!(latest == Some(&plan["spec"]["version"]), "{env:?}");
    ensure!(upgrade["securityContext"]["runAsUser"] == 0, "the socket is for root: {upgrade}");
    ensure!(pod["hostPID"] == true && pod["initContainers"][0]["name"] == "drain", "{pod}");
    taken(&qemu_tests::fleets::manifest("DaemonSet")?)?;
    // That it would be noticed.
    let wrong = qemu_tests::fleets::manifest("DaemonSet")?.replace("hostPID", "hostPid");
    ensure!(taken(&wrong).is_err(), "a word that nobody knows is taken");
    cluster.stop()
}

fn death(orlop: &Orlop) -> Result<()> {
    let cluster = Cluster::start(orlop, &[])?;
    let facts = cluster.facts.clone();
    cluster.signal("kube-scheduler", Signal::KILL)?;
    let (code, said) = cluster.ended()?;
    // The clusters of tests are started with JSON, so what ends them is an object on a line.
    let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
    let named = "`kube-scheduler` ended with signal: 9 (SIGKILL)\n  ";
    let why = last["message"].as_str().unwrap_or_default();
    ensure!(code == Some(1) && last["id"] == "E0130" && why.starts_with(named), "{code:?} {said}");
    facts.are_gone()
}

fn two(orlop: &Orlop) -> Result<()> {
    let one = Cluster::start(orlop, &[])?;
    let other = Cluster::start(orlop, &[])?;
    one.kubectl(["create", "namespace", "first"])?;
    ensure!(other.kubectl(["get", "namespace", "first"]).is_err(), "they are one");
    one.stop()?;
    other.kubectl(["get", "namespaces"])?;
    other.stop()
}
