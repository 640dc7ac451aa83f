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
    /// The guest ended before it had done what was waited for.
    GuestEnded = "E0120", CheckFailed;
    /// The guest's kernel panicked.
    GuestPanic = "E0121", CheckFailed;
    /// The guest reset itself.
    GuestReset = "E0122", CheckFailed;
    /// The guest did not come as far as it should in the time it was given.
    GuestTimeout = "E0123", CheckFailed;
    /// The guest was asked to power off and kept running.
    GuestKeptRunning = "E0124", CheckFailed;
    // E02: usage.
    /// The disk asked for is smaller than the one there is.
    DiskTooSmall = "E0290", Usage;
    // E03: recipe.
    // E04: lock.
    // E05: fetch.
    // E06: environment.
    /// A program that is needed is not on this host.
    MissingTool = "E0601", Environment;
    /// A program that we started failed.
    ToolFailed = "E0602", Environment;
    /// There is no UEFI firmware for QEMU on this host.
    FirmwareMissing = "E0620", Environment;
    /// KVM was asked for and does not work here.
    KvmUnusable = "E0621", Environment;
    /// The host's QEMU is older than we can use.
    QemuTooOld = "E0622", Environment;
    /// QEMU's control channel failed.
    QemuControl = "E0623", Environment;
    /// The host lacks something that building or running needs.
    HostIncomplete = "E0624", Environment;
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
    /// A file is not an image that `orlop build` makes.
    NotAnImage = "E0890", Verification;
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
