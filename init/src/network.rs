//! What the unit `network` runs: links, addresses, names, the clock, and whether the API server can
//! be reached.

pub mod connectivity;
pub mod identity;
pub mod net;
pub mod time;
