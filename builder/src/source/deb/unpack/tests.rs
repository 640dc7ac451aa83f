//! Unpacking: what comes out, what is left out, and what is refused.

mod judged;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use formats::digest::Sha256;
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::contents::Control;
use super::super::made::{self, Tar, gzip, header, shell};
use super::*;
use crate::process::Command;

const CONTROL: &str = "Package: a\nVersion: 1\nArchitecture: amd64\n";

fn deb(data: Tar) -> Vec<u8> {
    made::deb(CONTROL, data)
}

/// A store with the file beside it.
struct Bench(TempDir, Store);

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        Self(directory, store)
    }

    fn unpack(&self, deb: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Contents> {
        let path = self.0.path().join("a.deb");
        fs::write(&path, deb).unwrap();
        let file = File::open(&path).unwrap();
        unpack(&file, "a", &self.1, &|path: &TreePath| wanted(path.as_str()))
    }

    fn show(&self, contents: &Contents) -> Vec<String> {
        let show = |Entry { path, node }: &Entry| {
            let Node { mode, uid, gid, xattrs, .. } = node;
            let what = match &node.kind {
                Kind::Directory => "directory".to_owned(),
                Kind::Symlink(target) => format!("-> {target}"),
                Kind::File(blob) => String::from_utf8(self.1.read_blob(blob).unwrap()).unwrap(),
            };
            let xattrs = xattrs.iter().map(|(name, value)| format!(" {name}={value:?}"));
            format!("{path} {mode:04o} {uid}:{gid} {what}{}", xattrs.collect::<String>())
        };
        contents.entries.iter().map(show).collect()
    }
}

fn all(_: &str) -> bool {
    true
}

#[test]
fn paths_owners_modes_and_contents_come_out() {
    let tar = Tar::new()
        .directory("./", 0o755)
        .directory("./usr/", 0o755)
        .directory("./usr/bin/", 0o2775)
        .file("./usr/bin/a", 0o4755, b"abc")
        .link(EntryType::Link, "./usr/bin/b", "./usr/bin/a")
        .link(EntryType::Link, "./usr/bin/c", "./usr/bin/b")
        .link(EntryType::Symlink, "./usr/bin/d", "../bin/a");
    let bench = Bench::new();
    let contents = bench.unpack(&deb(tar), all).unwrap();
    assert_eq!(contents.control, Control::parse(CONTROL).unwrap());
    assert_eq!(
        bench.show(&contents),
        [
            "/usr 0755 0:42 directory",
            "/usr/bin 2775 0:42 directory",
            "/usr/bin/a 4755 0:42 abc",
            "/usr/bin/b 4755 0:42 abc",
            "/usr/bin/c 4755 0:42 abc",
            "/usr/bin/d 0777 0:42 -> ../bin/a",
        ]
    );
}

#[test]
fn merged_directories_move_into_usr_and_the_links_that_merge_them_stay() {
    let tar = Tar::new()
        .directory("./lib/", 0o755)
        .file("./lib/x", 0o644, b"x")
        .link(EntryType::Link, "./sbin/y", "./lib/x")
        .directory("./usr/lib/", 0o755)
        .link(EntryType::Symlink, "./bin", "usr/bin")
        .link(EntryType::Symlink, "./lib64/ld.so", "../lib/x")
        .file("./libx", 0o644, b"no");
    let bench = Bench::new();
    let contents = bench.unpack(&deb(tar), all).unwrap();
    assert_eq!(
        bench.show(&contents),
        [
            "/bin 0777 0:42 -> usr/bin",
            "/libx 0644 0:42 no",
            "/usr/lib 0755 0:42 directory",
            "/usr/lib/x 0644 0:42 x",
            "/usr/lib64/ld.so 0777 0:42 -> ../lib/x",
            "/usr/sbin/y 0644 0:42 x",
        ]
    );
}

