//! Our reading against the usual programs': what they leave on a disk is what we must see.

mod forms;
mod made;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::*;
use crate::process::Command;
use crate::progress::{Mode, Progress};

/// A path that was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Directory,
    File(Vec<u8>, bool),
    Symlink(String),
    Other(&'static str),
}

type Tree = BTreeMap<String, Seen>;

/// What GNU tar makes of an archive; none if it complains.
fn theirs(archive: &[u8]) -> Option<Tree> {
    let directory = tempfile::tempdir().unwrap();
    let (file, out) = (directory.path().join("archive"), directory.path().join("out"));
    fs::write(&file, archive).unwrap();
    fs::create_dir(&out).unwrap();
    let tar = Command::new("tar").args(["-x", "-p", "--no-same-owner", "-f"]).arg(&file);
    tar.arg("-C").arg(&out).env("LC_ALL", "C.UTF-8").run().ok()?;
    Some(seen(&out))
}

/// What stands below a directory.
fn seen(top: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut waiting = vec![(top.to_owned(), String::new())];
    while let Some((directory, prefix)) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            let (path, meta) = (entry.path(), entry.metadata().unwrap());
            let seen = if meta.is_dir() {
                waiting.push((path, format!("{name}/")));
                Seen::Directory
            } else if meta.is_symlink() {
                Seen::Symlink(fs::read_link(path).unwrap().to_str().unwrap().to_owned())
            } else {
                Seen::File(fs::read(path).unwrap(), meta.permissions().mode() & 0o100 != 0)
            };
            tree.insert(name, seen);
        }
    }
    tree
}

/// What we make of it.
fn ours(archive: &[u8]) -> Result<Tree> {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, archive).unwrap();
    let task = Progress::new(Mode::None).task("unpack", None);
    let archive = Archive::open(&file, "the archive", &task)?;
    let mut contents = BTreeMap::new();
    let members = archive.entries().values().filter_map(|entry| match entry {
        Entry::File { member, .. } => Some(*member),
        _ => None,
    });
    archive.read(&members.collect(), |member, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|error| cannot("it").caused_by(error))?;
        contents.insert(member, bytes);
        Ok(())
    })?;
    let seen = |entry: &Entry| match entry {
        Entry::Directory => Seen::Directory,
        Entry::File { member, executable } => Seen::File(contents[member].clone(), *executable),
        Entry::Symlink(target) => Seen::Symlink(target.clone()),
        Entry::Other(what) => Seen::Other(what),
    };
    Ok(archive.entries().iter().map(|(path, entry)| (path.clone(), seen(entry))).collect())
}

/// Neither the judge nor we complain, and both see the same.
#[track_caller]
fn alike(archive: &[u8], what: &str) -> Tree {
    let theirs = theirs(archive).unwrap_or_else(|| panic!("{what}: tar complains"));
    match ours(archive) {
        Ok(ours) if ours == theirs => ours,
        Ok(ours) => panic!("{what}:\nours {}\ntheirs {}", short(&ours), short(&theirs)),
        Err(error) => panic!("{what}: {}", error.chain()),
    }
}

fn short(tree: &Tree) -> String {
    let line = |(path, seen): (&String, &Seen)| match seen {
        Seen::File(bytes, executable) => {
            let start = String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned();
            format!("\n  {path}: {} bytes {start:?} {executable}", bytes.len())
        }
        seen => format!("\n  {path}: {seen:?}"),
    };
    tree.iter().map(line).collect()
}

/// The hint and message of a refusal.
#[track_caller]
fn refused(archive: &[u8], want: &str) {
    let error = ours(archive).unwrap_err();
    assert_eq!(error.id(), Id::Archive);
    assert!(error.chain().contains(want), "{}", error.chain());
}

/// Runs a program in a directory and gives its output.
fn run(directory: &Path, program: &str, args: &[&str]) -> Vec<u8> {
    let command = Command::new(program).args(args).directory(directory);
    let command = command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command.run().unwrap_or_else(|error| panic!("the test needs {program}: {}", error.chain()))
}

/// A directory with files of every kind that every form of tar can hold.
fn plain() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    fs::create_dir_all(at("top/empty directory")).unwrap();
    fs::create_dir_all(at("top/below/deeper")).unwrap();
    for (path, content, mode) in [
        ("top/file", b"content\n".to_vec(), 0o644),
        ("top/empty", Vec::new(), 0o600),
        ("top/program", vec![7; 1024], 0o755),
        ("top/block", vec![8; 512], 0o444),
        ("top/below/-dash", vec![9; 100_001], 0o644),
        ("top/below/a name with blanks", b"x".to_vec(), 0o711),
        ("top/below/umlaut-\u{e4}\u{20ac}", b"y".to_vec(), 0o640),
        ("top/below/new\nline", b"z".to_vec(), 0o640),
        ("top/below/back\\slash", b"b".to_vec(), 0o640),
        ("top/below/deeper/*", b"star".to_vec(), 0o640),
    ] {
        fs::write(at(path), content).unwrap();
        fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::hard_link(at("top/program"), at("top/below/alias")).unwrap();
    fs::hard_link(at("top/program"), at("top/zzz")).unwrap();
    symlink("../program", at("top/below/link")).unwrap();
    symlink("nowhere", at("top/dangling")).unwrap();
    symlink("deeper", at("top/below/to-directory")).unwrap();
    directory
}

/// The same, and names that take extensions.
fn long() -> tempfile::TempDir {
    let directory = plain();
    let at = |path: &str| directory.path().join(path);
    let deep = format!("top/{}", vec!["d".repeat(60); 6].join("/"));
    fs::create_dir_all(at(&deep)).unwrap();
    for length in [98, 99, 100, 101, 155, 255] {
        let name = "n".repeat(length);
        fs::write(at(&format!("top/{name}")), &name).unwrap();
        fs::write(at(&format!("{deep}/{name}")), &name).unwrap();
    }
    symlink("t".repeat(300), at("top/long-target")).unwrap();
    fs::hard_link(at(&format!("{deep}/{}", "n".repeat(255))), at("top/zz-long-alias")).unwrap();
    directory
}

/// Files with holes: none stored, few pieces, more than a header holds, a hole at the end.
fn sparse() -> tempfile::TempDir {
    use std::os::unix::fs::FileExt as _;
    let directory = plain();
    for (name, size, pieces) in [
        ("all-hole", 1_u64 << 20, 0_u64),
        ("one", 1 << 20, 1),
        ("four", 1 << 20, 4),
        ("five", 1 << 20, 5),
        ("many", 8 << 20, 60),
        ("tail", (1 << 20) + 77, 3),
    ] {
        let file = fs::File::create(directory.path().join("top").join(name)).unwrap();
        file.set_len(size).unwrap();
        for piece in 0..pieces {
            let text = format!("piece {piece} of {name}");
            file.write_all_at(text.as_bytes(), piece * size / pieces.max(1)).unwrap();
        }
        if name == "tail" {
            file.write_all_at(b"end", size - 3).unwrap();
        }
    }
    directory
}
