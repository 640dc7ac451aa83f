//! Reads releases from places: directories, or servers by HTTP and HTTPS. Everything is bounded: how much
//! is taken, how slow a server may be, how often it is asked again. Places are tried in order, each failure
//! is kept in words, and what was begun at one is gone on with at the next.
//!
//! Nothing that comes from here is believed: who asked holds it against hashes that were signed, and says
//! so when a place has lied.

pub mod answer;
pub mod bucket;
pub mod pace;
pub mod place;
pub mod retry;
mod stream;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use formats::tuf::Found;

use crate::cancel::{Cancel, Cancelled};
use answer::{Asked, Odd};
use bucket::{Bucket, Rate};
use pace::{Pace, Watch};
pub use place::{Name, Place, Why};
use retry::Patience;
pub use stream::Stream;

/// How a client behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// The slowest server that is borne with.
    pub pace: Pace,
    /// How often one is asked again.
    pub patience: Patience,
    /// The most that is fetched in a second, if that is limited.
    pub rate: Option<Rate>,
    /// Differs from node to node: so they do not come back together.
    pub seed: u64,
}

/// Why one place did not give a file.
#[derive(Debug)]
pub struct Tried {
    /// The place, as it was named.
    pub place: String,
    /// Why not.
    pub why: Why,
}

/// No place gave a file.
#[derive(Debug)]
pub struct Failure {
    /// The file.
    pub what: String,
    /// All that were asked, in order.
    pub tried: Vec<Tried>,
    /// Whether another attempt asks others: one was found to lie, and there are more.
    pub again: bool,
}

impl Failure {
    /// Whether every place says that it has no such file.
    pub fn is_missing(&self) -> bool {
        let missing = |tried: &Tried| matches!(tried.why, Why::Odd(Odd::Missing(_)));
        !self.tried.is_empty() && self.tried.iter().all(missing)
    }

    /// Whether some place was there and the file of it no good: then another file may be.
    pub fn is_of_the_file(&self) -> bool {
        self.tried.iter().any(|tried| tried.why.is_of_the_file())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot fetch `{}`", self.what)?;
        if self.tried.is_empty() {
            return f.write_str(": no place is left that has not lied");
        }
        let mut sign = ":";
        for Tried { place, why } in &self.tried {
            write!(f, "{sign} from {place}: {why}")?;
            sign = ";";
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// A file did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Somebody has asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// No place gave it.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Places that have the same releases, in the order in which they are asked.
pub struct Mirrors<'a> {
    places: Vec<Place>,
    settings: Settings,
    cancel: Cancel,
    /// Told what is tried again, and what is passed over.
    notice: &'a dyn Fn(&str),
    bucket: RefCell<Option<Bucket>>,
    began: Instant,
    fetched: Cell<u64>,
    /// Which place is asked first: the one that gave something last.
    first: Cell<usize>,
    /// How long was waited because places asked for that.
    waited: Cell<Duration>,
    /// Places that are not asked any more, and why.
    out: RefCell<BTreeMap<usize, String>>,
    /// Whether a file has to come from one place: when one was made of two and was wrong.
    alone: Cell<bool>,
}

impl fmt::Debug for Mirrors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirrors").field("places", &self.places).finish_non_exhaustive()
    }
}

impl<'a> Mirrors<'a> {
    /// These places. `notice` is told, a line each, what is tried again and what is passed over.
    pub fn new(
        places: Vec<Place>,
        settings: Settings,
        cancel: Cancel,
        notice: &'a dyn Fn(&str),
    ) -> Self {
        Self {
            places,
            settings,
            cancel,
            notice,
            bucket: RefCell::new(settings.rate.map(Bucket::new)),
            began: Instant::now(),
            fetched: Cell::new(0),
            first: Cell::new(0),
            waited: Cell::default(),
            out: RefCell::default(),
            alone: Cell::new(false),
        }
    }

    /// How many bytes of bodies have come, those included that were of no use.
    pub fn fetched(&self) -> u64 {
        self.fetched.get()
    }

    /// The request to stop that ends all waits.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Tells whoever listens.
    pub fn notice(&self, line: &str) {
        (self.notice)(line);
    }

    /// The places that are still asked, by number, the one that is asked first before the others.
    pub fn order(&self) -> Vec<usize> {
        let (first, count) = (self.first.get(), self.places.len());
        let out = self.out.borrow();
        let all = (0..count).map(|at| (first + at) % count);
        all.filter(|at| !out.contains_key(at)).collect()
    }

    /// The place with this number.
    pub fn place(&self, at: usize) -> Option<&Place> {
        self.places.get(at)
    }

    /// Asks this place first from now on: what is trusted comes from it.
    pub fn prefer(&self, at: usize) {
        self.first.set(at);
    }

    /// Asks a place no more.
    pub fn give_up(&self, at: usize, why: &str) {
        if let Some(place) = self.places.get(at) {
            self.notice(&format!("{place} is not asked any more: {why}"));
            self.out.borrow_mut().insert(at, why.to_owned());
        }
    }

