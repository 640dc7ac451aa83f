//! A file, or a part of one, as a stream of bytes that goes on where it was cut: at the same place, or at
//! the next.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::ops::Range;
use std::time::Instant;

use formats::tuf::{Check, Found};

use super::answer::{Asked, Body, Odd};
use super::pace::Watch;
use super::place::{Name, Opened, Place, WebReason};
use super::{Failure, FetchError, Mirrors, PROGRESS, Tried, Why};

/// Bytes that are thrown away at once.
const THROWN: usize = 64 << 10;

/// Bytes of a file on their way.
pub struct Stream<'a> {
    mirrors: &'a Mirrors<'a>,
    name: Name,
    /// Of the whole file.
    length: u64,
    /// What has not come yet.
    left: Range<u64>,
    /// Whether it is a part that whoever asked must have as a part.
    part: bool,
    /// Places to ask, the first one now.
    order: Vec<usize>,
    body: Option<Box<dyn Read + Send>>,
    watch: Watch,
    failures: u32,
    progress: u64,
    tried: Vec<Tried>,
    /// Who has given bytes.
    given: BTreeSet<usize>,
    check: Option<Check>,
    failed: Option<FetchError>,
    /// Whether a place was given up that has given a part of it.
    has_given_up: bool,
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("name", &self.name).field("left", &self.left).finish()
    }
}

impl<'a> Mirrors<'a> {
    /// A whole target. Its last bytes come only if all of it has the hash that was signed.
    ///
    /// # Errors
    /// [`FetchError::Failed`]: it has no hash of a kind that is known.
    pub fn whole(&'a self, found: &Found) -> Result<Stream<'a>, FetchError> {
        let name = Name::target(found);
        let lied = |error: formats::tuf::Refused| Failure {
            what: name.to_string(),
            tried: vec![Tried {
                place: "the metadata".to_owned(),
                why: Why::Lied(error.to_string()),
            }],
            again: false,
        };
        let check = Some(found.check().map_err(lied)?);
        let left = 0..found.file.length;
        Ok(self.stream(name, found.file.length, left, false, check))
    }

    /// A part of a target. Whoever asks must know what it has to be.
    pub fn part(&'a self, found: &Found, range: Range<u64>) -> Stream<'a> {
        self.stream(Name::target(found), found.file.length, range, true, None)
    }

    fn stream(
        &'a self,
        name: Name,
        length: u64,
        left: Range<u64>,
        part: bool,
        check: Option<Check>,
    ) -> Stream<'a> {
        Stream {
            mirrors: self,
            name,
            length,
            left,
            part,
            order: self.order(),
            body: None,
            watch: Watch::new(self.settings.pace),
            failures: 0,
            progress: 0,
            tried: Vec::new(),
            given: BTreeSet::new(),
            check,
            failed: None,
            has_given_up: false,
        }
    }
}

impl Stream<'_> {
    /// Why it did not come to its end, if it did not: the error that a read gave is only its text.
    pub fn take_failure(&mut self) -> Option<FetchError> {
        self.failed.take()
    }

    /// What was given is not what was signed: whoever gave it is asked no more.
    pub fn lied(&self, how: &str) -> FetchError {
        let tried = self.given.iter().filter_map(|at| self.mirrors.place(*at));
        let tried =
            tried.map(|place| Tried { place: place.to_string(), why: Why::Lied(how.to_owned()) });
        let tried = tried.collect();
        match self.given.len() {
            0 | 1 => {
                for at in &self.given {
                    self.mirrors.give_up(*at, how);
                }
            }
            // One of them, and nobody knows which: the next time it comes from one alone.
            _ => self.mirrors.alone.set(true),
        }
        let again = !self.given.is_empty() && !self.mirrors.order().is_empty();
        Failure { what: self.name.to_string(), tried, again }.into()
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        if self.left.is_empty() {
            return self.end().map(|()| 0);
        }
        let left = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        loop {
            self.mirrors.cancel.check()?;
            let Some(at) = self.order.first().copied() else {
                let tried = std::mem::take(&mut self.tried);
                let again = self.mirrors.alone.get() && self.has_given_up;
                let again = again && !self.mirrors.order().is_empty();
                return Err(Failure { what: self.name.to_string(), tried, again }.into());
            };
            let began = Instant::now();
            let read = match self.read(at, &mut buffer[..most]) {
                Ok(read) => read,
                Err(why) => {
                    self.failed(at, why)?;
                    continue;
                }
            };
            self.given.insert(at);
            self.mirrors.first.set(at);
            self.left.start += read as u64;
            self.progress += read as u64;
            let spent = began.elapsed();
            self.mirrors.account(read)?;
            if let Some(check) = &mut self.check
                && let Err(reason) = check.update(&buffer[..read])
            {
                return Err(self.lied(&reason.to_string()));
            }
            if let Err(slow) = self.watch.took(read as u64, spent) {
                // What came is good all the same.
                self.failed(at, slow.into())?;
            }
            return Ok(read);
        }
    }

