//! Releases before the reference implementation of TUF: it reads what we write, and we read what it
//! writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use formats::digest::Sha256;
use formats::tuf::publish::{File, edition, signed};
use formats::tuf::{
    Delegation, Delegations, Ed25519, Form, Head, Json, Keys, Limits, Memory, Metadata, Object,
    Refresh, RoleKeys, RoleName, Root, Scope, Search, Signer as _, TargetFile, TargetPath, Targets,
    TopLevel, run,
};
use qemu_tests::process::judge;
use qemu_tests::{Orlop, workspace};

/// Begin of the year 2100: the stock client looks at this host's clock.
const FAR: i64 = 4_102_444_800;
/// When our client looks.
const NOW: i64 = FAR - 1;

pub(crate) fn stock(words: &[&str], directory: &Path) -> Result<String> {
    let python = workspace().join("target/judges/bin/python");
    let python = python.to_str().context("the checkout's name is text")?;
    let script = workspace().join("qemu-tests/judges/releases.py");
    let mut all = vec![script.as_os_str(), words[0].as_ref(), directory.as_os_str()];
    all.extend(words[1..].iter().map(AsRef::<std::ffi::OsStr>::as_ref));
    judge(python, "by `cargo xtask setup`", all)
}

/// Both ways.
pub(crate) fn judged(_: &Orlop) -> Result<()> {
    stock_client_reads_ours()?;
    we_read_those_of_the_stock_publisher()
}

fn signer(number: u8) -> Result<Ed25519> {
    Ok(Ed25519::from_seed(&[number; 32])?)
}

fn file(metadata: &impl Metadata, signers: &[&Ed25519]) -> Vec<u8> {
    let Ok(bytes) = signed(metadata, signers);
    bytes
}

/// A repository in two editions, with a root whose keys were replaced, and a role for a channel.
fn ours(directory: &Path) -> Result<BTreeMap<&'static str, String>> {
    let metadata = directory.join("metadata");
    fs::create_dir_all(&metadata)?;
    let owners = [1, 2, 3, 4].map(signer).into_iter().collect::<Result<Vec<_>>>()?;
    let (online, channel) = (signer(5)?, signer(6)?);
    let root = |version, owners: &[Ed25519]| {
        let owners: Vec<_> = owners.iter().map(|owner| owner.key()).collect();
        Root::new(Head::new(version, FAR), |role| match role {
            TopLevel::Root => (owners.clone(), 2),
            _ => (vec![online.key()], 1),
        })
    };
    let keep = |file: &File| fs::write(metadata.join(file.name()?), &file.bytes).context("a file");
    let (first, second) = (root(1, &owners[..2]), root(2, &owners[2..]));
    keep(&first.file(file(&first, &[&owners[0], &owners[1]])))?;
    keep(&second.file(file(&second, &owners.iter().collect::<Vec<_>>())))?;

    let contents = [("1.0/uki é.efi", "a kernel"), ("1.0/release.json", "{}"), ("plain", "plain")];
    for version in [1, 2] {
        let targets = |names: &[(&str, &str)]| -> Result<Targets> {
            let mut targets = BTreeMap::new();
            for (name, content) in names {
                let content = format!("{content} of {version}");
                let target: TargetPath = name.parse()?;
                let mut said = TargetFile::new(content.len() as u64, Sha256::of(&content));
                let custom: Object = [("epoch".to_owned(), Json::Integer(3))].into();
                said.custom = Some([("orlop".to_owned(), custom.into())].into());
                let place = target.path(said.hashes.prefix(), Form::File);
                let place = directory.join("targets").join(place);
                fs::create_dir_all(place.parent().context("a directory")?)?;
                fs::write(place, content)?;
                targets.insert(target, said);
            }
            Ok(Targets { head: Head::new(version, FAR), targets, delegations: None })
        };
        let name: RoleName = "stable channel".parse()?;
        let delegation = Delegation {
            name: name.clone(),
            keys: RoleKeys::of([&channel.key()], 1),
            scope: Scope::Paths(vec!["1.?/*".to_owned()]),
            terminating: true,
            more: Object::new(),
        };
        let mut top = targets(&contents[2..])?;
        let keys = Keys::of([channel.key()]);
        top.delegations = Some(Delegations { keys, roles: vec![delegation], more: Object::new() });
        let delegated = [(name, file(&targets(&contents[..2])?, &[&channel]))].into();
        let (top, head) = (file(&top, &[&online]), || Head::new(version, FAR));
        let by = &[&online][..];
        let files = edition(&second, &top, &delegated, (head(), by), (head(), by));
        files?.iter().try_for_each(keep)?;
    }
    Ok(contents.into_iter().map(|(name, content)| (name, format!("{content} of 2"))).collect())
}

fn stock_client_reads_ours() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let contents = ours(directory.path())?;
    let words: Vec<_> = ["read"].into_iter().chain(contents.keys().copied()).collect();
    let said = stock(&words, directory.path())?;
    let line = |(name, content): (&&str, &String)| {
        format!("{} {} {name}\n", Sha256::of(content), content.len())
    };
    let want: String = contents.iter().map(line).collect();
    ensure!(said == want, "the stock client has read\n{said}and not\n{want}");
    let refused = stock(&["read", "1.0/other"], directory.path());
    ensure!(refused.is_err(), "the stock client has found what is not there");
    Ok(())
}

fn we_read_those_of_the_stock_publisher() -> Result<()> {
    let directory = tempfile::tempdir()?;
    stock(&["write"], directory.path())?;
    let metadata = directory.path().join("metadata");
    let mut client = Memory::new(&fs::read(metadata.join("1.root.json"))?);
    for entry in fs::read_dir(&metadata)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a name")?;
        // As a server has them.
        client.served.insert(name.replace(' ', "%20"), fs::read(entry.path())?);
    }
    let mut refresh = Refresh::new(NOW, Limits::DEFAULT);
    run(&mut refresh, &mut client)?;
    let trusted = refresh.into_trusted().context("the refresh has ended")?;
    ensure!(trusted.root().head.version == 2, "we trust {:?}", trusted.root());
    for (name, length) in [("plain", 5), ("1.0/root é", 70_000)] {
        let mut search = Search::new(&trusted, name.parse()?, Limits::DEFAULT)?;
        run(&mut search, &mut client)?;
        let found = search.found()?;
        let place: PathBuf = directory.path().join("targets").join(found.place(Form::File));
        let content = fs::read(&place).with_context(|| place.display().to_string())?;
        ensure!(content.len() == length, "{name} has {} bytes", content.len());
        let mut check = found.check()?;
        check.update(&content)?;
        check.finish()?;
        let epoch = found.file.custom.as_ref().and_then(|custom| custom.get("epoch"));
        ensure!(epoch == Some(&Json::Integer(3)), "{name} has {:?}", found.file.custom);
    }
    Ok(())
}
