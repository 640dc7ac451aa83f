//! What each target does with its input.

mod registry;
mod slots;
mod trial;
mod tuf;

pub(crate) use registry::registry;
pub(crate) use slots::{boot_entries, meta};
pub(crate) use trial::{node_object, trial, updater};
pub(crate) use tuf::{tuf, tuf_client};

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use builder::archive::{Archive, Entry};
use builder::build::report::Report;
use builder::cargo_workspace::Workspace;
use builder::compose::modules::{ModInfo, decompress};
use builder::compose::program::Program;
use builder::contents::Contents;
use builder::credentials::Address;
use builder::go_mod::GoMod;
use builder::image::inspect;
use builder::keys::PublicKey;
use builder::keys::file::KeyFile;
use builder::keys::roles::Roles;
use builder::lock::Lock;
use builder::progress::{self, Progress};
use builder::source::deb::mirror::{Mirrors, Search};
use builder::source::deb::signature::{self, Keys};
use builder::source::deb::{index, unpack};
use builder::store::Store;
use cri::{Client, Transport};
use formats::architecture::Architecture;
use formats::boot_loader::BootLoader;
use formats::crc32::crc32;
use formats::deb::ar::{HEADER_LEN, parse_header};
use formats::deb::{Release, Stamp, Version, Wish, paragraphs, parse_dependencies};
use formats::digest::Sha256;
use formats::erofs::{self, Superblock};
use formats::fat::{Allocation, Volume};
use formats::gpt::{Guid, SECTOR, Table};
use formats::node_config::{self, Secrets};
use formats::ostree::{self, ArchiveHeader, Attributes, Commit, Mode, Summary};
use formats::superblock::fat::Fat;
use formats::tar::read::Reader;
use formats::tree::Blob;
use formats::uki::Uki;
use init::unit::Unit;
use node::source;
use tempfile::TempDir;

use crate::seeds;

mod network;
mod transport;

pub(crate) use network::{cri, dhcp, dhcp6, dns, message, netlink, sntp};
pub(crate) use transport::{delta, root_zst};

/// Content of a member that is looked at; what a few bytes may unpack to is none of a target's.
const ENOUGH: u64 = 1 << 20;
/// Members that are asked for by their path: an archive is read anew for each.
const FEW: usize = 4;

fn text(bytes: &[u8], take: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        take(text);
    }
}

/// The directory of this thread, with these bytes in a file of it.
fn in_file(bytes: &[u8], name: &str, take: impl FnOnce(&Path, &Path)) {
    thread_local!(static DIRECTORY: OnceCell<TempDir> = const { OnceCell::new() });
    DIRECTORY.with(|directory| {
        let directory = directory.get_or_init(|| tempfile::tempdir().expect("a directory"));
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a file has a directory"))
            .and_then(|()| fs::write(&path, bytes))
            .expect("a file can be written");
        take(directory.path(), &path);
    });
}

fn opened(bytes: &[u8], take: impl FnOnce(&File)) {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).and_then(|()| file.seek(SeekFrom::Start(0))).expect("a file");
    take(&file);
}

pub(crate) fn address(bytes: &[u8]) {
    text(bytes, |text| {
        let (base, reference) = text.split_once('\n').unwrap_or((text, "x"));
        builder::credentials::shown(text);
        if let Ok(address) = Address::parse(base) {
            let _ = address.join(reference);
            assert_eq!(
                Address::parse(address.as_str()).map(|again| again.as_str().to_owned()).ok(),
                Some(address.as_str().to_owned())
            );
        }
    });
}

pub(crate) fn apt_sources(bytes: &[u8]) {
    in_file(bytes, "etc/apt/sources.list", |root, _| {
        in_file(bytes, "etc/apt/sources.list.d/x.sources", |_, _| {
            let (given, pinned, snapshot) = (&[], &BTreeSet::new(), None);
            let _ = Mirrors::find(&Search {
                given,
                root,
                architecture: Architecture::Amd64,
                pinned,
                snapshot,
            });
        });
    });
}

