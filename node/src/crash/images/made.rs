//! A containerd that is made up, with images on directories that are there, for tests.

use std::collections::{BTreeMap, BTreeSet};

use cri::containerd::Descriptor;
use formats::digest::Sha256;
use serde_json::{Value, json};

use super::super::layer::tests::gzip;
use super::documents::chain;
use super::*;
use crate::images::archive::tests::tar;
use crate::images::{CONTENT, blob_path};
use crate::root::{Keep, PUBLIC};

/// A snapshot.
pub(super) struct Unpacked {
    pub(super) below: Option<String>,
    pub(super) directory: String,
}

/// A containerd with images whose layers have a file each.
pub(super) struct Made {
    pub(super) root: Root,
    pub(super) snapshots: BTreeMap<String, Unpacked>,
    pub(super) images: Vec<(String, Descriptor)>,
    /// The snapshots of what a name points to, by its digest: containerd knows them by labels, also
    /// when a blob is damaged.
    pub(super) layers: BTreeMap<String, Vec<String>>,
    /// What else holds a snapshot, by its name.
    pub(super) leases: BTreeMap<String, String>,
    pub(super) others: BTreeMap<String, String>,
    /// Calls about these fail.
    pub(super) refuses: Vec<String>,
    pub(super) done: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Made {
    /// As containerd's collector does: what nothing holds goes.
    fn collect(&mut self) {
        let layers = |(_, target): &(String, Descriptor)| self.layers.get(&target.digest);
        let mut held: Vec<String> =
            self.images.iter().filter_map(layers).flatten().cloned().collect();
        for holders in [&self.leases, &self.others] {
            held.extend(holders.values().cloned());
        }
        let mut kept = BTreeSet::new();
        while let Some(snapshot) = held.pop() {
            held.extend(self.snapshots.get(&snapshot).and_then(|found| found.below.clone()));
            kept.insert(snapshot);
        }
        self.snapshots.retain(|name, _| kept.contains(name));
    }

    /// Lays one on the snapshot of these layers, as who works with them does.
    pub(super) fn lay(&mut self, name: &str, layers: &[&str]) -> String {
        let below = chain(&ids(layers)).pop();
        let directory = format!("/snapshots/{name}/fs");
        self.snapshots.insert(name.to_owned(), Unpacked { below, directory });
        name.to_owned()
    }

    fn refused(&self, what: &str) -> Result<(), String> {
        match self.refuses.iter().any(|other| other == what) {
            true => Err("refused".to_owned()),
            false => Ok(()),
        }
    }
}

impl Runtime for Made {
    fn images(&mut self) -> Result<Vec<(String, Descriptor)>, String> {
        self.refused("images")?;
        Ok(self.images.clone())
    }
    fn delete_image(&mut self, name: &str) -> Result<(), String> {
        self.refused(name)?;
        self.images.retain(|(other, _)| other != name);
        self.done.push(format!("image {name}"));
        self.collect();
        Ok(())
    }
    fn delete_blob(&mut self, digest: &str) -> Result<(), String> {
        self.done.push(format!("blob {digest}"));
        Ok(())
    }
    fn directories(&mut self, snapshot: &str) -> Result<Option<Vec<String>>, String> {
        self.refused("directories")?;
        let mut found = Vec::new();
        let mut next = self.snapshots.get(snapshot);
        while let Some(snapshot) = next {
            found.push(snapshot.directory.clone());
            next = snapshot.below.as_ref().and_then(|below| self.snapshots.get(below));
        }
        Ok((!found.is_empty()).then_some(found))
    }
    fn snapshots(&mut self) -> Result<Vec<(String, String)>, String> {
        self.refused("snapshots")?;
        let pair = |(name, snapshot): (&String, &Unpacked)| {
            (name.clone(), snapshot.below.clone().unwrap_or_default())
        };
        Ok(self.snapshots.iter().map(pair).collect())
    }
    fn remove_snapshot(&mut self, snapshot: &str) -> Result<(), String> {
        self.refused(snapshot)?;
        // As containerd's overlay snapshotter does.
        if self.snapshots.values().any(|other| other.below.as_deref() == Some(snapshot)) {
            return Err("cannot remove snapshot with child: failed precondition".to_owned());
        }
        let removed = self.snapshots.remove(snapshot);
        self.done.extend(removed.map(|removed| format!("snapshot {}", removed.directory)));
        Ok(())
    }
    fn end_leases(&mut self) -> Result<(), String> {
        self.refused("leases")?;
        self.leases.clear();
        self.collect();
        Ok(())
    }
}

/// The file of each layer has its name as its content.
pub(super) fn layer(name: &str) -> Vec<u8> {
    gzip(&tar(&[(name, name.as_bytes())]))
}

pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::of(bytes))
}

