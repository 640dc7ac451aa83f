//! Images as files: the disk with its partitions, and a look into what was made.

pub mod disk;
pub mod efi;
pub mod inspect;
pub mod ours;
pub(crate) mod sparse;
pub mod state;

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::path::{Path, PathBuf};

    use formats::architecture::Architecture;
    use formats::uki::{Sections, build};
    use tempfile::TempDir;
    use uuid::Uuid;

    use super::disk::{Inputs, Layout, Role, write};
    use super::efi::{Made, Padded, Ready, Unsigned};
    use crate::process::Command;
    use crate::recipe::model::{Disk, Mib};

    /// Small parts of a disk, and a place for what is made of them.
    pub(crate) struct Sample {
        pub(super) directory: TempDir,
        pub(super) root: PathBuf,
        pub(super) layout: Layout,
        uki: Ready,
        loader: Ready,
    }

    impl Sample {
        pub(crate) fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().join("root.img");
            let file = File::create_new(&root).unwrap();
            file.set_len(3_000_000).unwrap();
            file.write_all_at(&[1; 500_000], 0).unwrap();
            file.write_all_at(&[2; 4096], 2_900_000).unwrap();
            let disk = Disk { esp: Mib(36), root: Mib(8), state: Mib(16), uki: Mib(2) };
            let layout =
                Layout::plan(Architecture::Amd64, &disk, 3_000_000, Uuid::from_u128(7), &[])
                    .unwrap();
            let padded = Made::new(uki(70_000)).pad(layout.uki(), &Unsigned).unwrap();
            let uki = padded.sign(&Unsigned).unwrap();
            Self { directory, root, layout, uki, loader: loader(124_416) }
        }

        pub(super) fn inputs(&self) -> Inputs<'_> {
            Inputs { loader: &self.loader, uki: &self.uki, root: &self.root, epoch: 0 }
        }

        /// Writes the disk image.
        pub(crate) fn disk(&self) -> PathBuf {
            let path = self.directory.path().join("disk.raw");
            write(&self.layout, &self.inputs(), &File::create_new(&path).unwrap()).unwrap();
            path
        }

        /// Copies a partition into a file of its own.
        pub(super) fn extract(&self, disk: &Path, role: Role) -> PathBuf {
            let partition = self.layout.partition(role);
            let size = usize::try_from(partition.size.bytes()).unwrap();
            let mut bytes = vec![0; size];
            File::open(disk).unwrap().read_exact_at(&mut bytes, partition.start()).unwrap();
            let path = self.directory.path().join(role.name());
            std::fs::write(&path, bytes).unwrap();
            path
        }
    }

    /// A boot loader of so many bytes.
    pub(super) fn loader(size: usize) -> Ready {
        Padded::loader(vec![3; size]).sign(&Unsigned).unwrap()
    }

    /// A UKI whose kernel is so many bytes of nothing.
    pub(crate) fn uki(linux: usize) -> Vec<u8> {
        let sections = Sections {
            osrel: b"ID=orlop\nNAME=\"OrlopOS\"\nORLOP_VERSION=7\n",
            cmdline: b"orlop.root=partuuid:x,y ro",
            uname: b"6.12.117",
            linux: &vec![5; linux],
            initrd: &[6; 1000],
        };
        build(&stub(), &sections).unwrap()
    }

    /// A program for UEFI with one section, and room for the headers of ten more.
    pub(crate) fn stub() -> Vec<u8> {
        let mut bytes = vec![0; 0x600];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, b"MZ");
        put(0x3C, &[0x40]);
        put(0x40, b"PE\0\0\x64\x86\x01");
        put(0x54, &[0xF0, 0, 0x2E, 0x02, 0x0B, 0x02]);
        put(0x78, &0x1000_u32.to_le_bytes());
        put(0x7C, &0x200_u32.to_le_bytes());
        put(0x90, &0x2000_u32.to_le_bytes());
        put(0x94, &0x400_u32.to_le_bytes());
        put(0x9C, &[10]);
        put(0xC4, &[16]);
        put(0x148, b".text\0\0\0");
        put(0x150, &0x20_u32.to_le_bytes());
        put(0x154, &0x1000_u32.to_le_bytes());
        put(0x158, &0x200_u32.to_le_bytes());
        put(0x15C, &0x400_u32.to_le_bytes());
        bytes
    }

    /// What a judge that must be content writes; the file to judge is its last argument.
    pub(super) fn judge(program: &str, package: &str, arguments: &[&str], file: &Path) -> String {
        let output = Command::new(program).args(arguments).arg(file).run();
        let output = output.unwrap_or_else(|error| {
            panic!("{} (`{program}` is in the package `{package}`)", error.chain())
        });
        String::from_utf8(output).unwrap()
    }
}
