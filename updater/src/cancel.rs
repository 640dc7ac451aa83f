//! A request to stop, which whoever works looks at, and every wait ends by.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Somebody has asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was cancelled")]
pub struct Cancelled;

/// Whether to stop. Its clones are one.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<(Mutex<bool>, Condvar)>);

impl Cancel {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop.
    pub fn cancel(&self) {
        let (asked, wake) = &*self.0;
        *asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
    }

    /// That nobody has asked.
    ///
    /// # Errors
    /// [`Cancelled`] if somebody has.
    pub fn check(&self) -> Result<(), Cancelled> {
        let asked = *self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked { Err(Cancelled) } else { Ok(()) }
    }

    /// Waits so long, or until somebody asks.
    ///
    /// # Errors
    /// [`Cancelled`] as soon as somebody asks.
    pub fn pause(&self, length: Duration) -> Result<(), Cancelled> {
        let (asked, wake) = &*self.0;
        let end = Instant::now() + length;
        let mut guard = asked.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if *guard {
                return Err(Cancelled);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            guard = wake.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_by_its_time_or_by_a_request_to_stop() {
        let cancel = Cancel::new();
        assert_eq!(cancel.pause(Duration::from_millis(1)), Ok(()));
        let other = cancel.clone();
        let waits = std::thread::spawn(move || other.pause(Duration::from_secs(3600)));
        cancel.cancel();
        assert_eq!(waits.join().expect("it ends"), Err(Cancelled));
        assert_eq!(cancel.check(), Err(Cancelled));
    }
}
