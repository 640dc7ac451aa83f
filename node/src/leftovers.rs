//! What kubelet and the pod network left on STATE in an earlier boot, and what must not be read by
//! this one: kubelet ends, for good, at a state file that is damaged or of another policy.
//!
//! Files of which nothing is lost go at each boot: which processors and which memory a container
//! has, for no container outlives a boot. Others go only if they are damaged. All this happens
//! before kubelet starts, in two steps: [`found`] looks, [`clear`] removes and tells.

use std::fs;
use std::path::Path;

use formats::crc32::crc32;
use formats::kubelet::Credential;
use formats::node_config::NodeConfig;
use serde_json::Value;

use crate::root::Root;

/// Larger ones are of nobody.
const LIMIT: u64 = 16 << 20;
const KUBELET: &str = "/var/lib/kubelet";
/// Where libcni (`cacheDir`) and flannel's plugin (`dataDir`) note what they did for a pod, to undo
/// it. Neither flushes what it writes. At a damaged note the plugin fails each time that it shall
/// undo, so the sandbox could not be stopped; without one it has nothing to undo.
const CNI_NOTES: [&str; 2] = ["/var/lib/cni/results", "/var/lib/cni/flannel"];
const CLIENT_CERTIFICATE: &str = "kubelet-client-";
const CURRENT: &str = "kubelet-client-current.pem";

/// Something that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Leftover {
    path: String,
    /// Why, for people; nothing if nobody loses anything by it.
    why: Option<String>,
}

/// How a state file is known to be whole.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// JSON.
    Json,
    /// JSON, `checksum` is the FNV-1a hash of `data` (`pkg/kubelet/checkpointmanager/checksum`).
    Fnv,
    /// JSON, `Checksum` is the CRC-32 of `Data` (`pkg/kubelet/cm/dra/state`).
    Crc,
    /// A kubeconfig which names the cluster and a certificate.
    Kubeconfig,
}

/// kubelet's files that it cannot go on with, or without knowing, if they are damaged.
const CHECKED: [(&str, Form); 6] = [
    ("kubeconfig", Form::Kubeconfig),
    ("allocated_pods_state", Form::Fnv),
    ("actuated_pods_state", Form::Fnv),
    ("dra_manager_state", Form::Crc),
    ("dra_health_state", Form::Json),
    ("device-plugins/kubelet_internal_checkpoint", Form::Json),
];

/// kubelet's files about containers of this boot alone: name, field of its configuration, default.
const OF_ONE_BOOT: [(&str, &str, &str); 2] = [
    ("cpu_manager_state", "cpuManagerPolicy", "none"),
    ("memory_manager_state", "memoryManagerPolicy", "None"),
];

/// Removes what must not be read; what people should know, a line each.
pub fn clear(root: &Root, config: &NodeConfig) -> Vec<String> {
    let mut lines = Vec::new();
    for Leftover { path, why } in found(root, config) {
        match root.remove(&path) {
            Ok(()) => lines.extend(why.map(|why| format!("{path} {why}"))),
            Err(error) => lines.push(format!("{path} must go and cannot be removed: {error}")),
        }
    }
    lines
}

fn found(root: &Root, config: &NodeConfig) -> Vec<Leftover> {
    let mut found = Vec::new();
    for (name, field, default) in OF_ONE_BOOT {
        let path = format!("{KUBELET}/{name}");
        let policy = config.kubelet.get(field).and_then(|value| value.as_str()).unwrap_or(default);
        if let Some(bytes) = read(root, &path) {
            found.push(Leftover { path, why: foreign(&bytes, policy) });
        }
    }
    for (name, form) in CHECKED {
        let path = format!("{KUBELET}/{name}");
        if read(root, &path).is_some_and(|bytes| !is_whole(&bytes, form)) {
            found.push(damaged(path));
        }
    }
    for directory in CNI_NOTES {
        for name in names(&root.path(directory)) {
            let path = format!("{directory}/{name}");
            if read(root, &path).is_some_and(|bytes| !is_whole(&bytes, Form::Json)) {
                found.push(damaged(path));
            }
        }
    }
    // The link to the current one last: it is as good as what it leads to.
    let directory = format!("{KUBELET}/pki");
    for name in names(&root.path(&directory)) {
        let path = format!("{directory}/{name}");
        let ours = name.starts_with(CLIENT_CERTIFICATE) && name.ends_with(".pem");
        let whole = |bytes: &Vec<u8>| str::from_utf8(bytes).ok().and_then(Credential::parse);
        if ours && read(root, &path).is_some_and(|bytes| whole(&bytes).is_none()) {
            // One line is enough of both.
            let why = (name == CURRENT)
                .then(|| "was damaged and is removed: the node joins its cluster anew".to_owned());
            found.push(Leftover { path, why });
        }
    }
    found
}

