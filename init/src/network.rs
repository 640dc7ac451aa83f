//! What the unit `network` runs: links, addresses, names, the clock, and whether the API server can
//! be reached.

pub mod connectivity;
pub mod identity;
pub mod net;
pub mod service;
pub mod time;

use std::path::Path;
use std::process::ExitCode;

/// Where the kernel takes the host's name from its root user (kernel/utsname_sysctl.c), whatever
/// capabilities that has left; sethostname(2) asks for `CAP_SYS_ADMIN`.
pub(crate) const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// Where `hosts` and `resolv.conf` are, to which the names in `/etc` lead: what else is in `/etc`
/// decides what runs, and is not for who reads the network.
pub(crate) const NAMES: &str = "/run/orlop/network";
/// In nanoseconds.
const SECOND: i128 = 1_000_000_000;

/// Runs it as the kernel's links are.
pub fn main() -> ExitCode {
    let floor = crate::time::floor(Path::new(crate::time::FLOOR));
    let surroundings = service::Surroundings {
        etc: NAMES.into(),
        system: formats::system::PATH.into(),
        start: |system, kept| {
            let network = net::start(net::Places::default(), system, kept);
            network.map(Some).map_err(|error| error.to_string())
        },
        clock: time::Clock::of_the_kernel(floor.map_or(0, |floor| i128::from(floor) * SECOND)),
        set_hostname: |name| std::fs::write(HOSTNAME, name),
    };
    crate::told("network", service::run(&surroundings))
}
