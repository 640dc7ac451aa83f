//! Gathers [`Contents`] of what a build is put together of. Versions come from the lock, licences
//! from the packages, modules from the programs, crates from Cargo.

use std::collections::{BTreeMap, BTreeSet};

use formats::deb::copyright::{self, Licence};
use formats::digest::Sha256;
use formats::manifest;
use formats::tree::{self, Blob, Node, TreePath};
use serde_json::Value;
use sha1::Digest as _;

use crate::build::Request;
use crate::build::parts::{Compiler, Layer, Origin, Parts};
use crate::build::tree::Composed;
use crate::contents::{Component, Contents, Deb, File, Kind, Library, SCHEMA, elf, purl};
use crate::error::{Context as _, Error, Id, Result};
use crate::lock::model::{Package, Role};
use crate::provenance::Material;
use crate::sbom;
use crate::source::cargo;
use crate::step::Inputs;
use crate::store::{Purpose, Question, Store, StreamError};
use crate::stored::Hex;

/// The digests that SPDX wants of every file.
const SHA1: Purpose = Purpose { name: "sha1", version: 1 };

/// Packages of the compilers that have something of theirs in a program with a C library.
const LINKED: [&str; 2] = ["libc6-dev", "libgcc-"];

/// Everything that contents are told from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// Recipe, lock and store.
    pub request: &'a Request<'a>,
    /// What was unpacked and compiled.
    pub parts: &'a Parts,
    /// The root.
    pub tree: &'a Composed,
}

/// A place beside the root, and its files with who answers for each.
#[derive(Debug)]
pub struct Beside {
    /// As [`File::place`] has it.
    pub place: &'static str,
    /// Path, node and component.
    pub files: Vec<(TreePath, Node, String)>,
}

/// Who answers for each path, by the layers that were laid and whose layer each path is of.
pub fn components<'a>(
    layers: impl IntoIterator<Item = &'a Layer>,
    owners: &BTreeMap<TreePath, String>,
) -> BTreeMap<TreePath, String> {
    let given = layers.into_iter().flat_map(|layer| {
        let of = (layer.owner.as_str(), layer.component.as_str());
        layer.nodes.iter().map(move |(path, _)| ((of.0, path), of.1))
    });
    let given: BTreeMap<(&str, &TreePath), &str> = given.collect();
    let component = |(path, owner): (&TreePath, &String)| {
        let known = given.get(&(owner.as_str(), path));
        let made = || format!("made/{owner}");
        (path.clone(), known.map_or_else(made, |id| (*id).to_owned()))
    };
    owners.iter().map(component).collect()
}

impl<'a> Sources<'a> {
    /// The digest of all that shapes contents beside the root itself.
    ///
    /// # Errors
    /// [`Id::Bug`].
    pub fn digest(&self) -> Result<Sha256> {
        let Self { request, parts, .. } = self;
        let lock = request.lock;
        let layers = parts.packages.iter().chain(&parts.components);
        let images = parts.images.iter().map(|image| {
            let owners: Vec<_> = image.components.values().map(String::as_str).collect();
            format!("{} {} {}", image.name, manifest::text(&image.tree), owners.join(" "))
        });
        Ok(Inputs::new()
            .with_all("layer", layers.map(|layer| &layer.component))
            .with("origins", json(&parts.origins)?)
            .with("crates", json(&parts.crates)?)
            .with_all(
                "source",
                parts.sources.iter().map(|(name, digest)| format!("{name} {digest}")),
            )
            .with_all("image", images.map(Sha256::of))
            .with_all("suite", lock.suites.iter().map(|suite| format!("{suite:?}")))
            .with_all("package", lock.packages.iter().map(|package| format!("{package:?}")))
            .with_all("compiler", lock.compilers.iter().map(|package| format!("{package:?}")))
            .with_all(
                "toolchain",
                parts.compilers.iter().map(|(name, compiler)| format!("{name} {compiler:?}")),
            )
            .with("parameters", self.parameters()?)
            .digest())
    }