fn damaged(path: String) -> Leftover {
    Leftover { path, why: Some("was damaged and is removed".to_owned()) }
}

/// What is there. What cannot be read or is too large is as good as damaged.
fn read(root: &Root, path: &str) -> Option<Vec<u8>> {
    root.read(path, LIMIT).unwrap_or_else(|_| Some(Vec::new()))
}

/// In their order; none if there is no such directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// What is strange about the state of a policy.
fn foreign(bytes: &[u8], policy: &str) -> Option<String> {
    let Ok(state) = serde_json::from_slice::<Value>(bytes) else {
        return Some("was damaged and is removed".to_owned());
    };
    let of = state.get("policyName").and_then(Value::as_str).unwrap_or("?");
    (of != policy).then(|| format!("was of the policy `{of}` and is removed: it is `{policy}` now"))
}

fn is_whole(bytes: &[u8], form: Form) -> bool {
    if let Form::Kubeconfig = form {
        return str::from_utf8(bytes).is_ok_and(|text| {
            ["clusters:", "server:", "client-certificate"].iter().all(|key| text.contains(key))
        });
    }
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return false };
    let (data, sum) = match form {
        Form::Json | Form::Kubeconfig => return value.is_object(),
        Form::Fnv => ("data", "checksum"),
        Form::Crc => ("Data", "Checksum"),
    };
    let (Some(data), Some(sum)) = (value[data].as_str(), value[sum].as_u64()) else {
        return false;
    };
    let wanted = match form {
        Form::Crc => crc32(data.as_bytes()),
        // Of the text as `github.com/davecgh/go-spew` prints it, with its type.
        _ => fnv(format!("(string){data}").as_bytes()),
    };
    sum == u64::from(wanted)
}

