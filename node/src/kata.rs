//! `orlop-node check-kata`: whether this machine can run pods in virtual machines. It loads what that takes,
//! tries it, and leaves what it has found for the unit that labels the Node object. What is wanting is one
//! line on the screen; the node works without.
//!
//! It is a unit of its own, for PID 1 only supervises, and modules, devices and firmware may take their time.

mod tee;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use formats::kata::{FOUND, Facts, Found, PATH};
use rustix::mount::MountFlags;

use crate::arguments::{Arguments, Failure};
use crate::images::{SOCKET, connect};
use crate::problems;
use crate::root::{Keep, PUBLIC, Root};

/// The unit that calls this.
const UNIT: &str = "kata";
/// Of the facts, and of what the kernel says in a file, in bytes.
const LIMIT: u64 = 1 << 20;
/// What the kernel says of the processors.
const PROCESSORS: &str = "/proc/cpuinfo";
/// PID 1's, which the kernel runs when it lacks a module.
const MODPROBE: &str = "/usr/lib/orlop/applets/modprobe";
/// For containerd to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Where a guest's memory lies which another process serves files to.
const SHARED_MEMORY: &str = "/dev/shm";
/// Of the machine's memory. A pod's memory counts in its control group wherever it lies; this keeps what
/// else lies there from taking all of it.
const SHARE: &str = "75%";

/// Whose virtualization the processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vendor {
    Amd,
    Intel,
}

impl Vendor {
    const fn module(self) -> &'static str {
        match self {
            Self::Amd => "kvm_amd",
            Self::Intel => "kvm_intel",
        }
    }
}

/// What is done to the machine, and not in a test.
trait Machine {
    /// Loads modules; what could not be loaded, in words.
    fn load(&self, modules: &[&str]) -> Result<(), String>;
    /// The handlers that containerd has.
    fn handlers(&self) -> Result<Vec<String>, String>;
    /// Makes room for the memory of guests.
    fn make_room(&self) -> io::Result<()>;
}

/// `check-kata [--root DIR]`.
///
/// # Errors
/// [`Failure::Usage`]; [`Failure::Failed`] if the image's facts cannot be read, or what was found cannot be
/// left. That the machine cannot run such pods is no failure: it would be the same the next time.
pub(crate) fn command(arguments: &mut Arguments) -> Result<(), Failure> {
    let root = Root::new(arguments.option("--root")?.unwrap_or_else(|| "/".to_owned()));
    arguments.finish()?;
    let failed =
        |what: &str, error: &dyn std::fmt::Display| Failure::Failed(format!("{what}: {error}"));
    let facts = root.read(PATH, LIMIT).map_err(|error| failed(PATH, &error))?;
    let facts = facts.ok_or_else(|| failed(PATH, &"it is not there"))?;
    let facts = serde_json::from_slice(&facts).map_err(|error| failed(PATH, &error))?;
    let (found, troubles) = check(&root, &facts, &Own);
    let text = serde_json::to_string(&found).map_err(|error| failed(FOUND, &error))? + "\n";
    root.write(FOUND, text.as_bytes(), PUBLIC, Keep::ThisBoot)
        .map_err(|error| failed(FOUND, &error))?;
    troubles.iter().for_each(|trouble| eprintln!("{trouble}"));
    problems::leave(&root, UNIT, &[], &troubles)
        .map_err(|error| failed("cannot tell PID 1", &error))
}

/// What the machine can do, and a line for what it cannot.
fn check(root: &Root, facts: &Facts, machine: &dyn Machine) -> (Found, Vec<String>) {
    let mut troubles = Vec::new();
    let can = is_known(facts, machine).and_then(|()| runs(root, facts, machine, &mut troubles));
    match can {
        Err(why) => {
            troubles.push(format!("no pod can run in a virtual machine (Kata): {why}"));
            (Found::default(), troubles)
        }
        Ok(()) if facts.tees.is_empty() => (Found { runs: true, tee: None }, troubles),
        Ok(()) => match tee::find(root, &facts.tees) {
            Ok(tee) => (Found { runs: true, tee: Some(tee) }, troubles),
            Err(why) => {
                // The image has handlers for confidential guests alone.
                troubles.push(format!(
                    "no pod can run in a confidential virtual machine (Kata): {why}"
                ));
                (Found::default(), troubles)
            }
        },
    }
}

