//! `losetup -f FILE` and `losetup -d DEVICE`, by which kubelet holds the disks of volumes that are
//! blocks (`volume_path_handler_linux.go` of Kubernetes), and what little else of losetup(8) one
//! cannot do without.

use std::path::Path;

use super::{Answer, Failure};
use crate::sys::loop_device::{self, Access};

/// As losetup(8) ends whatever went wrong.
const FAILED: u8 = 1;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Call<'a> {
    /// Which device is free.
    Find,
    Attach {
        file: &'a str,
        access: Access,
        show: bool,
    },
    Detach(Vec<&'a str>),
}

pub(super) fn run(arguments: &[String]) -> Answer {
    let call = parse(arguments).map_err(|message| Failure(FAILED, message))?;
    let failed = |what: &str, error: std::io::Error| Failure(FAILED, format!("{what}: {error}"));
    match call {
        Call::Find => match loop_device::free() {
            Ok(number) => Ok(format!("/dev/loop{number}")),
            Err(error) => Err(failed("cannot find an unused loop device", error)),
        },
        Call::Attach { file, access, show } => {
            let node = loop_device::attach(Path::new(file), access)
                .map_err(|error| failed(&format!("{file}: failed to set up loop device"), error))?;
            Ok(if show { node.display().to_string() } else { String::new() })
        }
        Call::Detach(devices) => {
            for device in devices {
                loop_device::detach(Path::new(device))
                    .map_err(|error| failed(&format!("{device}: detach failed"), error))?;
            }
            Ok(String::new())
        }
    }
}

fn parse(arguments: &[String]) -> Result<Call<'_>, String> {
    let (mut find, mut detach, mut show) = (false, false, false);
    let mut access = Access::ReadWrite;
    let mut operands = Vec::new();
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        match argument {
            "-f" | "--find" => find = true,
            "-d" | "--detach" => detach = true,
            "-r" | "--read-only" => access = Access::ReadOnly,
            "--show" => show = true,
            "--" => operands.extend(rest.by_ref()),
            option if option.starts_with('-') && option.len() > 1 => {
                return Err(format!("unknown option `{option}`"));
            }
            operand => operands.push(operand),
        }
    }
    match (find, detach, operands.as_slice()) {
        (true, false, []) if !show => Ok(Call::Find),
        (true, false, &[file]) => Ok(Call::Attach { file, access, show }),
        (false, true, [_, ..]) if !show => Ok(Call::Detach(operands)),
        _ => Err("usage: losetup -f [-r] [--show] [FILE] | losetup -d DEVICE...".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn kubelets_calls_are_understood() {
        let attach = |file, access, show| Ok(Call::Attach { file, access, show });
        for (text, want) in [
            ("-f /var/lib/x", attach("/var/lib/x", Access::ReadWrite, false)),
            ("--find --show -r -- -x", attach("-x", Access::ReadOnly, true)),
            ("-d /dev/loop0", Ok(Call::Detach(vec!["/dev/loop0"]))),
            ("-f", Ok(Call::Find)),
        ] {
            assert_eq!(parse(&words(text)), want, "{text}");
        }
        for text in ["", "-d", "-f -d x", "-f a b", "x", "-a", "-o 1 -f x", "--show -d x"] {
            assert!(parse(&words(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn what_fails_is_named_with_the_kernels_reason() {
        let want = Failure(
            1,
            "/nonexistent/loop: detach failed: No such file or directory (os error 2)".to_owned(),
        );
        assert_eq!(run(&words("-d /nonexistent/loop")), Err(want));
        let Failure(status, text) = run(&words("-f /nonexistent/file")).unwrap_err();
        assert_eq!(status, 1);
        assert!(text.starts_with("/nonexistent/file: failed to set up loop device: "), "{text}");
    }
}