pub(crate) fn archive(bytes: &[u8]) {
    opened(bytes, |file| {
        let task = Progress::new(progress::Mode::None).task("unpack", None);
        let Ok(archive) = Archive::open(file, "archive", &task) else { return };
        for path in archive.entries().keys().take(FEW) {
            let _ = archive.content(path);
        }
        let member = |entry: &Entry| match entry {
            Entry::File { member, .. } => Some(*member),
            _ => None,
        };
        let members = archive.entries().values().filter_map(member).collect();
        let _ = archive.read(&members, |_, content| {
            let _ = io::copy(&mut content.take(ENOUGH), &mut io::sink());
            Ok(())
        });
    });
}

/// Each of the three files in turn, beside proper others.
pub(crate) fn cargo(bytes: &[u8]) {
    let proper = seeds::cargo();
    let names = ["cargo/Cargo.toml", "cargo/Cargo.lock", "cargo/.cargo/config.toml"];
    for turn in names {
        for (name, proper) in names.iter().zip(&proper) {
            in_file(if *name == turn { bytes } else { proper }, name, |_, _| {});
        }
        in_file(b"", "cargo/src/main.rs", |root, _| {
            let Ok(workspace) = Workspace::read(&root.join("cargo")) else { return };
            let _ = (workspace.lockfile(), workspace.vendored(), workspace.package("a"));
            workspace.has_profile("node");
        });
    }
}

pub(crate) fn boot_entry(bytes: &[u8]) {
    let _ = formats::boot_entries::slot_of_variable(bytes);
    text(bytes, |text| {
        let _ = formats::boot_entries::slot(text);
    });
}

pub(crate) fn command_line(bytes: &[u8]) {
    text(bytes, |text| drop(formats::command_line::CommandLine::parse(text)));
}

/// A runtime that answers with these bytes, whatever it is asked.
struct Answer<'a>(&'a [u8]);

