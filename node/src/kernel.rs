//! `orlop-node prepare-kernel`: what the kernel is told once before a pod runs. Modules for pods are
//! loaded, configfs is mounted for drivers, and the kernel is locked down.

mod configfs;
pub(crate) mod lockdown;
mod modules;

use crate::arguments::{Arguments, Failure};
use crate::problems;
use crate::root::Root;

/// The unit that calls this.
const UNIT: &str = "kernel";

/// `prepare-kernel [--root DIR]`.
///
/// # Errors
/// [`Failure::Usage`]; [`Failure::Failed`] if PID 1 cannot be told what is wrong. A kernel that
/// cannot be locked down is told and is no failure: trying again would change nothing, and a node
/// whose pods wait for ever is of no use.
pub(crate) fn command(arguments: &mut Arguments) -> Result<(), Failure> {
    let root = Root::new(arguments.option("--root")?.unwrap_or_else(|| "/".to_owned()));
    arguments.finish()?;
    let mut troubles = Vec::new();
    if root.is_the_machines() {
        troubles.extend(modules::load(&root));
        if let Err(error) = configfs::mount() {
            troubles.push(format!("cannot mount configfs on {}: {error}", configfs::PLACE));
        }
    }
    troubles.extend(lockdown::raise(&root));
    troubles.iter().for_each(|trouble| eprintln!("{trouble}"));
    problems::leave(&root, UNIT, &[], &troubles)
        .map_err(|error| Failure::Failed(format!("cannot tell PID 1: {error}")))
}
