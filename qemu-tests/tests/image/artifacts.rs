//! Releases in a registry before outside judges: a registry as it is run by many, and the client that
//! people have for artifacts.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use qemu_tests::process::{command, run};
use qemu_tests::{Orlop, workspace};

/// `me:correct horse`, as `htpasswd -B` writes it.
const PASSWORDS: &str = "me:$2a$04$1bJh00P20we7o24C.Qf4hO27tSFuuTNBF2XHIyUTfgyP9zQT7mH2C\n";

fn program(name: &str) -> PathBuf {
    workspace().join("target/judges/oci").join(name)
}

/// A registry on a port of loopback, whose files are in a directory of its own.
struct Registry {
    child: Child,
    host: String,
}

impl Registry {
    fn start(place: &Path) -> Result<Self> {
        fs::write(place.join("passwords"), PASSWORDS)?;
        let text = format!(
            "version: 0.1\nlog: {{ level: info }}\nstorage: {{ filesystem: {{ rootdirectory: {0}/blobs }} }}\n\
             http: {{ addr: '127.0.0.1:0' }}\nauth: {{ htpasswd: {{ realm: x, path: {0}/passwords }} }}\n",
            place.display()
        );
        let config = place.join("config.yml");
        fs::write(&config, text)?;
        let mut registry = command(program("registry"));
        // It sends what it does to nobody.
        registry.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        let mut child = registry
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("the registry: `cargo xtask setup` installs it")?;
        let stderr = child.stderr.take().context("a pipe")?;
        let mut registry = Self { child, host: String::new() };
        let mut lines = BufReader::new(stderr).lines();
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
                registry.host = rest[..end.unwrap_or(rest.len())].to_owned();
                // What it says further must go somewhere.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(registry);
            }
        }
        bail!("the registry has ended before it listened");
    }

    fn name(&self) -> String {
        format!("{}/team/releases:stable", self.host)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Files of a directory and what is in them, without the lock of whoever publishes.
fn files(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.file_name() != Some(".publishing".as_ref()) {
                found.insert(path.strip_prefix(directory)?.to_owned(), fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

fn same(one: &Path, other: &Path) -> Result<()> {
    let (one_files, other_files) = (files(one)?, files(other)?);
    let names = |files: &BTreeMap<PathBuf, _>| files.keys().cloned().collect::<Vec<_>>();
    ensure!(names(&one_files) == names(&other_files), "{:?}", names(&other_files));
    ensure!(one_files == other_files, "a file of {} is another", other.display());
    Ok(())
}

/// Everything there and back, by our program and by the judges' in all pairs.
pub(crate) fn judged(orlop: &Orlop) -> Result<()> {
    let place = tempfile::tempdir()?;
    let path = |name: &str| place.path().join(name);
    let registry = Registry::start(place.path())?;
    let name = registry.name();
    let in_place = |mut command: Command| {
        command.current_dir(place.path()).env("DOCKER_CONFIG", path("docker"));
        command
    };
    let ours = |words: &[&str]| -> Result<String> { run(in_place(orlop.command()).args(words)) };
    let oras =
        |words: &[&str]| -> Result<String> { run(in_place(command(program("oras"))).args(words)) };
    ours(&["keys", "init", "keys", "--no-passphrase"])?;
    let build = orlop.image_directory().to_str().context("a path is text")?;
    // Who is not known is told so, and how to become known.
    let publish = ["publish", build, "--to", "releases", "--keys", "keys", "--oci", &name];
    let refused = ours(&publish).err().context("somebody unknown has pushed")?.to_string();
    for words in ["error[E0514]", "`oras login 127.0.0.1:"] {
        ensure!(refused.contains(words), "{refused}");
    }
    oras(&["login", &registry.host, "--plain-http", "-u", "me", "-p", "correct horse"])?;
    // The release is there; what is left is to push it.
    let said = ours(&["publish", "--to", "releases", "--oci", &name])?;
    let by_digest = said.lines().last().context("a line")?.to_owned();
    ensure!(by_digest.contains("/team/releases@sha256:"), "{said}");

    let described = oras(&["manifest", "fetch", "--plain-http", "--descriptor", &name])?;
    let described: serde_json::Value = serde_json::from_str(&described)?;
    let digest = described["digest"].as_str().context("a digest")?;
    ensure!(by_digest.ends_with(digest), "the judge has {digest}, and we {by_digest}");
    oras(&["pull", "--plain-http", &name, "-o", "by-oras"])?;
    same(&path("releases"), &path("by-oras"))?;
    ours(&["verify", "by-oras", "--root", "keys/1.root.json"])?;
    for (from, to) in [(name.as_str(), "by-tag"), (by_digest.as_str(), "by-digest")] {
        ours(&["pull", from, "--to", to, "--root", "keys/1.root.json"])?;
        same(&path("releases"), &path(to))?;
    }
    // Nothing is sent twice.
    let again = ours(&["--json", "publish", "--to", "releases", "--oci", &name])?;
    let again: serde_json::Value = serde_json::from_str(&again)?;
    ensure!(again["oci"]["sent"] == 0, "{again}");
    ensure!(again["oci"]["digest"] == digest, "{again}");

    // What their client pushes is pulled by ours, and what it has copied, too.
    let all: Vec<_> = files(&path("by-oras"))?.into_keys().collect();
    let all: Vec<_> = all.iter().filter_map(|path| path.to_str()).collect();
    let theirs = format!("{}/theirs:1", registry.host);
    let mut push = in_place(command(program("oras")));
    push.current_dir(path("by-oras")).args(["push", "--plain-http", &theirs]).args(&all);
    run(&mut push)?;
    let copied = format!("{}/copied:1", registry.host);
    oras(&["copy", "--from-plain-http", "--to-plain-http", &name, &copied])?;
    for (from, to) in [(&theirs, "from-theirs"), (&copied, "from-copied")] {
        ours(&["pull", from, "--to", to, "--root", "keys/1.root.json"])?;
        same(&path("releases"), &path(to))?;
    }
    // An image is none, and a name that is not there is none.
    fs::write(path("file"), "x")?;
    oras(&["push", "--plain-http", &theirs, "file"])?;
    for (from, id) in [(theirs, "E0860"), (format!("{}/none:1", registry.host), "E0502")] {
        let refused = ours(&["pull", &from, "--to", "none"]).err().context(id)?.to_string();
        ensure!(refused.contains(id), "{refused}");
    }
    ensure!(!path("none").exists(), "something was written");
    Ok(())
}
