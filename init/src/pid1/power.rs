//! The power button: the input devices (evdev) that have a power key.
//!
//! Needs the modules `button` and `evdev`, which are in the root's list.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::disks::names;

/// `EV_KEY` and `KEY_POWER` of include/uapi/linux/input-event-codes.h.
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
/// The value of a key that goes down; 0 is up, 2 is held.
const DOWN: i32 = 1;
/// `sizeof(struct input_event)` on 64-bit machines: two times of 8 bytes, type, code, value.
const EVENT: usize = 24;

/// One open device with a power key.
#[derive(Debug)]
pub struct Button(File);

impl Button {
    /// Opens every device with a power key. None is no error: many machines have no button.
    ///
    /// # Errors
    /// When there is one and it cannot be opened.
    pub fn open_all() -> io::Result<Vec<Self>> {
        let Ok(names) = names(Path::new("/sys/class/input")) else { return Ok(Vec::new()) };
        let mut buttons = Vec::new();
        for name in names {
            let keys = Path::new("/sys/class/input").join(&name).join("device/capabilities/key");
            let is_event = name.starts_with("event");
            if is_event && fs::read_to_string(keys).is_ok_and(|keys| has_key(&keys, KEY_POWER)) {
                buttons.push(Self::open(&Path::new("/dev/input").join(&name))?);
            }
        }
        Ok(buttons)
    }

    /// Readable when keys were pressed: then ask [`Button::pressed`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Reads what waits, without blocking: whether the power key went down.
    ///
    /// # Errors
    /// When the device has gone: stop watching it.
    pub fn pressed(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 64 * EVENT];
        let mut pressed = false;
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return Ok(pressed),
                Ok(length) => pressed |= has_press(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(pressed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn open(path: &Path) -> io::Result<Self> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        OpenOptions::new().read(true).custom_flags(flags).open(path).map(Self)
    }
}

/// Whether the key is in a bitmap of sysfs: 64-bit words in hexadecimal, the highest first.
fn has_key(bitmap: &str, key: u16) -> bool {
    let word = bitmap.split_whitespace().rev().nth(usize::from(key / 64));
    let bits = word.and_then(|word| u64::from_str_radix(word, 16).ok()).unwrap_or(0);
    bits >> (key % 64) & 1 == 1
}

fn has_press(events: &[u8]) -> bool {
    events.chunks_exact(EVENT).any(|event| {
        let code = u16::from_ne_bytes([event[18], event[19]]);
        let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
        u16::from_ne_bytes([event[16], event[17]]) == EV_KEY && code == KEY_POWER && value == DOWN
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut bytes = vec![0xee; 16];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_keyboard_without_a_power_key_is_no_button() {
        // The first is QEMU's ACPI button, the second a keyboard with keys 1 to 83.
        for (bitmap, want) in [
            ("10000000000000 0\n", true),
            ("fffff fffffffffffffffe\n", false),
            ("0\n", false),
            ("", false),
            ("not hexadecimal", false),
        ] {
            assert_eq!(has_key(bitmap, KEY_POWER), want, "{bitmap}");
        }
    }

    #[test]
    fn only_the_power_key_going_down_is_a_press() {
        for (events, want) in [
            (event(EV_KEY, KEY_POWER, DOWN), true),
            (event(EV_KEY, KEY_POWER, 0), false),
            (event(EV_KEY, 30, DOWN), false),
            (event(0, KEY_POWER, DOWN), false),
            ([event(EV_KEY, 30, 1), event(EV_KEY, KEY_POWER, 1), event(0, 0, 0)].concat(), true),
            (event(EV_KEY, KEY_POWER, DOWN)[..23].to_vec(), false),
        ] {
            assert_eq!(has_press(&events), want);
        }
    }
}
