//! Gathers what every source gives: packages unpacked, programs compiled, files read. Each piece
//! is a step of its own, so only what changed is done again.

use std::collections::{BTreeMap, BTreeSet};

use formats::tree::{Blob, Kind, Node, TreePath};
use globset::GlobMatcher;
use serde::{Deserialize, Serialize};

use crate::build::Request;
use crate::build::kernel::KernelPart;
use crate::compose::allow::glob;
use crate::error::{Context as _, Error, Id, Result};
use crate::lock::model::{Package, Role};
use crate::recipe::model::{ImagePath, Name};
use crate::source::cargo::{self, Toolchain};
use crate::source::deb::unpack::{self, Contents};
use crate::source::{go, local, url};
use crate::step::{Inputs, Step, Steps};
use crate::stored::StoredBlob;

/// Everything an image is made of.
#[derive(Debug)]
pub struct Parts {
    /// Components in the order they are laid: name and what it brings.
    pub layers: Vec<(String, Vec<(TreePath, Node)>)>,
    /// Paths of programs that Go and Cargo components give.
    pub programs: BTreeSet<TreePath>,
    /// `vmlinuz` and modules.
    pub kernel: KernelPart,
    /// systemd's stub, which makes a kernel an EFI program.
    pub stub: Blob,
    /// The boot loader.
    pub loader: Blob,
    /// Worth a look.
    pub warnings: Vec<String>,
}

/// A package after unpacking: what it brings, and what each glob left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Unpacked {
    contents: Contents,
    /// Index of the glob and number of paths.
    dropped: BTreeMap<usize, u64>,
}

/// Gathers all parts of the recipe.
///
/// # Errors
/// Those of the sources.
pub fn gather(request: &Request<'_>, steps: &mut Steps<'_>) -> Result<Parts> {
    let drop: Vec<&String> = request.recipe.debian.drop.iter().collect();
    let packages: Vec<&Package> = request.lock.packages.iter().collect();
    let unpacked = unpack_all(request, steps, &packages, &drop)?;
    let of_role = |role: Role| {
        packages.iter().zip(&unpacked).filter(move |(package, _)| package.role == role)
    };

    let mut layers = Vec::new();
    for (package, unpacked) in of_role(Role::Root) {
        layers.push((package.name.clone(), unpacked.contents.nodes()));
    }

    let kernel_packages: Vec<_> = of_role(Role::Kernel).collect();
    let inputs = Inputs::new()
        .with_all("deb", kernel_packages.iter().map(|(package, _)| package.blob.sha256))
        .with_all("module", &request.recipe.kernel.modules)
        .with_all("initrd-module", &request.recipe.kernel.initrd_modules);
    let contents: Vec<_> = kernel_packages.iter().map(|(_, unpacked)| &unpacked.contents).collect();
    let kernel = steps.run(
        &Step::new("kernel", 1, inputs),
        |part: &KernelPart| part.blobs().all(|blob| request.store.has(blob)),
        || KernelPart::new(&request.recipe.kernel, &contents, request.store),
    )?;
    layers.push(("kernel".to_owned(), kernel.nodes()?));

    let mut programs = BTreeSet::new();
    compile(request, steps, &mut layers, &mut programs)?;
    for (name, component) in &request.recipe.url {
        let file = request.lock.urls.iter().find(|file| file.component == name.as_str());
        let file = file
            .ok_or_else(|| Error::new(Id::Bug, format!("the lock does not know `url.{name}`")))?;
        let nodes = url::nodes(request.store, component, &file.blob)?;
        layers.push((name.to_string(), nodes));
    }
    for (name, component) in &request.recipe.local {
        layers.push((name.to_string(), local::nodes(request.store, component)?));
    }

    let tool = |path: &str| {
        let nodes = of_role(Role::Tool).flat_map(|(_, unpacked)| unpacked.contents.nodes());
        let mut found = nodes.filter_map(|(at, node)| match node.kind {
            Kind::File(blob) if at.as_str() == path => Some(blob),
            _ => None,
        });
        found.next().ok_or_else(|| {
            Error::new(Id::BootPackage, format!("no package of `[debian] tools` brings `/{path}`"))
                .hint("add `systemd-boot-efi` to `[debian] tools`")
        })
    };
    let stub = tool("usr/lib/systemd/boot/efi/linuxx64.efi.stub")?;
    let loader = tool("usr/lib/systemd/boot/efi/systemd-bootx64.efi")?;

    let idle = (0..drop.len()).filter(|index| {
        of_role(Role::Root).all(|(_, unpacked)| !unpacked.dropped.contains_key(index))
    });
    let warnings =
        idle.map(|index| format!("`[debian] drop` has `{}`: it matches nothing", drop[index]));
    Ok(Parts { layers, programs, kernel, stub, loader, warnings: warnings.collect() })
}

