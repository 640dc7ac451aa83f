//! Loading kernel modules in an order that the builder has worked out: a list with the path of one
//! uncompressed module on each line, dependencies first. So no `modules.dep` is read at boot and
//! no module program is needed; nothing loads modules later (`docs/boot.md`).

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::system::finit_module;

/// The modules of the root.
pub const LIST: &str = "/usr/lib/orlop/modules-load";

/// What became of a list of modules.
#[derive(Debug, Default)]
pub struct Loaded {
    /// How many the kernel has now: loaded by us, or there before.
    pub count: usize,
    /// Drivers of devices that this machine does not have.
    pub unused: Vec<String>,
    /// Those that could not be loaded. The others were loaded all the same.
    pub failures: Vec<ModuleError>,
}

/// A module that could not be loaded.
#[derive(Debug)]
pub struct ModuleError {
    /// The name as in `/proc/modules`.
    pub module: String,
    source: io::Error,
}

/// Loads all modules of the list.
///
/// # Errors
/// When the list cannot be read. A module that fails is in the result and stops no other.
pub fn load_list(list: &Path) -> io::Result<Loaded> {
    Ok(load_each(paths(&std::fs::read_to_string(list)?)))
}

/// Loads only those modules of the list whose names are given: what one step needs before its
/// turn. Their dependencies must be named too.
///
/// # Errors
/// When the list cannot be read.
pub fn load(list: &Path, names: &[&str]) -> io::Result<Loaded> {
    let text = std::fs::read_to_string(list)?;
    Ok(load_each(paths(&text).filter(|path| names.contains(&name(path).as_str()))))
}

fn load_each(paths: impl Iterator<Item = PathBuf>) -> Loaded {
    let mut loaded = Loaded::default();
    for path in paths {
        match load_one(&path) {
            Ok(()) => loaded.count += 1,
            Err(error) if is_for_another_machine(&error) => loaded.unused.push(name(&path)),
            Err(source) => loaded.failures.push(ModuleError { module: name(&path), source }),
        }
    }
    loaded
}

fn load_one(path: &Path) -> io::Result<()> {
    // Named here, because the kernel's answer to a missing symbol is "no such file" too.
    let file = File::open(path).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot open {}: {error}", path.display()))
    })?;
    match finit_module(file, c"", 0) {
        // Built in, or loaded by the initrd.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A driver says so when it does not find its device; `kvm_intel` on an AMD processor for example.
fn is_for_another_machine(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NODEV | Errno::OPNOTSUPP))
}

/// The paths of a list; empty lines and lines that begin with `#` are no paths.
fn paths(text: &str) -> impl Iterator<Item = PathBuf> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(PathBuf::from)
}

/// The kernel's name of a module: the file's without `.ko`, with `_` for `-`.
fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_")
}

impl fmt::Display for ModuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot load module `{}`: ", self.module)?;
        match Errno::from_io_error(&self.source) {
            Some(Errno::NOENT) => f.write_str(
                "it needs a symbol of a module that is not loaded (see the kernel's log)",
            ),
            Some(Errno::NOEXEC) => f.write_str("it is not a module for this kernel"),
            _ => self.source.fmt(f),
        }
    }
}

impl std::error::Error for ModuleError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_its_order_without_blank_lines_and_remarks() {
        let text = "# made by the builder\n/lib/modules/dm-mod.ko\n\n  /lib/modules/erofs.ko\n";
        let found: Vec<_> = paths(text).collect();
        assert_eq!(
            found,
            [Path::new("/lib/modules/dm-mod.ko"), Path::new("/lib/modules/erofs.ko")]
        );
    }

    #[test]
    fn a_module_is_named_as_the_kernel_names_it() {
        assert_eq!(
            name(Path::new("/lib/modules/6.12/kernel/drivers/md/dm-verity.ko")),
            "dm_verity"
        );
    }

    #[test]
    fn one_bad_module_does_not_stop_the_others_and_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("load-order");
        std::fs::write(&list, "/nowhere/dm-mod.ko\n/nowhere/erofs.ko\n").unwrap();
        let loaded = load_list(&list).unwrap();
        assert_eq!(loaded.count, 0);
        let failures: Vec<_> = loaded.failures.iter().map(ToString::to_string).collect();
        assert_eq!(
            failures,
            [
                "cannot load module `dm_mod`: cannot open /nowhere/dm-mod.ko: \
                 No such file or directory (os error 2)",
                "cannot load module `erofs`: cannot open /nowhere/erofs.ko: \
                 No such file or directory (os error 2)",
            ]
        );
    }

    #[test]
    fn the_kernels_answers_are_put_in_words() {
        for (errno, want) in [
            (
                Errno::NOENT,
                "it needs a symbol of a module that is not loaded (see the kernel's log)",
            ),
            (Errno::NOEXEC, "it is not a module for this kernel"),
            (Errno::PERM, "Operation not permitted (os error 1)"),
        ] {
            let error = ModuleError { module: "veth".to_owned(), source: errno.into() };
            assert_eq!(error.to_string(), format!("cannot load module `veth`: {want}"));
        }
        assert!(is_for_another_machine(&Errno::NODEV.into()));
        assert!(!is_for_another_machine(&Errno::NOENT.into()));
    }

    #[test]
    fn only_the_named_modules_are_tried() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("modules-load");
        std::fs::write(&list, "/nowhere/llc.ko\n/nowhere/overlay.ko\n").unwrap();
        let loaded = load(&list, &["overlay"]).unwrap();
        let names: Vec<_> = loaded.failures.iter().map(|failure| failure.module.as_str()).collect();
        assert_eq!(names, ["overlay"]);
    }
}