    /// All of a file of one place, of which no more than one byte beyond `limit` is read; nothing if the
    /// place says that it has none.
    ///
    /// # Errors
    /// [`FetchError`], after as many tries as the settings say.
    pub fn small(&self, at: usize, name: &Name, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        let mut failures = 0;
        loop {
            self.cancel.check()?;
            let why = match self.small_once(at, name, limit)? {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(Why::Odd(Odd::Missing(_))) => return Ok(None),
                Err(why) => why,
            };
            failures += 1;
            if let Err(why) = self.wait_to_retry(at, name, why, failures)? {
                let place = self.place(at).map(ToString::to_string).unwrap_or_default();
                let tried = vec![Tried { place, why }];
                return Err(Failure { what: name.to_string(), tried, again: false }.into());
            }
        }
    }

    /// All of a target, which is held in memory: whoever asks has looked at its length.
    ///
    /// # Errors
    /// [`FetchError`] once no place is left that might give what was signed.
    pub fn bytes(&self, found: &Found) -> Result<Vec<u8>, FetchError> {
        loop {
            let mut stream = self.whole(found)?;
            let mut bytes = Vec::new();
            match stream.read_to_end(&mut bytes) {
                Ok(_) => return Ok(bytes),
                Err(error) => match stream.take_failure() {
                    Some(FetchError::Failed(failure)) if failure.again => {}
                    Some(failure) => return Err(failure),
                    None => return Err(self.nobody(Name::target(found), error)),
                },
            }
        }
    }

    /// That no place gives a target.
    pub(crate) fn no_place(&self, found: &Found) -> FetchError {
        let what = Name::target(found).to_string();
        Failure { what, tried: Vec::new(), again: false }.into()
    }

    fn nobody(&self, name: Name, error: io::Error) -> FetchError {
        let tried = vec![Tried { place: "a place".to_owned(), why: Why::Disk(error) }];
        Failure { what: name.to_string(), tried, again: false }.into()
    }

    fn small_once(
        &self,
        at: usize,
        name: &Name,
        limit: u64,
    ) -> Result<Result<Vec<u8>, Why>, FetchError> {
        let Some(place) = self.place(at) else {
            return Ok(Err(Odd::Missing(String::new()).into()));
        };
        let mut body = match place.open(name, &Asked::All) {
            Ok(opened) => opened.body,
            Err(why) => return Ok(Err(why)),
        };
        let mut watch = Watch::new(self.settings.pace);
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 16 << 10];
        loop {
            let left = limit.saturating_add(1).saturating_sub(bytes.len() as u64);
            let room = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            if room == 0 {
                return Ok(Ok(bytes));
            }
            let began = Instant::now();
            let read = match body.read(&mut buffer[..room]) {
                Ok(0) => return Ok(Ok(bytes)),
                Ok(read) => read,
                Err(error) => return Ok(Err(place.failed(error))),
            };
            bytes.extend(&buffer[..read]);
            self.account(read)?;
            if let Err(slow) = watch.took(read as u64, began.elapsed()) {
                return Ok(Err(slow.into()));
            }
        }
    }

    /// Counts what came, and waits as the rate limit says.
    fn account(&self, bytes: usize) -> Result<(), Cancelled> {
        let bytes = bytes as u64;
        self.fetched.set(self.fetched.get() + bytes);
        let wait = self.bucket.borrow_mut().as_mut().map(|it| it.take(bytes, self.began.elapsed()));
        match wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => self.cancel.pause(wait),
            None => self.cancel.check(),
        }
    }

    /// Waits before a place is asked again; the reason back if it is not.
    fn wait_to_retry(
        &self,
        at: usize,
        name: &Name,
        why: Why,
        failures: u32,
    ) -> Result<Result<(), Why>, Cancelled> {
        let told = match &why {
            Why::Odd(Odd::Busy(_, told)) => *told,
            _ => None,
        };
        let patience = self.settings.patience.after(self.waited.get());
        let delay = patience.delay(failures, self.settings.seed, told);
        let Some(delay) = delay.filter(|_| why.passes()) else { return Ok(Err(why)) };
        if told.is_some() {
            self.waited.set(self.waited.get().saturating_add(delay));
        }
        let place = self.place(at).map(ToString::to_string).unwrap_or_default();
        let seconds = delay.as_secs_f32();
        self.notice(&format!("`{name}` from {place}: {why}; again in {seconds:.1} s"));
        self.cancel.pause(delay).map(Ok)
    }
}

/// A place at an address, asked as the node's settings say.
///
/// # Errors
/// The proxy cannot be used.
pub fn web_place(
    address: &str,
    authorities: Vec<web::Certificate<'static>>,
    proxies: &str,
    limits: web::Limits,
) -> Result<Place, String> {
    let proxy = web::proxy::proxy_for(proxies, address);
    let trusts_none = authorities.is_empty();
    let name = concat!("orlop-updater/", env!("CARGO_PKG_VERSION"));
    let secrecy = web::Secrecy::of(address);
    let agent = web::agent(name, authorities, secrecy, proxy.as_ref(), limits);
    let agent = agent.map_err(|error| format!("{address}: {error}"))?;
    let address = address.trim_end_matches('/').to_owned();
    Ok(Place::Web { address, agent, limits, trusts_none })
}

/// Bytes without which a failure counts as one more in a row.
const PROGRESS: u64 = 64 << 10;
