//! From tree to images: root image, initrd, the UKI of both slots, disk. [`Plan::new`] decides
//! everything that does not depend on the root hash; [`Plan::write`] streams.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use formats::boot_loader;
use formats::cpio;
use formats::digest::Sha256;
use formats::erofs;
use formats::tree::{Blob, Node, Tree, TreePath};
use formats::uki;
use uuid::Uuid;

use crate::build::artifact::{self, Kind, Planned};
use crate::build::contents::{self, Beside, Sources};
use crate::build::kernel::KernelPart;
use crate::build::output::{self, Directory};
use crate::build::parts::Parts;
use crate::build::report::{self, Dropped, Report};
use crate::build::root::{self, EPOCH, RootImage, SinkError};
use crate::build::tree::Composed;
use crate::contents::Contents;
use crate::error::{Context as _, Error, Id, Result};
use crate::image::disk::{self, Layout, Slot};
use crate::image::efi::{Made, Padded, Unsigned};
use crate::progress::Task;
use crate::provenance;
use crate::recipe::Recipe;
use crate::sbom;
use crate::step::{self, Inputs, Step, Steps};
use crate::store::Store;
use crate::stored::{Hex, StoredBlob};

/// Where PID 1 is in the root; the same file is `/init` of the initrd.
pub const INIT: &str = "usr/lib/orlop/init";
/// Modules of the initrd in the order to load them, one path a line.
const INITRD_LOAD_ORDER: &str = "lib/modules/load-order";

/// Who answers for what the builder makes of the recipe.
const SYSTEM: &str = "made/system";

/// All UUIDs of images are made from names below this one (UUIDv5).
const NAMESPACE: Uuid = Uuid::from_u128(0x6f72_6c6f_702d_4f53_8a11_0c0a_2f5e_9d01);