    /// Gathers all of it.
    ///
    /// # Errors
    /// Those of the store; [`Id::Orphan`].
    pub fn gather(&self, beside: &[Beside]) -> Result<Contents> {
        let recipe = self.request.recipe;
        let mut libraries = Libraries { sources: *self, known: BTreeMap::new() };
        let mut licences = BTreeMap::new();
        let mut files = Vec::new();
        let layers = self.parts.packages.iter().chain(&self.parts.components);
        let owners = components(layers, &self.tree.from);
        let mut blobs = Vec::new();
        let mut add = |place: &str, path: &TreePath, node: &Node, component: Option<&String>| {
            let kind = match &node.kind {
                tree::Kind::Directory => Kind::Directory,
                tree::Kind::Symlink(target) => Kind::Symlink { target: target.clone() },
                tree::Kind::File(Blob { sha256, size }) => {
                    blobs.push(Blob { sha256: *sha256, size: *size });
                    Kind::File { size: *size, sha256: Hex(*sha256), sha1: String::new() }
                }
            };
            let mut file = File {
                place: place.to_owned(),
                path: path.to_string(),
                component: component.cloned(),
                mode: format!("{:04o}", node.mode),
                uid: node.uid,
                gid: node.gid,
                kind,
                libraries: Vec::new(),
            };
            if let (true, tree::Kind::File(blob)) = (file.is_executable(), &node.kind) {
                file.libraries = libraries.of(component, blob)?;
            }
            files.push(file);
            Ok::<_, Error>(())
        };
        for (path, node) in self.tree.tree.iter() {
            add("root", path, node, owners.get(path))?;
        }
        for image in &self.parts.images {
            for (path, node) in image.tree.iter() {
                add(&format!("oci/{}", image.name), path, node, image.components.get(path))?;
            }
        }
        for Beside { place, files } in beside {
            for (path, node, component) in files {
                let component =
                    if component == INIT { owners.get(&init_path()?) } else { Some(component) };
                add(place, path, node, component)?;
            }
        }
        let libraries = libraries.known;
        let components = self.components(&files, &mut licences)?;
        let mut digests = sha1s(self.request.store, &blobs, self.request.jobs)?.into_iter();
        for file in &mut files {
            if let Kind::File { sha1, .. } = &mut file.kind {
                *sha1 = digests.next().unwrap_or_default();
            }
        }
        files.sort_by(|one, other| (&one.place, &one.path).cmp(&(&other.place, &other.path)));
        let contents = Contents {
            schema: SCHEMA,
            image: recipe.name.to_string(),
            version: recipe.os.version.clone(),
            system: recipe.os.name.clone(),
            architecture: recipe.arch,
            components,
            libraries,
            licences,
            files,
        };
        contents.check()?;
        Ok(contents)
    }

    /// What somebody asked for: the profile, and the recipe as it is with that, without the paths of
    /// this host.
    ///
    /// # Errors
    /// [`Id::Bug`].
    pub fn parameters(&self) -> Result<Value> {
        let recipe = parameters(self.request.recipe)?;
        Ok(serde_json::json!({ "profile": self.request.profile, "recipe": recipe }))
    }

