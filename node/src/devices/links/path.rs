//! Where a disk is plugged in: `ID_PATH`, as udev's builtin `path_id` makes it of the devices that
//! the disk hangs on. Transports of machines that run containers: PCI, virtio, NVMe, SCSI of every
//! common kind, USB, Xen, Hyper-V.

use super::sysfs::{Sysfs, chain, name};

/// The path of the disk at `device`; none if it hangs on nothing that has a lasting name.
pub(super) fn id(sysfs: &dyn Sysfs, device: &str) -> Option<String> {
    let subsystem = |path: &str| sysfs.link(&format!("{path}/subsystem"));
    let mut parts: Vec<String> = Vec::new();
    let (mut has_place, mut has_transport) = (false, false);
    let mut at = Some(device);
    while let Some(path) = at.filter(|path| path.len() > "/devices".len()) {
        // A controller of a controller is one place.
        let past = |same: &str| {
            let all = || chain(path).take_while(|path| subsystem(path).as_deref() == Some(same));
            all().last().unwrap_or(path)
        };
        let mut last = path;
        match subsystem(path).as_deref() {
            Some("scsi") => {
                if sysfs.text(&format!("{path}/uevent")).is_some_and(|text| is_scsi_device(&text)) {
                    let (part, past, is_place) = scsi(sysfs, path)?;
                    parts.push(part);
                    has_place |= is_place;
                    last = past;
                }
                has_transport = true;
            }
            Some("nvme") => {
                if let Some(namespace) = sysfs.text(&format!("{device}/nsid")) {
                    parts.push(format!("nvme-{namespace}"));
                    (has_place, has_transport) = (true, true);
                    last = past("nvme");
                }
            }
            Some("virtio") => {
                has_transport = true;
                last = past("virtio");
            }
            Some("usb") => {
                if let Some((_, port)) = name(path).split_once('-') {
                    parts.push(format!("usb-0:{port}"));
                    last = past("usb");
                }
                has_transport = true;
            }
            Some(kind @ ("pci" | "acpi" | "xen" | "platform")) => {
                parts.push(format!("{kind}-{}", name(path)));
                has_place = true;
                has_transport |= kind == "platform";
                last = past(kind);
            }
            _ => {}
        }
        at = last.rsplit_once('/').map(|(parent, _)| parent);
    }
    parts.reverse();
    (has_place && has_transport && !parts.is_empty()).then(|| parts.join("-"))
}

fn is_scsi_device(uevent: &str) -> bool {
    uevent.lines().any(|line| line == "DEVTYPE=scsi_device")
}

/// The part for a SCSI device, the last of its parents that the part stands for, and whether that
/// is a place of its own.
fn scsi<'p>(sysfs: &dyn Sysfs, path: &'p str) -> Option<(String, &'p str, bool)> {
    let up = |start: &str| chain(path).find(|path| name(path).starts_with(start));
    let numbers: Vec<u32> = name(path).split(':').filter_map(|part| part.parse().ok()).collect();
    let &[host, bus, target, unit] = numbers.as_slice() else { return None };
    let lun = lun(unit);
    if path.contains("/rport-") {
        let port = sysfs.text(&format!("/class/fc_transport/{}/port_name", name(up("target")?)))?;
        return Some((format!("fc-{port}-{lun}"), path, true));
    }
    if path.contains("/end_device-") {
        let end = name(up("end_device-")?);
        let address = sysfs.text(&format!("/class/sas_device/{end}/sas_address"))?;
        return Some((format!("sas-{address}-{lun}"), path, true));
    }
    if path.contains("/session") {
        let session = name(up("session")?);
        let number = session.strip_prefix("session")?;
        let connection = format!("/class/iscsi_connection/connection{number}:0");
        let target = sysfs.text(&format!("/class/iscsi_session/{session}/targetname"))?;
        let address = sysfs.text(&format!("{connection}/persistent_address"))?;
        let port = sysfs.text(&format!("{connection}/persistent_port"))?;
        return Some((format!("ip-{address}:{port}-iscsi-{target}-{lun}"), path, true));
    }
    let host_path = up("host")?;
    let adapter = host_path.rsplit_once('/')?.0;
    if path.contains("/ata") {
        let port = name(adapter);
        let number = sysfs
            .text(&format!("{adapter}/ata_port/{port}/port_no"))
            .or_else(|| sysfs.text(&format!("/class/ata_port/{port}/port_no")))?;
        return Some((format!("ata-{number}"), host_path, false));
    }
    if path.contains("/vmbus_") || path.contains("/VMBUS") {
        let id = sysfs.text(&format!("{adapter}/device_id"))?;
        let id = id.strip_prefix('{')?.strip_suffix('}')?.replace('-', "");
        return Some((format!("vmbus-{id}-{lun}"), path, false));
    }
    // The kernel counts adapters over the machine; here they are counted over the place.
    let lowest = sysfs
        .names(adapter)
        .into_iter()
        .filter_map(|name| name.strip_prefix("host")?.parse::<u32>().ok());
    let host = host.saturating_sub(lowest.min().unwrap_or(host));
    Some((format!("scsi-{host}:{bus}:{target}:{unit}"), host_path, false))
}