    /// All has come: was it what was signed?
    fn end(&mut self) -> Result<(), FetchError> {
        match self.check.take().map(Check::finish) {
            Some(Err(reason)) => Err(self.lied(&reason.to_string())),
            _ => Ok(()),
        }
    }

    fn read(&mut self, at: usize, buffer: &mut [u8]) -> Result<usize, Why> {
        let mirrors = self.mirrors;
        let Some(place) = mirrors.place(at) else {
            return Err(Odd::Missing(String::new()).into());
        };
        let mut body = match self.body.take() {
            Some(body) => body,
            None => {
                self.watch = Watch::new(self.mirrors.settings.pace);
                let all = self.left == (0..self.length);
                let asked = if all && !self.part {
                    Asked::Whole(self.length)
                } else {
                    Asked::Part(self.left.clone(), self.length)
                };
                let Opened { mut body, is } = place.open(&self.name, &asked)?;
                match is {
                    Body::AsAsked => {}
                    Body::Whole if self.part => return Err(Odd::NoRanges.into()),
                    Body::Whole => self.skip(place, &mut body, self.left.start)?,
                }
                body
            }
        };
        let read = some(place, &mut body, buffer)?;
        self.body = Some(body);
        Ok(read)
    }

    /// Throws away what has come before. It has to come as fast as what is wanted, and whoever asks to stop
    /// is heard: the next one who looks sees it.
    fn skip(&mut self, place: &Place, body: &mut impl Read, mut bytes: u64) -> Result<(), Why> {
        let mut buffer = vec![0; THROWN];
        while bytes > 0 {
            let most = usize::try_from(bytes).map_or(THROWN, |bytes| bytes.min(THROWN));
            let began = Instant::now();
            let read = some(place, body, &mut buffer[..most])?;
            bytes -= read as u64;
            let spent = began.elapsed();
            if self.mirrors.account(read).is_err() {
                return Err(cut_short());
            }
            self.watch.took(read as u64, spent)?;
        }
        Ok(())
    }

    /// Waits and asks the place again, or goes on to the next one.
    fn failed(&mut self, at: usize, why: Why) -> Result<(), FetchError> {
        self.body = None;
        if self.progress >= PROGRESS {
            self.failures = 0;
        }
        self.progress = 0;
        self.failures += 1;
        let why = match self.mirrors.wait_to_retry(at, &self.name, why, self.failures)? {
            Ok(()) => return Ok(()),
            Err(why) => why,
        };
        self.failures = 0;
        self.order.remove(0);
        let place = self.mirrors.place(at).map(ToString::to_string).unwrap_or_default();
        if !self.order.is_empty() {
            self.mirrors.notice(&format!("`{}` is not fetched from {place}: {why}", self.name));
        }
        // A place that has given part of it must give all of it.
        if self.mirrors.alone.get() && self.given.contains(&at) {
            self.mirrors.give_up(at, &why.to_string());
            self.has_given_up = true;
            self.order.clear();
        }
        self.tried.push(Tried { place, why });
        Ok(())
    }
}

/// Some bytes of what a place gives, which has to have some more.
fn some(place: &Place, body: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Why> {
    loop {
        match body.read(buffer) {
            Ok(0) => return Err(cut_short()),
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(place.failed(error)),
        }
    }
}

fn cut_short() -> Why {
    Why::Web(WebReason(web::Reason::CutShort))
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.next(buffer).map_err(|error| {
            let text = error.to_string();
            self.failed = Some(error);
            io::Error::other(text)
        })
    }
}
