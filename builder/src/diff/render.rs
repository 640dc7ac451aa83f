//! A difference for people: as text, as Markdown for a pull request, as a page of its own.
//!
//! [`document`] decides what is said and in which order, once for all three; what comes from images
//! is made harmless there, and each form escapes in addition what has a meaning in it.

pub mod document;
mod html;
mod markdown;
mod text;
mod treemap;

pub use html::html;
pub use markdown::{LIMIT, markdown};
pub use text::{FEW, text};

#[cfg(test)]
mod tests;
