//! Image archives before the outside judge, GNU tar: the layout is what the specification says,
//! and every blob is what its name says.

mod judge;

use std::collections::BTreeSet;

use formats::architecture::Architecture;
use formats::digest::Sha256;
use formats::oci::{Files, Image, Packed, Reference, pack};
use formats::tar::TarError;
use formats::tree::TreePath;
use judge::Judge;

const TAR: Judge = Judge { program: "tar", package: "tar" };

fn sample() -> (Packed, Vec<u8>) {
    let mut files = Files::new();
    files.file("/bin/busybox", 0o755, vec![7; 100_000]).unwrap();
    files.file("/etc/empty", 0o644, Vec::new()).unwrap();
    files.symlink("/bin/sh", "busybox").unwrap();
    files.directory("/tmp", 0o1777).unwrap();
    let reference = Reference::new("orlop.dev/busybox:1.37").unwrap();
    let packed = pack(&Image::new(reference, Architecture::Amd64, ["/bin/sh"]), &files).unwrap();
    let mut archive = Vec::new();
    packed.write_to(&mut archive).unwrap();
    (packed, archive)
}

fn member(archive: &[u8], name: &str) -> Vec<u8> {
    let output = TAR.run(["--extract", "--to-stdout", "--", name], archive);
    assert!(output.status.success(), "{name}");
    output.stdout
}

#[test]
fn the_archive_is_an_image_layout_whose_blobs_have_their_names() {
    let (packed, archive) = sample();
    assert_eq!(archive.len() as u64, packed.archive.size());
    let listed = TAR.approve(["--list"], &archive);
    let names: BTreeSet<&str> = listed.lines().filter(|name| !name.ends_with('/')).collect();
    let blobs = packed.blobs().map(|(digest, ..)| format!("blobs/sha256/{digest}"));
    let wanted = blobs.iter().map(String::as_str).chain(["index.json", "oci-layout"]);
    assert_eq!(names, wanted.collect());
    for ((digest, _, content), name) in packed.blobs().iter().zip(&blobs) {
        assert_eq!(member(&archive, name), *content);
        assert_eq!(*digest, Sha256::of(content));
    }
    assert_eq!(member(&archive, "oci-layout"), b"{\"imageLayoutVersion\":\"1.0.0\"}");
    let index = String::from_utf8(member(&archive, "index.json")).unwrap();
    let manifest = packed.archive.manifest().blob.sha256;
    assert!(index.contains(&format!("\"digest\":\"sha256:{manifest}\"")), "{index}");
    assert!(index.contains("\"io.containerd.image.name\":\"orlop.dev/busybox:1.37\""), "{index}");
    assert!(index.contains("\"org.opencontainers.image.ref.name\":\"1.37\""), "{index}");
}

#[test]
fn the_layer_holds_the_files() {
    let (packed, _) = sample();
    let listed = TAR.approve(["--list", "--verbose", "--numeric-owner"], &packed.layer);
    let lines: Vec<_> = listed.lines().map(|line| line.split_whitespace()).collect();
    let shown = lines.into_iter().map(|mut words| {
        let mode = words.next().unwrap().to_owned();
        let rest: Vec<_> = words.skip(4).collect();
        format!("{mode} {}", rest.join(" "))
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            "drwxr-xr-x bin/",
            "-rwxr-xr-x bin/busybox",
            "lrwxrwxrwx bin/sh -> busybox",
            "drwxr-xr-x etc/",
            "-rw-r--r-- etc/empty",
            "drwxrwxrwt tmp/",
        ]
    );
    assert_eq!(member(&packed.layer, "bin/busybox"), vec![7; 100_000]);
}

#[test]
fn the_same_files_are_the_same_bytes_and_others_are_not() {
    let (packed, archive) = sample();
    assert_eq!(sample(), (packed.clone(), archive));
    let mut files = Files::new();
    files.file("/bin/busybox", 0o755, vec![8; 100_000]).unwrap();
    let reference = Reference::new("orlop.dev/busybox:1.37").unwrap();
    let other = pack(&Image::new(reference, Architecture::Amd64, ["/bin/sh"]), &files).unwrap();
    for (one, other) in packed.blobs().iter().zip(other.blobs()) {
        assert_ne!(one.0, other.0);
        assert_eq!(one.1, other.1);
    }
}

#[test]
fn files_that_cannot_be_are_refused() {
    let mut files = Files::new();
    files.file("a", 0o644, Vec::new()).unwrap();
    assert!(files.file("a/b", 0o644, Vec::new()).is_err());
    assert!(files.directory("../a", 0o755).is_err());
    files.symlink("link", "").unwrap();
    let image = Image::new(Reference::new("orlop.dev/a:1").unwrap(), Architecture::Amd64, ["/a"]);
    let want = TarError::Target(TreePath::new("link").unwrap());
    assert_eq!(pack(&image, &files), Err(want));
}
