//! What is called differently on each architecture, and nothing else: whoever needs such a name asks
//! here, and a test keeps it so.
//!
//! Sources: Debian's `dpkg --print-architecture`; Go's `GOARCH`; Rust's target triples; the UEFI
//! specification, 3.5.1.1 (removable media); the Discoverable Partitions Specification;
//! systemd-stub(7); PE/COFF, "Machine Types"; OCI's image configuration.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::gpt::Guid;

/// The architecture that an image is for. Written as Debian writes it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Intel's and AMD's 64 bits.
    #[default]
    Amd64,
    /// Arm's 64 bits.
    Arm64,
}

/// What QEMU is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qemu {
    /// The emulator's name in `PATH`.
    pub program: &'static str,
    /// Debian's package of it.
    pub package: &'static str,
    /// The machine.
    pub machine: &'static str,
}

use Architecture::{Amd64, Arm64};

impl Architecture {
    /// The only one that images are made for: what a recipe may name. Whoever has a recipe takes its
    /// `arch`; this is for who has none: `run`, which refuses others, and `doctor`.
    pub const MADE: Self = Amd64;

    /// All that are known.
    pub const ALL: [Self; 2] = [Amd64, Arm64];

    /// Debian's name, which is also ours.
    pub const fn debian(self) -> &'static str {
        match self {
            Amd64 => "amd64",
            Arm64 => "arm64",
        }
    }

    /// What Go calls it, and the lowest version of its instructions: a node must start on any
    /// machine.
    pub const fn go(self) -> [(&'static str, &'static str); 2] {
        match self {
            Amd64 => [("GOARCH", "amd64"), ("GOAMD64", "v1")],
            Arm64 => [("GOARCH", "arm64"), ("GOARM64", "v8.0")],
        }
    }

    /// Rust's target, with the GNU C library.
    pub const fn rust(self) -> &'static str {
        match self {
            Amd64 => "x86_64-unknown-linux-gnu",
            Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The first part of Rust's target: what `std::env::consts::ARCH` calls it.
    pub const fn machine(self) -> &'static str {
        match self {
            Amd64 => "x86_64",
            Arm64 => "aarch64",
        }
    }

    /// Debian's directory of libraries.
    pub const fn libraries(self) -> &'static str {
        match self {
            Amd64 => "usr/lib/x86_64-linux-gnu",
            Arm64 => "usr/lib/aarch64-linux-gnu",
        }
    }

    /// What starts programs with shared libraries, in Debian's directory of libraries.
    pub const fn dynamic_loader(self) -> &'static str {
        match self {
            Amd64 => "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            Arm64 => "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
        }
    }

    /// What an image of containers calls it.
    pub const fn oci(self) -> &'static str {
        match self {
            Amd64 => "amd64",
            Arm64 => "arm64",
        }
    }

    /// The type of a partition with a root file system.
    pub const fn root_type(self) -> Guid {
        Guid::from_text_digits(match self {
            Amd64 => 0x4F68BCE3_E8CD_4DB1_96E7_FBCAF984B709,
            Arm64 => 0xB921B045_1DF0_41C3_AF44_4C6F280D3FAE,
        })
    }

    /// The type of a partition with the hash tree of a root file system. Ours lies behind the file
    /// system in the same partition.
    pub const fn verity_type(self) -> Guid {
        Guid::from_text_digits(match self {
            Amd64 => 0x2C7357ED_EBD2_46D9_AEC1_23D437EC2BF5,
            Arm64 => 0xDF3300CE_D69F_4C92_978C_9BFB0F38D820,
        })
    }

    /// Where firmware looks for a boot loader on a disk that it does not know.
    pub const fn boot_file(self) -> &'static str {
        match self {
            Amd64 => "EFI/BOOT/BOOTX64.EFI",
            Arm64 => "EFI/BOOT/BOOTAA64.EFI",
        }
    }

    /// systemd's stub, which makes a kernel an EFI program, in Debian's package.
    pub const fn stub(self) -> &'static str {
        match self {
            Amd64 => "usr/lib/systemd/boot/efi/linuxx64.efi.stub",
            Arm64 => "usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
        }
    }

    /// systemd's boot loader in Debian's package.
    pub const fn loader(self) -> &'static str {
        match self {
            Amd64 => "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
            Arm64 => "usr/lib/systemd/boot/efi/systemd-bootaa64.efi",
        }
    }

    /// The machine that the header of an EFI program names.
    pub const fn pe_machine(self) -> u16 {
        match self {
            Amd64 => 0x8664,
            Arm64 => 0xAA64,
        }
    }

    /// How Debian's kernel packages call the kernel in `/boot`, before `-` and its version.
    pub const fn kernel_image(self) -> &'static str {
        match self {
            Amd64 | Arm64 => "vmlinuz",
        }
    }

    /// The emulator and its machine.
    pub const fn qemu(self) -> Qemu {
        match self {
            Amd64 => {
                Qemu { program: "qemu-system-x86_64", package: "qemu-system-x86", machine: "q35" }
            }
            Arm64 => {
                Qemu { program: "qemu-system-aarch64", package: "qemu-system-arm", machine: "virt" }
            }
        }
    }

    /// Where distributions keep UEFI firmware for QEMU: code and matching fresh variables, below the
    /// root directory. The 4 MiB builds come first; those which enforce Secure Boot are left out,
    /// for they refuse an image that is not signed.
    pub const fn firmware(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Amd64 => &[
                // Debian, Ubuntu
                ("usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"),
                ("usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd"),
                // Fedora and relatives; from Fedora 40 on in qcow2 form
                (
                    "usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2",
                    "usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2",
                ),
                ("usr/share/edk2/ovmf/OVMF_CODE.fd", "usr/share/edk2/ovmf/OVMF_VARS.fd"),
                // Arch
                ("usr/share/edk2/x64/OVMF_CODE.4m.fd", "usr/share/edk2/x64/OVMF_VARS.4m.fd"),
                // openSUSE
                (
                    "usr/share/qemu/ovmf-x86_64-4m-code.bin",
                    "usr/share/qemu/ovmf-x86_64-4m-vars.bin",
                ),
                // Alpine
                ("usr/share/OVMF/OVMF_CODE_4M.bin", "usr/share/OVMF/OVMF_VARS_4M.bin"),
            ],
            // Debian, Ubuntu
            Arm64 => &[("usr/share/AAVMF/AAVMF_CODE.fd", "usr/share/AAVMF/AAVMF_VARS.fd")],
        }
    }

    /// What a build for it still lacks; nothing for one that works.
    pub const fn lacks(self) -> Option<&'static str> {
        match self {
            Amd64 => None,
            Arm64 => Some(
                "a C library and a linker for it, the kernel unpacked from its EFI form, a console \
                 on `ttyAMA0`, and a boot in QEMU as a test",
            ),
        }
    }

    /// The one of a program that was compiled for this machine, if it is known.
    pub fn of_machine(machine: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|architecture| architecture.machine() == machine)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.debian())
    }
}

