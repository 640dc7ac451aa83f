//! The kernel's modules in the image of a node: what the documentation says of them, and whether
//! `modprobe` of a container finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use formats::tree::Kind;
use qemu_tests::process::judge;
use qemu_tests::store::blob;
use qemu_tests::{Orlop, workspace};

/// The modules of an image and the files beside them.
struct Modules {
    /// Such as `usr/lib/modules/6.12.1`.
    directory: String,
    /// By their path below the directory: digest in the store, and size.
    files: BTreeMap<String, (String, u64)>,
    store: PathBuf,
}

impl Modules {
    fn of_node(orlop: &Orlop) -> Result<Self> {
        let manifest = fs::read_to_string(orlop.node_image()?.join("manifest.txt"))?;
        let mut files = BTreeMap::new();
        let mut directory = String::new();
        for (path, node) in formats::manifest::parse(&manifest)?.iter() {
            let Kind::File(content) = &node.kind else { continue };
            let Some(below) = path.as_str().strip_prefix("usr/lib/modules/") else { continue };
            let (release, file) = below.split_once('/').context("a file beside the releases")?;
            directory = format!("usr/lib/modules/{release}");
            files.insert(file.to_owned(), (content.sha256.to_string(), content.size));
        }
        Ok(Self { directory, files, store: orlop.store()? })
    }

    fn blob(&self, file: &str) -> Result<PathBuf> {
        let (digest, _) = self.files.get(file).with_context(|| format!("no `{file}`"))?;
        Ok(blob(&self.store, digest))
    }

    fn text(&self, file: &str) -> Result<String> {
        Ok(fs::read_to_string(self.blob(file)?)?)
    }

    /// Of each module its size and what it needs, by `modules.dep`.
    fn needs(&self) -> Result<BTreeMap<String, (u64, BTreeSet<String>)>> {
        let text = self.text("modules.dep")?;
        let lines = text.lines().map(|line| {
            let (path, needed) = line.split_once(':').context("a line of modules.dep")?;
            let (_, size) = self.files.get(path).with_context(|| format!("no `{path}`"))?;
            Ok((name(path), (*size, needed.split_whitespace().map(name).collect())))
        });
        lines.collect()
    }

    /// A directory for `modprobe --dirname` with the files of the image.
    fn laid_out(&self) -> Result<tempfile::TempDir> {
        let root = tempfile::tempdir()?;
        for file in self.files.keys() {
            let at = root.path().join(&self.directory).join(file);
            fs::create_dir_all(at.parent().context("a file lies in a directory")?)?;
            std::os::unix::fs::symlink(self.blob(file)?, &at)?;
        }
        std::os::unix::fs::symlink("usr/lib", root.path().join("lib"))?;
        Ok(root)
    }
}

/// As the kernel calls it.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// The figure may differ by a twentieth: kernels change, and rows are whole kB.
fn close(is: u64, says: u64) -> bool {
    is.abs_diff(says) <= 5 + is / 20
}

pub(crate) fn the_table(orlop: &Orlop) -> Result<()> {
    let needs = Modules::of_node(orlop)?.needs()?;
    let page = fs::read_to_string(workspace().join("docs/kubernetes.md"))?;
    let table = page.split("| who needs it | modules | kB |").nth(1).context("the table")?;
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [who, modules, says] = cells[..] else { anyhow::bail!("not three cells: {row}") };
        let mut bytes = 0;
        for module in modules.split_whitespace().map(|word| name(word.trim_matches('`'))) {
            let Some((_, needed)) = needs.get(&module) else {
                wrong.push(format!("`{module}` is not in the image"));
                continue;
            };
            for module in needed.iter().chain([&module]) {
                if seen.insert(module.clone()) {
                    bytes += needs[module].0;
                }
            }
        }
        let is = (bytes + 500) / 1000;
        if !says.parse().is_ok_and(|says| close(is, says)) {
            wrong.push(format!("`{who}` takes {is} kB, not {says}"));
        }
    }
    let missing = needs.keys().filter(|module| !seen.contains(*module));
    wrong.extend(missing.map(|module| format!("`{module}` is in the image and in no row")));
    ensure!(seen.len() > 100, "{} modules in the table", seen.len());
    ensure!(wrong.is_empty(), "docs/kubernetes.md is not as the image is:\n{}", wrong.join("\n"));
    let all: u64 = needs.values().map(|(size, _)| size).sum();
    orlop.measured(format!("{} modules on a node, {} kB", needs.len(), all / 1000));
    Ok(())
}

/// What `modprobe --show-depends` says, with this host's own settings left out.
fn show(root: &Path, release: &str, module: &str) -> Result<String> {
    let nothing = root.join("nothing");
    fs::create_dir_all(&nothing)?;
    let mut args = vec!["--config".into(), nothing.into_os_string()];
    args.extend(["--dirname".into(), root.into(), "--set-version".into(), release.into()]);
    args.extend(["--show-depends".into(), module.into()]);
    judge("modprobe", "kmod", args)
}

pub(crate) fn modprobe(orlop: &Orlop) -> Result<()> {
    let modules = Modules::of_node(orlop)?;
    let root = modules.laid_out()?;
    let release = modules.directory.rsplit('/').next().context("a release")?;
    let shown = |module: &str| -> Result<BTreeSet<String>> {
        let text = show(root.path(), release, module)?;
        let line = |line: &str| Some(name(line.strip_prefix("insmod ")?.trim()));
        Ok(text.lines().filter_map(line).collect())
    };
    for (module, (_, needed)) in modules.needs()? {
        let mut want = needed;
        want.insert(module.clone());
        let found = shown(&module)?;
        // Useful neighbours (`softdep`) come on top.
        ensure!(want.is_subset(&found), "{module}: modprobe says {found:?}, we say {want:?}");
    }
    for (alias, module) in [
        ("rtnl-link-dummy", "dummy"),
        ("ip_set_hash:ip", "ip_set_hash_ip"),
        ("nfnetlink-subsys-6", "ip_set"),
        ("net-pf-2-proto-132", "sctp"),
        ("fs-nfs4", "nfs"),
        ("char-major-10-200", "tun"),
        ("devname:net/tun", "tun"),
        ("xt-set", "xt_set"),
        ("cpu:type:x86,ven0000fam0006mod0055:feature:,0085,", "kvm_intel"),
    ] {
        ensure!(shown(alias)?.contains(module), "{alias} does not lead to {module}");
    }
    let builtin = show(root.path(), release, "ext4")?;
    ensure!(builtin.trim() == "builtin ext4", "{builtin}");
    ensure!(shown("xt_LOG")?.contains("nf_log_syslog"), "a softdep is forgotten");
    ensure!(show(root.path(), release, "no_such_module").is_err(), "what is not there is found");
    Ok(())
}
