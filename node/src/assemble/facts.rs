//! What is found on a node and shapes its files.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use formats::kubelet::{CURRENT, Credential};
use formats::node_config::HostName;

use super::cluster::Cluster;
use super::serving::Kept;
use super::{Error, cluster, registries, serving};
use crate::root::Root;

/// The directory of static pods; all that is in it is ours.
pub(super) const MANIFESTS: &str = "/run/orlop/kubelet/manifests";
/// Where kubelet keeps the certificates it was given, and we the pair that we make.
pub(super) const CERTIFICATES: &str = "/var/lib/kubelet/pki";
/// Our own small files; more is a damaged one.
const LIMIT: u64 = 1024 * 1024;
const MEMORY: &str = "/proc/meminfo";

/// What is found on a node and shapes its files.
#[derive(Debug, Default)]
pub struct Facts {
    /// Seconds since 1970, never before the image was made.
    pub(super) now: u64,
    /// Bytes of memory, if the kernel says.
    pub(super) memory: Option<u64>,
    /// The cluster that kubelet's credentials are for.
    pub(super) cluster: Option<Cluster>,
    /// kubelet's client certificates and the link to the current one.
    pub(super) client_certificates: BTreeSet<String>,
    /// The name in kubelet's client certificate: what the node is called in its cluster.
    pub(super) registered: Option<HostName>,
    /// The serving pair on the disk, if it is whole.
    pub(super) serving: Option<Kept>,
    /// Files of an earlier configuration which the next may no longer have.
    pub(super) ours: BTreeSet<String>,
}

impl Facts {
    /// Looks at the node.
    ///
    /// # Errors
    /// If something is there and cannot be read. A damaged file of our own counts as absent.
    pub fn read(root: &Root, now: u64) -> Result<Self, Error> {
        let pki = names(root, CERTIFICATES)?;
        let certificates =
            pki.iter().filter(|name| name.starts_with("kubelet-client-") && name.ends_with(".pem"));
        let manifests = names(root, MANIFESTS)?;
        let mut ours: BTreeSet<_> =
            manifests.iter().map(|name| format!("{}/{name}", MANIFESTS)).collect();
        for name in names(root, registries::DIRECTORY)? {
            let hosts = registries::hosts_path(&name);
            if text(root, &hosts)?.is_some_and(|text| text.starts_with(registries::MARK)) {
                ours.extend([hosts, registries::ca_path(&name)]);
            }
        }
        Ok(Self {
            now,
            memory: text(root, MEMORY)?.as_deref().and_then(total),
            cluster: text(root, cluster::PATH)?.as_deref().and_then(Cluster::parse),
            client_certificates: certificates
                .map(|name| format!("{}/{name}", CERTIFICATES))
                .collect(),
            registered: text(root, CURRENT)?
                .as_deref()
                .and_then(Credential::parse)
                .and_then(|credential| credential.node),
            serving: serving_pair(root)?,
            ours,
        })
    }
}

/// What was noted of the pair when it was made, if certificate and key still are those.
fn serving_pair(root: &Root) -> Result<Option<Kept>, Error> {
    let Some(kept) = text(root, serving::NOTE)?.as_deref().and_then(Kept::parse) else {
        return Ok(None);
    };
    let (certificate, key) = (text(root, serving::CERTIFICATE)?, text(root, serving::KEY)?);
    let whole = kept.is_of(&certificate.unwrap_or_default(), &key.unwrap_or_default());
    Ok(whole.then_some(kept))
}

/// How many bytes of memory the machine has, if the kernel says.
pub(crate) fn memory(root: &Root) -> Option<u64> {
    text(root, MEMORY).ok()?.as_deref().and_then(total)
}

/// `MemTotal` of `/proc/meminfo` (proc_meminfo(5)), which is in KiB whatever it is called.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// A text file; `None` if there is none or it cannot be one of ours.
fn text(root: &Root, path: &str) -> Result<Option<String>, Error> {
    match root.read(path, LIMIT) {
        Ok(bytes) => Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok())),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

/// The names in a directory; none if there is no directory.
fn names(root: &Root, path: &str) -> Result<BTreeSet<String>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let entries = match fs::read_dir(root.path(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(failed)?,
    };
    entries
        .map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{Keep, PUBLIC};

    fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        for (path, text) in files {
            root.write(path, text.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
        }
        (directory, root)
    }

    #[test]
    fn of_an_empty_node_nothing_is_known() {
        let (_directory, root) = root(&[]);
        let facts = Facts::read(&root, 7).unwrap();
        assert_eq!((facts.now, facts.memory, facts.cluster, facts.serving), (7, None, None, None));
        assert_eq!((facts.client_certificates.len(), facts.ours.len()), (0, 0));
    }

    #[test]
    fn only_what_this_program_wrote_is_its_own() {
        let (_directory, root) = root(&[
            ("/run/orlop/kubelet/manifests/hello.yaml", ""),
            ("/etc/containerd/certs.d/docker.io/hosts.toml", &format!("{}\n", registries::MARK)),
            ("/etc/containerd/certs.d/of.the.image/hosts.toml", "server = \"\""),
            ("/var/lib/kubelet/pki/kubelet-client-current.pem", ""),
            ("/var/lib/kubelet/pki/kubelet-server-current.pem", ""),
            ("/proc/meminfo", "MemFree:  7 kB\nMemTotal:        2048 kB\n"),
        ]);
        let facts = Facts::read(&root, 0).unwrap();
        let ours: Vec<_> = facts.ours.iter().map(String::as_str).collect();
        let want = [
            "/etc/containerd/certs.d/docker.io/hosts.toml",
            "/etc/containerd/certs.d/docker.io/orlop-ca.crt",
            "/run/orlop/kubelet/manifests/hello.yaml",
        ];
        assert_eq!(ours, want);
        let current = "/var/lib/kubelet/pki/kubelet-client-current.pem".to_owned();
        assert_eq!(facts.client_certificates, BTreeSet::from([current]));
        assert_eq!(facts.memory, Some(2 * 1024 * 1024));
    }

    #[test]
    fn damaged_notes_count_as_absent() {
        for text in ["", "{", "\u{0}", "[1]", "{\"server\": 1}"] {
            let (_directory, root) = root(&[(cluster::PATH, text), (serving::NOTE, text)]);
            let facts = Facts::read(&root, 0).unwrap();
            assert_eq!((facts.cluster, facts.serving), (None, None), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_names_it() {
        let (directory, root) = root(&[]);
        fs::create_dir_all(directory.path().join("var/lib/orlop/cluster.json")).unwrap();
        let error = Facts::read(&root, 0).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /var/lib/orlop/cluster.json");
    }

    #[test]
    fn memory_is_read_from_the_kernels_text() {
        for (text, want) in [
            ("MemTotal:        2015712 kB\n", Some(2_064_089_088)),
            ("MemTotal: many kB\n", None),
            ("MemTotal: 18446744073709551615 kB\n", None),
            ("", None),
        ] {
            assert_eq!(total(text), want, "{text}");
        }
    }
}
