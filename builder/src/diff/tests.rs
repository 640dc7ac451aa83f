//! Sides that are made by hand, and what is said of each pair.

use std::collections::BTreeSet;

use formats::architecture::Architecture;
use formats::digest::Sha256;

use super::fetch::{Blocks, By, by_blocks};
use super::locks::Locked;
use super::side::{File, Kind, LibraryKind, Linked, Node};
use super::*;
use crate::documented::Table;

pub(super) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn file(place: &str, path: &str, mode: u16, content: &str) -> File {
    let component = Some(format!("deb/{}", path.rsplit('/').next().unwrap()));
    let node = Node::File { size: content.len() as u64 * 1000, sha256: Sha256::of(content) };
    let (uid, gid, xattrs) = (0, 0, BTreeMap::new());
    File { place: place.to_owned(), path: path.to_owned(), component, mode, uid, gid, xattrs, node }
}

fn link(path: &str, target: &str) -> File {
    File { node: Node::Symlink(target.to_owned()), ..file("root", path, 0o777, "") }
}

fn linked(libraries: &[(LibraryKind, &str, &str)]) -> Linked {
    let one = |(kind, name, version): &(LibraryKind, &str, &str)| {
        ((*kind, (*name).to_owned()), BTreeSet::from([(*version).to_owned()]))
    };
    libraries.iter().map(one).collect()
}

fn boot(initrd: &str, root: &str) -> BTreeMap<String, boot::Part> {
    let sections = [(".linux", "kernel"), (".initrd", initrd), (".cmdline", root), (".pad", root)];
    boot::parts(sections.map(|(name, text)| (name, text.as_bytes())))
}

fn texts(kernel: &str, config: &str, aliases: &str, unit: &str) -> BTreeMap<String, Vec<u8>> {
    let texts = [
        (format!("/usr/lib/modules/{kernel}/config"), config),
        (format!("/usr/lib/modules/{kernel}/modules.alias"), aliases),
        ("/usr/lib/orlop/units/web.toml".to_owned(), unit),
        ("/usr/lib/os-release".to_owned(), "ORLOP_IMAGE=other\nORLOP_VERSION=\"9\"\n"),
    ];
    texts.into_iter().map(|(path, text)| (path, text.as_bytes().to_vec())).collect()
}

/// A build that tells everything.
pub(super) fn before() -> Side {
    use LibraryKind::{Deb, Go, Rust};
    let mut side = Side::new("a", Kind::Build);
    side.image = Some("tiny".to_owned());
    side.version = Some("1".to_owned());
    side.architecture = Some(Architecture::Amd64);
    side.root_hash = Some(Sha256::of("a"));
    side.packages = Some(map(&[("libc6", "2.41-12"), ("gone", "1"), ("back", "2")]));
    let agent = linked(&[(Go, "x.example/net", "v1.0.0"), (Go, "x.example/same", "v1.0.0")]);
    let init = linked(&[(Rust, "rustix", "1.0.0"), (Deb, "libc6-dev", "2.41-12")]);
    side.programs = Some(
        [("/usr/bin/agent", agent.clone()), ("/usr/bin/other", agent), ("/init", init)]
            .map(|(path, linked)| (path.to_owned(), linked))
            .into(),
    );
    side.tells_crates = true;
    side.release = Some("6.1".to_owned());
    side.command_line = Some("ro orlop.roothash=aa quiet".to_owned());
    side.boot = Some(boot("initrd", "aa"));
    side.sizes = [("root", 1000), ("uki", 10)].into();
    side.files = Some(vec![
        file("root", "/etc/motd", 0o644, "hello"),
        file("root", "/usr/bin/agent", 0o755, "agent"),
        file("root", "/usr/bin/gone", 0o755, "gone"),
        file("root", "/usr/lib/modules/6.1/kernel/fs/ext4.ko", 0o644, "ext4"),
        file("root", "/usr/lib/modules/6.1/kernel/fs/old-fs.ko.xz", 0o644, "old"),
        link("/bin", "usr/bin"),
        file("initrd", "/lib/modules/erofs.ko", 0o644, "erofs"),
        file("boot", "/vmlinuz", 0o644, "kernel"),
    ]);
    let unit = "exec = [\"/usr/bin/web\", \"--listen=0.0.0.0:80\"]\nready = \"exit\"\n";
    let aliases = "alias fs-ext4 ext4\nalias fs-old old-fs\n";
    side.read(&texts("6.1", "CONFIG_A=y\nCONFIG_B=m\nCONFIG_OLD=y\n", aliases, unit));
    side.lock = Some(Locked {
        inputs: ["package a", "package b"].map(str::to_owned).into(),
        tools: BTreeSet::new(),
        compilers: map(&[("gcc", "12")]),
        rustc: ["rustc 1.90".to_owned()].into(),
        suites: map(&[("trixie", "Mon")]),
        urls: map(&[("tool", "aa")]),
    });
    side
}

