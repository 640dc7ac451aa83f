//! What a process has cost the host, from `/proc` (`proc_pid_stat(5)`, `proc_pid_status(5)`).

use std::fs;

use serde::Serialize;

/// The unit of times in `/proc/PID/stat`: `USER_HZ`, which is 100 for every program on x86-64.
const TICKS_PER_SECOND: f64 = 100.0;

/// What QEMU has cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Usage {
    /// Processor time of all its threads, in seconds: steady on a busy host, unlike wall time.
    pub cpu_seconds: f64,
    /// The largest resident set so far, in bytes.
    pub peak_memory: u64,
}

impl Usage {
    /// Of a process that still runs; nothing if it does not.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        Some(Self {
            cpu_seconds: cpu_seconds(&read("stat")?)?,
            peak_memory: peak_memory(&read("status")?)?,
        })
    }

    /// The largest resident set so far, in whole MiB.
    pub fn peak_mib(&self) -> u64 {
        self.peak_memory >> 20
    }
}

/// User and system time are fields 14 and 15; the second, the program's name, may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut times = after_name.split_whitespace().skip(11).map(str::parse::<u32>);
    let ticks = f64::from(times.next()?.ok()?) + f64::from(times.next()?.ok()?);
    Some(ticks / TICKS_PER_SECOND)
}

fn peak_memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_shift_the_times() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 1 2 3 4 1234 66 0 0 20 0 5 0 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(13.0));
        for bad in ["", "42 (qemu) S 1 2", "42 (qemu S 1"] {
            assert_eq!(cpu_seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn our_own_figures_can_be_read() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.peak_memory > 1024 * 1024, "{usage:?}");
        assert!(usage.cpu_seconds >= 0.0, "{usage:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            cpu_seconds(&text);
            peak_memory(&text);
        }
    }
}