fn unpack_all(
    request: &Request<'_>,
    steps: &mut Steps<'_>,
    packages: &[&Package],
    drop: &[&String],
) -> Result<Vec<Unpacked>> {
    let globs = drop.iter().map(|pattern| glob(pattern)).collect::<Result<Vec<_>>>()?;
    let task = request.progress.task("unpack", None);
    let step = |package: &&Package| {
        let inputs = Inputs::new().with("deb", package.blob.sha256);
        let inputs = match package.role {
            Role::Root => inputs.with_all("drop", drop),
            Role::Kernel => inputs.with("keep", "kernel"),
            Role::Tool => inputs.with("keep", "efi"),
        };
        Step::new(format!("unpack {}", package.name), 1, inputs)
    };
    let complete = |unpacked: &Unpacked| {
        unpacked.contents.nodes().iter().all(|(_, node)| match node.kind {
            Kind::File(blob) => request.store.has(&blob),
            _ => true,
        })
    };
    let make = |package: &&Package| unpack_one(request, package, &globs);
    let unpacked = steps.run_all(packages, step, complete, make, request.jobs)?;
    task.done(format!("{} packages", packages.len()));
    Ok(unpacked)
}

fn unpack_one(request: &Request<'_>, package: &Package, globs: &[GlobMatcher]) -> Result<Unpacked> {
    let dropped = std::cell::RefCell::new(BTreeMap::new());
    let wanted = |path: &TreePath| match package.role {
        Role::Kernel => {
            path.as_str().starts_with("boot/vmlinuz-")
                || path.as_str().starts_with("usr/lib/modules/")
        }
        Role::Tool => path.as_str().starts_with("usr/lib/systemd/boot/efi/"),
        Role::Root => {
            let absolute = path.to_string();
            let mut kept = true;
            for (index, glob) in globs.iter().enumerate() {
                if glob.is_match(&absolute) {
                    *dropped.borrow_mut().entry(index).or_default() += 1;
                    kept = false;
                }
            }
            kept
        }
    };
    let file = request.store.open_blob(&package.blob)?;
    let contents = unpack::unpack(file, request.store, &wanted)
        .or_fail(Id::DamagedPackage, || format!("cannot unpack package `{}`", package.name))?;
    let control = &contents.control;
    if control.package != package.name || control.version != package.version {
        let message = format!(
            "the package that the lock calls `{} {}` is `{} {}`",
            package.name, package.version, control.package, control.version
        );
        return Err(Error::new(Id::DamagedPackage, message));
    }
    Ok(Unpacked { contents, dropped: dropped.into_inner() })
}

/// What compilers made: program and blob.
type Programs = BTreeMap<String, StoredBlob>;

fn compile(
    request: &Request<'_>,
    steps: &mut Steps<'_>,
    layers: &mut Vec<(String, Vec<(TreePath, Node)>)>,
    programs: &mut BTreeSet<TreePath>,
) -> Result<()> {
    let (environment, caches, store) = (request.environment, request.caches, request.store);
    let mut add = |name: &Name, built: Programs, paths: &BTreeMap<String, ImagePath>| {
        let nodes = built.iter().filter_map(|(program, blob)| {
            paths.get(program).map(|path| (path.0.clone(), Node::file(blob.0, 0o755)))
        });
        let nodes: Vec<_> = nodes.collect();
        programs.extend(nodes.iter().map(|(path, _)| path.clone()));
        layers.push((name.to_string(), nodes));
    };
    for (name, go) in &request.recipe.go {
        let component = go::Component::load(go)?;
        let inputs = Inputs::new().with("go", component.key()?);
        let built = compiled(request, steps, &format!("go {name}"), inputs, || {
            component.build(environment, caches, store, request.jobs)
        })?;
        add(name, built, &go.programs);
    }
    for (name, cargo) in &request.recipe.cargo {
        let component = cargo::Component::load(cargo)?;
        let toolchain = Toolchain::find(environment, &cargo.workspace)?;
        let inputs = Inputs::new().with("cargo", component.key(&toolchain)?);
        let built = compiled(request, steps, &format!("cargo {name}"), inputs, || {
            component.build(environment, &toolchain, caches, store, request.jobs)
        })?;
        add(name, built, &cargo.programs);
    }
    Ok(())
}

fn compiled(
    request: &Request<'_>,
    steps: &mut Steps<'_>,
    name: &str,
    inputs: Inputs,
    build: impl FnOnce() -> Result<BTreeMap<String, Blob>>,
) -> Result<Programs> {
    let complete = |programs: &Programs| programs.values().all(|blob| request.store.has(&blob.0));
    steps.run(&Step::new(name, 1, inputs), complete, || {
        let task = request.progress.task(format!("compile {name}"), None);
        let built = build()?;
        task.done(format!("{} programs", built.len()));
        Ok(built.into_iter().map(|(name, blob)| (name, StoredBlob(blob))).collect())
    })
}
