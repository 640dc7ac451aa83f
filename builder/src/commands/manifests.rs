//! `orlop manifests`: objects of Kubernetes to apply to a cluster.

use crate::arguments::Global;
use crate::commands::{print, print_json};
use crate::error::Result;
use crate::manifests::{Manifests, Subject, updater};

/// What they are for.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// What who upgrades nodes by their Node objects may do
    Updater {
        /// Who may: user:NAME, group:NAME or serviceaccount:NAMESPACE/NAME; may be repeated. Without, the
        /// role is printed alone
        #[arg(long = "for", value_name = "SUBJECT")]
        subjects: Vec<Subject>,
    },
}

/// Prints them.
///
/// # Errors
/// [`crate::error::Id::Stdout`].
pub fn run(command: &Command, global: &Global) -> Result<()> {
    let Command::Updater { subjects } = command;
    show(&updater(subjects), global)
}

/// As YAML, or the same as JSON.
fn show(manifests: &Manifests, global: &Global) -> Result<()> {
    if global.json {
        return print_json(&serde_json::json!({ "objects": manifests.objects }));
    }
    print(manifests.yaml())
}
