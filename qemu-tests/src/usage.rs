//! What programs have taken of this host's processors, seconds, by `/proc` (proc_pid_stat(5)).

use std::fs;

use anyhow::{Context as _, Result, bail};

/// Of QEMU, the only child of this `orlop run`.
///
/// # Errors
/// It has ended, or is not the only child.
pub(crate) fn of_qemu(orlop: u32) -> Result<f64> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{orlop}/task"))? {
        let text = fs::read_to_string(task?.path().join("children"))?;
        children.extend(text.split_ascii_whitespace().map(str::to_owned));
    }
    let [qemu] = &children[..] else { bail!("`orlop run` has {} children", children.len()) };
    seconds(&fs::read_to_string(format!("/proc/{qemu}/stat"))?)
}

/// `utime` and `stime` of a text of `/proc/PID/stat`, the 14th and the 15th field.
fn seconds(stat: &str) -> Result<f64> {
    // The name of the program, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("`/proc/PID/stat` has no name in it")?;
    let mut times = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let mut time = || times.next().context("`/proc/PID/stat` is too short")?.context("a time");
    let ticks = time()? + time()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_stand_after_a_name_that_holds_anything() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!("7 (a) b (c) S 1 7 7 0 -1 4194560 9 8 7 6 {ticks} {ticks} 5 4 20 0 1");
        assert!((seconds(&stat).unwrap() - 2.0).abs() < 1e-9);
        assert!(seconds("7 (a) S 1").is_err() && seconds("").is_err());
    }
}
