//! From tree to images: root image, initrd, one UKI per slot, disk. [`Plan::new`] decides
//! everything that does not depend on the root hash; [`Plan::write`] streams.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use formats::cpio;
use formats::erofs;
use formats::tree::{Blob, Node, Tree, TreePath};
use formats::uki;
use uuid::Uuid;

use crate::build::kernel::KernelPart;
use crate::build::output::Directory;
use crate::build::parts::Parts;
use crate::build::report::{self, CommandLines, Dropped, Report};
use crate::build::root::{self, EPOCH, RootImage, SinkError};
use crate::build::tree::Composed;
use crate::error::{Context as _, Error, Id, Result};
use crate::image::disk::{self, Layout, Slot};
use crate::progress::Task;
use crate::recipe::Recipe;
use crate::step::Inputs;
use crate::store::Store;
use crate::stored::Hex;

/// Where PID 1 is in the root; the same file is `/init` of the initrd.
pub const INIT: &str = "usr/lib/orlop/init";
/// Modules of the initrd in the order to load them, one path a line.
const INITRD_LOAD_ORDER: &str = "lib/modules/load-order";

/// All UUIDs of images are made from names below this one (UUIDv5).
const NAMESPACE: Uuid = Uuid::from_u128(0x6f72_6c6f_702d_4f53_8a11_0c0a_2f5e_9d01);

/// An image, decided and not yet written.
#[derive(Debug)]
pub struct Plan<'a> {
    recipe: &'a Recipe,
    kernel: &'a KernelPart,
    stub: Blob,
    loader: Blob,
    tree: &'a Composed,
    init: Blob,
    erofs: erofs::Plan,
    volume: Uuid,
    disk_seed: Uuid,
    dropped: &'a BTreeMap<String, Dropped>,
    packages: Vec<(String, String)>,
}

impl<'a> Plan<'a> {
    /// Plans all images.
    ///
    /// # Errors
    /// [`Id::NoInit`] if the tree has no PID 1; [`Id::TreeConflict`] if EROFS cannot hold the tree.
    pub fn new(
        recipe: &'a Recipe,
        parts: &'a Parts,
        tree: &'a Composed,
        packages: Vec<(String, String)>,
    ) -> Result<Self> {
        let init = TreePath::new(INIT).ok().and_then(|path| tree.tree.get(&path).cloned());
        let Some(Node { kind: formats::tree::Kind::File(init), .. }) = init else {
            return Err(Error::new(
                Id::NoInit,
                format!("the tree has no `/{INIT}`: nothing could start"),
            )
            .hint("a recipe that extends `base.toml` has it as `[cargo.init]`"));
        };
        // Same tree, same volume. The salt of the hash tree is this UUID.
        let volume = Uuid::new_v5(&NAMESPACE, format!("root {}", tree.digest).as_bytes());
        // Partitions are written once and named by every later release of the image: their
        // UUIDs depend on the image's name and on nothing else.
        let disk_seed = Uuid::new_v5(&NAMESPACE, format!("disk {}", recipe.name).as_bytes());
        let options = erofs::Options {
            epoch: EPOCH,
            uuid: *volume.as_bytes(),
            volume_name: volume_name(recipe.name.as_str()),
        };
        let erofs = erofs::Plan::new(&tree.tree, &options)
            .or_fail(Id::TreeConflict, || "EROFS cannot hold this tree")?;
        Ok(Self {
            recipe,
            kernel: &parts.kernel,
            stub: parts.stub,
            loader: parts.loader,
            tree,
            init,
            erofs,
            volume,
            disk_seed,
            dropped: &parts.dropped,
            packages,
        })
    }

