//! Asking disks for volumes, each disk in a process of its own: one that does not answer keeps its
//! process in the kernel, where not even `SIGKILL` ends it, and must hold up neither the others nor
//! this one.
//!
//! The process is this program again, as `look-at-disk` and `read-volume`, which answer on standard
//! output. While it asks it holds a lock, so that there is never more than one that hangs at a
//! disk, however often it is asked.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::label::FileSystem;
use super::volume::{self, Volume};
use crate::arguments::{Arguments, Failure};
use crate::devices;
use crate::process;
use crate::root::Root;

/// A disc that has to spin up, and a starved emulator, get this; whoever needs more is asked again.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is asked: a lock for each disk.
const ASKED: &str = "/run/orlop/asked";
/// The program that runs.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// A disk, as far as it has answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disk {
    /// The kernel's name: `vdb`.
    pub name: String,
    /// Where it is plugged in ([`super::pin::Device::path`]).
    pub path: String,
    /// What it says it is, if it has one; nothing if it has not even answered this.
    pub id: Option<Option<String>>,
    /// Its volumes with labels of ours; nothing if it has not answered.
    pub volumes: Option<Vec<Volume>>,
}

/// What a volume has under our name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// A file with these bytes.
    File(Vec<u8>),
    /// No such file.
    NoFile,
    /// One that cannot be read; says why.
    Unusable(String),
    /// The disk does not answer.
    Silent,
}

/// The disks of a node: [`Processes`], or made up for a test.
pub trait Disks {
    /// Looks at all of them at once.
    fn look(&self) -> Vec<Disk>;
    /// Reads the file of a volume on the disk `disk`.
    fn read(&self, disk: &str, volume: &Volume) -> Contents;
}

/// The real ones.
#[derive(Debug)]
pub struct Processes<'r> {
    root: &'r Root,
    program: PathBuf,
    patience: Duration,
}

impl<'r> Processes<'r> {
    /// The disks of this node.
    pub fn new(root: &'r Root) -> Self {
        Self { root, program: THIS_PROGRAM.into(), patience: PATIENCE }
    }

    fn call(&self, arguments: &[&str]) -> Vec<std::ffi::OsString> {
        let mut call: Vec<_> = arguments.iter().map(Into::into).collect();
        call.push("--root".into());
        call.push(self.root.path("/").into());
        call
    }
}

impl Disks for Processes<'_> {
    fn look(&self) -> Vec<Disk> {
        let names: Vec<String> = volume::disks(self.root).into_keys().collect();
        let calls: Vec<_> = names.iter().map(|name| self.call(&["look-at-disk", name])).collect();
        let answers = process::ask_all(&self.program, &calls, self.patience);
        let disk = |(name, answer): (String, Vec<u8>)| {
            let path = devices::place(self.root, &name).unwrap_or_else(|| format!("kernel:{name}"));
            parse_look(name, path, &String::from_utf8_lossy(&answer))
        };
        names.into_iter().zip(answers).map(disk).collect()
    }

    fn read(&self, disk: &str, volume: &Volume) -> Contents {
        let call = self.call(&["read-volume", disk, &volume.device, volume.file_system.name()]);
        let answers = process::ask_all(&self.program, &[call], self.patience);
        parse_read(answers.into_iter().next().unwrap_or_default())
    }
}

/// What `look-at-disk` has said, which may be all or a beginning.
fn parse_look(name: String, path: String, text: &str) -> Disk {
    let mut disk = Disk { name, path, ..Disk::default() };
    let mut volumes = Vec::new();
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let words: Vec<&str> = line.split(' ').collect();
        match *words.as_slice() {
            ["id"] => disk.id = Some(None),
            ["id", id] => disk.id = Some(Some(id.to_owned())),
            ["volume", device, number, label, file_system] => {
                let label = volume::LABELS.into_iter().find(|known| *known == label);
                if let (Some(label), Some(file_system)) = (label, FileSystem::by_name(file_system))
                {
                    let (device, partition) = (device.to_owned(), number.parse().ok());
                    volumes.push(Volume { device, partition, label, file_system });
                }
            }
            ["end"] => disk.volumes = Some(std::mem::take(&mut volumes)),
            _ => {}
        }
    }
    disk
}

fn parse_read(answer: Vec<u8>) -> Contents {
    let mut parts = answer.splitn(2, |byte| *byte == b'\n');
    let (word, rest) = (parts.next().unwrap_or_default(), parts.next());
    match (word, rest) {
        (b"file", Some(bytes)) => match bytes.strip_suffix(b"\nend\n") {
            Some(file) => Contents::File(file.to_vec()),
            None => Contents::Silent,
        },
        (b"none", Some(_)) => Contents::NoFile,
        (b"error", Some(why)) => {
            Contents::Unusable(String::from_utf8_lossy(why).trim_end().to_owned())
        }
        _ => Contents::Silent,
    }
}

