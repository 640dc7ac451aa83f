//! Layout tests: which members of a release an image takes, and where they go.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use formats::digest::Sha256;
use formats::tree::Kind;

use super::*;
use crate::kata_release::{MadeRelease, Member};
use crate::progress::Mode;
use crate::recipe::model::Digest;

/// What the image gets of a release.
struct Laid {
    nodes: Vec<(TreePath, Node)>,
    store: Store,
    _directory: tempfile::TempDir,
}

fn laid(release: &MadeRelease, kata: &str) -> Result<Laid> {
    packed(&release.pack(), kata)
}

fn packed(bytes: &[u8], kata: &str) -> Result<Laid> {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let blob = store.put_bytes(bytes).unwrap();
    let (url, sha256) = ("https://mirror.example/kata".into(), Digest(blob.sha256));
    let url = Url { url, sha256, unpack: Default::default(), mode: None };
    let before = store.blobs().unwrap().len();
    let nodes =
        nodes(&store, &url, &toml::from_str(kata).unwrap(), &blob, &Progress::new(Mode::None));
    if nodes.is_err() {
        assert_eq!(store.blobs().unwrap().len(), before, "nothing is half there");
    }
    Ok(Laid { nodes: nodes?, store, _directory: directory })
}

impl Laid {
    fn text(&self, path: &str) -> String {
        let node = self.nodes.iter().find(|(at, _)| at.to_string() == path);
        let Kind::File(blob) = node.expect(path).1.kind else { panic!("{path} is no file") };
        String::from_utf8(self.store.read_blob(&blob).unwrap()).unwrap()
    }

    /// Paths with modes and the targets of links; files whose content is their path in the release, as it
    /// should be, are plain, others have what they hold before them.
    fn list(&self) -> String {
        let mut list = String::new();
        for (path, node) in &self.nodes {
            let line = match &node.kind {
                Kind::Symlink(target) => format!("{path} -> {target}"),
                _ => format!("{path} {:04o}", node.mode),
            };
            writeln!(list, "{line}").unwrap();
        }
        list
    }
}

#[track_caller]
fn takes(kata: &str, want: Expect) {
    want.assert_eq(&laid(&MadeRelease::new(), kata).unwrap().list());
}

