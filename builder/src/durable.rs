//! Files that survive a power cut: content is on the disk before there is a name for it.
//!
//! A rename is atomic for running programs and promises nothing beyond: after a power cut a new
//! name may stand for an empty file, because a file system writes names and contents in the order
//! that suits it. So this is the order, and this module the only one that gives files their names
//! (`cargo xtask tidy` looks):
//!
//! ```text
//! write -> fsync of each file -> fsync of their directory -> rename -> fsync of the name's directory
//! ```
//!
//! For many files syncfs(2) stands in place of the many fsync(2), where it promises as much.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use tempfile::{NamedTempFile, TempPath};

/// So many files are synced one by one: to sync their file system is to wait for what all others
/// have written to it, too.
const FEW: usize = 8;

/// When a new name must be on the disk. Its content is there before it in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// Before the call returns: somebody is told of it.
    Now,
    /// Whenever the file system gets to it: if the name is lost, the file is made again.
    Later,
}

/// Gives a complete temporary file its name, in place of what has it.
///
/// # Errors
/// Those of fsync(2) and rename(2); the file is gone then, and what had the name still has it.
pub fn persist(file: NamedTempFile, to: &Path, name: Name) -> io::Result<()> {
    sync(file.as_file(), file.path())?;
    ask("rename", &[file.path(), to])?;
    file.persist(to).map_err(|error| error.error)?;
    named(to, name)
}

/// Gives a complete temporary file a name that nothing has.
///
/// # Errors
/// As [`persist`]; [`ErrorKind::AlreadyExists`] if something has the name.
pub fn persist_new(file: NamedTempFile, to: &Path, name: Name) -> io::Result<()> {
    sync(file.as_file(), file.path())?;
    ask("rename", &[file.path(), to])?;
    file.persist_noclobber(to).map_err(|error| error.error)?;
    named(to, name)
}

/// Gives many complete temporary files of one directory their names, in place of what has them. The
/// names are on the disk whenever the file system gets to it. `directory` was opened before the
/// files were written, for syncfs(2) tells of failures since then.
///
/// # Errors
/// Those of fsync(2), syncfs(2) and rename(2); what has no name by then is gone.
pub fn persist_all(
    files: Vec<(TempPath, PathBuf)>,
    directory: &File,
    path: &Path,
) -> io::Result<()> {
    if files.len() <= FEW || !sync_file_system(directory, path)? {
        for (file, _) in &files {
            sync(&File::open(file)?, file)?;
        }
    }
    for (file, to) in files {
        ask("rename", &[&file, &to])?;
        file.persist(to).map_err(|error| error.error)?;
    }
    Ok(())
}

/// Gives a complete file another name on the same file system, in place of what has it.
///
/// # Errors
/// As [`persist`]; the file has its old name then.
pub fn place(from: &Path, to: &Path, name: Name) -> io::Result<()> {
    sync(&File::open(from)?, from)?;
    rename_only(from, to)?;
    named(to, name)
}

/// Brings a file that another program has written to the disk, and its name.
///
/// # Errors
/// If it cannot be opened or fsync(2) fails.
pub fn settle(path: &Path) -> io::Result<()> {
    sync(&File::open(path)?, path)?;
    sync_names(parent(path))
}

/// Renames a directory, or a file, whose content is on the disk already ([`contents`]).
///
/// # Errors
/// As [`place`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    rename_only(from, to)?;
    names_of(from, to)
}

/// Exchanges two directories whose content is on the disk already ([`contents`]).
///
/// # Errors
/// As [`place`]; `EINVAL` and others where the file system cannot do it.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    ask("exchange", &[one, other])?;
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    names_of(one, other)
}

/// Brings a directory to the disk: first each file that is in it, then their names.
///
/// # Errors
/// If something cannot be opened or fsync(2) fails.
pub fn contents(directory: &Path) -> io::Result<()> {
    let entries = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        match fs::symlink_metadata(&path)?.file_type() {
            kind if kind.is_dir() => contents(&path)?,
            kind if kind.is_file() => sync(&File::open(&path)?, &path)?,
            // Its name is all there is of it.
            _ => {}
        }
    }
    sync(&File::open(directory)?, directory)
}

/// Brings the names in a directory to the disk: those that went, too.
///
/// # Errors
/// Those of fsync(2).
pub fn settle_name(directory: &Path) -> io::Result<()> {
    sync_names(directory)
}

