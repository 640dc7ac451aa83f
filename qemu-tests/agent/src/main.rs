//! Does on a node under test what there is no shell for. It reads requests from the virtio port
//! `org.orlop.test`, a line each, and writes lines of answer: see `qemu_tests::agent` for who asks.
//!
//! A request is a number and a verb: `7 ask JSON` asks the updater at its socket, `7 until WORD JSON` does
//! too and hangs up at the first line that holds the word, which stops nothing. `7 list PATH` says what is in
//! a directory, `7 read PATH` reads a file, `7 line PATH TEXT` waits until a line of a file has the text,
//! `7 write PATH TEXT` writes one. `7 healthy` waits until the updater has found this boot healthy, or what
//! runs before that, and no release is on trial: nothing tells, so it is asked again and again. Each line of
//! an answer begins with the number, the last one is the number with `.`, or with `!` and why it failed. On
//! its own account it says `hello` once.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

/// Where the kernel says which port has which name.
const PORTS: &str = "/sys/class/virtio-ports";
const NAME: &str = "org.orlop.test";
/// What an image wants done at each start, a request without a number in each line.
const AT_START: &str = "/usr/lib/orlop/test/at-start";
/// Whoever asks `ask` asks here.
const SOCKET: &str = "/run/orlop/updater.sock";

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "{error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    // Images that shall go wrong need no port for that.
    for request in fs::read_to_string(AT_START).unwrap_or_default().lines() {
        carry_out(request, &mut |_| Ok(()))?;
    }
    let port = port()?;
    let mut answers = fs::File::options().read(true).write(true).open(port)?;
    let requests = BufReader::new(answers.try_clone()?);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let line = fs::read_to_string("/proc/cmdline")?;
    let hash = line.split(' ').find_map(|word| word.trim().strip_prefix("orlop.roothash="));
    writeln!(answers, "hello {} {}", boot.trim(), hash.unwrap_or("none"))?;
    for line in requests.lines() {
        let line = line?;
        let (number, request) = line.split_once(' ').unwrap_or((&line, ""));
        let done = carry_out(request, &mut |text| writeln!(answers, "{number} {text}"));
        match done {
            Ok(()) => writeln!(answers, "{number} .")?,
            Err(error) => writeln!(answers, "{number} ! {error}")?,
        }
    }
    Ok(())
}

/// The device of the port.
fn port() -> io::Result<PathBuf> {
    for entry in fs::read_dir(PORTS)? {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("name")).is_ok_and(|name| name.trim() == NAME) {
            return Ok(PathBuf::from("/dev").join(entry.file_name()));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "the machine has no port for tests"))
}

fn carry_out(request: &str, say: &mut impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let (verb, rest) = request.split_once(' ').unwrap_or((request, ""));
    match verb {
        "ask" => ask(rest, say),
        "until" => {
            let (word, request) = rest.split_once(' ').unwrap_or((rest, ""));
            let mut heard = false;
            let asked = ask(request, &mut |line| {
                say(line)?;
                heard = line.contains(word);
                if heard { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
            });
            if heard { Ok(()) } else { asked }
        }
        "healthy" => loop {
            let mut healthy = false;
            // The updater may not be there yet, or be starting again.
            drop(ask(r#"{"do":"status"}"#, &mut |line| {
                // A promotion says that it is before it is through, and an earlier boot may have said so.
                let says = [r#""healthy":{"#, r#""judged":"healthy""#, r#""trial":null"#];
                healthy |= says.iter().all(|it| line.contains(it));
                Ok(())
            }));
            if healthy {
                return Ok(());
            }
            sleep(Duration::from_secs(1));
        },
        "line" => {
            let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
            // Nothing tells of a line either.
            while !fs::read_to_string(path).is_ok_and(|all| all.lines().any(|it| it.contains(text)))
            {
                sleep(Duration::from_secs(1));
            }
            Ok(())
        }
        "list" => {
            fs::read_dir(rest)?.try_for_each(|entry| say(&entry?.file_name().display().to_string()))
        }
        "read" => fs::read_to_string(rest)?.lines().try_for_each(say),
        "write" => {
            let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
            fs::write(path, text)
        }
        _ => Err(io::Error::other(format!("`{verb}` is nothing that is known here"))),
    }
}

fn ask(request: &str, say: &mut impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let mut socket = UnixStream::connect(SOCKET)?;
    writeln!(socket, "{request}")?;
    BufReader::new(socket).lines().try_for_each(|line| say(&line?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_and_written_and_what_is_not_known_is_refused() {
        let path = std::env::temp_dir().join(format!("orlop-agent-{}", std::process::id()));
        let name = path.to_str().unwrap();
        let mut said = Vec::new();
        let mut say = |text: &str| {
            said.push(text.to_owned());
            Ok(())
        };
        carry_out(&format!("write {name} two words"), &mut say).unwrap();
        carry_out(&format!("read {name}"), &mut say).unwrap();
        carry_out(&format!("line {name} wo words"), &mut say).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(carry_out("dance", &mut say).is_err());
        assert!(carry_out(&format!("read {name}"), &mut say).is_err());
        assert_eq!(said, ["two words"]);
    }
}
