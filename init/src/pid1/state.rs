//! STATE: the one partition that a node writes to, mounted at `/var`.
//!
//! The image brings it small; the first boot on a larger disk grows the partition table and then,
//! mounted, the file system. A later boot finds nothing to grow and writes nothing.
//!
//! One that cannot be used stops no boot: a superblock that is damaged is mended from its copy, and
//! where that does not help `/var` is in memory, the screen says why, and kubelet does not run
//! (`docs/state.md`). It is made anew only if its owner says so. What is written to a damaged or a
//! new STATE, `orlop-node` writes.

mod grow;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::superblock::ext4::{self as superblock, Superblock, SuperblockError};
use formats::system::{self, STATE_WAS_RESET, WITHOUT_STATE};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount as mount_file_system, unmount};

use crate::clock::monotonic;
use crate::command_line::{self, CommandLine, RootSource, Slot};
use crate::disks::{self, CLASS_BLOCK, Partition};
use crate::process::limited;
use crate::sys::uevent::Uevents;
use crate::sys::{Doing as _, Failure, ext4};
use crate::{configure, log};

/// The partition's label.
const LABEL: &str = "STATE";
/// Where it is mounted.
const MOUNT_POINT: &str = "/var";
/// Containers' layers are on it, but the root of each is a mount of its own, without these. Programs
/// are run from it: a cluster's CNI, and what pods put into their volumes. No access times: a write
/// for every read.
const FLAGS: MountFlags = MountFlags::NODEV.union(MountFlags::NOSUID).union(MountFlags::NOATIME);
/// What `orlop-node` may take to mend STATE, or to make it anew after a person could read that.
const LIMIT: Duration = Duration::from_secs(120);
/// How long a disk other than the root's may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);

/// What [`mount`] has found and done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where the state is kept.
    pub storage: Storage,
    /// Bytes of the file system as it was found; 0 in memory.
    pub old_size: u64,
    /// Bytes of the file system now; 0 in memory.
    pub new_size: u64,
    /// The last shutdown was not orderly: the kernel has replayed the journal.
    pub journal_replayed: bool,
    /// The kernel noticed damage in an earlier boot: the disk should be looked at.
    pub had_errors: bool,
    /// What did not work and is no reason to stop: a growth that failed.
    pub warnings: Vec<String>,
    /// Why `/var` is in memory, if it should not be.
    pub missing: Option<String>,
}

/// Where `/var` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// On this partition.
    Partition(PathBuf),
    /// In memory: the machine was started without slots and has no partition `STATE`.
    Memory,
}

/// Why there is no `/var`.
#[derive(Debug)]
pub enum StateError {
    /// No partition has the label.
    NotFound,
    /// Several disks have one, and none of them is the root's, or none is more so than another.
    Ambiguous(Vec<String>),
    /// What is in the partition is not a file system that we can use.
    NotUsable {
        /// The partition.
        device: PathBuf,
        /// Why.
        reason: SuperblockError,
    },
    /// It can neither be mended nor made anew; says why.
    Node(String),
    /// The kernel refused a step.
    Step(Failure),
}

/// Finds STATE, grows its partition to the disk, mounts it and grows its file system; makes it anew
/// before, if `reset` says so and that was not done in an earlier boot. Without a STATE that can be
/// used `/var` is in memory.
///
/// # Errors
/// If not even that can be mounted.
pub fn mount(reset: bool) -> Result<Report, Failure> {
    let without_slots = || matches!(command_line::running_slot(), Ok(Slot::None));
    let found = find();
    let device = found.as_ref().ok().map(Partition::node);
    match found.and_then(|partition| mount_partition(&partition, reset)) {
        Ok(report) => Ok(report),
        Err(StateError::NotFound) if without_slots() => mount_memory(None),
        Err(error) => {
            let why = error.to_string();
            let device = device.map(|device| device.display().to_string()).unwrap_or_default();
            let damaged = if error.is_damage() { system::DAMAGED } else { "" };
            let text = format!("{why}\n{device}\n{damaged}\n");
            fs::create_dir_all("/run/orlop")
                .and_then(|()| fs::write(WITHOUT_STATE, text))
                .doing(|| format!("write {WITHOUT_STATE}"))?;
            mount_memory(Some(why))
        }
    }
}

