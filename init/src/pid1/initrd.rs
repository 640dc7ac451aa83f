//! PID 1's first stage, in the initramfs: load the modules that reach the root, find it, put
//! dm-verity above it, mount it, and become the init which lies inside it.
//!
//! What each step needs from the image is in `docs/boot.md`. A step that fails ends in one plain
//! line on the console and a reset: the boot counter decides what starts next.

mod loader;
mod root_device;
mod switch_root;
pub(crate) mod verity;

use std::convert::Infallible;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;
use formats::system;
use rustix::mount::{MountFlags, mount};

use crate::command_line::{self, CommandLine, CommandLineError, RootSource, Slot};
use crate::marks::mark;
use crate::modules;
use crate::mounts::{self, EARLY};
use crate::sys::{Doing as _, Failure, dm};
use crate::watchdog::{self, Watchdog};
use root_device::Found;
use verity::{Image, VerityError};

/// The modules of the initrd in the order in which they are loaded: one path on each line.
pub const MODULE_LIST: &str = "/lib/modules/load-order";

/// Those of them that most boots do not need, and that [`loader`] loads.
const LATER: [&str; 1] = ["efivarfs"];

/// Where the same binary lies in the root; the second stage starts there.
pub const INIT_IN_ROOT: &str = "/usr/lib/orlop/init";

/// Where the root is mounted before it becomes `/`.
const NEW_ROOT: &str = "/root";

/// Why the root could not be started.
#[derive(Debug)]
pub enum InitrdError {
    /// The kernel refused a step.
    Step(Failure),
    /// The command line has mistakes.
    CommandLine(Vec<CommandLineError>),
    /// No device with the root appeared in time.
    NoRoot {
        /// What was looked for, as on the command line.
        wanted: String,
        /// Modules that could not be loaded: the likely reason.
        modules: Vec<String>,
    },
    /// Neither slot holds the image that the command line names.
    NoSlot {
        /// The image.
        root_hash: Sha256,
        /// What each partition of a slot holds instead, a line each.
        slots: Vec<String>,
    },
    /// The device does not hold the image that the command line names.
    Unverified {
        /// Which slot.
        slot: Slot,
        /// What is wrong with it.
        reason: String,
    },
}

/// Runs the first stage. On success this process has become the init of the root.
///
/// # Errors
/// Whatever kept us from the root; nothing has been mounted over `/` then.
pub fn run() -> Result<Infallible, InitrdError> {
    for entry in EARLY {
        mounts::mount_entry(entry).map_err(InitrdError::Step)?;
    }
    mark("init-start");
    let parsed = command_line::read().doing(|| "read /proc/cmdline")?;
    let command_line = parsed.map_err(InitrdError::CommandLine)?;

    let loaded = modules::load_list_without(Path::new(MODULE_LIST), &LATER)
        .doing(|| format!("read {MODULE_LIST}"))?;
    let failed: Vec<String> = loaded.failures.iter().map(ToString::to_string).collect();
    for failure in &failed {
        crate::log::error(failure);
    }
    mark("modules-loaded");
    let watchdog = Watchdog::start(Path::new(watchdog::CLASS), watchdog::BOOT);
    let watchdog = watchdog.unwrap_or_else(|error| {
        crate::log::error(&format!("cannot start the watchdog: {error}"));
        None
    });

    let (device, image, slot) = root(&command_line, failed)?;
    mark("root-found");
    mark(format!("slot:{slot}"));
    // STATE, the screen and the updater go by it.
    fs::create_dir_all("/run/orlop")
        .and_then(|()| fs::write(system::SLOT, format!("{slot}\n")))
        .doing(|| format!("write {}", system::SLOT))?;

    let mapped = activate(&device, &image, &command_line)?;
    mark("verity-active");

    // An image has nothing that is set-id and no devices; nobody can make it have.
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount(&mapped, NEW_ROOT, "erofs", flags, None)
        .doing(|| format!("mount the root {} (erofs)", device.display()))?;
    mark("root-mounted");

    Ok(switch_root::switch_root(Path::new(NEW_ROOT), Path::new(INIT_IN_ROOT), watchdog)?)
}

