//! Reads a version back by libostree, which shares no line with our writer, and prints it as
//! `manifest.txt` has it: what was committed is what comes out.
//!
//! ```text
//! ostree-manifest REPOSITORY VERSION
//! ```

use std::error::Error;

use ostree::gio::prelude::*;
use ostree::gio::{Cancellable, File, FileInfo, FileQueryInfoFlags, FileType};
use ostree::glib::{Bytes, Checksum, ChecksumType};

/// What is asked of each path.
const ASKED: &str = "standard::name,standard::type,standard::size,standard::symlink-target,\
                     unix::mode,unix::uid,unix::gid";

/// How much is read at once.
const CHUNK: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(repository), Some(version)) = (words.next(), words.next()) else {
        return Err("ostree-manifest REPOSITORY VERSION".into());
    };
    let repository = ostree::Repo::new_for_path(repository);
    repository.open(Cancellable::NONE)?;
    let (root, _) = repository.read_commit(&version, Cancellable::NONE)?;
    let mut lines = Vec::new();
    let info = root.query_info(ASKED, FileQueryInfoFlags::NOFOLLOW_SYMLINKS, Cancellable::NONE)?;
    tell(&root, &info, "", &mut lines)?;
    lines.sort();
    for (_, line) in lines {
        println!("{line}");
    }
    Ok(())
}

/// The lines of a path and of all below it, each with the path it is sorted by.
fn tell(
    file: &File,
    info: &FileInfo,
    path: &str,
    lines: &mut Vec<(String, String)>,
) -> Result<(), Box<dyn Error>> {
    let number = |name: &str| info.attribute_uint32(name);
    let mode = number("unix::mode") & 0o7777;
    let (uid, gid) = (number("unix::uid"), number("unix::gid"));
    let (kind, what) = match info.file_type() {
        FileType::Directory => ('d', String::new()),
        FileType::SymbolicLink => {
            let target = info.symlink_target().ok_or("a link without a target")?;
            ('l', format!(" {}", target.display()))
        }
        _ => ('f', format!(" {} {}", sha256(file)?, info.size())),
    };
    let shown = if path.is_empty() { "/" } else { path };
    lines.push((path.to_owned(), format!("{kind} {mode:04o} {uid} {gid} {shown}{what}")));
    if kind != 'd' {
        return Ok(());
    }
    let flags = FileQueryInfoFlags::NOFOLLOW_SYMLINKS;
    let children = file.enumerate_children(ASKED, flags, Cancellable::NONE)?;
    while let Some(info) = children.next_file(Cancellable::NONE)? {
        let path = format!("{path}/{}", info.name().display());
        tell(&children.child(&info), &info, &path, lines)?;
    }
    Ok(())
}

fn sha256(file: &File) -> Result<String, Box<dyn Error>> {
    let file = file.downcast_ref::<ostree::RepoFile>().ok_or("a file of another kind")?;
    file.ensure_resolved()?;
    let (stream, ..) = file.repo().load_file(&file.checksum(), Cancellable::NONE)?;
    let stream = stream.ok_or("a file without content")?;
    let mut sum = Checksum::new(ChecksumType::Sha256).ok_or("no SHA-256")?;
    loop {
        let bytes: Bytes = stream.read_bytes(CHUNK, Cancellable::NONE)?;
        if bytes.is_empty() {
            return Ok(sum.string().ok_or("no digest")?.into());
        }
        sum.update(&bytes);
    }
}