    /// All that shapes the images, and what their report tells of where they come from.
    pub fn inputs(&self) -> Inputs {
        Inputs::new()
            .with("tree", self.tree.digest)
            .with("image", &self.recipe.name)
            .with("os-version", &self.recipe.os.version)
            .with_all("command-line", &self.recipe.kernel.command_line)
            .with("kernel", &self.kernel.release)
            .with("vmlinuz", self.kernel.vmlinuz.0.sha256)
            .with_all(
                "initrd-module",
                self.kernel.initrd_modules.iter().map(|(_, blob)| blob.0.sha256),
            )
            .with("stub", self.stub.sha256)
            .with("loader", self.loader.sha256)
            .with("esp", self.recipe.disk.esp)
            .with("root-slot", self.recipe.disk.root)
            .with("state", self.recipe.disk.state)
            .with("uki", self.recipe.disk.uki)
            .with_all(
                "package",
                self.packages.iter().map(|(name, version)| format!("{name} {version}")),
            )
            .with("owners", self.tree.owners)
            .with_all(
                "dropped",
                self.dropped.iter().map(|(glob, count)| {
                    format!("{glob} {} paths {} bytes", count.paths, count.bytes)
                }),
            )
    }

    /// For a progress bar: the bulk of what will be written.
    pub fn bytes_to_write(&self) -> u64 {
        self.erofs.image_size()
    }

    /// Writes all images into `directory`.
    ///
    /// # Errors
    /// [`Id::Write`], those of the store, and a root or UKI that does not fit its place.
    pub fn write(&self, store: &Store, directory: &Directory, task: &Task) -> Result<Report> {
        let directory = directory.path();
        let root_path = directory.join("root.img");
        // A root that cannot fit is told before it is written; the hash tree adds less than 1 %.
        let weights: Vec<_> =
            self.tree.weights.iter().map(|(owner, bytes)| (owner.clone(), *bytes)).collect();
        let planned = self.erofs.image_size()
            + formats::verity::tree_size(self.erofs.image_size() / formats::verity::BLOCK);
        let layout = Layout::plan(&self.recipe.disk, planned, self.disk_seed, &weights)?;
        let root = root::write(&self.erofs, *self.volume.as_bytes(), store, &root_path, task)?;

        let initrd = self.initrd(store)?;
        save(&directory.join("initrd"), &initrd)?;
        let vmlinuz = store.read_blob(&self.kernel.vmlinuz.0)?;
        save(&directory.join("vmlinuz"), &vmlinuz)?;

        let stub = store.read_blob(&self.stub)?;
        let loader = store.read_blob(&self.loader)?;
        let line = |slot: Slot| self.command_line(&layout, slot, &root);
        let uki = |slot: Slot| self.uki(&stub, &vmlinuz, &initrd, &line(slot));
        let (uki_a, uki_b) = (uki(Slot::A)?, uki(Slot::B)?);
        save(&directory.join("uki.efi"), &uki_a)?;
        save(&directory.join("cmdline"), line(Slot::A).as_bytes())?;

        let disk_path = directory.join("disk.raw");
        let cannot = || format!("cannot write `{}`", disk_path.display());
        let disk_file = File::create_new(&disk_path).or_fail(Id::Write, cannot)?;
        let inputs = disk::Inputs {
            loader: &loader,
            uki_a: &uki_a,
            uki_b: &uki_b,
            root: &root_path,
            epoch: EPOCH,
        };
        disk::write(&layout, &inputs, &disk_file)?;

        save(&directory.join("manifest.txt"), self.tree.manifest.as_bytes())?;
        Ok(Report {
            schema: report::SCHEMA,
            image: self.recipe.name.to_string(),
            version: self.recipe.os.version.clone(),
            kernel: self.kernel.release.clone(),
            root: report::Root {
                hash: Hex(root.hash),
                salt: self.volume.simple().to_string(),
                data_size: root.data_size,
                size: root.size,
                paths: self.tree.tree.len() as u64,
            },
            command_lines: CommandLines { a: line(Slot::A), b: line(Slot::B) },
            components: self.tree.weights.clone(),
            dropped: self.dropped.clone(),
            packages: self.packages.iter().cloned().collect(),
            uki_size: uki_a.len() as u64,
            initrd_size: initrd.len() as u64,
            disk_size: layout.disk_size(),
            files: report::FILES.map(str::to_owned).to_vec(),
        })
    }

