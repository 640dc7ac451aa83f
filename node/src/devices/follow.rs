//! Following block devices as they come, change and go, and keeping their names below `/dev/disk`.
//!
//! News comes from the kernel and, when somebody has written a device and closed it, as `mkfs` does,
//! from inotify. Each device is read by a thread of its own, at most one at a time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rustix::fs::inotify;

use super::links::sysfs::Mounted;
use super::table::{Change, Table};
use super::uevent::{Action, News, Uevent, Uevents};
use super::{contents, links};
use crate::root::Root;

const CLASS_BLOCK: &str = "/sys/class/block";
const DISK: &str = "/dev/disk";

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The kernel says so.
    News(News),
    /// Somebody closed the device of this watch after writing.
    Written(i32),
    /// A device was read; `None` if it is not there.
    Read { device: String, names: Option<std::collections::BTreeSet<String>> },
    /// A source of events has dried up.
    Failed(io::Error),
}

/// Who follows.
#[derive(Debug)]
pub(super) struct Follower {
    root: Root,
    table: Table,
    /// Devices that are being read, and whether there was news of them meanwhile.
    reading: BTreeMap<String, bool>,
    inotify: Arc<OwnedFd>,
    watches: BTreeMap<i32, String>,
    sender: Sender<Event>,
}

impl Follower {
    /// Begins to follow, and reads all that is there.
    ///
    /// # Errors
    /// When the kernel refuses what it takes.
    pub(super) fn start(root: Root, uevents: Uevents) -> io::Result<(Self, Receiver<Event>)> {
        let (sender, receiver) = channel();
        let inotify = Arc::new(inotify::init(inotify::CreateFlags::CLOEXEC)?);
        let (to, from) = (sender.clone(), Arc::clone(&inotify));
        thread::Builder::new().name("written".to_owned()).spawn(move || written(&from, &to))?;
        let to = sender.clone();
        thread::Builder::new().name("uevents".to_owned()).spawn(move || {
            loop {
                let event = uevents.next().map_or_else(Event::Failed, Event::News);
                let is_end = matches!(event, Event::Failed(_));
                if to.send(event).is_err() || is_end {
                    return;
                }
            }
        })?;
        let (table, reading, watches) = (Table::default(), BTreeMap::new(), BTreeMap::new());
        let mut follower = Self { root, table, reading, inotify, watches, sender };
        follower.look_at_all();
        Ok((follower, receiver))
    }

    /// Whether nothing is being read.
    pub(super) fn is_idle(&self) -> bool {
        self.reading.is_empty()
    }

    /// Does what an event asks for.
    ///
    /// # Errors
    /// That of a source which has dried up.
    pub(super) fn take(&mut self, event: Event, log: &mut dyn FnMut(&str)) -> io::Result<()> {
        match event {
            Event::News(News::One(Uevent { action, subsystem, name, .. })) => {
                if subsystem == "block" {
                    match action {
                        Action::Present => self.look_at(&name),
                        Action::Gone => {
                            // One that is being read is not there when it has been.
                            self.look_at_again(&name);
                            self.claim(&name, None, log);
                        }
                    }
                }
            }
            Event::News(News::Lost) => self.look_at_all(),
            Event::Written(watch) => {
                if let Some(name) = self.watches.get(&watch).cloned() {
                    self.look_at(&name);
                }
            }
            Event::Read { device, names } => {
                let again = self.reading.remove(&device).unwrap_or(false);
                self.claim(&device, names, log);
                if again {
                    self.look_at(&device);
                }
            }
            Event::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn look_at_all(&mut self) {
        let entries = fs::read_dir(self.root.path(CLASS_BLOCK)).into_iter().flatten().flatten();
        let there = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let all: std::collections::BTreeSet<_> = there.chain(self.table.devices()).collect();
        all.iter().for_each(|name| self.look_at(name));
    }

    fn look_at_again(&mut self, name: &str) -> bool {
        self.reading.get_mut(name).map(|again| *again = true).is_some()
    }

    fn look_at(&mut self, name: &str) {
        if is_memory(name) || self.look_at_again(name) {
            return;
        }
        // Before reading, or what is written in between is missed.
        let node = contents::node(&self.root, name);
        if let Ok(watch) =
            inotify::add_watch(&*self.inotify, &node, inotify::WatchFlags::CLOSE_WRITE)
        {
            self.watches.insert(watch, name.to_owned());
        }
        let (root, device, sender) = (self.root.clone(), name.to_owned(), self.sender.clone());
        let read = move || {
            let names = read(&root, &device);
            // Nobody waits for it any more when this fails.
            let _ = sender.send(Event::Read { device, names });
        };
        if thread::Builder::new().name(name.to_owned()).spawn(read).is_ok() {
            self.reading.insert(name.to_owned(), false);
        }
    }

    fn claim(
        &mut self,
        device: &str,
        names: Option<std::collections::BTreeSet<String>>,
        log: &mut dyn FnMut(&str),
    ) {
        if names.is_none() {
            self.watches.retain(|_, name| name != device);
        }
        for change in self.table.claim(device, names) {
            if let Err(error) = apply(&self.root, &change) {
                log(&format!("cannot keep the names of disks: {change:?}: {error}"));
            }
        }
    }
}

/// RAM disks and compressed memory: nobody looks for them by a name that lasts.
fn is_memory(name: &str) -> bool {
    name.starts_with("ram") || name.starts_with("zram")
}

/// The names that a device has; none if it is not there.
fn read(root: &Root, name: &str) -> Option<std::collections::BTreeSet<String>> {
    let (sysfs, device) = in_sysfs(root, name)?;
    let contents = contents::read(root, &sysfs, &device, name);
    Some(links::of(&sysfs, &device, &contents))
}

/// The sysfs of the node, and the path of this block device in it.
pub(super) fn in_sysfs(root: &Root, name: &str) -> Option<(Mounted, String)> {
    let sys = fs::canonicalize(root.path("/sys")).ok()?;
    let path = fs::canonicalize(root.path(CLASS_BLOCK).join(name)).ok()?;
    let device = format!("/{}", path.strip_prefix(&sys).ok()?.to_str()?);
    Some((Mounted(sys), device))
}

/// Waits for devices that were written.
fn written(inotify: &OwnedFd, sender: &Sender<Event>) {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(inotify, &mut buffer);
    loop {
        let event = match reader.next() {
            Ok(event) if event.events().contains(inotify::ReadFlags::CLOSE_WRITE) => {
                Event::Written(event.wd())
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => continue,
            Err(error) => Event::Failed(error.into()),
        };
        let is_end = matches!(event, Event::Failed(_));
        if sender.send(event).is_err() || is_end {
            return;
        }
    }
}

/// A link is replaced in one step, so that it always leads somewhere. A directory that nothing is
/// in any more goes.
fn apply(root: &Root, change: &Change) -> io::Result<()> {
    let disk = root.path(DISK);
    match change {
        Change::Point { link, device } => {
            let path = disk.join(link);
            let directory = path.parent().unwrap_or(&disk);
            fs::create_dir_all(directory)?;
            let up = "../".repeat(link.split('/').count());
            let beside = directory.join(".new");
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            symlink(format!("{up}{}", device.replace('!', "/")), &beside)?;
            fs::rename(beside, path)
        }
        Change::Remove { link } => {
            let path = disk.join(link);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let inner = path.ancestors().skip(1).take_while(|above| *above != disk.as_path());
            for directory in inner.collect::<Vec<&Path>>() {
                if fs::remove_dir(directory).is_err() {
                    break;
                }
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
