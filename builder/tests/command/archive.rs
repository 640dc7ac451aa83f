//! A Debian archive that is made in code: a few packages of a few bytes, an index, and a release
//! file that is signed by a key from a number. The same files come out every time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use formats::digest::Sha256;

use crate::signers::Signer;

/// Where things are, below the mirror's address.
pub(crate) const RELEASE: &str = "/debian/dists/trixie/InRelease";
/// The packed index.
pub(crate) const INDEX: &str = "/debian/dists/trixie/main/binary-amd64/Packages.gz";

/// What a package puts at a path.
#[derive(Clone)]
enum Member {
    File { content: Vec<u8>, mode: u32 },
    Link(&'static str),
}

/// A package, not yet packed.
#[derive(Clone)]
pub(crate) struct Package {
    name: &'static str,
    version: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    members: BTreeMap<&'static str, Member>,
    script: &'static str,
    more: Option<fn(&mut tar::Builder<Vec<u8>>)>,
}

impl Package {
    pub(crate) fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version, fields: Vec::new(), members: BTreeMap::new(), script: "", more: None }
    }

    pub(crate) fn depends(self, on: &'static str) -> Self {
        self.field("Depends", on)
    }

    /// A field of its control file.
    pub(crate) fn field(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    /// A file at a path without a leading slash.
    pub(crate) fn file(self, path: &'static str, content: impl AsRef<[u8]>) -> Self {
        self.with_mode(path, content, 0o644)
    }

    pub(crate) fn program(self, path: &'static str, content: impl AsRef<[u8]>) -> Self {
        self.with_mode(path, content, 0o755)
    }

    pub(crate) fn with_mode(
        mut self,
        path: &'static str,
        content: impl AsRef<[u8]>,
        mode: u32,
    ) -> Self {
        let content = content.as_ref().to_vec();
        self.members.insert(path, Member::File { content, mode });
        self
    }

    pub(crate) fn link(mut self, path: &'static str, target: &'static str) -> Self {
        self.members.insert(path, Member::Link(target));
        self
    }

    /// A script that dpkg would run after it has unpacked the package.
    pub(crate) fn script(mut self, text: &'static str) -> Self {
        self.script = text;
        self
    }

    /// Adds what only a few packages have, after all else.
    pub(crate) fn with_tar(mut self, more: fn(&mut tar::Builder<Vec<u8>>)) -> Self {
        self.more = Some(more);
        self
    }

    /// Where the archive has it, below the mirror's address.
    pub(crate) fn path(&self) -> String {
        format!("/debian/{}", self.pool())
    }

    fn pool(&self) -> String {
        format!("pool/{}_{}_amd64.deb", self.name, self.version)
    }

    fn control(&self) -> String {
        let fields = self.fields.iter().map(|(key, value)| format!("{key}: {value}\n"));
        format!(
            "Package: {}\nVersion: {}\nArchitecture: amd64\n{}",
            self.name,
            self.version,
            fields.collect::<String>()
        )
    }

    /// The `.deb`, as deb(5) has it.
    pub(crate) fn deb(&self) -> Vec<u8> {
        let mut control = tar::Builder::new(Vec::new());
        append(&mut control, "./control", self.control().as_bytes(), 0o644);
        if !self.script.is_empty() {
            append(&mut control, "./postinst", self.script.as_bytes(), 0o755);
        }
        let mut data = tar::Builder::new(Vec::new());
        let parents = self.members.keys().flat_map(|path| {
            path.match_indices('/').map(|(slash, _)| &path[..slash]).collect::<Vec<_>>()
        });
        for directory in parents.collect::<BTreeSet<_>>() {
            let mut header = header(tar::EntryType::Directory, 0, 0o755);
            data.append_data(&mut header, format!("./{directory}/"), &[][..]).unwrap();
        }
        for (path, member) in &self.members {
            let path = format!("./{path}");
            match member {
                Member::File { content, mode } => append(&mut data, &path, content, *mode),
                Member::Link(target) => {
                    let mut header = header(tar::EntryType::Symlink, 0, 0o777);
                    data.append_link(&mut header, path, target).unwrap();
                }
            }
        }
        if let Some(more) = self.more {
            more(&mut data);
        }
        let mut deb = b"!<arch>\n".to_vec();
        for (name, content) in [
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar.gz", gzip(&control.into_inner().unwrap())),
            ("data.tar.gz", gzip(&data.into_inner().unwrap())),
        ] {
            let size = content.len();
            writeln!(deb, "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`", 0, 0, 0, 100_644).unwrap();
            deb.extend(content);
            if size % 2 == 1 {
                deb.push(b'\n');
            }
        }
        deb
    }
}