    /// The keys of `docs/boot.md`, then what is always given, then the recipe's own.
    fn command_line(&self, layout: &Layout, slot: Slot, root: &RootImage) -> String {
        let mut words = vec![
            format!("orlop.root=partuuid:{}", layout.root_partition(slot)),
            format!("orlop.roothash={}", root.hash),
            format!("orlop.slot={}", if slot == Slot::A { "a" } else { "b" }),
            // Lets the kernel go by the backup partition table if the primary one is damaged.
            "gpt".to_owned(),
            "ro".to_owned(),
            "panic=5".to_owned(),
            "oops=panic".to_owned(),
        ];
        words.extend(self.recipe.kernel.command_line.iter().cloned());
        words.join(" ")
    }

    /// `init` and the modules that it takes to reach the root; never the root itself.
    fn initrd(&self, store: &Store) -> Result<Vec<u8>> {
        let bug = || "the initrd's tree";
        let mut tree = Tree::new();
        let mut add = |path: &str, node: Node| -> Result<()> {
            let path = TreePath::new(path).or_fail(Id::Bug, bug)?;
            tree.insert(path, node).or_fail(Id::Bug, bug)
        };
        for directory in ["dev", "proc", "root", "run", "sys"] {
            add(directory, Node::directory(0o755))?;
        }
        add("init", Node::file(self.init, 0o755))?;
        let release = store.put_bytes(self.tree.os_release.as_bytes())?;
        add("etc/initrd-release", Node::file(release, 0o644))?;
        let mut order = String::new();
        for (path, blob) in &self.kernel.initrd_modules {
            let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
            add(&format!("lib/modules/{name}"), Node::file(blob.0, 0o644))?;
            order += &format!("/lib/modules/{name}\n");
        }
        add(INITRD_LOAD_ORDER, Node::file(store.put_bytes(order.as_bytes())?, 0o644))?;

        // The kernel opens /dev/console before anything could make it. If it finds no console, the
        // runtime of `init` takes /dev/null for its standard streams before our first instruction.
        let device = |path: &str, mode, major, minor| -> Result<cpio::Device> {
            let path = TreePath::new(path).or_fail(Id::Bug, bug)?;
            Ok(cpio::Device { path, mode, major, minor })
        };
        let devices = [device("dev/console", 0o600, 5, 1)?, device("dev/null", 0o666, 1, 3)?];
        let plan = cpio::Archive::new(&tree, &devices, EPOCH).or_fail(Id::Bug, bug)?;
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        root::segments(plan.segments(), store, |bytes| gzip.write_all(bytes)).map_err(|error| {
            match error {
                SinkError::Sink(error) => Error::new(Id::Bug, "cannot compress").caused_by(error),
                SinkError::Store(error) => error,
            }
        })?;
        gzip.finish().or_fail(Id::Bug, || "cannot compress the initrd")
    }

    fn uki(
        &self,
        stub: &[u8],
        vmlinuz: &[u8],
        initrd: &[u8],
        command_line: &str,
    ) -> Result<Vec<u8>> {
        let sections = uki::Sections {
            osrel: self.tree.os_release.as_bytes(),
            cmdline: command_line.as_bytes(),
            uname: self.kernel.release.as_bytes(),
            linux: vmlinuz,
            initrd,
        };
        uki::build(stub, &sections).or_fail(Id::BootPackage, || "cannot make a UKI of the stub")
    }
}

/// What EROFS can hold of the name, which is ASCII.
fn volume_name(image: &str) -> String {
    image.chars().take(15).collect()
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).or_fail(Id::Write, || format!("cannot write `{}`", path.display()))
}
