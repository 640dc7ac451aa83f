//! The programs of a cluster, built as a recipe's Go programs are: pinned by a `go.mod`, through
//! the same caches, remembered by the same steps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use formats::architecture::Architecture;
use formats::tree::Blob;

use crate::build::parts::compiled;
use crate::cluster::Extra;
use crate::cluster::plan::{API_SERVER, CONTROLLER_MANAGER, ETCD, SCHEDULER};
use crate::durable::{self, Name};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Progress;
use crate::recipe::model::{self, ImagePath};
use crate::source::Caches;
use crate::source::go::Component;
use crate::step::{Kind, Steps};
use crate::store::Store;

/// The administrator's client.
pub const KUBECTL: &str = "kubectl";

/// A component and its programs, each with its import path.
type Part = (&'static str, &'static [(&'static str, &'static str)]);

/// What every cluster is made of.
const PROGRAMS: [Part; 2] = [
    ("etcd", &[(ETCD, "go.etcd.io/etcd/server/v3")]),
    (
        "kubernetes",
        &[
            (API_SERVER, "k8s.io/kubernetes/cmd/kube-apiserver"),
            (CONTROLLER_MANAGER, "k8s.io/kubernetes/cmd/kube-controller-manager"),
            (SCHEDULER, "k8s.io/kubernetes/cmd/kube-scheduler"),
            // Gives Services a meaning on a node. Not run here: it is to be put into an image.
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
            (KUBECTL, "k8s.io/kubernetes/cmd/kubectl"),
        ],
    ),
];

/// What `--with flannel` adds.
const FLANNEL: [Part; 2] = [
    ("flannel", &[("flanneld", "orlop.dev/components/flannel/flanneld")]),
    (
        "flannel-plugin",
        &[("flannel", "github.com/containernetworking/plugins/plugins/meta/flannel")],
    ),
];

/// All parts of a cluster with these extras.
fn parts(with: &[Extra]) -> Vec<Part> {
    let extra = |extra: &Extra| match extra {
        Extra::Flannel => FLANNEL,
    };
    let with: BTreeSet<_> = with.iter().copied().collect();
    PROGRAMS.into_iter().chain(with.iter().flat_map(extra)).collect()
}

/// Where components are looked for, below each directory.
const PLACES: [&str; 2] = ["components", "recipes/components"];

/// Finds the directory which has a directory for each component.
///
/// It is `named`, or the first in or above one of the paths in `search`.
///
/// # Errors
/// [`Id::NoComponents`].
pub fn find(named: Option<&Path>, search: &[PathBuf], with: &[Extra]) -> Result<PathBuf> {
    let names: Vec<_> = parts(with).into_iter().map(|(name, _)| name).collect();
    let missing =
        |directory: &Path| names.iter().find(|name| !directory.join(name).join("go.mod").is_file());
    if let Some(named) = named {
        return match missing(named) {
            None => Ok(named.to_owned()),
            Some(name) => {
                let message = format!("`{}` has no `{name}/go.mod`", named.display());
                Err(Error::new(Id::NoComponents, message)
                    .hint("`--components` takes a directory such as `recipes/components` of Orlop's repository"))
            }
        };
    }
    let directories = search.iter().flat_map(|path| path.ancestors());
    let mut places = directories.flat_map(|directory| PLACES.map(|place| directory.join(place)));
    places.find(|place| missing(place).is_none()).ok_or_else(|| {
        let names = names.join("`, `");
        let message = format!("cannot find the components of which a cluster is built: `{names}`");
        Error::new(Id::NoComponents, message)
            .hint("name their directory with `--components DIR`, such as `recipes/components` of Orlop's repository")
    })
}

/// Reads the components in a directory that [`find`] has found.
///
/// # Errors
/// [`Id::GoModule`] if one has not the programs that a cluster needs.
pub fn load(directory: &Path, with: &[Extra]) -> Result<Vec<(&'static str, Component)>> {
    let load = |(name, programs): Part| {
        // The path in an image has no meaning here.
        let at = |program: &str| ImagePath::try_from(format!("/{program}"));
        let paths = programs
            .iter()
            .map(|(program, package)| Ok(((*package).to_owned(), at(program)?)))
            .collect::<Result<BTreeMap<_, _>, String>>()
            .map_err(|why| Error::new(Id::Bug, why))?;
        let (tags, stamp) = match name {
            // As the recipes build kubelet: what both have in common is compiled once.
            "kubernetes" => (
                BTreeSet::from(["grpcnotrace".to_owned()]),
                BTreeMap::from([(
                    "k8s.io/component-base/version.gitVersion".to_owned(),
                    "{version}".to_owned(),
                )]),
            ),
            _ => Default::default(),
        };
        // They run on this host: no recipe has a say.
        let host = Architecture::of_machine(std::env::consts::ARCH).unwrap_or(Architecture::MADE);
        let go = model::Go { module: directory.join(name), tags, stamp, programs: paths };
        Ok((name, Component::load(&go, host)?))
    };
    parts(with).into_iter().map(load).collect()
}

