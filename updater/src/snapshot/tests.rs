//! Copies and what is put back, in a directory that stands for a node's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;
use crate::trial::note::tests::note_of;

const META: &str = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";
const LAYER_BASE: &str = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs";
const STATE: &str = "/var/lib/kubelet/allocated_pods_state";

struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        node.write(META, "old meta");
        node.write(&format!("{LAYER_BASE}/metadata.db"), "old layers");
        node.write(STATE, "old pods");
        node.write("/var/lib/kubelet/kubeconfig", "who I am");
        for layer in ["1", "2"] {
            fs::create_dir_all(node.path(&format!("{LAYER_BASE}/snapshots/{layer}/fs"))).unwrap();
        }
        let mode = fs::Permissions::from_mode(0o640);
        fs::set_permissions(node.path(META), mode).unwrap();
        node
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        below(self.0.path(), path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    /// What a newer containerd and kubelet make of it.
    fn migrate(&self) {
        self.write(META, "new meta, which the old one cannot read");
        self.write(&format!("{LAYER_BASE}/metadata.db"), "new layers");
        self.write("/var/lib/containerd/io.containerd.new.v1.bolt/new.db", "of a new plugin");
        fs::remove_file(self.path(STATE)).unwrap();
        fs::create_dir_all(self.path(&format!("{LAYER_BASE}/snapshots/3/fs"))).unwrap();
        self.write("/var/lib/kubelet/kubeconfig", "who I am now");
    }

    fn boot(&self, own: &str) -> Result<Done, SnapshotError> {
        before_containerd(self.0.path(), &note_of("new"), Sha256::of(own))
    }

    /// All files below `/var` with their text, and directories of layers.
    fn contents(&self) -> Vec<String> {
        fn walk(directory: &Path, root: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().display().to_string();
                if path.is_dir() {
                    found.push(name);
                    walk(&path, root, found);
                } else {
                    found.push(format!("{name} = {}", fs::read_to_string(&path).unwrap()));
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path("/var"), self.0.path(), &mut found);
        found.sort();
        found
    }
}

#[test]
fn a_fall_back_has_what_was_there_before_and_nothing_of_the_trial() {
    let node = Node::new();
    let before = node.contents();
    assert_eq!(node.boot("new").unwrap(), Done::Copied(3, 26));
    node.migrate();
    // The trial was interrupted and goes on: the copy is of before.
    assert_eq!(node.boot("new").unwrap(), Done::Nothing);
    assert_eq!(node.boot("old").unwrap(), Done::Restored(3));
    let mode = fs::metadata(node.path(META)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let mut after = node.contents();
    // The plugin's directory is empty, and what is no database is the trial's.
    after.retain(|name| !name.ends_with("io.containerd.new.v1.bolt") && !name.ends_with("orlop"));
    let want: Vec<_> = before.iter().map(|name| name.replace("who I am", "who I am now")).collect();
    assert_eq!(after, want);
    assert_eq!(node.boot("old").unwrap(), Done::Nothing, "once");
}

#[test]
fn what_is_put_back_is_the_copy_itself_so_a_full_disk_has_room_for_it() {
    use std::os::unix::fs::MetadataExt as _;
    let node = Node::new();
    node.boot("new").unwrap();
    node.migrate();
    let number = |path: &Path| fs::metadata(path).unwrap().ino();
    let copies: Vec<_> = ["0", "1", "2"].map(|it| number(&node.path(COPY).join(it))).into();
    assert_eq!(node.boot("old").unwrap(), Done::Restored(3));
    let places = [META.to_owned(), format!("{LAYER_BASE}/metadata.db"), STATE.to_owned()];
    let places: Vec<_> = places.iter().map(|place| number(&node.path(place))).collect();
    assert_eq!(places, copies);
}

#[test]
fn a_promoted_release_keeps_what_it_has() {
    let node = Node::new();
    node.boot("new").unwrap();
    node.migrate();
    forget(node.0.path()).unwrap();
    let has = node.contents();
    assert_eq!(node.boot("old").unwrap(), Done::Nothing);
    assert_eq!(node.contents(), has);
}

#[test]
fn a_copy_of_another_trial_is_not_put_back() {
    let node = Node::new();
    node.boot("new").unwrap();
    node.migrate();
    let has = node.contents();
    let other = note_of("newer");
    assert_eq!(before_containerd(node.0.path(), &other, Sha256::of("old")).unwrap(), Done::Nothing);
    let copied: Vec<_> = has.iter().filter(|name| !name.contains("before-trial")).collect();
    assert_eq!(node.contents().iter().collect::<Vec<_>>(), copied);
    // And the next trial has one of its own.
    let of_next = before_containerd(node.0.path(), &other, Sha256::of("newer"));
    assert!(matches!(of_next.unwrap(), Done::Copied(3, _)));
}

#[test]
fn a_copy_that_is_damaged_changes_nothing() {
    let node = Node::new();
    node.boot("new").unwrap();
    node.migrate();
    let copy = node.path(COPY).join("1");
    fs::write(&copy, "old layerz").unwrap();
    let error = node.boot("old").unwrap_err();
    assert!(error.to_string().starts_with("the copy of `/var/lib/containerd/"), "{error}");
    let meta = fs::read_to_string(node.path(META)).unwrap();
    assert!(meta.starts_with("new meta"), "half of it: {meta}");
    // It is whole after all, and then half of it is nowhere.
    fs::write(&copy, "old layers").unwrap();
    fs::remove_file(node.path(COPY).join("2")).unwrap();
    let error = node.boot("old").unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged(path) if path == STATE));
    let meta = fs::read_to_string(node.path(META)).unwrap();
    assert!(meta.starts_with("new meta"), "half of it: {meta}");
}

