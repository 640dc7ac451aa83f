//! The workflow against a repository in memory: what it takes, what it refuses and why.

mod attacks;
mod delegations;
mod editions;
mod interruptions;
mod recovery;
mod world;
