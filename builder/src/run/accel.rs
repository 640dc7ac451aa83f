//! Whether KVM works here, which is more than whether `/dev/kvm` exists: under nested
//! virtualization it may refuse the processor model, or start guests and then never end them.
//! So a tiny guest is run, once per boot of the host.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;

use crate::durable::{self, Name};
use crate::error::{Context as _, Id, Result};
use crate::process::Command;
use crate::run::qemu::{self, Version, accelerator, cpu_model};

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accel {
    /// The processor itself.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// The verdict on KVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kvm {
    /// A guest ran to its end.
    Usable,
    /// It did not; why.
    Unusable(String),
}

/// A guest of this size ends in a tenth of a second; a busy host may take longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// QEMU ends with `value << 1 | 1` when the guest writes `value` to the debug-exit port.
const PROBE_STATUS: i32 = (0x2a << 1) | 1;

/// Says whether KVM can be used, by running a probe unless `cache` has its verdict from this boot
/// of the host.
pub fn probe(qemu: &Version, cache: Option<&Path>) -> Kvm {
    let device = Path::new("/dev/kvm");
    // Not cached: whoever joins the right group need not wait for a boot.
    if let Err(error) = File::options().read(true).write(true).open(device) {
        return Kvm::Unusable(format!("`{}`: {error}", device.display()));
    }
    let key = format!("{} {qemu}", boot_id().unwrap_or_default());
    if let Some(verdict) = cache.and_then(|path| fs::read_to_string(path).ok())
        && let Some(verdict) = recall(&verdict, &key)
    {
        return verdict;
    }
    let verdict = match run_probe(Accel::Kvm, *qemu) {
        Ok(verdict) => verdict,
        Err(error) => Kvm::Unusable(error.chain()),
    };
    if let Some(path) = cache {
        // A verdict that is not kept is found again next time.
        drop(remember(path, &key, &verdict));
    }
    verdict
}

/// Where the verdict is kept: the user's cache directory.
pub fn cache_file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(caches.join("orlop").join("kvm"))
}

fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// The cache holds the key in its first line and the verdict in its second.
fn recall(text: &str, key: &str) -> Option<Kvm> {
    let (found, verdict) = text.split_once('\n')?;
    if found != key {
        return None;
    }
    match verdict.trim_end().split_once(' ') {
        None if verdict.trim_end() == "usable" => Some(Kvm::Usable),
        Some(("unusable", why)) => Some(Kvm::Unusable(why.to_owned())),
        _ => None,
    }
}

fn remember(path: &Path, key: &str, verdict: &Kvm) -> std::io::Result<()> {
    let verdict = match verdict {
        Kvm::Usable => "usable".to_owned(),
        Kvm::Unusable(why) => format!("unusable {}", why.replace('\n', " ")),
    };
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let file = tempfile::NamedTempFile::new_in(directory)?;
    fs::write(file.path(), format!("{key}\n{verdict}\n"))?;
    durable::persist(file, path, Name::Later)
}

/// Runs the probe guest.
fn run_probe(accel: Accel, version: Version) -> Result<Kvm> {
    let scratch = tempfile::Builder::new()
        .prefix("orlop-probe-")
        .tempdir()
        .or_fail(Id::Write, || "cannot make a temporary directory")?;
    let rom = scratch.path().join("probe.rom");
    fs::write(&rom, probe_rom()).or_fail(Id::Write, || format!("`{}`", rom.display()))?;
    let mut child = Command::new(qemu::QEMU.program)
        .args(["-machine", qemu::QEMU.machine, "-m", "64M", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-no-reboot", "-accel", accelerator(accel, version, false)])
        .args(["-cpu", cpu_model(accel, version)])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-bios"])
        .arg(&rom)
        .spawn(|command| {
            command.stdout(Stdio::null()).stderr(Stdio::piped());
        })?;
    Ok(wait(&mut child, PATIENCE))
}

/// Waits for the probe, but not for ever.
fn wait(child: &mut Child, patience: Duration) -> Kvm {
    let (ended, end) = mpsc::channel();
    let reader = child.stderr.take().map(|mut stderr| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            // The pipe's end is QEMU's end: what else could be read no longer matters then.
            drop(stderr.read_to_end(&mut text));
            let _gone = ended.send(());
            String::from_utf8_lossy(&text).into_owned()
        })
    });
    let in_time = end.recv_timeout(patience).is_ok();
    // Harmless if it has ended already.
    drop(child.kill());
    let status = child.wait();
    let stderr = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    if !in_time {
        let seconds = patience.as_secs_f32();
        return Kvm::Unusable(format!("a probe guest hung for {seconds} seconds"));
    }
    match status {
        Ok(status) if status.code() == Some(PROBE_STATUS) => Kvm::Usable,
        Ok(status) => {
            let first = stderr.lines().next().unwrap_or("it said nothing");
            Kvm::Unusable(format!("a probe guest ended with {status}: {first}"))
        }
        Err(error) => Kvm::Unusable(format!("a probe guest was lost: {error}")),
    }
}

