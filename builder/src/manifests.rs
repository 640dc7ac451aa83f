//! Objects of Kubernetes that somebody applies to his cluster so that nodes of ours, and who looks after
//! them, may do what they do there. Each set is a value; the command prints it.

mod gvisor;
mod kata;
mod updater;
mod yaml;

use serde_json::Value;

pub use gvisor::{NodeLabel, gvisor};
pub use kata::kata;
pub use updater::{Subject, updater};

/// Objects, and what they are for.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifests {
    /// Lines for people, which stand above the objects.
    pub about: &'static str,
    /// The objects, in the order in which they are applied.
    pub objects: Vec<Value>,
}

impl Manifests {
    /// As `kubectl apply -f -` reads it.
    pub fn yaml(&self) -> String {
        let mut text: String = self.about.lines().map(comment).collect();
        for object in &self.objects {
            text += "---\n";
            text += &yaml::document(object);
        }
        text
    }
}

fn comment(line: &str) -> String {
    format!("# {line}").trim_end().to_owned() + "\n"
}
