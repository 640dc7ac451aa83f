//! `[security]`: what a node may give up of its protection.

use super::section::Section;

/// What a node may give up of its protection; by default nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Security {
    /// Whether root, and so a privileged pod, is kept out of the kernel.
    pub lockdown: Lockdown,
    /// Whether root may start another kernel in the place of this one.
    pub kexec: bool,
}

/// Whether root is kept out of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lockdown {
    /// Root cannot change the running kernel (kernel_lockdown(7)).
    #[default]
    Integrity,
    /// Root can.
    None,
}

impl Lockdown {
    pub(super) const NAMES: [(&'static str, Self); 2] =
        [("integrity", Self::Integrity), ("none", Self::None)];
}

impl Security {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            lockdown: section.choice("lockdown", &Lockdown::NAMES).unwrap_or_default(),
            kexec: section.boolean("kexec").unwrap_or_default(),
        }
    }
}
