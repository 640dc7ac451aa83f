//! Gathers what every source gives: packages unpacked, programs compiled, files read. Each piece
//! is a step of its own, so only what changed is done again.

use std::collections::{BTreeMap, BTreeSet};

use formats::tree::{Blob, Kind, Node, TreePath};

use crate::build::Request;
use crate::build::kernel::KernelPart;
use crate::build::oci;
use crate::build::packages::Unpacker;
use crate::build::report::Dropped;
use crate::error::{Error, Id, Result};
use crate::lock::model::Role;
use crate::progress::Progress;
use crate::recipe::model::{Apparmor, Cargo, Go, ImagePath, Name, Url};
use crate::source::apparmor::{Parser, Profile};
use crate::source::cargo::{self, Seen, Toolchain};
use crate::source::deb::alternatives::Alternative;
use crate::source::deb::contents::{Contents, Entry};
use crate::source::{go, local, url};
use crate::step::{self, Inputs, Outcome, Step, Steps};
use crate::store::Store;
use crate::stored::StoredBlob;

/// A component's name and what it brings.
pub type Layer = (String, Vec<(TreePath, Node)>);

/// Everything an image is made of.
#[derive(Debug)]
pub struct Parts {
    /// Packages and the kernel, in the order they are laid.
    pub packages: Vec<Layer>,
    /// Everything else that the recipe names, which is laid over them.
    pub components: Vec<Layer>,
    /// Paths of programs that Go and Cargo components give.
    pub programs: BTreeSet<TreePath>,
    /// `vmlinuz` and modules.
    pub kernel: KernelPart,
    /// systemd's stub, which makes a kernel an EFI program.
    pub stub: Blob,
    /// The boot loader.
    pub loader: Blob,
    /// By package the links that its script would make.
    pub alternatives: Vec<(String, Vec<Alternative>)>,
    /// What each glob of `[debian] drop` left out.
    pub dropped: BTreeMap<String, Dropped>,
    /// Worth a look.
    pub warnings: Vec<String>,
}

/// Gathers all parts of the recipe.
///
/// # Errors
/// Those of the sources.
pub fn gather(request: &Request<'_>, steps: &mut Steps<'_>, seen: &Seen) -> Result<Parts> {
    let unpacker = Unpacker::new(request)?;
    let mut packages = Vec::new();
    let mut dropped = BTreeMap::new();
    let mut alternatives = Vec::new();
    for (package, contents) in unpacker.unpack(steps, Role::Root)? {
        unpacker.count_dropped(&contents, &mut dropped);
        alternatives.push((package.name.clone(), contents.alternatives.clone()));
        packages.push((package.name.clone(), nodes(contents).collect()));
    }
    let kernel = kernel(request, steps, &unpacker)?;
    packages.push(("kernel".to_owned(), kernel.nodes()?));

    if steps.records().iter().any(|record| record.outcome != Outcome::Hit) {
        // That takes as long as to compile.
        seen.forget();
    }
    let built = compile(request, steps, seen, "", &request.recipe.go, &request.recipe.cargo)?;
    let programs = built.iter().flat_map(|(_, nodes)| nodes).map(|(path, _)| path.clone());
    let programs = programs.collect();
    let mut components = built;
    for (name, component) in &request.recipe.url {
        let file = request.lock.urls.iter().find(|file| file.component == name.as_str());
        let file = file
            .ok_or_else(|| Error::new(Id::Bug, format!("the lock does not know `url.{name}`")))?;
        let nodes = unpacked(request, steps, name, component, &file.blob)?;
        components.push((name.to_string(), nodes));
    }
    for (name, component) in &request.recipe.local {
        components.push((name.to_string(), local::nodes(request.store, component)?));
    }
    for (name, image) in &request.recipe.oci {
        components.push((name.to_string(), vec![oci::archive(request, steps, seen, name, image)?]));
    }
    for (name, component) in &request.recipe.apparmor {
        components.push((name.to_string(), vec![profile(request, steps, name, component)?]));
    }

    let tools = unpacker.unpack(steps, Role::Tool)?;
    let tools: Vec<_> = tools.into_iter().flat_map(|(_, contents)| nodes(contents)).collect();
    let tool = |path: &str| {
        let mut found = tools.iter().filter_map(|(at, node)| match node.kind {
            Kind::File(blob) if at.as_str() == path => Some(blob),
            _ => None,
        });
        found.next().ok_or_else(|| {
            Error::new(Id::BootPackage, format!("no package of `[debian] tools` brings `/{path}`"))
                .hint("add `systemd-boot-efi` to `[debian] tools`")
        })
    };
    let stub = tool(request.recipe.arch.stub())?;
    let loader = tool(request.recipe.arch.loader())?;

    let idle = request.recipe.debian.drop.iter().filter(|glob| !dropped.contains_key(*glob));
    let warnings = idle.map(|glob| format!("`[debian] drop` has `{glob}`: it matches nothing"));
    let warnings = warnings.collect();
    Ok(Parts {
        packages,
        components,
        programs,
        kernel,
        stub,
        loader,
        dropped,
        alternatives,
        warnings,
    })
}

