//! STATE as PID 1 cannot use it: a superblock that is mended from a copy, a file system that is made
//! anew because its owner says so, and a node that runs without any.
//!
//! PID 1 mounts STATE and calls this where that fails (`init/src/pid1/state.rs`); the rest of a boot
//! without STATE is made of what it then leaves in [`WITHOUT_STATE`].

mod mend;
mod reset;

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use formats::node_config::{NodeConfig, WhenDamaged};
use formats::superblock::ext4::{OFFSET, SIZE, Superblock};
use formats::system::{DAMAGED, WITHOUT_STATE};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};

use crate::arguments::{Arguments, Failure};
use crate::console;
use crate::root::{Keep, PUBLIC, Root};

/// Says that `orlop.state=reset` was followed: it stands on the command line until somebody takes
/// it off, and is followed once.
const FOLLOWED: &str = formats::system::STATE_WAS_RESET;
/// So that a person can read what is about to happen, and cut the power.
const READING_TIME: Duration = Duration::from_secs(10);
/// Bytes of a block of any disk, at most; a power of two.
const ALIGNED: usize = 4096;
const LIMIT: u64 = 16 * 1024;

/// Why there is no STATE in this boot, as PID 1 has left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// In its words.
    pub(crate) why: String,
    /// The partition, if it was found.
    pub(crate) device: Option<PathBuf>,
    /// What is on it is damaged; else the disk cannot be read.
    pub(crate) is_damaged: bool,
}

impl Missing {
    /// What PID 1 has left; nothing if all is well.
    pub(crate) fn load(root: &Root) -> Option<Self> {
        let text = match root.read(WITHOUT_STATE, LIMIT) {
            Ok(None) => return None,
            Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("`{WITHOUT_STATE}`: {error}"),
        };
        let mut lines = text.lines();
        let why = lines.next().unwrap_or_default().to_owned();
        let device = lines.next().filter(|device| !device.is_empty()).map(PathBuf::from);
        Some(Self { why, device, is_damaged: lines.next() == Some(DAMAGED) })
    }

    /// What people should know besides that, of a node that has kubelet or has it not.
    pub(crate) fn problem(&self, has_kubelet: bool) -> String {
        let cure = match self.device {
            Some(_) => {
                "start it once with `orlop.state=reset` on the kernel command line to make STATE \
                 anew: all that is on it is lost then"
            }
            None => "find the disk with its partition `STATE`",
        };
        let lacks = match has_kubelet {
            true => "kubelet does not run, and the node is not Ready",
            false => "nothing outlives a restart",
        };
        format!("without STATE {lacks}: {cure}")
    }

    /// The partition that `config` wants made anew, if it does. `is_of_a_volume` says that it was
    /// on one: without STATE nobody knows whether that is this node's.
    pub(crate) fn to_reset(
        &self,
        config: &NodeConfig,
        is_of_a_volume: bool,
    ) -> Option<Result<&Path, String>> {
        let device = self.device.as_deref().filter(|_| self.is_damaged)?;
        match config.when_damaged {
            WhenDamaged::Wait => None,
            WhenDamaged::Reset if is_of_a_volume => Some(Err(
                "`state.when-damaged = \"reset\"` is not followed: the config is on a volume, and \
                 without STATE nobody knows whose that is"
                    .to_owned(),
            )),
            WhenDamaged::Reset => Some(Ok(device)),
        }
    }
}

/// Who wants STATE made anew, and what becomes of the boot then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// PID 1 follows it, and mounts what was made.
    CommandLine,
    /// The network and containerd run by then, with a `/var` in memory.
    Config,
}

impl Asker {
    fn word(self) -> &'static str {
        match self {
            Self::CommandLine => "`orlop.state=reset` on the kernel command line",
            Self::Config => "`state.when-damaged = \"reset\"` of the node config",
        }
    }

    fn then(self) -> &'static str {
        match self {
            Self::CommandLine => "this boot goes on with it",
            Self::Config => "the node starts again",
        }
    }
}

/// Makes STATE anew because the config says so, and starts the machine again; what was done.
///
/// # Errors
/// What could not be done.
pub(crate) fn reset_and_restart(root: &Root, device: &Path) -> Result<String, String> {
    let done = reset_device(root, device, Asker::Config).map_err(|error| error.to_string())?;
    if root.is_the_machines() {
        // As Ctrl-Alt-Del does.
        kill_process(Pid::INIT, Signal::INT).map_err(|error| format!("cannot restart: {error}"))?;
    }
    Ok(done)
}

/// Reads the superblock from the disk itself (`O_DIRECT` of open(2)): a mount would see what waits in
/// memory, and the units that may come to this may mount nothing.
fn look_past_the_cache(device: &Path) -> std::io::Result<()> {
    let direct = OFlags::DIRECT.bits().cast_signed();
    let disk = OpenOptions::new().read(true).custom_flags(direct).open(device)?;
    // Memory, place and length are multiples of what any disk wants.
    let mut memory = vec![0; 2 * ALIGNED];
    let start = memory.as_ptr().align_offset(ALIGNED);
    let block = memory.get_mut(start..start + ALIGNED).unwrap_or_default();
    disk.read_exact_at(block, 0)?;
    let at = usize::try_from(OFFSET).map_err(std::io::Error::other)?;
    let superblock = block.get(at..at + SIZE).and_then(|bytes| bytes.try_into().ok());
    let superblock = superblock.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Superblock::parse(superblock).map(drop).map_err(|why| std::io::Error::other(why.to_string()))
}

