//! Finding the block device that holds the root image.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::monotonic;
use crate::command_line::RootSource;
use crate::disks::{self, Partition};
use crate::sys::loop_device;
use crate::sys::uevent::Uevents;

/// How long a disk may take to appear after its driver was loaded: NVMe and USB are probed in the
/// background.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first device that may be the root's and is, as `is_it` says, which is asked once of each;
/// `None` if there was none in ten seconds. Several may be: somebody can give a partition of another
/// disk the identity of ours.
///
/// # Errors
/// When the kernel's list of devices cannot be read or the image file cannot be used.
pub(super) fn find<T>(
    source: &RootSource,
    mut is_it: impl FnMut(&Path) -> Option<T>,
) -> io::Result<Option<(PathBuf, T)>> {
    if let RootSource::File(path) = source {
        let device = loop_device::attach_read_only(&File::open(path)?)?;
        return Ok(is_it(&device).map(|image| (device, image)));
    }
    let uevents = Uevents::open()?;
    let mut asked = Vec::new();
    uevents.wait_for(monotonic() + PATIENCE, || {
        let devices = match source {
            RootSource::Partition(guid) => {
                disks::by_guid(*guid)?.iter().map(Partition::node).collect()
            }
            RootSource::Pmem(number) => vec![PathBuf::from(format!("/dev/pmem{number}"))],
            RootSource::File(_) => Vec::new(),
        };
        for device in devices.into_iter().filter(|device| device.exists()) {
            if asked.contains(&device) {
                continue;
            }
            if let Some(image) = is_it(&device) {
                return Ok(Some((device, image)));
            }
            asked.push(device);
        }
        Ok(None)
    })
}