/// Builds what is not remembered, and puts every program where this host can run it: by name.
///
/// # Errors
/// Those of [`Component::build`]; [`Id::Write`].
pub fn build(
    components: &[(&'static str, Component)],
    environment: &Environment,
    caches: &Caches,
    store: &Store,
    jobs: usize,
    progress: &Progress,
) -> Result<BTreeMap<&'static str, PathBuf>> {
    let mut steps = Steps::new(store, "cluster");
    let mut programs = BTreeMap::new();
    for (name, component) in components {
        let built = compiled(
            store,
            &mut steps,
            progress,
            Kind::Go,
            &format!("go {name}"),
            || {
                let component = component.again()?;
                let toolchain = component.toolchain(store)?;
                Ok((component.inputs(&toolchain)?, (component, toolchain)))
            },
            |(component, toolchain)| component.build(toolchain, environment, caches, store, jobs),
        )?;
        let wanted = PROGRAMS.iter().chain(&FLANNEL).filter(|(other, _)| other == name);
        for &(program, package) in wanted.flat_map(|(_, programs)| *programs) {
            let blob = built.get(package).ok_or_else(|| {
                Error::new(Id::Bug, format!("`{package}` was built and is not there"))
            })?;
            programs.insert(program, executable(&caches.programs, store, program, &blob.0)?);
        }
    }
    Ok(programs)
}

/// The program in the cache, put there if it is not. Blobs of the store cannot be executed, and
/// a copy for each cluster would be 300 MB.
fn executable(cache: &Path, store: &Store, name: &str, blob: &Blob) -> Result<PathBuf> {
    let directory = cache.join(blob.sha256.to_string());
    let path = directory.join(name);
    // It appears whole, and its content stands in the directory's name.
    if fs::metadata(&path).is_ok_and(|meta| meta.len() == blob.size) {
        return Ok(path);
    }
    let mut source = store.open_blob(blob)?;
    let mut put = || -> io::Result<()> {
        fs::create_dir_all(&directory)?;
        let mut file = tempfile::NamedTempFile::new_in(&directory)?;
        io::copy(&mut source, &mut file)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
        durable::persist(file, &path, Name::Later)
    };
    put().or_fail(Id::Write, || format!("cannot write `{}`", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn components(directory: &Path, names: &[&str]) {
        for name in names {
            fs::create_dir_all(directory.join(name)).unwrap();
            fs::write(directory.join(name).join("go.mod"), "module m.example/m\n").unwrap();
        }
    }

    #[test]
    fn components_are_found_beside_and_above() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        components(&at("checkout/recipes/components"), &["etcd", "kubernetes", "cni"]);
        components(&at("project/components"), &["etcd", "kubernetes"]);
        components(&at("checkout/xtask/components"), &["etcd"]);
        for (from, want) in [
            ("checkout/xtask/src", "checkout/recipes/components"),
            ("checkout/recipes", "checkout/recipes/components"),
            ("project", "project/components"),
        ] {
            assert_eq!(find(None, &[at("empty"), at(from)], &[]).unwrap(), at(want), "{from}");
        }
        let named = at("project/components");
        assert_eq!(find(Some(&named), &[at("checkout")], &[]).unwrap(), named);
    }

    #[test]
    fn what_is_missing_is_named() {
        let root = tempfile::tempdir().unwrap();
        components(root.path(), &["etcd"]);
        let missing = |with: &[Extra]| {
            let error = find(Some(root.path()), &[], with).unwrap_err();
            assert_eq!(error.id(), Id::NoComponents);
            error.to_string()
        };
        let error = missing(&[]);
        assert!(error.ends_with("has no `kubernetes/go.mod`"), "{error}");
        components(root.path(), &["kubernetes", "flannel"]);
        find(Some(root.path()), &[], &[]).unwrap();
        let error = missing(&[Extra::Flannel]);
        assert!(error.ends_with("has no `flannel-plugin/go.mod`"), "{error}");
        let error = find(None, &[], &[Extra::Flannel]).unwrap_err();
        assert_eq!(error.id(), Id::NoComponents);
        assert!(
            error.to_string().ends_with("`kubernetes`, `flannel`, `flannel-plugin`"),
            "{error}"
        );
    }

    #[test]
    fn the_components_of_this_repository_have_every_program() {
        let search = [PathBuf::from(env!("CARGO_MANIFEST_DIR"))];
        let directory = find(None, &search, &[Extra::Flannel]).unwrap();
        let names = |with: &[Extra]| {
            load(&directory, with).unwrap().iter().map(|(name, _)| *name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["etcd", "kubernetes"]);
        let twice = [Extra::Flannel, Extra::Flannel];
        assert_eq!(names(&twice), ["etcd", "kubernetes", "flannel", "flannel-plugin"]);
    }

    #[test]
    fn a_program_is_put_where_it_can_run_and_once_only() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path().join("store")).unwrap();
        let blob = store.put_bytes(b"#!/bin/sh\necho it runs\n").unwrap();
        let cache = root.path().join("programs");
        let path = executable(&cache, &store, "etcd", &blob).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"#!/bin/sh\necho it runs\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        fs::remove_file(store.blob_path(&blob.sha256)).unwrap();
        assert_eq!(executable(&cache, &store, "etcd", &blob).unwrap(), path);
        // One that was cut short by somebody is not believed.
        fs::write(&path, "").unwrap();
        assert_eq!(executable(&cache, &store, "etcd", &blob).unwrap_err().id(), Id::StoreMissing);
    }
}
