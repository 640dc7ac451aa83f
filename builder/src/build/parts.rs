//! Gathers what every source gives: packages unpacked, programs compiled, files read. Each piece
//! is a step of its own, so only what changed is done again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use formats::boot_loader;
use formats::digest::Sha256;
use formats::tree::{Blob, Kind, Node, TreePath};
use serde::{Deserialize, Serialize};

use crate::build::Request;
use crate::build::kernel::KernelPart;
use crate::build::oci;
use crate::build::packages::Unpacker;
use crate::build::report::Dropped;
use crate::error::{Context as _, Error, Id, Result};
use crate::lock::model::{Role, Rustc};
use crate::progress::Progress;
use crate::recipe::model::{Apparmor, Cargo, Go, ImagePath, Kata, Name, Url};
use crate::source::apparmor::{Parser, Profile};
use crate::source::cargo::{self, Seen, Toolchain};
use crate::source::deb::alternatives::Alternative;
use crate::source::deb::contents::{Contents, Control, Entry, Source};
use crate::source::{self, go, local, url};
use crate::step::{self, Inputs, Outcome, Step, Steps};
use crate::store::Store;
use crate::stored::StoredBlob;

/// What a component brings.
#[derive(Debug)]
pub struct Layer {
    /// Its name, as messages and rules have it.
    pub owner: String,
    /// The name of whoever answers for it in [`Contents`](crate::contents::Contents).
    pub component: String,
    /// Its paths.
    pub nodes: Vec<(TreePath, Node)>,
}

impl Layer {
    /// A layer of a component whose name in the recipe is `name`.
    pub fn new(kind: &str, name: &str, nodes: Vec<(TreePath, Node)>) -> Self {
        Self { owner: name.to_owned(), component: format!("{kind}/{name}"), nodes }
    }
}

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
    /// The boot loader of the package.
    pub loader: Blob,
    /// The package that stub and loader are of.
    pub boot_package: String,
    /// What packages say of their source and their licences, by name.
    pub origins: BTreeMap<String, Origin>,
    /// What Cargo has made of each of its components.
    pub crates: BTreeMap<String, cargo::Built>,
    /// The files of container images.
    pub images: Vec<oci::Inside>,
    /// By component, the digest of all that shaped what it brings.
    pub sources: BTreeMap<String, Sha256>,
    /// By component, what compiled it.
    pub compilers: BTreeMap<String, Compiler>,
    /// By package the links that its script would make.
    pub alternatives: Vec<(String, Vec<Alternative>)>,
    /// What each glob of `[debian] drop` left out.
    pub dropped: BTreeMap<String, Dropped>,
    /// Worth a look.
    pub warnings: Vec<String>,
}

/// What compiled a component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compiler {
    /// A toolchain of Go.
    Go {
        /// Such as `go1.26.11`.
        name: String,
        /// The module that it is, and its version.
        module: (&'static str, String),
        /// `h1:` and the digest of its files.
        sum: String,
    },
    /// Rust's compiler, and what started it.
    Rust(Rustc, cargo::CargoVersion),
}

impl Compiler {
    fn of_go(toolchain: &go::Toolchain) -> Self {
        let (name, sum) = (toolchain.name().to_owned(), toolchain.sum().to_owned());
        Self::Go { name, module: toolchain.module(), sum }
    }
}

/// Where a package comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Origin {
    /// The version of its source package.
    pub source_version: String,
    /// Source packages of which parts are in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub built_using: Vec<Source>,
    /// Its file `copyright`, if it has one.
    pub copyright: Option<StoredBlob>,
}

impl Origin {
    fn of(contents: &Contents) -> Self {
        let Control { source_version, built_using, .. } = &contents.control;
        let (source_version, built_using) = (source_version.clone(), built_using.clone());
        Self { source_version, built_using, copyright: contents.copyright }
    }
}

