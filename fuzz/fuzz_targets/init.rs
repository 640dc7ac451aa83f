//! What PID 1 parses: the kernel command line, units, the answer of the container runtime.

#![no_main]

use std::io::{Read, Result, Write};
use std::path::Path;
use std::time::Duration;

use cri::{Client, Transport};
use init::command_line::CommandLine;
use init::unit::Unit;
use libfuzzer_sys::fuzz_target;

/// A runtime that answers with these bytes, whatever it is asked.
struct Answer<'a>(&'a [u8]);

impl Read for Answer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Answer<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Transport for Answer<'_> {
    fn limit(&mut self, _: Option<Duration>) -> Result<()> {
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = Client::new(Answer(bytes), 4096).version(Duration::from_secs(60));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = CommandLine::parse(text);
    let _ = Unit::parse(Path::new("unit.toml"), text);
});
