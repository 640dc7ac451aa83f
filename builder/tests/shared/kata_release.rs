//! A release of Kata as far as its layout goes: the paths, links and configurations that upstream's have,
//! and in place of programs, kernels and guests a line of text. What is tested with it is layout, and called
//! so; that a real one runs pods is shown by `cargo xtask kata-check`.

use std::collections::BTreeMap;
use std::io::Write as _;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member {
    File(Vec<u8>),
    Program(Vec<u8>),
    Link(String),
}

/// A release that a test changes before it is packed.
#[derive(Debug, Clone)]
pub(crate) struct MadeRelease(BTreeMap<String, Member>);

const CONFIGURATIONS: &str = "share/defaults/kata-containers/runtime-rs";

/// A configuration as upstream's are: of each hypervisor the keys that name files, and some that do not.
fn configuration(name: &str, keys: &[(&str, &str)], agent: &str) -> String {
    let mut text = format!("# WARNING: this file is auto-generated.\n\n[hypervisor.{name}]\n");
    for (key, value) in keys {
        text += &format!("{key} = \"{value}\"\n");
    }
    text += "enable_annotations = [\"kernel_params\"]\n\
             valid_virtio_fs_daemon_paths = [\"/opt/kata/libexec/virtiofsd\"]\n\
             kernel_params = \"\"\nfirmware_volume = \"\"\ndefault_memory = 2048\n";
    text + &format!("\n[agent.kata]\n{agent}\n[runtime]\nhypervisor_name = \"{name}\"\n")
}

impl MadeRelease {
    /// All that a release before 4.1.0 holds of what matters here: later ones lack Firecracker.
    pub(crate) fn new() -> Self {
        let mut made = Self(BTreeMap::new());
        for program in [
            "bin/qemu-system-x86_64",
            "bin/cloud-hypervisor",
            "bin/firecracker",
            "bin/jailer",
            "bin/containerd-shim-kata-v2",
            "bin/kata-runtime",
            "libexec/virtiofsd",
            "libexec/nydusd",
            "runtime-rs/bin/containerd-shim-kata-v2",
        ] {
            made = made.with(program, Member::Program(program.as_bytes().to_vec()));
        }
        let script = b"#!/bin/bash\n".to_vec();
        made = made.with("bin/kata-collect-data.sh", Member::Program(script));
        for file in [
            "VERSION",
            "versions.yaml",
            "share/bash-completion/completions/kata-runtime",
            "share/kata-containers/kata-ubuntu-noble.image",
            "share/kata-containers/kata-ubuntu-noble-confidential.image",
            "share/kata-containers/kata-alpine-3.22.initrd",
            "share/kata-containers/vmlinux-6.18.35-202",
            "share/kata-containers/vmlinux-6.18.35-202-dragonball-experimental",
            "share/kata-containers/vmlinuz-6.18.35-202",
            "share/kata-qemu/qemu/bios-256k.bin",
            "share/kata-qemu/qemu/edk2-x86_64-code.fd",
            "share/kata-qemu/qemu/efi-virtio.rom",
            "share/kata-qemu/qemu/hppa-firmware.img",
            "share/kata-qemu/qemu/keymaps/de",
            "share/kata-qemu/qemu/kvmvapic.bin",
            "share/kata-qemu/qemu/linuxboot_dma.bin",
            "share/kata-qemu/qemu/pvh.bin",
            "share/kata-qemu/qemu/s390-ccw.img",
            "share/ovmf/AMDSEV.fd",
            "share/ovmf/OVMF.inteltdx.fd",
            "include/libfdt.h",
        ] {
            made = made.with(file, Member::File(file.as_bytes().to_vec()));
        }
        for (link, target) in [
            ("kata-containers.img", "kata-ubuntu-noble.image"),
            ("kata-containers-confidential.img", "kata-ubuntu-noble-confidential.image"),
            ("kata-containers-initrd.img", "kata-alpine-3.22.initrd"),
            ("vmlinux.container", "vmlinux-6.18.35-202"),
            ("vmlinuz.container", "vmlinuz.current"),
            ("vmlinuz.current", "./vmlinuz-6.18.35-202"),
            (
                "vmlinux-dragonball-experimental.container",
                "vmlinux-6.18.35-202-dragonball-experimental",
            ),
        ] {
            made = made
                .with(&format!("share/kata-containers/{link}"), Member::Link(target.to_owned()));
        }
        made.with_configurations()
    }

