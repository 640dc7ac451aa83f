//! The boot entries of a node: two files in `EFI/Linux`, one for each slot, whose names say which of
//! them systemd-boot starts. A name is a generation, a slot and maybe a count of attempts:
//! `2a.efi`, `1b+3.efi`, `1b+2-1.efi`.
//!
//! Boot counting is specified in UAPI.1, "Boot Loader Specification", and the order of entries in
//! systemd-boot's sources (`boot_entry_compare`); `docs/disk.md` says what was seen of both.

mod directory;
#[cfg(test)]
mod firmware;
mod started;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

pub use directory::{Directory, DirectoryError, Entry, SECTOR_BYTES};
pub use started::{LONGEST, VARIABLES, slot, slot_of_variable};

/// The highest generation. Names stay within 13 characters also when they are counted, so that each
/// takes one long-name record.
pub const MOST_GENERATION: u16 = 999;

/// How often the loader tries an entry that is armed.
pub const TRIES: u32 = 3;

/// One of the two places of a root image and its UKI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// `ROOT-A`, and the entry with an `a`.
    A,
    /// `ROOT-B`, and the entry with a `b`.
    B,
}

impl Slot {
    /// Both, in the order of the disk.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The one that this is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// 0 or 1.
    pub const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// As names and the command line have it.
    pub const fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// How often an entry may still be tried, and was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count {
    /// The loader sorts an entry with none left behind all others.
    pub left: u32,
    /// Since it was armed.
    pub done: u32,
}

/// The name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    // Invariant: 1 to `MOST_GENERATION`.
    generation: u16,
    slot: Slot,
    count: Option<Count>,
}

/// A name that no entry of a node has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no boot entry of ours, such as `2a.efi` or `1b+3.efi`", .0.escape_debug())]
pub struct NameError(pub String);

impl Name {
    /// An entry that is not counted. A generation beyond the range is brought into it.
    pub fn new(generation: u16, slot: Slot) -> Self {
        Self { generation: generation.clamp(1, MOST_GENERATION), slot, count: None }
    }

    /// The same with a count.
    #[must_use]
    pub const fn counted(self, left: u32, done: u32) -> Self {
        Self { count: Some(Count { left, done }), ..self }
    }

    /// The same without a count.
    #[must_use]
    pub const fn uncounted(self) -> Self {
        Self { count: None, ..self }
    }

    /// Higher ones are started first.
    pub const fn generation(self) -> u16 {
        self.generation
    }

    /// Whose UKI it is.
    pub const fn slot(self) -> Slot {
        self.slot
    }

    /// Its count of attempts, if it is counted.
    pub const fn count(self) -> Option<Count> {
        self.count
    }

    /// Whether it is counted and no attempt is left.
    pub fn is_used_up(self) -> bool {
        self.count.is_some_and(|count| count.left == 0)
    }

    /// What the loader calls it, in `LoaderEntryOneShot` too: the name without the count.
    pub fn id(self) -> String {
        self.uncounted().to_string()
    }

    /// The name that the loader gives it before it starts it: an attempt less, also where none is left.
    #[must_use]
    pub fn started(self) -> Self {
        /// systemd-boot holds counts in an `int`.
        const MOST: u32 = i32::MAX as u32;
        let next = |Count { left, done }| Count {
            left: left.saturating_sub(1),
            done: done.saturating_add(1).min(MOST),
        };
        Self { count: self.count.map(next), ..self }
    }

    /// The order in which the loader tries entries that it lists: the less is started first.
    pub fn loader_order(&self, other: &Self) -> Ordering {
        let used_up = self.is_used_up().cmp(&other.is_used_up());
        let id = |name: &Self| (name.generation, name.slot);
        let counts = match (self.count, other.count) {
            (Some(one), Some(two)) => two.left.cmp(&one.left).then(one.done.cmp(&two.done)),
            _ => Ordering::Equal,
        };
        used_up.then(id(other).cmp(&id(self))).then(counts)
    }
}

/// The entry that the loader starts, of those that it lists: those whose file has good headers.
/// `one_shot` is what `LoaderEntryOneShot` holds; an id that no entry has is passed over.
pub fn started_first(listed: &[Name], one_shot: Option<&str>) -> Option<Name> {
    let once = one_shot.and_then(|id| listed.iter().find(|name| name.id() == id));
    once.or_else(|| listed.iter().min_by(|one, two| one.loader_order(two))).copied()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.generation, self.slot.letter())?;
        match self.count {
            None => {}
            Some(Count { left, done: 0 }) => write!(f, "+{left}")?,
            Some(Count { left, done }) => write!(f, "+{left}-{done}")?,
        }
        f.write_str(".efi")
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError(text.to_owned());
        let stem = text.strip_suffix(".efi").ok_or_else(error)?;
        let (entry, count) = match stem.split_once('+') {
            Some((entry, count)) => (entry, Some(count)),
            None => (stem, None),
        };
        let (generation, slot) = match entry.strip_suffix('a') {
            Some(generation) => (generation, Slot::A),
            None => (entry.strip_suffix('b').ok_or_else(error)?, Slot::B),
        };
        let generation = number(generation).ok_or_else(error)?;
        let generation = u16::try_from(generation).map_err(|_| error())?;
        if !(1..=MOST_GENERATION).contains(&generation) {
            return Err(error());
        }
        let count = match count.map(|count| count.split_once('-').unwrap_or((count, "0"))) {
            None => None,
            Some((left, done)) => {
                let left = number(left).ok_or_else(error)?;
                Some(Count { left, done: number(done).ok_or_else(error)? })
            }
        };
        Ok(Self { generation, slot, count })
    }
}