/// The digests of the archives of layers.
pub(super) fn ids(layers: &[&str]) -> Vec<String> {
    layers.iter().map(|name| digest(&tar(&[(name, name.as_bytes())]))).collect()
}

pub(super) fn blob(digest: &str) -> String {
    format!("{CONTENT}/{}", blob_path(digest).unwrap())
}

pub(super) fn made(images: &[(&str, &[&str])]) -> Made {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(directory.path());
    let mut made = Made {
        root,
        snapshots: BTreeMap::new(),
        images: Vec::new(),
        layers: BTreeMap::new(),
        leases: BTreeMap::new(),
        others: BTreeMap::new(),
        refuses: Vec::new(),
        done: Vec::new(),
        _directory: directory,
    };
    for (name, layers) in images {
        made.add(name, layers);
    }
    made
}

impl Made {
    /// An image of these layers, the lowest first, all of them unpacked. The directory of a
    /// snapshot is named by the layers in it.
    pub(super) fn add(&mut self, name: &str, layers: &[&str]) {
        let blobs: Vec<_> = layers.iter().map(|name| layer(name)).collect();
        self.add_of(name, layers, &blobs);
    }

    pub(super) fn add_of(&mut self, name: &str, layers: &[&str], blobs: &[Vec<u8>]) {
        let ids = ids(layers);
        let mut below = None;
        for (at, snapshot) in chain(&ids).into_iter().enumerate() {
            let directory = format!("/snapshots/{}/fs", layers[..=at].join("-"));
            let file = format!("{directory}/{}", layers[at]);
            self.root.write(file, layers[at].as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
            self.snapshots.insert(snapshot.clone(), Unpacked { below, directory });
            below = Some(snapshot);
        }
        let entries: Vec<_> = blobs.iter().map(|blob| self.put(blob)).collect();
        // `config` of a configuration is something else than of a manifest.
        let config = json!({ "config": { "Cmd": ["/app"] }, "rootfs": { "diff_ids": ids } });
        let config = self.put(config.to_string().as_bytes());
        let manifest = json!({ "config": config, "layers": entries });
        let manifest = self.put(manifest.to_string().as_bytes());
        let absent = json!({ "digest": format!("sha256:{}", "0".repeat(64)), "size": 1 });
        let index = self.put(json!({ "manifests": [absent, manifest] }).to_string().as_bytes());
        let target = index["digest"].as_str().unwrap().to_owned();
        self.layers.insert(target, chain(&ids));
        self.name(name, &index);
    }

    pub(super) fn name(&mut self, name: &str, target: &Value) {
        let target = Descriptor {
            media_type: String::new(),
            digest: target["digest"].as_str().unwrap().to_owned(),
            size: target["size"].as_u64().unwrap(),
        };
        self.images.push((name.to_owned(), target));
    }

    pub(super) fn put(&self, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        self.root.write(blob(&digest), bytes, PUBLIC, Keep::ThisBoot).unwrap();
        json!({ "digest": digest, "size": bytes.len() })
    }

    pub(super) fn repair(&mut self, since: i64) -> Repair {
        let root = self.root.clone();
        make_good(self, &root, since)
    }

    /// What was done if nothing is left to be done.
    pub(super) fn good(&mut self, since: i64) -> Vec<String> {
        let repair = self.repair(since);
        assert_eq!(repair.left, [""; 0]);
        repair.done
    }

    /// The digest of the configuration of the image of this name.
    pub(super) fn config(&self, name: &str) -> String {
        let read = |digest: &str| -> Value {
            serde_json::from_slice(&fs::read(self.root.path(blob(digest))).unwrap()).unwrap()
        };
        let (_, target) = self.images.iter().find(|(other, _)| other == name).unwrap();
        let manifest = read(read(&target.digest)["manifests"][1]["digest"].as_str().unwrap());
        manifest["config"]["digest"].as_str().unwrap().to_owned()
    }

    pub(super) fn damage(&self, path: &str) {
        assert!(self.root.path(path).exists(), "{path}");
        fs::write(self.root.path(path), "").unwrap();
    }

    pub(super) fn damage_blob(&self, digest: &str) {
        self.damage(&blob(digest));
    }
}