fn header(kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) {
    let mut header = header(tar::EntryType::Regular, content.len() as u64, mode);
    tar.append_data(&mut header, path, content).unwrap();
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut writer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

/// A suite with one component, not yet published.
#[derive(Clone)]
pub(crate) struct Archive {
    /// In the order in which the index lists them.
    pub(crate) packages: Vec<Package>,
    /// When the release file was made.
    pub(crate) date: &'static str,
    /// Further fields of the release file, each with its line feed.
    pub(crate) fields: &'static str,
    /// The number of the key that signs it.
    pub(crate) signer: u8,
}

impl Archive {
    /// What the tiny recipe needs, and a few packages that no image may have.
    pub(crate) fn new() -> Self {
        let packages = vec![
            Package::new("linux-image-cloud-amd64", "6.0-1")
                .depends("linux-image-6.0-cloud-amd64 (= 6.0-1)"),
            Package::new("linux-image-6.0-cloud-amd64", "6.0-1")
                .field("Source", "linux-signed-amd64 (6.0+1)")
                .field("Built-Using", "linux (= 6.0-1)")
                .depends("kmod, linux-base")
                .file("boot/vmlinuz-6.0", [0x4b; 5000])
                .file("usr/lib/modules/6.0/modules.builtin", "kernel/fs/ext4/ext4.ko\n")
                .file("usr/lib/modules/6.0/kernel/drivers/md/dm-mod.ko", module(""))
                .file("usr/lib/modules/6.0/kernel/drivers/md/dm-verity.ko", module("dm-mod"))
                .file("usr/lib/modules/6.0/kernel/fs/overlayfs/overlay.ko.gz", gzip(&module(""))),
            Package::new("systemd-boot-efi", "257-1")
                .file("usr/lib/systemd/boot/efi/linuxx64.efi.stub", stub())
                .file("usr/lib/systemd/boot/efi/systemd-bootx64.efi", [0x4c; 3000]),
            Package::new("runc", "1.1-1")
                .depends("libtiny (>= 2)")
                .program("usr/sbin/runc", "runs containers")
                .file("usr/share/doc/runc/copyright", "free"),
            Package::new("libtiny", "2.41-12")
                .file("usr/lib/libtiny.so.2.41", "a library")
                .link("usr/lib/libtiny.so.2", "libtiny.so.2.41"),
            Package::new("ca-certificates", "2025-1")
                .file("usr/share/ca-certificates/one.crt", "CERTIFICATE"),
            Package::new("tiny-shell", "1-1").program("usr/bin/sh", "a shell"),
            Package::new("tiny-mount", "1-1").with_mode("usr/bin/mount", "as root", 0o4755),
            Package::new("tiny-script", "1-1").program("usr/bin/tool", "#!/bin/sh -e\n"),
            Package::new("tiny-unasked", "1-1").program("usr/bin/unasked", "what is this"),
            Package::new("tiny-tables", "1-1").file("usr/lib/tables/tables-new", "program").script(
                "#!/bin/sh\nupdate-alternatives --install /usr/sbin/tables tables \\\n  \
                     /usr/lib/tables/tables-new 20\n",
            ),
            Package::new("tiny-twin", "1-1").program("usr/sbin/runc", "runs other containers"),
            Package::new("tiny-open", "1-1").depends("tiny-middle"),
            Package::new("tiny-middle", "1-1").depends("libtiny, libabsent (>= 3)"),
        ];
        Self { packages, date: "Sat, 01 Jan 2022 00:00:00 UTC", fields: "", signer: 1 }
    }

    pub(crate) fn package(&self, name: &str) -> &Package {
        self.packages.iter().find(|package| package.name == name).unwrap()
    }

    /// The text of the index.
    pub(crate) fn index(&self) -> String {
        let paragraphs = self.packages.iter().map(|package| {
            let deb = package.deb();
            format!(
                "{}Filename: {}\nSize: {}\nSHA256: {}\n",
                package.control(),
                package.pool(),
                deb.len(),
                Sha256::of(&deb)
            )
        });
        paragraphs.collect::<Vec<_>>().join("\n")
    }

    /// Every file of the archive by its path below the mirror's address.
    pub(crate) fn publish(&self) -> BTreeMap<String, Vec<u8>> {
        let index = gzip(self.index().as_bytes());
        let release = format!(
            "Suite: stable\nCodename: trixie\nDate: {}\n{}SHA256:\n {} {} \
             main/binary-amd64/Packages.gz\n",
            self.date,
            self.fields,
            Sha256::of(&index),
            index.len()
        );
        let release = Signer::new(self.signer).sign(&release);
        let debs = self.packages.iter().map(|package| (package.path(), package.deb()));
        let lists = [(RELEASE.to_owned(), release.into_bytes()), (INDEX.to_owned(), index)];
        debs.chain(lists).collect()
    }
}

/// An ELF file with nothing but a `.modinfo`.
pub(crate) fn module(depends: &str) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let info = format!("license=GPL\0depends={depends}\0");
    let (names_at, info_at) = (64, 64 + names.len());
    let headers_at = (info_at + info.len()).next_multiple_of(8);
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([1, 0, 62, 0, 1, 0, 0, 0]); // relocatable, x86-64
    elf.extend([0; 16]);
    elf.extend((headers_at as u64).to_le_bytes());
    elf.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
    elf.extend(names);
    elf.extend(info.as_bytes());
    elf.resize(headers_at + 64, 0); // the first section header is empty
    for (name, kind, at, size) in
        [(1_u32, 1_u32, info_at, info.len()), (10, 3, names_at, names.len())]
    {
        elf.extend(name.to_le_bytes());
        elf.extend(kind.to_le_bytes());
        elf.extend([0; 16]);
        elf.extend((at as u64).to_le_bytes());
        elf.extend((size as u64).to_le_bytes());
        elf.extend([0; 8]);
        elf.extend(1_u64.to_le_bytes());
        elf.extend([0; 8]);
    }
    elf
}

/// A program for UEFI with one section, and room for the headers of ten more.
fn stub() -> Vec<u8> {
    let mut bytes = vec![0; 0x600];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3c, &[0x40]); // the PE header's place
    put(0x40, b"PE\0\0\x64\x86\x01");
    put(0x54, &[0xf0, 0, 0x2e, 0x02, 0x0b, 0x02]);
    put(0x78, &0x1000_u32.to_le_bytes()); // section alignment
    put(0x7c, &0x200_u32.to_le_bytes()); // file alignment
    put(0x90, &0x2000_u32.to_le_bytes()); // size of the image
    put(0x94, &0x400_u32.to_le_bytes()); // size of the headers
    put(0x9c, &[10]); // an EFI application
    put(0xc4, &[16]);
    put(0x148, b".text\0\0\0");
    put(0x150, &0x20_u32.to_le_bytes());
    put(0x154, &0x1000_u32.to_le_bytes());
    put(0x158, &0x200_u32.to_le_bytes());
    put(0x15c, &0x400_u32.to_le_bytes());
    bytes
}
