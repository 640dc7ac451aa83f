//! What an updater asks of the machine's firmware: one variable, by which the loader starts an entry
//! once.

use std::io;

/// Variables of the firmware, as far as the loader looks at them.
pub trait Firmware {
    /// The id in `LoaderEntryOneShot`: an entry's name without its count. Nothing if it is not set, or
    /// if there are no variables.
    ///
    /// # Errors
    /// There are variables, and this one cannot be read.
    fn one_shot(&self) -> io::Result<Option<String>>;

    /// Sets it: the loader starts this entry once, and forgets it before that.
    ///
    /// # Errors
    /// The firmware refuses, or has no variables.
    fn set_one_shot(&mut self, id: &str) -> io::Result<()>;

    /// Removes it. Nothing happens if it is not set.
    ///
    /// # Errors
    /// The firmware refuses.
    fn clear_one_shot(&mut self) -> io::Result<()>;
}

/// A machine whose firmware has no variables that could be written.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVariables;

impl Firmware for NoVariables {
    fn one_shot(&self) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn set_one_shot(&mut self, _: &str) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "the firmware has no variables"))
    }

    fn clear_one_shot(&mut self) -> io::Result<()> {
        Ok(())
    }
}
