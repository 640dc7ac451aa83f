//! A terminal that does not show what is typed: termios(3) without `ECHO`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::emulate_default_handler;

use crate::signals::{Heard, Signals};

/// The terminal of this process, which shows again what is typed when this is dropped, or when a
/// signal ends the process.
pub(super) struct Silent {
    tty: File,
}

/// What is silent, and how it was before.
static SILENT: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Once signals are watched they are for good, for the kernel is not told to end a process at a
/// signal again: then this does.
static WATCH: OnceLock<Option<Signals>> = OnceLock::new();

impl Silent {
    pub(super) fn open() -> io::Result<Self> {
        if WATCH.get_or_init(|| watch().ok()).is_none() {
            return Err(io::Error::other("signals cannot be watched"));
        }
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&tty)?;
        let mut silent = before.clone();
        *lock() = Some((tty.try_clone()?, before));
        let opened = Self { tty };
        silent.local_modes.remove(LocalModes::ECHO);
        // But that the line is done.
        silent.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON);
        tcsetattr(&opened.tty, OptionalActions::Flush, &silent)?;
        Ok(opened)
    }

    pub(super) fn prompt(&mut self, text: &str) -> io::Result<()> {
        self.tty.write_all(text.as_bytes())
    }
}

impl Read for Silent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tty.read(buffer)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        restore();
    }
}

fn lock() -> MutexGuard<'static, Option<(File, Termios)>> {
    SILENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether there was something to restore.
fn restore() -> bool {
    let Some((tty, before)) = lock().take() else { return false };
    // What was typed too much is not for whoever reads next. If the terminal has gone, there is
    // nothing left to be done.
    let _ = tcsetattr(&tty, OptionalActions::Flush, &before);
    true
}

fn watch() -> io::Result<Signals> {
    let ended = |signal: i32| -> Heard {
        Box::new(move || {
            if restore() {
                let _ = writeln!(io::stderr());
            }
            let _ = emulate_default_handler(signal);
        })
    };
    Signals::watch([
        (&[SIGHUP], ended(SIGHUP)),
        (&[SIGINT], ended(SIGINT)),
        (&[SIGQUIT], ended(SIGQUIT)),
        (&[SIGTERM], ended(SIGTERM)),
    ])
}
