//! Loading kernel modules in an order that the builder has worked out: a list with the path of one
//! module on each line, dependencies first. So no `modules.dep` is read at boot and
//! no module program is needed. What only some nodes need, the kernel asks for when it is needed:
//! [`load_on_demand`].
//!
//! What a module's signature says, dm-verity has said before of every byte of the file, and the
//! kernel takes a long time to say it again. So the signature is left out where the kernel does
//! not insist on it: `docs/decisions/0009-modules-without-their-signature.md`. A module that is
//! compressed the kernel unpacks itself, and checks.

use std::ffi::CStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::system::{finit_module, init_module};

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

/// Loads all modules of the list but those whose names are given: they may be loaded later.
///
/// # Errors
/// When the list cannot be read.
pub fn load_list_without(list: &Path, names: &[&str]) -> io::Result<Loaded> {
    let text = std::fs::read_to_string(list)?;
    Ok(load_each(paths(&text).filter(|path| !names.contains(&name(path).as_str()))))
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

/// Has the kernel run us when something needs a module that is not loaded. `sys` is `/proc/sys`.
///
/// # Errors
/// When the kernel cannot be told, as when it is built without modules.
pub fn load_on_demand(sys: &Path) -> io::Result<()> {
    fs::write(sys.join("kernel/modprobe"), "/usr/lib/orlop/applets/modprobe")
}

fn load_each(paths: impl Iterator<Item = PathBuf>) -> Loaded {
    let mut loaded = Loaded::default();
    for path in paths {
        match load_one(&path, parameters(&path)) {
            Ok(()) => loaded.count += 1,
            Err(error) if is_for_another_machine(&error) => loaded.unused.push(name(&path)),
            Err(source) => loaded.failures.push(ModuleError { module: name(&path), source }),
        }
    }
    loaded
}

/// Most drivers stop their watchdog when a restart begins. Told not to, it is there for one that
/// hangs; PID 1 stops it before a power-off (`Documentation/watchdog/watchdog-parameters.rst`).
fn parameters(path: &Path) -> &'static CStr {
    if name(path) == "watchdog" { c"stop_on_reboot=0" } else { c"" }
}

/// Set when the kernel has refused a module for its signature's absence: it will refuse the next.
static SIGNATURES_NEEDED: AtomicBool = AtomicBool::new(false);

/// Learns from `lockdown` of securityfs whether the kernel will insist. Without this the first module
/// that it refuses tells, at the price of a line in its log: what is loaded on demand comes later
/// than the boot's modules, when the kernel is locked down.
pub(crate) fn ask_for_signatures(lockdown: &Path) {
    let locked = fs::read_to_string(lockdown).is_ok_and(|levels| is_locked_down(&levels));
    SIGNATURES_NEEDED.store(locked, Ordering::Relaxed);
}

/// From all levels, of which that which holds is in brackets.
fn is_locked_down(levels: &str) -> bool {
    levels.contains('[') && !levels.contains("[none]")
}

/// `MODULE_INIT_COMPRESSED_FILE` of `include/uapi/linux/module.h`.
const COMPRESSED: i32 = 4;

/// Loads the module in this file. That the kernel has it already is well too.
pub(crate) fn load_one(path: &Path, parameters: &CStr) -> io::Result<()> {
    // Named here, because the kernel's answer to a missing symbol is "no such file" too.
    let unread = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
    };
    let loaded = |result| match result {
        // Built in, or loaded by the initrd.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    };
    if path.extension().is_some_and(|suffix| suffix != "ko") {
        let file = fs::File::open(path).map_err(unread)?;
        return Ok(loaded(finit_module(file, parameters, COMPRESSED))?);
    }
    let module = fs::read(path).map_err(unread)?;
    let load = |image: &[u8]| loaded(init_module(image, parameters));
    let bare = without_signature(&module);
    if bare.len() < module.len() && !SIGNATURES_NEEDED.load(Ordering::Relaxed) {
        match load(bare) {
            Err(error) if is_for_lack_of_a_signature(error) => {
                SIGNATURES_NEEDED.store(true, Ordering::Relaxed);
            }
            other => return Ok(other?),
        }
    }
    Ok(load(&module)?)
}

/// The kernel is locked down, as by Secure Boot, or was told to take signed modules only
/// (`module_sig_check` in `kernel/module/signing.c`).
fn is_for_lack_of_a_signature(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::KEYREJECTED)
}