    /// All that went into the build, by digest: the lock, packages and compilers, files, modules,
    /// crates, and of each component of the recipe all that shaped what it brings.
    ///
    /// # Errors
    /// [`Id::Bug`].
    pub fn materials(&self, contents: &Contents) -> Result<Vec<Material>> {
        let lock = self.request.lock;
        let plain = |name: String, uri: Option<String>, sha256: Sha256| Material {
            name,
            uri,
            digest: Some(("sha256", sha256.to_string())),
        };
        let mut materials = vec![plain("lock".to_owned(), None, Sha256::of(lock.to_toml()))];
        materials.extend(self.parts.compilers.values().flat_map(toolchain));
        for suite in &lock.suites {
            materials.push(plain(format!("suite/{}", suite.name), None, suite.release.0));
        }
        for package in lock.all_packages() {
            let compiles = package.role == Role::Compiler;
            // One of the name may be in the root, in another version.
            let origin = self.parts.origins.get(&package.name).filter(|_| !compiles);
            let deb = self.deb(package, origin);
            let kind = if compiles { "compiler" } else { "deb" };
            let name = format!("{kind}/{}", package.name);
            materials.push(plain(name, Some(purl::deb(&deb)), package.blob.sha256));
        }
        for (id, component) in &contents.components {
            match component {
                Component::Url { url, sha256 } => {
                    let uri = (!url.contains(['$', '{', ' '])).then(|| url.clone());
                    materials.push(plain(id.clone(), uri, sha256.0));
                }
                Component::Local | Component::Apparmor => {
                    let files: Vec<_> = contents.files_of(id).collect();
                    materials.push(plain(id.clone(), None, Sha256::of(json(&files)?)));
                }
                _ => {}
            }
        }
        let sources = self.parts.sources.iter();
        materials.extend(sources.map(|(id, digest)| plain(id.clone(), None, *digest)));
        for (id, library) in &contents.libraries {
            if let Library::GoModule { sum, .. } = library {
                let digest = sbom::module_digest(sum).map(|digest| ("dirHash", digest));
                let (name, uri) = (id.clone(), purl::library(library));
                materials.extend(digest.map(|digest| Material { name, uri, digest: Some(digest) }));
            }
        }
        let crates = self.parts.crates.values().flat_map(|built| &built.crates);
        for one in crates {
            let library = of_crate(one);
            let (name, uri) = (library.id(), purl::library(&library));
            let commit = || one.git.as_deref().and_then(|git| git.rsplit_once('#'));
            let digest = match one.sha256 {
                _ if !one.state.is_whole() => None,
                Some(sha256) => Some(("sha256", sha256.0.to_string())),
                None => commit().map(|(_, commit)| ("gitCommit", commit.to_owned())),
            };
            materials.extend(digest.map(|digest| Material { name, uri, digest: Some(digest) }));
        }
        materials.sort_by(|one, other| one.name.cmp(&other.name));
        materials.dedup();
        Ok(materials)
    }

