//! `orlop run`: boots an image in QEMU, watches it, and ends with it.
//!
//! The image is never written: the guest gets an overlay, which is thrown away unless `--disk`
//! keeps it. What QEMU is told is planned by [`plan`], a pure function of the options and of what
//! the host offers; when a boot is over, and how it ended, is decided by `watch`, which is pure
//! too. `guest` starts QEMU and carries bytes between the two.

pub mod accel;
mod config;
mod console;
pub mod disk;
pub mod firmware;
mod guest;
mod kept;
pub mod options;
pub mod plan;
pub mod ports;
pub mod qemu;
mod qmp;
mod usage;
mod watch;

use std::path::PathBuf;

use serde::Serialize;

use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Progress;
use crate::run::firmware::{Firmware, Flash};

pub use accel::Accel;
pub use options::{AccelChoice, Forward, Options, Serial, Timeout, Until};
pub use usage::Usage;
pub use watch::{Ending, Mark};

/// How a run went.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// Why it is over.
    pub ending: Ending,
    /// What ran the guest's instructions.
    pub accel: Accel,
    /// The version of QEMU: guest times depend on it.
    pub qemu: String,
    /// The boot marks in the order in which they came.
    pub marks: Vec<Mark>,
    /// What QEMU cost the host; unknown if QEMU ended before it could be asked.
    pub usage: Option<Usage>,
}

/// How somebody outside the guest takes part in a run. What is reported when the run is over is
/// of no consequence.
#[derive(Debug, Clone)]
pub struct Reporter(std::sync::mpsc::Sender<watch::Event>);

impl Reporter {
    /// The guest has come as far as the mark of this name, which it cannot see itself.
    pub fn reached(&self, mark: &str) {
        self.send(watch::Event::Seen(mark.to_owned()));
    }

    /// A line for the user, between two lines of the console if both are on one terminal.
    pub fn tell(&self, line: String) {
        self.send(watch::Event::Told(line));
    }

    /// As if Ctrl-C were pressed.
    pub fn interrupt(&self) {
        self.send(watch::Event::Interrupt);
    }

    /// The run makes no sense any more: the guest is ended at once.
    pub fn end(&self) {
        self.send(watch::Event::Terminate(None));
    }

    fn send(&self, event: watch::Event) {
        drop(self.0.send(event));
    }
}

/// Boots the image and stays until the guest is gone.
///
/// The console goes where `options.serial` says, marks and figures go to `progress`.
/// Must be called from a thread that lives as long as the guest: QEMU dies with it.
///
/// # Errors
/// The configuration is wrong ([`Id::NodeConfig`]), the host lacks something ([`Id::MissingTool`], [`Id::FirmwareMissing`], [`Id::KvmUnusable`],
/// [`Id::QemuTooOld`]), the image is not ours ([`Id::NotOurImage`]), or the guest did not do what
/// it should: [`Id::GuestEnded`], [`Id::GuestPanic`], [`Id::GuestReset`], [`Id::GuestTimeout`],
/// [`Id::GuestKeptRunning`]. Ports and files to write are looked at first ([`Id::PortTaken`],
/// [`Id::ImageWritten`]).
pub fn run(options: &Options, progress: &Progress) -> Result<Summary> {
    run_beside(options, progress, drop)
}