impl Read for Answer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Answer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Answer<'_> {
    fn limit(&mut self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn deb(bytes: &[u8]) {
    thread_local!(static STORE: OnceCell<(TempDir, Store)> = const { OnceCell::new() });
    STORE.with(|store| {
        let (_, store) = store.get_or_init(|| {
            let directory = tempfile::tempdir().expect("a directory");
            let store = Store::open(directory.path()).expect("a store");
            (directory, store)
        });
        // What is wanted is written; most of what is read goes another way.
        let wanted = |path: &formats::tree::TreePath| path.as_str().len() % 8 == 1;
        opened(bytes, |file| drop(unpack::unpack(file, "package.deb", store, &wanted)));
    });
}

pub(crate) fn deb_text(bytes: &[u8]) {
    if let Some(header) = bytes.first_chunk::<HEADER_LEN>() {
        let _ = parse_header(header);
    }
    text(bytes, |text| {
        for paragraph in paragraphs(text).flatten() {
            for field in paragraph.fields() {
                let _ = (field.words().count(), field.lines().count());
            }
        }
        let _ = Release::parse(text);
        let _ = text.parse::<Version>();
        let _ = text.parse::<Stamp>();
        let _ = text.parse::<Wish>();
        let _ = formats::deb::date::parse(text);
        let _ = parse_dependencies(text);
        if let Some(licence) = formats::deb::copyright::licence(text) {
            assert!(!licence.expression.is_empty());
            for name in licence.texts.keys() {
                assert!(licence.expression.contains(name.as_str()));
            }
        }
    });
}

pub(crate) fn contents(bytes: &[u8]) {
    if let Ok(contents) = Contents::parse(bytes) {
        let _ = contents.check();
        let root = Sha256::of(bytes);
        let _ = builder::sbom::spdx::document(&contents, &root);
        let _ = builder::sbom::cyclonedx::document(&contents, &root);
    }
}

pub(crate) fn elf(bytes: &[u8]) {
    let _ = Program::of(io::Cursor::new(bytes));
    let _ = ModInfo::of(bytes);
    ModInfo::parse(bytes);
    for name in ["m.ko.xz", "m.ko.gz", "m.ko.zst", "m.ko"] {
        let _ = decompress(name, bytes.to_vec());
    }
}

pub(crate) fn erofs(bytes: &[u8]) {
    let Ok(superblock) = Superblock::parse(bytes) else { return };
    // Whatever an entry names is in the image, or it is an error.
    let _ = erofs::read::walk(&superblock, |offset, buffer| {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = bytes.get(start..).and_then(|rest| rest.get(..buffer.len()));
        part.map(|part| buffer.copy_from_slice(part)).ok_or("cut off")
    });
}

pub(crate) fn fat(bytes: &[u8]) {
    let _ = Volume::parse_bytes(bytes);
    let _ = formats::fat::decode(bytes);
    // What is planned for a volume is planned for its bytes, of which all behind the end are zeros.
    let read = |offset: u64, buffer: &mut [u8]| {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let there = bytes.get(start..).unwrap_or_default();
        let length = there.len().min(buffer.len());
        buffer[..length].copy_from_slice(&there[..length]);
        buffer[length..].fill(0);
        Ok::<_, io::Error>(())
    };
    let allocation = || Allocation::read(read).ok();
    let Some(volume) = allocation().map(|it| it.volume().clone()) else { return };
    for path in volume.entries.iter().map(|entry| &entry.path).take(2) {
        if let Some(allocation) = allocation() {
            let _ = allocation.replace(path, &[7; 1500]);
        }
    }
    let _ = allocation().map(Allocation::mend);
}

pub(crate) fn go_build_info(bytes: &[u8]) {
    if let Ok(Ok(Some(info))) = builder::contents::elf::go(io::Cursor::new(bytes)) {
        let _ = info.to_string();
    }
    text(bytes, |text| {
        if let Ok(info) = formats::go_build_info::BuildInfo::parse(text) {
            let _ = info.to_string();
        }
    });
}

pub(crate) fn go_mod(bytes: &[u8]) {
    text(bytes, |text| drop(GoMod::parse(text)));
}

/// As they come, and with checksums that are right, which no fuzzer guesses.
pub(crate) fn gpt(bytes: &[u8]) {
    let sectors = bytes.len() as u64 / SECTOR;
    let _ = Table::parse(bytes, sectors);
    let _ = Table::parse_backup(bytes, sectors);
    text(bytes, |text| drop(text.parse::<Guid>()));
    let head = vouched(bytes);
    let Ok(mut table) = Table::parse(&head, seeds::SECTORS) else { return };
    table.grow_last(seeds::SECTORS + 4096, 2048);
    let head = table.encode().head;
    assert_eq!(Table::parse(&head, table.disk_sectors()), Ok(table));
}

/// The start of an empty disk, its header's fields and its entries replaced by `bytes`.
fn vouched(bytes: &[u8]) -> Vec<u8> {
    let empty = Table::new(Guid::from_uuid_bytes([1; 16]), seeds::SECTORS, Vec::new());
    let mut head = empty.expect("an empty table is right").encode().head;
    let (fields, entries) = bytes.split_at(bytes.len().min(16));
    // The usable sectors; the rest of the header has one right value each.
    head[512 + 40..][..fields.len()].copy_from_slice(fields);
    let length = entries.len().min(head.len() - 1024);
    head[1024..][..length].copy_from_slice(&entries[..length]);
    let sum = crc32(&head[1024..]).to_le_bytes();
    head[512 + 88..][..4].copy_from_slice(&sum);
    head[512 + 16..][..4].fill(0);
    let sum = crc32(&head[512..][..92]).to_le_bytes();
    head[512 + 16..][..4].copy_from_slice(&sum);
    head
}

pub(crate) fn http(bytes: &[u8]) {
    builder::outside::request(bytes);
}

pub(crate) fn image(bytes: &[u8]) {
    node::outside::image(bytes);
}

pub(crate) fn in_release(bytes: &[u8]) {
    thread_local!(static KEYS: OnceCell<Keys> = const { OnceCell::new() });
    KEYS.with(|keys| {
        let keys = keys.get_or_init(|| {
            let (pinned, keyring) = seeds::keyring();
            let mut keys = None;
            in_file(&keyring, "keyring.gpg", |root, path| {
                keys = Keys::load(&[pinned].into(), Some(path), root).ok();
            });
            keys.expect("a keyring of our own")
        });
        if let Ok(signed) = signature::verify(bytes, "the file", keys, seeds::NOW) {
            let _ = Release::parse(&signed.text);
        }
    });
    // The key is from outside as well.
    in_file(bytes, "keyring", |root, path| {
        let _ = Keys::load(&["00".repeat(20)].into(), Some(path), root);
    });
}

pub(crate) fn inspect(bytes: &[u8]) {
    in_file(bytes, "file.img", |_, path| {
        if let Ok(summary) = inspect::inspect(path) {
            let _ = summary.to_string();
        }
    });
}

/// The same bytes as every file of a build, beside some that are a little different.
pub(crate) fn repro(bytes: &[u8]) {
    struct One<'a>(&'a str, Vec<u8>);
    impl builder::repro::Files for One<'_> {
        fn names(&self) -> BTreeSet<String> {
            [self.0.to_owned()].into()
        }
        fn size(&self, _: &str) -> io::Result<u64> {
            Ok(self.1.len() as u64)
        }
        fn read(&self, _: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
            let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
            let piece = range.and_then(|(at, length)| self.1.get(at..at.checked_add(length)?));
            piece.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        }
        fn data(&self, name: &str) -> io::Result<Vec<std::ops::Range<u64>>> {
            Ok(std::iter::once(0..self.size(name)?).collect())
        }
    }
    let names =
        ["root.img", "initrd", "uki.efi", "disk.raw", "cmdline", "manifest.txt", "build.json"];
    let others = [0, bytes.len() / 3, bytes.len().saturating_sub(1)].map(|at| {
        let mut other = bytes.to_vec();
        other.get_mut(at).into_iter().for_each(|byte| *byte ^= 1);
        other
    });
    let half = bytes[..bytes.len() / 2].to_vec();
    for other in others.into_iter().chain([half]) {
        for name in names {
            let (one, two) = (One(name, bytes.to_vec()), One(name, other.clone()));
            let found = builder::repro::compare(&one, &two, &BTreeSet::new());
            let found = found.expect("what is in memory can be read");
            assert_eq!(found.differences.is_empty(), bytes == other, "{name}");
        }
    }
}

