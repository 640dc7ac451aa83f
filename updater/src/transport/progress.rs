//! How far an image has come: for whoever waits for it.

use std::cell::Cell;
use std::io;

use crate::cancel::{Cancel, Cancelled};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The spare slot is read: something of the image may stand there already.
    LookAtSpare,
    /// The image that runs is read.
    LookAtRunning,
    /// The spare slot is filled.
    Fill,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of the image that are done in this phase.
    pub done: u64,
    /// Of so many.
    pub total: u64,
    /// Bytes that were fetched since the beginning.
    pub fetched: u64,
    /// Blocks of 4096 bytes that were written since the beginning.
    pub written: u64,
}

/// Who is told, and who may stop it.
pub(super) struct Meter<'a> {
    pub(super) told: &'a dyn Fn(Progress),
    pub(super) cancel: &'a Cancel,
    pub(super) fetched: &'a dyn Fn() -> u64,
    written: Cell<u64>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(
        told: &'a dyn Fn(Progress),
        cancel: &'a Cancel,
        fetched: &'a dyn Fn() -> u64,
    ) -> Self {
        Self { told, cancel, fetched, written: Cell::new(0) }
    }

    pub(super) fn wrote(&self, blocks: u64) {
        self.written.set(self.written.get() + blocks);
    }

    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }

    /// Tells; the error is a request to stop.
    pub(super) fn tell(&self, phase: Phase, done: u64, total: u64) -> Result<(), Cancelled> {
        self.cancel.check()?;
        let (fetched, written) = ((self.fetched)(), self.written.get());
        (self.told)(Progress { phase, done, total, fetched, written });
        Ok(())
    }

    /// As [`Self::tell`], where an error has to be one of input and output.
    pub(super) fn report(&self, phase: Phase, done: u64, total: u64) -> io::Result<()> {
        self.tell(phase, done, total).map_err(io::Error::other)
    }
}
