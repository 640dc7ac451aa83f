//! The node's clock, set by time servers (SNTP). [`keeper`] decides when to ask whom and what to do
//! with the answer; [`ask`] is the exchange itself, in a thread, for it waits.

pub mod ask;
pub mod keeper;
pub mod sntp;