#[test]
fn what_nobody_wants_is_listed_and_not_stored() {
    let tar = Tar::new()
        .directory("./usr/share/doc/", 0o755)
        .file("./usr/share/doc/a", 0o644, b"long text")
        .file("./usr/bin/a", 0o755, b"abc");
    let bench = Bench::new();
    let contents = bench.unpack(&deb(tar), |path| !path.starts_with("usr/share/doc/")).unwrap();
    assert_eq!(
        bench.show(&contents),
        ["/usr/bin/a 0755 0:42 abc", "/usr/share/doc 0755 0:42 directory"]
    );
    assert_eq!(contents.dropped, [Dropped { path: "usr/share/doc/a".into(), size: 9 }]);
    let blob = Blob { sha256: Sha256::of("long text"), size: 9 };
    assert!(!bench.1.has(&blob));
}

#[test]
fn a_wanted_name_of_a_dropped_file_keeps_its_content() {
    let tar = Tar::new().file("./a", 0o4711, b"abc").link(EntryType::Link, "./b", "./a").link(
        EntryType::Link,
        "./c",
        "./b",
    );
    let bench = Bench::new();
    let contents = bench.unpack(&deb(tar), |path| path == "c").unwrap();
    assert_eq!(bench.show(&contents), ["/c 4711 0:42 abc"]);
    let dropped: Vec<_> = contents.dropped.iter().map(|dropped| dropped.path.as_str()).collect();
    assert_eq!(dropped, ["a", "b"]);
}

#[test]
fn large_files_and_long_names_pass() {
    let content = vec![b'x'; 3 << 20];
    let long = format!("usr/{}/{}", "d".repeat(120), "f".repeat(200));
    let mut tar = Tar::new();
    let mut header = header(EntryType::Regular, "", 0o644);
    header.set_size(content.len() as u64);
    tar.0.append_data(&mut header, &long, &content[..]).unwrap();
    let bench = Bench::new();
    let contents = bench.unpack(&deb(tar), all).unwrap();
    assert_eq!(contents.entries[0].path.as_str(), long);
    let blob = Blob { sha256: Sha256::of(&content), size: content.len() as u64 };
    assert_eq!(contents.entries[0].node.kind, Kind::File(blob));
    assert!(bench.1.has(&blob));
}

#[test]
fn extended_attributes_are_taken_from_pax_records() {
    let mut tar = Tar::new();
    let records = [("SCHILY.xattr.security.capability", &[1, 0, 0xff][..]), ("comment", b"no")];
    tar.0.append_pax_extensions(records).unwrap();
    let bench = Bench::new();
    let contents = bench.unpack(&deb(tar.file("./ping", 0o755, b"x")), all).unwrap();
    assert_eq!(bench.show(&contents), ["/ping 0755 0:42 x security.capability=[1, 0, 255]"]);
}

#[test]
fn what_an_image_may_not_hold_is_refused() {
    let long = "x".repeat(90);
    for (tar, problem) in [
        (
            Tar::new().add(EntryType::Char, "./dev/null", 0o666, b""),
            "/dev/null is a device node: an image may not hold that",
        ),
        (
            Tar::new().add(EntryType::Block, "./dev/sda", 0o666, b""),
            "/dev/sda is a device node: an image may not hold that",
        ),
        (
            Tar::new().add(EntryType::Fifo, "./run/pipe", 0o666, b""),
            "/run/pipe is a pipe: an image may not hold that",
        ),
        (
            Tar::new().add(EntryType::Continuous, "./a", 0o666, b""),
            "/a is of tar's type '7': an image may not hold that",
        ),
        (
            Tar::new().file("./../etc/passwd", 0o666, b""),
            "`./../etc/passwd` is not a path inside the tree",
        ),
        (
            Tar::new().link(EntryType::Link, "./a", "./b"),
            "/a is a hard link to /b, which is not a file in it",
        ),
        (
            Tar::new().directory("./b/", 0o755).link(EntryType::Link, "./a", "./b"),
            "/a is a hard link to /b, which is not a file in it",
        ),
        (Tar::new().file("./a", 0o644, b"").file("./a", 0o644, b""), "/a stands twice in it"),
        (Tar::new().directory("./a", 0o755).file("./a", 0o644, b""), "/a stands twice in it"),
        (
            Tar::new().file("./lib/a", 0o644, long.as_bytes()).file("./usr/lib/a", 0o644, b""),
            "/usr/lib/a stands twice in it",
        ),
    ] {
        let bench = Bench::new();
        let deb = deb(tar);
        // Dropping it does not make it harmless, except that a dropped directory is nothing.
        for wanted in [true, false] {
            let result = bench.unpack(&deb, |_| wanted);
            if !wanted && (problem.contains("/b") || problem.contains("twice")) {
                continue;
            }
            let error = result.unwrap_err();
            assert_eq!(error.id(), Id::BadPackage);
            assert_eq!(error.to_string(), format!("cannot use package `a`: {problem}"));
        }
    }
}

