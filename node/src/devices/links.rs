//! The names of a disk or partition below `/dev/disk`, as udev's `60-persistent-storage.rules` and
//! the rules of clouds make them. Drivers of storage find by them what they asked a cloud to plug
//! in. Nothing here reads a disk: what is on it is given.

mod escape;
mod path;
mod scsi;
pub(super) mod sysfs;

use std::collections::BTreeSet;

use formats::superblock::{Found, Kind};

use escape::{attribute, encoded, joined, replaced};
use sysfs::{Sysfs, chain, name};

/// What was read from a disk or partition itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// What is on it.
    pub(super) volume: Option<Found>,
    /// Its identity in the partition table.
    pub(super) part_uuid: Option<String>,
    /// Its name in a GPT.
    pub(super) part_name: Option<String>,
}

/// All names of the block device at this path of sysfs, below `/dev/disk`. A name that would lead
/// out of there is none.
pub(super) fn of(sysfs: &dyn Sysfs, device: &str, contents: &Contents) -> BTreeSet<String> {
    let number =
        sysfs.text(&format!("{device}/partition")).and_then(|text| text.trim().parse().ok());
    let disk = match number {
        Some(_) => device.rsplit_once('/').map_or(device, |(disk, _)| disk),
        None => device,
    };
    let suffix = number.map_or(String::new(), |number: u32| format!("-part{number}"));
    let mut names = Vec::new();
    let mut with_suffix = |name: String| names.push(format!("{name}{suffix}"));
    by_id(sysfs, disk, &mut with_suffix);
    azure(sysfs, disk, &mut with_suffix);
    if let Some(path) =
        path::id(sysfs, disk).filter(|_| !disk.contains("/virtual/") || is_nvme(disk))
    {
        if name(disk).starts_with("vd") && path.starts_with("pci-") {
            with_suffix(format!("by-path/virtio-{path}"));
        }
        with_suffix(format!("by-path/{path}"));
    }
    by_contents(contents, &mut |name| names.push(name));
    names.into_iter().filter(|name| is_below(name)).collect()
}

/// Where the disk at this path of sysfs is plugged in.
pub(super) fn place(sysfs: &dyn Sysfs, disk: &str) -> Option<String> {
    path::id(sysfs, disk)
}

/// What the disk at this path of sysfs says it is, if it says so: the best of its names.
pub(super) fn said(sysfs: &dyn Sysfs, disk: &str) -> Option<String> {
    let mut names = Vec::new();
    by_id(sysfs, disk, &mut |name| names.push(name));
    let best = names.into_iter().next()?;
    best.strip_prefix("by-id/").map(str::to_owned)
}

/// See [`super::outside`].
pub(super) fn outside(page: &[u8]) {
    for vendor in ["ATA", "QEMU"] {
        let _ = scsi::identity(page, vendor, "QEMU HARDDISK");
    }
}

fn is_nvme(device: &str) -> bool {
    name(device).starts_with("nvme")
}

/// What a disk writes about itself must not become a way elsewhere.
fn is_below(name: &str) -> bool {
    name.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.len() < 256)
}

