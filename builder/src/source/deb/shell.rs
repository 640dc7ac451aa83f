//! The outer shell of a `.deb`: an `ar` archive that holds two packed tar archives.
//! Format: deb(5).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};

use formats::deb::ar;
use formats::tree::TreePath;
use tar::{Archive, Entry as Member};

use super::alternatives::{self, Alternative};
use super::contents::Control;
use crate::archive::form::Packing;
use crate::error::{Error, Id, Result};

/// No package unpacks to more bytes, and no `control` file has more.
const MAX_UNPACKED: u64 = 8 << 30;
const MAX_CONTROL: u64 = 1 << 20;

/// What may follow the end of a tar archive: it is padded to whole records.
const MAX_PADDING: u64 = 1 << 20;

/// A member of one of the two tar archives.
pub(super) type TarMember<'a, 'b> = Member<'a, Box<dyn Read + 'b>>;

/// The outer shell: where the two archives are in the file.
pub(super) struct Deb<'a> {
    file: &'a File,
    name: &'a str,
    control: Place,
    pub(super) data: Place,
}

/// A member of the outer archive.
pub(super) struct Place {
    // Such as `data.tar.xz`.
    member: String,
    start: u64,
    size: u64,
}

impl<'a> Deb<'a> {
    pub(super) fn open(file: &'a File, name: &'a str) -> Result<Self> {
        let bad = |problem: String| bad_package(name, problem);
        let read = |error: io::Error| bad(format!("it is cut short: {error}"));
        let mut reader = file;
        let size = reader.seek(SeekFrom::End(0)).map_err(read)?;
        reader.rewind().map_err(read)?;
        let mut magic = [0; ar::MAGIC.len()];
        reader.read_exact(&mut magic).map_err(read)?;
        if magic != *ar::MAGIC {
            return Err(bad("it is not a Debian package".to_owned()));
        }
        let mut at = magic.len() as u64;
        let mut places: BTreeMap<&str, Place> = BTreeMap::new();
        let mut first = true;
        while at < size {
            let mut header = [0; ar::HEADER_LEN];
            reader.seek(SeekFrom::Start(at)).map_err(read)?;
            reader.read_exact(&mut header).map_err(read)?;
            let member = ar::parse_header(&header).map_err(|error| bad(error.to_string()))?;
            let start = at + ar::HEADER_LEN as u64;
            if member.size > size - start {
                return Err(bad(format!("member `{}` is cut short", member.name)));
            }
            if first {
                let mut version = String::new();
                let taken = reader.take(member.size.min(16)).read_to_string(&mut version);
                if member.name != "debian-binary" || taken.is_err() || !version.starts_with("2.") {
                    return Err(bad("it is not a Debian package of format 2".to_owned()));
                }
            }
            first = false;
            let padded = member.padded_size();
            for key in ["control.tar", "data.tar"] {
                if member.name.split_at_checked(key.len()).is_some_and(|(start, _)| start == key) {
                    let place = Place { member: member.name.clone(), start, size: member.size };
                    if places.insert(key, place).is_some() {
                        return Err(bad(format!("it has two members `{key}`")));
                    }
                }
            }
            at = start + padded;
        }
        let mut take =
            |key: &str| places.remove(key).ok_or_else(|| bad(format!("it has no member `{key}`")));
        Ok(Self { file, name, control: take("control.tar")?, data: take("data.tar")? })
    }

    /// What the package says of itself, and the links that its script would make.
    pub(super) fn control(&self) -> Result<(Control, Vec<Alternative>)> {
        let (mut control, mut alternatives) = (None, Vec::new());
        self.each(&self.control, |path, member| {
            if path.as_str() == "control" && control.is_none() {
                let mut text = String::new();
                let read = member.take(MAX_CONTROL).read_to_string(&mut text);
                read.map_err(|error| self.bad(format!("cannot read its `control`: {error}")))?;
                control = Some(text);
            } else if path.as_str() == "postinst" {
                let mut script = Vec::new();
                let read = member.take(MAX_CONTROL).read_to_end(&mut script);
                read.map_err(|error| self.bad(format!("cannot read its `postinst`: {error}")))?;
                alternatives = alternatives::parse(&String::from_utf8_lossy(&script));
            }
            Ok(())
        })?;
        let text = control.ok_or_else(|| self.bad("it has no `control` file"))?;
        let control = Control::parse(&text);
        let control = control.map_err(|problem| self.bad(format!("its `control`: {problem}")))?;
        Ok((control, alternatives))
    }

    /// Calls `take` for every member of one of the two tar archives but the root directory.
    pub(super) fn each(
        &self,
        place: &Place,
        mut take: impl FnMut(TreePath, &mut TarMember<'_, '_>) -> Result<()>,
    ) -> Result<()> {
        let damaged = |error: io::Error| self.bad(format!("`{}`: {error}", place.member));
        let mut file = self.file;
        file.seek(SeekFrom::Start(place.start)).map_err(damaged)?;
        let packing = match place.member.rsplit_once(".tar") {
            Some((_, ".xz")) => Packing::Xz,
            Some((_, ".zst")) => Packing::Zstd,
            Some((_, ".gz")) => Packing::Gzip,
            Some((_, "")) => Packing::None,
            _ => {
                let problem =
                    format!("`{}` is packed in a way that Debian does not use", place.member);
                return Err(self.bad(problem).hint("pack it with xz: `dpkg-deb -Zxz`"));
            }
        };
        let mut archive = Archive::new(packing.reader(file.take(place.size)));
        let mut total = 0;
        for member in archive.entries().map_err(damaged)? {
            let mut member = member.map_err(damaged)?;
            total += member.size();
            if total > MAX_UNPACKED {
                return Err(self.bad(format!("it unpacks to more than {MAX_UNPACKED} bytes")));
            }
            if member.header().entry_type().is_pax_global_extensions() {
                continue;
            }
            let path = self.path(&member.path_bytes())?;
            if path != TreePath::ROOT {
                take(path, &mut member)?;
            }
        }
        // The checksum stands at the very end.
        let mut rest = archive.into_inner().take(MAX_PADDING + 1);
        if io::copy(&mut rest, &mut io::sink()).map_err(damaged)? > MAX_PADDING {
            return Err(self.bad(format!("`{}` goes on after its end", place.member)));
        }
        Ok(())
    }

    pub(super) fn path(&self, bytes: &[u8]) -> Result<TreePath> {
        let text = std::str::from_utf8(bytes).map_err(|_| {
            self.bad(format!("path `{}` is not UTF-8", String::from_utf8_lossy(bytes)))
        })?;
        TreePath::new(text).map_err(|error| self.bad(error.to_string()))
    }

    pub(super) fn bad(&self, problem: impl Into<String>) -> Error {
        bad_package(self.name, problem)
    }
}

fn bad_package(name: &str, problem: impl Into<String>) -> Error {
    Error::new(Id::BadPackage, format!("cannot use package `{name}`: {}", problem.into()))
}
