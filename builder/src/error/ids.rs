//! The table of all error ids. The two digits after `E` are the exit status.

use super::Exit;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $exit:ident;)*) => {
        /// A kind of failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Id { $($(#[$doc])* $name,)* }

        impl Id {
            /// All kinds, in order of their codes.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code, such as `E0301`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The exit class.
            pub fn exit(self) -> Exit {
                match self { $(Self::$name => Exit::$exit,)* }
            }

            /// The page that `orlop explain` shows, in Markdown.
            pub fn page(self) -> &'static str {
                match self {
                    $(Self::$name =>
                        include_str!(concat!("../../../docs/errors/", $code, ".md")),)*
                }
            }
        }
    };
}

ids! {
    // E01: a check of the image failed.
    // E02: usage.
    // E03: recipe.
    // E04: lock.
    /// No suite of the recipe has a package of this name.
    UnknownPackage = "E0410", Lock;
    /// A package needs something that the suites do not have.
    Unsatisfiable = "E0411", Lock;
    /// The recipe asks for a package and excludes it.
    ExcludedPackage = "E0412", Lock;
    /// A suite has no such component, or not for this architecture.
    MissingIndex = "E0413", Lock;
    // E05: fetch.
    /// No Debian mirror is known.
    NoMirror = "E0520", Fetch;
    /// All mirrors failed, each in its own way.
    MirrorsFailed = "E0521", Fetch;
    /// A mirror answers with something that is not a release file.
    NotRelease = "E0522", Fetch;
    /// What was given as a mirror is not a web address.
    BadMirror = "E0523", Fetch;
    // E06: environment.
    /// A program that is needed is not on this host.
    MissingTool = "E0601", Environment;
    /// A program that we started failed.
    ToolFailed = "E0602", Environment;
    // E07: input and output.
    /// A file or directory cannot be read.
    Read = "E0701", Io;
    /// A file or directory cannot be written.
    Write = "E0702", Io;
    /// The store cannot be written: full, read-only, or not ours.
    StoreWrite = "E0703", Io;
    /// A blob which should be in the store is not there.
    StoreMissing = "E0704", Io;
    // E08: verification.
    /// A blob does not have the digest or size it must have.
    WrongDigest = "E0801", Verification;
    /// A release file carries no signature.
    ReleaseUnsigned = "E0820", Verification;
    /// A release file is signed, but not by a key that the recipe pins.
    WrongKey = "E0821", Verification;
    /// None of the keys that the recipe pins is in a keyring.
    MissingKey = "E0822", Verification;
    /// The signature of a pinned key does not fit the release file.
    BadSignature = "E0823", Verification;
    /// The key or the signature has expired or was revoked.
    ExpiredKey = "E0824", Verification;
    /// A release file is too old, or from the future.
    ReleaseDate = "E0825", Verification;
    /// A package index is not what the signed release file says.
    WrongIndex = "E0826", Verification;
    /// A release file is of another suite than was asked for.
    WrongSuite = "E0827", Verification;
    /// What an archive has signed cannot be understood.
    BadArchiveData = "E0828", Verification;
    /// A `.deb` is damaged, holds what an image may not, or is another package.
    BadPackage = "E0829", Verification;
    // E70: our own mistake.
    /// An invariant of the builder does not hold.
    Bug = "E7001", Bug;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_tells_the_exit_status_and_stands_once_in_order() {
        for id in Id::ALL {
            assert_eq!(id.code()[1..3].parse(), Ok(id.exit() as u8), "{id:?}");
        }
        assert!(Id::ALL.windows(2).all(|pair| pair[0].code() < pair[1].code()));
    }

    #[test]
    fn every_page_begins_with_its_code_and_says_what_to_do() {
        for id in Id::ALL {
            let page = id.page();
            assert!(page.starts_with(&format!("# {}: ", id.code())), "{id:?}");
            assert!(page.contains("\n## What to do\n"), "{id:?}");
        }
    }
}
