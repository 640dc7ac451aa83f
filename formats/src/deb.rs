//! What a Debian archive is made of: control data, versions, dependencies, release files and the
//! outer shell of a `.deb`.
//!
//! Formats: deb822(5), deb-version(7), deb-control(5), deb(5) of the dpkg manual, chapters 5 and 7
//! of the Debian policy, and the repository format of the Debian wiki. Compression and tar are
//! not decoded here; signatures are not checked here.

pub mod ar;
pub mod control;
pub mod copyright;
pub mod date;
pub mod dependency;
pub mod release;
pub mod stamp;
pub mod version;
pub mod wish;

pub use control::{ControlError, Field, Paragraph, paragraphs};
pub use dependency::{Alternative, Dependency, DependencyError, Operator, parse_dependencies};
pub use release::{Release, ReleaseError};
pub use stamp::{Stamp, StampError};
pub use version::{Version, VersionError};
pub use wish::{Pin, Wish, WishError};
