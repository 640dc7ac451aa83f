//! A model of all that is not the updater: firmware and loader, PID 1, and versions that are good or
//! bad in their own ways. Its rules are those that were seen of the real ones (`docs/disk.md`).

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use formats::boot_entries::{Directory, Name, SECTOR_BYTES, Slot, started_first};
use formats::digest::Sha256;
use formats::fat::{Alias, Content, File, Options, Piece, Plan, decode};
use formats::incoming::Root;
use formats::meta::{OFFSETS, RECORD};
use formats::verity::Verity;
use updater::device::Device;
use updater::firmware::Firmware;
use updater::plan::{Offer, Running};
use updater::steps::{Disks, Machine, Place};

use crate::disk::{Disk, Handle, Image, SECTOR};
use crate::fat::Clusters;
use crate::firmware;

const MIB: u64 = 1 << 20;
const ESP: (u64, u64) = (MIB, 34 * MIB);
const META: (u64, u64) = (36 * MIB, MIB);
const ROOTS: [(u64, u64); 2] = [(40 * MIB, 64 << 10), (44 * MIB, 64 << 10)];
pub(crate) const UKI_SIZE: u64 = 8192;
const SALT: [u8; 16] = [7; 16];

/// How a version behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It gets healthy.
    Good,
    /// The kernel panics before anything of the updater runs.
    Panics,
    /// It hangs, panics or is reset after its updater has begun.
    Hangs,
    /// Its health checks fail.
    Unhealthy,
}

/// A version with its files.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) name: &'static str,
    pub(crate) manner: Manner,
    pub(crate) root: Vec<u8>,
    pub(crate) root_hash: Sha256,
    pub(crate) uki: Vec<u8>,
    pub(crate) epoch: u64,
}

impl Version {
    pub(crate) fn new(name: &'static str, manner: Manner, epoch: u64) -> Self {
        let mut root: Vec<u8> = name.bytes().cycle().take(2 * 4096).collect();
        let verity = Verity::of(&SALT, &root).unwrap();
        root.extend(&verity.tree);
        let uki = crate::uki::uki(name, verity.root_hash, UKI_SIZE);
        Self { name, manner, root, root_hash: verity.root_hash, uki, epoch }
    }

    pub(crate) fn offer(&self) -> Offer {
        Offer {
            image: "node".to_owned(),
            architecture: "any".to_owned(),
            version: self.name.to_owned(),
            epoch: self.epoch,
            root: Root { hash: self.root_hash, salt: SALT, size: 2 * 4096 },
            uki: Sha256::of(&self.uki),
            uki_size: UKI_SIZE,
        }
    }
}

/// What the firmware allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variables {
    Kept,
    Refused,
    /// It takes them and forgets.
    Dropped,
    /// It takes none and says none.
    Broken,
}

/// Where the loader's power ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Booted {
    /// A root is mounted: from this slot, of the version with this number.
    Root(Slot, usize),
    /// PID 1 finds no root that it may mount, and resets.
    Reset,
    /// The loader has nothing to start, or started what is damaged: nothing happens any more.
    Dead(String),
}

/// A machine.
pub(crate) struct Node {
    pub(crate) disk: Rc<RefCell<Disk>>,
    pub(crate) versions: Rc<Vec<Version>>,
    pub(crate) variables: Variables,
    places: Rc<Places>,
}

/// Where the files of the ESP stand, as the builder has placed them.
struct Places {
    /// The first sector of the directory.
    directory: u64,
    clusters: Clusters,
    /// By slot: first cluster and offset.
    ukis: [(u32, u64); 2],
}

#[derive(Debug, Clone)]
pub(crate) struct NodeDisks {
    disk: Rc<RefCell<Disk>>,
    esp: Handle,
    meta: Handle,
    spare: Handle,
}

impl Disks for NodeDisks {
    type Device = Handle;
    type Root = Handle;
    type Uncached = Handle;

    fn esp(&mut self) -> &mut Handle {
        &mut self.esp
    }

    fn esp_to_read(&self) -> &Handle {
        &self.esp
    }

    fn meta(&mut self) -> &mut Handle {
        &mut self.meta
    }

    fn spare_root(&mut self) -> &mut Handle {
        &mut self.spare
    }

    fn uncached(&self, place: Place) -> io::Result<Handle> {
        Ok(match place {
            Place::Esp => self.esp.clone(),
            Place::Root(slot) => handle(&self.disk, 2 + slot.index()),
        })
    }
}

