//! Images in a containerd that is made up, on directories that are there.

use serde_json::json;

use super::super::layer::tests::gzip;
use super::*;
use crate::images::archive::tests::tar;
use crate::root::{Keep, PUBLIC};

/// A containerd with one image of two layers, both unpacked.
struct Made {
    root: Root,
    /// Snapshots from the lowest on, with their directories.
    snapshots: Vec<(String, String)>,
    images: Vec<(String, Descriptor)>,
    done: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Runtime for Made {
    fn images(&mut self) -> Result<Vec<(String, Descriptor)>, String> {
        Ok(self.images.clone())
    }
    fn delete_image(&mut self, name: &str) -> Result<(), String> {
        self.done.push(format!("image {name}"));
        Ok(())
    }
    fn delete_blob(&mut self, digest: &str) -> Result<(), String> {
        self.done.push(format!("blob {digest}"));
        Ok(())
    }
    fn directories(&mut self, snapshot: &str) -> Result<Option<Vec<String>>, String> {
        let at = self.snapshots.iter().position(|(name, _)| name == snapshot);
        Ok(at.map(|at| self.snapshots[..=at].iter().rev().map(|(_, d)| d.clone()).collect()))
    }
    fn remove_snapshot(&mut self, snapshot: &str) -> Result<(), String> {
        let last = self.snapshots.pop().map(|(name, _)| name);
        assert_eq!(last.as_deref(), Some(snapshot), "one that something lies on cannot go");
        self.done.push(format!("snapshot {}", self.snapshots.len() + 1));
        Ok(())
    }
    fn remove_pods(&mut self) -> Result<(), String> {
        self.done.push("pods".to_owned());
        Ok(())
    }
}

const FILES: [(&str, &[u8]); 2] = [("base", b"the lower"), ("app", b"the upper")];

fn made() -> Made {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(directory.path());
    let put = |bytes: &[u8]| {
        let digest = format!("sha256:{}", Sha256::of(bytes));
        root.write(blob("", &digest), bytes, PUBLIC, Keep::ThisBoot).unwrap();
        json!({ "digest": digest, "size": bytes.len() })
    };
    let archives = FILES.map(|file| tar(&[file]));
    let ids: Vec<_> = archives.iter().map(|tar| format!("sha256:{}", Sha256::of(tar))).collect();
    let layers: Vec<_> = archives.iter().map(|tar| put(&gzip(tar))).collect();
    // `config` of a configuration is something else than of a manifest.
    let config = json!({ "config": { "Cmd": ["/app"] }, "rootfs": { "diff_ids": ids } });
    let config = put(config.to_string().as_bytes());
    let manifest = put(json!({ "config": config, "layers": layers }).to_string().as_bytes());
    let absent = json!({ "digest": format!("sha256:{}", "0".repeat(64)), "size": 1 });
    let index = put(json!({ "manifests": [absent, manifest] }).to_string().as_bytes());
    let snapshots = chain(&ids).into_iter().zip(1..).map(|(name, number)| {
        let path = format!("/var/lib/containerd/snapshots/{number}/fs");
        let (file, bytes) = FILES[number - 1];
        root.write(format!("{path}/{file}"), bytes, PUBLIC, Keep::ThisBoot).unwrap();
        (name, path)
    });
    let snapshots = snapshots.collect();
    let target = Descriptor {
        media_type: String::new(),
        digest: index["digest"].as_str().unwrap().to_owned(),
        size: index["size"].as_u64().unwrap(),
    };
    let images = vec![("a.test/app:1".to_owned(), target)];
    Made { root, snapshots, images, done: Vec::new(), _directory: directory }
}

fn blob(root: &str, digest: &str) -> String {
    format!("{root}{CONTENT}/{}", blob_path(digest).unwrap())
}

impl Made {
    fn good(&mut self, since: i64) -> Vec<String> {
        let root = self.root.clone();
        make_good(self, &root, since)
    }

    fn damage(&self, path: &str) {
        fs::write(self.root.path(path), "").unwrap();
    }

    /// The digests of the layers' blobs.
    fn layer(&self, number: usize) -> String {
        format!("sha256:{}", Sha256::of(gzip(&tar(&[FILES[number]]))))
    }
}

#[test]
fn of_what_is_whole_nothing_is_touched() {
    let mut made = made();
    let want = "the last boot did not end in order; all images are whole";
    assert_eq!(made.good(0), [want]);
    assert_eq!(made.done, [""; 0]);
}

#[test]
fn a_damaged_snapshot_goes_with_those_on_it_and_the_pods_that_hold_it() {
    let mut made = made();
    made.damage("/var/lib/containerd/snapshots/1/fs/base");
    let lines = made.good(0);
    assert_eq!(made.done, ["pods", "snapshot 2", "snapshot 1"]);
    let want = format!("base of {} is damaged: it will be unpacked again", made.layer(0));
    assert_eq!(lines, [want.clone(), want]);

    let mut made = self::made();
    made.damage("/var/lib/containerd/snapshots/2/fs/app");
    assert_eq!(made.good(0).len(), 1);
    assert_eq!(made.done, ["pods", "snapshot 2"]);
}

#[test]
fn what_was_there_long_before_the_power_cut_is_not_read() {
    let mut made = made();
    made.damage("/var/lib/containerd/snapshots/1/fs/base");
    assert_eq!(made.good(i64::MAX).len(), 1);
    assert_eq!(made.done, [""; 0]);
}

#[test]
fn an_image_whose_blob_is_damaged_goes_with_the_file_if_it_is_needed() {
    let mut made = made();
    let (name, target) = made.images[0].clone();
    made.damage(&blob("", &target.digest));
    assert_eq!(made.good(0).len(), 1);
    assert_eq!(made.done, [format!("image {name}"), format!("blob {}", target.digest)]);
    assert!(!made.root.path(blob("", &target.digest)).exists());

    // All layers are unpacked: the blob is of no use, and a registry may be far.
    let mut made = self::made();
    made.damage(&blob("", &made.layer(0)));
    made.good(0);
    assert_eq!(made.done, [""; 0]);

    // Not unpacked yet.
    let mut made = self::made();
    made.snapshots.clear();
    made.damage(&blob("", &made.layer(1)));
    made.good(0);
    assert_eq!(made.done, [format!("image {name}"), format!("blob {}", made.layer(1))]);
}