#[test]
fn a_package_whose_archive_is_packed_in_several_parts_is_whole() {
    let control = gzip(&Tar::new().file("./control", 0o644, CONTROL.as_bytes()).finish());
    let data = Tar::new().file("./a", 0o644, &[b'x'; 4000]).finish();
    let parts = [gzip(&data[..700]), gzip(&data[700..]), vec![0; 512]].concat();
    let deb = shell(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", &control),
        ("data.tar.gz", &parts),
    ]);
    Bench::new().unpack(&deb, all).unwrap();
}

#[test]
fn a_damaged_package_is_refused() {
    let control = gzip(&Tar::new().file("./control", 0o644, CONTROL.as_bytes()).finish());
    let data = gzip(&Tar::new().file("./a", 0o644, &[b'x'; 4000]).finish());
    let version = ("debian-binary", &b"2.0\n"[..]);
    let (control, data) = (("control.tar.gz", &control[..]), ("data.tar.gz", &data[..]));
    let good = shell(&[version, control, data]);
    let bench = Bench::new();
    assert!(bench.unpack(&good, all).is_ok());
    let no_control = gzip(&Tar::new().file("./other", 0o644, b"").finish());
    let cut = &data.1[..data.1.len() - 4];
    for (deb, problem) in [
        (Vec::new(), "it is cut short"),
        (b"<html>no package".to_vec(), "it is not a Debian package"),
        (good[..good.len() - 8].to_vec(), "member `data.tar.gz` is cut short"),
        (good[..40].to_vec(), "it is cut short"),
        (shell(&[control, version, data]), "it is not a Debian package of format 2"),
        (
            shell(&[("debian-binary", b"3.0\n"), control, data]),
            "it is not a Debian package of format 2",
        ),
        (shell(&[version, data]), "it has no member `control.tar`"),
        (shell(&[version, control]), "it has no member `data.tar`"),
        (shell(&[version, control, data, data]), "it has two members `data.tar`"),
        (shell(&[version, ("control.tar.gz", &no_control), data]), "it has no `control` file"),
        (
            shell(&[version, control, ("data.tar.lzma", b"x")]),
            "`data.tar.lzma` is packed in a way that Debian does not use",
        ),
        (shell(&[version, control, ("data.tar.gz", cut)]), "`data.tar.gz`: "),
        (shell(&[version, control, ("data.tar.xz", data.1)]), "`data.tar.xz`: "),
        (shell(&[version, control, ("data.tar", &[b'x'; 512])]), "`data.tar`: "),
    ] {
        let error = bench.unpack(&deb, all).unwrap_err();
        assert_eq!(error.id(), Id::BadPackage);
        let start = format!("cannot use package `a`: {problem}");
        assert!(error.to_string().starts_with(&start), "{error}, not {start}");
    }
}

