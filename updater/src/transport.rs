//! Brings an image of a release into the spare slot by the cheapest way that can be gone: a delta, the
//! blocks that are missing, or the whole; and by the next one when one is refused. Whatever way it came,
//! it is the image only if its root hash is the one that was signed (`docs/updates.md`).
//!
//! Wherever this is cut off, the slot holds no image that anybody starts, and the next run goes on: blocks
//! that are right stay, and nothing is written twice. The image that runs is only read.

mod blocks;
mod look;
mod progress;
mod slot;

use std::io::{self, BufReader, Cursor, Read as _};

use formats::blocks::{Blocks, Choice, Offer, choose};
use formats::delta::{ApplyError, HEADER, Header, apply};
use formats::digest::Sha256;
use formats::incoming::{Incoming, IncomingError, Root};
use formats::release::{Release, ReleaseError};
use formats::seekable::{FrameError, TableError, read_frame};
use formats::tuf::Found;
use formats::verity::{LeavesError, tree_size};

use crate::cancel::Cancelled;
use crate::client::{FetchError, Stream};
use crate::device::Device;
use crate::trust::{Channel, TrustError};
use look::Look;
use progress::Meter;
pub use progress::{Phase, Progress};
use slot::{Source, Writer};

/// What is wanted of a release: one of its images, and which files bring it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The release.
    pub version: String,
    /// The image.
    pub root: Root,
    /// The file that holds all of it: `root.zst`.
    pub packed: String,
    /// The file that holds its hash tree: `root.tree.zst`.
    pub tree: String,
    /// Files that make it of another image, which has this root hash.
    pub deltas: Vec<(Sha256, String)>,
}

impl Wanted {
    /// The root image of a release.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn root(release: &Release) -> Result<Self, ReleaseError> {
        let delta = |delta: &formats::release::Delta| {
            let hash = delta.hash.parse().map_err(|_| ReleaseError::Image("delta"))?;
            Ok((hash, format!("delta/{}.delta", delta.from)))
        };
        Ok(Self {
            version: release.version.clone(),
            root: release.root()?,
            packed: "root.zst".to_owned(),
            tree: "root.tree.zst".to_owned(),
            deltas: release.deltas.iter().map(delta).collect::<Result<_, ReleaseError>>()?,
        })
    }

    /// The UKI of a release, which travels as an image does.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn uki(release: &Release) -> Result<Self, ReleaseError> {
        let delta = |delta: &formats::release::Delta| {
            let uki = delta.uki.as_ref()?;
            let hash = uki.hash.parse().map_err(|_| ReleaseError::Uki("delta"));
            Some(hash.map(|hash| (hash, format!("delta/{}.uki.delta", delta.from))))
        };
        Ok(Self {
            version: release.version.clone(),
            root: release.uki()?,
            packed: "uki.zst".to_owned(),
            tree: "uki.tree.zst".to_owned(),
            deltas: release.deltas.iter().filter_map(delta).collect::<Result<_, _>>()?,
        })
    }

    /// Bytes of data and hash tree.
    pub fn size(&self) -> u64 {
        self.root.size + tree_size(self.root.blocks())
    }
}

/// An image that is there already: what new ones are made of.
#[derive(Clone, Copy)]
pub struct Running<'a> {
    /// Its root hash.
    pub hash: Sha256,
    /// Bytes of its data.
    pub size: u64,
    /// Where it is read.
    pub device: &'a dyn Device,
}

impl std::fmt::Debug for Running<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("hash", &self.hash).field("size", &self.size).finish()
    }
}

/// By which way an image came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// It stood in the slot.
    There,
    /// A delta.
    Delta,
    /// The blocks that were missing.
    Blocks,
    /// The whole.
    Whole,
}

/// How an image came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// By which way.
    pub way: Way,
    /// Bytes that were fetched, those included that were of no use.
    pub fetched: u64,
    /// Blocks of 4096 bytes that were written.
    pub written: u64,
}

/// An image did not come.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The slot is too small.
    #[error("the image has {needs} bytes with its hash tree, and the slot {has}")]
    TooBig {
        /// What it needs.
        needs: u64,
        /// What there is.
        has: u64,
    },
    /// The slot cannot be written.
    #[error("the spare slot cannot be written at byte {at}: {why}")]
    Spare {
        /// Where.
        at: u64,
        /// Why not.
        why: io::Error,
    },
    /// The slot cannot be brought to the disk.
    #[error("what was written to the spare slot is not on the disk: {0}")]
    Flush(io::Error),
    /// The image that runs cannot be read.
    #[error("the image that runs cannot be read: {0}")]
    Running(io::Error),
    /// A file did not come.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A file was not signed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// What came is not the image.
    #[error(transparent)]
    Image(IncomingError),
    /// A delta is no good.
    #[error(transparent)]
    Delta(ApplyError),
    /// A frame is no good.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The table of frames is no good.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The hash tree is no good.
    #[error(transparent)]
    Tree(#[from] LeavesError),
    /// The way by blocks cannot be gone for another reason.
    #[error("{0}")]
    Blocks(String),
}

