//! The entry that the boot loader starts once: `LoaderEntryOneShot` in the firmware's variables.
//!
//! efivarfs is mounted nowhere: the updater asks the kernel for a mount that only it has, as long as it
//! uses it (`fsopen(2)`, `fsmount(2)`). A firmware whose variables cannot be written is told by the
//! error; the trial then goes by a counted entry.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use formats::loader::{self, ONE_SHOT};
use rustix::fs::{
    AtFlags, CWD, IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, openat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::firmware::Firmware;

/// Bytes of a variable that are read.
const LONGEST: u64 = 4096;

/// Why the loader cannot be told by a variable. Whoever gets one takes the counted entry.
#[derive(Debug, thiserror::Error)]
pub enum OneShotError {
    /// The machine was not started by UEFI, the kernel has no efivarfs, or the firmware none at
    /// runtime.
    #[error("this machine has no EFI variables: {0}")]
    NoVariables(io::Error),
    /// It does not let itself be written, or not with this content.
    #[error("the firmware does not let `LoaderEntryOneShot` be written: {0}")]
    Refused(io::Error),
    /// There is no room for a variable.
    #[error("the firmware has no room for another variable")]
    Full,
    /// What was written is not what is read.
    #[error("the firmware has not kept `LoaderEntryOneShot`: it is {}", .kept.as_deref().unwrap_or("absent"))]
    NotKept {
        /// What is read.
        kept: Option<String>,
    },
    /// It is no id of an entry.
    #[error("`{0}` cannot be the id of a boot entry")]
    NoId(String),
}

/// The firmware's variables.
#[derive(Debug)]
pub struct Variables {
    directory: OwnedFd,
}

impl Variables {
    /// Of this machine.
    ///
    /// # Errors
    /// [`OneShotError::NoVariables`].
    pub fn open() -> Result<Self, OneShotError> {
        let mount = || -> rustix::io::Result<OwnedFd> {
            let context = fsopen("efivarfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(context.as_fd())?;
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        };
        let directory = mount().map_err(|error| OneShotError::NoVariables(error.into()))?;
        Ok(Self { directory })
    }

    /// In a directory where efivarfs is mounted; in tests, one that stands for it.
    ///
    /// # Errors
    /// [`OneShotError::NoVariables`].
    pub fn at(directory: &Path) -> Result<Self, OneShotError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, directory, flags, Mode::empty())
            .map_err(|error| OneShotError::NoVariables(error.into()))?;
        Ok(Self { directory })
    }

    /// Has the loader start the entry of this file, such as `2b+0.efi`, in the next boot, and in no
    /// other. What was kept is read back.
    ///
    /// # Errors
    /// See [`OneShotError`].
    pub fn start_once(&self, file_name: &str) -> Result<(), OneShotError> {
        let id = loader::entry_id(file_name);
        let bytes = loader::encode(&id).ok_or_else(|| OneShotError::NoId(id.clone()))?;
        self.let_be_changed()?;
        // In one write, as the kernel has it; it replaces what is there.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let file = self.file(flags).map_err(refused)?;
        let written = rustix::io::write(&file, &bytes).map_err(refused)?;
        if written != bytes.len() {
            return Err(OneShotError::Refused(io::ErrorKind::WriteZero.into()));
        }
        match self.starts_once()? {
            Some(kept) if kept == id => Ok(()),
            kept => Err(OneShotError::NotKept { kept }),
        }
    }

    /// What the loader will start once, if that was said.
    ///
    /// # Errors
    /// [`OneShotError::Refused`].
    pub fn starts_once(&self) -> Result<Option<String>, OneShotError> {
        let file = match self.file(OFlags::RDONLY | OFlags::CLOEXEC) {
            Err(Errno::NOENT) => return Ok(None),
            file => file.map_err(refused)?,
        };
        let mut bytes = Vec::new();
        let read = File::from(file).take(LONGEST).read_to_end(&mut bytes);
        read.map_err(OneShotError::Refused)?;
        Ok(loader::parse(&bytes))
    }

    /// Takes back what the loader was to start once.
    ///
    /// # Errors
    /// [`OneShotError::Refused`].
    pub fn take_back(&self) -> Result<(), OneShotError> {
        self.let_be_changed()?;
        match unlinkat(&self.directory, loader::file_name(ONE_SHOT), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }

    fn file(&self, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let mode = Mode::RUSR | Mode::WUSR;
        openat(&self.directory, loader::file_name(ONE_SHOT), flags, mode)
    }

    /// The kernel guards variables that it does not know against `rm -rf`: they are immutable.
    fn let_be_changed(&self) -> Result<(), OneShotError> {
        let file = match self.file(OFlags::RDONLY | OFlags::CLOEXEC) {
            Err(Errno::NOENT) => return Ok(()),
            file => file.map_err(refused)?,
        };
        // A directory that stands for efivarfs may have no flags.
        match ioctl_getflags(&file) {
            Ok(flags) if flags.contains(IFlags::IMMUTABLE) => {
                ioctl_setflags(&file, flags.difference(IFlags::IMMUTABLE)).map_err(refused)
            }
            _ => Ok(()),
        }
    }
}

/// What the steps of an update ask: any error has them go by a counted entry.
impl Firmware for Variables {
    fn one_shot(&self) -> io::Result<Option<String>> {
        self.starts_once().map_err(io::Error::other)
    }

    fn set_one_shot(&mut self, id: &str) -> io::Result<()> {
        self.start_once(id).map_err(io::Error::other)
    }

    fn clear_one_shot(&mut self) -> io::Result<()> {
        self.take_back().map_err(io::Error::other)
    }
}

fn refused(error: Errno) -> OneShotError {
    match error {
        Errno::NOSPC => OneShotError::Full,
        error => OneShotError::Refused(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn variables() -> (tempfile::TempDir, Variables) {
        let directory = tempfile::tempdir().unwrap();
        let variables = Variables::at(directory.path()).unwrap();
        (directory, variables)
    }

    #[test]
    fn the_loader_is_told_by_an_id_without_counters_and_it_is_taken_back() {
        let (directory, variables) = variables();
        assert_eq!(variables.starts_once().unwrap(), None);
        variables.take_back().unwrap();
        for (file, id) in [("2b+0.efi", "2b.efi"), ("1a+2-1.efi", "1a.efi")] {
            variables.start_once(file).unwrap();
            assert_eq!(variables.starts_once().unwrap().as_deref(), Some(id));
        }
        let name = "LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
        let bytes = fs::read(directory.path().join(name)).unwrap();
        assert_eq!(bytes, b"\x07\0\0\x001\0a\0.\0e\0f\0i\0\0\0");
        variables.take_back().unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_steps_set_read_and_remove_it_and_hear_why_not() {
        let (directory, mut variables) = variables();
        variables.clear_one_shot().unwrap();
        assert_eq!(variables.one_shot().unwrap(), None);
        variables.set_one_shot("2b.efi").unwrap();
        assert_eq!(variables.one_shot().unwrap().as_deref(), Some("2b.efi"));
        variables.clear_one_shot().unwrap();
        assert_eq!(variables.one_shot().unwrap(), None);
        fs::create_dir(directory.path().join(loader::file_name(ONE_SHOT))).unwrap();
        let why = "the firmware does not let `LoaderEntryOneShot` be written: ";
        let error = variables.set_one_shot("2b.efi").unwrap_err().to_string();
        assert!(error.starts_with(why), "{error}");
        assert!(variables.one_shot().is_err() && variables.clear_one_shot().is_err());
    }

    #[test]
    fn a_firmware_that_does_not_keep_it_is_found_out() {
        let (directory, variables) = variables();
        // What is there is longer, and what stands for the firmware keeps its end.
        let name = loader::file_name(ONE_SHOT);
        fs::write(directory.path().join(name), loader::encode("17b-longer.efi").unwrap()).unwrap();
        let error = variables.start_once("2b.efi").unwrap_err();
        assert!(matches!(error, OneShotError::NotKept { .. }), "{error}");
    }

    #[test]
    fn what_cannot_be_written_is_told_by_its_kind() {
        let (directory, variables) = variables();
        let error = variables.start_once("").unwrap_err();
        assert_eq!(error.to_string(), "`` cannot be the id of a boot entry");
        fs::create_dir(directory.path().join(loader::file_name(ONE_SHOT))).unwrap();
        assert!(matches!(variables.start_once("2b.efi"), Err(OneShotError::Refused(_))));
        let absent = Variables::at(&directory.path().join("absent"));
        assert!(matches!(absent, Err(OneShotError::NoVariables(_))));
        assert!(matches!(refused(Errno::NOSPC), OneShotError::Full));
        for errno in [Errno::ROFS, Errno::INVAL, Errno::ACCESS, Errno::PERM, Errno::IO] {
            assert!(matches!(refused(errno), OneShotError::Refused(_)));
        }
    }
}
