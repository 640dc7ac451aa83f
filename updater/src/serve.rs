//! The updater's unit: a Unix socket, and behind it one piece of work at a time. Who asked hears how it
//! goes; if he hangs up it goes on, and only `cancel` stops it. Who comes meanwhile is told what is being
//! done.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cancel::{Cancel, Cancelled};
use crate::protocol::{Event, Failed, LONGEST, Request};
use crate::transport::Progress;

/// How long a client may take to say what he wants, or to hear what he is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long what is to stop may take: it looks up at the next block, or when a server that it waits for is
/// given up.
const STOPS: Duration = Duration::from_secs(45);

/// What the unit does when it is asked.
pub trait Work: Send + Sync + 'static {
    /// What runs and what is staged.
    ///
    /// # Errors
    /// In words.
    fn status(&self) -> Result<Value, String>;

    /// Does what is asked, and tells how it goes. Nobody else is at it meanwhile.
    ///
    /// # Errors
    /// [`Failed`].
    fn carry_out(
        &self,
        request: &Request,
        cancel: &Cancel,
        tell: &dyn Fn(Event),
    ) -> Result<Value, Failed>;
}

/// Why another part of this program was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// Somebody else is at it: what is being done.
    Busy(String),
    /// It was not done.
    Failed(Failed),
}

/// What is being done.
struct Doing {
    title: String,
    since: Instant,
    cancel: Cancel,
    progress: Option<Progress>,
    /// Who hears of it.
    listeners: Vec<Sender<Event>>,
}

/// Something that was asked to stop.
struct Stopping {
    title: String,
    /// It is a `cancel` itself: its end is that of both.
    is_one_too: bool,
    events: Receiver<Event>,
}

impl Stopping {
    /// What came of it: known once it has ended.
    fn end(self, limit: Duration) -> Event {
        let (title, until) = (self.title, Instant::now() + limit);
        let last = loop {
            match self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) if event.is_last() => break Some(event),
                Ok(_) => {}
                Err(_) => break None,
            }
        };
        let failed = |why: String| Event::from(Failed::from(why));
        match last {
            Some(event) if self.is_one_too => event,
            Some(Event::Failed { why, .. }) => {
                let mut result = json!({ "cancelled": title });
                if !why.ends_with(&Cancelled.to_string()) {
                    // It has ended by itself, in the same moment.
                    result["why"] = json!(why);
                }
                Event::Done { result }
            }
            Some(_) => failed(format!(
                "`{title}` could not be stopped any more, and is done: what it has arranged for the next \
                 restart is given up by another `cancel`"
            )),
            None => failed(format!(
                "`{title}` was asked to stop and has not ended yet: `status` says when it has"
            )),
        }
    }
}

/// The unit.
pub struct Unit<W> {
    work: W,
    doing: Mutex<Option<Doing>>,
    /// Who may ask, beside root: the user of a test.
    user: u32,
}

impl<W> std::fmt::Debug for Unit<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unit").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The socket, which only its owner can open. It goes with this value.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`, in place of a socket that an earlier run has left there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn bind(path: &Path) -> io::Result<Self> {
        // It gets its name when nobody else can open it any more.
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        fs::rename(&beside, path)?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

impl<W: Work> Unit<W> {
    /// A unit that does nothing yet. Root may ask, and this user.
    pub fn new(work: W, user: u32) -> Arc<Self> {
        Arc::new(Self { work, doing: Mutex::new(None), user })
    }

    /// Answers clients until `stop` says otherwise: it is looked at after each of them.
    ///
    /// # Errors
    /// The socket fails.
    pub fn serve(self: &Arc<Self>, socket: &Socket, stop: &Cancel) -> io::Result<()> {
        loop {
            let (stream, _) = socket.listener.accept()?;
            if stop.check().is_err() {
                return Ok(());
            }
            let unit = Arc::clone(self);
            let answer = move || {
                // A client that has gone is not told why.
                drop(unit.answer(stream));
            };
            std::thread::Builder::new().name("client".to_owned()).spawn(answer)?;
        }
    }

    fn answer(self: &Arc<Self>, mut stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let user = rustix::net::sockopt::socket_peercred(&stream)?.uid.as_raw();
        let failed = |why: String| Event::from(Failed::from(why));
        if user != 0 && user != self.user {
            let why = format!("the user {user} may not ask: only root may");
            return stream.write_all(failed(why).line().as_bytes());
        }
        let mut line = String::new();
        BufReader::new((&stream).take(LONGEST)).read_line(&mut line)?;
        let events = match Request::parse(line.trim_end()) {
            Err(why) => return stream.write_all(failed(why).line().as_bytes()),
            Ok(Request::Status {}) => {
                let event = self.status().map_or_else(failed, |result| Event::Done { result });
                return stream.write_all(event.line().as_bytes());
            }
            Ok(Request::Cancel {}) => match self.stop() {
                Some(stopping) => {
                    return stream.write_all(stopping.end(STOPS).line().as_bytes());
                }
                None => self.begin(Request::Cancel {}, Cancel::new()),
            },
            Ok(request) => self.begin(request, Cancel::new()),
        };
        let events = match events {
            Ok(events) => events,
            Err(busy) => return stream.write_all(busy.line().as_bytes()),
        };
        for event in events {
            stream.write_all(event.line().as_bytes())?;
            if event.is_last() {
                break;
            }
        }
        Ok(())
    }

