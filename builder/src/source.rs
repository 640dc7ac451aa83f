//! The closed set of sources that a recipe can name. Each can `fetch` (bring what it needs; the
//! only code that uses the network beside locking) and `build` (turn it into blobs and tree
//! nodes, offline). Packages are also locked here.

pub mod deb;
