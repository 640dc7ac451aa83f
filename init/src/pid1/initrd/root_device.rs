//! Finding the block device that holds the root image.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::monotonic;
use crate::command_line::RootSource;
use crate::disks;
use crate::sys::loop_device;
use crate::sys::uevent::Uevents;

/// How long a disk may take to appear after its driver was loaded: NVMe and USB are probed in the
/// background.
const PATIENCE: Duration = Duration::from_secs(10);

/// The node of the device with the root; `None` if none appeared in ten seconds.
///
/// # Errors
/// When the kernel's list of devices cannot be read or the image file cannot be used.
pub(super) fn find(source: &RootSource) -> io::Result<Option<PathBuf>> {
    if let RootSource::File(path) = source {
        return loop_device::attach_read_only(&File::open(path)?).map(Some);
    }
    let uevents = Uevents::open()?;
    uevents.wait_for(monotonic() + PATIENCE, || match source {
        RootSource::Partition(guid) => Ok(disks::by_guid(*guid)?.map(|found| found.node())),
        RootSource::Pmem(number) => {
            let node = PathBuf::from(format!("/dev/pmem{number}"));
            Ok(node.exists().then_some(node))
        }
        RootSource::File(_) => Ok(None),
    })
}
