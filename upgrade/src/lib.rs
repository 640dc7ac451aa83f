//! Brings nodes of a Kubernetes cluster to another release: cordons a node, evicts its pods, asks its
//! updater by annotations of the Node object, waits for what comes of it, uncordons it; then the next.
//!
//! [`rollout`] decides, without input or output; [`check`] says beforehand what stands against it and what
//! would be done; [`api`] speaks with the API server and [`run`](mod@run) joins them. This crate alone links
//! an asynchronous runtime, because the client of Kubernetes wants one: it runs in one thread, inside of
//! the command.

pub mod api;
pub mod budgets;
pub mod check;
pub mod known;
pub mod mark;
pub mod node;
pub mod pods;
pub mod rollout;
pub mod run;
pub mod skew;
mod text;
