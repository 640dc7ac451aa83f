//! Compiles a component's programs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use formats::tree::Blob;

use super::{Component, FLAGS, Toolchain, explain, tool};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Id, Result};
use crate::process::Command;
use crate::source::caches::{self, Caches};
use crate::source::files;
use crate::store::Store;

/// Templates of `go list`: import paths of packages with parts in C, and directories of packages
/// that are not of modules with a digest.
const WITH_C: &str = "{{if and .CgoFiles (not .Standard)}}{{.ImportPath}}{{end}}";
const PLACES: &str = "{{if .Module}}{{if .Module.Main}}{{.Dir}}{{end}}{{end}}";

impl Component {
    /// Builds the programs and takes them into the store, by import path. Compiles at most `jobs`
    /// packages at a time, which has no influence on the bytes.
    ///
    /// # Errors
    /// [`Id::GoNotFetched`] if something is missing that `fetch` brings, [`Id::GoNeedsC`],
    /// [`Id::GoModule`] if it is made of files that nothing watches, [`Id::ToolFailed`] with the
    /// compiler's own words, [`Id::StoreWrite`].
    pub fn build(
        &self,
        toolchain: &Toolchain,
        environment: &Environment,
        caches: &Caches,
        store: &Store,
        jobs: usize,
    ) -> Result<BTreeMap<String, Blob>> {
        let toolchain = toolchain.unpacked(environment, caches, store)?;
        let proxy = self.modules(store)?.unwrap_or_default().proxy(caches, store)?;
        // Go looks there for what its cache lacks: after a clean-up, or in a store from elsewhere.
        let go = || {
            let bin = toolchain.join("bin");
            let go = tool::offline(&bin.join("go"), &self.directory, caches, &proxy);
            super::target(self.architecture)
                .fold(go.env("PATH", bin), |go, (name, value)| go.env(name, value))
        };
        let tags = Vec::from_iter(self.tags.iter().map(String::as_str)).join(",");
        let list = |go: Command, template: &str, programs: &[&str]| {
            let go = go.args(["list", "-deps", "-e", "-tags", &tags, "-f", template]);
            go.args(programs).run().map(|output| {
                let lines = String::from_utf8_lossy(&output).into_owned();
                let lines = lines.lines().filter(|line| !line.is_empty());
                Vec::from_iter(lines.map(str::to_owned))
            })
        };
        let mut blobs = BTreeMap::new();
        for group in self.groups()? {
            let output = caches::scratch(&caches.go_build)?;
            let mut target = output.path().as_os_str().to_owned();
            target.push("/");
            let programs: Vec<_> = group.programs.values().copied().collect();
            let command = go()
                .arg("build")
                .args(FLAGS)
                .args(["-p", &jobs.max(1).to_string()])
                .args(["-ldflags", &group.linker_flags])
                .args(["-tags", &tags])
                .arg("-o")
                .arg(target)
                .args(&programs);
            command.run().map_err(|error| {
                let with_c = || list(go().env("CGO_ENABLED", "1"), WITH_C, &programs);
                explain::failure(error, &self.gomod, &proxy, || with_c().unwrap_or_default())
            })?;
            if files::has_link_to_directory(&self.directory)? {
                self.check_places(&list(go(), PLACES, &programs)?)?;
            }
            for (name, program) in group.programs {
                let path = output.path().join(name);
                let mut file = File::open(&path).or_fail(Id::Bug, || {
                    format!("`go build` has not made `{}` of `{program}`", path.display())
                })?;
                blobs.insert(program.to_owned(), store.put(&mut file)?);
            }
        }
        Ok(blobs)
    }

    /// Whether packages come from where they seem to: what lies behind a link to a directory is
    /// not among the inputs, and Go follows one that an import names.
    fn check_places(&self, places: &[String]) -> Result<()> {
        for place in places.iter().map(Path::new) {
            let real = fs::canonicalize(place);
            let real = real.or_fail(Id::Read, || format!("cannot read `{}`", place.display()))?;
            if real != place {
                let message = format!(
                    "the package in `{}` is a link to `{}`, which is not watched for changes",
                    place.display(),
                    real.display()
                );
                let hint = "move it into the component, or give it a module of its own";
                return Err(Error::new(Id::GoModule, message).hint(hint));
            }
        }
        Ok(())
    }
}