#[test]
fn what_is_too_large_is_not_copied_at_all() {
    let node = Node::new();
    fs::File::options()
        .write(true)
        .open(node.path(META))
        .unwrap()
        .set_len(copy::MOST_BYTES)
        .unwrap();
    let error = node.boot("new").unwrap_err();
    assert!(matches!(error, SnapshotError::TooLarge { .. }), "{error}");
    assert!(!node.path(COPY).exists());
    // Whoever looks before the trial sees the same.
    assert_eq!(check_room(node.0.path()).unwrap_err().to_string(), error.to_string());
}

#[test]
fn how_much_room_a_copy_needs_is_said_before_there_is_a_trial() {
    check_room(Node::new().0.path()).unwrap();
    // A block that is not full, a name and a line for each file, and a MiB for what lies beside.
    let needed = copy::needed(3, 26);
    assert_eq!(needed, 26 + 3 * 8192 + (1 << 20));
    assert!(copy::fits(needed, needed, "/var/lib/orlop").is_ok());
    let error = copy::fits(needed, needed - 1, "/var/lib/orlop").unwrap_err();
    let want = "a copy of the databases of containerd and kubelet needs 1073178 bytes in \
                `/var/lib/orlop`, and 1073177 are free: make room there, such as by removing images \
                that no pod needs";
    assert_eq!(error.to_string(), want);
}

#[test]
fn a_node_without_room_says_nothing_of_the_release() {
    let io = |kind: io::ErrorKind| SnapshotError::Io { doing: "copy x".into(), error: kind.into() };
    for (error, is_of_the_node) in [
        (io(io::ErrorKind::StorageFull), true),
        (io(io::ErrorKind::QuotaExceeded), true),
        (SnapshotError::TooMany(4096), true),
        (SnapshotError::NoRoom { needed: 2, free: 1, place: "/var" }, true),
        (io(io::ErrorKind::PermissionDenied), false),
        (SnapshotError::Damaged("x".into()), false),
    ] {
        assert_eq!(error.is_of_the_node(), is_of_the_node, "{error}");
    }
}

#[test]
fn what_was_copied_before_it_failed_takes_no_room() {
    let node = Node::new();
    let layers = node.path(&format!("{LAYER_BASE}/snapshots"));
    fs::remove_dir_all(&layers).unwrap();
    // It leads to itself.
    std::os::unix::fs::symlink("snapshots", &layers).unwrap();
    let error = node.boot("new").unwrap_err();
    assert!(error.to_string().starts_with("cannot look into "), "{error}");
    let left: Vec<_> = fs::read_dir(node.path("/var/lib/orlop")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_node_that_never_ran_has_nothing_to_copy() {
    let node = Node(tempfile::tempdir().unwrap());
    assert_eq!(node.boot("new").unwrap(), Done::Copied(0, 0));
    node.write(META, "made in the trial");
    assert_eq!(node.boot("old").unwrap(), Done::Restored(0));
    assert!(!node.path(META).exists());
}

proptest! {
    /// A power cut is somewhere between two steps: names are changed or not. Whatever was done of it, the
    /// next boot puts all back.
    #[test]
    fn what_was_half_put_back_is_put_back_whole(done in prop::collection::vec(any::<bool>(), 4)) {
        let node = Node::new();
        let before = node.contents();
        node.boot("new").unwrap();
        node.migrate();
        let files = [META.to_owned(), format!("{LAYER_BASE}/metadata.db"), STATE.to_owned()];
        for (number, file) in files.iter().enumerate() {
            if done[number] {
                fs::rename(node.path(COPY).join(number.to_string()), node.path(file)).unwrap();
            }
        }
        if done[3] {
            fs::remove_dir_all(node.path(&format!("{LAYER_BASE}/snapshots/3"))).unwrap();
        }
        prop_assert_eq!(node.boot("old").unwrap(), Done::Restored(3));
        let mut after = node.contents();
        after.retain(|name| !name.ends_with("io.containerd.new.v1.bolt") && !name.ends_with("orlop"));
        let want: Vec<_> =
            before.iter().map(|name| name.replace("who I am", "who I am now")).collect();
        prop_assert_eq!(after, want);
    }
}
