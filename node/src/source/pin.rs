//! Which volumes may give this node its config.
//!
//! Whoever may attach a disk to a node, as those may who make volumes for pods, writes the disk's
//! labels, UUIDs and partition table. So none of these says whose a config is. What a pod cannot
//! write is where a disk is plugged in and what its maker or the hypervisor calls it: with its
//! first good config a node keeps these of the disk that it was on, beside the copy
//! ([`super::last_good`]), and listens to no other. The command line, `fw_cfg` and SMBIOS are
//! out of a pod's reach and are always heard.

use std::fmt;

use formats::node_config::{self, Volumes};

use super::Candidate;
use super::disks::Disk;
use super::last_good::LastGood;

/// A disk or partition, by what those who write on it cannot change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// What it says it is, as below `/dev/disk/by-id`: `virtio-SERIAL`. Not every disk has one.
    pub id: Option<String>,
    /// Where it is plugged in, as below `/dev/disk/by-path`; the kernel's name if it hangs on
    /// nothing that has a lasting one.
    pub path: String,
    /// Which partition of it, if it is one.
    pub partition: Option<u32>,
}

impl Device {
    /// Whether `other` is this one. A disk that says who it is may be plugged in elsewhere; one
    /// that says nothing is known by its place, in which one that says something is another.
    pub fn is(&self, other: &Self) -> bool {
        let same_disk = match (&self.id, &other.id) {
            (Some(one), Some(other)) => one == other,
            (None, None) => self.path == other.path,
            _ => false,
        };
        same_disk && self.partition == other.partition
    }

    /// Reads what [`Device::to_line`] wrote.
    pub fn parse(line: &str) -> Option<Self> {
        let mut device = Self::default();
        for word in line.split(' ').filter(|word| !word.is_empty()) {
            match word.split_once('=')? {
                ("id", id) => device.id = Some(id.to_owned()),
                ("path", path) => path.clone_into(&mut device.path),
                ("partition", number) => device.partition = Some(number.parse().ok()?),
                _ => return None,
            }
        }
        (!device.path.is_empty()).then_some(device)
    }

    /// For the copy: `id=virtio-x path=pci-0000:00:05.0 partition=1`.
    pub fn to_line(&self) -> String {
        let plain = |text: &str| text.replace(|c: char| c.is_whitespace() || c.is_control(), "_");
        let id = self.id.iter().map(|id| format!("id={} ", plain(id)));
        let partition = self.partition.iter().map(|number| format!(" partition={number}"));
        let path = std::iter::once(format!("path={}", plain(&self.path)));
        id.chain(path).chain(partition).collect()
    }
}

/// For people: what the disk says it is, else its place.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id.as_deref().unwrap_or(&self.path))?;
        self.partition.map_or(Ok(()), |number| write!(f, ", partition {number}"))
    }
}

/// Which volumes are heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// All: the node has no config yet, or its owner says so.
    Open,
    /// This one.
    Device(Device),
    /// None: the config is not from a volume. Says where it is from.
    Elsewhere(String),
}

impl Pin {
    /// By the last good copy, as [`LastGood::load`] gave it. `reset` says that the command line has
    /// `orlop.config-source=reset`.
    ///
    /// A copy that cannot be read keeps volumes out as well: a damaged file must not make another
    /// node of this one.
    pub fn new(last_good: &Result<Option<LastGood>, String>, reset: bool) -> Self {
        match last_good {
            _ if reset => Self::Open,
            Ok(None) => Self::Open,
            Ok(Some(copy)) if allows_any(&copy.text) => Self::Open,
            Ok(Some(LastGood { device: Some(device), .. })) => Self::Device(device.clone()),
            // An image that pinned nothing has kept it, so nobody knows which disk that was.
            Ok(Some(copy)) if copy.origin.is_volume() => {
                Self::Elsewhere(format!("from {}, on a disk that was not noted then", copy.origin))
            }
            Ok(Some(copy)) => Self::Elsewhere(format!("from {}", copy.origin)),
            Err(_) => Self::Elsewhere("not known, for its copy cannot be read".to_owned()),
        }
    }

    /// What `orlop.config-source=reset` on the command line does, for people.
    pub fn reset(&self, chosen: Option<&Candidate>) -> String {
        let what = match chosen {
            Some(Candidate { origin, device: Some(device), .. }) if !self.hears(device) => {
                format!(
                    "{origin} ({device}) may give this node its config from now on, and no other \
                     volume"
                )
            }
            Some(Candidate { device: Some(_), .. }) => "the config is from where it was".to_owned(),
            _ => "any volume may give this node its config".to_owned(),
        };
        format!("`orlop.config-source=reset`: {what}; take the word off the kernel command line")
    }

    /// Whether a volume on this device is heard.
    pub(super) fn hears(&self, device: &Device) -> bool {
        match self {
            Self::Open => true,
            Self::Device(pinned) => pinned.is(device),
            Self::Elsewhere(_) => false,
        }
    }

    /// Whether what is heard may be on a disk that has not answered, or not yet all.
    pub(super) fn may_be_on(&self, disk: &Disk) -> bool {
        match (self, &disk.id) {
            (Self::Open, _) => true,
            (Self::Device(pinned), Some(id)) => {
                let (id, path) = (id.clone(), disk.path.clone());
                pinned.is(&Device { id, path, partition: pinned.partition })
            }
            // Who has a name and says nothing may be plugged in anywhere.
            (Self::Device(pinned), None) => pinned.id.is_some() || pinned.path == disk.path,
            (Self::Elsewhere(_), _) => false,
        }
    }