/// What the disk says it is.
fn by_id(sysfs: &dyn Sysfs, disk: &str, add: &mut dyn FnMut(String)) {
    let kernels = name(disk);
    let said = |name: &str| {
        let text = attribute(&sysfs.inherited(disk, name)?);
        (!text.is_empty()).then_some(text)
    };
    if is_nvme(disk) {
        if let Some(wwid) = said("wwid") {
            add(format!("by-id/nvme-{}", replaced(&joined(&wwid), "/")));
        }
        if let (Some(model), Some(serial)) = (said("model"), said("serial")) {
            let whole = format!("{model}_{serial}");
            // Older systems wrote it like this, and drivers still look for it.
            if !whole.contains('/') {
                add(format!("by-id/nvme-{}", replaced(&joined(&whole), "")));
            }
            add(format!("by-id/nvme-{}", replaced(&whole, "")));
            if let Some(namespace) = said("nsid") {
                add(format!("by-id/nvme-{}", replaced(&format!("{whole}_{namespace}"), "")));
                if model == "nvme_card"
                    && let Some(number) =
                        namespace.parse::<u32>().ok().and_then(|n| n.checked_sub(1))
                {
                    add(format!("by-id/google-local-nvme-ssd-{number}"));
                }
            }
        }
    } else if kernels.starts_with("vd") {
        if let Some(serial) = said("serial") {
            add(format!("by-id/virtio-{}", replaced(&joined(&serial), "/")));
        }
    } else if kernels.starts_with("sd") || kernels.starts_with("sr") {
        scsi_id(sysfs, disk, add);
    } else if kernels.starts_with("dm-") {
        for (attribute, kind) in [("dm/name", "dm-name"), ("dm/uuid", "dm-uuid")] {
            let text = sysfs.text(&format!("{disk}/{attribute}")).filter(|text| !text.is_empty());
            if let Some(text) = text {
                add(format!("by-id/{kind}-{}", encoded(&text)));
            }
        }
    } else if kernels.starts_with("pmem")
        && let Some(uuid) = said("uuid")
    {
        add(format!("by-id/pmem-{}", replaced(&joined(&uuid), "/")));
    }
}

fn scsi_id(sysfs: &dyn Sysfs, disk: &str, add: &mut dyn FnMut(String)) {
    let text = |name: &str| sysfs.text(&format!("{disk}/device/{name}"));
    let (Some(page), Some(vendor), Some(model)) =
        (sysfs.bytes(&format!("{disk}/device/vpd_pg83")), text("vendor"), text("model"))
    else {
        return;
    };
    let Some(identity) = scsi::identity(&page, &vendor, &model) else { return };
    add(format!("by-id/{}-{}", identity.bus, identity.serial));
    if let Some(wwn) = identity.wwn {
        add(format!("by-id/wwn-{wwn}"));
    }
    if vendor.trim_end() == "Google" {
        add(format!("by-id/google-{}", identity.serial_short));
    }
}

/// Azure's agent's rules, `66-azure-storage.rules`: which of its adapters, and the number there.
fn azure(sysfs: &dyn Sysfs, disk: &str, add: &mut dyn FnMut(String)) {
    let said = |name: &str| sysfs.text(&format!("{disk}/device/{name}")).unwrap_or_default();
    if said("vendor").trim_end() != "Msft" || said("model").trim_end() != "Virtual Disk" {
        return;
    }
    let Some(adapter) = sysfs.inherited(disk, "device_id") else { return };
    let adapter = adapter.trim_start_matches('{');
    let fixed =
        [("00000000-0000-", "root"), ("00000000-0001-", "resource"), ("00000001-0001-", "BEK")];
    if let Some((_, name)) = fixed.into_iter().find(|(start, _)| adapter.starts_with(start)) {
        return add(format!("azure/{name}"));
    }
    let adapters = [("f8b3781a-", 0), ("f8b3781b-", 1), ("f8b3781c-", 2), ("f8b3781d-", 3)];
    let address = chain(disk).map(name).find(|name| name.split(':').count() == 4);
    let unit = address.and_then(|address| address.rsplit(':').next());
    if let (Some((_, number)), Some(unit)) =
        (adapters.into_iter().find(|(start, _)| adapter.starts_with(start)), unit)
    {
        add(format!("azure/scsi{number}/lun{unit}"));
    }
}

/// What is on it. A part of a group or of a RAID has no name of its own.
fn by_contents(contents: &Contents, add: &mut dyn FnMut(String)) {
    if let Some(volume) = &contents.volume
        && !matches!(volume.kind, Kind::LvmMember | Kind::RaidMember)
    {
        for (kind, text) in [("by-uuid", &volume.uuid), ("by-label", &volume.label)] {
            if let Some(text) = text {
                add(format!("{kind}/{}", encoded(text)));
            }
        }
    }
    for (kind, text) in
        [("by-partuuid", &contents.part_uuid), ("by-partlabel", &contents.part_name)]
    {
        if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
            add(format!("{kind}/{}", encoded(text)));
        }
    }
}

#[cfg(test)]
mod tests;
