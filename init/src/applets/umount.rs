//! `umount [-f] [-l] DIRECTORY...`: by the path of the mount point.

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::{FAILURE, Failure, SOMEWHAT, options, usage};

pub(super) fn run(arguments: &[String]) -> Result<(), Failure> {
    let request = Request::parse(arguments).map_err(|what| usage("umount", &what))?;
    let mut messages = String::new();
    let mut failed = 0;
    for target in &request.targets {
        if let Err(error) = unmount(&**target, request.flags) {
            messages.push_str(&format!("umount: {target}: {}.\n", describe(error)));
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        _ if failed < request.targets.len() => Err((SOMEWHAT, messages)),
        _ => Err((FAILURE, messages)),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    flags: UnmountFlags,
    targets: Vec<String>,
}

impl Request {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut flags = UnmountFlags::empty();
        let targets = options(
            arguments,
            |_| false,
            |name, _| {
                match name {
                    "f" | "force" => flags |= UnmountFlags::FORCE,
                    "l" | "lazy" => flags |= UnmountFlags::DETACH,
                    // As in `mount`.
                    "c" | "no-canonicalize" | "n" | "no-mtab" | "v" | "verbose" | "i" => {}
                    _ => return Err(format!("unknown option `{name}`")),
                }
                Ok(())
            },
        )?;
        if targets.is_empty() {
            return Err("give a directory".to_owned());
        }
        Ok(Self { flags, targets: targets.into_iter().map(str::to_owned).collect() })
    }
}

/// kubelet looks for `not mounted` and takes it for success, so it must not stand for anything
/// else: `EINVAL` says that the path is no mount point (umount(2)).
fn describe(error: Errno) -> String {
    match error {
        Errno::INVAL => "not mounted".to_owned(),
        Errno::NOENT => "no mount point specified".to_owned(),
        Errno::BUSY => "target is busy".to_owned(),
        Errno::PERM => "must be superuser to unmount".to_owned(),
        error => format!("umount failed: {}", std::io::Error::from(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_understood_or_refused() {
        let request = |flags, targets: &[&str]| {
            let targets = targets.iter().map(|&target| target.to_owned()).collect();
            Ok(Request { flags, targets })
        };
        let (force, lazy) = (UnmountFlags::FORCE, UnmountFlags::DETACH);
        for (line, want) in [
            ("/a", request(UnmountFlags::empty(), &["/a"])),
            ("-f /a", request(force, &["/a"])),
            ("-fl /a /b", request(force | lazy, &["/a", "/b"])),
            ("--lazy --force -c -- -x", request(force | lazy, &["-x"])),
            ("-f", Err("give a directory".to_owned())),
            ("-a", Err("unknown option `a`".to_owned())),
        ] {
            let arguments: Vec<_> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(Request::parse(&arguments), want, "{line}");
        }
    }

    #[test]
    fn only_what_is_no_mount_point_is_said_not_to_be_mounted() {
        for error in [Errno::NOENT, Errno::BUSY, Errno::PERM, Errno::IO, Errno::ACCESS] {
            assert!(!describe(error).contains("not mounted"), "{error}");
        }
        assert_eq!(describe(Errno::INVAL), "not mounted");
    }
}