impl From<Cancelled> for TransportError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Fetch(cancelled.into())
    }
}

impl TransportError {
    /// Whether another way may lead there.
    fn is_of_the_way(&self) -> bool {
        match self {
            Self::TooBig { .. } | Self::Spare { .. } | Self::Flush(_) => false,
            Self::Fetch(FetchError::Failed(failure))
            | Self::Trust(TrustError::Fetch(FetchError::Failed(failure))) => {
                failure.is_of_the_file()
            }
            Self::Fetch(FetchError::Cancelled(_))
            | Self::Trust(TrustError::Fetch(FetchError::Cancelled(_)) | TrustError::Store { .. }) => {
                false
            }
            _ => true,
        }
    }

    /// Whether the same way may be gone once more: one place was found to lie, and there are others.
    fn asks_others(&self) -> bool {
        matches!(self, Self::Fetch(FetchError::Failed(failure)) if failure.again)
    }
}

/// Brings an image into the spare slot. `running` is read, and may be nothing; `told` hears how far it is.
/// When this returns well, the slot holds the image and its hash tree, and both are on the disk.
///
/// # Errors
/// [`TransportError`]. The slot then holds what has come so far, and another run goes on with it.
pub fn fetch_image<D: Device + ?Sized>(
    channel: &Channel<'_>,
    wanted: &Wanted,
    running: Option<Running<'_>>,
    spare: &mut D,
    told: &dyn Fn(Progress),
) -> Result<Arrived, TransportError> {
    let (needs, has) = (wanted.size(), spare.size());
    if needs > has {
        return Err(TransportError::TooBig { needs, has });
    }
    let mirrors = channel.mirrors();
    let before = mirrors.fetched();
    let fetched = || mirrors.fetched() - before;
    let meter = Meter::new(told, mirrors.cancel(), &fetched);
    let mut look = Look::new(wanted, running);
    let way = if look.spare(spare, &meter)? {
        Way::There
    } else {
        Transport { channel, wanted, running, meter: &meter }.go(&mut look, spare)?
    };
    spare.flush().map_err(TransportError::Flush)?;
    Ok(Arrived { way, fetched: fetched(), written: meter.written() })
}

struct Transport<'a, 'm> {
    channel: &'a Channel<'a>,
    wanted: &'a Wanted,
    running: Option<Running<'a>>,
    meter: &'a Meter<'m>,
}

impl Transport<'_, '_> {
    fn find(&self, name: &str) -> Result<Found, TransportError> {
        Ok(self.channel.find(&self.wanted.version, name)?)
    }

    /// Goes by one way after the other, the cheapest first.
    fn go<D: Device + ?Sized>(
        &self,
        look: &mut Look<'_>,
        spare: &mut D,
    ) -> Result<Way, TransportError> {
        let have: Vec<_> = self.running.iter().map(|running| running.hash).collect();
        let whole = self.find(&self.wanted.packed)?;
        let tree = self.find(&self.wanted.tree);
        let mut deltas = Vec::new();
        for (from, name) in self.wanted.deltas.iter().filter(|(from, _)| have.contains(from)) {
            match self.find(name) {
                Ok(found) => deltas.push((*from, found)),
                Err(error) => self.fall("the delta", &error)?,
            }
        }
        let mut known = if tree.is_ok() { Blocks::NotPlanned } else { Blocks::Closed };
        let mut plan = None;
        loop {
            let sizes: Vec<_> = deltas.iter().map(|(from, it)| (*from, it.file.length)).collect();
            let offer = Offer {
                whole: whole.file.length,
                tree: tree.as_ref().map_or(0, |tree| tree.file.length),
                deltas: &sizes,
            };
            let (way, error) = match (choose(offer, &have, known), &tree, self.running) {
                (Choice::Delta(from, bytes), _, Some(running)) => {
                    let at = sizes.iter().position(|size| *size == (from, bytes)).unwrap_or(0);
                    match self.by_delta(&deltas[at].1, running, spare) {
                        Ok(()) => return Ok(Way::Delta),
                        Err(error) if error.asks_others() => continue,
                        Err(error) => {
                            deltas.remove(at);
                            ("the delta", error)
                        }
                    }
                }
                (Choice::ReadTree(_), Ok(tree), _) => match self.plan(tree, &whole, look, spare) {
                    Ok(made) => {
                        known = Blocks::Planned(made.plan.fetched());
                        plan = Some(made);
                        continue;
                    }
                    Err(error) if error.asks_others() => continue,
                    Err(error) => {
                        known = Blocks::Closed;
                        ("the way by blocks", error)
                    }
                },
                (Choice::Blocks(_), ..) if plan.is_some() => {
                    let Some(made) = plan.take() else { continue };
                    match self.by_blocks(&made, &whole, spare) {
                        Ok(()) => return Ok(Way::Blocks),
                        Err(error) if error.asks_others() => {
                            // What has come stays: the next plan begins with it.
                            look.forget_spare();
                            known = Blocks::NotPlanned;
                            continue;
                        }
                        Err(error) => {
                            known = Blocks::Closed;
                            ("the way by blocks", error)
                        }
                    }
                }
                _ => match self.by_whole(&whole, spare) {
                    Ok(()) => return Ok(Way::Whole),
                    Err(error) if error.asks_others() => continue,
                    Err(error) => return Err(error),
                },
            };
            self.fall(way, &error).map_err(|_| error)?;
        }
    }

