//! The compilers of the lock: Debian packages as files of this host, and scripts that start their
//! programs with their own libraries. Nothing of the host is used but the kernel and `/bin/sh`.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use formats::architecture::Architecture;
use formats::digest::{Hasher, Sha256};
use formats::tree::TreePath;

use super::super::caches::{Caches, scratch};
use super::baseline;
use crate::durable;
use crate::error::{Context as _, Error, Id, Result};
use crate::in_use::touch;
use crate::lock::model::Package;
use crate::source::deb::extract;
use crate::start::Start;
use crate::store::Store;

/// Changes when the same packages would be laid out in another way. It is part of every key.
pub(super) const LAYOUT: &str = "layout 1";

/// Scripts, below a directory of compilers.
const PROGRAMS: &str = "start";

/// The libraries that programs run with, where the ones in their places are for linking.
const RUN: &str = "run";

/// Libraries that are made to look older for programs of this host.
const LOWERED: &[&str] = &["libc.so.6", "libm.so.6", "libresolv.so.2"];

/// Programs that call others; what they are told is where all that belongs to them lies.
const DRIVERS: &[(&str, &str)] =
    &[("c++", "g++"), ("cc", "gcc"), ("cpp", "cpp"), ("g++", "g++"), ("gcc", "gcc")];

/// Programs of binutils. A linker that rustc asks for by another name is this one as well.
const TOOLS: &[&str] = &[
    "addr2line",
    "ar",
    "as",
    "nm",
    "objcopy",
    "objdump",
    "ranlib",
    "readelf",
    "size",
    "strings",
    "strip",
];

/// Programs that the drivers call, somewhere below [`INNER`].
const PASSES: &[&str] = &["cc1", "cc1plus", "collect2"];
const INNER: [&str; 2] = ["usr/lib/gcc", "usr/libexec/gcc"];

/// Unpacks the packages, if they are not there yet, and gives the directory of their programs:
/// `cc`, `ar` and what else is there.
///
/// # Errors
/// [`Id::Compilers`] if they are no compilers, or cannot be started where they are; those of
/// [`extract::all`].
pub(super) fn install(
    architecture: Architecture,
    packages: &[Package],
    store: &Store,
    caches: &Caches,
) -> Result<PathBuf> {
    let directory = caches.compilers.join(&digest(packages).to_string()[..32]);
    let programs = directory.join(PROGRAMS);
    if programs.is_dir() {
        touch(&directory);
        return Ok(programs);
    }
    let scratch = scratch(&caches.compilers)?;
    // What scripts hold is where they will be.
    let place = caches
        .compilers
        .canonicalize()
        .or_fail(Id::Write, || format!("no `{}`", caches.compilers.display()))?
        .join(directory.file_name().unwrap_or_default());
    lay_out(architecture, packages, store, scratch.path(), &place)?;
    let cannot = || format!("cannot make `{}`", directory.display());
    let made = scratch.keep();
    fs::File::open(&made)
        .and_then(|made| Ok(rustix::fs::syncfs(made)?))
        .or_fail(Id::Write, cannot)?;
    match durable::rename(&made, &directory) {
        Ok(()) => {}
        // Another build was faster.
        Err(_) if programs.is_dir() => drop(fs::remove_dir_all(&made)),
        Err(error) => {
            drop(fs::remove_dir_all(&made));
            return Err(Error::new(Id::Write, cannot()).caused_by(error));
        }
    }
    Ok(programs)
}

/// What names the directory.
fn digest(packages: &[Package]) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(LAYOUT);
    packages.iter().for_each(|package| hasher.update(package.blob.sha256.as_bytes()));
    hasher.finish()
}

/// Whether a path helps to compile: programs, libraries and headers do. What stands for link-time
/// optimisation of C, and the checks that a program can be made to do, are half of all bytes.
fn wanted(path: &TreePath) -> bool {
    let path = path.as_str();
    let top = ["usr/bin", "usr/include", "usr/lib", "usr/lib64", "usr/libexec"];
    let name = path.rsplit('/').next().unwrap_or(path);
    let idle = name.contains("lto-dump") || name == "lto1" || name.ends_with("san.a");
    let inside = |top: &str| path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'));
    top.into_iter().any(inside) && !idle
}