/// A number in its one way to be written, as far as systemd-boot counts.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok().filter(|number| i32::try_from(*number).is_ok()))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_read_and_written_in_one_way() {
        for text in ["2a.efi", "1b+3.efi", "1b+2-1.efi", "999a+0-3.efi", "1b+0-2147483647.efi"] {
            assert_eq!(name(text).to_string(), text);
        }
        assert_eq!(name("1b+3-0.efi"), name("1b+3.efi"));
        for text in [
            "",
            ".efi",
            "a.efi",
            "0a.efi",
            "01a.efi",
            "1000a.efi",
            "1c.efi",
            "1a",
            "1a.EFI",
            "1A.efi",
            "1a+.efi",
            "1a+03.efi",
            "1a+3-.efi",
            "1a+3-1-1.efi",
            "1a+3+1.efi",
            "1a+-1.efi",
            "1a+2147483648.efi",
            "SLOTA",
            "fedora.efi",
            "1a.efi ",
        ] {
            assert_eq!(text.parse::<Name>(), Err(NameError(text.to_owned())));
        }
    }

    #[test]
    fn a_counted_name_takes_one_long_name_record() {
        let longest = Name::new(u16::MAX, Slot::B).counted(TRIES - 1, 1);
        assert_eq!(longest.to_string(), "999b+2-1.efi");
        assert!(longest.to_string().len() <= 13);
    }

    /// As systemd-boot 257 was seen to start them (facts of `docs/disk.md`).
    #[test]
    fn the_loader_starts_the_highest_that_is_not_used_up() {
        for (listed, one_shot, first) in [
            (&["2a.efi", "1b.efi"][..], None, Some("2a.efi")),
            (&["10b.efi", "9a.efi"], None, Some("10b.efi")),
            (&["1a.efi", "1b.efi"], None, Some("1b.efi")),
            (&["2a+3.efi", "1b.efi"], None, Some("2a+3.efi")),
            (&["2a.efi", "3b+1.efi"], None, Some("3b+1.efi")),
            (&["2a.efi", "3b+0-1.efi"], None, Some("2a.efi")),
            (&["2a+0-3.efi", "3b+0-3.efi"], None, Some("3b+0-3.efi")),
            (&["3b+0-3.efi"], None, Some("3b+0-3.efi")),
            (&[], None, None),
            (&["2a.efi", "1b.efi"], Some("1b.efi"), Some("1b.efi")),
            (&["2a.efi", "1b+0.efi"], Some("1b.efi"), Some("1b+0.efi")),
            // An id with a count is none that any entry has.
            (&["2a.efi", "1b+0.efi"], Some("1b+0.efi"), Some("2a.efi")),
            (&["2a.efi"], Some("1b.efi"), Some("2a.efi")),
            // What a torn rename left: the one with more attempts.
            (&["2a+2-1.efi", "2a+3.efi"], None, Some("2a+3.efi")),
        ] {
            let listed: Vec<_> = listed.iter().map(|text| name(text)).collect();
            assert_eq!(started_first(&listed, one_shot), first.map(name), "{listed:?}");
        }
    }

    #[test]
    fn each_start_takes_an_attempt_and_none_is_taken_below_zero() {
        let mut entry = name("1a+3.efi");
        for after in ["1a+2-1.efi", "1a+1-2.efi", "1a+0-3.efi", "1a+0-4.efi"] {
            entry = entry.started();
            assert_eq!(entry.to_string(), after);
            assert_eq!(entry.id(), "1a.efi");
        }
        assert_eq!(name("1a.efi").started(), name("1a.efi"));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_back(text in "[0-9]{0,4}[abc]?(\\+[0-9]{0,3}(-[0-9]{0,3})?)?\\.efi") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.to_string().parse(), Ok(name));
            }
        }

        #[test]
        fn the_loaders_order_is_one(generations in prop::collection::vec((1_u16..6, 0_usize..2, 0_u32..9), 3)) {
            let names: Vec<Name> = generations
                .into_iter()
                .map(|(generation, slot, count)| {
                    let name = Name::new(generation, Slot::BOTH[slot]);
                    if count < 4 { name.counted(count, 3 - count) } else { name }
                })
                .collect();
            for one in &names {
                for two in &names {
                    prop_assert_eq!(one.loader_order(two), two.loader_order(one).reverse());
                }
            }
        }
    }
}