    /// All components that answer for a file.
    fn components(
        &self,
        files: &[File],
        licences: &mut BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Component>> {
        let named: BTreeSet<_> = files.iter().filter_map(|file| file.component.clone()).collect();
        let mut components = BTreeMap::new();
        for id in named {
            if let Some(mut component) = self.component(&id)? {
                if let Component::Deb(deb) = &mut component
                    && let Some(licence) = self.licence(&deb.name)?
                {
                    deb.licence = Some(licence.expression);
                    licences.extend(licence.texts);
                }
                components.insert(id, component);
            }
        }
        Ok(components)
    }

    fn component(&self, id: &str) -> Result<Option<Component>> {
        let (recipe, lock) = (self.request.recipe, self.request.lock);
        let (outer, name) = id.split_once('/').unwrap_or((id, ""));
        // What is in a container image is named by that first.
        let kind = match (outer, name.rsplit('/').nth(1)) {
            ("oci", Some(kind)) => kind,
            _ => outer,
        };
        Ok(Some(match kind {
            "deb" => {
                let package = lock.packages.iter().find(|package| package.name == name);
                let Some(package) = package else { return Ok(None) };
                Component::Deb(self.deb(package, self.parts.origins.get(name)))
            }
            "go" => Component::Go,
            "cargo" => Component::Cargo,
            "url" => {
                let file = lock.urls.iter().find(|file| file.component == name);
                let written = recipe.url.iter().find(|(known, _)| known.as_str() == name);
                let (Some(file), Some((_, url))) = (file, written) else { return Ok(None) };
                // As the recipe has it: the lock may know a password.
                let url = serde_json::to_value(&url.url).or_fail(Id::Bug, || "an address")?;
                let url = url.as_str().unwrap_or_default().to_owned();
                Component::Url { url, sha256: Hex(file.blob.sha256) }
            }
            "oci" => {
                let image = self.parts.images.iter().find(|image| image.name == name);
                let Some(image) = image else { return Ok(None) };
                Component::Oci { reference: image.reference.clone() }
            }
            "local" => Component::Local,
            "apparmor" => Component::Apparmor,
            "made" => Component::Made,
            _ => return Ok(None),
        }))
    }

    /// A package, but for its licence.
    fn deb(&self, package: &Package, origin: Option<&Origin>) -> Deb {
        Deb {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            source: package.source.clone(),
            source_version: origin.map(|origin| origin.source_version.clone()),
            built_using: origin.map(|origin| origin.built_using.clone()).unwrap_or_default(),
            suite: package.suite.clone(),
            sha256: Hex(package.blob.sha256),
            licence: None,
        }
    }

    /// What the package `name` says of its licences.
    fn licence(&self, name: &str) -> Result<Option<Licence>> {
        let copyright = self.parts.origins.get(name).and_then(|origin| origin.copyright);
        let text = copyright.map(|blob| self.request.store.read_blob(&blob.0)).transpose()?;
        Ok(text.and_then(|text| copyright::licence(&String::from_utf8_lossy(&text))))
    }
}

/// What compiled a component, as materials.
fn toolchain(compiler: &Compiler) -> Vec<Material> {
    let of = |name: &str, uri: String, digest: Option<(&'static str, String)>| Material {
        name: format!("compiler/{name}"),
        uri: Some(uri),
        digest,
    };
    match compiler {
        Compiler::Go { name, module: (module, version), sum } => {
            let digest = sbom::module_digest(sum).map(|digest| ("dirHash", digest));
            vec![of(name, format!("pkg:golang/{module}@{version}"), digest)]
        }
        Compiler::Rust(rustc, cargo) => {
            let of = |repository: &str, version: &str, commit: &str| {
                // A distribution may not know it.
                let known = commit.len() == 40 && commit.bytes().all(|c| c.is_ascii_hexdigit());
                let uri = format!("git+https://github.com/rust-lang/{repository}");
                let uri = if known { format!("{uri}@{commit}") } else { uri };
                of(version, uri, known.then(|| ("gitCommit", commit.to_owned())))
            };
            vec![
                of("rust", &rustc.version, &rustc.commit),
                of("cargo", &cargo.version, &cargo.commit),
            ]
        }
    }
}

/// Stands for whoever answers for PID 1.
pub const INIT: &str = "init";

fn init_path() -> Result<TreePath> {
    TreePath::new(super::boot::INIT).or_fail(Id::Bug, || "the path of PID 1")
}

/// What programs are made of, as it is found.
struct Libraries<'a> {
    sources: Sources<'a>,
    known: BTreeMap<String, Library>,
}