/// Gathers all parts of the recipe.
///
/// # Errors
/// Those of the sources.
pub fn gather(request: &Request<'_>, steps: &mut Steps<'_>, seen: &Seen) -> Result<Parts> {
    let unpacker = Unpacker::new(request)?;
    let mut packages = Vec::new();
    let mut dropped = BTreeMap::new();
    let (mut alternatives, mut origins) = (Vec::new(), BTreeMap::new());
    for (package, contents) in unpacker.unpack(steps, Role::Root)? {
        unpacker.count_dropped(&contents, &mut dropped);
        alternatives.push((package.name.clone(), contents.alternatives.clone()));
        origins.insert(package.name.clone(), Origin::of(&contents));
        packages.push(Layer::new("deb", &package.name, nodes(contents).collect()));
    }
    let kernel = kernel(request, steps, &unpacker)?;
    origins.insert(kernel.package.clone(), kernel.origin.clone());
    let of_kernel = Layer::new("deb", &kernel.package, kernel.nodes()?);
    packages.push(Layer { owner: "kernel".to_owned(), ..of_kernel });

    if steps.records().iter().any(|record| record.outcome != Outcome::Hit) {
        // That takes as long as to compile.
        seen.forget();
    }
    let mut built = Compiled::default();
    let (go, cargo) = (&request.recipe.go, &request.recipe.cargo);
    let mut components = built.compile(request, steps, seen, &Scope::Root, go, cargo)?;
    let programs = components.iter().flat_map(|layer| &layer.nodes).map(|(path, _)| path.clone());
    let programs = programs.collect();
    for (name, component) in &request.recipe.url {
        let file = request.lock.urls.iter().find(|file| file.component == name.as_str());
        let file = file
            .ok_or_else(|| Error::new(Id::Bug, format!("the lock does not know `url.{name}`")))?;
        let nodes = unpacked(request, steps, name, component, &file.blob)?;
        components.push(Layer::new("url", name.as_str(), nodes));
    }
    for (name, component) in &request.recipe.local {
        let nodes = local::nodes(request.store, component)?;
        components.push(Layer::new("local", name.as_str(), nodes));
    }
    let (mut images, mut foreign) = (Vec::new(), BTreeSet::new());
    for (name, image) in &request.recipe.oci {
        if image.is_foreign() {
            let (nodes, inside) = oci::foreign(request, steps, name, image, &mut foreign)?;
            components.push(Layer::new("oci", name.as_str(), nodes));
            images.push(inside);
            continue;
        }
        let (node, inside) = oci::archive(request, steps, seen, name, image, &mut built)?;
        components.push(Layer::new("oci", name.as_str(), vec![node]));
        images.push(inside);
    }
    for (name, component) in &request.recipe.apparmor {
        let node = profile(request, steps, name, component)?;
        components.push(Layer::new("apparmor", name.as_str(), vec![node]));
    }

    let mut tools = Vec::new();
    for (package, contents) in unpacker.unpack(steps, Role::Tool)? {
        origins.insert(package.name.clone(), Origin::of(&contents));
        tools.extend(nodes(contents).map(|(path, node)| (package, path, node)));
    }
    let tool = |path: &str| {
        let mut found = tools.iter().filter_map(|(package, at, node)| match node.kind {
            Kind::File(blob) if at.as_str() == path => Some((blob, package.name.clone())),
            _ => None,
        });
        found.next().ok_or_else(|| {
            Error::new(Id::BootPackage, format!("no package of `[debian] tools` brings `/{path}`"))
                .hint("add `systemd-boot-efi` to `[debian] tools`")
        })
    };
    let (stub, _) = tool(request.recipe.arch.stub())?;
    let (loader, boot_package) = tool(request.recipe.arch.loader())?;
    // For who replaces that of a disk. A component may bring another, which a new disk then begins with.
    let in_image = TreePath::new(boot_loader::IN_IMAGE.trim_start_matches('/'));
    let in_image = in_image.or_fail(Id::Bug, || "the boot loader's path")?;
    packages.push(Layer::new("deb", &boot_package, vec![(in_image, Node::file(loader, 0o644))]));

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
        boot_package,
        origins,
        crates: built.crates,
        images,
        sources: built.sources,
        compilers: built.compilers,
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
    let kata = request.recipe.kata.as_ref().filter(|kata| kata.payload == *name);
    let shape = |kata: &Kata| serde_json::to_string(kata).unwrap_or_default();
    let inputs = Inputs::new()
        .with("file", blob.sha256)
        .with_all("unpack", component.unpack.iter().map(|(from, to)| format!("{from:?} {}", to.0)))
        .with_all("mode", component.mode.map(|mode| format!("{:04o}", mode.0)))
        .with_all("kata", kata.map(shape));
    let complete = |entries: &Vec<Entry>| {
        entries.iter().all(|entry| match &entry.node.kind {
            Kind::File(blob) => request.store.has(blob),
            _ => true,
        })
    };
    let step = Step::new(step::Kind::Url, format!("url {name}"), inputs);
    let entries = steps.run(&step, complete, || {
        let (store, progress) = (request.store, request.progress);
        let nodes = match kata {
            Some(kata) => source::kata::nodes(store, component, kata, blob, progress)?,
            None => url::nodes(store, component, blob, progress)?,
        };
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
    let contents = unpacker.unpack(steps, Role::Kernel)?;
    let holds_it = |contents: &Contents| {
        let mut paths = contents.entries.iter().map(|entry| entry.path.as_str());
        paths.any(|path| path.starts_with("boot/"))
    };
    let package = contents.iter().find(|(_, contents)| holds_it(contents)).or(contents.first());
    let package = package
        .map(|(package, contents)| (package.name.clone(), Origin::of(contents)))
        .unwrap_or_default();
    let nodes: Vec<_> = contents.into_iter().flat_map(|(_, contents)| nodes(contents)).collect();
    let (kernel, architecture) = (&request.recipe.kernel, request.recipe.arch);
    let part = KernelPart::new(kernel, architecture, package, nodes, request.store)?;
    steps.remember(&step, &part)?;
    Ok(part)
}

/// What compilers made: program and blob.
pub type Programs = BTreeMap<String, StoredBlob>;

/// What compiled components are a part of.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// The root.
    Root,
    /// A container image.
    Image(&'a Name),
}

impl Scope<'_> {
    /// A step, or a component, of this name in it.
    pub fn name(&self, between: char, kind: &str, name: &Name) -> String {
        match self {
            Self::Root => format!("{kind}{between}{name}"),
            Self::Image(image) => format!("oci{between}{image}{between}{kind}{between}{name}"),
        }
    }
}

/// What is known of compiled components beside their programs.
#[derive(Debug, Default)]
pub struct Compiled {
    crates: BTreeMap<String, cargo::Built>,
    sources: BTreeMap<String, Sha256>,
    compilers: BTreeMap<String, Compiler>,
}

impl Compiled {
    /// Compiles components. Gives what each brings.
    ///
    /// # Errors
    /// Those of the sources.
    pub fn compile(
        &mut self,
        request: &Request<'_>,
        steps: &mut Steps<'_>,
        seen: &Seen,
        scope: &Scope<'_>,
        go: &BTreeMap<Name, Go>,
        cargo: &BTreeMap<Name, Cargo>,
    ) -> Result<Vec<Layer>> {
        let (environment, caches, store) = (request.environment, request.caches, request.store);
        let compilers = &request.lock.compilers;
        let mut layers = Vec::new();
        let mut add = |kind, name: &Name, built: &Programs, paths: &BTreeMap<String, ImagePath>| {
            let nodes = built.iter().filter_map(|(program, blob)| {
                paths.get(program).map(|path| (path.0.clone(), Node::file(blob.0, 0o755)))
            });
            let component = scope.name('/', kind, name);
            layers.push(Layer { owner: name.to_string(), component, nodes: nodes.collect() });
        };
        for (name, go) in go {
            let made_of = RefCell::new(None);
            let built = compiled(
                request.store,
                steps,
                request.progress,
                step::Kind::Go,
                &scope.name(' ', "go", name),
                || {
                    let component = go::Component::load(go, request.recipe.arch)?;
                    let toolchain = component.toolchain(store)?;
                    let inputs = component.inputs(&toolchain)?;
                    made_of.replace(Some((inputs.digest(), Compiler::of_go(&toolchain))));
                    Ok((inputs, (component, toolchain)))
                },
                |(component, toolchain)| {
                    seen.forget();
                    component.build(toolchain, environment, caches, store, request.jobs)
                },
            )?;
            self.note(scope.name('/', "go", name), made_of.take());
            add("go", name, &built, &go.programs);
        }
        for (name, cargo) in cargo {
            let step = scope.name(' ', "cargo", name);
            let made_of = RefCell::new(None);
            let plan = || {
                let component = cargo::Component::load(cargo, request.recipe.arch, seen)?;
                component.note_crates(store)?;
                let toolchain = Toolchain::find(environment, &cargo.workspace, compilers, seen)?;
                let inputs = component.inputs(&toolchain)?;
                let compiler = Compiler::Rust(toolchain.rustc().clone(), toolchain.cargo().clone());
                made_of.replace(Some((inputs.digest(), compiler)));
                Ok((Step::new(step::Kind::Cargo, &step, inputs), (component, toolchain)))
            };
            let complete =
                |built: &cargo::Built| built.programs.values().all(|blob| store.has(&blob.0));
            let built = steps.run_watched(plan, complete, |(component, toolchain)| {
                seen.forget();
                let task = request.progress.task(format!("compile {step}"), None);
                let built = component.build(environment, toolchain, caches, store, request.jobs)?;
                task.done(format!("{} programs", built.programs.len()));
                Ok(built)
            })?;
            add("cargo", name, &built.programs, &cargo.programs);
            let component = scope.name('/', "cargo", name);
            self.note(component.clone(), made_of.take());
            self.crates.insert(component, built);
        }
        Ok(layers)
    }

    fn note(&mut self, component: String, made_of: Option<(Sha256, Compiler)>) {
        if let Some((digest, compiler)) = made_of {
            self.sources.insert(component.clone(), digest);
            self.compilers.insert(component, compiler);
        }
    }
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
