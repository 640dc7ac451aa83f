//! A node's files in a directory, and whoever asks its unit.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use formats::boot_entries::Slot;
use formats::fat::{Alias, Content, Options, Piece, Plan};
use formats::incoming::Root as ImageRoot;
use formats::verity::Verity;
use tempfile::TempDir;
use updater::boot_loader::own_architecture;
use updater::cancel::Cancel;
use updater::command::{self, Failure};
use updater::facts;
use updater::node::{Node, boot};
use updater::serve::{Socket, Unit};
use updater::work::Updater;

use crate::shared::loader::loader;
use crate::shared::server::Server;
use crate::shared::uki::uki;
use crate::shared::world::{Made, NOW, World, two_images};

pub(crate) const SLOT: u64 = 2 << 20;
const MIB: u64 = 1 << 20;
pub(crate) const UKI: u64 = 256 << 10;
const NAMES: [&str; 5] = ["ESP", "META", "ROOT-A", "ROOT-B", "STATE"];

pub(crate) fn write(root: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A UKI as what travels.
pub(crate) fn made(uki: Vec<u8>) -> Made {
    let salt: [u8; 16] = *formats::digest::Sha256::of(&uki).as_bytes().first_chunk().unwrap();
    let verity = Verity::of(&salt, &uki).unwrap();
    let root = ImageRoot { hash: verity.root_hash, salt, size: uki.len() as u64 };
    Made { data: uki, root, tree: verity.tree }
}

/// A node with a disk as the builder makes it.
pub(crate) struct OwnNode {
    pub(crate) directory: TempDir,
}

impl OwnNode {
    pub(crate) fn new(world: &World, old: &Made, channel: &str) -> Self {
        // Not where temporary files are: a file system in memory has no other way but its pages.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let node = Self { directory };
        let root = &node.root();
        write(root, "usr/lib/os-release", "ORLOP_IMAGE=node\nORLOP_VERSION=1.0\n");
        write(root, "usr/lib/orlop/time-floor", format!("{}\n", NOW - 1000));
        write(root, "usr/lib/orlop/updates/root.json", &world.root_bytes);
        write(root, "usr/lib/orlop/systemd-boot.efi", loader("257.13-1", 4000));
        write(root, "etc/machine-id", format!("{}\n", "7".repeat(32)));
        let config = format!("schema = 1\n[update]\nchannel = '{channel}'\nrate-limit = 100000\n");
        write(root, "var/lib/orlop/node.toml", config);
        for (number, name) in (1..).zip(NAMES) {
            let device = format!("vda{number}");
            let place = format!("sys/devices/vda/{device}");
            write(root, &format!("{place}/partition"), number.to_string());
            write(root, &format!("{place}/uevent"), format!("DEVNAME={device}\nPARTNAME={name}\n"));
            fs::create_dir_all(root.join("sys/class/block")).unwrap();
            let link = root.join("sys/class/block").join(&device);
            symlink(format!("../../devices/vda/{device}"), link).unwrap();
        }
        write(root, "sys/class/block/dm-0/dm/name", "orlop-root\n");
        write(root, "dev/vda1", esp(&uki("1.0", old.root.hash, UKI)));
        write(root, "dev/vda2", vec![0; 1 << 20]);
        for device in ["dev/vda3", "dev/vda4"] {
            write(root, device, old.slot());
            File::options().write(true).open(root.join(device)).unwrap().set_len(SLOT).unwrap();
        }
        node.boot(Slot::A, "1.0", old);
        node
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// What the loader and PID 1 would do.
    pub(crate) fn boot(&self, slot: Slot, version: &str, image: &Made) {
        let root = &self.root();
        let (slaves, run) = (root.join("sys/class/block/dm-0/slaves"), root.join("run"));
        drop(fs::remove_dir_all(&slaves));
        drop(fs::remove_dir_all(run));
        // On a node it leads to the same.
        drop(fs::remove_dir_all(root.join("var/run")));
        fs::create_dir_all(slaves.join(["vda3", "vda4"][slot.index()])).unwrap();
        write(root, "dev/dm-0", &image.data);
        let partition = "00000000-0000-0000-0000-000000000001";
        let hash = image.root.hash;
        let line = format!("ro orlop.root=partuuid:{partition} orlop.roothash={hash}\n");
        write(root, "proc/cmdline", line);
        let said = format!("ORLOP_IMAGE=node\nORLOP_VERSION={version}\n");
        write(root, "usr/lib/os-release", said);
    }

    pub(crate) fn updater(&self) -> Updater {
        Updater { root: self.root(), now: || NOW }
    }

    /// The boot was found healthy.
    pub(crate) fn healthy(&self) {
        let facts = facts::read(&self.root()).unwrap();
        boot::begin(&self.root(), &facts, NOW).unwrap();
        Node::open(&self.root(), &facts).unwrap().found_healthy().unwrap();
        // No container runtime answers in a test, and is not waited for.
        self.judged("unhealthy cri\n");
    }

    /// How the boot was judged.
    pub(crate) fn judged(&self, how: &str) {
        write(&self.root(), "run/orlop/updater-judged", how);
    }

    pub(crate) fn entries(&self) -> [String; 2] {
        let facts = facts::read(&self.root()).unwrap();
        let names = Node::open(&self.root(), &facts).unwrap().machine().entries().unwrap();
        names.map(|name| name.to_string())
    }

    /// Whether the UKI of a slot is this one.
    pub(crate) fn has_uki(&self, slot: Slot, want: &[u8]) -> bool {
        let facts = facts::read(&self.root()).unwrap();
        let extent = Node::open(&self.root(), &facts).unwrap().machine().uki_extent(slot);
        let mut bytes = vec![0; usize::try_from(extent.length).unwrap()];
        let esp = File::open(self.root().join("dev/vda1")).unwrap();
        esp.read_exact_at(&mut bytes, extent.offset).unwrap();
        bytes == want
    }
}

/// An EFI system partition with this UKI in both files.
fn esp(uki: &[u8]) -> Vec<u8> {
    let options = Options {
        size: 34 * MIB,
        first_lba: 2048,
        volume_id: 1,
        label: "ESP".to_owned(),
        epoch: 1_700_000_000,
    };
    let ukis = [("2a.efi", "SLOTA"), ("1b.efi", "SLOTB")].map(|(name, alias)| formats::fat::File {
        path: format!("EFI/Linux/{name}"),
        alias: Some(Alias::new(alias).unwrap()),
        content: Content::Bytes(uki.to_vec()),
    });
    let loader = formats::fat::File {
        path: own_architecture().boot_file().to_owned(),
        alias: None,
        content: Content::Bytes(loader("257.9-1", 3000)),
    };
    let files = [&ukis[..], &[loader]].concat();
    let mut bytes = vec![0; usize::try_from(34 * MIB).unwrap()];
    for segment in Plan::new(&options, files).unwrap().segments() {
        if let Piece::Bytes(piece) = segment.piece {
            let at = usize::try_from(segment.offset).unwrap();
            bytes[at..at + piece.len()].copy_from_slice(&piece);
        }
    }
    bytes
}

/// The unit `updater` for the length of a test, and whoever asks it.
pub(crate) struct Asking<'a> {
    node: &'a OwnNode,
    path: PathBuf,
    stop: Cancel,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(node: &'a OwnNode) -> Self {
        let path = node.directory.path().join("updater.sock");
        let socket = Socket::bind(&path).unwrap();
        let unit = Unit::new(node.updater(), rustix::process::geteuid().as_raw());
        let stop = Cancel::new();
        let ends = stop.clone();
        let thread = std::thread::spawn(move || unit.serve(&socket, &ends).unwrap());
        Self { node, path, stop, thread: Some(thread) }
    }

    pub(crate) fn ask(&self, line: &str) -> Result<(String, String), Failure> {
        ask(self.node, &self.path, line)
    }

    pub(crate) fn good(&self, line: &str) -> String {
        self.ask(line).unwrap().0
    }

    pub(crate) fn failed(&self, line: &str) -> String {
        failed(self.node, &self.path, line)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.stop.cancel();
        drop(UnixStream::connect(&self.path));
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}

pub(crate) fn ask(node: &OwnNode, path: &Path, line: &str) -> Result<(String, String), Failure> {
    let words = ["--socket", path.to_str().unwrap()].into_iter();
    let words = words.chain(line.split_whitespace()).map(OsString::from);
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let done = command::run(words, node.updater(), (&mut out, &mut notes));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    done.map(|()| (text(out), text(notes)))
}

pub(crate) fn failed(node: &OwnNode, path: &Path, line: &str) -> String {
    match ask(node, path, line) {
        Err(Failure::Failed(why) | Failure::Busy(why)) => why,
        other => panic!("{line}: {other:?}"),
    }
}

/// Two releases, and what serves them.
pub(crate) fn world() -> (World, Server, [Made; 2], [Vec<u8>; 2]) {
    let [old, new] = two_images();
    let mut world = World::new();
    // Of the processors that this test runs on.
    world.architecture = formats::architecture::Architecture::of_machine(std::env::consts::ARCH)
        .map(|it| it.to_string())
        .unwrap();
    let ukis = [uki("1.0", old.root.hash, UKI), uki("2.0", new.root.hash, UKI)];
    world.add_with_uki("1.0", &old, &made(ukis[0].clone()), &[]);
    world.add_with_uki("2.0", &new, &made(ukis[1].clone()), &[("1.0", &old)]);
    world.publish();
    let server = Server::start(&world.place());
    (world, server, [old, new], ukis)
}
