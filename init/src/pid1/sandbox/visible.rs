//! A root that has nothing but what the key `visible` names: a file system in memory with the host's
//! files and directories bound into it. So there is no device to open, no process below `/proc` by
//! whose `root` other files could be reached, and no socket to connect to, unless the key says so.

use std::ffi::{CStr, CString};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, mkdir, open, stat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind_recursive, unmount};
use rustix::process::{chdir, pivot_root};

use super::c_string;
use crate::unit::AbsolutePath;

/// Where the new root is until it is one: a directory that every root has. What the host has there is
/// not to be seen anyway.
const STAGE: &CStr = c"/tmp";
/// Below it, for `private-tmp`.
const TMP: &CStr = c"/tmp/tmp";

/// One file or directory of the host, and where it will be.
#[derive(Debug)]
pub(super) struct Place {
    source: CString,
    /// Directories that the new root needs for it, outermost first.
    parents: Vec<CString>,
    target: CString,
}

/// What is below another of them is seen with that.
pub(super) fn places(paths: &[AbsolutePath]) -> Vec<Place> {
    let inside = |path: &Path| {
        paths.iter().any(|AbsolutePath(other)| path != other && path.starts_with(other))
    };
    let outermost = paths.iter().map(|AbsolutePath(path)| path).filter(|path| !inside(path));
    outermost.map(|path| Place::new(path)).collect()
}

impl Place {
    fn new(path: &Path) -> Self {
        let stage = Path::new("/tmp");
        let below = |path: &Path| stage.join(path.strip_prefix("/").unwrap_or(path));
        let target = below(path);
        let mut parents: Vec<_> = target.ancestors().skip(1).collect();
        parents.retain(|parent| *parent != stage && parent.starts_with(stage));
        parents.reverse();
        Self {
            source: c_string(path),
            parents: parents.into_iter().map(c_string).collect(),
            target: c_string(&target),
        }
    }

    /// One that is absent is passed over.
    fn bind(&self) -> Result<(), Errno> {
        let kind = match stat(self.source.as_c_str()) {
            Ok(found) => FileType::from_raw_mode(found.st_mode),
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
        };
        for parent in &self.parents {
            make_directory(parent)?;
        }
        match kind {
            FileType::Directory => make_directory(&self.target)?,
            _ => {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                drop(open(self.target.as_c_str(), flags, Mode::RUSR)?);
            }
        }
        mount_bind_recursive(self.source.as_c_str(), self.target.as_c_str())
    }
}

/// Makes these the whole root of the calling process, which must have mounts of its own. For a child
/// between fork and exec.
///
/// # Errors
/// What the kernel said.
pub(super) fn root_of(places: &[Place]) -> Result<(), Errno> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(c"tmpfs", STAGE, c"tmpfs", flags, c"mode=0755,size=64k")?;
    for place in places {
        place.bind()?;
    }
    make_directory(TMP)?;
    // The old root is put over the new one, and then taken away: pivot_root(2), NOTES.
    chdir(STAGE)?;
    pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    chdir(c"/")
}

fn make_directory(path: &CStr) -> Result<(), Errno> {
    match mkdir(path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_directories_and_none_stands_in_another() {
        let paths = ["/proc/sys/net/ipv6/conf", "/run/orlop/x", "/run", "/runs", "/dev/null"];
        let paths = paths.map(|path| AbsolutePath(path.into()));
        let text = |path: &CString| path.to_str().expect("text").to_owned();
        let found: Vec<_> = places(&paths)
            .iter()
            .map(|place| {
                let parents: Vec<_> = place.parents.iter().map(text).collect();
                (text(&place.source), parents.join(" "), text(&place.target))
            })
            .collect();
        let want = [
            (
                "/proc/sys/net/ipv6/conf",
                "/tmp/proc /tmp/proc/sys /tmp/proc/sys/net /tmp/proc/sys/net/ipv6",
                "/tmp/proc/sys/net/ipv6/conf",
            ),
            ("/run", "", "/tmp/run"),
            ("/runs", "", "/tmp/runs"),
            ("/dev/null", "/tmp/dev", "/tmp/dev/null"),
        ];
        let want = want.map(|(source, parents, target)| {
            (source.to_owned(), parents.to_owned(), target.to_owned())
        });
        assert_eq!(found, want);
    }
}
