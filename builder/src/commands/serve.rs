//! `orlop serve`: the files of a directory by HTTP, until it is stopped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::arguments::Global;
use crate::commands::{print, print_json, shown};
use crate::error::{Context as _, Id, Result};
use crate::progress::Progress;
use crate::serve::{Directory, Limits, Server};
use crate::settings::now;
use crate::signals::{Heard, Signals};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
}

/// Prints the address when it listens there, and stays until a signal comes: SIGINT, SIGTERM or
/// SIGHUP. A line for each request goes where progress goes.
///
/// # Errors
/// [`Id::Read`]; [`Id::CannotListen`]; [`Id::Stdout`].
pub fn run(args: &Args, global: &Global, progress: &Progress) -> Result<()> {
    let directory = Directory::open(&args.directory)?;
    let (sender, stopped) = mpsc::channel();
    let stop: Heard = Box::new(move || _ = sender.send(()));
    let _signals = Signals::watch([(&[SIGINT, SIGTERM, SIGHUP], stop)])
        .or_fail(Id::CannotListen, || "cannot watch for signals")?;
    let server = Server::bind(args.listen)?;
    let address = server.address();
    let url = format!("http://{address}/");
    if !address.ip().is_loopback() {
        progress.warn(format!(
            "whoever reaches {address} can read the files of `{}`",
            args.directory.display()
        ));
    }
    let log = progress.clone();
    let log = Box::new(move |line: &_| log.note(format!("{line}")));
    let _running = server.start(directory, Limits::default(), now, log);
    if global.json {
        print_json(&serde_json::json!({
            "directory": shown(&args.directory),
            "url": url,
            "address": address.ip().to_string(),
            "port": address.port(),
        }))?;
    } else {
        print(url)?;
    }
    // The thread that sends lives as long as the signals are watched.
    let _ = stopped.recv();
    Ok(())
}
