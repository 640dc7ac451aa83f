//! Whether a node would take a release: by the same client, from the root of the release's owner to the
//! root hashes of root image and UKI.

use std::fs::File;

use formats::incoming::{LARGEST, Root, Slot};
use formats::release::{self, Listed, Release, listed};
use formats::tuf::{Found, Metadata as _, Reason, TargetPath, Trusted};

use super::files;
use super::image::{InMemory, Nowhere, unpack_into};
use super::kept::Kept;
use super::reader::{Place, Reader};
use super::refused;
use crate::error::{Context as _, Error, Id, Result};

/// For so many bytes of an image memory is asked at once; a larger one grows.
const MOST_AT_ONCE: usize = 1 << 30;

/// What is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What the release says of itself.
    pub release: Release,
    /// Versions of the metadata of root, timestamp, snapshot and targets, and until when each is good.
    pub roles: Vec<(&'static str, u64, i64)>,
    /// Until when all of it is to be believed, in seconds since 1970.
    pub expires: i64,
    /// All releases that there are, the oldest first.
    pub listed: Vec<Listed>,
}

impl Verified {
    /// All versions that there are, the oldest first.
    pub fn versions(&self) -> Vec<&str> {
        self.listed.iter().map(|it| it.version.as_str()).collect()
    }
}

fn roles(trusted: &Trusted) -> Vec<(&'static str, u64, i64)> {
    let heads = [
        ("root", Some(trusted.root().head())),
        ("timestamp", trusted.timestamp().map(|it| it.head())),
        ("snapshot", trusted.snapshot().map(|it| it.head())),
        ("targets", trusted.targets().map(|it| it.head())),
    ];
    let heads = heads.into_iter();
    heads.filter_map(|(role, head)| head.map(|head| (role, head.version, head.expires))).collect()
}

/// A target of a version.
fn target(reader: &mut Reader<'_>, trusted: &Trusted, version: &str, name: &str) -> Result<Found> {
    let path: TargetPath = format!("{version}/{name}")
        .parse()
        .or_fail(Id::UnknownRelease, || format!("there is no release `{version}`"))?;
    reader.find(trusted, &path)
}

/// What a release says of itself.
///
/// # Errors
/// [`Id::Metadata`] if it was not signed so; [`Id::Release`] if it makes no sense.
pub fn describe(reader: &mut Reader<'_>, trusted: &Trusted, version: &str) -> Result<Release> {
    let found = target(reader, trusted, version, release::FILE)?;
    let bytes = reader.target(&found, release::LARGEST)?;
    let not = || format!("the release {version} is refused");
    let release = Release::parse(&bytes).or_fail(Id::Release, not)?;
    if release.version != version {
        let other = format!("it says that it is {}", release.version);
        return Err(Error::new(Id::Release, not()).caused_by(other));
    }
    Ok(release)
}

/// What of a release travels as an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// The root image.
    Root,
    /// The UKI.
    Uki,
}

impl Piece {
    const BOTH: [Self; 2] = [Self::Root, Self::Uki];

    /// The name of its packed file in the directory of a version.
    fn file(self) -> &'static str {
        match self {
            Self::Root => files::ROOT,
            Self::Uki => files::UKI,
        }
    }

    /// It as a release names it.
    fn of(self, release: &Release) -> Result<Root> {
        let root = match self {
            Self::Root => release.root(),
            Self::Uki => release.uki(),
        };
        root.or_fail(Id::Release, || self.refused(release))
    }

    fn refused(self, release: &Release) -> String {
        let what = match self {
            Self::Root => "root image",
            Self::Uki => "UKI",
        };
        format!("the {what} of the release {} is refused", release.version)
    }
}