/// The partition on the root's disk, else the only one there is.
fn find() -> Result<Partition, StateError> {
    let root_disk = root_disk();
    // A root in memory says nothing about disks; waiting for one would cost every diskless boot.
    let patience = if root_disk.is_some() { PATIENCE } else { Duration::ZERO };
    let roots = disks_with_the_root();
    let uevents = Uevents::open().doing(|| "listen for disks")?;
    let found = uevents.wait_for(monotonic() + patience, || {
        let all = disks::partitions(Path::new(CLASS_BLOCK))?;
        match choose(all, &roots, root_disk.as_deref()) {
            Err(StateError::NotFound) => Ok(None),
            other => Ok(Some(other)),
        }
    });
    found.doing(|| "look for the partition STATE")?.unwrap_or(Err(StateError::NotFound))
}

/// `roots` are the disks with a partition that the command line may mean by the root. If it is more
/// than one the disks are copies of one image, whose roots are the same, and nothing says which STATE
/// is this node's: a pod can write such a disk.
fn choose(
    all: Vec<Partition>,
    roots: &[String],
    root_disk: Option<&str>,
) -> Result<Partition, StateError> {
    let mut labelled: Vec<Partition> =
        all.into_iter().filter(|part| part.label.as_deref() == Some(LABEL)).collect();
    if labelled.iter().any(|part| roots.contains(&part.disk)) {
        labelled.retain(|part| roots.contains(&part.disk));
    } else if let Some(at) = labelled.iter().position(|part| Some(part.disk.as_str()) == root_disk)
    {
        return Ok(labelled.swap_remove(at));
    }
    match labelled.len() {
        0 => Err(StateError::NotFound),
        1 => Ok(labelled.remove(0)),
        _ => Err(StateError::Ambiguous(labelled.into_iter().map(|part| part.name).collect())),
    }
}

/// The disks with a partition of an identity that the command line names.
fn disks_with_the_root() -> Vec<String> {
    let Ok(Ok(CommandLine { root, .. })) = command_line::read() else { return Vec::new() };
    let found = match &root {
        RootSource::Partition(guid) => disks::by_guids(std::slice::from_ref(guid)),
        RootSource::Slots(guids) => disks::by_guids(guids),
        RootSource::Pmem(_) | RootSource::File(_) => return Vec::new(),
    };
    found.unwrap_or_default().into_iter().map(|partition| partition.disk).collect()
}

/// The disk on which the root's image lies, if it lies on a partition.
fn root_disk() -> Option<String> {
    let device = fs::metadata("/").ok()?.dev();
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let beneath = disks::beneath(Path::new("/sys"), &number);
    let partitions = disks::partitions(Path::new(CLASS_BLOCK)).ok()?;
    partitions.into_iter().find(|part| beneath.contains(&part.name)).map(|part| part.disk)
}

fn mount_partition(partition: &Partition, reset: bool) -> Result<Report, StateError> {
    let device = partition.node();
    let mut warnings = Vec::new();
    let grown = grow::grow_partition(partition);
    let bytes = grown.unwrap_or_else(|error| {
        warnings.push(format!("cannot grow the partition STATE to the disk: {error}"));
        partition.sectors * 512
    });

    let mut mounted = mend_and_mount(&device, &mut warnings);
    match &mounted {
        _ if !reset => {}
        // A disk that does not let itself be read is not for that reason empty.
        Err(error) if !error.is_damage() => {}
        Ok(_) if Path::new(STATE_WAS_RESET).exists() => {
            let text = "`orlop.state=reset` was followed in an earlier boot: take it off the \
                        kernel command line";
            warnings.push(text.to_owned());
        }
        is_good => {
            if is_good.is_ok() {
                unmount(MOUNT_POINT, UnmountFlags::empty())
                    .doing(|| format!("unmount {MOUNT_POINT}"))?;
            }
            ask_node("reset-state", &device)?;
            mounted = mend_and_mount(&device, &mut warnings);
            // At once, whatever becomes of this boot: it must not be followed twice.
            if mounted.is_ok()
                && let Err(error) = note_reset(Path::new(STATE_WAS_RESET))
            {
                warnings.push(format!("cannot note on STATE that it was reset: {error}"));
            }
        }
    }
    let before = mounted?;

    let blocks = bytes / before.block_size();
    if blocks > before.blocks() {
        let resized = File::open(MOUNT_POINT).and_then(|var| ext4::resize(var, blocks));
        if let Err(error) = resized {
            warnings.push(format!("cannot grow the file system of STATE: {error}"));
        }
    }
    let after = read_superblock(&device)?;
    Ok(Report {
        storage: Storage::Partition(device),
        old_size: before.size(),
        new_size: after.size(),
        journal_replayed: before.needs_recovery(),
        had_errors: before.has_errors(),
        warnings,
        missing: None,
    })
}