pub(crate) fn keys(bytes: &[u8]) {
    text(bytes, |text| {
        // No passphrase is tried: that is what takes time.
        let _ = KeyFile::parse(text);
        let _ = PublicKey::from_pem(text);
        let _ = Roles::parse(text);
    });
}

pub(crate) fn label(bytes: &[u8]) {
    if let Some(fat) = bytes.first_chunk().and_then(Fat::parse) {
        let _ = source::label::fat_boot(&fat);
    }
    if let Some(descriptor) = bytes.first_chunk() {
        let _ = source::label::iso9660(descriptor);
    }
    let _ = source::label::fat_root(bytes);
    let _ = source::oem::value(bytes, "orlop.config-url");
    let _ = source::text(bytes.to_vec());
}

pub(crate) fn devices(bytes: &[u8]) {
    node::outside::devices(bytes);
}

pub(crate) fn volumes(bytes: &[u8]) {
    let mut read = |at: u64, length: usize| {
        let at = usize::try_from(at).ok()?;
        bytes.get(at..at.checked_add(length)?).map(<[u8]>::to_vec)
    };
    let _ = formats::superblock::probe(&mut read, bytes.len() as u64);
}

pub(crate) fn lock(bytes: &[u8]) {
    text(bytes, |text| {
        for text in [text, &format!("schema = 1\n{text}")] {
            if let Ok(lock) = Lock::parse(text, Path::new("x.lock")) {
                let written = lock.to_toml();
                let again = Lock::parse(&written, Path::new("x.lock"));
                assert_eq!(again.expect("what we write can be read"), lock);
            }
        }
    });
}

pub(crate) fn logins(bytes: &[u8]) {
    text(bytes, builder::outside::logins);
}

pub(crate) fn manifest(bytes: &[u8]) {
    text(bytes, |text| {
        if let Ok(tree) = formats::manifest::parse(text) {
            assert_eq!(formats::manifest::parse(&formats::manifest::text(&tree)), Ok(tree));
        }
    });
}

pub(crate) fn mark(bytes: &[u8]) {
    text(bytes, builder::outside::mark);
}

pub(crate) fn node_config(bytes: &[u8]) {
    text(bytes, |text| {
        for text in [text, &format!("schema = 1\n{text}")] {
            match node_config::parse(text) {
                Ok(config) => {
                    let pods = node_config::static_pod_problems(text, &config);
                    let update = node_config::update_problems(text, &config);
                    for problem in pods.into_iter().chain(update) {
                        problem.excerpt(Path::new("node.toml"), text);
                    }
                    assert_eq!(node_config::parse(&config.to_toml(Secrets::Shown)), Ok(config));
                }
                Err(problems) => {
                    assert!(!problems.is_empty());
                    for problem in problems {
                        problem.excerpt(Path::new("node.toml"), text);
                    }
                }
            }
        }
    });
}

