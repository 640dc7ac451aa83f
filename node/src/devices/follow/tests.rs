//! A node with made-up disks: they come, are written, change and go.

use std::path::PathBuf;

use super::*;
use crate::root::{Keep, PUBLIC};

struct Node {
    _directory: tempfile::TempDir,
    root: Root,
    follower: Follower,
    events: Receiver<Event>,
}

const AT: &str = "/sys/devices/pci0000:00/virtio1/block";

impl Node {
    fn new(disks: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        for path in [CLASS_BLOCK, AT, "/dev"] {
            fs::create_dir_all(root.path(path)).unwrap();
        }
        disks.iter().for_each(|disk| plug_in(&root, disk, disk));
        let (follower, events) = Follower::start(root.clone(), Uevents::open().unwrap()).unwrap();
        let mut node = Self { _directory: directory, root, follower, events };
        node.settle();
        node
    }

    /// Takes events until nothing is being read. News of this host's own devices passes through.
    fn settle(&mut self) {
        while !self.follower.is_idle() {
            let event = self.events.recv().unwrap();
            self.take(event);
        }
    }

    fn take(&mut self, event: Event) {
        self.follower.take(event, &mut |line| panic!("{line}")).unwrap();
    }

    fn news(&mut self, action: Action, name: &str) {
        let event = Uevent {
            action,
            subsystem: "block".to_owned(),
            name: name.to_owned(),
            node: Some(name.to_owned()),
        };
        self.take(Event::News(News::One(event)));
        self.settle();
    }

    fn links(&self) -> Vec<String> {
        let disk = self.root.path(DISK);
        let mut all = Vec::new();
        let mut left = vec![disk.clone()];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                match fs::read_link(entry.path()) {
                    Ok(target) => {
                        let path: PathBuf = entry.path();
                        let path = path.strip_prefix(&disk).unwrap().display().to_string();
                        all.push(format!("{path} -> {}", target.display()));
                    }
                    Err(_) => left.push(entry.path()),
                }
            }
        }
        all.sort();
        all
    }
}

fn plug_in(root: &Root, disk: &str, serial: &str) {
    root.write(format!("/dev/{disk}"), &[0; 8192], PUBLIC, Keep::ThisBoot).unwrap();
    let text = format!("{serial}\n");
    root.write(format!("{AT}/{disk}/serial"), text.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
    let link = root.path(CLASS_BLOCK).join(disk);
    let _ = fs::remove_file(&link);
    symlink(format!("../../devices/pci0000:00/virtio1/block/{disk}"), link).unwrap();
}

fn pull_out(root: &Root, disk: &str) {
    fs::remove_file(root.path(CLASS_BLOCK).join(disk)).unwrap();
    fs::remove_file(root.path(format!("/dev/{disk}"))).unwrap();
}

#[test]
fn names_come_and_go_with_their_disks() {
    let mut node = Node::new(&["vda", "vdb"]);
    assert_eq!(node.links(), ["by-id/virtio-vda -> ../../vda", "by-id/virtio-vdb -> ../../vdb"]);
    plug_in(&node.root, "vdc", "vol-1");
    node.news(Action::Present, "vdc");
    pull_out(&node.root, "vda");
    node.news(Action::Gone, "vda");
    assert_eq!(node.links(), ["by-id/virtio-vdb -> ../../vdb", "by-id/virtio-vol-1 -> ../../vdc"]);
    for disk in ["vdb", "vdc"] {
        pull_out(&node.root, disk);
        node.news(Action::Gone, disk);
    }
    assert_eq!(node.links(), [""; 0]);
    assert!(!node.root.path("/dev/disk/by-id").exists());
}

#[test]
fn a_file_system_that_is_made_names_its_disk_at_once() {
    let mut node = Node::new(&["vdb"]);
    let mut disk = vec![0; 8192];
    disk[4086..4096].copy_from_slice(b"SWAPSPACE2");
    disk[1036..1052].fill(7);
    fs::write(node.root.path("/dev/vdb"), disk).unwrap();
    while node.links().len() < 2 {
        let event = node.events.recv().unwrap();
        node.take(event);
    }
    let uuid = "by-uuid/07070707-0707-0707-0707-070707070707 -> ../../vdb";
    assert_eq!(node.links(), ["by-id/virtio-vdb -> ../../vdb", uuid]);
}

#[test]
fn after_lost_news_all_is_looked_at_again() {
    let mut node = Node::new(&["vda", "vdb"]);
    pull_out(&node.root, "vda");
    plug_in(&node.root, "vdc", "new");
    node.take(Event::News(News::Lost));
    node.settle();
    assert_eq!(node.links(), ["by-id/virtio-new -> ../../vdc", "by-id/virtio-vdb -> ../../vdb"]);
}
