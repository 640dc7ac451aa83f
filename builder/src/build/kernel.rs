//! The kernel part: `vmlinuz` for the UKI, modules for initrd and root.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use formats::architecture::Architecture;
use formats::tree::{Blob, Kind, Node, TreePath};
use serde::{Deserialize, Serialize};

use crate::build::parts::Origin;
use crate::compose::module_files::{self, Shipped};
use crate::compose::modules::{self, Available, ModInfo};
use crate::error::{Context as _, Error, Id, Result};
use crate::recipe::model::Kernel;
use crate::store::Store;
use crate::stored::StoredBlob;

/// Where PID 1 finds the modules to load in the root, one path a line, in this order.
pub const LOAD_ORDER: &str = "usr/lib/orlop/modules-load";

/// Where `orlop-node prepare-kernel` finds the modules to load before the first pod runs, one name a
/// line. It is there only if there are any.
pub const FOR_PODS: &str = "usr/lib/orlop/modules-for-pods";

/// What the image takes from the kernel package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KernelPart {
    /// The package that brings it.
    pub package: String,
    /// Where that comes from.
    pub origin: Origin,
    /// `uname -r`.
    pub release: String,
    /// The compressed kernel with its EFI header.
    pub vmlinuz: StoredBlob,
    /// Modules of the root, each after what it needs: path below `usr/lib/modules/RELEASE`, content.
    pub root_modules: Vec<(String, StoredBlob)>,
    /// Modules of the initrd in load order.
    pub initrd_modules: Vec<(String, StoredBlob)>,
    /// What stands beside the modules, by its name: the indexes of what the root ships, and what
    /// the kernel was built with.
    pub beside: Vec<(String, StoredBlob)>,
    /// Text of [`LOAD_ORDER`].
    pub load_order: StoredBlob,
    /// Text of [`FOR_PODS`].
    pub for_pods: Option<StoredBlob>,
}