/// Brings the names in many directories to the disk, as after [`persist_all`]. `place` and its
/// `path` are on the same file system.
///
/// # Errors
/// Those of fsync(2) and syncfs(2).
pub fn settle_names(directories: &[PathBuf], place: &File, path: &Path) -> io::Result<()> {
    if directories.len() > FEW && sync_file_system(place, path)? {
        return Ok(());
    }
    directories.iter().try_for_each(|directory| sync_names(directory))
}

/// As [`contents`], for a directory with many files. `opened` is the directory, opened before they
/// were written.
///
/// # Errors
/// As [`contents`], and those of syncfs(2).
pub fn many_contents(opened: &File, directory: &Path) -> io::Result<()> {
    if sync_file_system(opened, directory)? { Ok(()) } else { contents(directory) }
}

fn rename_only(from: &Path, to: &Path) -> io::Result<()> {
    ask("rename", &[from, to])?;
    fs::rename(from, to)
}

fn named(path: &Path, name: Name) -> io::Result<()> {
    match name {
        Name::Now => sync_names(parent(path)),
        Name::Later => Ok(()),
    }
}

fn names_of(one: &Path, other: &Path) -> io::Result<()> {
    sync_names(parent(other))?;
    if parent(one) == parent(other) { Ok(()) } else { sync_names(parent(one)) }
}

fn sync_names(directory: &Path) -> io::Result<()> {
    sync(&File::open(directory)?, directory)
}

