//! Labels of the own Node object that say what the node can do, kept as the node's own check has found it in
//! this boot. kubelet gives labels only when it makes the object, and a node that gets another image, or
//! another machine below it, has one already.

use std::path::Path;

use formats::kata::{self, Found};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::files::{below, read};

/// Bytes of the file that is read.
const LARGEST: u64 = 4096;

/// The labels of a Node that are looked after; it has others, of any size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Labels {
    #[serde(rename = "orlop.dev/kata")]
    kata: Option<String>,
    #[serde(rename = "katacontainers.io/kata-runtime")]
    upstream: Option<String>,
    #[serde(rename = "orlop.dev/tee")]
    tee: Option<String>,
}

/// What the node whose file system begins at `root` can do. None while its check has not ended.
///
/// # Errors
/// The file is not what it should be, in words.
pub(super) fn found(root: &Path) -> Result<Option<Found>, String> {
    let cannot = |error: &dyn std::fmt::Display| format!("cannot read `{}`: {error}", kata::FOUND);
    match read(&below(root, kata::FOUND), LARGEST).map_err(|error| cannot(&error))? {
        Some(text) => serde_json::from_str(&text).map(Some).map_err(|error| cannot(&error)),
        // An image without Kata has nothing to check.
        None if !below(root, kata::PATH).exists() => Ok(Some(Found::default())),
        None => Ok(None),
    }
}

/// What changes these labels to what was found; nothing if they are so. Upstream's label is taken away only
/// with our own: where that is not, somebody else has given it.
pub(super) fn patch(labels: &Labels, found: &Found) -> Option<Value> {
    let kata = found.runs.then_some("true");
    let tee = found.tee.filter(|_| found.runs).map(kata::Tee::name);
    let ours = kata.is_some() || labels.kata.is_some();
    let wanted = [
        (kata::LABEL, &labels.kata, kata, true),
        (kata::UPSTREAM_LABEL, &labels.upstream, kata, ours),
        (kata::TEE_LABEL, &labels.tee, tee, true),
    ];
    let differ = wanted.into_iter().filter(|(_, is, want, ours)| *ours && is.as_deref() != *want);
    let change: Map<_, _> = differ
        .map(|(key, _, want, _)| (key.to_owned(), want.map_or(Value::Null, Value::from)))
        .collect();
    (!change.is_empty()).then(|| json!({ "metadata": { "labels": change } }))
}

#[cfg(test)]
mod tests {
    use formats::kata::Tee;

    use super::*;

    fn labels(text: &str) -> Labels {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn labels_follow_what_was_found_and_those_of_others_stay() {
        let runs = Found { runs: true, tee: None };
        let confidential = Found { runs: true, tee: Some(Tee::Snp) };
        let both =
            r#"{"orlop.dev/kata":"true","katacontainers.io/kata-runtime":"true","zone":"a"}"#;
        let with_tee = r#"{"orlop.dev/kata":"true","katacontainers.io/kata-runtime":"true","orlop.dev/tee":"tdx"}"#;
        let given = r#"{"orlop.dev/kata":"true","katacontainers.io/kata-runtime":"true"}"#;
        let gone = r#"{"orlop.dev/kata":null,"katacontainers.io/kata-runtime":null}"#;
        for (is, found, want) in [
            ("{}", &runs, Some(given)),
            (both, &runs, None),
            (both, &Found::default(), Some(gone)),
            ("{}", &Found::default(), None),
            // The work of somebody else's DaemonSet.
            (r#"{"katacontainers.io/kata-runtime":"true"}"#, &Found::default(), None),
            (with_tee, &confidential, Some(r#"{"orlop.dev/tee":"snp"}"#)),
            (with_tee, &runs, Some(r#"{"orlop.dev/tee":null}"#)),
            // What cannot run keeps no memory from anybody.
            (
                r#"{"orlop.dev/tee":"tdx"}"#,
                &Found { runs: false, tee: Some(Tee::Tdx) },
                Some(r#"{"orlop.dev/tee":null}"#),
            ),
        ] {
            let want = want.map(|text| -> Value { serde_json::from_str(text).unwrap() });
            let want = want.map(|labels| json!({ "metadata": { "labels": labels } }));
            assert_eq!(patch(&labels(is), found), want, "{is} {found:?}");
        }
    }

    #[test]
    fn a_check_that_has_not_ended_says_nothing_and_an_image_without_kata_needs_none() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = below(root.path(), path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(found(root.path()), Ok(Some(Found::default())));
        write(kata::PATH, "{}");
        assert_eq!(found(root.path()), Ok(None));
        write(kata::FOUND, r#"{"runs":true,"tee":"snp"}"#);
        assert_eq!(found(root.path()), Ok(Some(Found { runs: true, tee: Some(Tee::Snp) })));
        write(kata::FOUND, "{");
        assert!(
            found(root.path()).unwrap_err().starts_with("cannot read `/run/orlop/kata.json`: ")
        );
    }
}