impl KernelPart {
    /// Picks the parts out of what the kernel package brings. `package` is the one that holds the
    /// kernel itself.
    ///
    /// # Errors
    /// [`Id::KernelPackage`], [`Id::UnknownModule`], and those of the store.
    pub fn new(
        kernel: &Kernel,
        architecture: Architecture,
        package: (String, Origin),
        nodes: impl IntoIterator<Item = (TreePath, Node)>,
        store: &Store,
    ) -> Result<Self> {
        let files: BTreeMap<TreePath, Blob> = nodes
            .into_iter()
            .filter_map(|(path, node)| match node.kind {
                Kind::File(blob) => Some((path, blob)),
                _ => None,
            })
            .collect();
        let (package, origin) = package;
        let (release, vmlinuz) = vmlinuz(&files, architecture.kernel_image())?;
        let directory = format!("usr/lib/modules/{release}/");
        let below = |path: &TreePath| path.as_str().strip_prefix(&directory).map(str::to_owned);
        let find = |name: &str| files.iter().find(|(path, _)| path.as_str() == name);
        let builtin = find(&format!("{directory}modules.builtin")).map(|(_, blob)| *blob);
        let config = find(&format!("boot/config-{release}")).map(|(_, blob)| *blob);
        let read = |blob: Option<Blob>| {
            let bytes = blob.map_or(Ok(Vec::new()), |blob| store.read_blob(&blob))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let module_files: BTreeMap<String, Blob> = files
            .iter()
            .filter_map(|(path, blob)| below(path).map(|rest| (rest, *blob)))
            .filter(|(rest, _)| rest.contains(".ko"))
            .collect();
        let available = Available::new(module_files.keys().map(String::as_str), &read(builtin)?);

        let batch = store.batch();
        let keep_plain = Cell::new(true);
        let (known, plain) = (RefCell::new(BTreeMap::new()), RefCell::new(BTreeMap::new()));
        let info = |name: &str| -> Result<ModInfo> {
            if let Some(info) = known.borrow().get(name) {
                return Ok(ModInfo::clone(info));
            }
            let path = &available.modules[name];
            let content = modules::decompress(path, store.read_blob(&module_files[path])?)?;
            let info =
                ModInfo::of(&content).or_fail(Id::KernelPackage, || format!("module `{name}`"))?;
            known.borrow_mut().insert(name.to_owned(), info.clone());
            if keep_plain.get() {
                let blob = StoredBlob(batch.put_bytes(&content)?);
                plain.borrow_mut().insert(name.to_owned(), blob);
            }
            Ok(info)
        };
        let at_boot = available.closure(&kernel.modules, info)?;
        let in_initrd = available.closure(&kernel.initrd_modules, info)?;
        let quick = kernel.modules_for_pods.iter().chain(&kernel.modules_uncompressed);
        let quick = available.closure(quick, info)?;
        let packed = unpacks_modules(&read(config)?);
        keep_plain.set(!packed);
        let wanted = (kernel.modules.iter())
            .chain(&kernel.modules_for_pods)
            .chain(&kernel.modules_on_demand);
        let in_root = available.closure(wanted, info)?;

        let plain = plain.take();
        let unpacked = |name: &String| {
            let stem = available.modules[name].split(".ko").next().unwrap_or_default();
            (format!("{stem}.ko"), plain[name])
        };
        let in_package = |name: &String| {
            let path = &available.modules[name];
            (path.clone(), StoredBlob(module_files[path]))
        };
        let form = |name: &String| {
            let stays = packed && !at_boot.contains(name) && !quick.contains(name);
            if stays { in_package(name) } else { unpacked(name) }
        };
        let root_modules = in_root.iter().map(form).collect::<Vec<_>>();
        let initrd_modules = in_initrd.iter().map(unpacked).collect::<Vec<_>>();
        let known = known.take();
        let shipped: Vec<_> = in_root
            .iter()
            .zip(&root_modules)
            .map(|(name, (path, _))| Shipped {
                name: name.clone(),
                path: path.clone(),
                info: known[name].clone(),
            })
            .collect();
        let load_order: String = (shipped.iter())
            .filter(|module| at_boot.contains(&module.name))
            .map(|module| format!("/{directory}{}\n", module.path))
            .collect();
        let mut beside = Vec::new();
        for (name, bytes) in module_files::indexes(&shipped, &available) {
            beside.push((name.to_owned(), StoredBlob(batch.put_bytes(&bytes)?)));
        }
        let load_order = StoredBlob(batch.put_bytes(load_order.as_bytes())?);
        let for_pods: String =
            kernel.modules_for_pods.iter().map(|name| format!("{name}\n")).collect();
        let for_pods = (!for_pods.is_empty())
            .then(|| batch.put_bytes(for_pods.as_bytes()).map(StoredBlob))
            .transpose()?;
        batch.finish()?;
        let given = [("config", config), ("modules.builtin", builtin)];
        let given = given.into_iter().filter_map(|(name, blob)| Some((name, blob?)));
        beside.extend(given.map(|(name, blob)| (name.to_owned(), StoredBlob(blob))));
        Ok(Self {
            package,
            origin,
            release,
            vmlinuz: StoredBlob(vmlinuz),
            root_modules,
            initrd_modules,
            beside,
            load_order,
            for_pods,
        })
    }

    /// All blobs that it names.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        let named = self.root_modules.iter().chain(&self.initrd_modules).chain(&self.beside);
        let others = [&self.vmlinuz, &self.load_order].into_iter();
        let others = others.chain(&self.for_pods).chain(&self.origin.copyright);
        named.map(|(_, blob)| blob).chain(others).map(|blob| &blob.0)
    }

    /// What the root gets of it.
    ///
    /// # Errors
    /// [`Id::KernelPackage`] if a name of the package cannot be a path.
    pub fn nodes(&self) -> Result<Vec<(TreePath, Node)>> {
        let directory = format!("usr/lib/modules/{}", self.release);
        let mut files = vec![(LOAD_ORDER.to_owned(), self.load_order)];
        files.extend(self.for_pods.map(|list| (FOR_PODS.to_owned(), list)));
        let below = self.root_modules.iter().chain(&self.beside);
        files.extend(below.map(|(path, blob)| (format!("{directory}/{path}"), *blob)));
        let node = |(path, blob): (String, StoredBlob)| {
            let path = TreePath::new(&path).or_fail(Id::KernelPackage, || "a module's path")?;
            Ok((path, Node::file(blob.0, 0o644)))
        };
        files.into_iter().map(node).collect()
    }
}

/// Whether a kernel of this configuration unpacks modules itself, so that they can stay as its
/// package has them.
fn unpacks_modules(config: &str) -> bool {
    config.lines().any(|line| line == "CONFIG_MODULE_DECOMPRESS=y")
}

/// The kernel whose file is called `name` and a release, and that release.
fn vmlinuz(files: &BTreeMap<TreePath, Blob>, name: &str) -> Result<(String, Blob)> {
    let start = format!("boot/{name}-");
    let mut found = files.iter().filter_map(|(path, blob)| {
        path.as_str().strip_prefix(&start).map(|release| (release.to_owned(), *blob))
    });
    let error = |what: &str| {
        Error::new(Id::KernelPackage, format!("the kernel package holds {what} `{start}*`"))
    };
    let first = found.next().ok_or_else(|| error("no"))?;
    if found.next().is_some() { Err(error("more than one")) } else { Ok(first) }
}
