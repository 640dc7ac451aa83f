//! `orlop manifests`: objects of Kubernetes to apply to a cluster.

use crate::arguments::{Global, RecipeArgs};
use crate::commands::{print, print_json};
use crate::error::{Error, Id, Result};
use crate::manifests::{Manifests, NodeLabel, Subject, gvisor, kata, updater};
use crate::recipe;

/// What they are for.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The RuntimeClass of pods in gVisor's sandbox
    Gvisor {
        /// A label of the nodes that have gVisor, where not all have
        #[arg(long, value_name = "LABEL=VALUE")]
        on: Option<NodeLabel>,
    },
    /// What who upgrades nodes by their Node objects may do
    Updater {
        /// Who may: user:NAME, group:NAME or serviceaccount:NAMESPACE/NAME; may be repeated. Without, the
        /// role is printed alone
        #[arg(long = "for", value_name = "SUBJECT")]
        subjects: Vec<Subject>,
    },
    /// A RuntimeClass for each way in which the image of a recipe runs pods in virtual machines
    Kata {
        #[command(flatten)]
        recipe: RecipeArgs,
    },
}

/// Prints them.
///
/// # Errors
/// [`Id::Stdout`]; those of loading the recipe, [`Id::RecipeCheck`] if it has no `[kata]`.
pub fn run(command: &Command, global: &Global) -> Result<()> {
    match command {
        Command::Gvisor { on } => show(&gvisor(on.as_ref()), global),
        Command::Updater { subjects } => show(&updater(subjects), global),
        Command::Kata { recipe } => {
            let loaded = recipe::load(&recipe.recipe, recipe.profile.as_deref())?;
            let Some(table) = &loaded.recipe.kata else {
                let message = format!("`{}` has no `[kata]`", recipe.recipe.display());
                return Err(Error::new(Id::RecipeCheck, message)
                    .hint("`recipes/worker.toml` has, and docs/kata.md explains it"));
            };
            show(&kata(table), global)
        }
    }
}

/// As YAML, or the same as JSON.
fn show(manifests: &Manifests, global: &Global) -> Result<()> {
    if global.json {
        return print_json(&serde_json::json!({ "objects": manifests.objects }));
    }
    print(manifests.yaml())
}