/// The same, with a change of every kind.
pub(super) fn after() -> Side {
    use LibraryKind::{Deb, Go, Rust};
    let mut side = before();
    side.named = "b".to_owned();
    side.version = Some("2".to_owned());
    side.root_hash = Some(Sha256::of("b"));
    side.packages = Some(map(&[("libc6", "2.41-13"), ("new", "1"), ("back", "1")]));
    let agent = linked(&[(Go, "x.example/net", "v1.1.0"), (Go, "x.example/same", "v1.0.0")]);
    let init = linked(&[(Rust, "rustix", "1.1.0"), (Deb, "libc6-dev", "2.41-13")]);
    side.programs = Some(
        [("/usr/bin/agent", agent.clone()), ("/usr/bin/other", agent), ("/init", init)]
            .map(|(path, linked)| (path.to_owned(), linked))
            .into(),
    );
    side.release = Some("6.2".to_owned());
    side.command_line = Some("ro orlop.roothash=bb loud".to_owned());
    side.boot = Some(boot("another initrd", "bb"));
    side.sizes = [("root", 1100), ("uki", 10)].into();
    let capability = ("security.capability".to_owned(), vec![1, 2]);
    side.files = Some(vec![
        File {
            uid: 7,
            xattrs: [capability].into(),
            ..file("root", "/etc/motd", 0o600, "hello, you")
        },
        file("root", "/usr/bin/agent", 0o4755, "agent"),
        file("root", "/usr/bin/new", 0o755, "new"),
        file("root", "/usr/lib/modules/6.2/kernel/fs/ext4.ko", 0o644, "ext4"),
        file("root", "/usr/lib/modules/6.2/kernel/fs/new-fs.ko.xz", 0o644, "newfs"),
        link("/bin", "usr/sbin"),
        file("initrd", "/lib/modules/erofs.ko", 0o644, "erofs 2"),
        file("boot", "/vmlinuz", 0o644, "kernel"),
    ]);
    let unit = "# Another port.\nexec = [\"/usr/bin/web\", \"--listen\", \":81\"]\nready = { http-200 = \
                \"http://127.0.0.1:82/healthz\" }\n";
    let aliases = "alias fs-ext4 ext4\nalias fs-new new-fs\n";
    side.read(&texts("6.2", "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_NEW=7\n", aliases, unit));
    side.lock = Some(Locked {
        inputs: ["package a", "package c"].map(str::to_owned).into(),
        tools: BTreeSet::new(),
        compilers: map(&[("gcc", "13")]),
        rustc: ["rustc 1.91".to_owned()].into(),
        suites: map(&[("trixie", "Tue")]),
        urls: map(&[("tool", "bb")]),
    });
    side
}

fn blocks(numbers: &[u64], uki: (u64, u64)) -> Blocks {
    Blocks { numbers: numbers.to_vec(), tree: 4096, uki: Some(uki) }
}