/// Remembers on STATE whether this boot's command line has `orlop.state=reset`, which PID 1 has
/// followed by now.
///
/// # Errors
/// What the file system says.
pub(crate) fn remember(root: &Root, is_wanted: bool) -> std::io::Result<()> {
    match (is_wanted, root.path(FOLLOWED).exists()) {
        (true, false) => root.write(FOLLOWED, b"", PUBLIC, Keep::Forever),
        (false, true) => root.remove(FOLLOWED),
        _ => Ok(()),
    }
}

/// `mend-state DEVICE`: puts a copy in the place of a superblock that is damaged.
///
/// # Errors
/// [`Failure::Usage`]; [`Failure::Failed`] if no copy is good.
pub(crate) fn mend_command(arguments: &mut Arguments) -> Result<(), Failure> {
    let device = PathBuf::from(arguments.operand("DEVICE")?);
    arguments.finish()?;
    let line = mend::mend(&device)
        .map_err(|error| Failure::Failed(format!("{}: {error}", device.display())))?;
    eprintln!("{}: {line}", device.display());
    Ok(())
}

/// `reset-state DEVICE`: says what is about to happen, waits, and makes STATE anew.
///
/// # Errors
/// [`Failure::Usage`]; [`Failure::Failed`] if it cannot be written.
pub(crate) fn reset_command(arguments: &mut Arguments) -> Result<(), Failure> {
    let device = PathBuf::from(arguments.operand("DEVICE")?);
    arguments.finish()?;
    reset_device(&Root::new("/"), &device, Asker::CommandLine).map(drop)
}

/// What both askers get: it is said before it happens, can be stopped, and is said when it is done.
fn reset_device(root: &Root, device: &Path, asker: Asker) -> Result<String, Failure> {
    let why = asker.word();
    let shown = device.display();
    let seconds = READING_TIME.as_secs();
    console::say(
        root,
        &format!(
            "{why}: STATE ({shown}) is made anew in {seconds} seconds, and all that is on it is \
             lost; cut the power to keep it"
        ),
    );
    if root.is_the_machines() {
        thread::sleep(READING_TIME);
    }
    reset::reset(device)
        .map_err(|error| Failure::Failed(format!("cannot make STATE anew on {shown}: {error}")))?;
    if root.is_the_machines() {
        // A disk that keeps nothing would be made anew at each boot.
        look_past_the_cache(device).map_err(|error| {
            let what =
                format!("STATE ({shown}) was made anew, and the disk has not kept it: {error}");
            Failure::Failed(what)
        })?;
    }
    let done = format!("STATE ({shown}) is made anew: {}", asker.then());
    console::say(root, &done);
    eprintln!("{done}");
    Ok(done)
}

#[cfg(test)]
mod tests {
    use formats::node_config::parse;

    use super::*;

    #[test]
    fn why_there_is_no_state_is_read_as_pid_1_has_left_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        assert_eq!(Missing::load(&root), None);
        for (text, device) in
            [("it is bad\n/dev/vda5\ndamaged\n", Some("/dev/vda5")), ("it is bad\n\n\n", None)]
        {
            root.write(WITHOUT_STATE, text.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
            let (why, device) = ("it is bad".to_owned(), device.map(PathBuf::from));
            let is_damaged = device.is_some();
            let missing = Missing { why, device, is_damaged };
            assert_eq!(Missing::load(&root).as_ref(), Some(&missing));
            let says = |words: &str| missing.problem(true).contains(words);
            assert_eq!(says("orlop.state=reset"), missing.device.is_some());
            assert!(says("kubelet does not run") && !missing.problem(false).contains("kubelet"));
        }
    }

    #[test]
    fn a_config_has_state_made_anew_only_if_it_says_so_and_is_surely_this_node_s() {
        let device = Some(PathBuf::from("/dev/vda5"));
        let damaged = Missing { why: String::new(), device, is_damaged: true };
        let unreadable = Missing { is_damaged: false, ..damaged.clone() };
        let absent = Missing { why: String::new(), device: None, is_damaged: false };
        let wait = parse("schema = 1").unwrap();
        let reset = parse("schema = 1\nstate.when-damaged = 'reset'").unwrap();
        assert_eq!(damaged.to_reset(&wait, false), None);
        assert_eq!(damaged.to_reset(&reset, false), Some(Ok(Path::new("/dev/vda5"))));
        let refused = damaged.to_reset(&reset, true).unwrap().unwrap_err();
        assert!(refused.contains("is not followed: the config is on a volume"), "{refused}");
        assert_eq!(unreadable.to_reset(&reset, false), None);
        assert_eq!(absent.to_reset(&reset, false), None);
    }

    #[test]
    fn a_word_that_stays_on_the_command_line_is_followed_once_until_it_was_taken_off() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let is_followed = || root.path(FOLLOWED).exists();
        for is_wanted in [false, true, true, false, false, true] {
            remember(&root, is_wanted).unwrap();
            assert_eq!(is_followed(), is_wanted);
        }
    }

    #[test]
    fn what_is_lost_is_said_before_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let device = root.path("/none");
        let shown = device.display();
        for asker in [Asker::CommandLine, Asker::Config] {
            root.write("/dev/console", b"", PUBLIC, Keep::ThisBoot).unwrap();
            let failure = reset_device(&root, &device, asker).unwrap_err().to_string();
            assert!(failure.starts_with("cannot make STATE anew on "), "{failure}");
            let said = root.read("/dev/console", LIMIT).unwrap().unwrap();
            let want = format!(
                "*** {}: STATE ({shown}) is made anew in 10 seconds, and all that is on it is lost; \
                 cut the power to keep it\n",
                asker.word()
            );
            assert_eq!(String::from_utf8(said).unwrap(), want);
        }
    }
}
