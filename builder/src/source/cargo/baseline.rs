//! A C library as programs of this host are linked with it: as if it were an older one.
//!
//! Build scripts and procedural macros run on the host, whose C library may be older than the
//! lock's. What a linker notes is the version of each symbol that the library at hand has, and the
//! loader refuses a program that names a version it does not know, even if the symbol is weak and
//! not needed. So in a copy of the library, which is linked with and never run,
//!
//! - of a symbol which there is in an old and in a new version the old one is the default;
//! - a symbol which there is in new versions only has none, so that it is looked up by its name.
//!
//! Format: ELF, `.gnu.version` and `.gnu.version_d` of the GNU symbol versions.

use std::collections::BTreeMap;

use object::elf::{self, FileHeader64, VERSYM_HIDDEN, VERSYM_VERSION};
use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};
use object::{Endianness, pod};

/// glibc 2.34, of 2021: the first with one library for all, and what start files of later ones need.
const NEWEST: (u32, u32) = (2, 34);

/// In `.gnu.version`: the symbol is there, and has no version.
const GLOBAL: u16 = 1;

/// Makes the library look older. The error is what is wrong with it.
pub(super) fn lower(library: &mut [u8]) -> Result<(), String> {
    let changes = changes(library).map_err(|error| error.to_string())?;
    for (offset, value) in changes {
        let field = library.get_mut(offset..offset + 2).ok_or("it is cut short")?;
        field.copy_from_slice(pod::bytes_of(&value));
    }
    Ok(())
}

/// One version of a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Symbol {
    version: (u32, u32),
    /// Whether it is not the default.
    hidden: bool,
    /// Its index in the table of symbols, and in that of versions.
    at: usize,
    index: u16,
}

/// Where in the file which entry of `.gnu.version` becomes what.
fn changes(library: &[u8]) -> object::read::Result<Vec<(usize, u16)>> {
    let header = FileHeader64::<Endianness>::parse(library)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, library)?;
    let symbols = sections.symbols(endian, library, elf::SHT_DYNSYM)?;
    let Some((table, _)) = sections.gnu_versym(endian, library)? else { return Ok(Vec::new()) };
    let section = sections
        .iter()
        .find(|section| section.sh_type(endian) == elf::SHT_GNU_VERSYM)
        .map_or(0, |section| section.sh_offset(endian));
    let Some(versions) = sections.versions(endian, library)? else { return Ok(Vec::new()) };

    let mut by_name: BTreeMap<&[u8], Vec<Symbol>> = BTreeMap::new();
    for (at, symbol) in symbols.enumerate() {
        let Some(entry) = table.get(at.0) else { break };
        let index = entry.0.get(endian);
        let version = versions.version(object::read::elf::VersionIndex(index))?;
        let version = version.and_then(|version| number(version.name()));
        let (Some(version), false) = (version, symbol.is_undefined(endian)) else { continue };
        let name = symbols.symbol_name(endian, symbol)?;
        let hidden = index & VERSYM_HIDDEN != 0;
        let index = index & VERSYM_VERSION;
        by_name.entry(name).or_default().push(Symbol { version, hidden, at: at.0, index });
    }
    let place = |symbol: &Symbol| usize::try_from(section).unwrap_or(usize::MAX) + 2 * symbol.at;
    let mut changes = Vec::new();
    for versions in by_name.into_values() {
        let (old, new): (Vec<_>, Vec<_>) =
            versions.into_iter().partition(|symbol| symbol.version <= NEWEST);
        match old.iter().max() {
            None => changes.extend(new.iter().map(|symbol| (place(symbol), GLOBAL))),
            Some(newest) if new.iter().any(|symbol| !symbol.hidden) => {
                let hide = |symbol: &Symbol| (place(symbol), symbol.index | VERSYM_HIDDEN);
                changes.extend(new.iter().map(hide));
                changes.push((place(newest), newest.index));
            }
            Some(_) => {}
        }
    }
    Ok(changes)
}

/// `GLIBC_2.39`, or with a third number. Others (`GLIBC_PRIVATE`, `GLIBC_ABI_DT_RELR`) have none.
fn number(name: &[u8]) -> Option<(u32, u32)> {
    let name = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
    let mut parts = name.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests;
