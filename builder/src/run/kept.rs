//! A disk that `--disk` keeps. If it is an overlay, most of it is still in the image that it was
//! made over, and it means nothing over another one: so what that image was is written beside it.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use formats::gpt::Table;
use serde::{Deserialize, Serialize};

use crate::build::artifact::Kind;
use crate::build::output::REPORT;
use crate::build::report;
use crate::durable::{self, Name};
use crate::error::{Context as _, Error, Id, Result};
use crate::image::disk::{Role, Slot};
use crate::image::inspect::RootSummary;
use crate::run::Options;
use crate::stored::Hex;
use crate::unfinished;

/// The shape of the record. Fields may come without a new one.
const SCHEMA: u32 = 1;

/// What a disk is to an overlay over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Base {
    schema: u32,
    /// Of slot A; nothing if there is no root in it.
    root_hash: Option<Hex>,
    /// In the order of the table.
    partitions: Vec<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Place {
    name: String,
    guid: String,
    offset: u64,
    size: u64,
}

impl Base {
    /// Of a disk with this table; `read` reads so many bytes of it from an offset on, both
    /// multiples of a sector.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn of(
        table: &Table,
        read: impl Fn(u64, u64) -> io::Result<Vec<u8>>,
    ) -> io::Result<Self> {
        let slot = table.partition(Role::Root(Slot::A).name());
        let root = slot.map(|slot| {
            RootSummary::read_with(slot.size(), |at, length| read(slot.offset() + at, length))
        });
        // One that is no root has no hash.
        let root_hash = root.transpose()?.and_then(|root| root.ok()?.root_hash);
        let partitions = table.partitions().iter().map(|partition| Place {
            name: partition.name.clone(),
            guid: partition.guid.to_string(),
            offset: partition.offset(),
            size: partition.size(),
        });
        Ok(Self { schema: SCHEMA, root_hash, partitions: partitions.collect() })
    }

    /// Writes it beside the overlay `kept`.
    ///
    /// # Errors
    /// [`Id::Write`].
    pub(super) fn write(&self, kept: &Path) -> Result<()> {
        let path = record(kept);
        let write = || {
            let mut file =
                unfinished::file(durable::parent(&path), unfinished::Kind::Record, 0o600)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            durable::persist(file, &path, Name::Now)
        };
        write().or_fail(Id::Write, || format!("cannot write `{}`", path.display()))
    }

    /// Checks that the overlay `kept` was made over this, which is `image`. Of an overlay without
    /// a record nothing is known.
    ///
    /// # Errors
    /// [`Id::OtherBase`]; [`Id::Read`].
    pub(super) fn check(&self, kept: &Path, image: &Path) -> Result<()> {
        let path = record(kept);
        let cannot_read = || format!("cannot read `{}`", path.display());
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            text => text.or_fail(Id::Read, cannot_read)?,
        };
        let before: Self = serde_json::from_slice(&text).or_fail(Id::Read, cannot_read)?;
        if before.schema > SCHEMA {
            let message = format!(
                "`{}` is of a newer `orlop`: it has schema {}, and this one knows {SCHEMA}",
                path.display(),
                before.schema
            );
            return Err(Error::new(Id::Read, message));
        }
        if before == *self {
            return Ok(());
        }
        let what = if before.partitions == self.partitions {
            format!(
                "the root hash was {} and is {}",
                shown(&before.root_hash),
                shown(&self.root_hash)
            )
        } else {
            "its partitions are others".to_owned()
        };
        Err(other_base(kept, image, &what))
    }

    /// Checks that a kernel given to QEMU, which expects the root of `image`, finds it on `kept`,
    /// a whole disk of its own.
    ///
    /// # Errors
    /// [`Id::OtherBase`].
    pub(super) fn same_root(&self, kept: &Path, of_kept: &Self, image: &Path) -> Result<()> {
        if self.root_hash == of_kept.root_hash {
            return Ok(());
        }
        let (here, there) = (shown(&of_kept.root_hash), shown(&self.root_hash));
        let what = format!("its root hash is {here}, that of the image {there}");
        Err(other_base(kept, image, &what))
    }
}

fn shown(hash: &Option<Hex>) -> String {
    hash.as_ref().map_or_else(|| "none".to_owned(), |hash| hash.0.to_string())
}

fn other_base(kept: &Path, image: &Path, what: &str) -> Error {
    let (kept, image) = (kept.display(), image.display());
    let message =
        format!("the disk `{kept}` was made of another build of the image than `{image}`: {what}");
    Error::new(Id::OtherBase, message)
        .hint("name a new file with `--disk`, or remove this one: a node's disk begins with its image")
        .hint("or name the image that it was made of")
}

/// Where it is written what the overlay `kept` was made over.
pub(super) fn record(kept: &Path) -> PathBuf {
    beside(kept, ".base")
}

/// Where the UEFI variables of a guest with the disk `kept` are.
pub(super) fn variables(kept: &Path) -> PathBuf {
    beside(kept, ".vars")
}