    /// Tells that a way is not gone any further.
    ///
    /// # Errors
    /// No other way would lead there.
    fn fall(&self, way: &str, error: &TransportError) -> Result<(), TransportError> {
        self.meter.cancel.check()?;
        if error.is_of_the_way() {
            self.channel.mirrors().notice(&format!("{way} is given up: {error}"));
            return Ok(());
        }
        Err(TransportError::Blocks(error.to_string()))
    }

    fn by_delta<D: Device + ?Sized>(
        &self,
        found: &Found,
        running: Running<'_>,
        spare: &mut D,
    ) -> Result<(), TransportError> {
        let mut stream = self.channel.mirrors().whole(found)?;
        let mut writer = Writer::new(spare, self.meter, self.wanted.root.size);
        let mut head = Vec::with_capacity(HEADER);
        let read = stream.by_ref().take(HEADER as u64).read_to_end(&mut head);
        let applied = read.map_err(|error| ApplyError::Unpack(error.to_string())).and_then(|_| {
            let header = Header::parse(&head)?;
            // Its size and salt are the delta's word: what comes of a wrong one is no image.
            let old = Root { hash: running.hash, ..header.old };
            let delta = Cursor::new(&head).chain(&mut stream);
            apply(delta, (&old, &Source(running.device)), &self.wanted.root, &mut writer)
        });
        match applied {
            Ok(_) => Ok(()),
            Err(error) => Err(self.cause(stream, || match error {
                ApplyError::Incoming(error) => arrival(error),
                ApplyError::Old { source, .. } => TransportError::Running(source),
                error => TransportError::Delta(error),
            })),
        }
    }

    fn by_whole<D: Device + ?Sized>(
        &self,
        found: &Found,
        spare: &mut D,
    ) -> Result<(), TransportError> {
        let mut stream = self.channel.mirrors().whole(found)?;
        let mut writer = Writer::new(spare, self.meter, self.wanted.root.size);
        let mut incoming = Incoming::new(&self.wanted.root, &mut writer);
        let mut source = BufReader::with_capacity(64 << 10, &mut stream);
        let mut fill = || -> Result<(), Result<IncomingError, FrameError>> {
            while incoming.missing() > 0 {
                let frame = read_frame(&mut source).map_err(Err)?;
                incoming.data(&frame).map_err(Ok)?;
            }
            // The table: it is signed with the rest.
            io::copy(&mut source, &mut io::sink()).map(drop).map_err(|_| {
                Ok(IncomingError::TooShort {
                    seen: incoming.written(),
                    size: self.wanted.root.size,
                })
            })
        };
        let done = fill().and_then(|()| incoming.finish().map(drop).map_err(Ok));
        done.map_err(|error| {
            self.cause(stream, || match error {
                Ok(error) => arrival(error),
                Err(frame) => frame.into(),
            })
        })
    }

    /// Why something failed: because it was to stop, because it did not come, or else.
    fn cause(
        &self,
        mut stream: Stream<'_>,
        otherwise: impl FnOnce() -> TransportError,
    ) -> TransportError {
        if let Err(cancelled) = self.meter.cancel.check() {
            return cancelled.into();
        }
        if let Some(failure) = stream.take_failure() {
            return failure.into();
        }
        let error = otherwise();
        let is_of_the_slots =
            matches!(error, TransportError::Spare { .. } | TransportError::Running(_));
        // Whether the place has lied or whoever signed has erred is known once all of it was read.
        if !is_of_the_slots && io::copy(&mut stream, &mut io::sink()).is_err() {
            return stream.take_failure().map_or(error, Into::into);
        }
        error
    }
}

/// What arrived is not the image, or cannot be written.
fn arrival(error: IncomingError) -> TransportError {
    match error {
        IncomingError::Write { at, source: why } => TransportError::Spare { at, why },
        error => TransportError::Image(error),
    }
}
