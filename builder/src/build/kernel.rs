//! The kernel part: `vmlinuz` for the UKI, modules for initrd and root.

use std::cell::RefCell;
use std::collections::BTreeMap;

use formats::architecture::Architecture;
use formats::tree::{Blob, Kind, Node, TreePath};
use serde::{Deserialize, Serialize};

use crate::compose::modules::{self, Available, ModInfo};
use crate::error::{Context as _, Error, Id, Result};
use crate::recipe::model::Kernel;
use crate::store::Store;
use crate::stored::StoredBlob;

/// Where PID 1 finds the modules to load in the root, one path a line, in this order.
pub const LOAD_ORDER: &str = "usr/lib/orlop/modules-load";

/// What the image takes from the kernel package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KernelPart {
    /// `uname -r`.
    pub release: String,
    /// The compressed kernel with its EFI header.
    pub vmlinuz: StoredBlob,
    /// Modules of the root, each after what it needs: path below `usr/lib/modules/RELEASE`, content.
    pub root_modules: Vec<(String, StoredBlob)>,
    /// Modules of the initrd in load order.
    pub initrd_modules: Vec<(String, StoredBlob)>,
    /// Text of `modules.dep` and `modules.alias` for what the root ships.
    pub indexes: (StoredBlob, StoredBlob),
    /// Text of [`LOAD_ORDER`].
    pub load_order: StoredBlob,
}

impl KernelPart {
    /// Picks the parts out of what the kernel package brings.
    ///
    /// # Errors
    /// [`Id::KernelPackage`], [`Id::UnknownModule`], and those of the store.
    pub fn new(
        kernel: &Kernel,
        architecture: Architecture,
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
        let (release, vmlinuz) = vmlinuz(&files, architecture.kernel_image())?;
        let directory = format!("usr/lib/modules/{release}/");
        let below = |path: &TreePath| path.as_str().strip_prefix(&directory).map(str::to_owned);
        let builtin = files
            .iter()
            .find(|(path, _)| below(path).is_some_and(|rest| rest == "modules.builtin"));
        let builtin = builtin.map_or(Ok(Vec::new()), |(_, blob)| store.read_blob(blob))?;
        let builtin = String::from_utf8_lossy(&builtin);
        let module_files: BTreeMap<String, Blob> = files
            .iter()
            .filter_map(|(path, blob)| below(path).map(|rest| (rest, *blob)))
            .filter(|(rest, _)| rest.contains(".ko"))
            .collect();
        let available = Available::new(module_files.keys().map(String::as_str), &builtin);

        let plain = RefCell::new(BTreeMap::new());
        let batch = store.batch();
        let mut info = |name: &str| -> Result<ModInfo> {
            let path = &available.modules[name];
            let content = modules::decompress(path, store.read_blob(&module_files[path])?)?;
            let info =
                ModInfo::of(&content).or_fail(Id::KernelPackage, || format!("module `{name}`"))?;
            let path = path.split_once(".ko").map_or(path.as_str(), |(stem, _)| stem);
            let module =
                (format!("{path}.ko"), StoredBlob(batch.put_bytes(&content)?), info.clone());
            plain.borrow_mut().insert(name.to_owned(), module);
            Ok(info)
        };
        let at_boot = available.closure(&kernel.modules, &mut info)?;
        let wanted = kernel.modules.iter().chain(&kernel.modules_on_demand);
        let in_root = available.closure(wanted, &mut info)?;
        let in_initrd = available.closure(&kernel.initrd_modules, &mut info)?;
        batch.finish()?;

        let plain = plain.into_inner();
        let listed = |order: &[String]| {
            let modules = order.iter().map(|name| (plain[name].0.clone(), plain[name].1));
            modules.collect::<Vec<_>>()
        };
        let paths = plain.iter().map(|(name, (path, ..))| (name.clone(), path.clone()));
        let paths: BTreeMap<_, _> = paths.filter(|(name, _)| in_root.contains(name)).collect();
        let infos = plain.iter().map(|(name, (_, _, info))| (name.clone(), info.clone())).collect();
        let root_modules = listed(&in_root);
        let load_order: String =
            listed(&at_boot).iter().map(|(path, _)| format!("/{directory}{path}\n")).collect();
        Ok(Self {
            vmlinuz: StoredBlob(vmlinuz),
            indexes: (
                StoredBlob(
                    store.put_bytes(modules::dep_index(&in_root, &paths, &infos).as_bytes())?,
                ),
                StoredBlob(store.put_bytes(modules::alias_index(&in_root, &infos).as_bytes())?),
            ),
            load_order: StoredBlob(store.put_bytes(load_order.as_bytes())?),
            initrd_modules: listed(&in_initrd),
            root_modules,
            release,
        })
    }

    /// All blobs that it names.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        let modules = self.root_modules.iter().chain(&self.initrd_modules).map(|(_, blob)| blob);
        let others = [&self.vmlinuz, &self.indexes.0, &self.indexes.1, &self.load_order];
        modules.chain(others).map(|blob| &blob.0)
    }

    /// What the root gets of it.
    ///
    /// # Errors
    /// [`Id::KernelPackage`] if a name of the package cannot be a path.
    pub fn nodes(&self) -> Result<Vec<(TreePath, Node)>> {
        let directory = format!("usr/lib/modules/{}", self.release);
        let mut files = vec![(LOAD_ORDER.to_owned(), self.load_order)];
        files.push((format!("{directory}/modules.dep"), self.indexes.0));
        files.push((format!("{directory}/modules.alias"), self.indexes.1));
        let modules = self.root_modules.iter();
        files.extend(modules.map(|(path, blob)| (format!("{directory}/{path}"), *blob)));
        let node = |(path, blob): (String, StoredBlob)| {
            let path = TreePath::new(&path).or_fail(Id::KernelPackage, || "a module's path")?;
            Ok((path, Node::file(blob.0, 0o644)))
        };
        files.into_iter().map(node).collect()
    }
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