/// Builds a package from a real directory with dpkg-deb.
fn dpkg_deb(directory: &Path, packing: &str) -> Vec<u8> {
    let root = directory.join("root");
    let write = |path: &str, mode: u32, content: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let control = "Package: a\nVersion: 1\nArchitecture: amd64\n\
                   Maintainer: Test <test@mirror.example>\nDescription: test\n";
    write("DEBIAN/control", 0o644, control.as_bytes());
    write("usr/bin/a", 0o755, &[b'a'; 70_000]);
    write("usr/bin/setuid", 0o4755, b"s");
    write("usr/share/doc/a/copyright", 0o644, b"free");
    write(&format!("usr/share/{}/{}", "d".repeat(100), "ä".repeat(60)), 0o640, b"long");
    std::os::unix::fs::symlink("../bin/a", root.join("usr/share/link")).unwrap();
    fs::hard_link(root.join("usr/bin/a"), root.join("usr/bin/b")).unwrap();
    let deb = directory.join("a.deb");
    let command = Command::new("dpkg-deb").arg("--root-owner-group").arg(packing);
    command.arg("--build").args([&root, &deb]).run().expect("package `dpkg` is needed");
    fs::read(deb).unwrap()
}

#[test]
fn dpkg_deb_unpacks_to_what_we_list() {
    for packing in ["-Zxz", "-Zgzip", "-Zzstd", "-Znone"] {
        let directory = tempfile::tempdir().unwrap();
        let deb = dpkg_deb(directory.path(), packing);
        let bench = Bench::new();
        let contents = bench.unpack(&deb, all).unwrap();
        assert_eq!(contents.control, Control::parse(CONTROL).unwrap());
        let unpacked = directory.path().join("unpacked");
        let paths = [&directory.path().join("a.deb"), &unpacked];
        Command::new("dpkg-deb").arg("--extract").args(paths).run().unwrap();
        let list = Command::new("dpkg-deb").arg("--contents").arg(paths[0]).run().unwrap();
        let listed = String::from_utf8(list).unwrap().lines().count();
        // dpkg-deb lists the root directory too.
        assert_eq!(contents.entries.len() + 1, listed);
        for Entry { path, node } in &contents.entries {
            let on_disk = unpacked.join(path.as_str());
            let meta = fs::symlink_metadata(&on_disk).unwrap();
            match &node.kind {
                Kind::Directory => assert!(meta.is_dir(), "{path}"),
                Kind::Symlink(target) => {
                    assert_eq!(fs::read_link(&on_disk).unwrap(), Path::new(target));
                }
                Kind::File(blob) => {
                    assert_eq!(bench.1.read_blob(blob).unwrap(), fs::read(&on_disk).unwrap());
                }
            }
            assert_eq!(u32::from(node.mode), meta.mode() & 0o7777, "{path}");
            assert_eq!((node.uid, node.gid), (0, 0), "{path}");
        }
    }
}

#[test]
fn a_changed_byte_of_packed_data_is_found_by_its_checksum() {
    for packing in ["-Zxz", "-Zgzip", "-Zzstd"] {
        let directory = tempfile::tempdir().unwrap();
        let good = dpkg_deb(directory.path(), packing);
        let bench = Bench::new();
        let whole = bench.unpack(&good, all).unwrap();
        let mut refused = 0;
        for part in [4, 3, 2, 1] {
            let mut deb = good.clone();
            // Near the end: in the data, its checksum, or what the packing says of itself.
            let at = deb.len() - 16 * part;
            deb[at] ^= 1;
            match bench.unpack(&deb, all) {
                // A copy of other zeros is as good as of these.
                Ok(contents) => assert_eq!(contents.entries, whole.entries, "{packing}, {part}"),
                Err(error) => {
                    assert_eq!(error.id(), Id::BadPackage, "{packing}, {part}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "{packing}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn any_change_is_read_or_refused(at in 0usize..4096, byte in any::<u8>()) {
        let tar = Tar::new().directory("./usr/", 0o755).file("./usr/a", 0o644, b"abc").link(EntryType::Link, "./b", "./usr/a");
        let control = Tar::new().file("./control", 0o644, CONTROL.as_bytes()).finish();
        let mut deb = shell(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &tar.finish())]);
        let at = at % deb.len();
        deb[at] = byte;
        drop(Bench::new().unpack(&deb, all));
    }
}
