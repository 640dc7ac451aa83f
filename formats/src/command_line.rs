//! The kernel command line: the keys that begin with `orlop.`, checked and typed. Everything else
//! on it belongs to the kernel and is left alone.
//!
//! The keys, with examples, are in `docs/boot.md`. In a signed UKI the line is signed too, so the
//! root hash on it is what the whole root is trusted by.

use std::fmt;
use std::path::PathBuf;

use crate::boot_entries;
use crate::digest::Sha256;
use crate::gpt::Guid;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// `orlop.root`: where the root image is.
    pub root: RootSource,
    /// `orlop.roothash`: the top of the image's verity tree.
    pub root_hash: Sha256,
    /// `orlop.slot`: which slot this boot is from; [`Slot::None`] if the key is absent. Of
    /// [`RootSource::Slots`] it decides only if both hold the root.
    pub slot: Slot,
    /// `orlop.config`: the address of the node config.
    pub config: Option<String>,
    /// What is to be begun anew.
    pub resets: Resets,
    /// `orlop.debug` is present: tell more.
    pub debug: bool,
}

/// Where the root image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSource {
    /// `partuuid:UUID`: the GPT partition with this identity.
    Partition(Guid),
    /// `partuuid:UUID,UUID`: the partitions of slot A and of slot B, of which one or both may hold
    /// the root. Two identities.
    Slots([Guid; 2]),
    /// `pmem:N`: the persistent memory device `/dev/pmemN`.
    Pmem(u32),
    /// `file:/PATH`: a file inside the initramfs.
    File(PathBuf),
}

/// One of the two places for a root image on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Partition `ROOT-A`.
    A,
    /// Partition `ROOT-B`.
    B,
    /// Not from a slot: the image is in memory.
    None,
}

/// One thing that is wrong with the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLineError {
    /// A key of ours that we do not know.
    UnknownKey(String),
    /// A key that may stand once stands twice.
    GivenTwice(&'static str),
    /// A key that is needed is absent.
    Missing(&'static str),
    /// A value that is not what the key takes.
    Value {
        /// The key.
        key: &'static str,
        /// What stands there.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A root that later versions may know.
    NotSupportedYet(String),
}

impl CommandLine {
    /// Parses the text of `/proc/cmdline`.
    ///
    /// # Errors
    /// Every mistake there is, in the order of the words, missing keys last.
    pub fn parse(text: &str) -> Result<Self, Vec<CommandLineError>> {
        let mut found = Found::default();
        let mut errors = Vec::new();
        for word in words(text) {
            if let Some(ours) = word.strip_prefix("orlop.")
                && let Err(error) = found.take(ours)
            {
                errors.push(error);
            }
        }
        let missing = |key| CommandLineError::Missing(key);
        match (found.root, found.root_hash) {
            (Key::Good(root), Key::Good(root_hash)) if errors.is_empty() => Ok(Self {
                root,
                root_hash,
                slot: found.slot.unwrap_or(Slot::None),
                config: found.config,
                resets: found.resets,
                debug: found.debug,
            }),
            (root, root_hash) => {
                errors.extend(root.is_absent().then(|| missing("orlop.root")));
                errors.extend(root_hash.is_absent().then(|| missing("orlop.roothash")));
                Err(errors)
            }
        }
    }
}

/// `orlop.config` of the text of `/proc/cmdline`, whatever else stands there: a mistake in another
/// key does not keep a node from its configuration.
///
/// # Errors
/// When it is no address, or stands there twice.
pub fn config(text: &str) -> Result<Option<String>, CommandLineError> {
    Ok(Found::only(text, &["config"])?.config)
}

/// `orlop.roothash` of a command line, whatever else stands there: which root an image of another
/// version starts, whose other keys may be newer than this program. `None` if the key is absent.
///
/// # Errors
/// When it is no hash, or stands there twice.
pub fn root_hash(text: &str) -> Result<Option<Sha256>, CommandLineError> {
    Ok(match Found::only(text, &["roothash"])?.root_hash {
        Key::Good(hash) => Some(hash),
        Key::Absent | Key::Bad => None,
    })
}

/// What is to be begun anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resets {
    /// `orlop.config-source=reset`: the config may come from another volume than before.
    pub config_source: bool,
    /// `orlop.state=reset`: STATE is made anew, once.
    pub state: bool,
}

/// What the text of `/proc/cmdline` wants begun anew, whatever else stands there. A word with
/// another value asks for nothing.
pub fn resets(text: &str) -> Resets {
    Found::only(text, &["config-source", "state"]).map_or_else(|_| Resets::default(), |f| f.resets)
}

/// Whether this is an address that a node config can be fetched from.
pub fn is_config_address(text: &str) -> bool {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    host.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

impl Slot {
    /// Reads what [`Display`](fmt::Display) writes: `a`, `b` or `none`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

impl From<boot_entries::Slot> for Slot {
    fn from(slot: boot_entries::Slot) -> Self {
        match slot {
            boot_entries::Slot::A => Self::A,
            boot_entries::Slot::B => Self::B,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
            Self::None => "none",
        })
    }
}

impl fmt::Display for RootSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(guid) => write!(f, "partuuid:{guid}"),
            Self::Slots([a, b]) => write!(f, "partuuid:{a},{b}"),
            Self::Pmem(number) => write!(f, "pmem:{number}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl fmt::Display for CommandLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(key) => {
                write!(f, "the kernel command line has the unknown key `orlop.{key}`")
            }
            Self::GivenTwice(key) => write!(f, "the kernel command line has `{key}` twice"),
            Self::Missing(key) => write!(f, "the kernel command line lacks `{key}`"),
            Self::Value { key, value, expected } => {
                write!(f, "`{key}={value}` on the kernel command line: expected {expected}")
            }
            Self::NotSupportedYet(value) => {
                write!(
                    f,
                    "`orlop.root={value}`: a root by HTTP is not supported yet by this version"
                )
            }
        }
    }
}

