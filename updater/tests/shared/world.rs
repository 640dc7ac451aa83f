//! Releases in a directory, with keys that are made of a number; and a node that takes them.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::delta::{Differences, Encoder, Header, Instruction};
use formats::digest::Sha256;
use formats::incoming::Root as ImageRoot;
use formats::release::{Release, custom};
use formats::seekable::{FRAME, SeekTable};
use formats::tuf::publish::{File, edition, signed};
use formats::tuf::{Ed25519, Head, Root, Signer as _, TargetFile, TargetPath, Targets};
use formats::verity::Verity;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use updater::cancel::Cancel;
use updater::client::pace::Pace;
use updater::client::retry::Patience;
use updater::client::{Mirrors, Place, Settings, web_place};
use updater::transport::{Arrived, Progress, Running, TransportError, Wanted, fetch_image};
use updater::trust::{Channel, Clock, Store, TrustError};

use super::disk::Disk;

/// Begin of the year 2030, when these tests are.
pub const NOW: i64 = 1_893_456_000;
pub const DAY: i64 = 86_400;

/// An image and what is said of it.
#[derive(Debug, Clone)]
pub struct Made {
    pub data: Vec<u8>,
    pub root: ImageRoot,
    pub tree: Vec<u8>,
}

impl Made {
    pub fn of(salt: u8, data: Vec<u8>) -> Self {
        let salt = [salt; 16];
        let verity = Verity::of(&salt, &data).unwrap();
        let root = ImageRoot { hash: verity.root_hash, salt, size: data.len() as u64 };
        Self { data, root, tree: verity.tree }
    }

    /// As it stands in a slot.
    pub fn slot(&self) -> Vec<u8> {
        [&self.data[..], &self.tree].concat()
    }
}

/// Bytes that no packer makes smaller, the same each time.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Two images: the second has some blocks that are moved, some new ones, and is a bit longer.
pub fn two_images() -> [Made; 2] {
    let old = noise(3, 400 * 4096);
    let mut new = old.clone();
    new.splice(100 * 4096..100 * 4096, noise(5, 3 * 4096));
    new[300 * 4096..330 * 4096].copy_from_slice(&noise(7, 30 * 4096));
    new[10] ^= 1;
    [Made::of(1, old), Made::of(2, new)]
}

pub fn seekable(data: &[u8]) -> Vec<u8> {
    let (mut file, mut table) = (Vec::new(), SeekTable::new());
    for piece in data.chunks(FRAME as usize) {
        let frame = compress_to_vec(piece, CompressionLevel::Fastest);
        table
            .push(u32::try_from(frame.len()).unwrap(), u32::try_from(piece.len()).unwrap())
            .unwrap();
        file.extend(frame);
    }
    file.extend(table.encode());
    file
}

/// A delta that copies the blocks that the old image has.
pub fn delta(old: &Made, new: &Made) -> Vec<u8> {
    let places: HashMap<&[u8], usize> = old.data.chunks(4096).zip((0..).step_by(4096)).collect();
    let mut instructions = vec![Instruction { from: 0, copied: 0, literal: 0 }];
    for block in new.data.chunks(4096) {
        let last = instructions.last_mut().unwrap();
        match places.get(block) {
            Some(from) if last.literal == 0 && last.copied == 0 => {
                *last = Instruction { from: *from, copied: block.len(), literal: 0 };
            }
            Some(from) if last.literal == 0 && last.from + last.copied == *from => {
                last.copied += block.len();
            }
            Some(from) => {
                instructions.push(Instruction { from: *from, copied: block.len(), literal: 0 });
            }
            None => last.literal += block.len(),
        }
    }
    let mut encoder = Encoder::new(&old.data, &new.data, Differences::Apart);
    let mut segments = Vec::new();
    let mut sink = |piece: &[u8]| -> Result<(), ()> {
        segments.extend(piece);
        Ok(())
    };
    for instruction in instructions {
        encoder.take(instruction, &mut sink).unwrap();
    }
    encoder.finish(&mut sink).unwrap();
    let header = Header { old: old.root.clone(), new: new.root.clone() };
    let frame = compress_to_vec(&segments[..], CompressionLevel::Fastest);
    [&header.encode()[..], &frame].concat()
}

