//! The program `orlop-updater`: the units that bring releases to a node and judge them, and their client.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use updater::work::Updater;

fn main() -> ExitCode {
    let updater = Updater { root: PathBuf::from("/"), now };
    let arguments = std::env::args_os().skip(1);
    match updater::command::run(arguments, updater, (&mut io::stdout(), &mut io::stderr())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("orlop-updater: {failure}");
            ExitCode::from(failure.status())
        }
    }
}

fn now() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the rim: from here on the time is an argument")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
}