/// Numbers past 255 are of another kind of addresses.
fn lun(unit: u32) -> String {
    if unit < 256 {
        format!("lun-{unit}")
    } else {
        format!("lun-0x{:04x}{:04x}00000000", unit & 0xffff, unit >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sysfs::made_up::MadeUp;
    use super::*;

    /// A disk that hangs on devices of these subsystems; the type of a SCSI device is known by
    /// its name.
    fn machine(device: &str, subsystems: &[(&str, &str)], more: &str) -> Option<String> {
        let mut text = more.to_owned();
        for path in chain(device) {
            if let Some((_, subsystem)) = subsystems.iter().find(|(end, _)| path.ends_with(end)) {
                text += &format!("\n{path}/subsystem -> {subsystem}");
            }
            if name(path).split(':').filter(|part| part.parse::<u32>().is_ok()).count() == 4 {
                text += &format!("\n{path}/subsystem -> scsi\n{path}/uevent = DEVTYPE=scsi_device");
            }
        }
        id(&MadeUp::new(&text), device)
    }

    #[test]
    fn places_are_named_as_udev_names_them() {
        let pci = |end| (end, "pci");
        let vmbus = "/devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00";
        let azure = format!(
            "{vmbus}/f8b3781b-1e82-4818-a1c3-63d806ec15bb/host1/target1:0:0/1:0:0:2/block/sdc"
        );
        let azure_id = format!(
            "{vmbus}/f8b3781b-1e82-4818-a1c3-63d806ec15bb/device_id = \
             {{f8b3781b-1e82-4818-a1c3-63d806ec15bb}}"
        );
        let iscsi = "/devices/platform/host3/session1/target3:0:0/3:0:0:1/block/sdd";
        let iscsi_more = "/class/iscsi_session/session1/targetname = iqn.2003-01.org.x:t\n\
            /class/iscsi_connection/connection1:0/persistent_address = 192.0.2.7\n\
            /class/iscsi_connection/connection1:0/persistent_port = 3260";
        let sata = "/devices/pci0000:00/0000:00:1f.2/ata2/host1/target1:0:0/1:0:0:0/block/sdb";
        let sata_port = "/devices/pci0000:00/0000:00:1f.2/ata2/ata_port/ata2/port_no = 2";
        let fibre =
            "/devices/pci0000:00/0000:00:05.0/host5/rport-5:0-2/target5:0:0/5:0:0:300/block/sde";
        let fibre_port = "/class/fc_transport/target5:0:0/port_name = 0x50060e801049cfd1";
        for (device, subsystems, more, want) in [
            (
                "/devices/pci0000:00/0000:00:04.0/virtio1/block/vdb",
                &[pci("00:04.0"), ("virtio1", "virtio")][..],
                "",
                Some("pci-0000:00:04.0"),
            ),
            // A bridge before the card is not told.
            (
                "/devices/pci0000:00/0000:00:02.0/0000:01:00.0/virtio3/block/vdc",
                &[pci("00:02.0"), pci("01:00.0"), ("virtio3", "virtio")],
                "",
                Some("pci-0000:01:00.0"),
            ),
            (
                "/devices/pci0000:00/0000:00:1f.0/nvme/nvme1/nvme1n1",
                &[pci("00:1f.0"), ("nvme/nvme1", "nvme"), ("nvme1n1", "block")],
                "/devices/pci0000:00/0000:00:1f.0/nvme/nvme1/nvme1n1/nsid = 1",
                Some("pci-0000:00:1f.0-nvme-1"),
            ),
            (
                "/devices/pci0000:00/0000:00:03.0/virtio0/host2/target2:0:1/2:0:1:0/block/sda",
                &[pci("00:03.0"), ("virtio0", "virtio")],
                "/devices/pci0000:00/0000:00:03.0/virtio0/host2/subsystem -> scsi",
                Some("pci-0000:00:03.0-scsi-0:0:1:0"),
            ),
            (sata, &[pci("00:1f.2")], sata_port, Some("pci-0000:00:1f.2-ata-2")),
            (
                &azure,
                &[("VMBUS:00", "acpi"), ("ACPI0004:00", "acpi"), ("LNXSYBUS:00", "acpi")],
                &azure_id,
                Some("acpi-VMBUS:00-vmbus-f8b3781b1e824818a1c363d806ec15bb-lun-2"),
            ),
            (iscsi, &[], iscsi_more, Some("ip-192.0.2.7:3260-iscsi-iqn.2003-01.org.x:t-lun-1")),
            (
                fibre,
                &[pci("00:05.0")],
                fibre_port,
                Some("pci-0000:00:05.0-fc-0x50060e801049cfd1-lun-0x012c000000000000"),
            ),
            (
                "/devices/pci0000:00/0000:00:14.0/usb2/2-3/2-3:1.0/host6/target6:0:0/6:0:0:0/block/sdf",
                &[pci("00:14.0"), ("2-3:1.0", "usb"), ("2-3", "usb"), ("usb2", "usb")],
                "",
                Some("pci-0000:00:14.0-usb-0:3:1.0-scsi-0:0:0:0"),
            ),
            ("/devices/vbd-51728/block/xvdb", &[("vbd-51728", "xen")], "", None),
            ("/devices/virtual/block/loop0", &[], "", None),
            ("/devices/nowhere/block/sda", &[], "", None),
        ] {
            assert_eq!(machine(device, subsystems, more).as_deref(), want, "{device}");
        }
    }
}