pub(super) fn difference() -> Difference {
    let fetch = by_blocks(&blocks(&[1, 2, 3], (100, 1)), &blocks(&[1, 4, 4, 5], (100, 2)));
    compare(&before(), &after(), Some(fetch)).unwrap()
}

fn pairs<'a>(changes: impl IntoIterator<Item = &'a VersionChange>) -> Vec<String> {
    let shown = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
    let one = |change: &VersionChange| {
        let older = if change.older { " (older)" } else { "" };
        format!("{} {} {}{older}", change.name, shown(&change.before), shown(&change.after))
    };
    changes.into_iter().map(one).collect()
}

#[test]
fn a_side_with_itself_has_no_difference_whatever_it_tells() {
    let mut lock = Side::new("y", Kind::Lock);
    (lock.packages, lock.lock) = (before().packages, before().lock);
    for side in [before(), after(), lock] {
        let difference = compare(&side, &side, None).unwrap();
        assert!(!difference.different, "{difference:?}");
    }
}

#[test]
fn sides_that_tell_nothing_in_common_are_refused() {
    let mut lock = Side::new("a.lock", Kind::Lock);
    (lock.packages, lock.lock) = (before().packages, before().lock);
    let mut disk = Side::new("b.raw", Kind::Disk);
    (disk.files, disk.units, disk.release) = (before().files, before().units, before().release);
    // What both are for and are called is not what is compared.
    (lock.architecture, disk.architecture) = (before().architecture, before().architecture);
    (lock.image, disk.image) = (before().image, before().image);
    for (one, other, want) in [
        (&lock, &disk, "`a.lock`, a lock, and `b.raw`, a disk image,"),
        (&disk, &lock, "`b.raw`, a disk image, and `a.lock`, a lock,"),
    ] {
        let error = compare(one, other, None).unwrap_err();
        assert_eq!(error.id(), Id::NothingCompared);
        let want = format!("{want} tell nothing in common that could be compared");
        assert_eq!(error.to_string(), want);
    }
    assert!(compare(&lock, &before(), None).is_ok() && compare(&before(), &disk, None).is_ok());
    let mut sizes = Side::new("c", Kind::Commit);
    sizes.sizes = before().sizes;
    assert!(compare(&sizes, &before(), None).is_ok());
}

#[test]
fn a_tool_that_leaves_nothing_in_a_build_is_no_difference_from_its_lock() {
    let mut build = before();
    build.lock = None;
    build.packages = Some(map(&[("libc6", "1"), ("stub", "1")]));
    let mut lock = Side::new("y", Kind::Lock);
    lock.packages = Some(map(&[("libc6", "1"), ("parser", "1"), ("stub", "2")]));
    lock.lock = before()
        .lock
        .map(|lock| Locked { tools: ["parser", "stub"].map(str::to_owned).into(), ..lock });
    let changes = |one: &Side, other: &Side| pairs(&packages::between(one, other).unwrap());
    assert_eq!(changes(&build, &lock), ["stub 1 2"]);
    assert_eq!(changes(&lock, &build), ["stub 2 1 (older)"]);
    let mut other = lock.clone();
    other.packages = build.packages.clone();
    assert_eq!(changes(&other, &lock), ["parser - 1", "stub 1 2"], "two locks tell all tools");
}

#[test]
fn an_image_says_itself_what_it_is() {
    let mut side = Side::new("disk.raw", Kind::Disk);
    side.read(&texts("6.1", "", "", ""));
    assert_eq!((side.image.as_deref(), side.version.as_deref()), (Some("other"), Some("9")));
}

