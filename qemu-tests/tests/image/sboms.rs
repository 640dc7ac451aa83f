//! What a build says of itself before outside judges: the official schemas of SPDX 2.3 and CycloneDX
//! 1.6, libraries that others read these and in-toto statements with, and a scanner in small.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::process::judge;
use qemu_tests::{Orlop, workspace};
use serde_json::{Value, json};

/// Both images are judged; and an advisory for a package, the kernel, a module, Go's own library and a
/// crate of the image is found in both forms of the SBOM, one for other versions of them is not.
pub(crate) fn judged(orlop: &Orlop) -> Result<()> {
    for build in [orlop.image_directory(), orlop.node_image()?] {
        let contents: Value = serde_json::from_slice(&fs::read(build.join("contents.json"))?)?;
        let package = &contents["components"]["deb/crun"];
        let version = package["source-version"].as_str().context("crun has a source")?;
        let (kernel, linux) = kernel(&contents)?;
        let module = library(&contents, "/usr/bin/containerd", "go/google.golang.org/grpc@")?;
        let one = library(&contents, "/usr/lib/orlop/init", "cargo/rustix@")?;
        let go = library(&contents, "/usr/bin/containerd", "go-standard@")?;
        let advisory = |id: &str, kind: &str, package: &str, version: &str| json!({ "id": id, "type": kind, "package": package, "versions": [version] });
        let advisories = [
            advisory("DEB-1", "deb", "crun", version),
            advisory("DEB-2", "deb", "crun", "0.1-1"),
            advisory("DEB-3", "deb", "linux", linux),
            advisory("GO-3", "golang", "stdlib", &go),
            advisory("GO-1", "golang", "google.golang.org/grpc", &module),
            advisory("GO-2", "golang", "google.golang.org/grpc", "v0.1.0"),
            advisory("RUST-1", "cargo", "rustix", &one),
            advisory("RUST-2", "cargo", "rustix", "0.1.0"),
        ];
        let found = scan(build, &json!(advisories))?;
        let shown = package["version"].as_str().context("crun has a version")?;
        let want: BTreeSet<_> = ["spdx", "cyclonedx"]
            .into_iter()
            .flat_map(|form| {
                [
                    format!("{form} DEB-1 crun {shown}"),
                    format!("{form} DEB-3 {kernel}"),
                    format!("{form} GO-3 stdlib {go}"),
                    format!("{form} GO-1 grpc {module}"),
                    format!("{form} RUST-1 rustix {one}"),
                ]
            })
            .collect();
        ensure!(found == want, "found {found:?}, and not {want:?}");
    }
    Ok(())
}

/// Name and version of the kernel's package, and the version of the source package that was signed.
fn kernel(contents: &Value) -> Result<(String, &str)> {
    let components = contents["components"].as_object().context("components")?;
    let kernel = components.iter().find(|(id, _)| id.starts_with("deb/linux-image-"));
    let (_, kernel) = kernel.context("a kernel")?;
    let text = |value: &'_ Value| value.as_str().map(str::to_owned);
    let name = text(&kernel["name"]).zip(text(&kernel["version"]));
    let (name, version) = name.context("the kernel's name and version")?;
    let linux = kernel["built-using"][0]["version"].as_str().context("the kernel's source")?;
    Ok((format!("{name} {version}"), linux))
}

/// The version of what is linked into a file of the root.
fn library(contents: &Value, path: &str, name: &str) -> Result<String> {
    let mut files = contents["files"].as_array().context("files")?.iter();
    let file = files.find(|file| file["place"] == "root" && file["path"] == path);
    let mut libraries =
        file.context("the file")?["libraries"].as_array().context("libraries")?.iter();
    let version = libraries.find_map(|id| id.as_str()?.strip_prefix(name));
    Ok(version.with_context(|| format!("{path} has no {name}"))?.to_owned())
}

/// What the judges find, a line each.
fn scan(build: &Path, advisories: &Value) -> Result<BTreeSet<String>> {
    let directory = tempfile::tempdir()?;
    let list = directory.path().join("advisories.json");
    fs::write(&list, advisories.to_string())?;
    let python = workspace().join("target/judges/bin/python");
    let python = python.to_str().context("the checkout's name is text")?;
    let script = workspace().join("qemu-tests/judges/sbom.py");
    let words = [script.as_os_str(), build.as_os_str(), list.as_os_str()];
    let said = judge(python, "by `cargo xtask setup`", words)?;
    Ok(said.lines().map(str::to_owned).collect())
}
