//! `orlop doctor`: what this host has and what it lacks.

use crate::arguments::Global;
use crate::commands::{print, print_json};
use crate::doctor;
use crate::error::Result;
use crate::settings::Settings;

/// Prints the table.
///
/// # Errors
/// [`crate::error::Id::HostIncomplete`] if something is missing that building or running needs.
pub fn run(global: &Global, settings: &Settings) -> Result<()> {
    let report = doctor::examine(settings.store_path()?, &settings.mirrors);
    if global.json {
        print_json(&report)?
    } else {
        print(report.to_string())?
    }
    report.verdict()
}