/// As [`run`], with somebody outside the guest who has a say in the run: `beside` is called when
/// the guest is about to start.
///
/// # Errors
/// Those of [`run`].
pub fn run_beside(
    options: &Options,
    progress: &Progress,
    beside: impl FnOnce(Reporter),
) -> Result<Summary> {
    let image = disk::Image::open(&options.image)?;
    image.check_architecture()?;
    kept::spare_the_image(image.path(), options)?;
    ports::check(&options.forward)?;
    let qemu = qemu::Version::of_host()?;
    let scratch = tempfile::Builder::new()
        .prefix("orlop-run-")
        .tempdir()
        .or_fail(Id::Write, || "cannot make a temporary directory")?;
    let probe = || accel::probe(&qemu, accel::cache_file().as_deref());
    let accel = match options.icount {
        Some(_) => Accel::Tcg,
        None => choose_accel(options.accel, probe, progress)?,
    };
    let boot = boot(options, &image, scratch.path())?;
    let config = config::prepare(options, &image, scratch.path(), progress)?;
    let disk = disk::prepare(&image, options, scratch.path())?;
    let parts = plan::Parts {
        accel,
        qemu,
        boot,
        disk,
        serial: scratch.path().join("serial.sock"),
        marks: scratch.path().join("marks.sock"),
        config,
    };
    let plan = plan::plan(options, &parts);
    let (ending, marks, usage) =
        guest::run(&plan, &parts, options, scratch.path(), progress, beside)?;
    Ok(Summary { ending, accel, qemu: qemu.to_string(), marks, usage })
}

fn choose_accel(
    choice: AccelChoice,
    probe: impl FnOnce() -> accel::Kvm,
    progress: &Progress,
) -> Result<Accel> {
    if choice == AccelChoice::Tcg {
        return Ok(Accel::Tcg);
    }
    match (probe(), choice) {
        (accel::Kvm::Usable, _) => Ok(Accel::Kvm),
        (accel::Kvm::Unusable(why), AccelChoice::Kvm) => Err(Error::new(
            Id::KvmUnusable,
            format!("KVM cannot be used on this host: {why}"),
        )
        .hint("leave out `--accel kvm`: QEMU then translates the guest's code, which is slower")),
        (accel::Kvm::Unusable(why), _) => {
            progress.note(format!("no KVM ({why}): QEMU translates the guest's code, slowly"));
            Ok(Accel::Tcg)
        }
    }
}

fn boot(options: &Options, image: &disk::Image, scratch: &std::path::Path) -> Result<plan::Boot> {
    if options.direct {
        return image.direct_boot();
    }
    let firmware = match (&options.uefi_code, &options.uefi_vars) {
        (Some(code), Some(vars)) => Firmware { code: absolute(code)?, vars: absolute(vars)? },
        _ => Firmware::find(std::path::Path::new("/"))?,
    };
    // The firmware writes its variables: into a copy, kept only where the disk is kept too.
    let vars = match &options.disk {
        Some(disk) => kept::variables(disk),
        None => scratch.join("vars.fd"),
    };
    if !vars.exists() {
        firmware.copy_vars(&vars)?;
    }
    Ok(plan::Boot::Uefi { code: Flash::of(firmware.code)?, vars: Flash::of(absolute(&vars)?)? })
}

/// QEMU runs in the temporary directory, so every path it is given must be absolute.
fn absolute(path: &std::path::Path) -> Result<PathBuf> {
    path.canonicalize().or_fail(Id::Read, || format!("cannot find `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Mode;
    use accel::Kvm;

    #[test]
    fn kvm_is_taken_where_it_works_and_demanded_only_by_name() {
        let choose =
            |choice, verdict: Kvm| choose_accel(choice, || verdict, &Progress::new(Mode::None));
        let hung = || Kvm::Unusable("a probe guest hung".to_owned());
        assert_eq!(choose(AccelChoice::Auto, Kvm::Usable).unwrap(), Accel::Kvm);
        assert_eq!(choose(AccelChoice::Auto, hung()).unwrap(), Accel::Tcg);
        assert_eq!(choose(AccelChoice::Kvm, Kvm::Usable).unwrap(), Accel::Kvm);
        assert_eq!(choose(AccelChoice::Tcg, Kvm::Usable).unwrap(), Accel::Tcg);
        let error = choose(AccelChoice::Kvm, hung()).unwrap_err();
        assert_eq!(error.id(), Id::KvmUnusable);
        assert_eq!(error.chain(), "KVM cannot be used on this host: a probe guest hung");
    }
}