    /// Why a volume is passed over, and what to do if it should not be.
    pub(super) fn refusal(&self, volume: &str) -> String {
        let from = match self {
            Self::Open => String::new(),
            Self::Device(device) => format!("from the disk {device}"),
            Self::Elsewhere(from) => from.clone(),
        };
        format!(
            "{volume} is not heard: this node's config is {from}; if it is to change hands, start \
             it once with `orlop.config-source=reset` on the kernel command line"
        )
    }
}

fn allows_any(text: &str) -> bool {
    node_config::parse(text).is_ok_and(|config| config.volumes == Volumes::Any)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::{Found, Origin};

    fn device(id: Option<&str>, path: &str, partition: Option<u32>) -> Device {
        Device { id: id.map(str::to_owned), path: path.to_owned(), partition }
    }

    #[test]
    fn a_disk_is_known_by_what_it_says_it_is_else_by_its_place() {
        let serial = device(Some("virtio-a"), "pci-0000:00:05.0", None);
        let silent = device(None, "pci-0000:00:05.0", None);
        for (one, other, same) in [
            (&serial, device(Some("virtio-a"), "pci-0000:00:09.0", None), true),
            (&serial, device(Some("virtio-b"), "pci-0000:00:05.0", None), false),
            // What takes the place of one that is gone is another one.
            (&serial, silent.clone(), false),
            (&silent, serial.clone(), false),
            (&silent, silent.clone(), true),
            (&silent, device(None, "pci-0000:00:06.0", None), false),
            (&serial, device(Some("virtio-a"), "pci-0000:00:05.0", Some(1)), false),
        ] {
            assert_eq!(one.is(&other), same, "{one:?} {other:?}");
        }
    }

    #[test]
    fn the_copy_says_which_volumes_are_heard() {
        let ours = device(Some("virtio-a"), "pci-0000:00:05.0", Some(1));
        let copy = |origin: &str, device: Option<&Device>, text: &str| {
            Ok(Some(LastGood::of(Origin::new(origin), device.cloned(), text)))
        };
        let any = "schema = 1\nconfig.volumes = 'any'\n";
        for (copy, pin) in [
            (Ok(None), Pin::Open),
            (copy("volume x", Some(&ours), "schema = 1\n"), Pin::Device(ours.clone())),
            (copy("fw_cfg x", None, "schema = 1\n"), Pin::Elsewhere("from fw_cfg x".to_owned())),
            (
                copy("volume x", None, "schema = 1\n"),
                Pin::Elsewhere("from volume x, on a disk that was not noted then".to_owned()),
            ),
            (copy("volume x", Some(&ours), any), Pin::Open),
            (
                Err("Input/output error".to_owned()),
                Pin::Elsewhere("not known, for its copy cannot be read".to_owned()),
            ),
        ] {
            assert_eq!(Pin::new(&copy, false), pin);
            assert_eq!(Pin::new(&copy, true), Pin::Open, "the command line is the owner's");
        }
    }

    #[test]
    fn a_volume_that_is_not_heard_is_told_with_the_way_to_change_that() {
        let pin = Pin::Device(device(None, "pci-0000:00:05.0", Some(2)));
        assert_eq!(
            pin.refusal("volume ORLOP (vdc)"),
            "volume ORLOP (vdc) is not heard: this node's config is from the disk \
             pci-0000:00:05.0, partition 2; if it is to change hands, start it once with \
             `orlop.config-source=reset` on the kernel command line"
        );
    }

    #[test]
    fn a_reset_says_whose_the_node_is_now() {
        let candidate = |device: Option<Device>| {
            let (origin, found) = (Origin::new("volume ORLOP (vdc)"), Found::Nothing("no file"));
            Candidate { origin, device, found }
        };
        let ours = device(None, "pci-0000:00:05.0", None);
        let new = device(Some("virtio-b"), "pci-0000:00:06.0", None);
        let pin = Pin::Device(ours.clone());
        for (chosen, what) in [
            (
                Some(candidate(Some(new))),
                "volume ORLOP (vdc) (virtio-b) may give this node its config from now on, and no \
                 other volume",
            ),
            (Some(candidate(Some(ours))), "the config is from where it was"),
            (Some(candidate(None)), "any volume may give this node its config"),
            (None, "any volume may give this node its config"),
        ] {
            let want = format!(
                "`orlop.config-source=reset`: {what}; take the word off the kernel command line"
            );
            assert_eq!(pin.reset(chosen.as_ref()), want);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(id in "[!-~]{0,20}", path in "[!-~]{1,20}", part: u32) {
            let full = device(Some(&id), &path, Some(part));
            prop_assert_eq!(Device::parse(&full.to_line()), Some(full));
            let least = device(None, &path, None);
            prop_assert_eq!(Device::parse(&least.to_line()), Some(least));
        }

        #[test]
        fn no_line_makes_the_parser_panic(line in "\\PC*", more in "[a-z=0-9 ]{0,30}") {
            let _ = Device::parse(&line);
            let _ = Device::parse(&more);
        }

        #[test]
        fn what_a_disk_says_of_itself_stays_on_its_line(id in ".*", path in ".*") {
            let line = device(Some(&id), &path, None).to_line();
            prop_assert!(!line.contains(['\n', '\t', '\r']));
        }
    }
}
