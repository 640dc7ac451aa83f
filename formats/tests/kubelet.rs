//! The keys of `[kubelet]` against kubelet's own source: names and types of
//! `k8s.io/kubelet/config/v1beta1/types.go`, in the version that the node's recipe locks. The module
//! is where `orlop fetch recipes/node.toml` leaves it; without it there is nothing to compare with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use formats::node_config::kubelet_fields;

/// `1.36.3` of a line `k8s.io/kubernetes v1.36.3`.
fn version(go_mod: &str) -> Option<String> {
    let line = go_mod.lines().find(|line| line.contains("k8s.io/kubernetes v"))?;
    let version = line.split(" v").nth(1)?.split_whitespace().next()?;
    Some(version.to_owned())
}

/// The kind of JSON that a type of Go is read from.
fn kind(go: &str, named: &BTreeMap<String, String>) -> &'static str {
    let go = go.trim_start_matches('*');
    match go {
        "bool" => "true or false",
        "int" | "int32" | "int64" | "uint32" => "a whole number",
        "float64" => "a number",
        "string" | "metav1.Duration" | "resource.Quantity" => "a string",
        _ if go.starts_with("[]") => "a list",
        _ if go.starts_with("map[") => "a table",
        _ => match named.get(go) {
            Some(of) => kind(of, named),
            None => "a table",
        },
    }
}

#[test]
fn the_keys_of_kubelet_are_those_of_its_own_source() {
    let go_mod =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/components/kubernetes/go.mod");
    let version = version(&fs::read_to_string(go_mod).unwrap()).unwrap();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let Some(cache) = cache.or_else(home) else { return };
    let minor = version.strip_prefix("1.").unwrap();
    let module = format!("orlop/go/pkg/mod/k8s.io/kubelet@v0.{minor}/config/v1beta1/types.go");
    let Ok(source) = fs::read_to_string(cache.join(module)) else {
        eprintln!("not compared: `orlop fetch recipes/node.toml` brings kubelet's source");
        return;
    };
    let mut named = BTreeMap::new();
    for line in source.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["type", name, of] = words[..] {
            named.insert(name.to_owned(), of.to_owned());
        }
    }
    let (_, body) = source.split_once("type KubeletConfiguration struct {\n").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let mut want = BTreeMap::new();
    for line in body.lines() {
        let (code, tag) = line.split_once('`').unwrap_or((line, ""));
        let words: Vec<_> = code.split_whitespace().collect();
        let key = tag.strip_prefix("json:\"").and_then(|tag| tag.split([',', '"']).next());
        if let ([_, of], Some(key)) = (&words[..], key)
            && !key.is_empty()
        {
            want.insert(key, kind(of, &named));
        }
    }
    assert!(want.len() > 100, "{want:?}");
    let ours: BTreeMap<_, _> = kubelet_fields().into_iter().collect();
    assert_eq!(ours.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    for (key, kind) in ours {
        // Of those that the node keeps for itself no value is right.
        if let Some(kind) = kind {
            assert_eq!((key, kind), (key, want[key]));
        }
    }
}