/// It is none that we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an architecture that is known: it is `amd64` or `arm64`")]
pub struct UnknownArchitecture(String);

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(text: &str) -> Result<Self, UnknownArchitecture> {
        let found = Self::ALL.into_iter().find(|architecture| architecture.debian() == text);
        found.ok_or_else(|| UnknownArchitecture(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_is_written_as_debian_writes_it() {
        for architecture in Architecture::ALL {
            assert_eq!(architecture.to_string().parse(), Ok(architecture));
            assert_eq!(Architecture::of_machine(architecture.machine()), Some(architecture));
        }
        assert_eq!(Architecture::of_machine("riscv64"), None);
        assert!("x86_64".parse::<Architecture>().is_err());
    }

    #[test]
    fn no_two_architectures_share_a_name_that_must_tell_them_apart() {
        let [one, two] = Architecture::ALL;
        assert_ne!(one.root_type(), two.root_type());
        assert_ne!(one.verity_type(), two.verity_type());
        assert_ne!(one.boot_file(), two.boot_file());
        assert_ne!(one.stub(), two.stub());
        assert_ne!(one.loader(), two.loader());
        assert_ne!(one.pe_machine(), two.pe_machine());
        assert_ne!(one.rust(), two.rust());
        assert_ne!(one.go(), two.go());
        assert_ne!(one.libraries(), two.libraries());
        assert_ne!(one.qemu(), two.qemu());
    }
}
