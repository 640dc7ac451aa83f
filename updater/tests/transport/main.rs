//! How an image comes to the spare slot: by each way, past places that err, and wherever it is cut off.

#[path = "../shared/mod.rs"]
mod shared;

mod cut;
mod odd;
mod trust;
mod ways;
