//! Where distributions keep UEFI firmware for QEMU (OVMF, from EDK2): in places that are known, and
//! where their own descriptions say (`docs/interop/firmware.json` of QEMU).

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use formats::architecture::Architecture;
use serde::Deserialize;

use crate::durable::{self, Name};
use crate::error::{Context as _, Error, Id, Result};
use crate::run::plan::Format;
use crate::unfinished;

/// Where firmware describes itself, the site's own words first.
const DESCRIPTIONS: [&str; 2] = ["etc/qemu/firmware", "usr/share/qemu/firmware"];

/// What firmware says of itself, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Description {
    interface_types: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
    features: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    device: String,
    executable: Option<Image>,
    nvram_template: Option<Image>,
}

#[derive(Deserialize)]
struct Image {
    filename: PathBuf,
}

#[derive(Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

/// A flash of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flash {
    /// The file.
    pub path: PathBuf,
    /// How QEMU must read it.
    pub format: Format,
}

impl Flash {
    /// The flash that is in `path`.
    ///
    /// # Errors
    /// [`Id::Read`].
    pub fn of(path: PathBuf) -> Result<Self> {
        Ok(Self { format: Format::of(&path)?, path })
    }
}

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
        Architecture::MADE.firmware().iter().find_map(both).or_else(|| described(root)).ok_or_else(
            || {
                Error::new(Id::FirmwareMissing, "cannot find UEFI firmware for QEMU on this host")
                    .hint("install it: `ovmf` on Debian and Ubuntu, `edk2-ovmf` on Fedora and Arch")
                    .hint("or boot without firmware: `orlop run --direct`")
            },
        )
    }

    /// A private copy of the variables, writable whatever the original is.
    ///
    /// # Errors
    /// [`Id::Write`].
    pub fn copy_vars(&self, to: &Path) -> Result<()> {
        // Read and written, not copied: the copy would be read-only where the original is. Whole or
        // not at all, for a half would be taken for what an earlier run kept.
        let copy = || {
            let mut file =
                unfinished::file(durable::parent(to), unfinished::Kind::Variables, 0o600)?;
            file.write_all(&fs::read(&self.vars)?)?;
            durable::persist(file, to, Name::Now)
        };
        copy().or_fail(Id::Write, || {
            format!("cannot copy `{}` to `{}`", self.vars.display(), to.display())
        })
    }
}

/// The first firmware that describes itself as what we need: for this machine, in two flashes, and
/// without Secure Boot, which refuses an image that is not signed.
fn described(root: &Path) -> Option<Firmware> {
    let mut files: Vec<_> = DESCRIPTIONS
        .iter()
        .flat_map(|directory| fs::read_dir(root.join(directory)).into_iter().flatten().flatten())
        .map(|entry| (entry.file_name(), entry.path()))
        .filter(|(_, path)| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    // Their names are their order; a file of the site replaces one of its name.
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    files.dedup_by(|(later, _), (first, _)| later == first);
    files.iter().find_map(|(_, path)| {
        let text = fs::read(path).ok()?;
        let found: Description = serde_json::from_slice(&text).ok()?;
        let fits = |target: &Target| {
            let q35 = |machine: &String| machine.starts_with("pc-q35") || machine == "q35";
            target.architecture == Architecture::MADE.machine() && target.machines.iter().any(q35)
        };
        let secure = ["secure-boot", "enrolled-keys", "requires-smm"];
        let usable = found.interface_types.iter().any(|kind| kind == "uefi")
            && found.mapping.device == "flash"
            && found.targets.iter().any(fits)
            && !found.features.iter().any(|feature| secure.contains(&feature.as_str()));
        let below =
            |image: Image| root.join(image.filename.strip_prefix("/").unwrap_or(&image.filename));
        let code = below(found.mapping.executable?);
        let vars = below(found.mapping.nvram_template?);
        (usable && code.is_file() && vars.is_file()).then_some(Firmware { code, vars })
    })
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
    fn firmware_in_qcow2_form_is_found_and_told_by_its_bytes() {
        let files = ["OVMF_CODE_4M.qcow2", "OVMF_VARS_4M.qcow2"];
        let files = files.map(|name| format!("usr/share/edk2/ovmf/{name}"));
        let root = host(&files.each_ref().map(String::as_str));
        let firmware = Firmware::find(root.path()).unwrap();
        assert!(firmware.code.ends_with("OVMF_CODE_4M.qcow2"));
        fs::write(&firmware.code, b"QFI\xfb\0\0\0\x03").unwrap();
        assert_eq!(Flash::of(firmware.code).unwrap().format, Format::Qcow2);
        assert_eq!(Flash::of(firmware.vars).unwrap().format, Format::Raw, "a name says nothing");
    }

    #[test]
    fn firmware_in_a_place_of_its_own_is_found_by_its_description() {
        let root = host(&["opt/fw/code", "opt/fw/vars", "opt/fw/secure"]);
        let describe = |name: &str, code: &str, features: &str, machine: &str| {
            let path = root.path().join("usr/share/qemu/firmware").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = format!(
                r#"{{ "description": "", "interface-types": ["uefi"], "mapping": {{
                    "device": "flash", "mode": "split",
                    "executable": {{ "filename": "/opt/fw/{code}", "format": "raw" }},
                    "nvram-template": {{ "filename": "/opt/fw/vars", "format": "raw" }} }},
                    "targets": [{{ "architecture": "x86_64", "machines": ["{machine}"] }}],
                    "features": [{features}], "tags": [] }}"#
            );
            fs::write(path, text).unwrap();
        };
        describe("10-secure.json", "secure", "\"secure-boot\"", "pc-q35-*");
        describe("20-other.json", "secure", "", "pc-i440fx-*");
        describe("30-gone.json", "none", "", "pc-q35-*");
        fs::write(root.path().join("usr/share/qemu/firmware/40-broken.json"), "{").unwrap();
        assert!(Firmware::find(root.path()).is_err());
        describe("60-plain.json", "code", "\"acpi-s3\"", "pc-q35-*");
        let firmware = Firmware::find(root.path()).unwrap();
        assert_eq!(firmware.code, root.path().join("opt/fw/code"));
        assert_eq!(firmware.vars, root.path().join("opt/fw/vars"));
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
        let ((), asked) = crate::durable::testing::asked(|| firmware.copy_vars(&copy).unwrap());
        assert_eq!(asked[1].split(' ').next_back(), Some("vars"), "it appears whole: {asked:?}");
        assert_ne!(fs::metadata(copy).unwrap().permissions().mode() & 0o200, 0);
    }
}
