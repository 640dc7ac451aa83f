//! `[update]`: where new versions come from, when, and who decides.

use super::interval::Interval;
use super::pem::Certificates;
use super::section::Section;
use super::url::Url;
use super::window::Window;

/// The most that `rate-limit` can say: 1 GiB a second.
const FASTEST: u32 = 1 << 20;
/// What `deadline` can say, in seconds. PID 1 restarts a trial that nobody judges after ten minutes.
const DEADLINES: std::ops::Range<u32> = 30..541;

/// Where new versions come from, when, and who decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// Addresses that all have the same channel, in the order in which they are asked; without one the
    /// node is only updated by those who name a release.
    pub channel: Vec<Url>,
    /// How far the node goes by itself.
    pub policy: Policy,
    /// When it does so; at any time if none is written.
    pub window: Vec<Window>,
    /// How often it looks whether there is a new version.
    pub check_interval: Interval,
    /// The most that is fetched, in KiB a second.
    pub rate_limit: Option<u32>,
    /// Authorities that the channel's servers may have beside those of the image.
    pub ca: Option<Certificates>,
    /// The first root of the channel's metadata, instead of the image's: the text of `root.json`.
    pub root: Option<String>,
    /// In how many seconds a release has to be healthy.
    pub deadline: Option<u32>,
    /// Whether the node has to be Ready before a release is believed.
    pub node_ready: bool,
    /// Whether a release is started by the running kernel, and not by the firmware.
    pub kexec: bool,
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
        let channel = section.one_or_list::<Url>("channel");
        let channel = channel.into_iter().map(|channel| channel.value).collect();
        let policy = section.choice("policy", &Policy::NAMES).unwrap_or_default();
        if policy != Policy::Manual {
            section.require("channel");
        }
        let window = section.one_or_list::<Window>("window");
        let window = window.into_iter().map(|window| window.value).collect();
        if let Some(span) = section.place("window")
            && policy == Policy::Manual
        {
            let message = "`update.window` has no effect while `policy` is `manual`";
            section.notes.note(span, message);
        }
        let check_interval = section.parsed::<Interval>("check-interval");
        let check_interval = check_interval.map(|interval| interval.value).unwrap_or_default();
        if let Some(span) = section.place("check-interval")
            && policy == Policy::Manual
        {
            let message = "`update.check-interval` has no effect while `policy` is `manual`";
            section.notes.note(span, message);
        }
        let rate_limit = section.number("rate-limit", 1..FASTEST + 1);
        let ca = section.parsed::<Certificates>("ca").map(|ca| ca.value);
        let root = section.string("root").map(|root| root.value.to_owned());
        let deadline = section.number("deadline", DEADLINES);
        let node_ready = section.boolean("node-ready").unwrap_or_default();
        let kexec = section.boolean("kexec").unwrap_or_default();
        Self {
            channel,
            policy,
            window,
            check_interval,
            rate_limit,
            ca,
            root,
            deadline,
            node_ready,
            kexec,
        }
    }
}