impl std::error::Error for CommandLineError {}

/// A key that is needed: one with a bad value is not reported as missing as well.
#[derive(Debug, Default)]
enum Key<T> {
    #[default]
    Absent,
    Bad,
    Good(T),
}

impl<T> Key<T> {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    fn set(
        &mut self,
        key: &'static str,
        value: Result<T, CommandLineError>,
    ) -> Result<(), CommandLineError> {
        if !self.is_absent() {
            return Err(CommandLineError::GivenTwice(key));
        }
        *self = Self::Bad;
        *self = Self::Good(value?);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Found {
    root: Key<RootSource>,
    root_hash: Key<Sha256>,
    slot: Option<Slot>,
    config: Option<String>,
    resets: Resets,
    debug: bool,
}

impl Found {
    /// Takes of the line's words those with one of these keys.
    fn only(text: &str, keys: &[&str]) -> Result<Self, CommandLineError> {
        let mut found = Self::default();
        for word in words(text) {
            if let Some(ours) = word.strip_prefix("orlop.")
                && ours.split('=').next().is_some_and(|key| keys.contains(&key))
            {
                found.take(ours)?;
            }
        }
        Ok(found)
    }

    /// Takes one `KEY` or `KEY=VALUE`, without the `orlop.` in front.
    fn take(&mut self, word: &str) -> Result<(), CommandLineError> {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        let text = value.unwrap_or_default();
        let wrong =
            |key, expected| CommandLineError::Value { key, value: text.to_owned(), expected };
        match key {
            "root" => self.root.set("orlop.root", root_source(text)),
            "roothash" => {
                let expected = "64 hexadecimal digits";
                let hash = text.parse().map_err(|_| wrong("orlop.roothash", expected));
                self.root_hash.set("orlop.roothash", hash)
            }
            "slot" => {
                let slot = Slot::parse(text);
                let slot = slot.ok_or_else(|| wrong("orlop.slot", "`a`, `b` or `none`"))?;
                once(&mut self.slot, slot, "orlop.slot")
            }
            "config" if is_config_address(text) => {
                once(&mut self.config, text.to_owned(), "orlop.config")
            }
            "config" => {
                Err(wrong("orlop.config", "an address that begins with http:// or https://"))
            }
            // A second one asks for the same.
            "config-source" if text == "reset" => {
                self.resets.config_source = true;
                Ok(())
            }
            "config-source" => Err(wrong("orlop.config-source", "`reset`")),
            "state" if text == "reset" => {
                self.resets.state = true;
                Ok(())
            }
            "state" => Err(wrong("orlop.state", "`reset`")),
            "debug" if value.is_none() => {
                self.debug = true;
                Ok(())
            }
            "debug" => Err(wrong("orlop.debug", "no value")),
            _ => Err(CommandLineError::UnknownKey(key.to_owned())),
        }
    }
}

fn once<T>(place: &mut Option<T>, value: T, key: &'static str) -> Result<(), CommandLineError> {
    match place {
        Some(_) => Err(CommandLineError::GivenTwice(key)),
        None => {
            *place = Some(value);
            Ok(())
        }
    }
}

fn root_source(text: &str) -> Result<RootSource, CommandLineError> {
    let wrong = || CommandLineError::Value {
        key: "orlop.root",
        value: text.to_owned(),
        expected: "`partuuid:UUID`, `partuuid:UUID,UUID`, `pmem:NUMBER` or `file:/PATH`",
    };
    let guid = |text: &str| text.parse::<Guid>().map_err(|_| wrong());
    let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
    match kind {
        "partuuid" => match rest.split_once(',') {
            None => guid(rest).map(RootSource::Partition),
            Some((a, b)) => match [guid(a)?, guid(b)?] {
                [a, b] if a == b => Err(wrong()),
                slots => Ok(RootSource::Slots(slots)),
            },
        },
        "pmem" if !rest.starts_with('+') => rest.parse().map(RootSource::Pmem).map_err(|_| wrong()),
        "file" if rest.starts_with('/') => Ok(RootSource::File(PathBuf::from(rest))),
        "http" | "https" => Err(CommandLineError::NotSupportedYet(text.to_owned())),
        _ => Err(wrong()),
    }
}

/// The words of the line up to `--`: what follows would be arguments for init, and the kernel stops
/// there too. White space between double quotes does not separate, and the quotes fall away, as in
/// `next_arg` of the kernel (lib/cmdline.c).
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words.truncate(words.iter().position(|word| word == "--").unwrap_or(words.len()));
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "8a4e0c5e-1c3f-4c5e-9a60-5d5f6f0c7a11";
    const OTHER: &str = "8a4e0c5e-1c3f-4c5e-9a60-5d5f6f0c7a12";
    const GOOD: &str = "orlop.root=pmem:0 orlop.roothash=\
        00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn good() -> CommandLine {
        CommandLine::parse(GOOD).unwrap()
    }

