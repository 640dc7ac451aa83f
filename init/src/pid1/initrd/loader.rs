//! Which slot's entry was started. The loader and the stub of a UKI say it in EFI variables; a driver
//! is loaded to read them, so they are asked only where nothing else tells the slots apart.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use formats::boot_entries::{LONGEST, VARIABLES, slot_of_variable};
use formats::loader::file_name;
use rustix::mount::{MountFlags, UnmountFlags, unmount};

use super::{LATER, MODULE_LIST};
use crate::command_line::Slot;
use crate::mounts::{self, Mount, Need};
use crate::sys::{Doing as _, Failure};
use crate::{log, modules};

/// The kernel makes the directory where it was started by UEFI and can read variables.
const DIRECTORY: &str = "/sys/firmware/efi/efivars";

const VARIABLES_OF_EFI: Mount = Mount {
    kind: "efivarfs",
    target: DIRECTORY,
    flags: MountFlags::RDONLY
        .union(MountFlags::NOSUID)
        .union(MountFlags::NODEV)
        .union(MountFlags::NOEXEC),
    options: c"",
    need: Need::Optional,
};

/// The slot of the entry that was started; `None` if nobody says.
pub(super) fn booted_slot() -> Option<Slot> {
    let directory = Path::new(DIRECTORY);
    if !directory.exists() {
        return None;
    }
    match with_variables(directory) {
        Ok(slot) => slot,
        Err(error) => {
            log::error(&format!("cannot ask which boot entry was started: {error}"));
            None
        }
    }
}

fn with_variables(directory: &Path) -> Result<Option<Slot>, Failure> {
    let loaded =
        modules::load(Path::new(MODULE_LIST), &LATER).doing(|| format!("read {MODULE_LIST}"))?;
    for failure in loaded.failures {
        log::error(&failure.to_string());
    }
    mounts::mount_entry(&VARIABLES_OF_EFI)?;
    let slot = slot(directory);
    unmount(DIRECTORY, UnmountFlags::empty()).doing(|| format!("unmount {DIRECTORY}"))?;
    Ok(slot)
}

/// A variable that is not there, or names no entry of ours, leaves the word to the next.
fn slot(directory: &Path) -> Option<Slot> {
    let read = |name: &str| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::open(directory.join(file_name(name)))?;
        file.take(LONGEST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    VARIABLES.iter().find_map(|name| slot_of_variable(&read(name).ok()?)).map(Slot::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stub_is_believed_before_the_loader_and_what_names_no_entry_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let text = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
            let bytes: Vec<u8> = [6, 0, 0, 0].into_iter().chain(text).collect();
            std::fs::write(directory.path().join(file_name(name)), bytes).unwrap();
        };
        assert_eq!(slot(directory.path()), None);
        write("LoaderImageIdentifier", "\\EFI\\BOOT\\BOOTX64.EFI");
        assert_eq!(slot(directory.path()), None);
        write("LoaderEntrySelected", "1b.efi");
        assert_eq!(slot(directory.path()), Some(Slot::B));
        write("StubImageIdentifier", "\\EFI\\Linux\\2a+2-1.efi");
        assert_eq!(slot(directory.path()), Some(Slot::A));
        write("StubImageIdentifier", "\\EFI\\Linux\\linux.efi");
        assert_eq!(slot(directory.path()), Some(Slot::B));
    }
}