impl Libraries<'_> {
    /// What the program `blob` of a component is made of.
    fn of(&mut self, component: Option<&String>, blob: &Blob) -> Result<Vec<String>> {
        let built = component.and_then(|id| self.sources.parts.crates.get(id));
        let mut found = match component.zip(built) {
            Some((component, built)) => self.of_rust(component, built),
            None => self.of_go(blob)?,
        };
        let mut ids: Vec<_> = found.iter().map(Library::id).collect();
        self.known.extend(ids.iter().cloned().zip(found.drain(..)));
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    fn of_go(&self, blob: &Blob) -> Result<Vec<Library>> {
        let cannot = || format!("cannot read blob `{}`", blob.sha256);
        let info =
            elf::go(self.sources.request.store.open_blob(blob)?).or_fail(Id::Read, cannot)?;
        // A program whose record is damaged says nothing; one of ours is refused for that.
        let Ok(Some(info)) = info else { return Ok(Vec::new()) };
        Ok(Library::of_go(&info))
    }

    fn of_rust(&self, component: &str, built: &cargo::Built) -> Vec<Library> {
        let Sources { request, parts, .. } = self.sources;
        let linked = built.crates.iter().filter(|one| one.part == cargo::Part::Linked);
        let mut found: Vec<_> = linked.map(of_crate).collect();
        for library in &built.libraries {
            match library {
                cargo::Library::Rust => {
                    if let Some(Compiler::Rust(rustc, _)) = parts.compilers.get(component) {
                        let version = rustc.version.split(' ').nth(1).unwrap_or(&rustc.version);
                        found.push(Library::RustStandard { version: version.to_owned() });
                    }
                }
                cargo::Library::C => {
                    let linked = |package: &&Package| {
                        LINKED.iter().any(|name| package.name.starts_with(name))
                            && package.name.ends_with("-dev")
                    };
                    let packages = request.lock.compilers.iter().filter(linked);
                    let deb = |package| Library::Deb(self.sources.deb(package, None));
                    found.extend(packages.map(deb));
                }
            }
        }
        found
    }
}

fn of_crate(one: &cargo::Used) -> Library {
    Library::Crate {
        name: one.name.clone(),
        version: one.version.clone(),
        registry: one.registry.as_deref().map(purl::public),
        git: one.git.as_deref().map(purl::public),
        sha256: one.sha256,
        state: one.state,
    }
}

/// SHA-1 of each blob, in order. What was read once is remembered.
fn sha1s(store: &Store, blobs: &[Blob], jobs: usize) -> Result<Vec<String>> {
    let question = |blob: &Blob| Question { blob: *blob, facts: Vec::new() };
    let questions: Vec<_> = blobs.iter().map(question).collect();
    let digests = store.derived(SHA1, &questions, jobs, |question| {
        let mut hasher = sha1::Sha1::new();
        let take = |bytes: &[u8]| {
            hasher.update(bytes);
            Ok(())
        };
        store.stream(&question.blob, take).map_err(|error| match error {
            StreamError::Store(error) => error,
            StreamError::Sink(error) => Error::new(Id::Read, "a blob").caused_by(error),
        })?;
        let mut digest = [0; 32];
        digest[..20].copy_from_slice(&hasher.finalize());
        Ok(Sha256::from_bytes(digest))
    })?;
    Ok(digests.iter().map(|digest| digest.to_string()[..40].to_owned()).collect())
}

/// The recipe without the paths of this host and its budget: what shapes a build and is no file.
///
/// # Errors
/// [`Id::Bug`].
pub fn parameters(recipe: &crate::recipe::Recipe) -> Result<Value> {
    let mut value = serde_json::to_value(recipe).or_fail(Id::Bug, || "the recipe")?;
    if let Some(table) = value.as_object_mut() {
        table.remove("budget");
    }
    let mut forget = |pointer: &str, keys: &[&str]| {
        let tables = value.pointer_mut(pointer).and_then(Value::as_object_mut);
        for table in tables.into_iter().flat_map(|tables| tables.values_mut()) {
            keys.iter().for_each(|key| drop(table.as_object_mut().and_then(|t| t.remove(*key))));
        }
    };
    let inner = ["go", "cargo", "local"];
    let host = ["module", "workspace", "path", "profile"];
    for kind in inner.iter().chain(&["apparmor"]) {
        forget(&format!("/{kind}"), &host);
    }
    for image in recipe.oci.keys() {
        inner.iter().for_each(|kind| forget(&format!("/oci/{image}/{kind}"), &host));
    }
    forget("/oci", &["archive"]);
    if let Some(debian) = value.pointer_mut("/debian").and_then(Value::as_object_mut) {
        debian.remove("keyring");
    }
    Ok(value)
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).or_fail(Id::Bug, || "JSON")
}
