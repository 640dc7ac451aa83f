//! What a person wrote, read into types that cannot be wrong.

pub mod model;

pub use model::Recipe;