/// The data of an image of a release, which has the root hash that the release names.
///
/// # Errors
/// [`Id::Metadata`] if a file was not signed so; [`Id::Release`] if it is another image.
pub fn image(
    reader: &mut Reader<'_>,
    trusted: &Trusted,
    release: &Release,
    piece: Piece,
) -> Result<Vec<u8>> {
    let root = piece.of(release)?;
    let size = usize::try_from(root.size).unwrap_or(0);
    let found = target(reader, trusted, &release.version, piece.file())?;
    let packed = reader.file(&found, LARGEST)?;
    // A size that was signed, and that a file of this length may well have.
    let memory = InMemory(Vec::with_capacity(size.min(MOST_AT_ONCE)));
    unpacked(&packed, &found, release, piece, memory).map(|InMemory(data)| data)
}

/// Unpacks an image of a release, and holds it against the root hash that the release names.
fn unpacked<S: Slot>(
    packed: &File,
    found: &Found,
    release: &Release,
    piece: Piece,
    slot: S,
) -> Result<S> {
    let root = piece.of(release)?;
    unpack_into(packed, found.file.length, &root, slot)
        .or_fail(Id::Release, || piece.refused(release))
}

/// Holds every file of a release against what was signed, root image and UKI also against their root
/// hashes. `each` gets each by its name in the directory of the version.
///
/// # Errors
/// [`Id::Metadata`] if a file was not signed so, or is not there; [`Id::Release`] if the image is another;
/// those of `each`.
pub(super) fn files(
    reader: &mut Reader<'_>,
    trusted: &Trusted,
    release: &Release,
    each: &mut dyn FnMut(&str, &Found, File) -> Result<()>,
) -> Result<()> {
    // Whatever else is there, no node starts without these.
    let images = Piece::BOTH.map(|piece| {
        target(reader, trusted, &release.version, piece.file()).map(|found| (piece, found))
    });
    let images = images.into_iter().collect::<Result<Vec<_>>>()?;
    let below = format!("{}/", release.version);
    let paths = trusted.targets().into_iter().flat_map(|targets| targets.targets.keys());
    for path in paths {
        let Some(name) = path.as_str().strip_prefix(&below) else { continue };
        let found = reader.find(trusted, path)?;
        let file = reader.file(&found, LARGEST)?;
        if let Some((piece, _)) = images.iter().find(|(_, image)| *image == found) {
            unpacked(&file, &found, release, *piece, Nowhere)?;
        }
        each(name, &found, file)?;
    }
    Ok(())
}

/// Verifies a version, or the newest one, at `now` (seconds since 1970), from what was kept on.
///
/// # Errors
/// [`Id::Metadata`], [`Id::Release`] with what is refused and why; [`Id::UnknownRelease`]; those of
/// reading.
pub fn verify(place: &Place, kept: Kept, version: Option<&str>, now: i64) -> Result<Verified> {
    verify_each(place, kept, version, now, &mut |_, _, _| Ok(()))
}

/// As [`verify()`], and `each` gets every file of the release once it was held against what was signed: its
/// name in the directory of the version, its length, and itself.
///
/// # Errors
/// As there, and those of `each`.
pub fn verify_each(
    place: &Place,
    kept: Kept,
    version: Option<&str>,
    now: i64,
    each: &mut dyn FnMut(&str, u64, File) -> Result<()>,
) -> Result<Verified> {
    let mut reader = Reader::new(place, kept);
    let trusted = reader.refresh(now)?;
    let targets = trusted.targets().ok_or_else(|| refused(Reason::Missing.of("targets.json")))?;
    let listed = listed(targets);
    let versions: Vec<_> = listed.iter().map(|it| it.version.clone()).collect();
    let unknown = |what: String| Error::new(Id::UnknownRelease, what);
    let version = match version {
        Some(version) if versions.iter().any(|known| known == version) => version,
        Some(version) => {
            let known = versions.join(", ");
            return Err(unknown(format!("there is no release `{version}`"))
                .hint(format!("there are: {known}")));
        }
        None => versions.last().ok_or_else(|| {
            unknown("there is no release".to_owned()).hint("`orlop publish` makes one")
        })?,
    };
    let release = describe(&mut reader, &trusted, version)?;
    files(&mut reader, &trusted, &release, &mut |name, found, file| {
        each(name, found.file.length, file)
    })?;
    Ok(Verified { release, roles: roles(&trusted), expires: trusted.expires(), listed })
}
