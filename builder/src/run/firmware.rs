//! Where distributions keep UEFI firmware for QEMU (OVMF, from EDK2).

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Id, Result};

/// Code and matching fresh variables, below the root directory. The 4 MiB builds come first;
/// those which enforce Secure Boot are left out, for they refuse an image that is not signed.
const KNOWN: &[(&str, &str)] = &[
    // Debian, Ubuntu
    ("usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd"),
    // Fedora and relatives
    ("usr/share/edk2/ovmf/OVMF_CODE.fd", "usr/share/edk2/ovmf/OVMF_VARS.fd"),
    // Arch
    ("usr/share/edk2/x64/OVMF_CODE.4m.fd", "usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    // openSUSE
    ("usr/share/qemu/ovmf-x86_64-4m-code.bin", "usr/share/qemu/ovmf-x86_64-4m-vars.bin"),
    // Alpine
    ("usr/share/OVMF/OVMF_CODE_4M.bin", "usr/share/OVMF/OVMF_VARS_4M.bin"),
];

/// A firmware for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// Executed in place, never written.
    pub code: PathBuf,
    /// Variables as the firmware's maker ships them.
    pub vars: PathBuf,
}

impl Firmware {
    /// The host's firmware; `root` is `/`.
    ///
    /// # Errors
    /// [`Id::FirmwareMissing`], which names the package.
    pub fn find(root: &Path) -> Result<Self> {
        let both = |&(code, vars): &(&str, &str)| {
            let found = Self { code: root.join(code), vars: root.join(vars) };
            (found.code.is_file() && found.vars.is_file()).then_some(found)
        };
        KNOWN.iter().find_map(both).ok_or_else(|| {
            Error::new(Id::FirmwareMissing, "cannot find UEFI firmware for QEMU on this host")
                .hint("install it: `ovmf` on Debian and Ubuntu, `edk2-ovmf` on Fedora and Arch")
                .hint("or boot without firmware: `orlop run --direct`")
        })
    }

    /// A private copy of the variables, writable whatever the original is.
    ///
    /// # Errors
    /// [`Id::Write`].
    pub fn copy_vars(&self, to: &Path) -> Result<()> {
        // Read and written, not copied: the copy would be read-only where the original is.
        fs::read(&self.vars).and_then(|bytes| fs::write(to, bytes)).or_fail(Id::Write, || {
            format!("cannot copy `{}` to `{}`", self.vars.display(), to.display())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn host(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        root
    }

    #[test]
    fn code_counts_only_with_its_variables_and_the_larger_build_wins() {
        let root = host(&[
            "usr/share/OVMF/OVMF_CODE_4M.fd",
            "usr/share/OVMF/OVMF_CODE.fd",
            "usr/share/OVMF/OVMF_VARS.fd",
        ]);
        let code = |root: &tempfile::TempDir| Firmware::find(root.path()).unwrap().code;
        assert_eq!(code(&root), root.path().join("usr/share/OVMF/OVMF_CODE.fd"));
        fs::write(root.path().join("usr/share/OVMF/OVMF_VARS_4M.fd"), "vars").unwrap();
        assert_eq!(code(&root), root.path().join("usr/share/OVMF/OVMF_CODE_4M.fd"));
    }

    #[test]
    fn missing_firmware_names_the_package() {
        let error = Firmware::find(host(&[]).path()).unwrap_err();
        assert_eq!(error.id(), Id::FirmwareMissing);
        assert!(error.hints()[0].contains("`ovmf` on Debian"));
    }

    #[test]
    fn the_copy_of_the_variables_can_be_written() {
        let root = host(&["usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd"]);
        let firmware = Firmware::find(root.path()).unwrap();
        fs::set_permissions(&firmware.vars, fs::Permissions::from_mode(0o444)).unwrap();
        let copy = root.path().join("vars");
        firmware.copy_vars(&copy).unwrap();
        assert_ne!(fs::metadata(copy).unwrap().permissions().mode() & 0o200, 0);
    }
}
