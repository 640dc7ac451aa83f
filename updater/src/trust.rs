//! From a root that is trusted to a release that is: the metadata of TUF, kept on STATE between looks and
//! fetched from the first place that has what can be believed; then `release.json`.

mod store;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use formats::moment::Moment;
use formats::release::{self, Listed, Release, ReleaseError, listed};
use formats::tuf::{Found, Io, Limits, Reason, Refresh, Refused, Search, TargetPath, Trusted, run};

use crate::client::{Failure, FetchError, Mirrors, Name};
pub use store::{DIRECTORY, Store};

/// What the time is, and what it cannot be before. Seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// What the clock says.
    pub now: i64,
    /// When the image was made.
    pub floor: i64,
}

/// A release is not to be believed, or there is none.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The clock is plainly wrong: nothing can be said to be fresh.
    #[error(
        "the node's clock says {}, and this image was made at {}: is there a time server?",
        Moment::at(.0.now), Moment::at(.0.floor)
    )]
    Clock(Clock),
    /// No place has metadata that can be believed.
    #[error("no release can be trusted{0}")]
    Nobody(Places),
    /// A file that is not to be believed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A file did not come.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Metadata cannot be kept or read.
    #[error("cannot keep the metadata `{file}`")]
    Store {
        /// Its name.
        file: String,
        /// Why not.
        source: io::Error,
    },
    /// No release has this version.
    #[error("there is no release `{}`; there are: {}", .wanted.escape_debug(), .there.join(", "))]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// What there is, the oldest first.
        there: Vec<String>,
    },
    /// The channel is empty.
    #[error("there is no release")]
    Empty,
    /// `release.json` was signed and makes no sense.
    #[error("the release {version} is refused: {why}")]
    Release {
        /// Its version.
        version: String,
        /// What is wrong with it.
        why: ReleaseError,
    },
    /// `release.json` is of another version than the directory that it lies in.
    #[error("the release {version} is refused: it says that it is {said}")]
    OtherVersion {
        /// Where it lies.
        version: String,
        /// What it says.
        said: String,
    },
}

/// All places that were asked, each with why it is not believed.
#[derive(Debug)]
pub struct Places {
    all: Vec<(String, TrustError)>,
    /// Where what is known of the channel is kept, if that stands against one of them.
    known: Option<PathBuf>,
}

impl Places {
    fn new(all: Vec<(String, TrustError)>, store: &Store) -> Self {
        let falls = all.iter().any(|(_, why)| why.is_rollback());
        let known = store.channel().ok().filter(|_| falls).map(Path::to_owned);
        Self { all, known }
    }
}

impl TrustError {
    /// Whether more was known of the channel before than the place says now.
    fn is_rollback(&self) -> bool {
        let Self::Refused(Refused { reason, .. }) = self else { return false };
        matches!(reason, Reason::Rollback { .. } | Reason::RollbackOf { .. } | Reason::Removed(_))
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sign = ':';
        for (place, why) in &self.all {
            // The failure of a fetch names the place itself.
            match why {
                TrustError::Fetch(why) => write!(f, "{sign} {why}")?,
                why => write!(f, "{sign} {place}: {why}")?,
            }
            sign = ';';
        }
        self.known.as_ref().map_or(Ok(()), |known| {
            let known = known.display();
            write!(
                f,
                "; if that is no old copy, and what was known is of another channel that was in one list with \
                 it: the node begins anew with this one once the directory `{known}` is removed"
            )
        })
    }
}

/// A release that its owner has signed.
#[derive(Debug, Clone)]
pub struct Verified {
    /// What it says of itself.
    pub release: Release,
    /// When it came to the channel, in seconds since 1970, if that is said.
    pub published: Option<i64>,
}

/// A channel at one moment: what is trusted of it, and where its files are.
#[derive(Debug)]
pub struct Channel<'a> {
    mirrors: &'a Mirrors<'a>,
    store: &'a Store,
    trusted: Trusted,
    /// The first file of metadata that could not be kept, and why.
    unkept: Unkept,
}

type Unkept = Option<(String, io::Error)>;

impl<'a> Channel<'a> {
    /// Brings what is trusted up to date, from the first of the places that has what can be believed.
    /// Places that lie, lag behind what is known or do not answer are passed over; with `wanted` also those
    /// that have no release of this version, as long as another one has it. Metadata that STATE does not take
    /// is verified all the same, against what was kept before: see [`Self::is_kept`].
    ///
    /// # Errors
    /// [`TrustError::Clock`] before anything is asked for; [`TrustError::Nobody`] with what each place
    /// has done; [`TrustError::Store`], what is kept cannot be read.
    pub fn open(
        mirrors: &'a Mirrors<'a>,
        store: &'a Store,
        clock: Clock,
        wanted: Option<&str>,
    ) -> Result<Self, TrustError> {
        if clock.now < clock.floor {
            return Err(TrustError::Clock(clock));
        }
        let mut places = Vec::new();
        let mut without: Option<(usize, Trusted, Unkept)> = None;
        for at in mirrors.order() {
            let mut refresh = Refresh::new(clock.now, Limits::DEFAULT);
            let mut look = Look { mirrors, store, at, unkept: None };
            let why = match run(&mut refresh, &mut look) {
                Ok(()) => match refresh.into_trusted() {
                    Some(trusted) => {
                        let has = |wanted: &str| {
                            let there = trusted.targets().map(listed).unwrap_or_default();
                            there.iter().any(|it| it.version == wanted)
                        };
                        if wanted.is_none_or(has) {
                            mirrors.prefer(at);
                            return Ok(Self::of(mirrors, store, trusted, look.unkept));
                        }
                        // What came later is newer, for what is older is not believed any more.
                        without = Some((at, trusted, look.unkept));
                        continue;
                    }
                    None => Reason::NoRoot.of("root.json").into(),
                },
                Err(error @ TrustError::Store { .. }) => return Err(error),
                Err(TrustError::Fetch(FetchError::Cancelled(asked))) => {
                    return Err(FetchError::from(asked).into());
                }
                Err(why) => why,
            };
            let place = mirrors.place(at).map(ToString::to_string).unwrap_or_default();
            mirrors.notice(&format!("{place} is passed over: {why}"));
            places.push((place, why));
        }
        let (at, trusted, unkept) =
            without.ok_or(TrustError::Nobody(Places::new(places, store)))?;
        mirrors.prefer(at);
        Ok(Self::of(mirrors, store, trusted, unkept))
    }

