//! Of trials, and of the updater.

use super::texts;

pub(crate) fn trial() -> Vec<Vec<u8>> {
    let hash = "0123456789abcdef".repeat(4);
    let note = format!(
        "{hash}\nfrom = \"{hash}\"\nversion = \"1.2\"\nkubelet = true\n\
         failed-before = [\"cri\", \"check:dns\"]\n"
    );
    let outcome = format!("root-hash = \"{hash}\"\nverdict = \"unhealthy\"\nreason = \"so\"\n");
    let databases = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";
    let list = format!("trial {hash}\nfrom {hash}\nfile {hash} 65536 {databases}\nlayer 12\nend\n");
    let mut seeds = texts(&[
        &note,
        &outcome,
        "ask = { http-200 = \"http://127.0.0.1:8080/healthz\" }\ninterval = \"5s\"\ndeadline = \"2m\"\n",
        "ask = { exec = [\"/usr/bin/check\", \"-v\"] }\ntimeout = \"500ms\"\n",
        "ask = { node-condition = \"DiskPressure=False\" }\n",
        "ask = { tcp = \"[::1]:53\" }\n",
        &list,
    ]);
    seeds.extend(formats::loader::encode("2b.efi"));
    seeds
}

pub(crate) fn updater() -> Vec<Vec<u8>> {
    texts(&[
        "{\"do\": \"status\"}",
        "{\"do\": \"stage\", \"version\": \"1.2\", \"from\": \"https://releases.example/\"}",
    ])
}

pub(crate) fn node_object() -> Vec<Vec<u8>> {
    let status = format!(
        "{{\"schema\":1,\"version\":\"1.1\",\"root-hash\":\"{}\",\"phase\":\"fell-back\",\"release\":\"1.2\",\
         \"request\":\"x\",\"reason\":\"so\",\"fallback\":{{\"version\":\"1.2\",\"reason\":\"so\",\"time\":7}}}}",
        "0123456789abcdef".repeat(4)
    );
    let node = "{\"metadata\":{\"name\":\"a\",\"uid\":\"u\",\"resourceVersion\":\"7\",\"annotations\":\
                {\"orlop.dev/release\":\"1.2\",\"orlop.dev/request\":\"x\"}},\"status\":{\"conditions\":\
                [{\"type\":\"Ready\",\"status\":\"True\"}]}}";
    texts(&[
        &status,
        node,
        &format!("{{\"metadata\":{{\"resourceVersion\":\"7\"}},\"items\":[{node}]}}"),
        &format!("{{\"type\":\"MODIFIED\",\"object\":{node}}}"),
        "{\"type\":\"ERROR\",\"object\":{\"code\":410,\"message\":\"too old\"}}",
    ])
}