/// An image, decided and not yet written.
#[derive(Debug)]
pub struct Plan<'a> {
    recipe: &'a Recipe,
    kernel: &'a KernelPart,
    stub: Blob,
    loader: Blob,
    boot_package: &'a str,
    tree: &'a Composed,
    init: Blob,
    erofs: erofs::Plan,
    volume: Uuid,
    disk_seed: Uuid,
    dropped: &'a BTreeMap<String, Dropped>,
    packages: Vec<(String, String)>,
    lock: Sha256,
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
        lock: Sha256,
    ) -> Result<Self> {
        let file = |path: &str| {
            let path = TreePath::new(path.trim_start_matches('/')).ok()?;
            match tree.tree.get(&path)?.kind {
                formats::tree::Kind::File(blob) => Some(blob),
                _ => None,
            }
        };
        let Some(init) = file(INIT) else {
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
            // What the image brings is what its disk begins with: an update of the loader by the same
            // image changes nothing.
            loader: file(boot_loader::IN_IMAGE).unwrap_or(parts.loader),
            boot_package: &parts.boot_package,
            tree,
            init,
            erofs,
            volume,
            disk_seed,
            dropped: &parts.dropped,
            packages,
            lock,
        })
    }

    /// All that shapes the images, and what their report tells of where they come from.
    pub fn inputs(&self) -> Inputs {
        Inputs::new()
            .with("tree", self.tree.digest)
            .with("image", &self.recipe.name)
            .with("os-version", &self.recipe.os.version)
            .with("architecture", self.recipe.arch)
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
            .with("lock", self.lock)
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

    /// The files to make. The root's size is not known before its hash tree is.
    fn artifacts(&self, layout: &Layout) -> Vec<Planned> {
        let uki = layout.uki().bytes();
        let size = |kind| match kind {
            Kind::Kernel => Some(self.kernel.vmlinuz.0.size),
            Kind::Uki => Some(uki),
            Kind::Disk => Some(layout.disk_size()),
            Kind::Manifest => Some(self.tree.manifest.len() as u64),
            Kind::Root | Kind::Initrd | Kind::CommandLine => None,
            Kind::Contents | Kind::Spdx | Kind::CycloneDx | Kind::Provenance => None,
        };
        Kind::ALL.map(|kind| Planned { kind, size: size(kind) }).to_vec()
    }

    /// Packs the initrd, unless the store has it: to compress it costs a tenth of all images.
    ///
    /// # Errors
    /// Those of the store.
    pub fn initrd(&self, steps: &mut Steps<'_>, store: &Store) -> Result<Blob> {
        let modules = &self.kernel.initrd_modules;
        let inputs = Inputs::new()
            .with("init", self.init.sha256)
            .with("os-release", Sha256::of(&self.tree.os_release))
            .with_all(
                "module",
                modules.iter().map(|(path, blob)| format!("{} {path}", blob.0.sha256)),
            )
            .with("orlop", output::own_identity());
        let step = Step::new(step::Kind::Initrd, "initrd", inputs);
        let complete = |blob: &StoredBlob| store.has(&blob.0);
        let pack = || store.put_bytes(&self.pack_initrd(store)?).map(StoredBlob);
        Ok(steps.run(&step, complete, pack)?.0)
    }

    /// Writes all images into `directory`, and says what is in them.
    ///
    /// # Errors
    /// [`Id::Write`], those of the store, and a root or UKI that does not fit its place.
    pub fn write(
        &self,
        store: &Store,
        initrd: &Blob,
        directory: &Directory,
        sources: &Sources<'_>,
        task: &Task,
    ) -> Result<(Report, Contents)> {
        // A root that cannot fit is told before it is written; the hash tree adds less than 1 %.
        let weights: Vec<_> =
            self.tree.weights.iter().map(|(owner, bytes)| (owner.clone(), *bytes)).collect();
        let planned = self.erofs.image_size()
            + formats::verity::tree_size(self.erofs.image_size() / formats::verity::BLOCK);
        let layout =
            Layout::plan(self.recipe.arch, &self.recipe.disk, planned, self.disk_seed, &weights)?;
        let planned = self.artifacts(&layout);
        let mut files = artifact::Writer::new(directory.path(), &planned);

        let root_path = files.path(Kind::Root);
        let root = root::write(&self.erofs, *self.volume.as_bytes(), store, &root_path, task)?;
        files.record(Kind::Root, root.size, Some(root.sha256))?;
        let initrd = files.save_blob(Kind::Initrd, initrd, store)?;
        let vmlinuz = files.save_blob(Kind::Kernel, &self.kernel.vmlinuz.0, store)?;

        let signer = Unsigned;
        let stub = store.read_blob(&self.stub)?;
        let command_line = self.command_line(&layout, &root);
        files.save(Kind::CommandLine, command_line.as_bytes())?;
        let made = Made::new(self.uki(&stub, &vmlinuz, &initrd, &command_line)?);
        let uki_size = made.bytes().len() as u64;
        let uki = made.pad(layout.uki(), &signer)?.sign(&signer)?;
        files.save_content(Kind::Uki, uki.content())?;

        let loader = Padded::loader(store.read_blob(&self.loader)?).sign(&signer)?;
        let disk_path = files.path(Kind::Disk);
        let cannot = || format!("cannot write `{}`", disk_path.display());
        let disk_file = File::create_new(&disk_path).or_fail(Id::Write, cannot)?;
        let inputs = disk::Inputs { loader: &loader, uki: &uki, root: &root_path, epoch: EPOCH };
        disk::write(&layout, &inputs, &disk_file)?;
        files.record(Kind::Disk, layout.disk_size(), None)?;
        files.save(Kind::Manifest, self.tree.manifest.as_bytes())?;

        let contents = sources.gather(&self.beside(store)?)?;
        files.save(Kind::Contents, &json(&contents)?)?;
        files.save(Kind::Spdx, &json(&sbom::spdx::document(&contents, &root.hash))?)?;
        files.save(Kind::CycloneDx, &json(&sbom::cyclonedx::document(&contents, &root.hash))?)?;
        let materials = sources.materials(&contents)?;
        let statement = provenance::statement(&files.digests(), &materials, sources.parameters()?);
        files.save(Kind::Provenance, &json(&statement)?)?;

        let report = Report {
            schema: report::SCHEMA,
            image: self.recipe.name.to_string(),
            version: self.recipe.os.version.clone(),
            architecture: self.recipe.arch,
            kernel: self.kernel.release.clone(),
            lock: Some(Hex(self.lock)),
            root: report::Root {
                hash: Hex(root.hash),
                salt: self.volume.simple().to_string(),
                data_size: root.data_size,
                size: root.size,
                paths: self.tree.tree.len() as u64,
            },
            command_line,
            components: self.tree.weights.clone(),
            dropped: self.dropped.clone(),
            packages: self.packages.iter().cloned().collect(),
            uki_size,
            initrd_size: initrd.len() as u64,
            disk_size: layout.disk_size(),
            artifacts: files.finish()?,
        };
        Ok((report, contents))
    }

    /// The keys of `docs/boot.md`, then what is always given, then the recipe's own.
    fn command_line(&self, layout: &Layout, root: &RootImage) -> String {
        // Both slots: an update puts the UKI into the place of either.
        let [a, b] = [Slot::A, Slot::B].map(|slot| layout.root_partition(slot));
        let mut words = vec![
            format!("orlop.root=partuuid:{a},{b}"),
            format!("orlop.roothash={}", root.hash),
            // Lets the kernel go by the backup partition table if the primary one is damaged.
            "gpt".to_owned(),
            "ro".to_owned(),
            "panic=5".to_owned(),
            "oops=panic".to_owned(),
        ];
        words.extend(self.recipe.kernel.command_line.iter().cloned());
        words.join(" ")
    }

    /// `init` and the modules that it takes to reach the root; never the root itself. Each with who
    /// answers for it.
    fn in_initrd(&self, store: &Store) -> Result<Vec<(TreePath, Node, String)>> {
        let mut files = Vec::new();
        let mut add = |path: &str, node: Node, component: &str| -> Result<()> {
            let path = TreePath::new(path).or_fail(Id::Bug, || "the initrd's tree")?;
            files.push((path, node, component.to_owned()));
            Ok(())
        };
        for directory in ["dev", "proc", "root", "run", "sys"] {
            add(directory, Node::directory(0o755), SYSTEM)?;
        }
        add("init", Node::file(self.init, 0o755), contents::INIT)?;
        let release = store.put_bytes(self.tree.os_release.as_bytes())?;
        add("etc/initrd-release", Node::file(release, 0o644), SYSTEM)?;
        let kernel = format!("deb/{}", self.kernel.package);
        let mut order = String::new();
        for (path, blob) in &self.kernel.initrd_modules {
            let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
            add(&format!("lib/modules/{name}"), Node::file(blob.0, 0o644), &kernel)?;
            order += &format!("/lib/modules/{name}\n");
        }
        let order = Node::file(store.put_bytes(order.as_bytes())?, 0o644);
        add(INITRD_LOAD_ORDER, order, SYSTEM)?;
        Ok(files)
    }

    /// What is in the images beside the root.
    fn beside(&self, store: &Store) -> Result<Vec<Beside>> {
        let kernel = format!("deb/{}", self.kernel.package);
        let boot = format!("deb/{}", self.boot_package);
        let file = |path: &str, blob: Blob, component: &str| {
            let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
            let path = TreePath::new(name).or_fail(Id::Bug, || "a name")?;
            Ok((path, Node::file(blob, 0o644), component.to_owned()))
        };
        let files = vec![
            file("vmlinuz", self.kernel.vmlinuz.0, &kernel)?,
            file(self.recipe.arch.stub(), self.stub, &boot)?,
            file(self.recipe.arch.loader(), self.loader, &boot)?,
        ];
        let initrd = Beside { place: "initrd", files: self.in_initrd(store)? };
        Ok(vec![initrd, Beside { place: "boot", files }])
    }

    fn pack_initrd(&self, store: &Store) -> Result<Vec<u8>> {
        let bug = || "the initrd's tree";
        let mut tree = Tree::new();
        for (path, node, _) in self.in_initrd(store)? {
            tree.insert(path, node).or_fail(Id::Bug, bug)?;
        }

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

/// As a file of the build.
fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).or_fail(Id::Bug, || "JSON")?;
    text.push(b'\n');
    Ok(text)
}

/// What EROFS can hold of the name, which is ASCII.
fn volume_name(image: &str) -> String {
    image.chars().take(15).collect()
}