fn handle(disk: &Rc<RefCell<Disk>>, area: usize) -> Handle {
    let (offset, size) = [ESP, META, ROOTS[0], ROOTS[1]][area];
    Handle { disk: Rc::clone(disk), area, offset, size }
}

#[derive(Debug)]
pub(crate) struct NodeFirmware {
    disk: Rc<RefCell<Disk>>,
    variables: Variables,
}

impl Firmware for NodeFirmware {
    fn one_shot(&self) -> io::Result<Option<String>> {
        match self.variables {
            Variables::Broken => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(self.disk.borrow().now.one_shot.clone()),
        }
    }

    fn set_one_shot(&mut self, id: &str) -> io::Result<()> {
        match self.variables {
            Variables::Kept => self.disk.borrow_mut().set_variable(Some(id.to_owned())),
            Variables::Refused | Variables::Broken => {
                return Err(io::Error::from_raw_os_error(30));
            }
            Variables::Dropped => {}
        }
        Ok(())
    }

    fn clear_one_shot(&mut self) -> io::Result<()> {
        self.disk.borrow_mut().set_variable(None);
        Ok(())
    }
}

impl Node {
    /// A disk as the builder makes it, with the first version in both slots.
    pub(crate) fn new(versions: &Rc<Vec<Version>>, variables: Variables) -> Self {
        Self::beside(versions, variables, &[])
    }

    /// The same with these files on its EFI system partition, of which the model knows nothing.
    pub(crate) fn beside(
        versions: &Rc<Vec<Version>>,
        variables: Variables,
        files: &[File],
    ) -> Self {
        let first = &versions[0];
        let options = Options {
            size: ESP.1,
            first_lba: 2048,
            volume_id: 1,
            label: "ESP".to_owned(),
            epoch: 1_700_000_000,
        };
        let entries = [("2a.efi", "SLOTA"), ("1b.efi", "SLOTB")].map(|(name, alias)| File {
            path: format!("EFI/Linux/{name}"),
            alias: Some(Alias::new(alias).unwrap()),
            content: Content::Bytes(first.uki.clone()),
        });
        let plan = Plan::new(&options, [&entries[..], files].concat()).unwrap();
        let mut image = Image::default();
        for segment in plan.segments() {
            if let Piece::Bytes(mut bytes) = segment.piece {
                bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
                image.write(ESP.0 + segment.offset, &bytes);
            }
        }
        for (offset, _) in ROOTS {
            image.write(offset, &first.root);
        }
        let directory = ESP.0 + plan.directory_sector("EFI/Linux").unwrap();
        let records = decode(&image.read(directory, SECTOR_BYTES)).records;
        let ukis = ["2a.efi", "1b.efi"].map(|name| {
            let record = records.iter().find(|record| record.name == name).unwrap();
            let extent = plan.file_extent(&format!("EFI/Linux/{name}")).unwrap();
            (record.first_cluster, ESP.0 + extent.offset)
        });
        let clusters = Clusters::of(&image, ESP.0);
        let places = Rc::new(Places { directory, clusters, ukis });
        let disk = Disk { now: image.settled(), ..Disk::default() };
        let disk = Rc::new(RefCell::new(disk));
        Self { disk, versions: Rc::clone(versions), variables, places }
    }

    /// The same machine with another content of its disk, and an empty log.
    pub(crate) fn with(&self, image: Image) -> Self {
        let disk = Disk { now: image, ..Disk::default() };
        Self {
            disk: Rc::new(RefCell::new(disk)),
            versions: Rc::clone(&self.versions),
            variables: self.variables,
            places: Rc::clone(&self.places),
        }
    }

    pub(crate) fn uki(&self, slot: Slot) -> u64 {
        self.places.ukis[slot.index()].1
    }

    /// The directory of the entries, as long as it is.
    pub(crate) fn directory(&self) -> Vec<u8> {
        let Places { directory, clusters, .. } = *self.places;
        let now = &self.disk.borrow().now;
        let places = clusters.chain(now, directory);
        places.iter().flat_map(|place| now.read(*place, SECTOR_BYTES)).collect()
    }

    /// Gives the entries other names, as an updater does.
    pub(crate) fn rename(&self, names: [Name; 2]) {
        let directory = Directory::parse(&self.directory()).unwrap();
        let sector = directory.renamed(&names).sector();
        self.disk.borrow_mut().now.write(self.places.directory, &sector);
    }

