//! Images for the pods of tests, made of programs of this host: what a [`registry`](crate::registry) has.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use formats::architecture::Architecture;
use formats::digest::Sha256;
use formats::oci::{self, Files, Image, Reference};
use serde_json::Value;

use crate::process::{command, run};
use crate::registry::Content;

/// The tools of a shell: the host's static binary.
///
/// # Errors
/// It is not installed.
pub fn busybox() -> Result<Files> {
    let mut files = Files::new();
    files.directory("/tmp", 0o1777)?;
    files.file("/bin/busybox", 0o755, read(Path::new("/bin/busybox"))?)?;
    let list = run(command("/bin/busybox").arg("--list"))?;
    for applet in list.lines().filter(|applet| *applet != "busybox") {
        files.symlink(&format!("/bin/{applet}"), "busybox")?;
    }
    Ok(files)
}

/// Adds a program of this host and the libraries that it needs.
///
/// # Errors
/// It is not installed.
pub fn with_libraries(files: &mut Files, program: &str, at: &str) -> Result<()> {
    let find = format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}");
    let program = PathBuf::from(run(command("sh").args(["-c", &find]))?.trim());
    files.file(at, 0o755, read(&program)?)?;
    let libraries = run(command("ldd").arg(&program))?;
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        files.file(library, 0o755, read(Path::new(library))?)?;
    }
    Ok(())
}

/// Adds an image of one layer.
///
/// # Errors
/// Its name is none of `registry.test`.
pub fn add(content: &mut Content, name: &str, entrypoint: &str, files: &Files) -> Result<()> {
    let image = Image::new(Reference::new(name)?, Architecture::Amd64, [entrypoint]);
    let packed = oci::pack(&image, files)?;
    for (_, _, bytes) in packed.blobs() {
        put(content, bytes);
    }
    tag(content, name, &packed.archive.manifest().bytes)
}

/// Adds an image of two layers. Ours have one, so the second is written into the documents.
///
/// # Errors
/// As [`add`].
pub fn add_on(content: &mut Content, name: &str, lower: &Files, upper: &Files) -> Result<()> {
    let image = Image::new(Reference::new(name)?, Architecture::Amd64, ["/bin/sh"]);
    let (lower, upper) = (oci::pack(&image, lower)?, oci::pack(&image, upper)?);
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes);
    let mut config = json(&lower.archive.config().bytes)?;
    let mut manifest = json(&lower.archive.manifest().bytes)?;
    let other = json(&upper.archive.manifest().bytes)?["layers"][0].clone();
    // A layer that is not compressed has one digest.
    let ids = config["rootfs"]["diff_ids"].as_array_mut().context("layers")?;
    ids.push(other["digest"].clone());
    manifest["layers"].as_array_mut().context("layers")?.push(other);
    let config = config.to_string();
    manifest["config"]["size"] = config.len().into();
    manifest["config"]["digest"] = put(content, config.as_bytes()).into();
    for layer in [&lower.layer, &upper.layer] {
        put(content, layer);
    }
    tag(content, name, manifest.to_string().as_bytes())
}

/// A blob; its digest.
fn put(content: &mut Content, bytes: &[u8]) -> String {
    let digest = format!("sha256:{}", Sha256::of(bytes));
    content.blobs.insert(digest.clone(), bytes.to_vec());
    digest
}

fn tag(content: &mut Content, name: &str, manifest: &[u8]) -> Result<()> {
    let tag = name.strip_prefix("registry.test/").context("it is in our registry")?;
    let manifest = put(content, manifest);
    content.tags.insert(tag.to_owned(), manifest);
    Ok(())
}

/// A file of this host.
///
/// # Errors
/// It is not there: what installs it is named.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| {
        format!("cannot read {}: `cargo xtask setup` installs what the tests need", path.display())
    })
}