fn note_reset(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory)?;
    File::create(path)?.sync_all()?;
    File::open(directory)?.sync_all()
}

/// Mounts it, after a superblock that is damaged was mended if it can be; as it was before.
fn mend_and_mount(device: &Path, warnings: &mut Vec<String>) -> Result<Superblock, StateError> {
    let before = match read_superblock(device) {
        Err(StateError::NotUsable { .. }) => {
            warnings.push(ask_node("mend-state", device)?);
            read_superblock(device)?
        }
        other => other?,
    };
    mount_file_system(device, MOUNT_POINT, "ext4", FLAGS, c"errors=remount-ro")
        .doing(|| format!("mount {} (ext4) on {MOUNT_POINT}", device.display()))?;
    Ok(before)
}

/// Has `orlop-node` do what PID 1 does not; its last line.
fn ask_node(command: &str, device: &Path) -> Result<String, StateError> {
    let device = device.display().to_string();
    let ended = limited::run(Path::new(configure::PROGRAM), &[command, &device], LIMIT)
        .map_err(StateError::Node)?;
    ended.output.lines().for_each(|line| log::info(&format!("orlop-node: {line}")));
    let last = ended.output.lines().last().unwrap_or("orlop-node says nothing").to_owned();
    match ended.exit {
        Some(exit) if exit.success() => Ok(last),
        Some(_) => Err(StateError::Node(last)),
        None => {
            let doing = format!("have orlop-node do `{command}` in {} s: {last}", LIMIT.as_secs());
            Err(Failure::new(doing, Errno::TIMEDOUT).into())
        }
    }
}

fn mount_memory(missing: Option<String>) -> Result<Report, Failure> {
    mount_file_system("tmpfs", MOUNT_POINT, "tmpfs", FLAGS, c"mode=0755,size=50%")
        .doing(|| format!("mount tmpfs on {MOUNT_POINT}"))?;
    Ok(Report {
        storage: Storage::Memory,
        old_size: 0,
        new_size: 0,
        journal_replayed: false,
        had_errors: false,
        warnings: Vec::new(),
        missing,
    })
}

fn read_superblock(device: &Path) -> Result<Superblock, StateError> {
    let read = || -> io::Result<[u8; superblock::SIZE]> {
        let mut bytes = [0; superblock::SIZE];
        File::open(device)?.read_exact_at(&mut bytes, superblock::OFFSET)?;
        Ok(bytes)
    };
    let bytes = read().doing(|| format!("read {}", device.display()))?;
    Superblock::parse(&bytes)
        .map_err(|reason| StateError::NotUsable { device: device.to_owned(), reason })
}

impl StateError {
    /// Whether what is on the disk is damaged, and not the disk away or out of order: then it may be
    /// made anew if its owner says so.
    fn is_damage(&self) -> bool {
        match self {
            Self::NotUsable { .. } | Self::Node(_) => true,
            // As ext4 has it of what it cannot make sense of (`EFSCORRUPTED`, `EFSBADCRC`).
            Self::Step(failure) => {
                let errno = failure.errno();
                matches!(errno, Some(Errno::UCLEAN | Errno::BADMSG | Errno::INVAL))
            }
            Self::NotFound | Self::Ambiguous(_) => false,
        }
    }
}

