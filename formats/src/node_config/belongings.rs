//! `[config]` and `[state]`: how far the node goes by itself where its config and its disk are not
//! as they were.

use super::section::Section;

/// Which volumes the next config may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Volumes {
    /// The device alone that the first one came from.
    #[default]
    Pinned,
    /// Whichever has one: who may attach a disk owns the node.
    Any,
}

impl Volumes {
    pub(super) const NAMES: [(&'static str, Self); 2] =
        [("pinned", Self::Pinned), ("any", Self::Any)];

    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        section.choice("volumes", &Self::NAMES).unwrap_or_default()
    }
}

/// What becomes of a STATE that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenDamaged {
    /// It stays as it is, and the node waits for people.
    #[default]
    Wait,
    /// It is made anew, and all that was on it is lost.
    Reset,
}

impl WhenDamaged {
    pub(super) const NAMES: [(&'static str, Self); 2] =
        [("wait", Self::Wait), ("reset", Self::Reset)];

    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        section.choice("when-damaged", &Self::NAMES).unwrap_or_default()
    }
}