/// The device with the root, and which slot that is. `modules` are those that could not be loaded.
fn root(
    command_line: &CommandLine,
    modules: Vec<String>,
) -> Result<(PathBuf, Image, Slot), InitrdError> {
    let mut refused: Vec<(Slot, String)> = Vec::new();
    let check = |device: &Path, slot: Slot| match check(device, command_line) {
        Ok(image) => Some(image),
        Err(error) => {
            let place = place(slot, device);
            let text = format!("the root is not on {place}: {error}");
            // An update leaves the other image in the other slot.
            if slot != Slot::None && error.is_another_image() {
                crate::log::info(&text);
            } else {
                crate::log::error(&text);
            }
            refused.push((slot, format!("{place}: {error}")));
            None
        }
    };
    let found = root_device::find(&command_line.root, check)
        .doing(|| format!("look for the root {}", command_line.root))?;
    match found {
        Some(Found::One(device, image, Slot::None)) => Ok((device, image, command_line.slot)),
        Some(Found::One(device, image, slot)) => Ok((device, image, slot)),
        Some(Found::Both([a, b])) => {
            let slot = one_of_both(command_line.slot, loader::booted_slot);
            let (device, image) = if slot == Slot::B { b } else { a };
            Ok((device, image, slot))
        }
        None if refused.is_empty() => {
            Err(InitrdError::NoRoot { wanted: command_line.root.to_string(), modules })
        }
        None if matches!(command_line.root, RootSource::Slots(_)) => {
            let root_hash = command_line.root_hash;
            Err(InitrdError::NoSlot { root_hash, slots: slots(&refused) })
        }
        None => {
            let reasons: Vec<String> = refused.into_iter().map(|(_, reason)| reason).collect();
            Err(InitrdError::Unverified { slot: command_line.slot, reason: reasons.join("; ") })
        }
    }
}

/// Which slot is started if both hold the root: that which the command line names, as that of a kernel
/// which was started by another one does; else that whose entry was started, for whoever chose it may
/// know that the other one is damaged where nobody has looked yet.
fn one_of_both(named: Slot, booted: impl FnOnce() -> Option<Slot>) -> Slot {
    match named {
        Slot::None => booted().unwrap_or(Slot::A),
        named => named,
    }
}

fn place(slot: Slot, device: &Path) -> String {
    match slot {
        Slot::None => device.display().to_string(),
        slot => format!("slot {slot}, {}", device.display()),
    }
}

/// What each slot holds, also one that no disk has.
fn slots(refused: &[(Slot, String)]) -> Vec<String> {
    let mut lines: Vec<String> = refused.iter().map(|(_, reason)| reason.clone()).collect();
    for slot in [Slot::A, Slot::B] {
        if !refused.iter().any(|(seen, _)| *seen == slot) {
            lines.push(format!("slot {slot}: there is no such partition"));
        }
    }
    lines
}

/// Checks that the image is the one whose root hash is on the command line.
fn check(device: &Path, command_line: &CommandLine) -> Result<Image, VerityError> {
    let file = File::open(device).map_err(|source| VerityError::Read { block: 0, source })?;
    checked(&file, command_line)
}

/// Maps an image that was checked.
fn activate(
    device: &Path,
    image: &Image,
    command_line: &CommandLine,
) -> Result<PathBuf, InitrdError> {
    let target = image.target(device, command_line.root_hash);
    let mapped = dm::activate("orlop-root", &target)
        .doing(|| format!("set up dm-verity over {}", device.display()))?;
    if is_memory(device) {
        // It only costs time if this fails.
        let _ = set_read_ahead(Path::new("/sys"), &mapped);
    }
    Ok(mapped)
}

/// Whether reading is no slower one block at a time: persistent memory, or a file of the initramfs
/// behind a loop device.
fn is_memory(device: &Path) -> bool {
    let name = device.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b"pmem") || name.starts_with(b"loop")
}

/// One block of read-ahead instead of the kernel's 32: from a disk, more blocks cost next to
/// nothing, but in memory each block that nobody asked for costs its verification. A boot reads a
/// third of its root.
fn set_read_ahead(sys: &Path, mapped: &Path) -> io::Result<()> {
    let name = mapped.file_name().unwrap_or_default();
    std::fs::write(sys.join("block").join(name).join("queue/read_ahead_kb"), "4")
}

