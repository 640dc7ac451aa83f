//! Kernel modules: what they say of themselves, which to ship, and in which order to load them.
//!
//! All of it comes from the modules' own `.modinfo` sections (kernel `include/linux/module.h`,
//! `MODULE_INFO`); the indexes that are made of that are in [`super::module_files`].

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use object::{Object as _, ObjectSection as _};

use crate::archive::form::Packing;
use crate::error::{Context as _, Error, Id, Result};

/// What a module says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModInfo {
    /// Modules that must be there before, by name.
    pub depends: Vec<String>,
    /// Modules that are useful before (`softdep=pre:`), if there are such.
    pub soft_before: Vec<String>,
    /// Modules that are useful after (`softdep=post:`), if there are such.
    pub soft_after: Vec<String>,
    /// Device and protocol patterns that this module answers to.
    pub aliases: Vec<String>,
}

impl ModInfo {
    /// Reads the `.modinfo` section of an uncompressed module.
    ///
    /// # Errors
    /// [`Id::KernelPackage`] if it is not an ELF file with such a section.
    pub fn of(elf: &[u8]) -> Result<Self> {
        let bad = || "cannot read a kernel module";
        let file = object::File::parse(elf).or_fail(Id::KernelPackage, bad)?;
        let section = file
            .section_by_name(".modinfo")
            .ok_or_else(|| Error::new(Id::KernelPackage, "a kernel module has no `.modinfo`"))?;
        Ok(Self::parse(section.data().or_fail(Id::KernelPackage, bad)?))
    }

    /// Reads NUL-terminated `key=value` strings.
    pub fn parse(section: &[u8]) -> Self {
        let mut info = Self::default();
        for text in section.split(|byte| *byte == 0).filter_map(|s| std::str::from_utf8(s).ok()) {
            match text.split_once('=') {
                Some(("depends", list)) => {
                    let names = list.split(',').filter(|name| !name.is_empty());
                    info.depends.extend(names.map(canonical));
                }
                Some(("softdep", list)) => {
                    let (mut before, mut after, mut neither) = Default::default();
                    let mut names: &mut Vec<String> = &mut neither;
                    for word in list.split_whitespace() {
                        match word {
                            "pre:" => names = &mut before,
                            "post:" => names = &mut after,
                            name => names.push(canonical(name)),
                        }
                    }
                    info.soft_before.extend(before);
                    info.soft_after.extend(after);
                }
                Some(("alias", pattern)) => info.aliases.push(pattern.to_owned()),
                _ => {}
            }
        }
        info
    }
}

/// The name that the kernel uses: without directories and suffixes, `-` written as `_`.
pub fn canonical(name: &str) -> String {
    let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    let name = name.split_once(".ko").map_or(name, |(name, _)| name);
    name.replace('-', "_")
}

/// Unpacks a module that the package has compressed, by its file name.
///
/// # Errors
/// [`Id::KernelPackage`] if it cannot be unpacked.
pub fn decompress(name: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let packing = match name.rsplit_once('.').map(|(_, suffix)| suffix) {
        Some("ko") => return Ok(bytes),
        Some("xz") => Packing::Xz,
        Some("gz") => Packing::Gzip,
        _ => {
            return Err(Error::new(
                Id::KernelPackage,
                format!("`{name}` is compressed in a way that is not known"),
            ));
        }
    };
    let mut plain = Vec::new();
    let unpacked = packing.reader(&bytes[..]).read_to_end(&mut plain);
    unpacked.or_fail(Id::KernelPackage, || format!("cannot unpack `{name}`"))?;
    Ok(plain)
}

/// The modules that a kernel has to offer.
#[derive(Debug, Clone, Default)]
pub struct Available {
    /// Name to path inside the package.
    pub modules: BTreeMap<String, String>,
    /// Names that are part of the kernel itself.
    pub builtin: BTreeSet<String>,
}