    fn errors(text: &str) -> Vec<String> {
        let errors = CommandLine::parse(text).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_root_of_a_line_is_found_whatever_else_stands_there() {
        let hash = good().root_hash;
        let quoted = format!("orlop.new=1 x=\"orlop.roothash=1 y\" \"orlop.roothash={hash}\" -- z");
        assert_eq!(root_hash(&quoted), Ok(Some(hash)));
        assert_eq!(root_hash("ro quiet -- orlop.slot=x"), Ok(None));
        assert!(root_hash(&format!("{GOOD} {GOOD}")).unwrap_err().to_string().ends_with("twice"));
        assert!(root_hash("orlop.roothash=12").is_err());
    }

    #[test]
    fn a_whole_line_is_understood_and_the_kernels_words_are_left_alone() {
        let text = format!(
            "console=ttyS0 panic=5 oops=panic ro {GOOD} orlop.slot=b orlop.debug \
             orlop.config=\"https://config.example/node.toml\" quiet -- orlop.unknown\n"
        );
        let want = CommandLine {
            root: RootSource::Pmem(0),
            slot: Slot::B,
            config: Some("https://config.example/node.toml".to_owned()),
            debug: true,
            ..good()
        };
        assert_eq!(CommandLine::parse(&text), Ok(want));
    }

    #[test]
    fn slot_config_and_debug_may_be_absent() {
        let line = good();
        assert_eq!((line.slot, line.config, line.debug), (Slot::None, None, false));
    }

    #[test]
    fn each_kind_of_root_is_read_back_from_its_own_text() {
        let slots = format!("partuuid:{UUID},{OTHER}");
        for text in [&format!("partuuid:{UUID}"), &slots, "pmem:7", "file:/root.img"] {
            assert_eq!(root_source(text).unwrap().to_string(), *text);
        }
        let both = [UUID, OTHER].map(|text| text.parse().unwrap());
        assert_eq!(root_source(&slots), Ok(RootSource::Slots(both)), "the first is slot A's");
    }

    #[test]
    fn a_slot_is_read_back_from_its_own_text() {
        for slot in [Slot::A, Slot::B, Slot::None] {
            assert_eq!(Slot::parse(&slot.to_string()), Some(slot));
        }
        assert_eq!(Slot::parse("A"), None);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        assert_eq!(
            errors(
                "orlop.rot=x orlop.slot=c orlop.roothash=12 orlop.debug=1 orlop.slot=a orlop.slot=b"
            ),
            [
                "the kernel command line has the unknown key `orlop.rot`",
                "`orlop.slot=c` on the kernel command line: expected `a`, `b` or `none`",
                "`orlop.roothash=12` on the kernel command line: expected 64 hexadecimal digits",
                "`orlop.debug=1` on the kernel command line: expected no value",
                "the kernel command line has `orlop.slot` twice",
                "the kernel command line lacks `orlop.root`",
            ]
        );
    }

    #[test]
    fn a_second_root_hash_is_refused_even_if_it_is_the_same() {
        let twice = format!("{GOOD} {GOOD}");
        assert_eq!(
            errors(&twice),
            [
                "the kernel command line has `orlop.root` twice",
                "the kernel command line has `orlop.roothash` twice",
            ]
        );
    }

    #[test]
    fn a_root_that_we_cannot_reach_is_refused() {
        let expected = "expected `partuuid:UUID`, `partuuid:UUID,UUID`, `pmem:NUMBER` or \
                        `file:/PATH`";
        let pairs = [
            format!("partuuid:{UUID},{UUID}"),
            format!("partuuid:{UUID},"),
            format!("partuuid:,{UUID}"),
            format!("partuuid:{UUID},{OTHER},{UUID}"),
        ];
        let texts = ["", "vda3", "partuuid:12", "pmem:", "pmem:+1", "file:root.img"];
        for text in texts.into_iter().chain(pairs.iter().map(String::as_str)) {
            let error = root_source(text).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("`orlop.root={text}` on the kernel command line: {expected}")
            );
        }
        assert_eq!(
            root_source("http://mirror.example/root.img").unwrap_err().to_string(),
            "`orlop.root=http://mirror.example/root.img`: a root by HTTP is not supported yet by \
             this version"
        );
    }

