//! `mount` and `umount` as kubelet runs them, `modprobe` as the kernel does: this binary under
//! another name.
//!
//! Which arguments kubelet gives is in `mount_linux.go` of `k8s.io/mount-utils`; texts and exit
//! statuses are those of mount(8) and umount(8) as far as kubelet and people read them. There is no
//! `fstab`, no probing of file systems, no `mount.TYPE` program.

mod modprobe;
mod mount;
mod umount;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// The call was wrong, nothing was tried.
const USAGE: u8 = 1;
/// The kernel refused.
const FAILURE: u8 = 32;
/// Of several, some failed.
const SOMEWHAT: u8 = 64;

/// Runs the applet that `arguments` begin with the name of, if they do.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let name = arguments.next()?;
    let applet = match Path::new(&name).file_name()?.to_str()? {
        "modprobe" => modprobe::run,
        "mount" => mount::run,
        "umount" => umount::run,
        _ => return None,
    };
    // What is no text is no path of kubelet's either, and fails as a path that is not there.
    let arguments: Vec<_> =
        arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    let (status, message) = match applet(&arguments) {
        Ok(()) => (0, String::new()),
        Err(failure) => failure,
    };
    // If stderr is closed there is nobody to tell.
    let _ = std::io::stderr().write_all(message.as_bytes());
    Some(ExitCode::from(status))
}

/// Loads a module of the image by its name, for PID 1 itself.
///
/// # Errors
/// In words: there is none, or the kernel refuses it.
pub(crate) fn load_module(name: &str) -> Result<(), String> {
    modprobe::run(&[name.to_owned()]).map_err(|(_, told)| match told.trim_end() {
        "" => format!("the image has no module `{name}`"),
        told => told.to_owned(),
    })
}

/// Exit status, and lines for standard error.
type Failure = (u8, String);

fn usage(applet: &str, what: &str) -> Failure {
    (USAGE, format!("{applet}: {what}\n"))
}

/// Splits `-o value`, `-ovalue`, `--options value` and `--options=value` alike; single letters may
/// be joined as in `-fl`. Gives each option with its value, and then the operands.
fn options<'a>(
    arguments: &'a [String],
    takes_value: impl Fn(&str) -> bool,
    mut option: impl FnMut(&'a str, &'a str) -> Result<(), String>,
) -> Result<Vec<&'a str>, String> {
    let mut operands = Vec::new();
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        let missing = || format!("option `{argument}` needs a value");
        if argument == "--" {
            operands.extend(rest.by_ref());
        } else if let Some(long) = argument.strip_prefix("--") {
            match long.split_once('=') {
                Some((name, value)) if takes_value(name) => option(name, value)?,
                Some(_) => return Err(format!("option `{argument}` takes no value")),
                None if takes_value(long) => option(long, rest.next().ok_or_else(missing)?)?,
                None => option(long, "")?,
            }
        } else if let Some(letters) = argument.strip_prefix('-').filter(|text| !text.is_empty()) {
            for (at, letter) in letters.char_indices() {
                let end = at + letter.len_utf8();
                let (letter, value) = (&letters[at..end], &letters[end..]);
                if takes_value(letter) {
                    let joined = Some(value).filter(|value| !value.is_empty());
                    option(letter, joined.or_else(|| rest.next()).ok_or_else(missing)?)?;
                    break;
                }
                option(letter, "")?;
            }
        } else {
            operands.push(argument);
        }
    }
    Ok(operands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(arguments: &[&str]) -> Result<String, String> {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut seen = Vec::new();
        let operands = options(
            &arguments,
            |name| ["o", "options"].contains(&name),
            |name, value| {
                seen.push(format!("{name}={value}"));
                Ok(())
            },
        )?;
        Ok(format!("{} | {}", seen.join(" "), operands.join(" ")))
    }

    #[test]
    fn options_are_found_however_they_are_written() {
        for (arguments, want) in [
            (&["-o", "ro", "a", "b"][..], Ok("o=ro | a b")),
            (&["-oro", "--options=a=b", "--options", "c"], Ok("o=ro options=a=b options=c | ")),
            (&["a", "-fl", "-", "--", "-x"], Ok("f= l= | a - -x")),
            (&["-fo", "x", "--bind"], Ok("f= o=x bind= | ")),
            (&["-o"], Err("option `-o` needs a value")),
            (&["--options"], Err("option `--options` needs a value")),
            (&["--bind=x"], Err("option `--bind=x` takes no value")),
        ] {
            assert_eq!(split(arguments), want.map(str::to_owned).map_err(str::to_owned));
        }
    }

    #[test]
    fn another_name_is_no_applet() {
        for name in ["/init", "/usr/lib/orlop/init", "", "mount2"] {
            assert!(run([OsString::from(name)].into_iter()).is_none(), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_arguments_make_it_panic(arguments in proptest::collection::vec("-{0,2}[a-z=é]{0,6}", 0..5)) {
            let _ = options(&arguments, |name| name == "o", |_, _| Ok(()));
        }
    }
}