/// FNV-1a of 32 bits.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use formats::node_config::parse;
    use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

    use super::*;
    use crate::root::{Keep, PUBLIC};

    /// kubelet's own, of its tests.
    const ALLOCATED: &str = r#"{"data":"{\"entries\":{\"pod1\":{\"ContainerResources\":{\"container1\":{\"requests\":{\"cpu\":\"1Ki\",\"memory\":\"1Ki\"}}}}}}","checksum":1178570812}"#;
    const CPUS: &str = r#"{"policyName":"none","defaultCpuSet":"","checksum":1353318690}"#;
    const MEMORY: &str =
        r#"{"policyName":"None","machineState":{},"entries":{},"checksum":4236770233}"#;

    fn node(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        for (path, bytes) in files {
            root.write(format!("/var/lib/{path}"), bytes, PUBLIC, Keep::ThisBoot).unwrap();
        }
        (directory, root)
    }

    fn credential_of(node: &str) -> String {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        certificate.pem() + &key.serialize_pem().replace(" PRIVATE KEY", " EC PRIVATE KEY")
    }

    fn config(kubelet: &str) -> NodeConfig {
        let text = format!("schema = 1\n[kubernetes]\nstandalone = true\n[kubelet]\n{kubelet}");
        parse(&text).unwrap()
    }

    #[test]
    fn a_node_that_never_ran_has_nothing_to_clear() {
        let (_directory, root) = node(&[]);
        assert_eq!(clear(&root, &config("")), [""; 0]);
    }

    #[test]
    fn what_is_whole_stays_and_the_state_of_containers_goes_without_a_word() {
        let dra = format!(r#"{{"Data":"{{}}","Checksum":{}}}"#, crc32(b"{}"));
        let (directory, root) = node(&[
            ("kubelet/cpu_manager_state", CPUS.as_bytes()),
            ("kubelet/memory_manager_state", MEMORY.as_bytes()),
            ("kubelet/allocated_pods_state", ALLOCATED.as_bytes()),
            ("kubelet/dra_manager_state", dra.as_bytes()),
            ("kubelet/device-plugins/kubelet_internal_checkpoint", b"{\"Data\":{},\"Checksum\":7}"),
            ("cni/results/bridge-abc-eth0", b"{\"kind\":\"cniCacheV1\"}"),
            ("cni/flannel/abc", b"{\"type\":\"bridge\"}"),
            ("kubelet/pki/kubelet-client-2026.pem", credential_of("alpha").as_bytes()),
            ("kubelet/kubeconfig", b"clusters:\n- server: x\nusers:\n- client-certificate: y\n"),
        ]);
        let pki = directory.path().join("var/lib/kubelet/pki");
        symlink(pki.join("kubelet-client-2026.pem"), pki.join(CURRENT)).unwrap();
        assert_eq!(clear(&root, &config("")), [""; 0]);
        let left = names(&directory.path().join("var/lib/kubelet"));
        let want =
            ["allocated_pods_state", "device-plugins", "dra_manager_state", "kubeconfig", "pki"];
        assert_eq!(left, want);
        assert_eq!(names(&pki), ["kubelet-client-2026.pem", CURRENT]);
        for notes in ["results", "flannel"] {
            assert_eq!(names(&directory.path().join("var/lib/cni").join(notes)).len(), 1);
        }
    }

    #[test]
    fn the_state_of_another_policy_is_told_whichever_way_it_changed() {
        let to_static = config("cpuManagerPolicy = \"static\"\n");
        let (_directory, root) = node(&[("kubelet/cpu_manager_state", CPUS.as_bytes())]);
        let want = "/var/lib/kubelet/cpu_manager_state was of the policy `none` and is removed: it \
                    is `static` now";
        assert_eq!(clear(&root, &to_static), [want]);
        let of_static = CPUS.replace("none", "static");
        let (_directory, root) = node(&[("kubelet/cpu_manager_state", of_static.as_bytes())]);
        let want = "/var/lib/kubelet/cpu_manager_state was of the policy `static` and is removed: \
                    it is `none` now";
        assert_eq!(clear(&root, &config("")), [want]);
    }

    #[test]
    fn whatever_is_damaged_is_removed_with_a_line() {
        let names = [
            "kubelet/cpu_manager_state",
            "kubelet/memory_manager_state",
            "kubelet/kubeconfig",
            "kubelet/allocated_pods_state",
            "kubelet/actuated_pods_state",
            "kubelet/dra_manager_state",
            "kubelet/device-plugins/kubelet_internal_checkpoint",
            "cni/results/x",
            "cni/flannel/x",
            "kubelet/pki/kubelet-client-current.pem",
        ];
        for bytes in [&b""[..], b"\0\0\0\0", b"{", b"\xff\xfe", b"[]", b"null", b"7"] {
            for name in names {
                let (directory, root) = node(&[(name, bytes)]);
                let lines = clear(&root, &config(""));
                assert_eq!(lines.len(), 1, "{name} {bytes:?}: {lines:?}");
                assert!(lines[0].starts_with(&format!("/var/lib/{name} was ")), "{lines:?}");
                assert!(!directory.path().join("var/lib").join(name).exists(), "{name}");
            }
        }
        // Whole, but not what kubelet has written.
        let other = ALLOCATED.replace("pod1", "pod2");
        let (_directory, root) = node(&[("kubelet/allocated_pods_state", other.as_bytes())]);
        assert_eq!(clear(&root, &config("")).len(), 1);
    }

    #[test]
    fn a_damaged_certificate_takes_the_link_to_it_with_it() {
        let (directory, root) = node(&[("kubelet/pki/kubelet-client-2026.pem", b"")]);
        let pki = directory.path().join("var/lib/kubelet/pki");
        symlink("kubelet-client-2026.pem", pki.join(CURRENT)).unwrap();
        let want = "/var/lib/kubelet/pki/kubelet-client-current.pem was damaged and is removed: \
                    the node joins its cluster anew";
        assert_eq!(clear(&root, &config("")), [want]);
        assert_eq!(names(&pki), [""; 0]);
    }
}
