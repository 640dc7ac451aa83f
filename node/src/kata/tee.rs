//! Whether the host can keep the memory of guests from itself. The kernel's KVM says so when its module is
//! loaded: what it takes is in the processor, the firmware and the kernel, and KVM has asked all three.

use formats::kata::Tee;

use super::LIMIT;
use crate::root::Root;

/// What a kind needs of the host.
struct Needs {
    /// The parameter of KVM's module that is `Y` if all is there.
    parameter: &'static str,
    /// What KVM speaks to, if it is a device.
    device: Option<&'static str>,
    /// Where to look if it is not there.
    cure: &'static str,
}

const fn needs(tee: Tee) -> Needs {
    match tee {
        Tee::Snp => Needs {
            parameter: "/sys/module/kvm_amd/parameters/sev_snp",
            device: Some("/dev/sev"),
            cure: "it takes an EPYC of the third generation or later, SMEE, SNP and the RMP table turned \
                   on in the firmware, the module `ccp`, and Linux 6.11",
        },
        Tee::Tdx => Needs {
            parameter: "/sys/module/kvm_intel/parameters/tdx",
            device: None,
            cure: "it takes a Xeon of the fifth generation or later, TDX turned on in the firmware, and \
                   Linux 6.16 with `kvm_intel.tdx=1` on its command line",
        },
    }
}

/// Which of these the host has.
///
/// # Errors
/// Why it has none of them, and what it takes.
pub(super) fn find(root: &Root, wanted: &[Tee]) -> Result<Tee, String> {
    let mut reasons = Vec::new();
    for &tee in wanted {
        let Needs { parameter, device, cure } = needs(tee);
        let reason = match root.read(parameter, LIMIT) {
            Ok(Some(value)) if value.trim_ascii() == b"Y" => {
                match device.map(|it| super::opens(root, it)) {
                    None | Some(Ok(())) => return Ok(tee),
                    Some(Err(why)) => why,
                }
            }
            Ok(Some(_)) => format!("KVM says that it is off ({parameter})"),
            Ok(None) => format!("there is no {parameter}"),
            Err(error) => format!("{parameter}: {error}"),
        };
        reasons.push(format!("no {}, for {reason}; {cure}", tee.title()));
    }
    Err(reasons.join(". And "))
}
