//! Images in a containerd that is made up, on directories that are there.

use cri::containerd::Descriptor;
use formats::digest::Sha256;
use serde_json::{Value, json};

use super::super::layer::tests::gzip;
use super::documents::{CONTENT, chain};
use super::*;
use crate::images::archive::tests::tar;
use crate::images::blob_path;
use crate::root::{Keep, PUBLIC};

/// A snapshot.
struct Unpacked {
    below: Option<String>,
    directory: String,
}

/// A containerd with images whose layers have a file each.
struct Made {
    root: Root,
    snapshots: BTreeMap<String, Unpacked>,
    images: Vec<(String, Descriptor)>,
    done: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Runtime for Made {
    fn images(&mut self) -> Result<Vec<(String, Descriptor)>, String> {
        Ok(self.images.clone())
    }
    fn delete_image(&mut self, name: &str) -> Result<(), String> {
        self.images.retain(|(other, _)| other != name);
        self.done.push(format!("image {name}"));
        Ok(())
    }
    fn delete_blob(&mut self, digest: &str) -> Result<(), String> {
        self.done.push(format!("blob {digest}"));
        Ok(())
    }
    fn directories(&mut self, snapshot: &str) -> Result<Option<Vec<String>>, String> {
        let mut found = Vec::new();
        let mut next = self.snapshots.get(snapshot);
        while let Some(snapshot) = next {
            found.push(snapshot.directory.clone());
            next = snapshot.below.as_ref().and_then(|below| self.snapshots.get(below));
        }
        Ok((!found.is_empty()).then_some(found))
    }
    fn remove_snapshot(&mut self, snapshot: &str) -> Result<(), String> {
        // As containerd's overlay snapshotter does.
        if self.snapshots.values().any(|other| other.below.as_deref() == Some(snapshot)) {
            return Err("cannot remove snapshot with child: failed precondition".to_owned());
        }
        let removed = self.snapshots.remove(snapshot).expect("one that is there");
        self.done.push(format!("snapshot {}", removed.directory));
        Ok(())
    }
    fn remove_pods(&mut self) -> Result<(), String> {
        self.done.push("pods".to_owned());
        Ok(())
    }
}

/// The file of each layer has its name as its content.
fn layer(name: &str) -> Vec<u8> {
    gzip(&tar(&[(name, name.as_bytes())]))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::of(bytes))
}

fn blob(digest: &str) -> String {
    format!("{CONTENT}/{}", blob_path(digest).unwrap())
}

fn made(images: &[(&str, &[&str])]) -> Made {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(directory.path());
    let (snapshots, done) = (BTreeMap::new(), Vec::new());
    let mut made = Made { root, snapshots, images: Vec::new(), done, _directory: directory };
    for (name, layers) in images {
        made.add(name, layers);
    }
    made
}

