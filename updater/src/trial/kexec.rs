//! A trial without the firmware: the kernel, the initrd and the command line of a UKI are loaded, and
//! PID 1's orderly restart starts them. What falls back goes by the firmware, so to the old release.
//!
//! Debian's kernel, locked down, takes only kernels with Debian's signature, as that of its package
//! has; and none at all once `kernel.kexec_load_disabled` is 1 (docs/decisions/0018-no-kexec-under-lockdown.md).

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use formats::command_line::Slot;
use formats::uki::{Uki, UkiError};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

use crate::files::{below, read};
use crate::sys::kexec;

/// Bytes of a command line with its end (`COMMAND_LINE_SIZE` of the kernel on this machine).
const LONGEST_COMMAND_LINE: usize = 2048;
/// `1` once nothing may be loaded until the next boot.
const DISABLED: &str = "/proc/sys/kernel/kexec_load_disabled";
/// `1` if a kernel is loaded.
const LOADED: &str = "/sys/kernel/kexec_loaded";
/// The kernel's one-line files.
const LONGEST: u64 = 4096;

/// What is loaded of a UKI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<'u> {
    /// The kernel, with its signature if it has one.
    pub kernel: &'u [u8],
    /// The initial RAM disk.
    pub initrd: &'u [u8],
    /// The words for the kernel, with the slot.
    pub command_line: CString,
}

/// Why a release cannot be started so. Whoever gets one restarts by the firmware.
#[derive(Debug, thiserror::Error)]
pub enum KexecError {
    /// The file is no UKI.
    #[error("it is no UKI")]
    NoUki(#[from] UkiError),
    /// A section is not there.
    #[error("the UKI has no section `{0}`")]
    NoSection(&'static str),
    /// The machine was started with other words than the UKI that runs has, so nobody knows which of
    /// them the machine adds.
    #[error("the kernel command line does not begin with that of the UKI of this release")]
    OtherWords,
    /// The words are more than a kernel takes.
    #[error("the kernel command line would have {0} bytes, more than a kernel takes")]
    TooLong(usize),
    /// It was switched off in this boot, as nodes have it by default.
    #[error(
        "no other kernel can be started in this boot: `security.kexec` of the node config is false"
    )]
    Disabled,
    /// The kernel is locked down and the new one has no signature that it knows.
    #[error("the kernel is locked down and does not take the new one's signature: {0}")]
    Signature(io::Error),
    /// The kernel refuses it.
    #[error("the kernel does not take the new one: {0}")]
    Refused(io::Error),
}

impl<'u> Plan<'u> {
    /// Of the UKI `staged`, to be started from `slot`. `own` is the text of `.cmdline` of the UKI that
    /// runs and `running` that of `/proc/cmdline`: what the machine has added to the one, such as the
    /// address of a node config, is added to the other.
    ///
    /// # Errors
    /// See [`KexecError`].
    pub fn new(staged: &'u [u8], slot: Slot, own: &str, running: &str) -> Result<Self, KexecError> {
        let uki = Uki::parse(staged)?;
        let section = |name| uki.section(name).ok_or(KexecError::NoSection(name));
        let (kernel, initrd) = (section(".linux")?, section(".initrd")?);
        let built = uki.text(".cmdline").ok_or(KexecError::NoSection(".cmdline"))?;
        let added = words_of_the_machine(own, running).ok_or(KexecError::OtherWords)?;
        let mut words: Vec<String> = Vec::new();
        // One word may stand once, and this one is ours to say.
        words.extend(without_slot(built));
        words.extend(without_slot(added));
        words.push(format!("orlop.slot={slot}"));
        let text = words.join(" ");
        if text.len() >= LONGEST_COMMAND_LINE {
            return Err(KexecError::TooLong(text.len()));
        }
        let command_line = CString::new(text).map_err(|_| KexecError::NoSection(".cmdline"))?;
        Ok(Self { kernel, initrd, command_line })
    }

    /// Loads it. What was loaded before is forgotten.
    ///
    /// # Errors
    /// [`KexecError::Disabled`], [`KexecError::Signature`] or [`KexecError::Refused`].
    pub fn load(&self, root: &Path) -> Result<(), KexecError> {
        if flag(root, DISABLED) {
            return Err(KexecError::Disabled);
        }
        let file = |name: &str, bytes: &[u8]| -> io::Result<File> {
            let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
            file.write_all(bytes)?;
            Ok(file)
        };
        let kernel = file("kernel", self.kernel).map_err(KexecError::Refused)?;
        let initrd = file("initrd", self.initrd).map_err(KexecError::Refused)?;
        kexec::load(&kernel, &initrd, &self.command_line).map_err(told)
    }
}

/// Whether a kernel is loaded.
pub fn is_loaded(root: &Path) -> bool {
    flag(root, LOADED)
}

fn flag(root: &Path, path: &str) -> bool {
    matches!(read(&below(root, path), LONGEST), Ok(Some(text)) if text.trim() == "1")
}

/// The kernel's `verify_pefile_signature` and `kexec_image_verify_sig`: no signature, none that it
/// knows, one that is wrong, and a kernel that is locked down.
fn told(error: io::Error) -> KexecError {
    let signature = [Errno::PERM, Errno::NODATA, Errno::NOKEY, Errno::KEYREJECTED, Errno::BADMSG];
    match error.raw_os_error() {
        Some(number) if signature.iter().any(|errno| errno.raw_os_error() == number) => {
            KexecError::Signature(error)
        }
        _ => KexecError::Refused(error),
    }
}

/// What stands behind the words of the UKI: the stub appends what firmware and hypervisor say. `None`
/// if the line does not begin with them.
fn words_of_the_machine<'l>(own: &str, running: &'l str) -> Option<&'l str> {
    let rest = running.trim_end().strip_prefix(own.trim_end())?;
    (rest.is_empty() || rest.starts_with(' ')).then_some(rest)
}

/// The words of a line; those in double quotes may hold spaces.
fn without_slot(line: &str) -> impl Iterator<Item = String> {
    let mut quoted = false;
    let words = line.split(move |character: char| {
        quoted ^= character == '"';
        character.is_ascii_whitespace() && !quoted
    });
    let words = words.filter(|word| !word.is_empty() && !word.starts_with("orlop.slot="));
    words.map(str::to_owned).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests;
