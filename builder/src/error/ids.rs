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
    /// The root image is larger than its slot.
    RootTooLarge = "E0110", CheckFailed;
    /// A UKI cannot have the one size that all UKIs of a node have.
    UkiTooLarge = "E0111", CheckFailed;
    /// The EFI system partition cannot hold two UKIs and the boot loader.
    EspTooSmall = "E0112", CheckFailed;
    /// `STATE` is too small for a file system with a journal.
    StateTooSmall = "E0113", CheckFailed;
    // E02: usage.
    // E03: recipe.
    // E04: lock.
    // E05: fetch.
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
    /// A file is not an image that orlop made.
    NotOurImage = "E0810", Verification;
    /// An image of ours is damaged.
    DamagedImage = "E0811", Verification;
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