/// That containerd took the file which the image has for it.
fn is_known(facts: &Facts, machine: &dyn Machine) -> Result<(), String> {
    let known = machine.handlers();
    let known = known.map_err(|why| format!("containerd does not say what it can start: {why}"))?;
    match facts.handlers.iter().find(|handler| !known.contains(handler)) {
        Some(handler) => Err(format!("containerd has no handler `{handler}`")),
        None => Ok(()),
    }
}

fn runs(
    root: &Root,
    facts: &Facts,
    machine: &dyn Machine,
    troubles: &mut Vec<String>,
) -> Result<(), String> {
    let processors =
        root.read(PROCESSORS, LIMIT).map_err(|error| format!("{PROCESSORS}: {error}"))?;
    let vendor = vendor(&String::from_utf8_lossy(&processors.unwrap_or_default())).ok_or(
        "the processor shows no virtualization (neither `vmx` nor `svm`): turn it on in the firmware, \
         or nesting at the hypervisor",
    )?;
    machine.load(&[vendor.module()])?;
    opens(root, "/dev/kvm")?;
    // QEMU's guests are spoken to by the kernel, those of the others through a socket of the hypervisor's.
    let of_qemu: &[&str] = if facts.hypervisor == "qemu" { &["vhost_vsock"] } else { &[] };
    machine.load(&[&["tun", "vhost_net"], of_qemu].concat())?;
    for device in ["/dev/net/tun", "/dev/vhost-net"] {
        opens(root, device)?;
    }
    if !of_qemu.is_empty() {
        opens(root, "/dev/vhost-vsock")?;
    }
    if facts.memory_in_shm
        && let Err(error) = machine.make_room()
    {
        troubles.push(format!(
            "the memory of virtual machines (Kata) has only half of the machine's, for \
             {SHARED_MEMORY} cannot be made larger: {error}"
        ));
    }
    Ok(())
}

/// By the flags that the kernel shows of each processor: it leaves out what the firmware has turned off, if
/// it knows.
fn vendor(processors: &str) -> Option<Vendor> {
    let flags = processors.lines().filter_map(|line| line.split_once(':'));
    let mut flags = flags.filter(|(key, _)| key.trim_end() == "flags").map(|(_, flags)| flags);
    let flags: Vec<_> = flags.next()?.split_whitespace().collect();
    let known = [("vmx", Vendor::Intel), ("svm", Vendor::Amd)];
    known.into_iter().find(|(flag, _)| flags.contains(flag)).map(|(_, vendor)| vendor)
}

/// That a device can be opened: its node alone says nothing, for those of modules that are not loaded are
/// there as well.
fn opens(root: &Root, device: &str) -> Result<(), String> {
    let file = OpenOptions::new().read(true).write(true).open(root.path(device));
    file.map(drop).map_err(|error| format!("{device} cannot be opened: {error}"))
}

/// The machine that this runs on.
struct Own;

impl Machine for Own {
    fn load(&self, modules: &[&str]) -> Result<(), String> {
        #[expect(clippy::disallowed_methods, reason = "the unit's deadline is its limit")]
        let mut command = Command::new(MODPROBE);
        let names = modules.join(", ");
        let cannot = |why: &str| format!("the kernel's module {names} cannot be loaded: {why}");
        let ended = command.arg("-a").args(modules).stdin(Stdio::null()).output();
        let ended = ended.map_err(|error| cannot(&error.to_string()))?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        match (said.trim(), ended.status.signal()) {
            ("", None) => Err(cannot("the image does not have it")),
            ("", Some(signal)) => Err(cannot(&format!("modprobe was ended by signal {signal}"))),
            (said, _) => Err(cannot(&said.replace('\n', "; "))),
        }
    }

    fn handlers(&self) -> Result<Vec<String>, String> {
        let mut containerd = connect(Path::new(SOCKET))?;
        let handlers = containerd.handlers(ANSWER).map_err(|error| error.to_string())?;
        eprintln!("containerd has the handlers {}", handlers.join(", "));
        Ok(handlers)
    }

    fn make_room(&self) -> io::Result<()> {
        // Nobody else's mount of another kind is made anew.
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        if !mounts.lines().any(|line| line.split(' ').nth(1) == Some(SHARED_MEMORY)) {
            return Err(io::Error::other("nothing is mounted there"));
        }
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let size = std::ffi::CString::new(format!("size={SHARE}")).map_err(io::Error::other)?;
        Ok(rustix::mount::mount_remount(SHARED_MEMORY, flags, size.as_c_str())?)
    }
}

#[cfg(test)]
mod tests;
