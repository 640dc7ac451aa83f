//! What is in a copy, as text: of which trial it is, each file with size and digest, and the layers that
//! there were.

use std::fmt::Write as _;

use formats::digest::Sha256;

/// Which trial a copy is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// The root hash of the release on trial.
    pub of: Sha256,
    /// The root hash of the release whose databases these are.
    pub from: Sha256,
}

/// A file of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Where it belongs, absolute on the node.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Of its bytes.
    pub digest: Sha256,
}

/// The list of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Of which trial.
    pub trial: Trial,
    /// The files, in the order of their paths. The file in the copy is called by its number.
    pub files: Vec<Copied>,
    /// The names of the directories of layers that there were: one that a trial adds is none that the
    /// databases know.
    pub layers: Vec<String>,
}

impl List {
    /// As text. Paths and names hold no line break: others are not copied.
    pub fn text(&self) -> String {
        let Trial { of, from } = self.trial;
        let mut text = format!("trial {of}\nfrom {from}\n");
        // Writing into a string does not fail.
        for Copied { path, size, digest } in &self.files {
            let _ = writeln!(text, "file {digest} {size} {path}");
        }
        for name in &self.layers {
            let _ = writeln!(text, "layer {name}");
        }
        text + "end\n"
    }

    /// Out of its text; `None` if it is not whole, or names a file that [`is_ours`] does not know.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix("end\n")?.lines();
        let mut digest = |key| lines.next()?.strip_prefix(key)?.parse().ok();
        let trial = Trial { of: digest("trial ")?, from: digest("from ")? };
        let (mut files, mut layers) = (Vec::new(), Vec::new());
        for line in lines {
            match line.split_once(' ')? {
                ("file", rest) => {
                    let mut words = rest.splitn(3, ' ');
                    let digest = words.next()?.parse().ok()?;
                    let size = words.next()?.parse().ok()?;
                    let path = words.next().filter(|path| is_ours(path))?.to_owned();
                    files.push(Copied { path, size, digest });
                }
                ("layer", name) if is_name(name) => layers.push(name.to_owned()),
                _ => return None,
            }
        }
        Some(Self { trial, files, layers })
    }
}

/// Whether a file below these directories is a small database that a version of containerd or kubelet
/// has its own form of.
pub fn is_ours(path: &str) -> bool {
    let Some((directory, name)) = path.rsplit_once('/') else { return false };
    if !is_name(name) {
        return false;
    }
    match directory {
        KUBELET => name.ends_with("_state"),
        DEVICE_PLUGINS => name == "kubelet_internal_checkpoint",
        PULLING | PULLED => true,
        _ => {
            let plugin = directory.strip_prefix(CONTAINERD).and_then(|rest| rest.strip_prefix('/'));
            plugin.is_some_and(|plugin| plugin.starts_with("io.containerd.") && is_name(plugin))
                && name.ends_with(".db")
        }
    }
}

/// All that containerd keeps; each plugin has a directory in it.
pub(super) const CONTAINERD: &str = "/var/lib/containerd";
/// Its layers.
pub(super) const LAYERS: &str =
    "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
pub(super) const KUBELET: &str = "/var/lib/kubelet";
pub(super) const DEVICE_PLUGINS: &str = "/var/lib/kubelet/device-plugins";
/// Which pod may use which private image (`pkg/kubelet/images/pullmanager` of Kubernetes).
pub(super) const PULLING: &str = "/var/lib/kubelet/image_manager/pulling";
pub(super) const PULLED: &str = "/var/lib/kubelet/image_manager/pulled";

/// One name, that leads nowhere else and fits into a line.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && !name.contains('/')
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const META: &str = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";

    fn list() -> List {
        let file = |path: &str| Copied { path: path.into(), size: 9, digest: Sha256::of(path) };
        List {
            trial: Trial { of: Sha256::of("new"), from: Sha256::of("old") },
            files: vec![file(META), file("/var/lib/kubelet/dra_manager_state")],
            layers: vec!["1".into(), "27".into()],
        }
    }

    #[test]
    fn a_list_is_read_back_and_half_of_one_is_none() {
        let text = list().text();
        assert_eq!(List::parse(&text), Some(list()));
        for (end, _) in text.char_indices() {
            assert_eq!(List::parse(&text[..end]), None, "{}", &text[..end]);
        }
    }

    #[test]
    fn a_list_leads_nowhere_else() {
        let text = list().text();
        for bad in [
            "/etc/passwd",
            "/var/lib/containerd/io.containerd.x/../y.db",
            "/var/lib/containerd/../kubelet/x.db",
            "/var/lib/kubelet/pki/x_state",
            "/var/lib/kubelet/..",
            "relative_state",
        ] {
            assert!(!is_ours(bad), "{bad}");
            assert_eq!(List::parse(&text.replace(META, bad)), None, "{bad}");
        }
        assert_eq!(List::parse(&text.replace("layer 27", "layer ../27")), None);
        assert_eq!(List::parse(&text.replace("layer 27", "more 27")), None);
    }

    #[test]
    fn small_databases_are_known_by_where_they_are() {
        for ours in [
            META,
            "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/metadata.db",
            "/var/lib/containerd/io.containerd.mount-manager.v1.bolt/mounts.db",
            "/var/lib/kubelet/allocated_pods_state",
            "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint",
            "/var/lib/kubelet/image_manager/pulled/sha256-abc",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in [
            "/var/lib/containerd/io.containerd.metadata.v1.bolt/a/meta.db",
            "/var/lib/containerd/other/meta.db",
            "/var/lib/kubelet/kubeconfig",
            "/var/lib/kubelet/device-plugins/kubelet.sock",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(trial |from |file |layer |end\n|\n|.){0,20}") {
            let _ = List::parse(&text);
        }
    }
}