/// A directory of releases, and a node's STATE.
pub struct World {
    pub directory: tempfile::TempDir,
    signer: Ed25519,
    root: Root,
    pub root_bytes: Vec<u8>,
    pub targets: Targets,
    pub edition: u64,
    pub expires: i64,
    pub architecture: String,
    pub image: String,
    pub epoch: u64,
    pub min_from: Option<String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl World {
    pub fn new() -> Self {
        let signer = Ed25519::from_seed(&[7; 32]).unwrap();
        let root = Root::new(Head::new(1, NOW + 365 * DAY), |_| (vec![signer.key()], 1));
        let Ok(root_bytes) = signed(&root, &[&signer]);
        let targets = Targets {
            head: Head::new(1, NOW + 90 * DAY),
            targets: BTreeMap::new(),
            delegations: None,
        };
        let directory = tempfile::tempdir().unwrap();
        let (edition, expires) = (0, NOW + 30 * DAY);
        let (files, architecture) = (BTreeMap::new(), "other".to_owned());
        let (image, epoch, min_from) = ("node".to_owned(), 3, None);
        Self {
            directory,
            signer,
            root,
            root_bytes,
            targets,
            edition,
            expires,
            architecture,
            image,
            epoch,
            min_from,
            files,
        }
    }

    pub fn place(&self) -> PathBuf {
        self.directory.path().join("releases")
    }

    pub fn target(&mut self, path: &str, bytes: Vec<u8>, number: Option<u64>) {
        let name: TargetPath = path.parse().unwrap();
        let mut file = TargetFile::new(bytes.len() as u64, Sha256::of(&bytes));
        file.custom = number.map(|number| custom(number, NOW, self.epoch));
        let place = name.path(file.hashes.prefix(), formats::tuf::Form::File);
        self.files.insert(format!("targets/{place}"), bytes);
        self.targets.targets.insert(name, file);
    }

    /// Adds a release with deltas from these. Its UKI is not there: the root stands in its place, for a
    /// release has to name one.
    pub fn add(&mut self, version: &str, image: &Made, from: &[(&str, &Made)]) {
        self.add_with(version, image, &image.root, from);
    }

    /// The same, with a UKI.
    pub fn add_with_uki(
        &mut self,
        version: &str,
        image: &Made,
        uki: &Made,
        from: &[(&str, &Made)],
    ) {
        self.add_with(version, image, &uki.root, from);
        self.target(&format!("{version}/uki.zst"), seekable(&uki.data), None);
        self.target(&format!("{version}/uki.tree.zst"), seekable(&uki.tree), None);
    }

    fn add_with(&mut self, version: &str, image: &Made, uki: &ImageRoot, from: &[(&str, &Made)]) {
        let mut deltas = Vec::new();
        for (name, old) in from {
            let delta = delta(old, image);
            let (hash, size) = (old.root.hash, delta.len());
            deltas.push(format!(r#"{{"from": "{name}", "hash": "{hash}", "size": {size}}}"#));
            self.target(&format!("{version}/delta/{name}.delta"), delta, None);
        }
        let ImageRoot { hash, salt, size } = &image.root;
        let Self { architecture, image: name, epoch, .. } = &*self;
        let first = self.min_from.as_ref().map(|first| format!(r#""min-from": "{first}", "#));
        let first = first.unwrap_or_default();
        let hex = |salt: &[u8]| salt.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (salt, uki_salt) = (hex(salt), hex(&uki.salt));
        let (uki_hash, uki_size) = (uki.hash, uki.size);
        let (all, deltas) = (size + image.tree.len() as u64, deltas.join(", "));
        let text = format!(
            r#"{{"schema": 1, "image": "{name}", "version": "{version}", "architecture": "{architecture}",
              "kernel": "6.12", "root": {{"hash": "{hash}", "salt": "{salt}",
              "data-size": {size}, "size": {all}}},
              "uki": {{"hash": "{uki_hash}", "salt": "{uki_salt}", "size": {uki_size}}}, "epoch": {epoch}, {first}"deltas": [{deltas}]}}"#
        );
        Release::parse(text.as_bytes()).unwrap();
        let number = self.targets.targets.values().filter(|file| file.custom.is_some()).count();
        self.target(&format!("{version}/release.json"), text.into_bytes(), Some(number as u64 + 1));
        self.target(&format!("{version}/root.zst"), seekable(&image.data), None);
        self.target(&format!("{version}/root.tree.zst"), seekable(&image.tree), None);
    }

    /// Brings all of it to the directory.
    pub fn publish(&mut self) {
        self.edition += 1;
        self.targets.head.version = self.edition;
        for (path, bytes) in self.metadata() {
            self.files.insert(path, bytes);
        }
        // What lies there need not be held.
        for (path, bytes) in std::mem::take(&mut self.files) {
            let path = self.place().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    fn metadata(&self) -> Vec<(String, Vec<u8>)> {
        let Ok(targets) = signed(&self.targets, &[&self.signer]);
        let head = || Head::new(self.edition, self.expires);
        let signers: [&Ed25519; 1] = [&self.signer];
        let none = BTreeMap::new();
        let files = edition(&self.root, &targets, &none, (head(), &signers), (head(), &signers));
        let root = self.root.file(self.root_bytes.clone());
        let files = files.unwrap().into_iter().chain([root]);
        files.map(|file: File| (format!("metadata/{}", file.name().unwrap()), file.bytes)).collect()
    }

    pub fn store(&self) -> Store {
        let places = vec!["channel".to_owned()];
        Store::new(&self.directory.path().join("state"), places, self.root_bytes.clone())
    }
}

pub const CLOCK: Clock = Clock { now: NOW, floor: NOW - DAY };

/// Settings under which a test does not wait for long.
pub fn quick() -> Settings {
    let patience = Patience {
        tries: 3,
        first: Duration::from_millis(1),
        most: Duration::from_millis(2),
        told: Duration::from_secs(1),
    };
    let pace = Pace { least: 1000, window: Duration::from_millis(100) };
    Settings { pace, patience, ..Settings::default() }
}

pub fn web(url: &str) -> Place {
    let silence = Some(Duration::from_millis(300));
    let limits = web::Limits { silence, ..web::Limits::default() };
    web_place(url, Vec::new(), "", limits).unwrap()
}

pub fn directory(path: &Path) -> Place {
    Place::Directory(path.to_owned())
}

/// What a run has come to.
pub struct Ran {
    pub result: Result<Arrived, String>,
    pub notices: Vec<String>,
}

/// A whole run of a node: from the root to an image in the slot.
pub fn run(
    world: &World,
    places: Vec<Place>,
    version: Option<&str>,
    running: Option<(&Made, &Disk)>,
    spare: &mut Disk,
) -> Ran {
    run_told(world, places, version, running, spare, &Cancel::new(), &|_| ())
}

pub fn run_told(
    world: &World,
    places: Vec<Place>,
    version: Option<&str>,
    running: Option<(&Made, &Disk)>,
    spare: &mut Disk,
    cancel: &Cancel,
    told: &dyn Fn(Progress),
) -> Ran {
    let notices = RefCell::new(Vec::new());
    let notice = |line: &str| notices.borrow_mut().push(line.to_owned());
    let mirrors = Mirrors::new(places, quick(), cancel.clone(), &notice);
    let store = world.store();
    let result = (|| -> Result<Arrived, String> {
        let text = |error: TrustError| error.to_string();
        let channel = Channel::open(&mirrors, &store, CLOCK, version).map_err(text)?;
        let verified = channel.release(version).map_err(text)?;
        let wanted = Wanted::root(&verified.release).map_err(|error| error.to_string())?;
        let running = running.map(|(made, disk)| Running {
            hash: made.root.hash,
            size: made.root.size,
            device: disk,
        });
        let arrived = fetch_image(&channel, &wanted, running, spare, told);
        arrived.map_err(|error: TransportError| error.to_string())
    })();
    Ran { result, notices: notices.into_inner() }
}
