//! The machine's watchdog: it resets the machine unless PID 1 shows in time that its loop still
//! turns. Opened in the initrd, as soon as its driver is loaded, and handed over to the root.
//!
//! What the kernel's device does is in its `Documentation/watchdog/watchdog-api.rst`: to open it
//! starts it, any byte that is written is a sign of life, and closing it stops it only if the last
//! byte was a `V`. So whatever becomes of this process, the watchdog goes on.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::sys::watchdog;
use crate::{clock, log};

/// The kernel's watchdogs in sysfs.
pub const CLASS: &str = "/sys/class/watchdog";
/// Names the descriptor to the init of the root.
pub const VARIABLE: &str = "ORLOP_WATCHDOG";

/// Until the loop turns: STATE, which may be mended (two minutes) and made anew (two more), the node
/// config (one) and modules are waited for without a sign of life in between.
pub const BOOT: Duration = Duration::from_secs(600);
/// While the loop turns.
pub const RUN: Duration = Duration::from_secs(60);
/// From the end of the last unit on: more than what PID 1 waits for then, and than the firmware
/// takes until the watchdog is reset with the machine.
pub const DOWN: Duration = Duration::from_secs(600);

/// For a kernel that this one starts, until PID 1 of that opens the device: it unpacks itself, looks
/// for its devices and loads the driver in that time, or hangs.
pub const OTHER_KERNEL: Duration = Duration::from_secs(120);

/// In seconds, the least that is asked of a device which cannot count to more.
const SHORTEST: i32 = 30;
/// Of a device that does not say its time: no watchdog is as short.
const UNKNOWN: Duration = Duration::from_secs(3);

/// A watchdog that runs.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    name: String,
    timeout: Duration,
    /// When it last had a sign of life.
    fed: Duration,
}

impl Watchdog {
    /// Starts the machine's watchdog, if it has one.
    ///
    /// # Errors
    /// When there is one and it cannot be opened.
    pub fn start(class: &Path, timeout: Duration) -> io::Result<Option<Self>> {
        let Some(name) = choose(class) else { return Ok(None) };
        let device = File::options().write(true).open(Path::new("/dev").join(&name))?;
        let mut watchdog = Self::new(device, described(class, &name));
        watchdog.set(timeout);
        Ok(Some(watchdog))
    }

    /// A device that runs already.
    pub fn new(device: File, name: String) -> Self {
        let mut watchdog = Self { device, name, timeout: UNKNOWN, fed: clock::monotonic() };
        watchdog.ask_timeout();
        watchdog
    }

    /// Sets its time; if the device cannot count so far, half of it and so on down to
    /// [`SHORTEST`]; else its time stays what it is. A sign of life.
    pub fn set(&mut self, timeout: Duration) {
        let seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
        match longest(seconds, |seconds| watchdog::set_timeout(&self.device, seconds)) {
            Some(seconds) => self.timeout = from_seconds(seconds),
            None => self.ask_timeout(),
        }
        self.feed();
    }

    fn ask_timeout(&mut self) {
        self.timeout = watchdog::timeout(&self.device).map_or(UNKNOWN, from_seconds);
    }

    /// A sign of life.
    pub fn feed(&mut self) {
        self.fed = clock::monotonic();
        if let Err(error) = self.device.write_all(b"\0") {
            log::warn(&format!("cannot feed the watchdog: {error}"));
        }
    }

    /// When it wants the next sign of life: three fit into its time.
    pub fn due(&self) -> Duration {
        self.fed + self.timeout / 3
    }

    /// Stops it, if the kernel was not told that nobody may.
    ///
    /// # Errors
    /// What the device says; it goes on then.
    pub fn stop(mut self) -> io::Result<()> {
        self.device.write_all(b"V")
    }

    /// Keeps it open for the program that this process becomes, which finds it by the returned value
    /// of [`VARIABLE`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn hand_over(self) -> io::Result<String> {
        fcntl_setfd(&self.device, FdFlags::empty())?;
        // Closed, it would run on and nobody could feed it.
        let device = std::mem::ManuallyDrop::new(self.device);
        Ok(device.as_raw_fd().to_string())
    }

    /// The one that [`Watchdog::hand_over`] gave; `value` is that of [`VARIABLE`].
    ///
    /// # Errors
    /// If it is not there.
    pub fn take_over(class: &Path, value: &str) -> io::Result<Self> {
        let number = value.parse::<i32>().map_err(io::Error::other)?;
        let link = std::fs::read_link(format!("/proc/self/fd/{number}"))?;
        let name = link.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let device = watchdog::inherited(number)?;
        fcntl_setfd(&device, FdFlags::CLOEXEC)?;
        let mut watchdog = Self::new(device.into(), described(class, &name));
        watchdog.feed();
        Ok(watchdog)
    }
}

