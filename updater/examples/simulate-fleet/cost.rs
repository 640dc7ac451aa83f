//! What a node asks of a server, in requests and bytes.

use formats::blocks::{Blocks, Choice, Offer, choose};
use formats::digest::Sha256;

/// A look when nothing has changed: the next root, which is not there, the timestamp, and what the newest
/// release says of itself. A test of `updater/tests/transport` counts them.
pub(crate) const QUIET_LOOK: u32 = 3;

/// A look when there is a new release: the snapshot and the targets metadata, too.
pub(crate) const LOOK: u32 = 5;

/// Bytes of what a quiet look fetches, the heads of the answers included.
const QUIET_BYTES: u64 = 4_000;

/// Bytes that are fetched more when there is a new release.
const NEWS_BYTES: u64 = 16_000;

/// Bytes of the files of one image.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Image {
    /// The delta from the release before.
    pub(crate) delta: u64,
    /// What is missing by blocks.
    pub(crate) blocks: u64,
    /// The hash tree.
    pub(crate) tree: u64,
    /// The whole.
    pub(crate) whole: u64,
}

/// Bytes of the files of a release.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Sizes {
    /// The root image.
    pub(crate) root: Image,
    /// The UKI.
    pub(crate) uki: Image,
    /// Requests of ranges for what is missing by blocks, of both.
    pub(crate) ranges: u32,
}

/// Something that a node asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Requests.
    pub(crate) requests: u32,
    /// Bytes.
    pub(crate) bytes: u64,
}

impl Asked {
    fn and(self, requests: u32, bytes: u64) -> Self {
        Self { requests: self.requests + requests, bytes: self.bytes + bytes }
    }
}

/// A look at the channel.
pub(crate) fn look(has_news: bool) -> Asked {
    let quiet = Asked { requests: QUIET_LOOK, bytes: QUIET_BYTES };
    if has_news { quiet.and(LOOK - QUIET_LOOK, NEWS_BYTES) } else { quiet }
}

/// All that fills a slot of a node that runs `running`, where there are deltas from `from`.
pub(crate) fn stage(sizes: &Sizes, running: Sha256, from: Sha256) -> Asked {
    // It opens the channel anew.
    let asked = image(look(false), &sizes.root, running, from, sizes.ranges);
    image(asked, &sizes.uki, running, from, 0)
}

fn image(mut asked: Asked, image: &Image, running: Sha256, from: Sha256, ranges: u32) -> Asked {
    let deltas = [(from, image.delta)];
    let offer = Offer { whole: image.whole, tree: image.tree, deltas: &deltas };
    let mut known = Blocks::NotPlanned;
    loop {
        match choose(offer, &[running], known) {
            Choice::ReadTree(bytes) => {
                // The tree, and the table at the end of the image.
                asked = asked.and(2, bytes);
                known = Blocks::Planned(image.blocks);
            }
            Choice::Blocks(bytes) => return asked.and(ranges.max(1), bytes),
            Choice::Delta(_, bytes) | Choice::Whole(bytes) => return asked.and(1, bytes),
        }
    }
}