#[test]
fn versions_that_differ_are_told_and_whether_anything_else_does() {
    let said = |after: &Side| {
        let difference = compare(&before(), after, None).unwrap();
        let document = render::document::Document::new(&difference);
        assert!(difference.different);
        document.summary.into_iter().find(|(what, _)| *what == "version").unwrap().1
    };
    let mut other = before();
    (other.version, other.root_hash) = (Some("2".to_owned()), Some(Sha256::of("b")));
    assert_eq!(said(&other), "1 -> 2, and nothing else");
    other.files.as_mut().unwrap().push(file("root", "/usr/lib/os-release", 0o644, "2"));
    assert_eq!(said(&other), "1 -> 2", "it was not there before");
    assert_eq!(said(&after()), "1 -> 2");
}

#[test]
fn packages_modules_and_crates_are_told_old_and_new() {
    let difference = difference();
    let packages = difference.packages.as_deref().unwrap();
    assert_eq!(
        pairs(packages),
        ["back 2 1 (older)", "gone 1 -", "libc6 2.41-12 2.41-13", "new - 1"]
    );
    let libraries: Vec<_> = difference
        .libraries
        .unwrap()
        .into_iter()
        .map(|one| (one.name, one.before.unwrap(), one.after.unwrap(), one.programs.join(" ")))
        .collect();
    let want = [
        ("x.example/net", "v1.0.0", "v1.1.0", "/usr/bin/agent /usr/bin/other"),
        ("rustix", "1.0.0", "1.1.0", "/init"),
        ("libc6-dev", "2.41-12", "2.41-13", "/init"),
    ];
    let want = want.map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned()));
    assert_eq!(libraries, want);
    // Who does not know crates compares modules alone.
    let mut other = after();
    other.tells_crates = false;
    let libraries = packages::libraries(&before(), &other).unwrap();
    assert_eq!(libraries.len(), 1);
}

#[test]
fn files_are_told_with_what_of_them_differs() {
    let files = difference().files.unwrap();
    let told: Vec<_> = files
        .iter()
        .map(|file| {
            format!("{}:{} {} {}", file.place, file.path, file.change.word(), file.what.join(","))
        })
        .collect();
    assert_eq!(
        told,
        [
            "initrd:/lib/modules/erofs.ko changed content",
            "root:/bin changed target",
            "root:/etc/motd changed content,mode,owner,xattrs",
            "root:/usr/bin/agent changed mode",
            "root:/usr/bin/gone removed ",
            "root:/usr/bin/new added ",
            "root:/usr/lib/modules/6.2/kernel/fs/new-fs.ko.xz added ",
            "root:/usr/lib/modules/6.1/kernel/fs/old-fs.ko.xz removed ",
        ]
    );
    // What only moved with the kernel's release is the same file; one that changed, too, is told so.
    let mut moved = after();
    for file in moved.files.iter_mut().flatten().filter(|file| file.path.contains("ext4")) {
        file.mode = 0o600;
    }
    let files = files::changes(&before(), &moved).unwrap();
    let ext4 = files.iter().find(|file| file.path.contains("ext4")).unwrap();
    assert_eq!(ext4.moved_from.as_deref(), Some("/usr/lib/modules/6.1/kernel/fs/ext4.ko"));
    assert_eq!((ext4.change, ext4.what.as_slice()), (Change::Changed, &["mode"][..]));
}

#[test]
fn a_place_that_one_side_does_not_tell_of_is_no_difference() {
    let mut other = before();
    other.files.as_mut().unwrap().retain(|file| file.place == "root");
    assert_eq!(files::changes(&before(), &other).unwrap(), []);
    assert_eq!(kernel::changes(&before(), &other).modules.unwrap(), []);
}

