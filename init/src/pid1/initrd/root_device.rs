//! Finding the block device that holds the root image.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::monotonic;
use crate::command_line::{RootSource, Slot};
use crate::disks::{self, Partition, Place};
use crate::sys::loop_device;
use crate::sys::uevent::Uevents;

/// How long a disk may take to appear after its driver was loaded: NVMe and USB are probed in the
/// background.
const PATIENCE: Duration = Duration::from_secs(10);

/// The root, as it was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// On one device: of this slot, if it was looked for in slots.
    One(PathBuf, T, Slot),
    /// In both slots of a disk, A's first.
    Both([(PathBuf, T); 2]),
}

/// Whether to wait for a partition that a table lists and the kernel has not got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Wait,
    DoWithout,
}

/// The first device that may be the root's and is, as `is_it` says, which is asked once of each; or
/// both slots of the first disk of which one is; `None` if there was none in ten seconds. Several may
/// be: somebody can give a partition of another disk the identity of ours.
///
/// # Errors
/// When the kernel's list of devices cannot be read or the image file cannot be used.
pub(super) fn find<T: Copy>(
    source: &RootSource,
    mut is_it: impl FnMut(&Path, Slot) -> Option<T>,
) -> io::Result<Option<Found<T>>> {
    if let RootSource::File(path) = source {
        let device = loop_device::attach_read_only(&File::open(path)?)?;
        return Ok(is_it(&device, Slot::None).map(|image| Found::One(device, image, Slot::None)));
    }
    let uevents = Uevents::open()?;
    let mut asked: Vec<(PathBuf, Option<T>)> = Vec::new();
    let mut ask = |device: PathBuf, slot: Slot| {
        let known = asked.iter().find(|(other, _)| *other == device);
        let image = match known {
            Some((_, image)) => *image,
            None => {
                let image = is_it(&device, slot);
                asked.push((device.clone(), image));
                image
            }
        };
        image.map(|image| (device, image))
    };
    let mut look = |awaited: Awaited| -> io::Result<Option<Found<T>>> {
        let devices = match source {
            RootSource::Slots(guids) => {
                return Ok(in_slots(disks::places(guids)?, awaited, &mut ask));
            }
            RootSource::Partition(guid) => {
                disks::by_guids(&[*guid])?.iter().map(Partition::node).collect()
            }
            RootSource::Pmem(number) => vec![PathBuf::from(format!("/dev/pmem{number}"))],
            RootSource::File(_) => Vec::new(),
        };
        let there = devices.into_iter().filter(|device| device.exists());
        let found = there.filter_map(|device| ask(device, Slot::None)).next();
        Ok(found.map(|(device, image)| Found::One(device, image, Slot::None)))
    };
    let found = uevents.wait_for(monotonic() + PATIENCE, || look(Awaited::Wait))?;
    // One slot is enough, if the other is in the table and nowhere else.
    if found.is_some() { Ok(found) } else { look(Awaited::DoWithout) }
}

/// Slots of two disks are never mixed: what one has is looked at as a whole.
fn in_slots<T>(
    disks: Vec<Vec<Place>>,
    awaited: Awaited,
    ask: &mut impl FnMut(PathBuf, Slot) -> Option<(PathBuf, T)>,
) -> Option<Found<T>> {
    for disk in disks {
        let waits = awaited == Awaited::Wait && disk.contains(&Place::Awaited);
        let mut held = disk.into_iter().zip([Slot::A, Slot::B]).map(|(place, slot)| match place {
            Place::There(partition) => ask(partition.node(), slot),
            Place::Awaited | Place::Unlisted => None,
        });
        match (held.next().flatten(), held.next().flatten()) {
            // Which of two to start is not known before both have been seen.
            (Some(_), _) | (_, Some(_)) if waits => return None,
            (Some(a), Some(b)) => return Some(Found::Both([a, b])),
            (Some((device, image)), None) => return Some(Found::One(device, image, Slot::A)),
            (None, Some((device, image))) => return Some(Found::One(device, image, Slot::B)),
            (None, None) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        match text {
            "-" => Place::Unlisted,
            "?" => Place::Awaited,
            name => Place::There(Partition {
                name: name.to_owned(),
                disk: String::new(),
                number: 1,
                label: None,
                start: 0,
                sectors: 0,
            }),
        }
    }

    /// Disks of which a partition whose name ends in `+` holds the root.
    fn found(disks: &[[&str; 2]], awaited: Awaited) -> String {
        let disks = disks.iter().map(|disk| disk.map(place).to_vec()).collect();
        let mut ask = |device: PathBuf, slot: Slot| {
            let holds = device.to_string_lossy().ends_with('+');
            holds.then_some((device, slot))
        };
        match in_slots(disks, awaited, &mut ask) {
            None => "none".to_owned(),
            Some(Found::One(device, asked, slot)) => {
                assert_eq!(asked, slot, "each is asked for as the slot it is");
                format!("{slot} {}", device.display())
            }
            Some(Found::Both([(a, Slot::A), (b, Slot::B)])) => {
                format!("{} {}", a.display(), b.display())
            }
            Some(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_slot_with_the_root_is_found_and_two_are_left_to_be_chosen_from() {
        for (disks, want) in [
            (&[["a+", "b"]][..], "a /dev/a+"),
            (&[["a", "b+"]], "b /dev/b+"),
            (&[["a+", "b+"]], "/dev/a+ /dev/b+"),
            (&[["a", "b"]], "none"),
            (&[["a+", "-"]], "a /dev/a+"),
            (&[["-", "b+"]], "b /dev/b+"),
            (&[["-", "-"]], "none"),
            (&[], "none"),
            // A copy of the disk, and one that somebody has given the identities of ours.
            (&[["a+", "b"], ["c", "d+"]], "a /dev/a+"),
            (&[["a", "b"], ["c", "d+"]], "b /dev/d+"),
        ] {
            assert_eq!(found(disks, Awaited::Wait), want, "{disks:?}");
            assert_eq!(found(disks, Awaited::DoWithout), want, "{disks:?}");
        }
    }

    #[test]
    fn a_slot_that_the_table_lists_is_waited_for_and_not_for_ever() {
        for (disks, patient, in_the_end) in [
            (&[["a+", "?"]][..], "none", "a /dev/a+"),
            (&[["?", "b+"]], "none", "b /dev/b+"),
            (&[["a", "?"]], "none", "none"),
            (&[["?", "?"]], "none", "none"),
            (&[["a+", "?"], ["c+", "d"]], "none", "a /dev/a+"),
            (&[["a", "?"], ["c+", "d"]], "a /dev/c+", "a /dev/c+"),
        ] {
            assert_eq!(found(disks, Awaited::Wait), patient, "{disks:?}");
            assert_eq!(found(disks, Awaited::DoWithout), in_the_end, "{disks:?}");
        }
    }
}