    fn of(mirrors: &'a Mirrors<'a>, store: &'a Store, trusted: Trusted, unkept: Unkept) -> Self {
        if let Some((file, error)) = &unkept {
            mirrors.notice(&format!(
                "the metadata `{file}` is verified and cannot be kept, so no release is taken: {error}"
            ));
        }
        Self { mirrors, store, trusted, unkept }
    }

    /// That the next look at this channel begins with what this one has seen. A release is taken only then:
    /// else an older one, that was withdrawn since, could be shown to the node afterwards.
    ///
    /// # Errors
    /// [`TrustError::Store`].
    pub fn is_kept(&self) -> Result<(), TrustError> {
        let Some((file, error)) = &self.unkept else { return Ok(()) };
        let source = io::Error::new(error.kind(), error.to_string());
        Err(TrustError::Store { file: file.clone(), source })
    }

    /// What is trusted.
    pub fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// All releases, the oldest first.
    pub fn releases(&self) -> Vec<Listed> {
        self.trusted.targets().map(listed).unwrap_or_default()
    }

    /// What a release says of itself: that with this version, or the newest of all.
    ///
    /// # Errors
    /// There is none, or it is not to be believed.
    pub fn release(&self, version: Option<&str>) -> Result<Verified, TrustError> {
        let there = self.releases();
        let chosen = match version {
            None => there.last().ok_or(TrustError::Empty)?,
            Some(wanted) => there.iter().find(|it| it.version == wanted).ok_or_else(|| {
                let there = there.iter().map(|it| it.version.clone()).collect();
                TrustError::Unknown { wanted: wanted.to_owned(), there }
            })?,
        };
        let version = chosen.version.clone();
        let found = self.find(&version, release::FILE)?;
        let bytes = self.target(&found, release::LARGEST)?;
        let refused = |why| TrustError::Release { version: version.clone(), why };
        let release = Release::parse(&bytes).map_err(refused)?;
        if release.version != version {
            return Err(TrustError::OtherVersion { version, said: release.version });
        }
        Ok(Verified { release, published: chosen.published })
    }

    /// A file of a release.
    ///
    /// # Errors
    /// Nobody has signed it.
    pub fn find(&self, version: &str, name: &str) -> Result<Found, TrustError> {
        let path = format!("{version}/{name}");
        let path: TargetPath = path.parse().map_err(|_| Reason::NoTarget.of(path))?;
        let mut search = Search::new(&self.trusted, path, Limits::DEFAULT)?;
        let at = self.mirrors.order().first().copied().unwrap_or_default();
        let (mirrors, store, unkept) = (self.mirrors, self.store, None);
        run(&mut search, &mut Look { mirrors, store, at, unkept })?;
        Ok(search.found()?)
    }

    /// The bytes of a target that has no more than `limit` of them, from any of the places.
    ///
    /// # Errors
    /// It is longer, or does not come.
    pub fn target(&self, found: &Found, limit: u64) -> Result<Vec<u8>, TrustError> {
        if found.file.length > limit {
            return Err(Reason::TooLong(limit).of(found.path.as_str()).into());
        }
        Ok(self.mirrors.bytes(found)?)
    }

    /// The places.
    pub fn mirrors(&self) -> &'a Mirrors<'a> {
        self.mirrors
    }
}

/// A look at one place.
struct Look<'a> {
    mirrors: &'a Mirrors<'a>,
    store: &'a Store,
    at: usize,
    unkept: Unkept,
}

impl Io for Look<'_> {
    type Error = TrustError;

    fn load(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, TrustError> {
        let failed = |source| TrustError::Store { file: file.to_owned(), source };
        self.store.load(file, limit).map_err(failed)
    }

    fn fetch(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TrustError> {
        Ok(self.mirrors.small(self.at, &Name::metadata(path), limit)?)
    }

    fn store(&mut self, file: &str, bytes: &[u8]) -> Result<(), TrustError> {
        if let Err(error) = self.store.store(file, bytes) {
            self.unkept.get_or_insert((file.to_owned(), error));
        }
        Ok(())
    }

    fn remove(&mut self, file: &str) -> Result<(), TrustError> {
        if let Err(error) = self.store.remove(file) {
            self.unkept.get_or_insert((file.to_owned(), error));
        }
        Ok(())
    }
}

impl From<Failure> for TrustError {
    fn from(failure: Failure) -> Self {
        Self::Fetch(failure.into())
    }
}
