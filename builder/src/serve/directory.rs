//! The site of a directory: the regular files below it. openat2(2) keeps every name below it, also
//! where a link says otherwise, and also if names change while one is looked up.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::path::SitePath;
use super::status::Status;
use super::{Content, Found, Site};
use crate::error::{Context as _, Id, Result};

/// How often a name is looked up again that moved away meanwhile.
const TRIES: usize = 8;

/// A directory whose files are served. No list of them is.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    opened: OwnedFd,
}

impl Directory {
    /// Opens it. It stays the same one, whatever becomes of its name.
    ///
    /// # Errors
    /// [`Id::Read`] if it cannot be opened or is no directory.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, path, flags, Mode::empty())
            .or_fail(Id::Read, || format!("cannot open the directory `{}`", path.display()))?;
        let directory = Self { path: path.to_owned(), opened };
        // Kernels before 5.6 have no such call, and old containers forbid it.
        directory.look_up(Path::new(".")).or_fail(Id::Read, || {
            format!("openat2(2) does not work here, by which names stay below `{}`", path.display())
        })?;
        Ok(directory)
    }

    /// As it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn look_up(&self, path: &Path) -> Result<File, Errno> {
        // Whoever has no other end would be waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            match openat2(&self.opened, path, flags, Mode::empty(), within) {
                Err(Errno::AGAIN) if tries < TRIES => tries += 1,
                other => return other.map(File::from),
            }
        }
    }
}

impl Site for Directory {
    fn find(&self, path: &SitePath) -> Result<Found, Status> {
        if path.as_path().as_os_str().is_empty() {
            return Err(Status::NotFound);
        }
        let file = self.look_up(path.as_path()).map_err(|error| match error {
            // The last four: a link out of the directory, a loop, no name of a file, a socket.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::NXIO => Status::NotFound,
            Errno::ACCESS | Errno::PERM => Status::Forbidden,
            _ => Status::InternalError,
        })?;
        let metadata = file.metadata().map_err(|_| Status::InternalError)?;
        if !metadata.is_file() {
            return Err(Status::NotFound);
        }
        let (inode, size) = (metadata.ino(), metadata.len());
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        Ok(Found {
            content: Content::File(file),
            size,
            tag: format!("{inode:x}-{size:x}-{seconds:x}.{nanoseconds:x}"),
            modified: u64::try_from(seconds).unwrap_or(0),
            media: media(path.as_path()),
        })
    }
}

/// The media type of a file, by its name. What is packed stays packed: `root.zst` is a file of its
/// own kind, and not another form of `root`.
fn media(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("efi") => "application/efi",
        Some("html") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        Some("md" | "toml" | "txt") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("zst") => "application/zstd",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn find(site: &Directory, target: &str) -> Result<Found, Status> {
        site.find(&SitePath::parse(target)?)
    }

    #[test]
    fn only_regular_files_below_the_directory_are_found() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir_all(path("site/a")).unwrap();
        fs::write(path("secret"), "secret").unwrap();
        fs::write(path("site/.hidden"), "hidden").unwrap();
        fs::write(path("site/a/b.json"), "{}").unwrap();
        fs::write(path("site/root.zst"), "").unwrap();
        let absolute = path("site/a/b.json");
        for (link, target) in [
            ("in", "a/b.json"),
            ("a/up", "../root.zst"),
            ("out", "../secret"),
            ("dir", ".."),
            ("absolute", absolute.to_str().unwrap()),
            ("loop", "loop"),
            ("proc", "/proc/self/root"),
        ] {
            symlink(target, path("site").join(link)).unwrap();
        }
        rustix::fs::mkfifoat(CWD, path("site/fifo"), Mode::from_raw_mode(0o644)).unwrap();
        let _socket = UnixListener::bind(path("site/socket")).unwrap();

        let site = Directory::open(&path("site")).unwrap();
        for (target, size, media) in [
            ("/a/b.json", 2, "application/json"),
            ("/root.zst", 0, "application/zstd"),
            ("/in", 2, "application/octet-stream"),
            ("/a/up", 0, "application/octet-stream"),
        ] {
            let found = find(&site, target).unwrap();
            assert_eq!((found.size, found.media), (size, media), "{target}");
        }
        for target in [
            "/",
            "/a",
            "/none",
            "/root.zst/x",
            "/.hidden",
            "/out",
            "/dir/secret",
            "/absolute",
            "/loop",
            "/proc/etc/passwd",
            "/fifo",
            "/socket",
            "/%2e%2e/secret",
        ] {
            assert_eq!(find(&site, target).unwrap_err(), Status::NotFound, "{target}");
        }
        let long = format!("/{}", "x".repeat(300));
        assert_eq!(find(&site, &long).unwrap_err(), Status::NotFound);
        assert_eq!(Directory::open(&path("secret")).unwrap_err().id(), Id::Read);
    }

    #[test]
    fn what_may_not_be_read_is_said_to_be_there() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a");
        fs::write(&file, "a").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
        let site = Directory::open(place.path()).unwrap();
        let want = if File::open(&file).is_ok() { None } else { Some(Status::Forbidden) };
        assert_eq!(find(&site, "/a").err(), want, "root may read all");
    }

    #[test]
    fn another_content_has_another_tag() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let site = Directory::open(place.path()).unwrap();
        let tag = || find(&site, "/a").unwrap().tag;
        fs::write(path("a"), "one").unwrap();
        let one = tag();
        assert_eq!(tag(), one);
        // As a release is changed: another file of the same size and time takes the name.
        let time = fs::metadata(path("a")).unwrap().modified().unwrap();
        fs::write(path("b"), "two").unwrap();
        File::options().write(true).open(path("b")).unwrap().set_modified(time).unwrap();
        crate::durable::rename(&path("b"), &path("a")).unwrap();
        assert_ne!(tag(), one);
    }
}
