//! The image under test: a node, with `--full` one with gVisor, and with an image of pods that was made by the test, in an OCI
//! layout as tools leave it, packed with gzip and for several platforms.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use formats::architecture::Architecture;
use formats::digest::Sha256;
use formats::oci::{self, INDEX_TYPE, Image, Reference};
use qemu_tests::Orlop;
use qemu_tests::harness;
use qemu_tests::images::busybox;
use qemu_tests::process::run;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What pods call the image.
pub(crate) const BUSYBOX: &str = "registry.test/busybox:1";

/// A built image, and what its seed is.
#[derive(Debug)]
pub(crate) struct World {
    /// The directory of the image.
    pub(crate) image: PathBuf,
    /// The digest by which pods may name the seed: that of its index.
    pub(crate) digest: String,
    /// Bytes of its layer.
    pub(crate) layer: u64,
    _directory: TempDir,
}

static WORLD: Mutex<Option<Arc<World>>> = Mutex::new(None);

/// Removes the image.
pub(crate) fn end() {
    drop(WORLD.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// The one and only, built by whoever comes first.
pub(crate) fn world(orlop: &Orlop) -> Result<Arc<World>> {
    let mut world = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(world) = &*world {
        return Ok(Arc::clone(world));
    }
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let place = directory.path();
    let (digest, layer) = layout(&place.join("busybox"))?;
    let recipes = qemu_tests::workspace().join("recipes");
    let recipe = place.join("seeds.toml");
    let node = recipes.join("node.toml");
    fs::write(
        &recipe,
        format!(
            "schema = 1\nextends = {node:?}\nname = \"seeds\"\n\
             [oci.busybox]\nreference = {BUSYBOX:?}\narchive = \"busybox\"\n\
             at = \"/usr/lib/orlop/images/busybox.json\"\n"
        ),
    )?;
    // What is asked of the archives is the same, so the lock fits.
    fs::copy(recipes.join("node.lock"), place.join("seeds.lock")).context("recipes/node.lock")?;
    let image = place.join("image");
    let mut build = orlop.command();
    build.args(["build", "--locked", "--no-commit"]).arg(&recipe);
    if harness::is_full() {
        run(orlop.command().args(["fetch", "-p", "gvisor"]).arg(&recipe))?;
        build.args(["-p", "gvisor"]);
    }
    run(build.arg("-o").arg(&image))?;
    let made = Arc::new(World { image, digest, layer, _directory: directory });
    *world = Some(Arc::clone(&made));
    Ok(made)
}

/// An image layout with busybox; the digest of its index, and the bytes of its layer.
fn layout(place: &Path) -> Result<(String, u64)> {
    let blobs = place.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |kind: &str, bytes: &[u8]| -> Result<Value> {
        let digest = Sha256::of(bytes);
        fs::write(blobs.join(digest.to_string()), bytes)?;
        Ok(json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() }))
    };
    let image = Image::new(Reference::new(BUSYBOX)?, Architecture::Amd64, ["/bin/sh"]);
    let packed = oci::pack(&image, &busybox()?)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&packed.layer)?;
    let gzip = gzip.finish()?;
    let config = put(oci::CONFIG_TYPE, &packed.archive.config().bytes)?;
    let layer = put(&format!("{}+gzip", oci::LAYER_TYPE), &gzip)?;
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] }).to_string();
    let mut manifest = put(oci::MANIFEST_TYPE, manifest.as_bytes())?;
    manifest["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    // For another machine, and not here.
    let mut other = manifest.clone();
    other["digest"] = format!("sha256:{}", Sha256::of("arm64")).into();
    other["platform"]["architecture"] = "arm64".into();
    let index = json!({ "schemaVersion": 2, "manifests": [other, manifest] }).to_string();
    let mut top = put(INDEX_TYPE, index.as_bytes())?;
    top["annotations"] = json!({ "org.opencontainers.image.ref.name": "1" });
    let digest = top["digest"].as_str().context("a digest")?.to_owned();
    let index = json!({ "schemaVersion": 2, "manifests": [top] }).to_string();
    fs::write(place.join("index.json"), index)?;
    fs::write(place.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
    ensure!(digest.starts_with("sha256:"), "{digest}");
    Ok((digest, gzip.len() as u64))
}