/// Where the content of `path` is or would be: what a link leads to, whether or not it is there.
///
/// # Errors
/// If a link cannot be read, or leads to itself.
pub fn through_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    // As many as the kernel follows.
    for _ in 0..40 {
        // Without a slash at the end, which would lead through the link.
        path = path.components().collect();
        match fs::read_link(&path) {
            Ok(target) => path = parent(&path).join(target),
            Err(error)
                if [ErrorKind::InvalidInput, ErrorKind::NotFound].contains(&error.kind()) =>
            {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(Errno::LOOP.into())
}

/// The directory that has the name of `path`.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync(file: &File, path: &Path) -> io::Result<()> {
    ask("sync", &[path])?;
    match file.sync_all() {
        // Some network file systems know no fsync, of directories most of all: there is nothing
        // more that could be done.
        Err(error)
            if [Errno::INVAL, Errno::OPNOTSUPP]
                .contains(&Errno::from_io_error(&error).unwrap_or(Errno::IO)) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Brings all of a file system to the disk; `false` where that is not to be had.
fn sync_file_system(directory: &File, path: &Path) -> io::Result<bool> {
    if !is_synced_by_syncfs(rustix::fs::fstatfs(directory)?.f_type) {
        return Ok(false);
    }
    let synced = ask("syncfs", &[path]).and_then(|()| Ok(rustix::fs::syncfs(directory)?));
    match synced {
        Ok(()) => Ok(true),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Whether syncfs(2) on a file system of this type promises for each file what fsync(2) does. FUSE,
/// 9p and other network file systems send the data to their server and do not ask it to keep them,
/// as fsync(2) would.
fn is_synced_by_syncfs(magic: rustix::fs::FsWord) -> bool {
    const BTRFS: u32 = 0x9123_683e;
    const EXT: u32 = 0xef53;
    const F2FS: u32 = 0xf2f5_2010;
    const OVERLAY: u32 = 0x794c_7630;
    const TMPFS: u32 = 0x0102_1994;
    const XFS: u32 = 0x5846_5342;
    let known = [BTRFS, EXT, F2FS, OVERLAY, TMPFS, XFS];
    // The kernel's magic numbers have 32 bits; some libraries give them a sign.
    known.iter().any(|one| i128::from(*one) == i128::from(magic) & 0xffff_ffff)
}

/// Where tests see what is asked of the file system, and refuse it as another one would.
#[cfg(not(test))]
fn ask(_deed: &str, _paths: &[&Path]) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
fn ask(deed: &str, paths: &[&Path]) -> io::Result<()> {
    testing::ask(deed, paths)
}

/// The file system as tests see it: each test thread its own.
#[cfg(test)]
pub(crate) mod testing {
    use std::cell::RefCell;

    use super::{Errno, Path, io};

    type Refusal = Box<dyn Fn(&str) -> Option<Errno>>;

    thread_local! {
        static ASKED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
        static REFUSAL: RefCell<Option<Refusal>> = const { RefCell::new(None) };
    }

    /// The last parts of paths, without what is random in them.
    fn describe(deed: &str, paths: &[&Path]) -> String {
        let name = |path: &&Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match name.rsplit_once('-') {
                Some((stem, tail)) if tail.len() == 6 && !tail.contains('.') => stem.to_owned(),
                _ => name,
            }
        };
        let names: Vec<_> = paths.iter().map(name).collect();
        format!("{deed} {}", names.join(" "))
    }

    pub(super) fn ask(deed: &str, paths: &[&Path]) -> io::Result<()> {
        let text = describe(deed, paths);
        let refused = REFUSAL.with_borrow(|refusal| refusal.as_ref().and_then(|r| r(&text)));
        ASKED.with_borrow_mut(|asked| asked.push(text));
        refused.map_or(Ok(()), |errno| Err(errno.into()))
    }

    /// What this thread asked for while `work` ran, in order.
    pub(crate) fn asked<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
        ASKED.take();
        let result = work();
        (result, ASKED.take())
    }

    /// Lets `refuse` say which requests fail, and how, while `work` runs.
    pub(crate) fn refusing<T>(
        refuse: impl Fn(&str) -> Option<Errno> + 'static,
        work: impl FnOnce() -> T,
    ) -> T {
        REFUSAL.set(Some(Box::new(refuse)));
        let result = work();
        REFUSAL.set(None);
        result
    }

    /// For [`refusing`]: all requests but the first `granted` ones fail, as if somebody had been killed.
    pub(crate) fn after(granted: usize) -> impl Fn(&str) -> Option<Errno> + 'static {
        let left = std::cell::Cell::new(granted);
        move |_: &str| match left.get() {
            0 => Some(Errno::IO),
            more => {
                left.set(more - 1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn content_is_on_the_disk_before_its_name_and_the_name_before_anybody_is_told() {
        let directory = tempfile::Builder::new().prefix("place-").tempdir().unwrap();
        let mut file =
            tempfile::Builder::new().prefix("new-").tempfile_in(directory.path()).unwrap();
        file.write_all(b"x").unwrap();
        let to = directory.path().join("lock");
        let ((), asked) = testing::asked(|| persist(file, &to, Name::Now).unwrap());
        assert_eq!(asked, ["sync new", "rename new lock", "sync place"]);
        let other = directory.path().join("blob");
        let ((), asked) = testing::asked(|| place(&to, &other, Name::Later).unwrap());
        assert_eq!(asked, ["sync lock", "rename lock blob"]);
        assert_eq!(fs::read(other).unwrap(), b"x");
    }

    /// A descriptor that only stands for a place is refused by fsync(2) and syncfs(2): who gets no
    /// error has not called them.
    #[test]
    fn the_kernel_is_asked_and_what_it_says_counts() {
        let directory = tempfile::tempdir().unwrap();
        let open = |path: &Path| {
            let flags = rustix::fs::OFlags::PATH;
            File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap())
        };
        let error = sync(&open(directory.path()), directory.path()).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::BADF));
        let place = open(directory.path());
        if is_synced_by_syncfs(rustix::fs::fstatfs(&place).unwrap().f_type) {
            let error = sync_file_system(&place, directory.path()).unwrap_err();
            assert_eq!(Errno::from_io_error(&error), Some(Errno::BADF));
        }
    }

    #[test]
    fn a_directory_is_on_the_disk_with_all_that_is_in_it() {
        let directory = tempfile::Builder::new().prefix("place-").tempdir().unwrap();
        fs::create_dir(directory.path().join("b")).unwrap();
        for name in ["a", "b/c"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
        let ((), asked) = testing::asked(|| contents(directory.path()).unwrap());
        assert_eq!(asked, ["sync a", "sync c", "sync b", "sync place"]);
    }

    #[test]
    fn a_link_leads_to_where_its_content_is_or_would_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("real")).unwrap();
        for (link, target) in [("a", "real"), ("b", "a"), ("c", "none"), ("d", "d")] {
            std::os::unix::fs::symlink(target, path(link)).unwrap();
        }
        for (link, want) in [("real", "real"), ("a", "real"), ("b/", "real"), ("c", "none")] {
            assert_eq!(through_links(&path(link)).unwrap(), path(want));
        }
        assert!(through_links(&path("d")).is_err());
    }

    #[test]
    fn what_cannot_be_brought_to_the_disk_gets_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("lock");
        fs::write(&to, "before").unwrap();
        let file = NamedTempFile::new_in(directory.path()).unwrap();
        let full = |deed: &str| deed.starts_with("sync").then_some(Errno::NOSPC);
        let error = testing::refusing(full, || persist(file, &to, Name::Now)).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NOSPC));
        assert_eq!(fs::read(&to).unwrap(), b"before");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
