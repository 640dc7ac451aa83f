//! Boot marks: when each step of the boot was reached, in nanoseconds since the kernel started.
//!
//! They are kept in `/run/orlop/boot.json`, which the second stage continues, and sent, a line of
//! JSON each, to the virtio-serial port named `org.orlop.boot` if the machine has one. There is
//! no udev, so the port is found by its name in sysfs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;

use crate::question::Question;
use crate::supervisor::{Change, Supervisor};
use crate::unit::Ready;
use crate::{clock, memory};

const FILE: &str = "/run/orlop/boot.json";
const PORT: &str = "org.orlop.boot";

/// The boot is over a long time before this many; a unit which crashes for weeks must not fill
/// PID 1's memory.
const MOST: usize = 512;
/// Of a name that a unit tells.
const LONGEST: usize = 32;
/// The unit whose health is a mark of its own.
const KUBELET: &str = "kubelet";

/// Marks this instant. A name consists of `a-z`, `0-9`, `:` and `-`; only the first of a name
/// counts, for marks are about the boot.
pub fn mark(name: impl Into<Cow<'static, str>>) {
    // Tests run as other processes.
    if std::process::id() != 1 {
        return;
    }
    let now = u64::try_from(clock::since_boot().as_nanos()).unwrap_or(u64::MAX);
    let mut marks = MARKS.lock().unwrap_or_else(PoisonError::into_inner);
    let marks = marks.get_or_insert_with(|| {
        let text = std::fs::read_to_string(FILE).unwrap_or_default();
        (Marks::parse(&text), None)
    });
    marks.0.add(name.into(), now);
    send(&mut marks.0, &mut marks.1);
    // /run is not there in the very first moments; the next mark writes all of them again.
    let _ = write_file(Path::new(FILE), &marks.0.to_json());
}

/// Marks what a change of a unit or of the whole means for the boot.
pub fn observe(change: &Change, supervisor: &Supervisor) {
    match change {
        Change::Started(unit) => mark(format!("unit:{unit}:started")),
        Change::Ready { unit, .. } => {
            mark(format!("unit:{unit}:ready"));
            let ready = supervisor.unit(unit).map(|unit| &unit.ready);
            if matches!(ready, Some(Ready::Answers(Question::CriVersion(_)))) {
                mark("cri-answers");
            }
            if unit.as_str() == KUBELET {
                mark("kubelet-healthy");
            }
        }
        Change::ShutdownBegan(_) => {
            mark("shutdown-start");
            if let Some(kib) = memory::used(Path::new("/proc/meminfo")) {
                mark(format!("memory-used:{kib}"));
            }
        }
        _ => {}
    }
}

/// A mark that a unit has told of.
pub fn told(name: String) {
    if name.len() <= LONGEST && name.chars().all(is_known) {
        mark(name);
    }
}

fn is_known(c: char) -> bool {
    c.is_ascii_alphanumeric() || ":-.".contains(c)
}

