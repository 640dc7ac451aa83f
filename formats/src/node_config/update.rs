//! `[update]`: where new versions come from and who decides.

use super::section::Section;
use super::url::Url;

/// Where new versions come from and who decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// The address of a channel; without one the node is only updated by those who name a release.
    pub channel: Option<Url>,
    /// How far the node goes by itself.
    pub policy: Policy,
}

/// How far the node goes by itself when its channel has a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// It does nothing until it is told.
    #[default]
    Manual,
    /// It fills the spare slot, and starts from it when told.
    Stage,
    /// It fills the spare slot and starts from it.
    Automatic,
}

impl Policy {
    pub(super) const NAMES: [(&'static str, Self); 3] =
        [("manual", Self::Manual), ("stage", Self::Stage), ("automatic", Self::Automatic)];
}

impl Update {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let channel = section.parsed::<Url>("channel").map(|channel| channel.value);
        let policy = section.choice("policy", &Policy::NAMES).unwrap_or_default();
        if policy != Policy::Manual {
            section.require("channel");
        }
        Self { channel, policy }
    }
}