/// Makes the directory at `made`, which will be `place`.
fn lay_out(
    architecture: Architecture,
    packages: &[Package],
    store: &Store,
    made: &Path,
    place: &Path,
) -> Result<()> {
    let packages: Vec<_> = packages.iter().collect();
    extract::all(&packages, store, made, &wanted)?;
    let cannot = |error| {
        Error::new(Id::Write, format!("cannot write `{}`", made.display())).caused_by(error)
    };
    for name in [PROGRAMS, RUN] {
        fs::create_dir(made.join(name)).map_err(cannot)?;
    }
    let own_libraries = architecture.libraries();
    for name in LOWERED {
        lower(&made.join(own_libraries).join(name), &made.join(RUN).join(name))?;
    }
    let start = |name: &str, program: &str, before: &[String], behind: &[&str]| {
        let libraries = &[RUN, own_libraries];
        let start = Start { architecture, directory: place, libraries, program, before, behind };
        start.write(&made.join(PROGRAMS).join(name))
    };
    let there = |program: &str| made.join(program).exists();
    let own = [
        format!("--sysroot={}", place.display()),
        format!("-B{}/", place.join(PROGRAMS).display()),
    ];
    for (name, program) in DRIVERS {
        let program = format!("usr/bin/{program}");
        if there(&program) {
            start(name, &program, &own, &["-fuse-ld=bfd"])?;
        }
    }
    for name in TOOLS {
        let program = format!("usr/bin/{name}");
        if there(&program) {
            start(name, &program, &[], &[])?;
        }
    }
    // The lock's libgcc_s wants newer symbols than `LOWERED` shows; the host's will be used.
    for name in ["ld", "ld.bfd"] {
        start(name, "usr/bin/ld.bfd", &[], &["--allow-shlib-undefined"])?;
    }
    for inner in INNER {
        for program in passes(made, inner).map_err(cannot)? {
            let name = program.rsplit('/').next().unwrap_or(&program);
            start(name, &program, &[], &[])?;
        }
    }
    let needed = ["cc", "cc1", "ar", "as"].map(|name| format!("{PROGRAMS}/{name}"));
    let needed = needed.iter().map(String::as_str);
    let library = format!("{own_libraries}/libc.a");
    let needed = needed.chain(["usr/bin/ld.bfd", library.as_str()]);
    for path in needed {
        if !there(path) {
            let name = path.rsplit('/').next().unwrap_or(path);
            let message = format!("none of the compilers of the lock brings `{name}`");
            return Err(Error::new(Id::Compilers, message)
                .hint("`debian.compilers` must name a C compiler and a static C library, as the default does"));
        }
    }
    Ok(())
}

/// Moves a library to where programs run with it, and leaves one that looks older.
fn lower(library: &Path, run: &Path) -> Result<()> {
    let cannot = || format!("cannot write `{}`", library.display());
    let mut bytes = match fs::read(library) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        bytes => bytes.or_fail(Id::Read, || format!("cannot read `{}`", library.display()))?,
    };
    // The directory that both are in has no name yet.
    durable::rename(library, run).or_fail(Id::Write, cannot)?;
    baseline::lower(&mut bytes).map_err(|problem| {
        let message = format!("cannot link with `{}`: {problem}", library.display());
        Error::new(Id::Compilers, message)
    })?;
    fs::write(library, bytes).or_fail(Id::Write, cannot)
}

/// The programs below `inner` that the drivers call.
fn passes(made: &Path, inner: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut waiting = vec![inner.to_owned()];
    while let Some(inner) = waiting.pop() {
        let entries = match fs::read_dir(made.join(&inner)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let path = format!("{inner}/{name}");
            if entry.file_type()?.is_dir() {
                waiting.push(path);
            } else if PASSES.contains(&name.as_str()) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// The search path of programs with these before all others.
pub(super) fn path(programs: &Path, others: &OsStr) -> Result<std::ffi::OsString> {
    let all = std::iter::once(programs.to_owned()).chain(std::env::split_paths(others));
    std::env::join_paths(all)
        .or_fail(Id::Compilers, || format!("cannot start programs in `{}`", programs.display()))
}

#[cfg(test)]
mod tests;