/// What a file from the web brings. Its archive is read only if that is not remembered.
fn unpacked(
    request: &Request<'_>,
    steps: &mut Steps<'_>,
    name: &Name,
    component: &Url,
    blob: &Blob,
) -> Result<Vec<(TreePath, Node)>> {
    let inputs = Inputs::new()
        .with("file", blob.sha256)
        .with_all("unpack", component.unpack.iter().map(|(from, to)| format!("{from:?} {}", to.0)))
        .with_all("mode", component.mode.map(|mode| format!("{:04o}", mode.0)));
    let complete = |entries: &Vec<Entry>| {
        entries.iter().all(|entry| match &entry.node.kind {
            Kind::File(blob) => request.store.has(blob),
            _ => true,
        })
    };
    let step = Step::new(step::Kind::Url, format!("url {name}"), inputs);
    let entries = steps.run(&step, complete, || {
        let nodes = url::nodes(request.store, component, blob)?;
        Ok(nodes.into_iter().map(|(path, node)| Entry { path, node }).collect())
    })?;
    Ok(entries.into_iter().map(|entry| (entry.path, entry.node)).collect())
}

/// A compiled profile of AppArmor, and where it goes.
fn profile(
    request: &Request<'_>,
    steps: &mut Steps<'_>,
    name: &Name,
    component: &Apparmor,
) -> Result<(TreePath, Node)> {
    let parser = Parser::find(request.recipe.arch, request.lock)?;
    let profile = Profile::read(component)?;
    let step = Step::new(step::Kind::Apparmor, format!("apparmor {name}"), parser.inputs(&profile));
    let complete = |blob: &StoredBlob| request.store.has(&blob.0);
    let compile = || parser.compile(&profile, request.store, request.caches).map(StoredBlob);
    let blob = steps.run(&step, complete, compile)?;
    Ok((component.at.0.clone(), Node::file(blob.0, 0o644)))
}

fn nodes(contents: Contents) -> impl Iterator<Item = (TreePath, Node)> {
    contents.entries.into_iter().map(|entry| (entry.path, entry.node))
}

/// The kernel's package is unpacked only if what was picked out of it is not remembered.
fn kernel(
    request: &Request<'_>,
    steps: &mut Steps<'_>,
    unpacker: &Unpacker<'_>,
) -> Result<KernelPart> {
    let packages = request.lock.packages.iter().filter(|package| package.role == Role::Kernel);
    let inputs = Inputs::new()
        .with_all("deb", packages.map(|package| package.blob.sha256))
        .with_all("module", &request.recipe.kernel.modules)
        .with_all("module-for-pods", &request.recipe.kernel.modules_for_pods)
        .with_all("on-demand-module", &request.recipe.kernel.modules_on_demand)
        .with_all("uncompressed-module", &request.recipe.kernel.modules_uncompressed)
        .with_all("initrd-module", &request.recipe.kernel.initrd_modules);
    let step = Step::new(step::Kind::Kernel, "kernel", inputs);
    let complete = |part: &KernelPart| part.blobs().all(|blob| request.store.has(blob));
    if let Some(part) = steps.recall(&step, complete) {
        return Ok(part);
    }
    let contents = unpacker.unpack(steps, Role::Kernel)?.into_iter();
    let nodes: Vec<_> = contents.flat_map(|(_, contents)| nodes(contents)).collect();
    let part = KernelPart::new(&request.recipe.kernel, request.recipe.arch, nodes, request.store)?;
    steps.remember(&step, &part)?;
    Ok(part)
}