#[test]
fn of_the_kernel_release_options_modules_and_command_line_are_told() {
    let kernel = difference().kernel;
    assert_eq!(kernel.release.unwrap().after.as_deref(), Some("6.2"));
    let words = kernel.command_line.unwrap();
    assert_eq!((words.added, words.removed), (vec!["loud".to_owned()], vec!["quiet".to_owned()]));
    let option = |one: OptionOf<'_>| format!("{} {:?} {:?}", one.name, one.before, one.after);
    let options: Vec<_> = kernel.config.as_ref().unwrap().iter().map(option).collect();
    assert_eq!(
        options,
        [
            "CONFIG_B Some(\"m\") Some(\"n\")",
            "CONFIG_NEW None Some(\"7\")",
            "CONFIG_OLD Some(\"y\") None"
        ]
    );
    let module =
        |one: &kernel::ModuleChange| format!("{} {} {}", one.place, one.name, one.change.word());
    let modules: Vec<_> = kernel.modules.as_ref().unwrap().iter().map(module).collect();
    assert_eq!(modules, ["initrd erofs changed", "root new_fs added", "root old_fs removed"]);
}

#[test]
fn of_the_uki_the_parts_are_told_that_are_not_told_word_by_word() {
    let boot = difference().boot.unwrap();
    let [initrd] = boot.as_slice() else { panic!("{boot:?}") };
    assert_eq!((initrd.name.as_str(), initrd.change), (".initrd", Change::Changed));
    assert_eq!((initrd.before, initrd.after), (Some(6), Some(14)));
    let mut disk = before();
    disk.boot = after().boot;
    assert!(compare(&before(), &disk, None).unwrap().different, "it is all that differs");
}

type OptionOf<'a> = &'a kernel::OptionChange;

#[test]
fn a_unit_is_told_by_the_keys_that_differ_and_a_comment_is_no_difference() {
    let units = difference().units.unwrap();
    let [unit] = units.as_slice() else { panic!("{units:?}") };
    assert_eq!((unit.name.as_str(), unit.change), ("web", Change::Changed));
    let keys: Vec<_> = unit.keys.iter().map(|key| key.key.as_str()).collect();
    assert_eq!(keys, ["exec", "ready", "ready.http-200"]);
    assert_eq!(units::keys("# a\na = 1\n"), units::keys("a = 1"));
    assert_eq!(units::keys("a = "), map(&[("(not TOML)", "a = ")]));
}

#[test]
fn each_way_into_a_node_is_counted_and_named() {
    let surface = difference().surface.unwrap();
    let told: Vec<_> = surface
        .iter()
        .map(|one| {
            let (added, removed) = (one.added.join(" "), one.removed.join(" "));
            format!("{} {} {} +{added} -{removed}", one.what, one.before, one.after)
        })
        .collect();
    assert_eq!(
        told,
        [
            "executables 2 2 +/usr/bin/new -/usr/bin/gone",
            "set-id files 0 1 +/usr/bin/agent -",
            "file capabilities 0 1 +/etc/motd -",
            "listening ports 1 2 +web: 127.0.0.1:82 web: :81 -web: 0.0.0.0:80",
            "modules on demand 2 2 +new_fs -old_fs",
        ]
    );
}

#[test]
fn ports_are_read_off_addresses_and_arguments_and_nothing_else() {
    let ports = |text: &str| -> Vec<String> {
        let units = [("u".to_owned(), units::keys(text))].into();
        surface::ports(&units).into_iter().collect()
    };
    for (unit, want) in [
        ("ready = { http-200 = \"http://127.0.0.1:10248/healthz\" }", &["u: 127.0.0.1:10248"][..]),
        ("ready = { cri-version = \"/run/a.sock\" }", &[]),
        (
            "exec = [\"a\", \"--port=80\", \"--bind-address\", \"[::]:443\"]",
            &["u: 80", "u: [::]:443"],
        ),
        ("exec = [\"a\", \"--timeout=80\", \"--config\", \"/etc/a:1\"]", &[]),
        ("exec = [\"a\", \"--listen\"]\nlimits = { nofile = 1024 }", &[]),
    ] {
        assert_eq!(ports(unit), want, "{unit}");
    }
}

