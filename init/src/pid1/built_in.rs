//! The units that every node has: this binary again, under the names `network` and `log`. They are
//! units like others, with two differences: PID 1 and they speak with each other
//! ([`crate::message`]), by which each is asked whether it hangs, and `log` is stopped when nothing else runs.

use std::path::Path;
use std::time::Duration;

use crate::unit::{Asked, Liveness, Ready, Unit, UnitError};

/// Which of them a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// What brings the node into the network.
    Network,
    /// What reads the output of the others, and so must outlive them.
    Log,
}

/// Where `log` writes. It may write nowhere else, so this is there before it starts.
pub const LOGS: &str = "/var/log/orlop";

/// Neither waits in its loop for a disk or the network, so this is long, on a slow machine too.
const PROBE: Liveness = Liveness {
    asked: Asked::Channel,
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(20),
    failures: 3,
};

/// Each, and its text as a file would have it.
const UNITS: [(BuiltIn, &str, &str); 2] = [
    (BuiltIn::Log, "log.toml", include_str!("built_in/log.toml")),
    (BuiltIn::Network, "network.toml", include_str!("built_in/network.toml")),
];

/// Both.
///
/// # Errors
/// Never, as a test shows.
pub fn units() -> Result<Vec<Unit>, UnitError> {
    let read = |(built_in, file, text)| {
        let unit = Unit::parse(Path::new(file), text)?;
        Ok(Unit { built_in: Some(built_in), ready: Ready::Said, probe: Some(PROBE), ..unit })
    };
    UNITS.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initrd::INIT_IN_ROOT;

    #[test]
    fn their_texts_are_good_and_name_this_program() {
        let units = units().expect("good texts");
        for unit in &units {
            let kept = |name| unit.sandbox.writable.iter().flatten().any(|path| path.0 == name);
            match unit.built_in {
                Some(BuiltIn::Log) => assert!(unit.exec[2] == LOGS && kept(Path::new(LOGS))),
                _ => assert!(kept(Path::new(crate::network::HOSTNAME))),
            }
            assert!(unit.sandbox.capabilities.is_some() && unit.sandbox.system_calls.is_some());
            assert_eq!(unit.exec[..2], [INIT_IN_ROOT.to_owned(), unit.name.to_string()]);
            assert_eq!(unit.cgroup.below(Path::new("/")), Path::new("/").join(unit.name.as_str()));
        }
        assert_eq!(units.len(), 2);
    }
}
