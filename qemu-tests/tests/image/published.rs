//! What `orlop publish` writes and `orlop serve` serves, before the reference implementation of TUF; and
//! what that one writes, before `orlop verify`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use formats::digest::Sha256;
use qemu_tests::process::run;
use qemu_tests::{Orlop, Report, workspace};

use crate::releases::stock;

/// `orlop serve`, until it is dropped.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(orlop: &Orlop, directory: &Path) -> Result<Self> {
        let mut command = orlop.command();
        command.arg("serve").arg(directory).args(["--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().context("its stdout")?;
        let mut serving = Self { child, address: String::new() };
        let mut lines = BufReader::new(stdout).lines();
        let is = |line: &std::io::Result<String>| {
            line.as_ref().is_ok_and(|line| line.starts_with("http://"))
        };
        let line = lines.find(is).context("`orlop serve` says no address")??;
        serving.address = line.trim_end_matches('/').to_owned();
        Ok(serving)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Files of a version by their names, each with the path that it has.
fn files(directory: &Path, version: &str) -> Result<Vec<(String, PathBuf)>> {
    fn add(at: &Path, below: &str, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
        for entry in fs::read_dir(at)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).context("a name")?;
            if path.is_dir() {
                add(&path, &format!("{below}/{name}"), files)?;
            } else {
                let (_, name) = name.split_once('.').context("a hash before the name")?;
                files.push((format!("{below}/{name}"), path));
            }
        }
        Ok(())
    }
    let mut all = Vec::new();
    add(&directory.join("targets").join(version), version, &mut all)?;
    all.sort();
    Ok(all)
}

/// The base image as another version: an image says which one it is, and is published as that.
fn build(orlop: &Orlop, place: &Path, version: &str) -> Result<PathBuf> {
    let base = workspace().join("recipes/base.toml");
    let (recipe, build) = (place.join(format!("{version}.toml")), place.join(version));
    let text = format!("schema = 1\nextends = {base:?}\n[os]\nversion = {version:?}\n");
    fs::write(&recipe, text)?;
    // What is asked of the archives is the same, so the lock fits.
    fs::copy(base.with_extension("lock"), place.join(format!("{version}.lock")))?;
    let mut command = orlop.command();
    run(command.args(["build", "--offline", "--no-commit"]).arg(recipe).arg("-o").arg(&build))?;
    Ok(build)
}

/// Both ways.
pub(crate) fn judged(orlop: &Orlop) -> Result<()> {
    let place = tempfile::tempdir()?;
    let path = |name: &str| place.path().join(name);
    let (site, keys) = (path("site"), path("keys"));
    run(orlop.command().args(["keys", "init", "--no-passphrase"]).arg(&keys))?;
    let publish = |version: &str| {
        let mut command = orlop.command();
        command.arg("publish").arg(build(orlop, place.path(), version)?);
        run(command.arg("--to").arg(&site).arg("--keys").arg(&keys))
    };
    publish("1.0")?;
    // With a root that follows, and a delta.
    run(orlop.command().args(["keys", "rotate", "snapshot", "--keys"]).arg(&keys))?;
    publish("2.0")?;
    let files = files(&site, "2.0")?;
    ensure!(files.iter().any(|(name, _)| name == "2.0/delta/1.0.delta"), "{files:?}");

    let serving = Serving::start(orlop, &site)?;
    let root = keys.join("1.root.json");
    let root = root.to_str().context("a name of text")?;
    let words = ["fetch", &serving.address, root].into_iter();
    let words: Vec<_> = words.chain(files.iter().map(|(name, _)| name.as_str())).collect();
    let said = stock(&words, &site)?;
    let mut want = String::new();
    for (name, path) in &files {
        let bytes = fs::read(path)?;
        want += &format!("{} {} {name}\n", Sha256::of(&bytes), bytes.len());
    }
    ensure!(said == want, "the stock client has read\n{said}and not\n{want}");

    // The same files under metadata, and keys, of the stock publisher.
    let theirs = path("theirs");
    let words = ["sign", theirs.to_str().context("a name of text")?].into_iter();
    let words: Vec<_> = words.chain(files.iter().map(|(name, _)| name.as_str())).collect();
    stock(&words, &site)?;
    let serving = Serving::start(orlop, &theirs)?;
    for place in [theirs.as_os_str(), serving.address.as_ref()] {
        let mut command = orlop.command();
        command.arg("verify").arg(place).arg("--root").arg(theirs.join("metadata/1.root.json"));
        let said = run(&mut command)?;
        let report = fs::read(path("2.0").join("build.json"))?;
        let hash = serde_json::from_slice::<Report>(&report)?.root.hash;
        ensure!(said.contains(&format!("\nroot hash {hash}\n")), "{said}");
    }
    Ok(())
}
