//! AppArmor's profile of containers: whether it is the one that containerd of the image would make,
//! if there were a compiler on a node.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use formats::quote;
use formats::tree::{Blob, Kind, TreePath};
use qemu_tests::process::run;
use qemu_tests::store::blob;
use qemu_tests::{Orlop, workspace};

const OURS: &str = "usr/lib/orlop/apparmor/cri-containerd.apparmor.d";
const THEIRS: &str = "usr/lib/orlop/apparmor/theirs";

/// containerd's template (contrib/apparmor/template.go) is compiled beside our profile, as a
/// component of a recipe. The compiler makes one automaton of equal rules, whatever their order.
pub(crate) fn containerd_would_make_the_same(orlop: &Orlop) -> Result<()> {
    let program = file(orlop.image_directory(), "usr/bin/containerd")?;
    let program = fs::read(blob(&orlop.store()?, &program.sha256.to_string()))?;
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    fs::write(at("theirs"), profile(&template(&program)?)?)?;
    let base = workspace().join("recipes/base.toml");
    let base = quote::string(base.to_str().context("the checkout's name is text")?);
    let recipe = format!(
        "schema = 1\nextends = {base}\n[apparmor.theirs]\nprofile = \"theirs\"\nat = \"/{THEIRS}\"\n"
    );
    fs::write(at("both.toml"), recipe)?;
    fs::copy(workspace().join("recipes/base.lock"), at("both.lock"))?;
    run(orlop
        .command()
        .args(["build", "--offline", "--no-commit"])
        .arg(at("both.toml"))
        .arg("-o")
        .arg(at("out")))?;
    let (ours, theirs) = (file(&at("out"), OURS)?, file(&at("out"), THEIRS)?);
    ensure!(ours == theirs, "ours is {ours:?}, containerd's {theirs:?}");
    ensure!(ours == file(orlop.image_directory(), OURS)?, "the image has another one");
    Ok(())
}

/// What a file of an image holds.
fn file(image: &Path, path: &str) -> Result<Blob> {
    let manifest = fs::read_to_string(image.join("manifest.txt"))?;
    let tree = formats::manifest::parse(&manifest)?;
    match tree.get(&TreePath::new(path)?).map(|node| &node.kind) {
        Some(Kind::File(blob)) => Ok(*blob),
        _ => anyhow::bail!("the image has no file `{path}`"),
    }
}

/// The template, which is one of the texts in the program.
fn template(program: &[u8]) -> Result<String> {
    let find = |bytes: &[u8], text: &str| {
        bytes.windows(text.len()).position(|window| window == text.as_bytes())
    };
    let begin =
        find(program, "{{if .Abi}}abi <{{.Abi}}>,").context("containerd has no template")?;
    let template = &program[begin..];
    let end = find(template, "\n}\n").context("the template has no end")?;
    Ok(String::from_utf8(template[..end + 3].to_vec())?)
}

/// What containerd makes of it, unconfined, for the version of rules that it asks for where it is
/// known.
fn profile(template: &str) -> Result<String> {
    let mut text = template.to_owned();
    for (block, instead) in [
        ("{{if .Abi}}", "abi <abi/3.0>,"),
        ("{{range $value := .Imports}}", "@{PROC}=/proc/"),
        ("{{range $value := .InnerImports}}", ""),
        ("{{if .RootlessKit}}", ""),
    ] {
        let begin = text.find(block).with_context(|| format!("no `{block}`"))?;
        let end = text[begin..].find("{{end}}").context("a block has no end")?;
        text.replace_range(begin..begin + end + "{{end}}".len(), instead);
    }
    let text = text.replace("{{.Name}}", "cri-containerd.apparmor.d");
    let text = text.replace("{{.DaemonProfile}}", "unconfined");
    ensure!(!text.contains("{{"), "the template asks for more:\n{text}");
    Ok(text)
}