/// What compilers made: program and blob.
pub type Programs = BTreeMap<String, StoredBlob>;

/// Compiles the components of the root, or of an image, whose steps then begin with `scope`. Gives
/// what each brings, by component.
///
/// # Errors
/// Those of the sources.
pub fn compile(
    request: &Request<'_>,
    steps: &mut Steps<'_>,
    seen: &Seen,
    scope: &str,
    go: &BTreeMap<Name, Go>,
    cargo: &BTreeMap<Name, Cargo>,
) -> Result<Vec<Layer>> {
    let (environment, caches, store) = (request.environment, request.caches, request.store);
    let compilers = &request.lock.compilers;
    let mut layers = Vec::new();
    let mut add = |name: &Name, built: Programs, paths: &BTreeMap<String, ImagePath>| {
        let nodes = built.iter().filter_map(|(program, blob)| {
            paths.get(program).map(|path| (path.0.clone(), Node::file(blob.0, 0o755)))
        });
        layers.push((name.to_string(), nodes.collect()));
    };
    for (name, go) in go {
        let built = compiled(
            request.store,
            steps,
            request.progress,
            step::Kind::Go,
            &format!("{scope}go {name}"),
            || {
                let component = go::Component::load(go, request.recipe.arch)?;
                let toolchain = component.toolchain(store)?;
                Ok((component.inputs(&toolchain)?, (component, toolchain)))
            },
            |(component, toolchain)| {
                seen.forget();
                component.build(toolchain, environment, caches, store, request.jobs)
            },
        )?;
        add(name, built, &go.programs);
    }
    for (name, cargo) in cargo {
        let built = compiled(
            request.store,
            steps,
            request.progress,
            step::Kind::Cargo,
            &format!("{scope}cargo {name}"),
            || {
                let component = cargo::Component::load(cargo, request.recipe.arch, seen)?;
                component.note_crates(store)?;
                let toolchain = Toolchain::find(environment, &cargo.workspace, compilers, seen)?;
                let inputs = component.inputs(&toolchain)?;
                Ok((inputs, (component, toolchain)))
            },
            |(component, toolchain)| {
                seen.forget();
                component.build(environment, toolchain, caches, store, request.jobs)
            },
        )?;
        add(name, built, &cargo.programs);
    }
    Ok(layers)
}

/// Compiles a component, or remembers what came out the last time. `plan` reads its sources: it
/// gives everything that shapes the programs, and what `build` needs.
///
/// # Errors
/// Those of `plan` and `build`; [`Id::SourceChanged`] if the sources do not come to rest.
pub fn compiled<C>(
    store: &Store,
    steps: &mut Steps<'_>,
    progress: &Progress,
    kind: step::Kind,
    name: &str,
    plan: impl Fn() -> Result<(Inputs, C)>,
    build: impl Fn(&C) -> Result<BTreeMap<String, Blob>>,
) -> Result<Programs> {
    let plan = || {
        let (inputs, component) = plan()?;
        Ok((Step::new(kind, name, inputs), component))
    };
    let complete = |programs: &Programs| programs.values().all(|blob| store.has(&blob.0));
    steps.run_watched(plan, complete, |component| {
        let task = progress.task(format!("compile {name}"), None);
        let built = build(component)?;
        task.done(format!("{} programs", built.len()));
        Ok(built.into_iter().map(|(name, blob)| (name, StoredBlob(blob))).collect())
    })
}
