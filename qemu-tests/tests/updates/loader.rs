//! The boot loader of a node's disk is replaced by command, and the firmware starts the node by it.

use anyhow::{Context as _, Result, ensure};
use formats::architecture::Architecture;
use formats::boot_loader::BootLoader;
use formats::fat::{Extent, ReadError, Volume};
use qemu_tests::Orlop;
use qemu_tests::disk::Disk;
use qemu_tests::process::judge;
use qemu_tests::releases::{Base, Releases, Variant};
use serde_json::json;

use crate::node::Node;

/// The loader on a disk, and where it stands on that.
struct OnDisk {
    bytes: Vec<u8>,
    places: Vec<Extent>,
}

impl OnDisk {
    fn read(disk: &Disk) -> Result<Self> {
        let esp = disk.partition("ESP")?.offset();
        let read = |offset: u64, buffer: &mut [u8]| {
            buffer.copy_from_slice(&disk.bytes(esp + offset, buffer.len() as u64)?);
            Ok::<_, anyhow::Error>(())
        };
        let volume = Volume::parse(read).map_err(|error| match error {
            ReadError::Read(error) => error,
            ReadError::Volume(error) => error.into(),
        })?;
        let entry = volume.entry(Architecture::MADE.boot_file()).context("there is no loader")?;
        let at_disk = |it: &Extent| Extent { offset: esp + it.offset, length: it.length };
        let places: Vec<_> = entry.extents.iter().map(at_disk).collect();
        let mut bytes = Vec::new();
        for place in &places {
            bytes.extend(disk.bytes(place.offset, place.length)?);
        }
        Ok(Self { bytes, places })
    }

    fn version(&self) -> Result<String> {
        Ok(BootLoader::parse(&self.bytes, Architecture::MADE)?.version)
    }
}

/// What is on the disk says from now on that it is of a later version; which.
fn pretend(disk: &Disk) -> Result<String> {
    let OnDisk { bytes, places } = OnDisk::read(disk)?;
    let version = BootLoader::parse(&bytes, Architecture::MADE)?.version;
    let later = format!("9{}", version.get(1..).context("a version")?);
    ensure!(later != version, "{version} is late already");
    let [place] = &places[..] else { anyhow::bail!("a new disk has it in one piece") };
    let found = bytes.windows(version.len()).enumerate();
    let found = found.filter(|(_, text)| *text == version.as_bytes());
    for (at, _) in found {
        disk.write(place.offset + at as u64, later.as_bytes())?;
    }
    Ok(later)
}

pub(crate) fn replaced(orlop: &Orlop) -> Result<()> {
    let releases = Releases::new(orlop)?;
    let release = releases.build(orlop, &Variant::new(Base::Base, "1.1"))?;
    let own = OnDisk::read(&Disk::open(&release.image.join("disk.raw"))?)?;
    let version = own.version()?;
    let mut node = Node::new(&release, "")?;
    let later = pretend(&Disk::to_change(&node.disk())?)?;

    let mut on = node.start(orlop)?;
    on.boots(&release)?;
    on.is_healthy(&release)?;
    let status = on.done(&json!({ "do": "status" }))?;
    ensure!(status["loader"] == *later && status["loader-of-image"] == *version, "{status:#}");
    let older = format!("systemd-boot {version} of this image is older than {later}");
    let why = on.refused(&json!({ "do": "update-loader" }))?;
    ensure!(why.starts_with(&older), "{why}");
    let boot_file = Architecture::MADE.boot_file();
    let would = on.done(&json!({ "do": "update-loader", "force": true, "dry-run": true }))?;
    ensure!(would["would-replace"] == json!([boot_file]), "{would}");
    let done = on.done(&json!({ "do": "update-loader", "force": true }))?;
    ensure!(done["replaced"] == json!([boot_file]) && done["before"] == *later, "{done}");
    let again = on.done(&json!({ "do": "update-loader" }))?;
    ensure!(again["replaced"] == json!([]) && again["before"] == *version, "{again}");
    on.power_off()?;

    let disk = Disk::open(&node.disk())?;
    let now = OnDisk::read(&disk)?;
    ensure!(now.bytes == own.bytes, "the loader on the disk is not that of the image");
    ensure!(now.places != own.places, "it was written where the old one stood");
    let esp = disk.partition("ESP")?;
    let copy = node.disk().with_extension("esp");
    std::fs::write(&copy, disk.bytes(esp.offset(), esp.size())?)?;
    judge("fsck.vfat", "dosfstools", [std::ffi::OsStr::new("-n"), copy.as_os_str()])?;

    let mut on = node.start(orlop)?;
    on.boots(&release)?;
    on.is_healthy(&release)?;
    let status = on.done(&json!({ "do": "status" }))?;
    ensure!(status["loader"] == *version, "{status:#}");
    on.power_off()
}
