//! The partitions of a node by their device files.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{Disks, Place, StepError};
use crate::device::{Access, DirectDevice, FileDevice};

/// Partitions of the kernel. ESP and META are written past the cache, a sector at a time; the root slot
/// through it, and read back past it.
#[derive(Debug)]
pub struct Partitions {
    esp: DirectDevice,
    meta: DirectDevice,
    root: FileDevice,
    esp_path: PathBuf,
    root_path: PathBuf,
}

impl Partitions {
    /// Opens the ESP, META, and the root slot that does not run.
    ///
    /// # Errors
    /// One of them cannot be opened to be written: which, and why.
    pub fn open(esp: PathBuf, meta: PathBuf, spare_root: PathBuf) -> Result<Self, StepError> {
        let cannot = |what, path: &Path| {
            let what = format!("open {what}, `{}`, to write to it", path.display());
            |error| StepError::Io(what, error)
        };
        let root = File::options().read(true).write(true).open(&spare_root);
        let root =
            root.and_then(FileDevice::new).map_err(cannot("the spare root slot", &spare_root))?;
        let direct =
            |what, path: &Path| DirectDevice::open(path, Access::Write).map_err(cannot(what, path));
        Ok(Self {
            esp: direct("the EFI system partition", &esp)?,
            meta: direct("META", &meta)?,
            root,
            esp_path: esp,
            root_path: spare_root,
        })
    }
}

impl Disks for Partitions {
    type Device = DirectDevice;
    type Root = FileDevice;
    type Uncached = DirectDevice;

    fn esp(&mut self) -> &mut DirectDevice {
        &mut self.esp
    }

    fn esp_to_read(&self) -> &DirectDevice {
        &self.esp
    }

    fn meta(&mut self) -> &mut DirectDevice {
        &mut self.meta
    }

    fn spare_root(&mut self) -> &mut FileDevice {
        &mut self.root
    }

    fn uncached(&self, place: Place) -> io::Result<DirectDevice> {
        let path = match place {
            Place::Esp => &self.esp_path,
            Place::Root(_) => &self.root_path,
        };
        DirectDevice::open(path, Access::Read)
    }
}
