//! Programs that kubelet and containerd run: this binary under another name. Those of kubelet, for
//! volumes, are in a directory that is in its `PATH` alone (docs/volumes.md); for containerd there
//! is one, AppArmor's (docs/security-pods.md).

mod apparmor_parser;
mod fsck;
mod losetup;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// How a call failed: exit status, and a line for standard error.
#[derive(Debug, PartialEq, Eq)]
struct Failure(u8, String);

/// What a call has to say on standard output.
type Answer = Result<String, Failure>;

/// Runs the applet that the program was called as, if it was called as one.
pub fn run(called: &OsStr, arguments: &[OsString]) -> Option<ExitCode> {
    let name = Path::new(called).file_name()?.to_str()?;
    let applet: fn(&[String]) -> Answer = match name {
        "apparmor_parser" => apparmor_parser::run,
        "fsck" => fsck::run,
        "losetup" => losetup::run,
        _ => return None,
    };
    // What is no text is no path of kubelet's either, and fails as one that is not there.
    let arguments: Vec<_> =
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    Some(match applet(&arguments) {
        Ok(text) => {
            #[expect(clippy::print_stdout, reason = "a program's answer")]
            if !text.is_empty() {
                println!("{text}");
            }
            ExitCode::SUCCESS
        }
        Err(Failure(status, message)) => {
            eprintln!("{name}: {message}");
            ExitCode::from(status)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_is_no_applet() {
        for name in ["orlop-node", "/usr/lib/orlop/orlop-node", "", "losetup2"] {
            assert!(run(OsStr::new(name), &[]).is_none(), "{name}");
        }
    }
}