impl Available {
    /// `paths` are all module files; `builtin` is the text of `modules.builtin`.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>, builtin: &str) -> Self {
        let modules = paths.into_iter().map(|path| (canonical(path), path.to_owned())).collect();
        Self { modules, builtin: builtin.lines().map(canonical).collect() }
    }

    /// `wanted` and all that they depend on, each after its dependencies, and what is useful to have
    /// behind them. What is built in needs no file. The order depends on the names only.
    ///
    /// # Errors
    /// [`Id::UnknownModule`] with near names; what `info` fails with.
    pub fn closure<'a>(
        &self,
        wanted: impl IntoIterator<Item = &'a String>,
        mut info: impl FnMut(&str) -> Result<ModInfo>,
    ) -> Result<Vec<String>> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        let mut unknown = Vec::new();
        for name in wanted {
            let name = canonical(name);
            if self.modules.contains_key(&name) {
                self.visit(&name, &mut seen, &mut order, &mut info)?;
            } else if !self.builtin.contains(&name) {
                unknown.push(name);
            }
        }
        if unknown.is_empty() { Ok(order) } else { Err(self.unknown(&unknown)) }
    }

    fn visit(
        &self,
        name: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<String>,
        info: &mut impl FnMut(&str) -> Result<ModInfo>,
    ) -> Result<()> {
        if !self.modules.contains_key(name) || !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let info_of = info(name)?;
        for before in info_of.soft_before.iter().chain(&info_of.depends) {
            self.visit(before, seen, order, info)?;
        }
        order.push(name.to_owned());
        for after in &info_of.soft_after {
            self.visit(after, seen, order, info)?;
        }
        Ok(())
    }

    fn unknown(&self, names: &[String]) -> Error {
        let listed = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let error = Error::new(Id::UnknownModule, format!("this kernel has no module {listed}"));
        names.iter().fold(error, |error, name| {
            let near = self.modules.keys().map(|known| (strsim::jaro_winkler(name, known), known));
            match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
                Some((score, known)) if score > 0.85 => {
                    error.hint(format!("did you mean `{known}` instead of `{name}`?"))
                }
                _ => error,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> (Available, impl FnMut(&str) -> Result<ModInfo>) {
        let available = Available::new(
            [
                "kernel/drivers/md/dm-verity.ko.xz",
                "kernel/drivers/md/dm-mod.ko.xz",
                "kernel/drivers/md/dm-bufio.ko.xz",
                "kernel/fs/erofs/erofs.ko.xz",
                "kernel/lib/libcrc32c.ko.xz",
                "kernel/crypto/crc32c_generic.ko.xz",
            ],
            "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio_pci.ko\n",
        );
        let info = |name: &str| {
            let text: &[u8] = match name {
                "dm_verity" => b"depends=dm-bufio,dm-mod\0",
                "dm_bufio" => b"depends=dm-mod\0",
                "erofs" => b"depends=libcrc32c\0alias=fs-erofs\0",
                "libcrc32c" => b"softdep=pre: crc32c_generic post: other\0depends=\0",
                _ => b"depends=\0",
            };
            Ok(ModInfo::parse(text))
        };
        (available, info)
    }

    #[test]
    fn a_module_that_is_packed_in_several_parts_is_unpacked_whole() {
        let part = |bytes: &[u8]| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gzip, bytes).unwrap();
            gzip.finish().unwrap()
        };
        let packed = [part(b"one "), part(b"module")].concat();
        assert_eq!(decompress("a.ko.gz", packed).unwrap(), b"one module");
    }

    #[test]
    fn a_module_comes_after_what_it_needs_and_once() {
        let (available, info) = kernel();
        let wanted = ["dm-verity", "erofs", "dm_mod", "ext4"].map(str::to_owned);
        assert_eq!(
            available.closure(&wanted, info).unwrap(),
            ["dm_mod", "dm_bufio", "dm_verity", "crc32c_generic", "libcrc32c", "erofs"]
        );
    }

    #[test]
    fn an_unknown_module_is_named_with_a_near_one() {
        let (available, info) = kernel();
        let error = available.closure(&["erof".to_owned(), "zzz".to_owned()], info).unwrap_err();
        assert_eq!(error.id(), Id::UnknownModule);
        assert_eq!(error.to_string(), "this kernel has no module `erof`, `zzz`");
        assert_eq!(error.hints(), ["did you mean `erofs` instead of `erof`?"]);
    }

    #[test]
    fn what_is_not_a_module_is_an_error() {
        assert_eq!(ModInfo::of(b"#!/bin/sh").unwrap_err().id(), Id::KernelPackage);
        assert_eq!(decompress("a.ko.xz", b"no".to_vec()).unwrap_err().id(), Id::KernelPackage);
        assert_eq!(decompress("a.ko.lz4", b"no".to_vec()).unwrap_err().id(), Id::KernelPackage);
        assert_eq!(decompress("a.ko", b"elf".to_vec()).unwrap(), b"elf");
    }
}