    fn with_configurations(mut self) -> Self {
        let qemu = ("path", "/opt/kata/bin/qemu-system-x86_64");
        let kernel = ("kernel", "/opt/kata/share/kata-containers/vmlinux.container");
        let image = ("image", "/opt/kata/share/kata-containers/kata-containers.img");
        let daemon = ("virtio_fs_daemon", "/opt/kata/libexec/virtiofsd");
        let (shared, alone) = (("shared_fs", "virtio-fs"), ("shared_fs", "none"));
        let confidential = |firmware| {
            [
                qemu,
                ("kernel", "/opt/kata/share/kata-containers/vmlinuz.container"),
                ("image", "/opt/kata/share/kata-containers/kata-containers-confidential.img"),
                ("firmware", firmware),
                daemon,
                alone,
            ]
        };
        for (file, name, keys) in [
            (
                "qemu-runtime-rs",
                "qemu",
                &[qemu, kernel, image, ("firmware", ""), shared, daemon][..],
            ),
            (
                "clh-runtime-rs",
                "cloud-hypervisor",
                &[("path", "/opt/kata/bin/cloud-hypervisor"), kernel, image, shared, daemon],
            ),
            (
                "dragonball",
                "dragonball",
                &[
                    ("path", "/opt/kata/bin/dragonball"),
                    (
                        "kernel",
                        "/opt/kata/share/kata-containers/vmlinux-dragonball-experimental.container",
                    ),
                    image,
                    ("shared_fs", "inline-virtio-fs"),
                    daemon,
                ],
            ),
            (
                "rs-fc",
                "firecracker",
                &[
                    ("path", "/opt/kata/bin/firecracker"),
                    kernel,
                    image,
                    ("jailer_path", "/opt/kata/bin/jailer"),
                ],
            ),
            ("qemu-snp-runtime-rs", "qemu", &confidential("/opt/kata/share/ovmf/AMDSEV.fd")),
            ("qemu-tdx-runtime-rs", "qemu", &confidential("/opt/kata/share/ovmf/OVMF.inteltdx.fd")),
        ] {
            let text = configuration(name, keys, "dial_timeout_ms = 45000");
            let path = format!("{CONFIGURATIONS}/configuration-{file}.toml");
            self = self.with(&path, Member::File(text.into_bytes()));
        }
        // As upstream has it since 4.1.0: what it leads to is in another tarball.
        let dangling = Member::Link("configuration-qemu.toml".to_owned());
        self.with("share/defaults/kata-containers/configuration.toml", dangling)
    }

    /// With this at a path below `opt/kata`.
    pub(crate) fn with(mut self, path: &str, member: Member) -> Self {
        self.0.insert(path.to_owned(), member);
        self
    }

    /// Without what is at that path.
    pub(crate) fn without(mut self, path: &str) -> Self {
        assert!(self.0.remove(path).is_some(), "there is no {path}");
        self
    }

    /// What is at that path.
    pub(crate) fn get(&self, path: &str) -> &Member {
        &self.0[path]
    }

    /// As upstream packs it.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let header = |kind, mode, size| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(size);
            header.set_mtime(0);
            header
        };
        for (path, member) in &self.0 {
            let path = format!("./opt/kata/{path}");
            match member {
                Member::File(content) | Member::Program(content) => {
                    let mode = if matches!(member, Member::Program(_)) { 0o755 } else { 0o644 };
                    let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
                    tar.append_data(&mut header, path, &content[..]).unwrap();
                }
                Member::Link(target) => {
                    let mut header = header(tar::EntryType::Symlink, 0o777, 0);
                    tar.append_link(&mut header, path, target).unwrap();
                }
            }
        }
        let tar = tar.into_inner().unwrap();
        let mut packed = zstd::Encoder::new(Vec::new(), 3).unwrap();
        packed.include_checksum(true).unwrap();
        packed.write_all(&tar).unwrap();
        packed.finish().unwrap()
    }
}
