//! The closed set of sources that a recipe can name. Each can `lock` (say what it will take),
//! `fetch` (bring it into the store; the only code that uses the network beside `lock`) and
//! `build` (turn it into blobs and tree nodes, offline).

pub mod deb;
