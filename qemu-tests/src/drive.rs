//! A machine's disk that the test itself is: QEMU reads and writes it by the NBD protocol
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>), in its smallest form, so
//! the test counts what is written, cuts the power at a write, loses what was not flushed, and lets
//! sectors fail. What is written stays in a raw image.

mod protocol;
mod undone;

use std::fs::File;
use std::io::{self, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};

use protocol::{Answer, What};
use undone::Unflushed;

/// What does not work in a range of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fails {
    /// Reading.
    Read,
    /// Writing.
    Write,
}

/// A disk, as long as this value is there.
#[derive(Debug)]
pub struct Drive {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    image: File,
    size: u64,
    unflushed: Unflushed,
    faults: Vec<(Range<u64>, Fails)>,
    watched: Vec<(Range<u64>, Sender<()>)>,
    /// Writes since the machine was switched on.
    writes: u64,
    /// Requests that have met a fault.
    met: u64,
    cut: Cut,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("writes", &self.writes).finish_non_exhaustive()
    }
}

/// When the power goes.
enum Cut {
    Never,
    /// After so many more writes; then whoever can cut it is told.
    After(u64, Box<dyn FnOnce() + Send>),
    /// It has gone: nothing is answered.
    Done,
}

impl Drive {
    /// Waits at `socket` for QEMU, and keeps what it writes in `image`.
    ///
    /// # Errors
    /// The image cannot be opened, or the socket cannot be made.
    pub fn new(image: &Path, socket: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).open(image);
        let file = file.with_context(|| format!("cannot open {}", image.display()))?;
        let size = file.metadata()?.len();
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen on {}", socket.display()))?;
        let state = Arc::new(Mutex::new(State {
            image: file,
            size,
            unflushed: Unflushed::default(),
            faults: Vec::new(),
            watched: Vec::new(),
            writes: 0,
            met: 0,
            cut: Cut::Never,
        }));
        let shared = Arc::clone(&state);
        // One machine; the thread ends with it. A program that looks at the disk first comes before.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // QEMU that is killed is what tests want.
                    drop(serve(stream, &shared));
                });
            }
        });
        Ok(Self { socket: socket.to_owned(), state })
    }

    /// What QEMU is told behind the arguments of `orlop run`: the disk with this id is here.
    pub fn arguments(&self) -> [String; 2] {
        ["-set".to_owned(), format!("drive.disk.file=nbd:unix:{}", self.socket.display())]
    }

    /// Cuts the power after so many more writes: from then on nothing reaches the disk, and `power` is
    /// called, which ends the machine.
    pub fn cut_after(&self, writes: u64, power: impl FnOnce() + Send + 'static) {
        self.state().cut = Cut::After(writes, Box::new(power));
    }

    /// Nothing is cut any more, if nothing was: whether it was.
    pub fn was_cut(&self) -> bool {
        let mut state = self.state();
        if matches!(state.cut, Cut::Done) {
            return true;
        }
        state.cut = Cut::Never;
        false
    }

    /// Writes since the machine was switched on.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// Hears of each write to these bytes from now on.
    pub fn watch(&self, bytes: Range<u64>) -> Receiver<()> {
        let (sender, receiver) = mpsc::channel();
        self.state().watched.push((bytes, sender));
        receiver
    }

    /// From now on this does not work in these bytes of the disk.
    pub fn fails(&self, bytes: Range<u64>, what: Fails) {
        self.state().faults.push((bytes, what));
    }

    /// All works again. How many requests have met a fault.
    pub fn works(&self) -> u64 {
        let mut state = self.state();
        state.faults.clear();
        std::mem::take(&mut state.met)
    }

    /// The machine is off. Of what was written and not flushed, `number` decides what has come to the disk:
    /// a write, nothing of it, or a part. How many writes there were, and how many have not come whole.
    ///
    /// # Errors
    /// The image cannot be written.
    pub fn lose(&self, number: &mut dyn FnMut() -> u64) -> Result<(usize, usize)> {
        let mut state = self.state();
        // What a machine that was killed has sent before, and nobody has read yet, does not come any more.
        state.cut = Cut::Done;
        let State { image, unflushed, .. } = &mut *state;
        Ok(std::mem::take(unflushed).lose(image, number)?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: UnixStream, state: &Mutex<State>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let size = lock(state).size;
    if !protocol::greet(&mut reader, &mut writer, size)? {
        return Ok(());
    }
    while let Some(request) = protocol::request(&mut reader)? {
        let answer = match lock(state).carry_out(request.what, request.offset, request.length) {
            Some(answer) => answer,
            None => return Ok(()),
        };
        protocol::answer(&mut writer, request.handle, &answer)?;
    }
    Ok(())
}

impl State {
    /// Does it; nothing if the power has gone.
    fn carry_out(&mut self, what: What, offset: u64, length: u64) -> Option<Answer> {
        let is_write = matches!(what, What::Write(_));
        if is_write {
            self.writes += 1;
            match std::mem::replace(&mut self.cut, Cut::Never) {
                Cut::After(0, power) => {
                    self.cut = Cut::Done;
                    power();
                }
                Cut::After(left, power) => self.cut = Cut::After(left - 1, power),
                cut => self.cut = cut,
            }
        }
        if matches!(self.cut, Cut::Done) {
            return None;
        }
        let end = offset.saturating_add(length);
        let kind = if is_write { Fails::Write } else { Fails::Read };
        let touches = |bytes: &Range<u64>| offset < bytes.end && bytes.start < end;
        if self.faults.iter().any(|(bytes, fails)| *fails == kind && touches(bytes)) {
            self.met += 1;
            return Some(Answer::Failed);
        }
        let done = match what {
            What::Flush => {
                self.unflushed = Unflushed::default();
                Ok(Answer::Done(Vec::new()))
            }
            What::Read => read(&self.image, offset, length).map(Answer::Done),
            What::Write(bytes) => self.write(offset, bytes).map(|()| Answer::Done(Vec::new())),
        };
        Some(done.unwrap_or(Answer::Failed))
    }

    fn write(&mut self, offset: u64, bytes: Vec<u8>) -> io::Result<()> {
        let before = read(&self.image, offset, bytes.len() as u64)?;
        self.image.write_all_at(&bytes, offset)?;
        let end = offset + bytes.len() as u64;
        let hit = |range: &Range<u64>| offset < range.end && range.start < end;
        self.watched.retain(|(range, sender)| !hit(range) || sender.send(()).is_ok());
        self.unflushed.add(offset, before, bytes);
        Ok(())
    }
}

fn read(image: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    image.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
