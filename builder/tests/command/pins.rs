//! What each version of each step gives: a result that changes while the version does not would be
//! taken from a store that older code has filled.
//!
//! If this fails, a step gives another result for the same inputs. If that is meant, raise the
//! step's version in `builder/src/step.rs` and pin the digest that the failure shows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use builder::step::Kind;
use formats::digest::{Hasher, Sha256};

use crate::archive::Package;
use crate::project::Project;

/// The digest of what the current version of each step gives for the sample project.
const PINS: &[(Kind, u32, &str)] = &[
    (Kind::Unpack, 4, "ebedce93ed96cff30e940b22ae9332d4693b26e3c8105a6d492f6ec24b20d2ff"),
    (Kind::Kernel, 7, "978cce71a7e40ea2fea31d45d09e08ec14ff10eba72bde492d4f2f9c85a5d766"),
    (Kind::Url, 2, "4cf966d48656d3185e43884e92e107d52aada7c34067b5360c95948d9b1633f6"),
    (Kind::Oci, 1, "a62735a0e1f8db71e6b0f64d7c928806cea6d4dc042b6a8b3dceecd86cdabf97"),
    (Kind::Allow, 2, "c99b4fdb1e9482c100b22fa7351f544442f6120a366e2f4ae95245ead588e13e"),
    (Kind::Initrd, 1, "791366ded87ed516e6636cdc31bdddf999b0b664037b6b83aeca1dfa95b7deca"),
    (Kind::Image, 6, "1f89707b8110f755899ceffd84af7c0d84e00fc6e617fd4f963e60835b169a0a"),
];

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A package with all that a package may hold.
fn zoo() -> Package {
    Package::new("tiny-zoo", "1-1")
        .file("usr/share/zoo/large", vec![7; (1 << 20) + 1])
        .file("lib/zoo/merged", "was in /lib")
        .file("usr/share/doc/zoo/dropped", "nobody reads it")
        .with_mode("usr/share/zoo/private", "a key", 0o640)
        .link("usr/share/zoo/link", "../large")
        .with_tar(|tar| {
            let mut directory = header(tar::EntryType::Directory, 0o1730, 0);
            directory.set_uid(7);
            directory.set_gid(8);
            let long = format!("./usr/share/zoo/{}/", "long".repeat(30));
            tar.append_data(&mut directory, long, &[][..]).unwrap();
            let mut hard = header(tar::EntryType::Link, 0o644, 0);
            tar.append_link(&mut hard, "./usr/share/zoo/hard", "./usr/share/zoo/large").unwrap();
            let attribute = ("SCHILY.xattr.user.note", &b"seen"[..]);
            tar.append_pax_extensions([attribute]).unwrap();
            let mut file = header(tar::EntryType::Regular, 0o644, 1);
            tar.append_data(&mut file, "./usr/share/zoo/attribute", &b"x"[..]).unwrap();
        })
}

/// An archive from the web.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind, mode, target: &str, content: &[u8]| {
        let mut header = header(kind, mode, content.len() as u64);
        header.set_uid(1000);
        if target.is_empty() {
            archive.append_data(&mut header, path, content).unwrap();
        } else {
            archive.append_link(&mut header, path, target).unwrap();
        }
    };
    add("files/", tar::EntryType::Directory, 0o2750, "", b"");
    add("files/data", tar::EntryType::Regular, 0o600, "", b"data");
    add("files/link", tar::EntryType::Symlink, 0o777, "data", b"");
    add("files/hard", tar::EntryType::Link, 0o600, "files/data", b"");
    archive.into_inner().unwrap()
}

/// What the packages of `roots.rs` are refused for, and what an overlay is.
fn refusals() -> String {
    let mut project = Project::new();
    project.archive.packages.push(
        Package::new("tiny-elf", "1-1").program("usr/sbin/elf", "\x7fELF is not all").with_tar(
            |tar| {
                tar.append_pax_extensions([("SCHILY.xattr.security.capability", &b"x"[..])])
                    .unwrap();
                let mut file = header(tar::EntryType::Regular, 0o644, 0);
                tar.append_data(&mut file, "./usr/sbin/capable", &[][..]).unwrap();
            },
        ),
    );
    project.server.serve(project.archive.publish());
    let refused = ["tiny-shell", "tiny-mount", "tiny-script", "tiny-unasked", "tiny-elf"];
    project.ask_for(&refused.join("\", \""));
    let ended = project.run(&["build", "--progress", "none"]);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    ended.stderr
}

/// The digest of all results of one kind that the store has, whatever their keys are.
fn results(store: &Path, kind: Kind) -> Sha256 {
    let entries = fs::read_dir(store.join("steps").join(kind.name())).unwrap();
    let mut results: Vec<_> =
        entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(!results.is_empty(), "no step of the sample is `{}`", kind.name());
    results.sort();
    let mut hasher = Hasher::new();
    results.iter().for_each(|result| hasher.update(Sha256::of(result).as_bytes()));
    hasher.finish()
}

fn seen(project: &Project, kind: Kind) -> Option<Sha256> {
    Some(match kind {
        Kind::Unpack | Kind::Kernel | Kind::Url | Kind::Oci | Kind::Initrd => {
            results(&project.store(), kind)
        }
        // What compilers make depends on which they are: their tests pin what they are told.
        Kind::Go | Kind::Cargo | Kind::Apparmor => return None,
        // What it gives is the layer without its packing: `images.rs` compares them.
        Kind::Layer => return None,
        // It gives nothing but a verdict.
        Kind::Allow => Sha256::of(refusals()),
        Kind::Image => {
            let names = ["root.img", "uki.efi", "disk.raw", "manifest.txt"];
            let digests = names.map(|name| Sha256::of(project.read(&format!("out/{name}"))));
            Sha256::of(digests.map(|digest| *digest.as_bytes()).as_flattened())
        }
    })
}

#[test]
fn a_step_whose_results_change_has_a_new_version() {
    let mut project = Project::new();
    project.archive.packages.push(zoo());
    let archive = archive();
    let digest = Sha256::of(&archive);
    let mut files = project.archive.publish();
    files.insert("/files.tar".to_owned(), archive);
    project.server.serve(files);
    project.ask_for("tiny-zoo");
    project.change(
        "[tree]\n",
        &format!(
            "[url.files]\nurl = \"{}/files.tar\"\nsha256 = \"{digest}\"\n\
             unpack = {{ \"files\" = \"/usr/lib/files\" }}\n\n[tree]\n",
            project.server.url()
        ),
    );
    project.change(
        "[tree]\n",
        "[oci.sample]\nreference = \"orlop.dev/sample:1\"\nat = \"/usr/lib/sample.tar\"\n\
         entrypoint = [\"/etc/motd\"]\ncommand = [\"-v\"]\nuser = \"1:2\"\n\
         environment = { HOME = \"/\" }\n[oci.sample.local.files]\npath = \"overlay\"\n\
         at = \"/\"\n\n[tree]\n",
    );
    project.good(&["build", "-o", "out"]);
    let seen = |kind: &Kind| Some((kind.name(), seen(&project, *kind)?.to_string()));
    let seen: BTreeMap<_, _> = Kind::ALL.iter().filter_map(seen).collect();
    let pinned: BTreeMap<_, _> =
        PINS.iter().map(|(kind, _, digest)| (kind.name(), (*digest).to_owned())).collect();
    assert_eq!(seen, pinned, "raise the version of a step that gives another result");
    for (kind, version, _) in PINS {
        assert_eq!(kind.version(), *version, "pin what version {} of it gives", kind.version());
    }
}