impl Made {
    /// An image of these layers, the lowest first, all of them unpacked. The directory of a
    /// snapshot is named by the layers in it.
    fn add(&mut self, name: &str, layers: &[&str]) {
        let ids: Vec<_> =
            layers.iter().map(|name| digest(&tar(&[(name, name.as_bytes())]))).collect();
        let mut below = None;
        for (at, snapshot) in chain(&ids).into_iter().enumerate() {
            let directory = format!("/snapshots/{}/fs", layers[..=at].join("-"));
            let file = format!("{directory}/{}", layers[at]);
            self.root.write(file, layers[at].as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
            self.snapshots.insert(snapshot.clone(), Unpacked { below, directory });
            below = Some(snapshot);
        }
        let entries: Vec<_> = layers.iter().map(|name| self.put(&layer(name))).collect();
        // `config` of a configuration is something else than of a manifest.
        let config = json!({ "config": { "Cmd": ["/app"] }, "rootfs": { "diff_ids": ids } });
        let config = self.put(config.to_string().as_bytes());
        let manifest = json!({ "config": config, "layers": entries });
        let manifest = self.put(manifest.to_string().as_bytes());
        let absent = json!({ "digest": format!("sha256:{}", "0".repeat(64)), "size": 1 });
        let index = self.put(json!({ "manifests": [absent, manifest] }).to_string().as_bytes());
        self.name(name, &index);
    }

    fn name(&mut self, name: &str, target: &Value) {
        let target = Descriptor {
            media_type: String::new(),
            digest: target["digest"].as_str().unwrap().to_owned(),
            size: target["size"].as_u64().unwrap(),
        };
        self.images.push((name.to_owned(), target));
    }

    fn put(&self, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        self.root.write(blob(&digest), bytes, PUBLIC, Keep::ThisBoot).unwrap();
        json!({ "digest": digest, "size": bytes.len() })
    }

    fn good(&mut self, since: i64) -> Vec<String> {
        let root = self.root.clone();
        make_good(self, &root, since)
    }

    fn damage(&self, path: &str) {
        assert!(self.root.path(path).exists(), "{path}");
        fs::write(self.root.path(path), "").unwrap();
    }

    fn damage_blob(&self, digest: &str) {
        self.damage(&blob(digest));
    }
}

const ONE: &[(&str, &[&str])] = &[("a.test/app:1", &["base", "app"])];
const TWO: &[(&str, &[&str])] =
    &[("a.test/app:1", &["base", "app"]), ("b.test/web:1", &["base", "lib", "web"])];

#[test]
fn of_what_is_whole_nothing_is_touched() {
    let mut made = made(TWO);
    assert_eq!(made.good(0), [""; 0]);
    assert_eq!(made.done, [""; 0]);
}

#[test]
fn a_damaged_snapshot_goes_with_those_on_it_and_the_pods_that_hold_it() {
    let mut made = made(ONE);
    made.damage("/snapshots/base/fs/base");
    let want = format!("base of {} is damaged: it will be unpacked again", digest(&layer("base")));
    assert_eq!(made.good(0), [want]);
    assert_eq!(
        made.done,
        ["pods", "snapshot /snapshots/base-app/fs", "snapshot /snapshots/base/fs"]
    );

    let mut made = self::made(ONE);
    made.damage("/snapshots/base-app/fs/app");
    assert_eq!(made.good(0).len(), 1);
    assert_eq!(made.done, ["pods", "snapshot /snapshots/base-app/fs"]);
}

#[test]
fn all_images_on_a_damaged_layer_are_unpacked_again_children_first() {
    let mut made = made(TWO);
    made.damage("/snapshots/base/fs/base");
    let want = format!("base of {} is damaged: it will be unpacked again", digest(&layer("base")));
    assert_eq!(made.good(0), [want]);
    assert_eq!(made.snapshots.len(), 0);
    assert_eq!(made.done.len(), 5, "{:?}", made.done);

    // Of what one has for itself, the other loses nothing.
    let mut made = self::made(TWO);
    made.damage("/snapshots/base-lib/fs/lib");
    assert_eq!(made.good(0).len(), 1);
    let gone = ["snapshot /snapshots/base-lib-web/fs", "snapshot /snapshots/base-lib/fs"];
    assert_eq!(made.done[1..], gone);
}

#[test]
fn a_damaged_blob_takes_every_name_and_every_image_that_needs_it() {
    // Two names of one image, and another image on the same layer: nothing is unpacked yet.
    let mut made = made(TWO);
    let (_, target) = made.images[0].clone();
    made.images.push(("c.test/app:latest".to_owned(), target));
    made.add("d.test/other:1", &["other"]);
    made.snapshots.clear();
    let base = digest(&layer("base"));
    made.damage_blob(&base);
    let lines = made.good(0);
    let removed =
        |name: &str| format!("{name} was damaged ({base}) and is removed: it is fetched again");
    assert_eq!(lines, ["a.test/app:1", "b.test/web:1", "c.test/app:latest"].map(removed));
    assert_eq!(made.images[0].0, "d.test/other:1");
    assert_eq!(made.done[3..], [format!("blob {base}")]);
    assert!(!made.root.path(blob(&base)).exists());
    assert!(made.root.path(blob(&digest(&layer("app")))).exists());
}

#[test]
fn a_blob_is_needed_by_the_image_alone_that_is_not_unpacked() {
    let mut made = made(TWO);
    made.add("c.test/base:1", &["lib"]);
    // The same blob on no other layer is another snapshot, which is not there.
    let alone = digest(&tar(&[("lib", b"lib")]));
    made.snapshots.remove(&alone).expect("it was there");
    made.damage_blob(&digest(&layer("lib")));
    assert_eq!(made.good(0).len(), 1);
    let gone = ["image c.test/base:1".to_owned(), format!("blob {}", digest(&layer("lib")))];
    assert_eq!(made.done, gone);
}

#[test]
fn what_was_there_long_before_the_power_cut_is_not_read() {
    let mut made = made(ONE);
    made.damage("/snapshots/base/fs/base");
    assert_eq!(made.good(i64::MAX), [""; 0]);
    assert_eq!(made.done, [""; 0]);
}

#[test]
fn an_image_whose_blob_is_damaged_goes_with_the_file_if_it_is_needed() {
    let mut made = made(ONE);
    let (name, target) = made.images[0].clone();
    made.damage_blob(&target.digest);
    assert_eq!(made.good(0).len(), 1);
    assert_eq!(made.done, [format!("image {name}"), format!("blob {}", target.digest)]);
    assert!(!made.root.path(blob(&target.digest)).exists());

    // All layers are unpacked: the blob is of no use, and a registry may be far.
    let mut made = self::made(ONE);
    made.damage_blob(&digest(&layer("base")));
    assert_eq!(made.good(0), [""; 0]);
    assert_eq!(made.done, [""; 0]);

    // Only the lower layer is unpacked.
    let mut made = self::made(ONE);
    made.snapshots.retain(|_, snapshot| snapshot.below.is_none());
    made.damage_blob(&digest(&layer("app")));
    assert_eq!(made.good(0).len(), 1);
    assert_eq!(made.done, [format!("image {name}"), format!("blob {}", digest(&layer("app")))]);
}

#[test]
fn what_is_not_understood_is_told_and_stays() {
    let mut made = made(ONE);
    let strange = made.put(b"no JSON");
    made.name("b.test/strange:1", &strange);
    let other = json!({ "digest": format!("sha512:{}", "0".repeat(128)), "size": 1 });
    made.name("c.test/sha512:1", &other);
    let lines = made.good(0);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("cannot look at b.test/strange:1: sha256:"), "{lines:?}");
    assert!(lines[1].contains("is no sha256 digest"), "{lines:?}");
    assert_eq!(made.done, [""; 0]);
}

#[test]
fn a_snapshot_that_cannot_go_is_told_once() {
    let mut made = made(ONE);
    // Of an image that nobody has a name for any more.
    let base = chain(&[digest(&tar(&[("base", b"base")]))]).remove(0);
    let directory = "/snapshots/orphan/fs".to_owned();
    made.snapshots.insert("orphan".to_owned(), Unpacked { below: Some(base), directory });
    made.damage("/snapshots/base/fs/base");
    let lines = made.good(0);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0]
            .ends_with("cannot be removed: cannot remove snapshot with child: failed precondition")
    );
}
