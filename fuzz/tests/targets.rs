//! Every target takes its seeds and changes of them, and every parser has a target.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use builder::progress::{Mode, Progress};
use fuzz::TARGETS;
use fuzz::mutate::Numbers;

/// Changes of the seeds that each target is given here: a second or two for all.
const CHANGES: u64 = 300;

/// Source files with a parser that no target goes through, each with the reason.
const WITHOUT: &[(&str, &str)] = &[
    ("builder/src/cluster/options.rs", "the command line"),
    ("builder/src/manifests/gvisor.rs", "the command line"),
    ("builder/src/manifests/updater.rs", "the command line"),
    ("builder/src/run/options.rs", "the command line"),
    ("builder/src/run/qemu.rs", "QEMU's version, printed by a program of this host"),
    ("builder/src/run/qmp.rs", "QEMU's control channel, a program of this host"),
    ("builder/src/store/derived.rs", "a file of our own store, which carries its digest"),
    ("builder/src/store/roots.rs", "a file of our own store"),
    ("formats/src/digest.rs", "64 digits; part of other formats"),
    ("init/src/applets/modprobe.rs", "arguments that the kernel and pods of the host give"),
    ("init/src/applets/mount.rs", "arguments that containerd and kubelet give"),
    ("init/src/applets/umount.rs", "arguments that containerd and kubelet give"),
    ("init/src/pid1/marks.rs", "a file of PID 1's own, from the initrd to the root"),
    ("init/src/pid1/memory.rs", "`/proc/meminfo`"),
    ("init/src/pid1/floor.rs", "a file of the verified root"),
    ("node/src/applets/fsck.rs", "arguments that kubelet gives"),
    ("node/src/applets/losetup.rs", "arguments that kubelet gives"),
    ("node/src/assemble/cluster.rs", "addresses of a node config that was read"),
    ("node/src/assemble/serving.rs", "a certificate that kubelet has made"),
    ("node/src/images/shipped.rs", "a file of our own on STATE, split at blanks"),
    ("updater/src/node/verdict.rs", "a file of the updater's own in memory, of one line"),
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn no_target_panics_at_its_seeds_or_at_changes_of_them() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty() && seeds.iter().all(|seed| !seed.is_empty()), "{}", target.name);
        for seed in &seeds {
            (target.run)(seed);
        }
        (target.run)(&[]);
        for number in 0..CHANGES {
            (target.run)(&Numbers::new(number).change(&seeds));
        }
    }
}