/// `look-at-disk NAME [--root DIR]`: what the disk says it is, and its volumes with labels of ours.
/// It may never end.
///
/// # Errors
/// [`Failure::Usage`]; [`Failure::Failed`] if an earlier one still waits for the disk.
pub(crate) fn look_command(arguments: &mut Arguments) -> Result<(), Failure> {
    let root = Root::new(arguments.option("--root")?.unwrap_or_else(|| "/".to_owned()));
    let name = arguments.operand("NAME")?;
    arguments.finish()?;
    let _lock = lock(&root, &name)?;
    say(format!("id {}", devices::said(&root, &name).unwrap_or_default()).trim_end().as_bytes())?;
    let parts = volume::disks(&root).remove(&name).unwrap_or_default();
    for Volume { device, partition, label, file_system } in volume::labelled_of(&root, &parts) {
        let number = partition.map_or_else(|| "-".to_owned(), |number| number.to_string());
        say(format!("volume {device} {number} {label} {}", file_system.name()).as_bytes())?;
    }
    say(b"end")
}

/// `read-volume DISK DEVICE TYPE [--root DIR]`: the file of a volume. It may never end.
///
/// # Errors
/// As [`look_command`].
pub(crate) fn read_command(arguments: &mut Arguments) -> Result<(), Failure> {
    let root = Root::new(arguments.option("--root")?.unwrap_or_else(|| "/".to_owned()));
    let (disk, device) = (arguments.operand("DISK")?, arguments.operand("DEVICE")?);
    let kind = arguments.operand("TYPE")?;
    arguments.finish()?;
    let file_system = FileSystem::by_name(&kind)
        .ok_or_else(|| Failure::Usage(format!("`{kind}` is no type of a volume")))?;
    let _lock = lock(&root, &disk)?;
    match volume::read(&root, &device, file_system) {
        Ok(Some(bytes)) => {
            say(b"file")?;
            say(&bytes)?;
            say(b"end")
        }
        Ok(None) => say(b"none"),
        Err(error) => say(format!("error\n{error}").as_bytes()),
    }
}

/// Held while a disk is asked; whoever dies lets it go.
fn lock(root: &Root, disk: &str) -> Result<File, Failure> {
    let path = root.path(ASKED).join(disk.replace(['/', '\0'], "!"));
    let open = || -> io::Result<File> {
        fs::create_dir_all(root.path(ASKED))?;
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(io::Error::other("an earlier look at it has not ended")),
            other => Ok(other.map(|()| file)?),
        }
    };
    open().map_err(|error| Failure::Failed(format!("cannot look at the disk {disk}: {error}")))
}

fn say(line: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(line)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Failed(format!("cannot answer: {error}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn look(text: &str) -> Disk {
        parse_look("vdb".to_owned(), "pci-0000:00:05.0".to_owned(), text)
    }

    #[test]
    fn a_disk_counts_as_far_as_it_has_answered() {
        let volume = Volume {
            device: "vdb1".to_owned(),
            partition: Some(1),
            label: "ORLOP",
            file_system: FileSystem::Vfat,
        };
        let whole = Volume { device: "vdb".to_owned(), partition: None, ..volume.clone() };
        for (text, id, volumes) in [
            ("", None, None),
            ("id virtio-a", None, None),
            ("id virtio-a\nvolume vdb1 1 ORLOP vfat\n", Some(Some("virtio-a".to_owned())), None),
            ("id\nend\n", Some(None), Some(vec![])),
            ("id\nvolume vdb1 1 ORLOP vfat\nend\n", Some(None), Some(vec![volume])),
            ("id\nvolume vdb - ORLOP vfat\nend\n", Some(None), Some(vec![whole])),
            ("id\nvolume vdb - OTHER vfat\nend\n", Some(None), Some(vec![])),
        ] {
            let disk = look(text);
            assert_eq!((disk.id, disk.volumes), (id, volumes), "{text}");
        }
    }

    #[test]
    fn of_a_file_that_did_not_come_whole_nothing_counts() {
        for (answer, contents) in [
            (&b"file\nschema = 1\n\nend\n"[..], Contents::File(b"schema = 1\n".to_vec())),
            (b"file\n\nend\n", Contents::File(vec![])),
            (b"file\nschema = 1\n", Contents::Silent),
            (b"none\n", Contents::NoFile),
            (b"error\ncannot mount it\n", Contents::Unusable("cannot mount it".to_owned())),
            (b"", Contents::Silent),
        ] {
            assert_eq!(parse_read(answer.to_vec()), contents);
        }
    }

    #[test]
    fn two_do_not_ask_one_disk_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let first = lock(&root, "vdb").unwrap();
        let said = "cannot look at the disk vdb: an earlier look at it has not ended";
        assert_eq!(lock(&root, "vdb").unwrap_err(), Failure::Failed(said.to_owned()));
        lock(&root, "vdc").unwrap();
        drop(first);
        lock(&root, "vdb").unwrap();
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_parsers_panic(text in "(id|volume|end|[a-z0-9 ]{0,9}|\n){0,20}") {
            let _ = look(&text);
            let _ = parse_read(text.into_bytes());
        }
    }
}
