//! Which QEMU the host has, and which processors may be asked of it.

use std::fmt;

use formats::architecture::{Architecture, Qemu};

use crate::error::{Error, Id, Result};
use crate::process::Command;
use crate::run::Accel;

/// The emulator, and the machine that it is. Images for other architectures are not made yet.
pub const QEMU: Qemu = Architecture::MADE.qemu();

/// The oldest version whose command line we speak: `-action` came with 6.0.
pub const LEAST: Version = Version { major: 6, minor: 0 };

/// A version of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Changes every April.
    pub major: u16,
    /// Changes with each release in between.
    pub minor: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// Reads what the emulator prints when asked for its version.
    pub fn parse(output: &str) -> Option<Self> {
        let (_, rest) = output.lines().next()?.split_once(" version ")?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next()?.parse().ok();
        Some(Self { major: next()?, minor: next()? })
    }

    /// Asks the host's QEMU.
    ///
    /// # Errors
    /// [`Id::MissingTool`] without QEMU, [`Id::QemuTooOld`] below [`LEAST`].
    pub fn of_host() -> Result<Self> {
        let output = Command::new(QEMU.program).arg("--version").run()?;
        Self::check(&String::from_utf8_lossy(&output))
    }

    fn check(output: &str) -> Result<Self> {
        let first = output.lines().next().unwrap_or_default();
        let error = |what: String| {
            Error::new(Id::QemuTooOld, what).hint(format!("install QEMU {LEAST} or later"))
        };
        let version = Self::parse(output)
            .ok_or_else(|| error(format!("cannot find a version of QEMU in `{first}`")))?;
        if version >= LEAST {
            return Ok(version);
        }
        Err(error(format!("QEMU {version} is too old")))
    }
}

/// The processor model to ask for.
///
/// Where instructions are translated, copying and clearing memory with `rep movsb` takes a step
/// for each byte: a kernel that is not told of fast string operations moves words instead.
///
/// Before QEMU 10 the translation of `cmpxchg16b` may corrupt the flags, and Linux 6.12, which takes
/// memory by it, double-faults: a kernel that is not told of it has another way.
pub fn cpu_model(accel: Accel, version: Version) -> &'static str {
    match accel {
        Accel::Kvm => "host",
        Accel::Tcg if version.major >= 10 => "max,erms=off,fsrm=off",
        Accel::Tcg => "max,erms=off,fsrm=off,cx16=off",
    }
}

/// Whether guest processors may be translated by threads of their own.
///
/// Before QEMU 8.1 a thread that translates code may miss that another one rewrites it: a kernel
/// that patches a jump label then dies of its own breakpoint.
pub fn has_threads(accel: Accel, version: Version) -> bool {
    match accel {
        Accel::Kvm => true,
        Accel::Tcg => version.major >= 10,
    }
}

/// The value of `-accel`. Instructions can be counted in one thread only.
pub fn accelerator(accel: Accel, version: Version, counts: bool) -> &'static str {
    match accel {
        Accel::Kvm => "kvm",
        Accel::Tcg if has_threads(accel, version) && !counts => "tcg",
        Accel::Tcg => "tcg,thread=single",
    }
}

/// How many processors a guest gets that nobody has counted: where they share one thread, a
/// second one only makes work.
pub fn default_cpus(accel: Accel, version: Version) -> u8 {
    if has_threads(accel, version) { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_read_as_distributions_print_them() {
        for (output, want) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright", (7, 2)),
            ("QEMU emulator version 10.0.2 (qemu-10.0.2-1.fc42)", (10, 0)),
            ("QEMU emulator version 10.2.50 (v10.1.0-1-gabcdef-dirty)", (10, 2)),
            ("QEMU emulator version 9.1", (9, 1)),
        ] {
            let want = Version { major: want.0, minor: want.1 };
            assert_eq!(Version::parse(output), Some(want), "{output}");
        }
        for output in ["", "QEMU", "QEMU emulator version ", "QEMU emulator version x.y", "\n1.2"] {
            assert_eq!(Version::parse(output), None, "{output:?}");
        }
    }

    #[test]
    fn an_old_or_unknown_emulator_is_refused() {
        let error = Version::check("QEMU emulator version 5.2.0 (Debian)\n").unwrap_err();
        assert_eq!((error.id(), error.chain().as_str()), (Id::QemuTooOld, "QEMU 5.2 is too old"));
        assert_eq!(error.hints(), ["install QEMU 6.0 or later"]);
        assert_eq!(Version::check("something else\n").unwrap_err().id(), Id::QemuTooOld);
    }

    #[test]
    fn an_emulator_whose_threads_break_guests_gets_one_thread_and_one_processor() {
        let v = |major, minor| Version { major, minor };
        for (accel, version, want, cpus) in [
            (Accel::Tcg, v(7, 2), "tcg,thread=single", 1),
            (Accel::Tcg, v(9, 2), "tcg,thread=single", 1),
            (Accel::Tcg, v(10, 0), "tcg", 2),
            (Accel::Tcg, v(11, 1), "tcg", 2),
            (Accel::Kvm, v(7, 2), "kvm", 2),
        ] {
            assert_eq!(accelerator(accel, version, false), want, "{accel:?} {version}");
            let counting = accelerator(Accel::Tcg, version, true);
            assert_eq!(counting, "tcg,thread=single", "{version}");
            assert_eq!(default_cpus(accel, version), cpus, "{accel:?} {version}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            Version::parse(&text);
        }
    }
}