/// A module as it was before it was signed: without the signature, its description and the line
/// that announces both (`scripts/sign-file.c`, `include/linux/module_signature.h`). What does not
/// end in a whole signature is given back as it is.
fn without_signature(module: &[u8]) -> &[u8] {
    const ANNOUNCEMENT: &[u8] = b"~Module signature appended~\n";
    let strip = || {
        let rest = module.strip_suffix(ANNOUNCEMENT)?;
        let (rest, description) = rest.split_last_chunk::<12>()?;
        let &[_algorithm, _hash, _kind, signer, key, _, _, _, length @ ..] = description;
        let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
        let signature = length.checked_add(usize::from(signer) + usize::from(key))?;
        rest.get(..rest.len().checked_sub(signature)?)
    };
    strip().unwrap_or(module)
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

/// The kernel's name of a module: the file's without `.ko` and what follows, with `_` for `-`.
pub(crate) fn name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split('.').next().unwrap_or_default().replace('-', "_")
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
    use proptest::prelude::*;

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
        for file in ["dm-verity.ko", "dm-verity.ko.xz", "dm_verity"] {
            let path = Path::new("/lib/modules/6.12/kernel/drivers/md").join(file);
            assert_eq!(name(&path), "dm_verity");
        }
    }

    #[test]
    fn one_bad_module_does_not_stop_the_others_and_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("load-order");
        std::fs::write(&list, "/nowhere/dm-mod.ko\n/nowhere/erofs.ko.xz\n").unwrap();
        let loaded = load_list(&list).unwrap();
        assert_eq!(loaded.count, 0);
        let failures: Vec<_> = loaded.failures.iter().map(ToString::to_string).collect();
        assert_eq!(
            failures,
            [
                "cannot load module `dm_mod`: cannot read /nowhere/dm-mod.ko: \
                 No such file or directory (os error 2)",
                "cannot load module `erofs`: cannot read /nowhere/erofs.ko.xz: \
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
    fn a_locked_down_kernel_is_known_by_its_level() {
        for (levels, want) in [
            ("[none] integrity confidentiality\n", false),
            ("none [integrity] confidentiality\n", true),
            ("none integrity [confidentiality]\n", true),
            ("", false),
        ] {
            assert_eq!(is_locked_down(levels), want, "{levels}");
        }
    }

    #[test]
    fn only_the_named_modules_are_tried() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("modules-load");
        std::fs::write(&list, "/nowhere/llc.ko\n/nowhere/overlay.ko\n").unwrap();
        let loaded = load(&list, &["overlay"]).unwrap();
        let names: Vec<_> = loaded.failures.iter().map(|failure| failure.module.as_str()).collect();
        assert_eq!(names, ["overlay"]);
        let loaded = load_list_without(&list, &["overlay"]).unwrap();
        let names: Vec<_> = loaded.failures.iter().map(|failure| failure.module.as_str()).collect();
        assert_eq!(names, ["llc"]);
    }

    fn signed(module: &[u8], parts: [u8; 2], length: u32) -> Vec<u8> {
        let [signer, key] = parts;
        let mut file = module.to_vec();
        file.resize(file.len() + usize::from(signer) + usize::from(key) + 100, 7);
        file.extend([0, 0, 2, signer, key, 0, 0, 0]);
        file.extend(length.to_be_bytes());
        file.extend(b"~Module signature appended~\n");
        file
    }

    #[test]
    fn a_signature_is_left_out_and_half_of_one_is_not() {
        let module = b"\x7fELF and so on";
        assert_eq!(without_signature(&signed(module, [0, 0], 100)), module);
        assert_eq!(without_signature(&signed(module, [20, 4], 100)), module);
        for whole in [signed(module, [0, 0], 1000), signed(module, [0, 0], u32::MAX), vec![]] {
            assert_eq!(without_signature(&whole), whole);
        }
        assert_eq!(without_signature(module), module);
        let line = b"~Module signature appended~\n";
        assert_eq!(without_signature(line), line);
    }

    proptest! {
        #[test]
        fn no_file_makes_the_search_for_a_signature_panic(
            mut file in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            file.extend(b"~Module signature appended~\n");
            prop_assert!(file.starts_with(without_signature(&file)));
        }
    }
}