#[test]
fn the_estimate_counts_each_block_once_and_the_uki_if_it_differs() {
    let fetch = difference().fetch.unwrap();
    assert_eq!((fetch.root, fetch.tree, fetch.uki), (2 * 4096, Some(4096), Some(100)));
    assert_eq!((fetch.bytes, fetch.of), (3 * 4096 + 100, 5 * 4096 + 100));
    let same = by_blocks(&blocks(&[1, 2], (100, 1)), &blocks(&[2, 1, 1], (100, 1)));
    assert_eq!((same.by, same.bytes), (By::Blocks, 0));
    let without = Blocks { uki: None, ..blocks(&[1], (0, 0)) };
    assert_eq!(by_blocks(&without, &blocks(&[1], (100, 1))).uki, None);
}

#[test]
fn what_a_side_does_not_tell_is_said_and_not_made_up() {
    let mut image = Side::new("disk.raw", Kind::Disk);
    image.files = before().files.map(|mut files| {
        files.retain(|file| file.place == "root");
        files.iter_mut().for_each(|file| file.component = None);
        files
    });
    image.programs = Some(BTreeMap::new());
    image.units = before().units;
    let mut build = before();
    build.files.as_mut().unwrap().push(file("oci/pause", "/pause", 0o755, "pause"));
    let difference = compare(&build, &image, None).unwrap();
    assert_eq!(difference.packages, None);
    assert_eq!(difference.components, None);
    assert_eq!((difference.kernel.release, difference.kernel.config), (None, None));
    let [untold] = difference.untold.as_slice() else { panic!("{:?}", difference.untold) };
    assert_eq!((untold.side, untold.kind), ("after", Kind::Disk));
    assert_eq!(
        untold.what,
        [
            "packages",
            "crates in programs",
            "kernel",
            "command line",
            "kernel options",
            "components",
            "initrd",
            "boot files",
            "what is in container images",
            "bytes to fetch"
        ]
    );
}

#[test]
fn what_is_in_container_images_is_not_told_unless_there_are_none() {
    let untold = |before: &Side, after: &Side| {
        let difference = compare(before, after, None).unwrap();
        let what = difference.untold.iter().map(|one| (one.side, one.what.contains(&IMAGES)));
        what.collect::<Vec<_>>()
    };
    const IMAGES: &str = "what is in container images";
    let mut build = before();
    let mut commit = build.clone();
    for file in commit.files.iter_mut().flatten() {
        file.component = None;
    }
    assert_eq!(untold(&build, &build), []);
    assert_eq!(untold(&build, &commit), [("after", false)]);
    assert_eq!(untold(&commit, &commit), [("before", true), ("after", true)]);
    build.files.as_mut().unwrap().push(file("oci/pause", "/pause", 0o755, "pause"));
    assert_eq!(untold(&commit, &build), [("before", true)]);
}

#[test]
fn images_for_two_architectures_are_not_compared() {
    let mut other = after();
    other.architecture = Some(Architecture::Arm64);
    let error = compare(&before(), &other, None).unwrap_err();
    assert_eq!(error.id(), Id::OtherArchitecture);
    assert_eq!(
        error.to_string(),
        "`a` is for amd64 and `b` is for arm64: no node goes from one to the other"
    );
}

#[test]
fn the_object_has_the_fields_that_are_documented() {
    #[derive(Serialize)]
    struct Versioned {
        schema: u32,
        #[serde(flatten)]
        difference: Difference,
    }
    let mut table = Table::of("`orlop diff`");
    // What came has no state before it, what went has none after, and attributes may go as well.
    let back = compare(&after(), &before(), None).unwrap();
    let mut half = Side::new("x", Kind::Root);
    half.sizes = before().sizes;
    let half = compare(&before(), &half, None).unwrap();
    for difference in [difference(), back, half] {
        let value = serde_json::to_value(Versioned { schema: 1, difference }).unwrap();
        table.check(&value);
    }
    table.complete();
}
