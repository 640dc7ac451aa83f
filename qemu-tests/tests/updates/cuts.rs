//! The power that is cut in real upgrades, at a write that is drawn by lot; of what was not flushed then,
//! lots decide what has come to the disk.

use anyhow::{Context as _, Result, bail, ensure};
use qemu_tests::Orlop;
use qemu_tests::drive::Drive;
use qemu_tests::random::Random;
use qemu_tests::releases::Released;
use serde_json::json;

use crate::full;
use crate::node::{LIMIT, Node, Running};
use crate::slots::Slots;
use crate::world::world;

/// Writes of a machine, about: an upgrade that comes through before its cut says it better.
const FIRST_GUESS: Writes = Writes { upgrade: 200, trial: 24 };

/// How often the power is cut.
fn cuts() -> Result<u64> {
    match std::env::var("ORLOP_TEST_CUTS") {
        Ok(cuts) => cuts.parse().context("`ORLOP_TEST_CUTS` is no number"),
        Err(_) => Ok(if full() { 50 } else { 3 }),
    }
}

/// How many writes an upgrade takes.
#[derive(Debug, Clone, Copy)]
struct Writes {
    /// From the wish to the healthy trial.
    upgrade: u64,
    /// Of those, from the start of the trial's agent on.
    trial: u64,
}

/// In which part of an upgrade the power is cut, and after how many writes of it.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Never,
    /// From the wish on: while it comes, is armed, while the machine restarts, or in the trial.
    Anywhere(u64),
    /// From the start of the trial's agent on.
    InTrial(u64),
}

/// It comes back healthy on one of two releases, each of which is whole wherever the loader lists it, and
/// the upgrade after that is the next one to be cut; the last one comes through.
pub(crate) fn any_power_cut(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let [first, second, ..] = &world.good[..] else { bail!("there are two releases") };
    let both = [first, second];
    let mut random = Random::new()?;
    let seed = format!("with {}", random.told());
    orlop.measured(format!("power cuts {seed}"));
    let mut node = Node::new(first, &world.config("deadline = 540\n")?)?;
    let cuts = cuts()?;
    let mut expected = FIRST_GUESS;
    let mut number = 0;
    loop {
        // The second of three: CI has one in a trial.
        let cut = match number {
            last if last == cuts => Cut::Never,
            in_trial if in_trial % 3 == 1 => Cut::InTrial(random.below(expected.trial)),
            _ => Cut::Anywhere(random.below(expected.upgrade)),
        };
        let told = || format!("{cut:?}, number {number}, {seed}");
        let (mut on, drive) = node.start_on_drive(orlop)?;
        let runs = comes_back(&mut on, both).with_context(told)?;
        let next = if std::ptr::eq(runs, first) { second } else { first };
        let before = drive.writes();
        let came = upgraded(&mut on, &drive, next, cut);
        let was_cut = drive.was_cut();
        match came {
            Ok(_) if matches!(cut, Cut::Never) => return on.power_off(),
            Ok(writes) => expected = writes,
            Err(_) if was_cut => {}
            Err(error) => return Err(error.context(told())),
        }
        let panicked = on.machine.console().iter().any(|line| line.contains("panicked"));
        ensure!(!panicked, "{}: PID 1 panicked{}", told(), on.machine.so_far());
        let writes = drive.writes() - before;
        on.machine.cut_power();
        let (unflushed, lost) = drive.lose(&mut || random.number())?;
        let found = Slots::of(&node.disk())?.judge(&both).with_context(told)?;
        orlop.measured(format!(
            "{cut:?} of {} to {}: {} after {writes} writes, {lost} of {unflushed} lost; {found}",
            runs.version,
            next.version,
            if was_cut { "cut" } else { "it came through and was cut" },
        ));
        number += u64::from(was_cut);
    }
}

/// Waits until one of the two runs with all its units and is healthy: a trial may still be tried, or a
/// promotion be completed by a restart.
fn comes_back<'r>(on: &mut Running, releases: [&'r Released; 2]) -> Result<&'r Released> {
    let mut from = 0;
    loop {
        let start = on.starts()?;
        let runs = releases.into_iter().find(|release| release.root_hash == start.root_hash);
        let runs = runs.with_context(|| format!("{} runs", start.root_hash))?;
        from = match on.machine.wait_for_line(from, &["boot complete"], LIMIT) {
            Ok(line) => line + 1,
            Err(error) => return Err(error),
        };
        match on.is_healthy(runs) {
            Ok(_) => return Ok(runs),
            // It has gone on to another boot.
            Err(_) if on.agent.was_started_again() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Asks for the other release and waits until it is healthy, or the power goes.
fn upgraded(on: &mut Running, drive: &Drive, next: &Released, cut: Cut) -> Result<Writes> {
    let start = drive.writes();
    if let Cut::Anywhere(writes) = cut {
        drive.cut_after(writes, on.machine.power());
    }
    on.restarts(&json!({ "do": "upgrade", "version": next.version }))?;
    on.boots(next)?;
    let trial = drive.writes();
    if let Cut::InTrial(writes) = cut {
        drive.cut_after(writes, on.machine.power());
    }
    on.is_healthy(next)?;
    let end = drive.writes();
    Ok(Writes { upgrade: end - start, trial: end - trial })
}