    #[test]
    fn the_config_s_address_is_found_whatever_else_is_wrong() {
        let config = |text: &str| config(text).map_err(|error| error.to_string());
        let address = Some("https://config.example/n.toml".to_owned());
        assert_eq!(config("orlop.rot=x orlop.config=https://config.example/n.toml"), Ok(address));
        assert_eq!(config("orlop.configs=http://x quiet -- orlop.config=http://x"), Ok(None));
        for bad in ["", "file:/x", "http://", "https:///x", "\"http://a b\""] {
            let error = config(&format!("orlop.config={bad}")).unwrap_err();
            assert!(error.ends_with("an address that begins with http:// or https://"), "{error}");
        }
        assert_eq!(
            config("orlop.config=http://a orlop.config=http://a").unwrap_err(),
            "the kernel command line has `orlop.config` twice"
        );
    }

    #[test]
    fn what_is_to_be_begun_anew_is_found_whatever_else_is_wrong() {
        let text = format!("{GOOD} orlop.state=reset orlop.config-source=reset");
        let (state, config_source) = (true, true);
        assert_eq!(CommandLine::parse(&text).unwrap().resets, Resets { config_source, state });
        for (text, want) in [
            (text.as_str(), Resets { state, config_source }),
            ("orlop.rot=x orlop.state=reset", Resets { state, config_source: false }),
            (
                "orlop.config-source=reset -- orlop.state=reset",
                Resets { state: false, config_source },
            ),
            ("orlop.config=http://a orlop.state", Resets::default()),
            ("orlop.state=resett", Resets::default()),
        ] {
            assert_eq!(resets(text), want, "{text}");
        }
        assert_eq!(
            errors(&format!("{GOOD} orlop.state=new orlop.config-source")),
            [
                "`orlop.state=new` on the kernel command line: expected `reset`",
                "`orlop.config-source=` on the kernel command line: expected `reset`",
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*", key in "orlop\\.[a-z]{0,8}=?.{0,20}") {
            let _ = CommandLine::parse(&text);
            let _ = resets(&text);
            let _ = config(&text);
            let _ = CommandLine::parse(&format!("{GOOD} {key}"));
        }
    }
}
