//! From parts to the tree of the root: layers in their order, then the files that are made from
//! data, then the allow-list.

use std::collections::BTreeMap;

use formats::digest::Sha256;
use formats::manifest;
use formats::tree::{Blob, Kind, Node, Tree, TreePath};

use crate::build::Request;
use crate::build::parts::{Layer, Parts};
use crate::compose::allow::Rules;
use crate::compose::layers::Layers;
use crate::compose::program::Program;
use crate::compose::system;
use crate::error::{Context as _, Error, Id, Result};
use crate::source::deb::alternatives;
use crate::step::{self, Inputs, Step, Steps};
use crate::store::Damaged;

/// The tree of the root.
#[derive(Debug)]
pub struct Composed {
    /// The tree.
    pub tree: Tree,
    /// The tree as text.
    pub manifest: String,
    /// Digest of the manifest: two trees with one digest make one image.
    pub digest: Sha256,
    /// Digest of which component each path is from: one tree can be put together in two ways.
    pub owners: Sha256,
    /// Which component each path is from.
    pub from: BTreeMap<TreePath, String>,
    /// Bytes of file content by component.
    pub weights: BTreeMap<String, u64>,
    /// Content of `/usr/lib/os-release`.
    pub os_release: String,
    /// Worth a look.
    pub warnings: Vec<String>,
}

/// Composes and checks the tree.
///
/// # Errors
/// [`Id::TreeConflict`], [`Id::NotAllowed`], and those of the store.
pub fn compose(request: &Request<'_>, steps: &mut Steps<'_>, parts: &Parts) -> Result<Composed> {
    let recipe = request.recipe;
    let replace = recipe.tree.replace.iter().map(|path| path.0.clone()).collect();
    let mut layers = Layers::new(replace);
    // Links and directories first: what packages bring below `/bin` has been moved to `/usr/bin`.
    let links = recipe.tree.symlinks.iter();
    layers.add("recipe", links.map(|(path, target)| (path.0.clone(), Node::symlink(target))));
    let directories = recipe.tree.directories.iter();
    layers.add("recipe", directories.map(|path| (path.0.clone(), Node::directory(0o755))));
    let lay = |parts: &[Layer], layers: &mut Layers| {
        parts.iter().for_each(|layer| layers.add(&layer.owner, layer.nodes.iter().cloned()));
    };
    lay(&parts.packages, &mut layers);

    // Before what the user brings, which may replace it.
    let os_release = system::os_release(&recipe.os, &recipe.name);
    let (passwd, group) = system::accounts(&recipe.users);
    let file = |path: &str, text: &str| -> Result<(TreePath, Node)> {
        let blob = request.store.put_bytes(text.as_bytes())?;
        Ok((path_of(path)?, Node::file(blob, 0o644)))
    };
    let made = [
        file("usr/lib/os-release", &os_release)?,
        (path_of("etc/os-release")?, Node::symlink("../usr/lib/os-release")),
        file("etc/passwd", &passwd)?,
        file("etc/group", &group)?,
    ];
    layers.add("system", made);
    if let Some(floor) = system::time_floor(&request.lock.suites) {
        layers.add("system", [file("usr/lib/orlop/time-floor", &floor)?]);
    }
    lay(&parts.components, &mut layers);
    let bundle = recipe.tree.ca_bundle.as_ref();
    let bundle_is_made = bundle.is_some_and(|bundle| layers.leaves(&bundle.at.0, "ca-bundle"));

    let (mut tree, mut owners, mut warnings) = layers.finish()?;
    warnings.extend(alternatives::lacking(&parts.alternatives, &|path| tree.get(path).is_some()));
    if let Some(bundle) = bundle {
        let from = &bundle.from.0;
        let blob = ca_bundle(request, &tree, from)?;
        tree.remove(from);
        owners.retain(|path, _| tree.get(path).is_some());
        if bundle_is_made {
            if blob.size == 0 {
                warnings.push(format!("no certificates are below {from}: the CA bundle is empty"));
            }
            owners.insert(bundle.at.0.clone(), "ca-bundle".to_owned());
            tree.insert(bundle.at.0.clone(), Node::file(blob, 0o644))
                .or_fail(Id::TreeConflict, || "cannot place the CA bundle")?;
        }
    }

    let manifest = manifest::text(&tree);
    let digest = Sha256::of(&manifest);
    let owned = Inputs::new()
        .with_all("owner", owners.iter().map(|(path, owner)| format!("{path} {owner}")))
        .digest();
    check(request, steps, parts, &tree, &owners, (digest, owned))?;
    let mut weights = BTreeMap::new();
    for (path, node) in tree.iter() {
        if let (Kind::File(blob), Some(owner)) = (&node.kind, owners.get(path)) {
            *weights.entry(owner.clone()).or_default() += blob.size;
        }
    }
    Ok(Composed {
        tree,
        manifest,
        digest,
        owners: owned,
        from: owners,
        weights,
        os_release,
        warnings,
    })
}

impl Composed {
    /// Says what a damaged blob would have been in the image.
    pub fn blame(&self, error: Error) -> Error {
        let damaged = error.chained::<Damaged>().map(|damaged| damaged.blob);
        let holds = |node: &Node| matches!(&node.kind, Kind::File(blob) if Some(*blob) == damaged);
        match self.tree.iter().find(|(_, node)| holds(node)) {
            Some((path, _)) => {
                let from = self.from.get(path).map_or("nobody", String::as_str);
                error.within(format!("cannot put {path}, from {from}, into an image"))
            }
            None => error,
        }
    }
}

fn ca_bundle(request: &Request<'_>, tree: &Tree, from: &TreePath) -> Result<Blob> {
    let prefix = format!("{}/", from.as_str());
    let mut certificates = Vec::new();
    for (path, node) in tree.iter() {
        if let Kind::File(blob) = &node.kind
            && path.as_str().starts_with(&prefix)
            && path.as_str().ends_with(".crt")
        {
            certificates.push(request.store.read_blob(blob)?);
        }
    }
    request.store.put_bytes(&system::ca_bundle(certificates.iter().map(Vec::as_slice)))
}

fn check(
    request: &Request<'_>,
    steps: &mut Steps<'_>,
    parts: &Parts,
    tree: &Tree,
    owners: &BTreeMap<TreePath, String>,
    (digest, owned): (Sha256, Sha256),
) -> Result<()> {
    let rules = &request.recipe.tree.executables;
    let rules = Rules::new(rules, parts.programs.clone(), request.recipe.arch)?;
    let inputs = Inputs::new()
        .with("tree", digest)
        .with("owners", owned)
        .with("architecture", request.recipe.arch)
        .with_all(
            "allowed",
            request.recipe.tree.executables.iter().map(|(glob, owner)| format!("{glob} {owner}")),
        )
        .with_all("program", &parts.programs);
    let inputs = Inputs::new().with("checked", inputs.digest());
    let program = |blob: &Blob| -> Result<Program> {
        let cannot = || format!("cannot read blob `{}`", blob.sha256);
        Program::of(request.store.open_blob(blob)?).or_fail(Id::Read, cannot)
    };
    let step = Step::new(step::Kind::Allow, "allow", inputs);
    steps.run(&step, |()| true, || rules.check(tree, owners, program))
}

fn path_of(text: &str) -> Result<TreePath> {
    TreePath::new(text).map_err(|error| Error::new(Id::Bug, error.to_string()))
}
