//! Who may do what with a repository at once. Readers and one writer of ours take turns by a lock on
//! the directory. The stock program has a file for it: who adds shares it, who removes has it alone.
//! Whoever has to wait says so, and for whom.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::Errno;

use super::Use;
use crate::progress::Progress;
use crate::visible::visible;

/// Where the kernel tells who holds locks (proc_locks(5)).
const LOCKS: &str = "/proc/locks";

/// Takes the locks that somebody needs who does this, and waits for them.
///
/// # Errors
/// Those of open(2), flock(2) and fcntl(2).
pub(super) fn take(root: &Path, purpose: Use, progress: &Progress) -> io::Result<Vec<File>> {
    let directory = File::open(root)?;
    let wait = |file: &File, how: How| {
        let tell = || progress.note(waiting(root, file));
        how.wait(file, &tell)
    };
    if purpose == Use::Read {
        // Where there are no locks, nobody prunes either.
        let _ = wait(&directory, How::Flock(FlockOperation::LockShared));
        return Ok(vec![directory]);
    }
    wait(&directory, How::Flock(FlockOperation::LockExclusive))?;
    let mut options = File::options();
    let theirs = options.read(true).write(true).create(true).truncate(false);
    let theirs = theirs.open(root.join(".lock"))?;
    let how = match purpose {
        Use::Remove => FlockOperation::LockExclusive,
        _ => FlockOperation::LockShared,
    };
    wait(&theirs, How::Record(how))?;
    Ok(vec![theirs, directory])
}

/// The two kinds of locks, which do not know of each other.
#[derive(Clone, Copy)]
enum How {
    /// flock(2).
    Flock(FlockOperation),
    /// fcntl(2).
    Record(FlockOperation),
}

impl How {
    /// Tries, and if somebody else has it tells so and waits.
    fn wait(self, file: &File, tell: &dyn Fn()) -> io::Result<()> {
        match self.ask(file, Self::at_once) {
            // Of fcntl(2), either means that somebody else has it.
            Err(Errno::WOULDBLOCK | Errno::ACCESS) => {}
            asked => return Ok(asked?),
        }
        tell();
        loop {
            match self.ask(file, |how| how) {
                Err(Errno::INTR) => {}
                asked => return Ok(asked?),
            }
        }
    }

    fn ask(
        self,
        file: &File,
        change: fn(FlockOperation) -> FlockOperation,
    ) -> rustix::io::Result<()> {
        match self {
            Self::Flock(how) => flock(file, change(how)),
            Self::Record(how) => fcntl_lock(file, change(how)),
        }
    }

    fn at_once(how: FlockOperation) -> FlockOperation {
        match how {
            FlockOperation::LockShared => FlockOperation::NonBlockingLockShared,
            _ => FlockOperation::NonBlockingLockExclusive,
        }
    }
}

/// Who is waited for, as far as the kernel says: processes of another namespace have no number here.
fn waiting(root: &Path, file: &File) -> String {
    let locks = fs::read_to_string(LOCKS).unwrap_or_default();
    let holders = file.metadata().map(|meta| holders(&locks, meta.dev(), meta.ino()));
    let holders: Vec<_> = holders.unwrap_or_default().into_iter().map(named).collect();
    let whom = if holders.is_empty() { "another process".to_owned() } else { holders.join(", ") };
    format!("waiting for {whom}, which holds the lock of the repository `{}`", root.display())
}

/// The processes that hold a lock on this inode, of the text of `/proc/locks`. A line of one that
/// waits has an arrow.
fn holders(locks: &str, device: u64, inode: u64) -> Vec<u32> {
    let device = format!("{:02x}:{:02x}", rustix::fs::major(device), rustix::fs::minor(device));
    let wanted = format!("{device}:{inode}");
    let holder = |line: &str| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [_, _, _, _, process, place, ..] = fields.as_slice() else { return None };
        let process = process.parse().ok().filter(|process| *process > 0)?;
        (*place == wanted && !fields.contains(&"->")).then_some(process)
    };
    let mut holders: Vec<_> = locks.lines().filter_map(holder).collect();
    holders.sort_unstable();
    holders.dedup();
    holders
}

/// A process by its program and what that was asked to do.
fn named(process: u32) -> String {
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let is_command = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    let command = words.next().filter(|word| is_command(word) && !word.starts_with('-'));
    match (program.as_str(), command) {
        ("", _) => format!("process {process}"),
        (program, Some(command)) => {
            format!("`{} {command}` (process {process})", visible(program))
        }
        (program, None) => format!("`{}` (process {process})", visible(program)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_holds_a_lock_is_told_and_who_waits_for_it_is_not() {
        let locks = "\
            1: FLOCK  ADVISORY  WRITE 17 08:01:2621450 0 EOF\n\
            1: -> FLOCK  ADVISORY  WRITE 18 08:01:2621450 0 EOF\n\
            2: POSIX  ADVISORY  READ 19 08:01:2621451 0 EOF\n\
            3: OFDLCK ADVISORY  READ -1 08:01:2621450 0 EOF\n\
            4: FLOCK  ADVISORY  READ 20 00:2f:2621450 0 EOF\n";
        let device = rustix::fs::makedev(8, 1);
        assert_eq!(holders(locks, device, 2_621_450), [17]);
        assert_eq!(holders(locks, device, 2_621_451), [19]);
        assert_eq!(holders(locks, rustix::fs::makedev(0, 0x2f), 2_621_450), [20]);
        assert_eq!(holders("nonsense\n\n1:\n", device, 1), [0; 0]);
    }

    #[test]
    fn who_has_to_wait_says_so_first_and_has_the_lock_then() {
        let directory = tempfile::tempdir().unwrap();
        let held = File::open(directory.path()).unwrap();
        let how = How::Flock(FlockOperation::LockExclusive);
        how.wait(&held, &|| panic!("nobody has it")).unwrap();
        let said = waiting(directory.path(), &held);
        let ours = format!("(process {})", std::process::id());
        // Where the file system has another number in `/proc/locks` than stat(2) gives, nobody is named.
        assert!(said.contains(&ours) || said.contains("another process"), "{said}");
        let (told, waits) = mpsc::channel();
        let path = directory.path();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(move || {
                let file = File::open(path).unwrap();
                how.wait(&file, &|| told.send(()).unwrap()).unwrap();
            });
            waits.recv().unwrap();
            drop(held);
            waiter.join().unwrap();
        });
    }
}
