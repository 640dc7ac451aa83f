//! `fsck -a DEVICE`, as kubelet runs it before it mounts a file system that is there
//! (`mount_linux.go` of `k8s.io/mount-utils`): the checker for what is on the device takes this
//! program's place, if there is one. fsck(8) does no more for one device.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use formats::superblock::{self, Kind};

use super::{Answer, Failure};

/// fsck(8): the checker was not run, or called wrongly.
const OPERATIONAL: u8 = 8;
const USAGE: u8 = 16;

pub(super) fn run(arguments: &[String]) -> Answer {
    let (repair, device) = parse(arguments).map_err(|message| Failure(USAGE, message))?;
    let failed = |error: std::io::Error| Failure(OPERATIONAL, format!("{device}: {error}"));
    let Some(checker) = checker(kind(Path::new(device)).map_err(failed)?) else {
        return Ok(String::new());
    };
    if !checker.exists() {
        return Err(Failure(OPERATIONAL, format!("{device}: {} is not here", checker.display())));
    }
    #[expect(clippy::disallowed_methods, reason = "not a child: it takes this process's place")]
    let error = Command::new(&checker).args(repair).arg(device).exec();
    Err(Failure(OPERATIONAL, format!("cannot run {}: {error}", checker.display())))
}

/// The option for the checker, and the device.
fn parse(arguments: &[String]) -> Result<(Option<&str>, &str), String> {
    let (options, operands): (Vec<_>, Vec<_>) =
        arguments.iter().map(String::as_str).partition(|word| word.starts_with('-'));
    match (options.as_slice(), operands.as_slice()) {
        (options @ ([] | ["-a" | "-p" | "-n" | "-y"]), &[device]) => {
            Ok((options.first().copied(), device))
        }
        _ => Err("usage: fsck [-a | -n | -p | -y] DEVICE".to_owned()),
    }
}

fn kind(device: &Path) -> std::io::Result<Option<Kind>> {
    let mut file = File::open(device)?;
    let size = file.seek(SeekFrom::End(0))?;
    let mut read = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    };
    Ok(superblock::probe(&mut read, size).map(|found| found.kind))
}

/// XFS and btrfs look after themselves when they are mounted: their checkers do nothing, so there
/// are none here.
fn checker(kind: Option<Kind>) -> Option<PathBuf> {
    (kind == Some(Kind::Ext)).then(|| PathBuf::from("/usr/sbin/e2fsck"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn kubelets_call_is_understood() {
        for (text, want) in [
            ("-a /dev/vdb", Ok((Some("-a"), "/dev/vdb"))),
            ("/dev/vdb", Ok((None, "/dev/vdb"))),
            ("-a", Err(())),
            ("-A /dev/vdb", Err(())),
            ("-a /dev/vdb /dev/vdc", Err(())),
            ("-a -y /dev/vdb", Err(())),
        ] {
            assert_eq!(parse(&words(text)).map_err(drop), want, "{text}");
        }
    }

    #[test]
    fn what_has_no_checker_is_well_and_what_is_not_there_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let path = file.path().display().to_string();
        assert_eq!(run(&["-a".to_owned(), path]), Ok(String::new()));
        let want = Failure(8, "/nonexistent: No such file or directory (os error 2)".to_owned());
        assert_eq!(run(&words("-a /nonexistent")), Err(want));
    }

    #[test]
    fn only_ext_is_checked() {
        let e2fsck = Some(PathBuf::from("/usr/sbin/e2fsck"));
        for (kind, want) in [
            (Some(Kind::Ext), e2fsck),
            (Some(Kind::Xfs), None),
            (Some(Kind::Luks), None),
            (None, None),
        ] {
            assert_eq!(checker(kind), want);
        }
    }
}