    /// Which version's UKI a slot has: nothing if the loader does not list it.
    fn uki_of(&self, slot: Slot) -> Option<Result<usize, ()>> {
        let offset = self.uki(slot);
        let bytes = self.disk.borrow().now.read(offset, usize::try_from(UKI_SIZE).unwrap());
        bytes
            .starts_with(b"MZ")
            .then(|| self.versions.iter().position(|version| version.uki == bytes).ok_or(()))
    }

    /// Which version's root a slot holds, whole and with its tree.
    pub(crate) fn root_of(&self, slot: Slot) -> Option<usize> {
        let length = self.versions[0].root.len();
        let bytes = self.disk.borrow().now.read(ROOTS[slot.index()].0, length);
        self.versions.iter().position(|version| version.root == bytes)
    }

    pub(crate) fn holds_root(&self, slot: Slot, version: usize) -> bool {
        self.root_of(slot) == Some(version)
    }

    /// What the loader lists.
    pub(crate) fn listed(&self) -> Vec<(Name, Slot)> {
        let records = decode(&self.directory()).records;
        let listed = records.iter().filter(|record| record.size > 0).filter_map(|record| {
            let name: Name = record.name.parse().ok()?;
            let place = |(cluster, _): &(u32, u64)| *cluster == record.first_cluster;
            let slot = Slot::BOTH[self.places.ukis.iter().position(place)?];
            self.uki_of(slot).map(|_| (name, slot))
        });
        listed.collect()
    }

    /// What starts by itself, the variable aside: slot and version.
    pub(crate) fn default_start(&self) -> Option<(Slot, Result<usize, ()>)> {
        let listed = self.listed();
        let names: Vec<_> = listed.iter().map(|(name, _)| *name).collect();
        let first = started_first(&names, None)?;
        let slot = listed.iter().find(|(name, _)| *name == first)?.1;
        self.uki_of(slot).map(|version| (slot, version))
    }

    /// The firmware starts the loader, that a UKI, and that PID 1 in the initrd.
    pub(crate) fn boot(&self) -> Booted {
        match self.load() {
            None => Booted::Dead("the loader lists nothing".to_owned()),
            Some((_, Ok(version))) => self.initrd(version),
            Some((name, Err(()))) => {
                Booted::Dead(format!("the loader started the damaged `{name}`"))
            }
        }
    }

    /// What firmware and loader do: the name under which an entry is started, and its version, which
    /// is none if its file is damaged.
    pub(crate) fn load(&self) -> Option<(Name, Result<usize, ()>)> {
        let listed = self.listed();
        let names: Vec<_> = listed.iter().map(|(name, _)| *name).collect();
        let one_shot = self.disk.borrow().now.one_shot.clone();
        self.disk.borrow_mut().set_variable(None);
        let first = started_first(&names, one_shot.as_deref())?;
        let slot = listed.iter().find(|(name, _)| *name == first)?.1;
        let name = first.started();
        if name != first {
            self.rename_by_firmware(first, name);
        }
        Some((name, self.uki_of(slot)?))
    }

    /// Five renames fit into the sector of the directory, the sixth makes it longer.
    fn rename_by_firmware(&self, old: Name, new: Name) {
        let mut bytes = self.directory();
        firmware::rename(&mut bytes, &old.to_string(), &new.to_string());
        let Places { directory, clusters, .. } = *self.places;
        let mut disk = self.disk.borrow_mut();
        let mut places = clusters.chain(&disk.now, directory);
        if bytes.len() > places.len() * SECTOR_BYTES {
            let (writes, place) = clusters.lengthen(&disk.now, places[places.len() - 1]);
            writes.iter().for_each(|(offset, sector)| disk.write(0, *offset, sector));
            places.push(place);
        }
        for (place, sector) in places.iter().zip(bytes.chunks(SECTOR_BYTES)) {
            if disk.now.read(*place, SECTOR_BYTES) != sector {
                disk.write(0, *place, sector);
            }
        }
        disk.log.push(crate::disk::Event::Flush(0));
    }

    /// One UKI serves both slots: PID 1 looks for the one that holds the root that it names.
    pub(crate) fn initrd(&self, version: usize) -> Booted {
        match Slot::BOTH.into_iter().find(|slot| self.holds_root(*slot, version)) {
            Some(slot) => Booted::Root(slot, version),
            None => Booted::Reset,
        }
    }