fn beside(kept: &Path, suffix: &str) -> PathBuf {
    let mut name = kept.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes sure that nothing which a run writes is a file of the image, by whatever name, link or
/// path it is given; nor the disk of another build.
///
/// # Errors
/// [`Id::ImageWritten`].
pub(super) fn spare_the_image(image: &Path, options: &Options) -> Result<()> {
    let written = options.files_written();
    let images = files_of(image);
    for (option, path) in written {
        let Some(identity) = identity(&path) else { continue };
        let own = images.iter().find(|file| self::identity(file) == Some(identity));
        let other = || path.canonicalize().ok().filter(|path| is_of_a_build(path));
        let Some(file) = own.cloned().or_else(other) else { continue };
        let message = format!(
            "cannot use `{}` for `{option}`: it is `{}` of an image, which no run writes",
            path.display(),
            file.display()
        );
        return Err(Error::new(Id::ImageWritten, message).hint(
            "name a file that does not exist: what the guest writes goes there, over the image",
        ));
    }
    Ok(())
}

/// What makes two names names of one file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(path).ok().filter(|meta| meta.is_file() || meta.is_dir())?;
    Some((meta.dev(), meta.ino()))
}

/// The files of an image: those of a build's directory, or the disk alone.
fn files_of(image: &Path) -> Vec<PathBuf> {
    if !image.is_dir() {
        return vec![image.to_owned()];
    }
    let names = Kind::ALL.map(Kind::file_name).into_iter().chain([REPORT]);
    names.map(|name| image.join(name)).collect()
}

/// Whether the report beside a file names it.
fn is_of_a_build(path: &Path) -> bool {
    let text = fs::read(durable::parent(path).join(REPORT)).unwrap_or_default();
    let names = report::names(&text).unwrap_or_default();
    path.file_name().is_some_and(|name| names.iter().any(|own| own.as_str() == name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::run::Serial;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            for name in ["out", "other"] {
                fs::create_dir(place.path(name)).unwrap();
                for file in ["disk.raw", "vmlinuz"] {
                    fs::write(place.path(name).join(file), "x").unwrap();
                }
            }
            let report = format!(
                r#"{{ "schema": 3, "image": "a", "root": {{ "hash": "{:064x}", "salt": "",
                     "data-size": 1, "size": 1, "paths": 1 }},
                     "artifacts": [{{ "name": "disk.raw" }}] }}"#,
                0
            );
            fs::write(place.path("other/build.json"), report).unwrap();
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
    }

    #[test]
    fn a_run_writes_no_file_of_an_image_by_any_name() {
        let place = Place::new();
        fs::hard_link(place.path("out/disk.raw"), place.path("hard")).unwrap();
        symlink("out/disk.raw", place.path("soft")).unwrap();
        symlink("out", place.path("link")).unwrap();
        let open = fs::File::open(place.path("out/disk.raw")).unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&open);
        fs::write(place.path("mine"), "x").unwrap();
        fs::hard_link(place.path("out/vmlinuz"), place.path("mine.vars")).unwrap();
        let (out, disk) = (place.path("out"), place.path("out/disk.raw"));
        let kept = |path: &Path| Options { disk: Some(path.to_owned()), ..Options::new("x") };
        for path in [
            disk.clone(),
            place.path("hard"),
            place.path("soft"),
            place.path("link/disk.raw"),
            PathBuf::from(format!("/proc/self/fd/{descriptor}")),
            place.path("other/disk.raw"),
        ] {
            for image in [&out, &disk] {
                let error = spare_the_image(image, &kept(&path)).unwrap_err();
                assert_eq!(error.id(), Id::ImageWritten, "{}", path.display());
            }
        }
        let serial = Options { serial: Serial::File(disk.clone()), ..Options::new("x") };
        let error = spare_the_image(&out, &serial).unwrap_err();
        assert!(error.to_string().contains("for `--serial`"), "{error}");
        // The variables of the guest beside its disk are written too.
        assert!(spare_the_image(&out, &kept(&place.path("mine"))).is_err());
        for path in ["new", "out/kept", "other/vmlinuz"] {
            spare_the_image(&out, &kept(&place.path(path))).unwrap();
        }
    }

    #[test]
    fn a_record_of_a_later_program_is_read_and_a_damaged_one_is_named() {
        let place = Place::new();
        let kept = place.path("kept");
        let base = Base { schema: SCHEMA, root_hash: None, partitions: Vec::new() };
        base.check(&kept, &place.path("out")).unwrap();
        base.write(&kept).unwrap();
        base.check(&kept, &place.path("out")).unwrap();
        let text = fs::read_to_string(record(&kept)).unwrap();
        fs::write(record(&kept), text.replacen('{', "{ \"later\": 1,", 1)).unwrap();
        base.check(&kept, &place.path("out")).unwrap();
        fs::write(record(&kept), text.replacen("\"schema\": 1", "\"schema\": 2", 1)).unwrap();
        let error = base.check(&kept, &place.path("out")).unwrap_err();
        assert!(error.to_string().ends_with("it has schema 2, and this one knows 1"), "{error}");
        fs::write(record(&kept), "{").unwrap();
        let error = base.check(&kept, &place.path("out")).unwrap_err();
        assert_eq!(error.id(), Id::Read);
        assert!(error.to_string().ends_with("kept.base`"), "{error}");
    }
}
