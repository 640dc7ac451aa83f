//! The real firmware with the real loader: a disk of partitions, a store of variables, and `orlop run`.

use std::cell::Cell;
use std::fs::File as OsFile;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use formats::architecture::Architecture;
use formats::fat::{Content, File, Kind, ReadError, Volume};
use qemu_tests::Orlop;
use qemu_tests::disk::{Disk, Partition};
use qemu_tests::process::judge;
use qemu_tests::variables::{LOADER, Variables, utf16};
use tempfile::TempDir;

use crate::disk::{Image, SECTOR};

const BOOT: Duration = Duration::from_secs(15 * 60);
const MIB: u64 = 1 << 20;
/// The loader's settings.
const LOADER_CONF: &str = "loader/loader.conf";
/// The firmware writes the day into what it renames: that of the model.
const CLOCK: &str = "base=2030-01-02T03:04:05";
const ONE_SHOT: &str = "LoaderEntryOneShot";

/// By which name an entry was started, and what it says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Started {
    pub(crate) entry: String,
    pub(crate) version: String,
}

/// A machine that is off.
pub(crate) struct Firmware<'a> {
    orlop: &'a Orlop,
    directory: TempDir,
    /// What stands on the partition beside the entries: the loader of the image under test.
    pub(crate) files: Vec<File>,
    cpu: Cell<f64>,
}

impl<'a> Firmware<'a> {
    pub(crate) fn new(orlop: &'a Orlop) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let image = Disk::open(&orlop.image("disk.raw"))?;
        let esp = image.partition("ESP")?;
        let volume = volume(&image, &esp)?;
        let read = |path: &&str| -> Result<File> {
            let entry = volume.entry(path).with_context(|| format!("the image has no {path}"))?;
            let mut bytes = Vec::new();
            for extent in &entry.extents {
                bytes.extend(image.bytes(esp.offset() + extent.offset, extent.length)?);
            }
            let path = (*path).to_owned();
            Ok(File { path, alias: None, content: Content::Bytes(bytes) })
        };
        let files = [Architecture::MADE.boot_file(), LOADER_CONF]
            .iter()
            .map(read)
            .collect::<Result<_>>()?;
        let firmware = Self { orlop, directory, files, cpu: Cell::new(0.0) };
        firmware.make_table()?;
        Ok(firmware)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A disk with the partitions where the model has them.
    fn make_table(&self) -> Result<()> {
        let path = self.path("empty.raw");
        OsFile::create(&path)?.set_len(64 * MIB)?;
        let mut args = Vec::new();
        for (number, (name, first, size)) in [
            ("ESP", 1, 34 * MIB),
            ("META", 36, MIB),
            ("ROOT-A", 40, 64 << 10),
            ("ROOT-B", 44, 64 << 10),
            ("STATE", 48, MIB),
        ]
        .into_iter()
        .enumerate()
        {
            let (number, first) = (number + 1, first * MIB / SECTOR as u64);
            let last = first + size / SECTOR as u64 - 1;
            args.extend(["-n".to_owned(), format!("{number}:{first}:{last}")]);
            args.extend(["-c".to_owned(), format!("{number}:{name}")]);
        }
        args.extend(["-t".to_owned(), "1:ef00".to_owned(), path.display().to_string()]);
        judge("sgdisk", "gdisk", args).map(drop)
    }

    /// Its disk holds this from now on, and its variable has that value.
    pub(crate) fn put(&self, image: &Image) -> Result<()> {
        let disk = Disk::copy(&self.path("empty.raw"), &self.path("disk.raw"))?;
        for (number, sector) in image.sectors() {
            disk.write(number * SECTOR as u64, &sector)?;
        }
        let template = self.path("template.vars");
        if !template.exists() {
            // The first boot of a firmware takes longer and leaves variables of its own.
            self.boot()?;
            std::fs::copy(self.path("disk.raw.vars"), &template)?;
            return self.put(image);
        }
        let mut variables = Variables::read(&template)?;
        if let Some(id) = &image.one_shot {
            variables.set(&LOADER, ONE_SHOT, &utf16(id))?;
        }
        variables.write(&self.path("disk.raw.vars"))
    }

    /// The machine is on until what is started resets it.
    pub(crate) fn boot(&self) -> Result<Started> {
        let boot = self.orlop.boot().args(&["--no-config", "--no-network", "--memory", "256 MiB"]);
        let boot = boot.disk(&self.path("disk.raw")).args(&["--", "-rtc", CLOCK]);
        let ended = boot.run(BOOT)?;
        ensure!(ended.reported("error[E0122]"), "it did not reset itself{}", ended.tail());
        self.cpu.set(self.cpu.get() + ended.cpu_seconds.unwrap_or_default());
        // The firmware writes to the same port, and colours what it says.
        let line = ended.console.iter().find_map(|line| line.split_once("started \\EFI\\Linux\\"));
        let (_, line) = line.with_context(|| format!("nothing was started{}", ended.tail()))?;
        let (entry, version) = line.split_once(' ').context("two words")?;
        Ok(Started { entry: entry.to_owned(), version: version.trim().to_owned() })
    }

    /// The directory of entries, as long as it is.
    pub(crate) fn directory(&self) -> Result<Vec<u8>> {
        let disk = Disk::open(&self.path("disk.raw"))?;
        let esp = disk.partition("ESP")?;
        let volume = volume(&disk, &esp)?;
        let entry = volume.entry("EFI/Linux").filter(|entry| entry.kind == Kind::Directory);
        let mut bytes = Vec::new();
        for extent in &entry.context("there is no EFI/Linux")?.extents {
            bytes.extend(disk.bytes(esp.offset() + extent.offset, extent.length)?);
        }
        Ok(bytes)
    }

    /// What is left of the variable.
    pub(crate) fn one_shot(&self) -> Result<Option<Vec<u8>>> {
        let variables = Variables::read(&self.path("disk.raw.vars"))?;
        Ok(variables.get(&LOADER, ONE_SHOT).map(<[u8]>::to_vec))
    }

    /// What QEMU has taken so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.cpu.get()
    }
}

fn volume(disk: &Disk, esp: &Partition) -> Result<Volume> {
    let read = |offset: u64, buffer: &mut [u8]| {
        buffer.copy_from_slice(&disk.bytes(esp.offset() + offset, buffer.len() as u64)?);
        Ok::<_, anyhow::Error>(())
    };
    Volume::parse(read).map_err(|error| match error {
        ReadError::Read(error) => error,
        ReadError::Volume(error) => error.into(),
    })
}
