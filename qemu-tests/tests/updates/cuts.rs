//! The power that is cut at random moments of real upgrades.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use qemu_tests::Orlop;
use serde_json::json;

use crate::node::Node;
use crate::world::world;

/// Numbers of an xorshift generator (Marsaglia 2003), from a seed that is told.
struct Random(u64);

impl Random {
    fn new() -> Result<Self> {
        let seed = match std::env::var("ORLOP_TEST_SEED") {
            Ok(seed) => seed.parse().context("`ORLOP_TEST_SEED` is no number")?,
            Err(_) => {
                let bytes = std::fs::read("/proc/sys/kernel/random/uuid")?;
                bytes.iter().fold(1, |seed: u64, byte| seed.rotate_left(7) ^ u64::from(*byte))
            }
        };
        Ok(Self(seed.max(1)))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn cuts() -> Result<u64> {
    match std::env::var("ORLOP_TEST_CUTS") {
        Ok(cuts) => cuts.parse().context("`ORLOP_TEST_CUTS` is no number"),
        Err(_) => Ok(50),
    }
}

/// While it is staged, armed, restarted or tried: it comes back healthy on one of the two releases, and
/// the last upgrade comes through.
pub(crate) fn any_power_cut(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let [first, second, ..] = &world.good[..] else { bail!("there are two releases") };
    let mut random = Random::new()?;
    orlop.measured(format!("power cuts by ORLOP_TEST_SEED={}", random.0));
    let mut node = Node::new(first, &world.config("deadline = 540\n")?)?;
    for cut in 0..=cuts()? {
        let mut on = node.start(orlop)?;
        // A trial may still be tried, or a promotion be completed by a restart.
        let mut start = on.starts().with_context(|| format!("cut {cut}"))?;
        let runs = loop {
            let known = [first, second].into_iter().find(|it| it.root_hash == start.root_hash);
            let runs = known.with_context(|| format!("{} runs", start.root_hash))?;
            if on.is_healthy(runs).is_ok() {
                break runs;
            }
            start = on.starts().with_context(|| format!("cut {cut}"))?;
        };
        let next = if std::ptr::eq(runs, first) { second } else { first };
        let upgrade = json!({ "do": "upgrade", "version": next.version });
        if cut == cuts()? {
            on.restarts(&upgrade)?;
            on.boots(next)?;
            on.is_healthy(next)?;
            return on.power_off();
        }
        let from = on.machine.console().len();
        on.agent.send(&format!("ask {upgrade}"))?;
        // In the first two thirds of them while it comes, in the others after it restarts.
        let later = random.below(3) == 0;
        if later {
            on.machine.wait_for_line(from, &["is tried"], crate::node::LIMIT)?;
        }
        let moment = Duration::from_millis(random.below(60_000));
        let panicked = on.machine.wait_for_line(from, &["orlop", "panicked"], moment);
        ensure!(panicked.is_err(), "PID 1 panicked{}", on.machine.so_far());
        orlop.measured(format!("cut {cut}: {} of {moment:?}, later: {later}", runs.version));
        on.machine.cut_power();
    }
    Ok(())
}