fn checked(device: &File, command_line: &CommandLine) -> Result<Image, VerityError> {
    let read = |block: u64| {
        let mut bytes = vec![0; verity::BLOCK];
        let at = block.saturating_mul(const { verity::BLOCK as u64 });
        device.read_exact_at(&mut bytes, at).map(|()| bytes)
    };
    let first = read(0).map_err(|source| VerityError::Read { block: 0, source })?;
    let image = Image::parse(&first)?;
    image.check(command_line.root_hash, read)?;
    Ok(image)
}

impl From<Failure> for InitrdError {
    fn from(failure: Failure) -> Self {
        Self::Step(failure)
    }
}

impl fmt::Display for InitrdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(failure) => failure.fmt(f),
            Self::CommandLine(errors) => {
                let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\norlop: "))
            }
            Self::NoRoot { wanted, modules } => {
                write!(f, "no device with the root `{wanted}` appeared in 10 s")?;
                modules.iter().try_for_each(|module| write!(f, "\norlop: {module}"))
            }
            Self::NoSlot { root_hash, slots } => {
                write!(f, "neither slot holds the root {}", verity::short(*root_hash))?;
                slots.iter().try_for_each(|slot| write!(f, "\norlop: {slot}"))
            }
            Self::Unverified { slot: Slot::None, reason } => {
                write!(f, "cannot start the root on {reason}")
            }
            Self::Unverified { slot, reason } => {
                write!(f, "cannot start from slot {slot}: {reason}")
            }
        }
    }
}

impl std::error::Error for InitrdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_root_in_memory_is_read_block_by_block() {
        for (device, want) in [
            ("/dev/pmem0", true),
            ("/dev/pmem0p3", true),
            ("/dev/loop0", true),
            ("/dev/vda3", false),
            ("/dev/nvme0n1p3", false),
        ] {
            assert_eq!(is_memory(Path::new(device)), want, "{device}");
        }
        let sys = tempfile::tempdir().unwrap();
        let queue = sys.path().join("block/dm-0/queue");
        std::fs::create_dir_all(&queue).unwrap();
        set_read_ahead(sys.path(), Path::new("/dev/dm-0")).unwrap();
        assert_eq!(std::fs::read_to_string(queue.join("read_ahead_kb")).unwrap(), "4");
        assert!(set_read_ahead(sys.path(), Path::new("/dev/dm-1")).is_err());
    }

    #[test]
    fn of_two_slots_with_the_root_the_named_one_starts_else_the_loader_s_else_a() {
        let asked = || -> Option<Slot> { panic!("nobody needs to be asked") };
        assert_eq!(one_of_both(Slot::A, asked), Slot::A);
        assert_eq!(one_of_both(Slot::B, asked), Slot::B);
        assert_eq!(one_of_both(Slot::None, || Some(Slot::A)), Slot::A);
        assert_eq!(one_of_both(Slot::None, || Some(Slot::B)), Slot::B);
        assert_eq!(one_of_both(Slot::None, || None), Slot::A);
    }

    #[test]
    fn each_failure_is_a_line_that_an_operator_understands() {
        let unverified = |slot| InitrdError::Unverified {
            slot,
            reason: "/dev/vda3: the root hash does not match".to_owned(),
        };
        for (error, want) in [
            (
                unverified(Slot::A),
                "cannot start from slot a: /dev/vda3: the root hash does not match",
            ),
            (
                unverified(Slot::None),
                "cannot start the root on /dev/vda3: the root hash does not match",
            ),
            (
                InitrdError::NoSlot {
                    root_hash: Sha256::from_bytes([0xab; 32]),
                    slots: slots(&[(Slot::B, "slot b, /dev/vda4: it is empty".to_owned())]),
                },
                "neither slot holds the root abababababababab...\n\
                 orlop: slot b, /dev/vda4: it is empty\n\
                 orlop: slot a: there is no such partition",
            ),
            (
                InitrdError::NoRoot {
                    wanted: "pmem:0".to_owned(),
                    modules: vec!["cannot load module `nfit`: unknown symbol".to_owned()],
                },
                "no device with the root `pmem:0` appeared in 10 s\n\
                 orlop: cannot load module `nfit`: unknown symbol",
            ),
            (
                InitrdError::CommandLine(vec![
                    CommandLineError::Missing("orlop.root"),
                    CommandLineError::UnknownKey("x".to_owned()),
                ]),
                "the kernel command line lacks `orlop.root`\n\
                 orlop: the kernel command line has the unknown key `orlop.x`",
            ),
        ] {
            assert_eq!(error.to_string(), want);
        }
    }
}
