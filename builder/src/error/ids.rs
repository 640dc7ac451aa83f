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

            /// What cures it where nothing better is known.
            pub fn cure(self) -> String {
                match self {
                    Self::StoreWrite => "name another place for the store with `--store DIR` \
                                         or `ORLOP_STORE`, or make room there"
                        .to_owned(),
                    _ => format!("`orlop explain {}` says more", self.code()),
                }
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
    /// The tree holds something that the recipe's promise excludes.
    NotAllowed = "E0101", CheckFailed;
    /// Two components give one path.
    TreeConflict = "E0102", CheckFailed;
    /// A container image has a file that its archive cannot hold.
    ImageLayer = "E0103", CheckFailed;
    /// A file is in the image that nobody answers for.
    Orphan = "E0104", CheckFailed;
    /// The image has more of something than its budget allows.
    OverBudget = "E0105", CheckFailed;
    /// Two builds of the same are not the same.
    NotReproducible = "E0106", CheckFailed;
    /// Two versions of a node differ, and were not to.
    Differs = "E0107", CheckFailed;
    /// The root image is larger than its slot.
    RootTooLarge = "E0110", CheckFailed;
    /// A UKI cannot have the one size that all UKIs of a node have.
    UkiTooLarge = "E0111", CheckFailed;
    /// The EFI system partition cannot hold two UKIs and the boot loader.
    EspTooSmall = "E0112", CheckFailed;
    /// `STATE` is too small for a file system with a journal.
    StateTooSmall = "E0113", CheckFailed;
    /// The EFI system partition is larger than its file system can be.
    EspTooLarge = "E0114", CheckFailed;
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
    /// A process of a cluster ended by itself.
    ClusterEnded = "E0130", CheckFailed;
    // E02: usage.
    /// The command line is not one of those that the commands take.
    CommandLine = "E0200", Usage;
    /// `orlop init` would overwrite something.
    InitInTheWay = "E0201", Usage;
    /// `orlop init` has found no recipe to extend.
    InitNoBase = "E0202", Usage;
    /// No such error id.
    UnknownId = "E0210", Usage;
    /// A package is not in the lock.
    NotLocked = "E0211", Usage;
    /// A build would replace something that is not a build.
    OutputInTheWay = "E0212", Usage;
    /// The disk asked for is smaller than the one there is.
    DiskTooSmall = "E0213", Usage;
    /// The directory for a cluster is in use.
    ClusterInTheWay = "E0214", Usage;
    /// The image has no kubelet that could join a cluster.
    NoKubelet = "E0215", Usage;
    /// A command has no result that could be JSON.
    NoJson = "E0216", Usage;
    /// A run would write a file of an image.
    ImageWritten = "E0217", Usage;
    /// A kept disk was made of another build of the image.
    OtherBase = "E0218", Usage;
    /// Two ports of the guest are to be had at one port of the host.
    PortTwice = "E0219", Usage;
    /// A repository has no such ref or commit.
    UnknownVersion = "E0220", Usage;
    /// Images of different architectures were to be compared.
    OtherArchitecture = "E0222", Usage;
    /// Two sides tell nothing in common that could be compared.
    NothingCompared = "E0223", Usage;
    /// A build of one image was to be held against the recipe of another.
    OtherImage = "E0224", Usage;
    /// A new key or root would be written over a file.
    KeyInTheWay = "E0225", Usage;
    /// There is no passphrase for a key.
    NoPassphrase = "E0226", Usage;
    /// There is a release of this version already.
    Published = "E0227", Usage;
    /// There is no such release.
    UnknownRelease = "E0228", Usage;
    /// A release cannot be as it was asked for.
    ReleaseTerms = "E0229", Usage;
    // E03: recipe.
    /// A recipe file is not TOML.
    RecipeSyntax = "E0301", Recipe;
    /// A recipe has a key that is not known.
    RecipeKey = "E0302", Recipe;
    /// A value of a recipe is of the wrong type or not possible.
    RecipeValue = "E0303", Recipe;
    /// A recipe lacks a key.
    RecipeMissingKey = "E0304", Recipe;
    /// What a recipe extends cannot be read, or is the recipe itself.
    RecipeExtends = "E0305", Recipe;
    /// A list cannot be changed as a recipe says.
    RecipeList = "E0306", Recipe;
    /// There is no such profile, or it cannot be one.
    RecipeProfile = "E0307", Recipe;
    /// A recipe reads well and cannot be built.
    RecipeCheck = "E0308", Recipe;
    /// The recipe itself cannot be read.
    RecipeNotFound = "E0309", Recipe;
    /// A node configuration is wrong.
    NodeConfig = "E0310", Recipe;
    /// A node configuration cannot be read.
    NodeConfigNotFound = "E0311", Recipe;
    /// The file that says which keys sign a release is wrong.
    KeyRoles = "E0312", Recipe;
    /// A glob cannot be understood.
    BadGlob = "E0320", Recipe;
    /// The kernel has no such module.
    UnknownModule = "E0321", Recipe;
    /// The tree has no PID 1.
    NoInit = "E0322", Recipe;
    /// A mode or an owner is said for files that are not there.
    NoSuchFiles = "E0323", Recipe;
    /// A local component holds what the build writes.
    LocalCircle = "E0324", Recipe;
    /// No image can be made for the architecture that a recipe names.
    UnsupportedArchitecture = "E0325", Recipe;
    // E04: lock.
    /// The lock answers another question than the recipe asks.
    LockStale = "E0401", Lock;
    /// There is no lock.
    LockMissing = "E0402", Lock;
    /// The lock cannot be understood.
    LockFormat = "E0403", Lock;
    /// Another Rust compiler is here than the lock records.
    OtherRustc = "E0404", Lock;
    /// A published build was made of something else than what is here.
    OtherLock = "E0405", Lock;
    /// No suite of the recipe has a package of this name.
    UnknownPackage = "E0410", Lock;
    /// A package needs something that the suites do not have.
    Unsatisfiable = "E0411", Lock;
    /// The recipe asks for a package and excludes it.
    ExcludedPackage = "E0412", Lock;
    /// A suite has no such component, or not for this architecture.
    MissingIndex = "E0413", Lock;
    /// Packages of the root cannot be in it together.
    PackagesConflict = "E0414", Lock;
    // E05: fetch.
    /// A file cannot be had from any of its addresses.
    FetchFailed = "E0501", Fetch;
    /// The server has no such file.
    NotFound = "E0502", Fetch;
    /// The server answers, but not with the file.
    HttpStatus = "E0503", Fetch;
    /// The server cannot be reached.
    NoConnection = "E0504", Fetch;
    /// The server's name cannot be resolved.
    UnknownHost = "E0505", Fetch;
    /// The connection ended before the file did, again and again.
    CutShort = "E0506", Fetch;
    /// A page for people came instead of the file.
    WebPage = "E0507", Fetch;
    /// No secure connection: the certificate or the protocol is not right.
    Untrusted = "E0508", Fetch;
    /// What should be an address is none.
    BadUrl = "E0509", Fetch;
    /// A file is larger than it may be.
    TooLarge = "E0510", Fetch;
    /// A proxy is wrong or refuses.
    ProxyFailed = "E0511", Fetch;
    /// An archive cannot be unpacked.
    Archive = "E0512", Fetch;
    /// An archive does not hold a file that the recipe wants of it.
    ArchiveMember = "E0513", Fetch;
    /// A server wants a name and a password, or other ones.
    Unauthorized = "E0514", Fetch;
    /// No Debian mirror is known.
    NoMirror = "E0520", Fetch;
    /// All mirrors failed, each in its own way.
    MirrorsFailed = "E0521", Fetch;
    /// A mirror answers with something that is not a release file.
    NotRelease = "E0522", Fetch;
    /// What was given as a mirror is not a web address.
    BadMirror = "E0523", Fetch;
    /// What should be a container image is none, or one that containerd would not take.
    ImageSource = "E0530", Fetch;
    /// A container image is not for the architecture of the recipe.
    ImagePlatform = "E0531", Fetch;
    // E06: environment.
    /// A program that is needed is not on this host.
    MissingTool = "E0601", Environment;
    /// A program that we started failed.
    ToolFailed = "E0602", Environment;
    /// There is no place for the store.
    NoCache = "E0603", Environment;
    /// A Go component's `go.mod` or the recipe's wishes of it are wrong.
    GoModule = "E0610", Environment;
    /// Go's toolchain or modules are not there, and a build does not fetch them.
    GoNotFetched = "E0611", Environment;
    /// A Cargo workspace or the recipe's wishes of it are wrong.
    CargoPackage = "E0612", Environment;
    /// Crates are not there, and a build does not fetch them.
    CargoNotFetched = "E0613", Environment;
    /// The Rust toolchain cannot build static programs on this host.
    StaticRust = "E0614", Environment;
    /// A Go program cannot do without C.
    GoNeedsC = "E0615", Environment;
    /// The compilers of the lock cannot be started.
    Compilers = "E0616", Environment;
    /// A configuration of Cargo that cannot be shut out shapes every program.
    CargoConfig = "E0617", Environment;
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
    /// A port of the host that shall lead to the guest cannot be had.
    PortTaken = "E0625", Environment;
    /// An address of the host to listen at cannot be had.
    CannotListen = "E0626", Environment;
    /// The components that a cluster is built of are not found.
    NoComponents = "E0630", Environment;
    /// A cluster does not start.
    ClusterStart = "E0631", Environment;
    /// A new cluster's API server refuses an object.
    ClusterApi = "E0632", Environment;
    /// A program that signs fails, or gives something else than a signature.
    SignerFailed = "E0640", Environment;
    // E07: input and output.
    /// A file or directory cannot be read.
    Read = "E0701", Io;
    /// A file or directory cannot be written.
    Write = "E0702", Io;
    /// The store cannot be written: full, read-only, or not ours.
    StoreWrite = "E0703", Io;
    /// A blob which should be in the store is not there.
    StoreMissing = "E0704", Io;
    /// A result cannot be written to stdout.
    Stdout = "E0705", Io;
    /// Sources change while they are compiled.
    SourceChanged = "E0706", Io;
    /// Somebody uses what was to be cleared up.
    StoreBusy = "E0707", Io;
    /// A repository cannot be written.
    RepositoryWrite = "E0708", Io;
    /// Somebody else publishes to the same place.
    Publishing = "E0709", Io;
    // E08: verification.
    /// A blob does not have the digest or size it must have.
    WrongDigest = "E0801", Verification;
    /// The kernel package is not as a Debian kernel package must be.
    KernelPackage = "E0802", Verification;
    /// No package of the lock brings the boot loader or the stub.
    BootPackage = "E0803", Verification;
    /// A file is not an image that orlop made.
    NotOurImage = "E0810", Verification;
    /// An image of ours is damaged.
    DamagedImage = "E0811", Verification;
    /// A directory is not a repository of ostree, or not one that can be used here.
    NotARepository = "E0812", Verification;
    /// An object of a repository is damaged or missing.
    DamagedObject = "E0813", Verification;
    /// A version of a repository has more paths than anybody looks at.
    VersionTooLarge = "E0814", Verification;
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
    /// A release file is older than the one that the lock was made of.
    ReleaseOlder = "E0830", Verification;
    /// A file is not a private key that can be used.
    KeyFile = "E0840", Verification;
    /// A passphrase does not open a key.
    WrongPassphrase = "E0841", Verification;
    /// A key or a signature is not that of the public key that was named.
    OtherKey = "E0842", Verification;
    /// Metadata of a release is damaged, or not to be believed.
    Metadata = "E0850", Verification;
    /// Metadata of a release is not signed by as many as must.
    Signatures = "E0851", Verification;
    /// A release or its root image is not what its owner described.
    Release = "E0852", Verification;
    /// What a registry has under a name is no directory of releases.
    Artifact = "E0860", Verification;
    /// A registry breaks the protocol that it should speak.
    Registry = "E0861", Verification;
    /// A directory is none of releases.
    NotReleases = "E0862", Verification;
    /// A kubeconfig cannot be used.
    Kubeconfig = "E0870", Verification;
    /// An API server does not answer, or refuses what an upgrade cannot do without.
    ApiServer = "E0871", Verification;
    /// A node that was to be upgraded is not there, or in no state to be.
    UnfitNode = "E0872", Verification;
    /// A release does not fit a node or the cluster.
    UnfitRelease = "E0873", Verification;
    /// Pods would be lost by an upgrade, or would never leave.
    PodsInTheWay = "E0874", Verification;
    /// An upgrade is at other nodes already, or at this one with another release.
    UpgradeElsewhere = "E0875", Verification;
    /// The pods of a node did not leave it in time.
    PodsRemain = "E0880", Verification;
    /// A node tried the release and went back.
    FellBack = "E0881", Verification;
    /// A node did not take the release, or could not stage it.
    NotTaken = "E0882", Verification;
    /// A node does not come back, or is gone.
    NodeLost = "E0883", Verification;
    /// The API server does not let us change a node.
    NodeForbidden = "E0884", Verification;
    /// A node runs the release, and could not be uncordoned.
    LeftCordoned = "E0885", Verification;
    /// An upgrade was stopped before its end.
    UpgradeStopped = "E0889", Verification;
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