/// A seed that is refused at its first byte leads nowhere.
#[test]
fn the_seeds_are_what_the_parsers_take() {
    let directory = tempfile::tempdir().unwrap();
    let file = |bytes: &[u8]| {
        let path = directory.path().join("seed.toml");
        fs::write(&path, bytes).unwrap();
        path
    };
    let seeds = |name: &str| (fuzz::find(name).unwrap().seeds)();
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
    let store = builder::store::Store::open(directory.path().join("store")).unwrap();
    for seed in seeds("deb") {
        let deb = fs::File::open(file(&seed)).unwrap();
        let contents = builder::source::deb::unpack::unpack(&deb, "x.deb", &store, &|_| true);
        assert_eq!(contents.unwrap().entries.len(), 4);
    }
    let task = Progress::new(Mode::None).task("unpack", None);
    for seed in seeds("archive") {
        let archive = fs::File::open(file(&seed)).unwrap();
        let archive = builder::archive::Archive::open(&archive, "x", &task).unwrap();
        assert!(!archive.entries().is_empty());
    }
    let root = directory.path();
    builder::recipe::load(&file(&seeds("recipe")[0]), Some("debug")).unwrap();
    builder::lock::Lock::parse(&text(&seeds("lock")[0]), root).unwrap();
    builder::go_mod::GoMod::parse(&text(&seeds("go-mod")[0])).unwrap();
    builder::compose::modules::ModInfo::of(&seeds("elf")[0]).unwrap();
    init::unit::Unit::parse(Path::new("a.toml"), &text(&seeds("unit")[0])).unwrap();
    formats::manifest::parse(&text(&seeds("manifest")[0])).unwrap();
    let seeds_of_tuf = seeds("tuf");
    let files = seeds_of_tuf.iter().filter(|seed| formats::tuf::Signed::parse(seed).is_ok());
    assert_eq!(files.count(), 9);
    formats::uki::Uki::parse(&seeds("uki")[0]).unwrap();
    let program = std::io::Cursor::new(seeds("go-build-info")[0].clone());
    let info = builder::contents::elf::go(program).unwrap().unwrap().unwrap();
    assert_eq!(info.modules[0].effective().path, "e.example/f");
    builder::contents::Contents::parse(&seeds("contents")[0]).unwrap().check().unwrap();
    formats::erofs::Superblock::parse(&seeds("erofs")[0]).unwrap();
    formats::fat::Volume::parse_bytes(&seeds("fat")[0]).unwrap();
    formats::boot_entries::Directory::parse(&seeds("boot-entries")[0]).unwrap();
    for record in &seeds("meta") {
        assert_eq!(formats::meta::choose([record, record]).unwrap().sequence, 4);
    }
    let seeds_of_ostree = seeds("ostree");
    formats::ostree::Attributes::parse_directory(&seeds_of_ostree[0]).unwrap();
    formats::ostree::Directory::parse(&seeds_of_ostree[1]).unwrap();
    formats::ostree::Commit::parse(&seeds_of_ostree[2]).unwrap();
    formats::ostree::Summary::parse(&seeds_of_ostree[3]).unwrap();
    formats::ostree::ArchiveHeader::parse(&seeds_of_ostree[4]).unwrap();
    let (delta, root_zst) = (&seeds("delta")[0], &seeds("root-zst")[0]);
    let formats::delta::Header { old, new } = formats::delta::Header::parse(delta).unwrap();
    assert!(old.has_a_size() && new.has_a_size());
    let end = &root_zst[root_zst.len() - formats::seekable::FOOTER..];
    let table = &root_zst[root_zst.len() - formats::seekable::SeekTable::length(end).unwrap()..];
    let size = root_zst.len() as u64;
    formats::seekable::SeekTable::parse(table, size, new.size).unwrap();
    formats::release::Release::parse(&seeds("release")[0]).unwrap();
    let seeds_of_registries = seeds("registry");
    formats::oci::Artifact::parse(&seeds_of_registries[0]).unwrap();
    formats::oci::Listing::parse(&seeds_of_registries[1]).unwrap();
    formats::oci::Configuration::parse(&seeds_of_registries[2]).unwrap();
    formats::oci::Location::new(&text(&seeds_of_registries[3])).unwrap();
    formats::system::System::parse(&text(&seeds("system")[0])).unwrap();
    let seeds_of_trials = seeds("trial");
    formats::trial::Note::parse(&text(&seeds_of_trials[0])).unwrap();
    formats::trial::Outcome::parse(&text(&seeds_of_trials[1])).unwrap();
    for check in &seeds_of_trials[2..6] {
        formats::health::Check::parse(Path::new("a.toml"), &text(check)).unwrap();
    }
    updater::snapshot::list::List::parse(&text(&seeds_of_trials[6])).unwrap();
    formats::loader::parse(&seeds_of_trials[7]).unwrap();
    for seed in seeds("updater") {
        updater::protocol::Request::parse(&text(&seed)).unwrap();
    }
    formats::fleet::Status::parse(&text(&seeds("node-object")[0])).unwrap();
    builder::keys::roles::Roles::parse(&text(&seeds("keys")[0])).unwrap();
    for seed in &seeds("keys")[1..3] {
        builder::keys::file::KeyFile::parse(&text(seed)).unwrap();
    }
    for seed in seeds("node-config") {
        formats::node_config::parse(&text(&seed)).unwrap();
    }
}

#[test]
fn the_page_of_tests_has_the_table_of_targets() {
    let page = fs::read_to_string(repository().join("docs/testing.md")).unwrap();
    let rows: String = TARGETS
        .iter()
        .map(|target| format!("| `{}` | {} |\n", target.name, target.reads))
        .collect();
    assert!(page.contains(&rows), "docs/testing.md must hold:\n{rows}");
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Parsers are called so, or read text into a type; others are in the table all the same.
fn has_a_parser(text: &str) -> bool {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    ["fn parse(", "fn parse<", "fn parse_packet(", "FromStr for "]
        .iter()
        .any(|mark| code.contains(mark))
}

#[test]
fn every_parser_has_a_target_or_a_reason_why_not() {
    let mut files = Vec::new();
    for folder in
        ["builder/src", "cri/src", "formats/src", "init/src", "node/src", "updater/src", "web/src"]
    {
        sources(&repository().join(folder), &mut files);
    }
    let parsers: BTreeSet<String> = files
        .iter()
        .filter(|file| !file.to_string_lossy().contains("tests"))
        .filter(|file| has_a_parser(&fs::read_to_string(file).unwrap()))
        .map(|file| file.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned())
        .collect();
    let covered: BTreeSet<&str> =
        TARGETS.iter().flat_map(|target| target.parsers).copied().collect();
    let excused: BTreeSet<&str> = WITHOUT.iter().map(|(file, _)| *file).collect();
    let known = |file: &str| covered.contains(file) || excused.contains(file);
    let forgotten: Vec<_> = parsers.iter().filter(|file| !known(file)).collect();
    assert!(forgotten.is_empty(), "no target goes through {forgotten:#?}");
    let gone: Vec<_> =
        covered.iter().chain(&excused).filter(|file| !repository().join(file).is_file()).collect();
    assert!(gone.is_empty(), "the tables name {gone:#?}");
    assert!(covered.is_disjoint(&excused));
}

#[test]
fn the_changes_of_a_seed_follow_from_their_number_and_differ() {
    let seeds = vec![b"some text with 123".to_vec(), vec![0; 64]];
    let change = |number| Numbers::new(number).change(&seeds);
    let all: BTreeSet<_> = (0..200).map(change).collect();
    assert!(all.len() > 150, "{}", all.len());
    assert_eq!(change(7), change(7));
}