/// A firmware of 64 KiB which does what broken virtualization is known to fail at: touches the
/// floating-point unit while it runs from ROM, and sleeps until interrupts wake it. After sixteen
/// ticks of the timer it writes to the debug-exit port.
fn probe_rom() -> Vec<u8> {
    const CODE: &[&[u8]] = &[
        &[0xfa],                               // 00 cli
        &[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0], // 01 ds = ss = 0
        &[0xbc, 0x00, 0x70],                   // 07 mov sp, 0x7000
        &[0xc7, 0x06, 0x20, 0x00, 0x75, 0x00], // 0a interrupt 8 = f000:0075
        &[0xc7, 0x06, 0x22, 0x00, 0x00, 0xf0],
        &[0x2e, 0x66, 0x0f, 0x01, 0x16, 0x81, 0x00], // 16 lgdt cs:[0x81]
        &[0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0], // 1d protected mode, for a moment:
        &[0xbb, 0x08, 0x00, 0x8e, 0xdb],             // 25 ds reaches all 4 GiB
        &[0x24, 0xfe, 0x0f, 0x22, 0xc0],
        &[0x66, 0xbb, 0xf0, 0x00, 0xe0, 0xfe], // 2f local APIC: enable it
        &[0x67, 0x66, 0xc7, 0x03, 0xff, 0x01, 0x00, 0x00],
        &[0x66, 0xbb, 0x50, 0x03, 0xe0, 0xfe], // 3d LINT0: interrupts of the old controller
        &[0x67, 0x66, 0xc7, 0x03, 0x00, 0x07, 0x00, 0x00],
        &[0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21], // 4b 8259: vectors from 8,
        &[0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21],
        &[0xb0, 0xfe, 0xe6, 0x21], // 5b and only the timer's line
        &[0xb0, 0x34, 0xe6, 0x43, 0xb0, 0x00, 0xe6, 0x40, 0xb0, 0x10, 0xe6, 0x40], // 5f 291 Hz
        &[0x9b, 0xdb, 0xe3],       // 6b finit
        &[0xb9, 0x10, 0x00],       // 6e sixteen ticks
        &[0xfb, 0xf4, 0xeb, 0xfd], // 71 sti; hlt, for ever
        &[0xb0, 0x20, 0xe6, 0x20], // 75 a tick: acknowledge, count,
        &[0x49, 0x75, 0x04, 0xb0, 0x2a, 0xe6, 0xf4], // 79 and end QEMU after the last
        &[0xcf],                   // 80 iret
        &[0x0f, 0x00, 0x87, 0x00, 0x0f, 0x00], // 81 GDT: 16 bytes at f0087
        &[0; 8],
        &[0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00],
    ];
    let mut rom = CODE.concat();
    rom.resize(0x1_0000, 0xf4);
    // The reset vector: jmp f000:0000.
    rom[0xfff0..0xfff5].copy_from_slice(&[0xea, 0x00, 0x00, 0x00, 0xf0]);
    rom
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_guest_ends_where_instructions_are_translated() {
        let qemu = Version::of_host().expect("install `qemu-system-x86`");
        assert_eq!(run_probe(Accel::Tcg, qemu).unwrap(), Kvm::Usable);
    }

    #[test]
    fn a_guest_that_hangs_is_ended_and_one_that_fails_is_quoted() {
        let start = |script: &str| {
            Command::new("sh")
                .args(["-c", script])
                .spawn(|command| {
                    command.stderr(Stdio::piped());
                })
                .unwrap()
        };
        let Kvm::Unusable(why) = wait(&mut start("echo no such register >&2; exit 3"), PATIENCE)
        else {
            panic!("a failing probe was believed");
        };
        assert_eq!(why, "a probe guest ended with exit status: 3: no such register");
        let hung = wait(&mut start("exec sleep 1000"), Duration::from_millis(500));
        assert_eq!(hung, Kvm::Unusable("a probe guest hung for 0.5 seconds".to_owned()));
    }

    #[test]
    fn a_verdict_lasts_until_the_host_boots_or_qemu_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache/kvm");
        for verdict in [Kvm::Usable, Kvm::Unusable("a probe\nhung".into())] {
            remember(&path, "boot-1 7.2", &verdict).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let want = match verdict {
                Kvm::Usable => Kvm::Usable,
                Kvm::Unusable(why) => Kvm::Unusable(why.replace('\n', " ")),
            };
            assert_eq!(recall(&text, "boot-1 7.2"), Some(want));
            assert_eq!(recall(&text, "boot-2 7.2"), None);
            assert_eq!(recall(&text, "boot-1 10.0"), None);
        }
        assert_eq!(recall("boot-1 7.2\nmaybe\n", "boot-1 7.2"), None);
    }
}