impl From<Failure> for StateError {
    fn from(failure: Failure) -> Self {
        Self::Step(failure)
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no disk has a partition named `STATE`"),
            Self::Ambiguous(names) => {
                let names = names.join(", ");
                write!(f, "more than one partition is named `STATE`: {names}; remove a disk")
            }
            Self::NotUsable { device, reason } => {
                write!(f, "cannot use {} (STATE): {reason}", device.display())
            }
            Self::Node(reason) => f.write_str(reason),
            Self::Step(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for StateError {}

impl Report {
    /// What people should know.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.warnings.clone();
        if self.had_errors {
            let text = "the kernel noticed damage on STATE in an earlier boot, and goes on as if \
                        it were none: keep what is worth it, and start the node once with \
                        `orlop.state=reset` on the kernel command line";
            problems.push(text.to_owned());
        }
        if let Some(why) = &self.missing {
            problems.push(format!("/var is in memory and lost with a restart: {why}"));
        }
        problems
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Storage::Partition(device) = &self.storage else {
            return f.write_str("STATE is in memory and lost with a restart");
        };
        let mib = |bytes: u64| bytes >> 20;
        write!(f, "STATE is {}, {} MiB", device.display(), mib(self.new_size))?;
        if self.new_size != self.old_size {
            write!(f, ", grown from {} MiB", mib(self.old_size))?;
        }
        if self.journal_replayed {
            f.write_str(", journal replayed")?;
        }
        if self.had_errors {
            f.write_str(", the kernel noticed damage in an earlier boot")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(name: &str, disk: &str, label: &str) -> Partition {
        Partition {
            name: name.to_owned(),
            disk: disk.to_owned(),
            number: 5,
            label: Some(label.to_owned()),
            start: 2048,
            sectors: 2048,
        }
    }

    fn chosen(all: &[Partition], root_disk: Option<&str>) -> Result<String, String> {
        let roots: Vec<_> = root_disk.map(str::to_owned).into_iter().collect();
        chosen_of(all, &roots, root_disk)
    }

    fn chosen_of(
        all: &[Partition],
        roots: &[String],
        root_disk: Option<&str>,
    ) -> Result<String, String> {
        let choice = choose(all.to_vec(), roots, root_disk);
        choice.map(|part| part.name).map_err(|error| error.to_string())
    }

    #[test]
    fn the_partition_beside_the_root_wins_and_two_elsewhere_are_refused() {
        let here = partition("vda5", "vda", "STATE");
        let there = partition("vdb1", "vdb", "STATE");
        let third = partition("sda2", "sda", "STATE");
        let other = partition("vda1", "vda", "ESP");
        let all = [other.clone(), there.clone(), here.clone()];
        assert_eq!(chosen(&all, Some("vda")), Ok("vda5".to_owned()));
        assert_eq!(chosen(&[other.clone(), there.clone()], Some("vda")), Ok("vdb1".to_owned()));
        assert_eq!(chosen(std::slice::from_ref(&there), None), Ok("vdb1".to_owned()));
        assert_eq!(
            chosen(&[there, third], Some("vda")),
            Err("more than one partition is named `STATE`: vdb1, sda2; remove a disk".to_owned())
        );
        assert_eq!(
            chosen(&[other], Some("vda")),
            Err("no disk has a partition named `STATE`".to_owned())
        );
    }

    #[test]
    fn of_a_disk_and_its_copy_neither_is_taken() {
        let ours = partition("vda5", "vda", "STATE");
        let copy = partition("nvme0n1p5", "nvme0n1", "STATE");
        let other = partition("vdb1", "vdb", "STATE");
        let roots = ["nvme0n1".to_owned(), "vda".to_owned()];
        let all = [copy, ours, other.clone()];
        for root_disk in ["nvme0n1", "vda"] {
            assert_eq!(
                chosen_of(&all, &roots, Some(root_disk)),
                Err("more than one partition is named `STATE`: nvme0n1p5, vda5; remove a disk"
                    .to_owned())
            );
        }
        // A copy without a STATE is no danger to ours.
        assert_eq!(chosen_of(&all[1..], &roots, Some("nvme0n1")), Ok("vda5".to_owned()));
    }

    #[test]
    fn the_report_reads_as_one_line() {
        let mut report = Report {
            storage: Storage::Partition(PathBuf::from("/dev/vda5")),
            old_size: 64 << 20,
            new_size: 64 << 20,
            journal_replayed: false,
            had_errors: false,
            warnings: Vec::new(),
            missing: None,
        };
        assert_eq!(report.to_string(), "STATE is /dev/vda5, 64 MiB");
        assert_eq!(report.problems(), [""; 0]);
        report.new_size = 1000 << 20;
        report.journal_replayed = true;
        assert_eq!(
            report.to_string(),
            "STATE is /dev/vda5, 1000 MiB, grown from 64 MiB, journal replayed"
        );
    }

    #[test]
    fn what_is_wrong_with_it_reaches_people() {
        let report = Report {
            storage: Storage::Memory,
            old_size: 0,
            new_size: 0,
            journal_replayed: false,
            had_errors: true,
            warnings: vec!["cannot grow the file system of STATE: no".to_owned()],
            missing: Some("cannot use /dev/vda5 (STATE): it holds no ext4 file system".to_owned()),
        };
        let [growth, errors, missing] = &report.problems()[..] else { panic!("{report:?}") };
        assert_eq!(growth, "cannot grow the file system of STATE: no");
        assert!(errors.starts_with("the kernel noticed damage on STATE"), "{errors}");
        let want = "/var is in memory and lost with a restart: cannot use /dev/vda5 (STATE): it \
            holds no ext4 file system";
        assert_eq!(missing, want);
    }
}