#[test]
fn qemu_takes_its_firmware_and_who_serves_files() {
    takes(
        "hypervisor = 'qemu'",
        expect![[r#"
            /etc/containerd/conf.d/kata.toml 0644
            /opt/kata/bin/qemu-system-x86_64 0755
            /opt/kata/libexec/virtiofsd 0755
            /opt/kata/runtime-rs/bin/containerd-shim-kata-v2 0755
            /opt/kata/share/defaults/kata-containers/runtime-rs/configuration-qemu-runtime-rs.toml 0644
            /opt/kata/share/kata-containers/kata-containers.img -> kata-ubuntu-noble.image
            /opt/kata/share/kata-containers/kata-ubuntu-noble.image 0644
            /opt/kata/share/kata-containers/vmlinux-6.18.35-202 0644
            /opt/kata/share/kata-containers/vmlinux.container -> vmlinux-6.18.35-202
            /opt/kata/share/kata-qemu/qemu/bios-256k.bin 0644
            /opt/kata/share/kata-qemu/qemu/efi-virtio.rom 0644
            /opt/kata/share/kata-qemu/qemu/kvmvapic.bin 0644
            /opt/kata/share/kata-qemu/qemu/linuxboot_dma.bin 0644
            /opt/kata/share/kata-qemu/qemu/pvh.bin 0644
            /usr/lib/orlop/kata.json 0644
        "#]],
    );
}

#[test]
fn the_other_hypervisors_take_less() {
    takes(
        "hypervisor = 'cloud-hypervisor'",
        expect![[r#"
            /etc/containerd/conf.d/kata.toml 0644
            /opt/kata/bin/cloud-hypervisor 0755
            /opt/kata/libexec/virtiofsd 0755
            /opt/kata/runtime-rs/bin/containerd-shim-kata-v2 0755
            /opt/kata/share/defaults/kata-containers/runtime-rs/configuration-clh-runtime-rs.toml 0644
            /opt/kata/share/kata-containers/kata-containers.img -> kata-ubuntu-noble.image
            /opt/kata/share/kata-containers/kata-ubuntu-noble.image 0644
            /opt/kata/share/kata-containers/vmlinux-6.18.35-202 0644
            /opt/kata/share/kata-containers/vmlinux.container -> vmlinux-6.18.35-202
            /usr/lib/orlop/kata.json 0644
        "#]],
    );
    // Of Dragonball the configuration names a program that no release has: it is a part of the shim.
    takes(
        "hypervisor = 'dragonball'",
        expect![[r#"
            /etc/containerd/conf.d/kata.toml 0644
            /opt/kata/runtime-rs/bin/containerd-shim-kata-v2 0755
            /opt/kata/share/defaults/kata-containers/runtime-rs/configuration-dragonball.toml 0644
            /opt/kata/share/kata-containers/kata-containers.img -> kata-ubuntu-noble.image
            /opt/kata/share/kata-containers/kata-ubuntu-noble.image 0644
            /opt/kata/share/kata-containers/vmlinux-6.18.35-202-dragonball-experimental 0644
            /opt/kata/share/kata-containers/vmlinux-dragonball-experimental.container -> vmlinux-6.18.35-202-dragonball-experimental
            /usr/lib/orlop/kata.json 0644
        "#]],
    );
    takes(
        "hypervisor = 'firecracker'\nsnapshotter = 'devmapper'",
        expect![[r#"
            /etc/containerd/conf.d/kata.toml 0644
            /opt/kata/bin/firecracker 0755
            /opt/kata/bin/jailer 0755
            /opt/kata/runtime-rs/bin/containerd-shim-kata-v2 0755
            /opt/kata/share/defaults/kata-containers/runtime-rs/configuration-rs-fc.toml 0644
            /opt/kata/share/kata-containers/kata-containers.img -> kata-ubuntu-noble.image
            /opt/kata/share/kata-containers/kata-ubuntu-noble.image 0644
            /opt/kata/share/kata-containers/vmlinux-6.18.35-202 0644
            /opt/kata/share/kata-containers/vmlinux.container -> vmlinux-6.18.35-202
            /usr/lib/orlop/kata.json 0644
        "#]],
    );
}

#[test]
fn confidential_guests_have_both_configurations_and_pull_their_images_themselves() {
    let kata = "hypervisor = 'qemu'\nguest = 'confidential'";
    takes(
        kata,
        expect![[r#"
            /etc/containerd/conf.d/kata.toml 0644
            /opt/kata/bin/qemu-system-x86_64 0755
            /opt/kata/runtime-rs/bin/containerd-shim-kata-v2 0755
            /opt/kata/share/defaults/kata-containers/runtime-rs/config.d/10-orlop.toml 0644
            /opt/kata/share/defaults/kata-containers/runtime-rs/configuration-qemu-snp-runtime-rs.toml 0644
            /opt/kata/share/defaults/kata-containers/runtime-rs/configuration-qemu-tdx-runtime-rs.toml 0644
            /opt/kata/share/kata-containers/kata-containers-confidential.img -> kata-ubuntu-noble-confidential.image
            /opt/kata/share/kata-containers/kata-ubuntu-noble-confidential.image 0644
            /opt/kata/share/kata-containers/vmlinuz-6.18.35-202 0644
            /opt/kata/share/kata-containers/vmlinuz.container -> vmlinuz.current
            /opt/kata/share/kata-containers/vmlinuz.current -> ./vmlinuz-6.18.35-202
            /opt/kata/share/kata-qemu/qemu/bios-256k.bin 0644
            /opt/kata/share/kata-qemu/qemu/efi-virtio.rom 0644
            /opt/kata/share/kata-qemu/qemu/kvmvapic.bin 0644
            /opt/kata/share/kata-qemu/qemu/linuxboot_dma.bin 0644
            /opt/kata/share/kata-qemu/qemu/pvh.bin 0644
            /opt/kata/share/ovmf/AMDSEV.fd 0644
            /opt/kata/share/ovmf/OVMF.inteltdx.fd 0644
            /usr/lib/orlop/kata.json 0644
        "#]],
    );
    let laid = laid(&MadeRelease::new(), kata).unwrap();
    expect![[r#"
        {"hypervisor":"qemu","handlers":["kata-snp","kata-tdx"],"memory-in-shm":false,"tees":["snp","tdx"]}
    "#]]
    .assert_eq(&laid.text(formats::kata::PATH));
    let drop_in = laid.text(containerd::PATH);
    for handler in ["kata-snp", "kata-tdx"] {
        let table = format!(".containerd.runtimes.{handler}.options]\nConfigPath = ");
        assert!(drop_in.contains(&table), "{drop_in}");
    }
}

#[test]
fn files_hold_what_they_hold_in_the_release() {
    let release = MadeRelease::new();
    let laid = laid(&release, "hypervisor = 'qemu'").unwrap();
    for (path, node) in &laid.nodes {
        let path = path.to_string();
        let Some(inner) = path.strip_prefix("/opt/kata/") else { continue };
        match (&node.kind, release.get(inner)) {
            (Kind::Symlink(target), Member::Link(wanted)) => assert_eq!(target, wanted),
            (Kind::File(blob), Member::File(content) | Member::Program(content)) => {
                assert_eq!(blob.sha256, Sha256::of(content), "{path}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn in_another_place_every_path_is_rewritten_and_qemu_finds_its_firmware() {
    let laid = laid(&MadeRelease::new(), "hypervisor = 'qemu'\nat = '/usr/lib/kata'").unwrap();
    let list = laid.list();
    assert!(
        !list.contains("/opt/kata/bin/")
            && list.contains("/usr/lib/kata/bin/qemu-system-x86_64 0755")
    );
    let link = "/usr/lib/kata/bin/qemu-bundle/opt/kata/share -> ../../../../share\n";
    assert!(list.contains(link), "{list}");
    let configuration = "/usr/lib/kata/share/defaults/kata-containers/runtime-rs/configuration-qemu-runtime-rs.toml";
    let text = laid.text(configuration);
    assert!(!text.contains("/opt/kata"), "{text}");
    assert!(text.contains("path = \"/usr/lib/kata/bin/qemu-system-x86_64\""), "{text}");
    assert!(
        text.contains("valid_virtio_fs_daemon_paths = [\"/usr/lib/kata/libexec/virtiofsd\"]"),
        "{text}"
    );
    // All that the configuration names is there.
    for word in text.split('"').filter(|word| word.starts_with("/usr/lib/kata/")) {
        assert!(list.contains(&format!("{word} ")), "{word}");
    }
    expect![[r#"
        # Made of `[kata]` of the recipe.
        version = 4

        [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.kata]
        runtime_type = "io.containerd.kata.v2"
        runtime_path = "/usr/lib/kata/runtime-rs/bin/containerd-shim-kata-v2"
        # A privileged container is privileged in its virtual machine, and has no device of the host.
        privileged_without_host_devices = true
        pod_annotations = ["io.katacontainers.*"]

        [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.kata.options]
        ConfigPath = "/usr/lib/kata/share/defaults/kata-containers/runtime-rs/configuration-qemu-runtime-rs.toml"
    "#]]
    .assert_eq(&laid.text(containerd::PATH));
}

#[test]
fn a_configuration_of_an_older_name_is_taken_too() {
    let directory = "share/defaults/kata-containers/runtime-rs";
    let newer = format!("{directory}/configuration-clh-runtime-rs.toml");
    let older = format!("{directory}/configuration-cloud-hypervisor.toml");
    let release = MadeRelease::new();
    let release = release.clone().with(&older, release.get(&newer).clone()).without(&newer);
    let laid = laid(&release, "hypervisor = 'cloud-hypervisor'").unwrap();
    assert!(laid.list().contains(&format!("/opt/kata/{older} 0644")));
}

#[test]
fn a_snapshotter_is_named_to_both_plugins_of_containerd() {
    let kata = "hypervisor = 'firecracker'\nsnapshotter = 'devmapper'";
    let drop_in = laid(&MadeRelease::new(), kata).unwrap().text(containerd::PATH);
    let runtime = "pod_annotations = [\"io.katacontainers.*\"]\nsnapshotter = \"devmapper\"\n";
    let images = "[plugins.\"io.containerd.cri.v1.images\".runtime_platforms.kata]\nsnapshotter = \"devmapper\"\n";
    assert!(drop_in.contains(runtime) && drop_in.contains(images), "{drop_in}");
}

#[track_caller]
fn refused(release: &MadeRelease, kata: &str, want: &str) {
    let error = laid(release, kata).err().expect("it is refused");
    assert_eq!(error.id(), Id::ArchiveMember);
    assert_eq!(error.to_string(), want);
    let hint = "releases differ in what they hold: docs/kata.md says which one has what";
    assert_eq!(error.hints().last().map(String::as_str), Some(hint));
}

#[test]
fn a_release_without_what_is_needed_is_refused_and_leaves_nothing() {
    let release = MadeRelease::new;
    let (qemu, url) = ("hypervisor = 'qemu'", "https://mirror.example/kata");
    let configuration = |name: &str| {
        format!("opt/kata/share/defaults/kata-containers/runtime-rs/configuration-{name}.toml")
    };
    refused(
        &release().without("runtime-rs/bin/containerd-shim-kata-v2"),
        qemu,
        &format!("there is no `opt/kata/runtime-rs/bin/containerd-shim-kata-v2` in `{url}`"),
    );
    for (gone, file, key) in [
        ("bin/qemu-system-x86_64", "bin/qemu-system-x86_64", "path"),
        ("libexec/virtiofsd", "libexec/virtiofsd", "virtio_fs_daemon"),
        // The end of a link.
        (
            "share/kata-containers/vmlinux-6.18.35-202",
            "share/kata-containers/vmlinux.container",
            "kernel",
        ),
        (
            "share/kata-containers/kata-containers.img",
            "share/kata-containers/kata-containers.img",
            "image",
        ),
    ] {
        let names = configuration("qemu-runtime-rs");
        let want = format!(
            "`{names}` in `{url}` names `/opt/kata/{file}` as `{key}`, and the release has no such file"
        );
        refused(&release().without(gone), qemu, &want);
    }
    let member = configuration("rs-fc");
    refused(
        &release().without("share/defaults/kata-containers/runtime-rs/configuration-rs-fc.toml"),
        "hypervisor = 'firecracker'",
        &format!("there is no `{member}` in `{url}`"),
    );
    let mut without_firmware = release();
    for name in ["bios-256k.bin", "efi-virtio.rom", "kvmvapic.bin", "linuxboot_dma.bin", "pvh.bin"]
    {
        without_firmware = without_firmware.without(&format!("share/kata-qemu/qemu/{name}"));
    }
    let bios = "opt/kata/share/kata-qemu/qemu/bios-256k.bin";
    refused(&without_firmware, qemu, &format!("there is no `{bios}` in `{url}`"));
}

#[test]
fn a_configuration_that_says_nothing_of_use_is_refused() {
    let path = "share/defaults/kata-containers/runtime-rs/configuration-qemu-runtime-rs.toml";
    let named =
        format!("`opt/kata/{path}` in `https://mirror.example/kata` is no configuration of Kata");
    for (text, why) in [
        ("[hypervisor", "unclosed table, expected `]`"),
        ("[agent]", "it has no table `[hypervisor.NAME]`"),
        ("[hypervisor.qemu]\npath = '/opt/kata/bin/qemu-system-x86_64'", "it names no `kernel`"),
        ("[hypervisor.qemu]\nkernel = '/opt/kata/VERSION'", "it names no `path`"),
        (
            "[hypervisor.qemu]\nkernel = '/opt/kata/VERSION'\npath = '/opt/kata/VERSION'",
            "it names neither `image` nor `initrd`",
        ),
    ] {
        let release = MadeRelease::new().with(path, Member::File(text.as_bytes().to_vec()));
        refused(&release, "hypervisor = 'qemu'", &format!("{named}: {why}"));
    }
}

#[test]
fn a_release_that_is_cut_or_damaged_is_refused_and_leaves_nothing() {
    let whole = MadeRelease::new().pack();
    let mut cuts = vec![whole[..whole.len() / 2].to_vec(), whole[..whole.len() - 4].to_vec()];
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0x55;
    cuts.push(damaged);
    for bytes in cuts {
        let error = packed(&bytes, "hypervisor = 'qemu'").err().expect("it is refused");
        assert_eq!(error.id(), Id::Archive, "{}", error.chain());
    }
}