static MARKS: Mutex<Option<(Marks, Option<File>)>> = Mutex::new(None);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Marks {
    marks: Vec<(Cow<'static, str>, u64)>,
    /// How many of them the port has got.
    sent: usize,
}

impl Marks {
    fn add(&mut self, name: Cow<'static, str>, nanoseconds: u64) {
        debug_assert!(name.chars().all(is_known), "{name} would need escapes in JSON");
        if self.marks.len() < MOST && !self.marks.iter().any(|(other, _)| *other == name) {
            self.marks.push((name, nanoseconds));
        }
    }

    fn to_json(&self) -> String {
        let mut text = format!("{{\"schema\":1,\"sent\":{},\"marks\":[\n", self.sent);
        for (index, (name, nanoseconds)) in self.marks.iter().enumerate() {
            let comma = if index + 1 < self.marks.len() { "," } else { "" };
            // Writing into a string does not fail.
            let _ = writeln!(text, "{}{comma}", line(name, *nanoseconds));
        }
        text.push_str("]}\n");
        text
    }

    /// Reads what [`Marks::to_json`] wrote, and leaves out what it does not understand: marks
    /// which are lost are no reason to stop a boot.
    fn parse(text: &str) -> Self {
        let between = |text: &str, start: &str, end: &str| -> Option<String> {
            let (_, rest) = text.split_once(start)?;
            Some(rest.split_once(end)?.0.to_owned())
        };
        let mut marks = Self::default();
        for text in text.lines().skip(1) {
            let name = between(text, "{\"mark\":\"", "\"");
            let time = between(text, "\"ns\":", "}").and_then(|time| time.parse().ok());
            if let (Some(name), Some(time)) = (name, time)
                && name.chars().all(is_known)
            {
                marks.add(name.into(), time);
            }
        }
        let sent = between(text, "\"sent\":", ",").and_then(|sent| sent.parse().ok());
        marks.sent = sent.unwrap_or(0).min(marks.marks.len());
        marks
    }
}

fn line(name: &str, nanoseconds: u64) -> String {
    format!("{{\"mark\":\"{name}\",\"ns\":{nanoseconds}}}")
}

/// Sends what the port has not got yet. It may appear late, and refuse while nobody listens.
fn send(marks: &mut Marks, port: &mut Option<File>) {
    if port.is_none() {
        *port = find_port(Path::new("/sys/class/virtio-ports"), Path::new("/dev"), PORT);
    }
    let Some(open) = port else { return };
    while let Some((name, nanoseconds)) = marks.marks.get(marks.sent) {
        // A line is far smaller than the port's buffers: it is taken whole or not at all.
        if writeln!(open, "{}", line(name, *nanoseconds)).is_err() {
            return;
        }
        marks.sent += 1;
    }
}

fn find_port(class: &Path, devices: &Path, wanted: &str) -> Option<File> {
    let port = std::fs::read_dir(class).ok()?.filter_map(Result::ok).find(|port| {
        std::fs::read_to_string(port.path().join("name")).is_ok_and(|name| name.trim() == wanted)
    })?;
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).ok()?;
    let device: PathBuf = devices.join(port.file_name());
    OpenOptions::new().write(true).custom_flags(flags).open(device).ok()
}

/// A reader sees the old file or the new one, never half of one.
fn write_file(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("json.new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_stage_reads_what_the_first_one_wrote() {
        let mut marks = Marks::default();
        assert_eq!(Marks::parse(&marks.to_json()), marks);
        marks.add("init-start".into(), 3_000_000_001);
        marks.add("unit:containerd:ready".into(), u64::MAX);
        marks.sent = 1;
        let want = "{\"schema\":1,\"sent\":1,\"marks\":[\n\
                    {\"mark\":\"init-start\",\"ns\":3000000001},\n\
                    {\"mark\":\"unit:containerd:ready\",\"ns\":18446744073709551615}\n]}\n";
        assert_eq!(marks.to_json(), want);
        assert_eq!(Marks::parse(want), marks);
    }

    #[test]
    fn only_the_first_of_a_name_counts_and_their_number_is_bounded() {
        let mut marks = Marks::default();
        marks.add("a".into(), 1);
        marks.add("a".into(), 2);
        assert_eq!(marks.marks, [("a".into(), 1)]);
        for number in 0..2 * MOST {
            marks.add(format!("m{number}").into(), 3);
        }
        assert_eq!(marks.marks.len(), MOST);
    }

    #[test]
    fn the_port_is_found_by_its_name_and_gets_each_mark_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let (class, devices) = (directory.path().join("class"), directory.path().join("dev"));
        for (port, name) in [("vport0p1", "org.qemu.guest"), ("vport0p2", "org.orlop.boot")] {
            std::fs::create_dir_all(class.join(port)).expect("made");
            std::fs::create_dir_all(&devices).expect("made");
            std::fs::write(class.join(port).join("name"), format!("{name}\n")).expect("written");
            std::fs::write(devices.join(port), "").expect("written");
        }
        let mut port = find_port(&class, &devices, PORT);
        assert!(port.is_some());
        let mut marks = Marks::default();
        for (name, time) in [("one", 1), ("two", 2)] {
            marks.add(name.into(), time);
            send(&mut marks, &mut port);
        }
        let sent = std::fs::read_to_string(devices.join("vport0p2")).expect("readable");
        assert_eq!(sent, "{\"mark\":\"one\",\"ns\":1}\n{\"mark\":\"two\",\"ns\":2}\n");
        assert_eq!(std::fs::read_to_string(devices.join("vport0p1")).expect("readable"), "");
        assert!(find_port(&class, &devices, "org.orlop.other").is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_the_parser_panic(text in ".{0,200}", start in "\\PC{0,20}") {
            let _ = Marks::parse(&text);
            let _ = Marks::parse(&format!("\n{{\"mark\":\"{start}\",\"ns\":{text}"));
        }
    }
}