impl std::fmt::Display for Watchdog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, timeout, .. } = self;
        write!(
            f,
            "the watchdog is {name}: a reset {} s after the last sign of life",
            timeout.as_secs()
        )
    }
}

/// What a device has made of `seconds`, or of the half, the quarter and so on.
fn longest(mut seconds: i32, mut set: impl FnMut(i32) -> io::Result<i32>) -> Option<i32> {
    loop {
        match set(seconds) {
            Ok(seconds) => return Some(seconds),
            Err(_) if seconds >= 2 * SHORTEST => seconds /= 2,
            Err(_) => return None,
        }
    }
}

fn from_seconds(seconds: i32) -> Duration {
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map_or(UNKNOWN, Duration::from_secs)
}

/// The first one that is hardware: it has a device above it. The kernel's own (`softdog`) helps no
/// more once the kernel hangs, but is better than none.
fn choose(class: &Path) -> Option<String> {
    let entries = std::fs::read_dir(class).ok()?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.min_by_key(|name| {
        let number = name.strip_prefix("watchdog").and_then(|number| number.parse::<u32>().ok());
        (!class.join(name).join("device").exists(), number.unwrap_or(u32::MAX))
    })
}

/// Its name for people.
fn described(class: &Path, name: &str) -> String {
    let identity = std::fs::read_to_string(class.join(name).join("identity")).unwrap_or_default();
    format!("{name} ({})", identity.trim())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_that_is_hardware_is_taken() {
        let class = tempfile::tempdir().unwrap();
        let class = class.path();
        assert_eq!(choose(&class.join("absent")), None);
        assert_eq!(choose(class), None);
        for (name, identity) in
            [("watchdog10", "b"), ("watchdog2", "a"), ("watchdog0", "Software Watchdog\n")]
        {
            fs::create_dir(class.join(name)).unwrap();
            fs::write(class.join(name).join("identity"), identity).unwrap();
        }
        assert_eq!(choose(class).as_deref(), Some("watchdog0"));
        assert_eq!(described(class, "watchdog0"), "watchdog0 (Software Watchdog)");
        for name in ["watchdog10", "watchdog2"] {
            fs::create_dir(class.join(name).join("device")).unwrap();
        }
        assert_eq!(choose(class).as_deref(), Some("watchdog2"));
        assert!(Watchdog::start(&class.join("absent"), RUN).unwrap().is_none());
    }

    #[test]
    fn a_device_that_cannot_count_so_far_gets_a_half_until_it_can() {
        for (wanted, most, want) in [
            (600, 2046, Some(600)),
            (600, 255, Some(150)),
            (60, 40, Some(30)),
            (60, 20, None),
            (20, 15, None),
        ] {
            let device = |seconds| match seconds <= most {
                true => Ok(seconds),
                false => Err(io::ErrorKind::InvalidInput.into()),
            };
            assert_eq!(longest(wanted, device), want, "{wanted} s, {most} at most");
        }
    }

    #[test]
    fn only_what_is_stopped_in_order_says_goodbye() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watchdog0");
        let open = || Watchdog::new(File::create(&path).unwrap(), String::new());
        let mut dropped = open();
        dropped.feed();
        drop(dropped);
        assert_eq!(fs::read(&path).unwrap(), b"\0");
        let mut stopped = open();
        stopped.set(RUN);
        stopped.stop().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"\0V");
    }

    #[test]
    fn it_is_handed_over_by_the_number_of_its_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watchdog7");
        let device = File::create(&path).unwrap();
        let value = Watchdog::new(device, String::new()).hand_over().unwrap();
        let number = watchdog::inherited(value.parse().unwrap()).unwrap();
        let flags = rustix::io::fcntl_getfd(&number).unwrap();
        assert!(!flags.contains(FdFlags::CLOEXEC), "it would be closed by exec");
        std::mem::forget(number);
        let taken = Watchdog::take_over(directory.path(), &value).unwrap();
        let flags = rustix::io::fcntl_getfd(&taken.device).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC), "units would inherit it");
        assert_eq!(fs::read(&path).unwrap(), b"\0");
        assert_eq!(taken.name, "watchdog7 ()");
        for nothing in ["", "x", "-1", "2147483647"] {
            assert!(Watchdog::take_over(directory.path(), nothing).is_err(), "{nothing}");
        }
    }
}
