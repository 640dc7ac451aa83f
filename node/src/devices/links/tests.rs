//! Disks of clouds and hypervisors, with the names that udev gives them there.

use super::sysfs::made_up::MadeUp;
use super::*;

fn names(sysfs: &MadeUp, device: &str) -> Vec<String> {
    of(sysfs, device, &Contents::default()).into_iter().collect()
}

#[test]
fn disks_of_amazon_have_their_volumes_number_in_their_name() {
    let ns = "/devices/pci0000:00/0000:00:1f.0/nvme/nvme1/nvme1n1";
    let sysfs = MadeUp::new(
        "/devices/pci0000:00/0000:00:1f.0/subsystem -> pci
        /devices/pci0000:00/0000:00:1f.0/nvme/nvme1/subsystem -> nvme
        /devices/pci0000:00/0000:00:1f.0/nvme/nvme1/model = Amazon Elastic Block Store␠␠␠␠␠␠␠␠␠␠␠␠␠␠
        /devices/pci0000:00/0000:00:1f.0/nvme/nvme1/serial = vol0123456789abcdef0
        /devices/pci0000:00/0000:00:1f.0/nvme/nvme1/nvme1n1/nsid = 1
        /devices/pci0000:00/0000:00:1f.0/nvme/nvme1/nvme1n1/wwid = nvme.1d0f-766f6c30313233-416d617a6f6e-00000001
        /devices/pci0000:00/0000:00:1f.0/nvme/nvme1/nvme1n1/nvme1n1p14/partition = 14",
    );
    let want = |suffix: &str| {
        [
            "by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0",
            "by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0_1",
            "by-id/nvme-nvme.1d0f-766f6c30313233-416d617a6f6e-00000001",
            "by-path/pci-0000:00:1f.0-nvme-1",
        ]
        .map(|name| format!("{name}{suffix}"))
    };
    assert_eq!(names(&sysfs, ns), want(""));
    let mut part = want("-part14").to_vec();
    part.sort();
    assert_eq!(names(&sysfs, &format!("{ns}/nvme1n1p14")), part);
}

#[test]
fn disks_of_google_are_called_what_their_owner_calls_them() {
    let disk = "/devices/pci0000:00/0000:00:03.0/virtio0/host0/target0:0:2/0:0:2:0/block/sdb";
    let sysfs = MadeUp::new(
        "/devices/pci0000:00/0000:00:03.0/subsystem -> pci
        /devices/pci0000:00/0000:00:03.0/virtio0/subsystem -> virtio
        /devices/pci0000:00/0000:00:03.0/virtio0/host0/subsystem -> scsi
        /devices/pci0000:00/0000:00:03.0/virtio0/host0/target0:0:2/0:0:2:0/subsystem -> scsi
        /devices/pci0000:00/0000:00:03.0/virtio0/host0/target0:0:2/0:0:2:0/uevent = DEVTYPE=scsi_device",
    );
    let sysfs = sysfs
        .with(&format!("{disk}/device/vendor"), b"Google  \n")
        .with(&format!("{disk}/device/model"), b"PersistentDisk  \n")
        .with(&format!("{disk}/device/vpd_pg83"), &scsi::tests::page(&[(2, 0, b"data-disk")]));
    assert_eq!(
        names(&sysfs, disk),
        [
            "by-id/google-data-disk",
            "by-id/scsi-0Google_PersistentDisk_data-disk",
            "by-path/pci-0000:00:03.0-scsi-0:0:2:0",
        ]
    );
    let local = "/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n2";
    let sysfs = MadeUp::new(
        "/devices/pci0000:00/0000:00:04.0/nvme/nvme0/model = nvme_card
        /devices/pci0000:00/0000:00:04.0/nvme/nvme0/serial = nvme_card
        /devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n2/nsid = 2",
    );
    assert!(names(&sysfs, local).contains(&"by-id/google-local-nvme-ssd-1".to_owned()));
}