/// The index in the packing that it begins as, and with a release file that vouches for it.
/// Whatever has one serialisation is written again as it was read.
pub(crate) fn ostree(bytes: &[u8]) {
    let _ = (Commit::parse(bytes), Summary::parse(bytes), Attributes::parse(bytes));
    if let Ok(directory) = ostree::Directory::parse(bytes) {
        assert_eq!(directory.encode(), bytes);
    }
    if let Ok(meta) = Attributes::parse_directory(bytes) {
        assert_eq!(meta.encode(), bytes);
    }
    if let Ok(header) = ArchiveHeader::parse(bytes) {
        assert_eq!(header.encode(), bytes);
    }
    text(bytes, |text| {
        let (one, other) = text.split_once('\n').unwrap_or((text, ""));
        if let Some(of) = ostree::Type::parse(one)
            && let Ok(value) = ostree::Value::decode(&of, other.as_bytes())
        {
            assert_eq!(value.of_type(), of);
        }
        let _ = (ostree::Config::parse(text), ostree::parse_target(text));
        let _ = (one.parse::<ostree::Reference>(), ostree::Name::parse(one, other, Mode::Archive));
    });
}

pub(crate) fn packages(bytes: &[u8]) {
    let ending = match bytes {
        [0xfd, b'7', ..] => ".xz",
        [0x1f, 0x8b, ..] => ".gz",
        _ => "",
    };
    let Ok(mut release) = Release::parse(seeds::RELEASE) else { return };
    let blob = Blob { sha256: Sha256::of(bytes), size: bytes.len() as u64 };
    release.files = [(format!("main/binary-amd64/Packages{ending}"), blob)].into();
    if let Ok(file) = index::choose(&release, "trixie", "main", Architecture::Amd64) {
        let _ = file.read(bytes, "http://mirror.example/Packages", "trixie");
    }
}

pub(crate) fn recipe(bytes: &[u8]) {
    in_file(bytes, "recipe.toml", |_, path| {
        for profile in [None, Some("debug")] {
            if let Ok(loaded) = builder::recipe::load(path, profile) {
                let _ = loaded.check();
                let _ = (loaded.show(), loaded.digest(), loaded.value_origins());
            }
        }
    });
}

/// Whatever is read is written and read again.
pub(crate) fn release(bytes: &[u8]) {
    if let Ok(release) = formats::release::Release::parse(bytes) {
        let file = release.to_file().expect("what was read makes sense");
        assert_eq!(formats::release::Release::parse(&file).ok(), Some(release));
    }
}

pub(crate) fn report(bytes: &[u8]) {
    let _ = Report::parse(bytes);
}

pub(crate) fn root(bytes: &[u8]) {
    init::outside::root(bytes);
}

pub(crate) fn script(bytes: &[u8]) {
    text(bytes, builder::outside::script);
}

pub(crate) fn state(bytes: &[u8]) {
    init::outside::state(bytes);
}

pub(crate) fn system(bytes: &[u8]) {
    text(bytes, |text| {
        let _ = formats::system::System::parse(text);
    });
}

pub(crate) fn tar(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    while let Ok(Some(_)) = reader.next_member() {
        let _ = io::copy(&mut (&mut reader).take(ENOUGH), &mut io::sink());
    }
}

pub(crate) fn uki(bytes: &[u8]) {
    let _ = BootLoader::parse(bytes, Architecture::Amd64);
    let Ok(uki) = Uki::parse(bytes) else { return };
    for section in uki.sections() {
        let _ = uki.text(&section.name);
    }
}

pub(crate) fn unit(bytes: &[u8]) {
    text(bytes, |text| drop(Unit::parse(&PathBuf::from("unit.toml"), text)));
}

pub(crate) fn leftovers(bytes: &[u8]) {
    node::outside::leftovers(bytes);
}

pub(crate) fn port_map(bytes: &[u8]) {
    node::outside::port_map(bytes);
}