    /// The updater of a system that runs.
    pub(crate) fn machine(&self, slot: Slot, version: usize) -> Machine<NodeDisks, NodeFirmware> {
        let running = self.running(slot, version);
        let disks = NodeDisks {
            disk: Rc::clone(&self.disk),
            esp: handle(&self.disk, 0),
            meta: handle(&self.disk, 1),
            spare: handle(&self.disk, 2 + slot.other().index()),
        };
        let firmware = NodeFirmware { disk: Rc::clone(&self.disk), variables: self.variables };
        Machine::open(disks, firmware, running).unwrap()
    }

    /// What the machine's updater says that runs.
    pub(crate) fn running(&self, slot: Slot, version: usize) -> Running {
        let Version { name, root_hash, epoch, .. } = &self.versions[version];
        Running {
            slot,
            image: "node".to_owned(),
            architecture: "any".to_owned(),
            version: (*name).to_owned(),
            root_hash: *root_hash,
            epoch: *epoch,
        }
    }

    /// Each partition as a file of this directory: ESP, META, and the two roots.
    pub(crate) fn to_files(&self, directory: &Path) -> [PathBuf; 4] {
        let area = |at: usize| {
            let (offset, size) = [ESP, META, ROOTS[0], ROOTS[1]][at];
            let path = directory.join(at.to_string());
            let bytes = self.disk.borrow().now.read(offset, usize::try_from(size).unwrap());
            std::fs::write(&path, bytes).unwrap();
            path
        };
        [0, 1, 2, 3].map(area)
    }

    /// The machine with what stands in these files.
    pub(crate) fn with_files(&self, files: &[PathBuf; 4]) -> Self {
        let mut image = Image::default();
        for (path, (offset, _)) in files.iter().zip([ESP, META, ROOTS[0], ROOTS[1]]) {
            image.write(offset, &std::fs::read(path).unwrap());
        }
        self.with(image)
    }

    /// The EFI system partition.
    pub(crate) fn esp(&self) -> Handle {
        handle(&self.disk, 0)
    }

    /// Both records of META.
    pub(crate) fn records(&self) -> [Vec<u8>; 2] {
        OFFSETS.map(|offset| self.disk.borrow().now.read(META.0 + offset, RECORD))
    }

    /// Sectors of a record of META cannot be read until they are written.
    pub(crate) fn lose_record(&self, which: usize) {
        let at = (META.0 + OFFSETS[which]) / SECTOR as u64;
        self.disk.borrow_mut().unreadable.extend([at + 3, at + 9]);
    }

    /// The same of a slot's UKI: its first sector, and one further on.
    pub(crate) fn lose_uki(&self, slot: Slot) {
        let at = self.uki(slot) / SECTOR as u64;
        self.disk.borrow_mut().unreadable.extend([at, at + 9]);
    }

    /// Overwrites a record of META.
    pub(crate) fn damage_record(&self, which: usize, bytes: &[u8]) {
        self.disk.borrow_mut().now.write(META.0 + OFFSETS[which], bytes);
    }

    pub(crate) fn try_fill(&self, device: &mut Handle, version: usize) -> io::Result<()> {
        let mut blocks = self.versions[version].root.chunks(4096).enumerate();
        blocks.try_for_each(|(at, block)| device.write_at(at as u64 * 4096, block))
    }

    pub(crate) fn fill(&self, device: &mut Handle, version: usize) {
        self.try_fill(device, version).unwrap();
    }

    /// Which version's UKI each slot has, as far as the loader lists it.
    pub(crate) fn listed_versions(&self) -> [Option<Result<usize, ()>>; 2] {
        Slot::BOTH.map(|slot| self.uki_of(slot))
    }

    /// Whether what starts by itself has one attempt, and below it stands a good version that does not
    /// run out.
    pub(crate) fn is_counted_trial(&self) -> bool {
        let mut listed = self.listed();
        listed.sort_by(|(one, _), (two, _)| one.loader_order(two));
        let [(first, _), (second, slot)] = listed[..] else { return false };
        let below = self.uki_of(slot);
        let good = below.is_some_and(|version| {
            version.is_ok_and(|version| self.versions[version].manner == Manner::Good)
        });
        first.count().is_some_and(|count| count.left == 1) && second.count().is_none() && good
    }
}