#[test]
fn disks_of_azure_are_known_by_adapter_and_number() {
    let at = |guid: &str, lun: u32| {
        format!(
            "/devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00/{guid}/host1/target1:0:0/1:0:0:{lun}"
        )
    };
    let disk = |guid: &str, lun: u32| {
        let device = at(guid, lun);
        let adapter = device.split("/host1").next().unwrap().to_owned();
        MadeUp::new(&format!(
            "{adapter}/device_id = {{{guid}}}
            {device}/subsystem -> scsi
            {device}/uevent = DEVTYPE=scsi_device
            /devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00/subsystem -> acpi
            {device}/block/sdc/device/vendor = Msft␠␠␠␠
            {device}/block/sdc/device/model = Virtual Disk␠␠␠␠
            {device}/block/sdc/sdc1/partition = 1"
        ))
    };
    let (data, root) =
        ("f8b3781b-1e82-4818-a1c3-63d806ec15bb", "00000000-0000-8899-0000-000000000000");
    assert_eq!(
        names(&disk(data, 3), &format!("{}/block/sdc/sdc1", at(data, 3))),
        [
            "azure/scsi1/lun3-part1",
            "by-path/acpi-VMBUS:00-vmbus-f8b3781b1e824818a1c363d806ec15bb-lun-3-part1",
        ]
    );
    assert_eq!(names(&disk(root, 0), &format!("{}/block/sdc", at(root, 0)))[0], "azure/root");
}

#[test]
fn disks_of_openstack_and_qemu_are_known_by_their_serial_number() {
    let disk = "/devices/pci0000:00/0000:00:04.0/virtio1/block/vdb";
    let sysfs = MadeUp::new(
        "/devices/pci0000:00/0000:00:04.0/subsystem -> pci
        /devices/pci0000:00/0000:00:04.0/virtio1/subsystem -> virtio
        /devices/pci0000:00/0000:00:04.0/virtio1/block/vdb/serial = a1b2c3d4-0000-4000-8",
    );
    assert_eq!(
        names(&sysfs, disk),
        [
            "by-id/virtio-a1b2c3d4-0000-4000-8",
            "by-path/pci-0000:00:04.0",
            "by-path/virtio-pci-0000:00:04.0",
        ]
    );
}

#[test]
fn mapped_devices_are_known_by_name_and_uuid_and_have_no_place() {
    let sysfs = MadeUp::new(
        "/devices/virtual/block/dm-0/dm/name = vg-data 1
        /devices/virtual/block/dm-0/dm/uuid = LVM-abc",
    );
    assert_eq!(
        names(&sysfs, "/devices/virtual/block/dm-0"),
        ["by-id/dm-name-vg-data\\x201", "by-id/dm-uuid-LVM-abc"]
    );
}

#[test]
fn what_is_on_a_partition_names_it_and_nothing_leads_elsewhere() {
    let found = |kind, uuid: &str, label: &str| {
        let (uuid, label) = (Some(uuid.to_owned()), Some(label.to_owned()));
        Some(Found { kind, uuid, label })
    };
    let none = MadeUp::default();
    let contents = Contents {
        volume: found(Kind::Ext, "0b0c", "my data/1"),
        part_uuid: Some("deadbeef-01".to_owned()),
        part_name: Some("Basic data".to_owned()),
    };
    assert_eq!(
        Vec::from_iter(of(&none, "/devices/x/sda/sda1", &contents)),
        [
            "by-label/my\\x20data\\x2f1",
            "by-partlabel/Basic\\x20data",
            "by-partuuid/deadbeef-01",
            "by-uuid/0b0c",
        ]
    );
    let contents = Contents { volume: found(Kind::RaidMember, "0b", "x"), ..Contents::default() };
    assert_eq!(of(&none, "/devices/x/sda", &contents), BTreeSet::new());
    let contents = Contents { volume: found(Kind::Ext, "..", "."), ..Contents::default() };
    assert_eq!(of(&none, "/devices/x/sda", &contents), BTreeSet::new());
    let serial = MadeUp::new("/devices/x/virtio1/block/vdb/serial = ../../../../etc/x");
    assert_eq!(of(&serial, "/devices/x/virtio1/block/vdb", &Contents::default()), BTreeSet::new());
}