    /// Does what another part of this program asks for, if nobody is at anything; `hear` is told how it
    /// goes.
    ///
    /// # Errors
    /// [`Miss`].
    pub fn carry_out(
        self: &Arc<Self>,
        request: Request,
        cancel: Cancel,
        hear: &mut dyn FnMut(&Event),
    ) -> Result<Value, Miss> {
        let failed = |why: &str| Miss::Failed(why.into());
        let events = match self.begin(request, cancel) {
            Ok(events) => events,
            Err(Event::Busy { doing, .. }) => return Err(Miss::Busy(doing)),
            Err(Event::Failed { why, .. }) => return Err(failed(&why)),
            Err(_) => return Err(failed("it cannot begin")),
        };
        for event in events {
            match event {
                Event::Done { result } => return Ok(result),
                Event::Failed { why, refused, later } => {
                    return Err(Miss::Failed(Failed { why, refused, later }));
                }
                event => hear(&event),
            }
        }
        Err(failed("it ended without an answer"))
    }

    /// The work itself, for who only looks.
    pub fn work(&self) -> &W {
        &self.work
    }

    /// What runs, what is staged, and what is being done.
    pub fn status(&self) -> Result<Value, String> {
        let mut status = self.work.status()?;
        let doing = self.doing().as_ref().map(|doing| {
            json!({
                "what": doing.title,
                "seconds": doing.since.elapsed().as_secs(),
                "progress": doing.progress,
            })
        });
        if let Some(status) = status.as_object_mut() {
            let is_staging = doing.as_ref().is_some_and(|doing| {
                let what = doing["what"].as_str().unwrap_or_default();
                what.starts_with("stage") || what.starts_with("upgrade")
            });
            // Beside a trial or before a restart that is what counts: both end by themselves.
            let phase = status.get("phase").and_then(Value::as_str).unwrap_or_default();
            if is_staging && phase != "trial" && phase != "restarting" {
                status.insert("phase".to_owned(), json!("staging"));
            }
            status.insert("doing".to_owned(), doing.unwrap_or(Value::Null));
        }
        Ok(status)
    }

    /// Asks what is being done to stop. That nothing is to be given up any more is not stopped itself.
    fn stop(&self) -> Option<Stopping> {
        let mut doing = self.doing();
        let doing = doing.as_mut()?;
        let (sender, events) = channel();
        doing.listeners.push(sender);
        let title = doing.title.clone();
        let is_one_too = title == Request::Cancel {}.title();
        if !is_one_too {
            doing.cancel.cancel();
        }
        Some(Stopping { title, is_one_too, events })
    }

    /// Begins with it in a thread of its own, if nobody is at it.
    fn begin(self: &Arc<Self>, request: Request, cancel: Cancel) -> Result<Receiver<Event>, Event> {
        let mut doing = self.doing();
        if let Some(doing) = &*doing {
            let seconds = doing.since.elapsed().as_secs();
            return Err(Event::Busy { doing: doing.title.clone(), seconds });
        }
        let (sender, events) = channel();
        let title = request.title();
        let unit = Arc::clone(self);
        let stop = cancel.clone();
        let carry_out = move || {
            let tell = |event| unit.tell(event);
            let result = unit.work.carry_out(&request, &stop, &tell);
            let last = match result {
                Ok(result) => Event::Done { result },
                Err(failed) => failed.into(),
            };
            // Who hears that it has ended may begin with the next.
            let ended = unit.doing().take();
            for listener in ended.into_iter().flat_map(|doing| doing.listeners) {
                drop(listener.send(last.clone()));
            }
        };
        let thread = std::thread::Builder::new().name("work".to_owned()).spawn(carry_out);
        thread.map_err(|error| Event::from(Failed::from(format!("cannot begin: {error}"))))?;
        let listeners = vec![sender];
        *doing = Some(Doing { title, since: Instant::now(), cancel, progress: None, listeners });
        Ok(events)
    }

    fn tell(&self, event: Event) {
        if let Some(doing) = &mut *self.doing() {
            if let Event::Progress(progress) = &event {
                doing.progress = Some(*progress);
            }
            doing.listeners.retain(|listener| listener.send(event.clone()).is_ok());
        }
    }

    fn doing(&self) -> MutexGuard<'_, Option<Doing>> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
