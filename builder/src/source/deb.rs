//! Debian packages: from what a recipe asks of `[debian]` to locked blobs.
//!
//! A suite's release file is believed for its signature, an index for its digest in the release
//! file, a package for its digest in the index. So it does not matter who serves them. Nothing in
//! this module knows how to fetch: `lock` is given a function for that.

pub mod alternatives;
pub(crate) mod apt;
pub mod archive;
pub mod contents;
pub mod extract;
pub mod index;
#[cfg(test)]
pub(crate) mod made;
pub mod mirror;
pub mod reach;
pub mod release;
pub mod resolve;
mod shell;
pub mod signature;
#[cfg(test)]
mod testing;
pub mod unpack;
pub mod why;

use std::collections::BTreeSet;
use std::path::Path;

use formats::architecture::Architecture;
use formats::digest::Sha256;

use crate::error::{Error, Id, Result};
use crate::lock::model::{Package, Suite};
use crate::progress::Progress;
use crate::recipe::model::{Debian, Digest};
use archive::{Archive, Origin};
use index::Record;
use mirror::Mirrors;
use release::Times;
use resolve::Wishes;
use signature::Keys;

/// Fetches what is at an address, if it has at most so many bytes.
pub type Get<'a> = dyn Fn(&str, u64) -> Result<Vec<u8>> + 'a;

/// What goes into the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// In the recipe's order.
    pub suites: Vec<Suite>,
    /// The signed release files that [`Suite::release`] names.
    pub releases: Vec<Vec<u8>>,
    /// Sorted by name.
    pub packages: Vec<Package>,
    /// Sorted by name.
    pub compilers: Vec<Package>,
    /// What is worth a look and does not stop the work.
    pub warnings: Vec<String>,
}

/// What the recipe asks for beside its `[debian]`.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What all packages are for.
    pub architecture: Architecture,
    /// The kernel's package or meta-package.
    pub kernel: &'a str,
    /// Packages that compile and link.
    pub compilers: &'a BTreeSet<String>,
}

/// Finds the packages that the recipe asks for, with the kernel and all that they need, and
/// the compilers with what they need.
///
/// # Errors
/// What is wrong with the list of packages: see [`resolve::resolve`]. What is wrong with the
/// archive: see [`release::believe`] and [`index::IndexFile::read`]; [`Id::MirrorsFailed`] if
/// several mirrors failed in different ways. [`Id::MissingKey`] before anything is fetched.
pub fn lock(
    debian: &Debian,
    wanted: Wanted<'_>,
    mirrors: &Mirrors,
    times: &Times,
    get: &Get<'_>,
    progress: &Progress,
) -> Result<Locked> {
    let keys = Keys::load(&debian.keys, debian.keyring.as_deref(), Path::new("/"))?;
    let reader = Reader { debian, architecture: wanted.architecture, keys, times, get };
    let (mut suites, mut releases, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let (mut records, mut origins) = (Vec::new(), Vec::new());
    for name in &debian.suites {
        let task = progress.task(format!("suite {name}"), None);
        let read = reader.read_suite(name, mirrors.of_suite(name))?;
        let SuiteRead { suite, origin, release, records: of_suite, warning } = read;
        warnings.extend(warning);
        origins.push(origin);
        task.done(format!("{} packages, {}", of_suite.len(), suite.date));
        suites.push(suite);
        releases.push(release);
        records.extend(of_suite);
    }
    let mut archive = Archive::new(wanted.architecture, origins, records)?;
    let wishes = Wishes {
        packages: &debian.packages,
        tools: &debian.tools,
        kernel: wanted.kernel,
        exclude: &debian.exclude,
    };
    let resolution = resolve::resolve(&mut archive, &wishes)?;
    let compilers = resolve::compilers(&archive, wanted.compilers)?;
    warnings.extend(resolution.warnings);
    warnings.extend(compilers.warnings);
    let (packages, compilers) = (resolution.packages, compilers.packages);
    Ok(Locked { suites, releases, packages, compilers, warnings })
}

/// Addresses at which a locked package may be, best first.
pub fn blob_urls(package: &Package, mirrors: &Mirrors) -> Vec<String> {
    let bases = mirrors.of_suite(&package.suite).iter();
    bases.map(|base| format!("{base}/{}", package.path)).collect()
}

/// What came of a suite.
struct SuiteRead {
    suite: Suite,
    origin: Origin,
    // The signed file.
    release: Vec<u8>,
    records: Vec<Record>,
    warning: Option<String>,
}

struct Reader<'a> {
    debian: &'a Debian,
    architecture: Architecture,
    keys: Keys,
    times: &'a Times,
    get: &'a Get<'a>,
}

impl Reader<'_> {
    /// Reads a suite from the first mirror that has all of it.
    fn read_suite(&self, suite: &str, bases: &[String]) -> Result<SuiteRead> {
        let mut failures = Vec::new();
        for base in bases {
            match self.read_from(suite, base) {
                Ok(found) => return Ok(found),
                Err(error) => failures.push((base, error)),
            }
        }
        Err(all_failed(suite, failures))
    }

    fn read_from(&self, suite: &str, base: &str) -> Result<SuiteRead> {
        let directory = format!("{base}/dists/{suite}");
        let url = format!("{directory}/InRelease");
        let file = (self.get)(&url, release::MAX_SIZE).map_err(|error| match error.id() {
            Id::NotFound => error.hint(format!(
                "is `{suite}` a suite of Debian, and does the mirror's address end before `/dists`?"
            )),
            _ => error,
        })?;
        let believed = release::believe(&file, &url, suite, &self.keys, self.times)?;
        let mut records = Vec::new();
        for component in &self.debian.components {
            let index = index::choose(&believed.release, suite, component, self.architecture)?;
            let (by_hash, last) = match index.paths.as_slice() {
                [by_hash, plain] => (Some(by_hash), plain),
                paths => (None, &paths[0]),
            };
            // Some mirrors promise names by digest and do not have them.
            let first = by_hash.and_then(|path| {
                let url = format!("{directory}/{path}");
                (self.get)(&url, index.blob.size).ok().map(|content| (url, content))
            });
            let (url, content) = match first {
                Some(found) => found,
                None => {
                    let url = format!("{directory}/{last}");
                    let content = (self.get)(&url, index.blob.size)?;
                    (url, content)
                }
            };
            records.extend(index.read(&content, &url, suite)?);
        }
        let origin = Origin::new(suite, &believed.release);
        let name = suite.to_owned();
        let date = believed.release.date;
        let warning = believed.expired_since.then(|| {
            format!("suite `{suite}` has expired since: it is taken as of the recipe's `snapshot`")
        });
        let digest = Digest(Sha256::of(&file));
        let suite = Suite { name, date, signed_by: believed.signed_by, release: digest };
        Ok(SuiteRead { suite, origin, release: file, records, warning })
    }
}

/// One failure is shown as it is; several are listed, under their common id if they have one.
fn all_failed(suite: &str, mut failures: Vec<(&String, Error)>) -> Error {
    if failures.len() == 1 {
        return failures.remove(0).1;
    }
    let mut ids = failures.iter().map(|(_, error)| error.id());
    let first = ids.next().unwrap_or(Id::NoMirror);
    let id = if ids.all(|id| id == first) { first } else { Id::MirrorsFailed };
    let lines: Vec<_> =
        failures.iter().map(|(base, error)| format!("\n  {base}: {}", error.chain())).collect();
    let message = format!("no mirror has given suite `{suite}`:{}", lines.concat());
    let mut hints: Vec<_> = failures.iter().flat_map(|(_, error)| error.hints()).collect();
    hints.dedup();
    hints.into_iter().fold(Error::new(id, message), |error, hint| error.hint(hint.as_str()))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};

    use formats::digest::Sha256;

    use super::testing::{NOW, Signer, package};
    use super::*;
    use crate::lock::model::Role;
    use crate::progress::Mode;

    const ARCHIVE: &str = "http://mirror.example/debian";
    const RELEASE: &str = "http://mirror.example/debian/dists/trixie/InRelease";
    const INDEX: &str = "http://mirror.example/debian/dists/trixie/main/binary-amd64/Packages";
    const SECURITY: &str = "http://mirror.example/debian-security";

    /// Files of mirrors by address; what is not there is a 404.
    #[derive(Default)]
    struct Web {
        files: BTreeMap<String, Vec<u8>>,
        asked: RefCell<Vec<String>>,
    }

    impl Web {
        /// Two suites, signed by signer 1, with names by digest.
        fn good() -> Self {
            let mut web = Self::default();
            let main = [
                package("containerd", "1.7-1", "Depends: runc, libc6 (>= 2.38)\n"),
                package("runc", "1.1-1", "Depends: libc6\nSource: runc-app (1.1)\n"),
                package("libc6", "2.41-12", ""),
                package(
                    "linux-image-cloud-amd64",
                    "6.12-1",
                    "Depends: linux-image-6.12 (= 6.12-1)\n",
                ),
                package("linux-image-6.12", "6.12-1", "Depends: kmod\n"),
                package("systemd-boot-efi", "257-1", "Depends: nothing\n"),
            ];
            web.publish(ARCHIVE, "trixie", &main.join("\n"), "");
            let fixed = package("runc", "1.1-1+deb13u1", "Depends: libc6\n");
            web.publish(
                SECURITY,
                "trixie-security",
                &fixed,
                "Valid-Until: Wed, 25 Nov 2026 00:00:00 UTC\n",
            );
            web
        }

        fn publish(&mut self, base: &str, suite: &str, packages: &str, more: &str) {
            let sha256 = Sha256::of(packages);
            let directory = format!("{base}/dists/{suite}");
            let components = "main/binary-amd64";
            let text = format!(
                "Suite: {}\nCodename: {suite}\nDate: Thu, 19 Nov 2026 02:12:54 UTC\n{more}\
                 Acquire-By-Hash: yes\nSHA256:\n {sha256} {} {components}/Packages\n",
                suite.replace("trixie", "stable"),
                packages.len()
            );
            self.put(&format!("{directory}/InRelease"), &Signer::new(1).sign(&text));
            self.put(&format!("{directory}/{components}/by-hash/SHA256/{sha256}"), packages);
            self.put(&format!("{directory}/{components}/Packages"), packages);
        }

        fn put(&mut self, url: &str, content: &str) {
            self.files.insert(url.to_owned(), content.as_bytes().to_vec());
        }

        fn change(&mut self, url: &str, from: &str, to: &str) {
            let file = self.files.get_mut(url).unwrap();
            let text = String::from_utf8(file.clone()).unwrap();
            assert!(text.contains(from));
            *file = text.replace(from, to).into_bytes();
        }

        fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>> {
            self.asked.borrow_mut().push(url.to_owned());
            let file = self.files.get(url).ok_or_else(|| {
                // Stands for the errors of the HTTP client, which have ids of their own.
                Error::new(Id::MirrorsFailed, format!("`{url}`: 404 Not Found"))
            })?;
            assert!(file.len() as u64 <= limit, "{url} has more than {limit} bytes");
            Ok(file.clone())
        }

        fn lock(&self, change: impl FnOnce(&mut Debian)) -> Result<Locked> {
            self.lock_at(&[ARCHIVE], NOW, change)
        }

        fn lock_at(
            &self,
            mirrors: &[&str],
            now: u64,
            change: impl FnOnce(&mut Debian),
        ) -> Result<Locked> {
            let times = Times { now, ..Times::default() };
            self.lock_in(mirrors, times, change)
        }

        fn lock_in(
            &self,
            mirrors: &[&str],
            mut times: Times,
            change: impl FnOnce(&mut Debian),
        ) -> Result<Locked> {
            let directory = tempfile::tempdir().unwrap();
            let keyring = directory.path().join("keyring.gpg");
            std::fs::write(&keyring, Signer::new(1).keyring()).unwrap();
            let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let mut debian = Debian {
                suites: vec!["trixie".to_owned(), "trixie-security".to_owned()],
                components: vec!["main".to_owned()],
                keys: BTreeSet::from([Signer::new(1).fingerprint()]),
                keyring: Some(keyring),
                snapshot: None,
                packages: set(&["containerd"]),
                tools: set(&["systemd-boot-efi"]),
                compilers: BTreeSet::new(),
                exclude: BTreeMap::new(),
                drop: BTreeSet::new(),
            };
            change(&mut debian);
            let mirrors = Mirrors::new(mirrors.iter().copied())?;
            let get = |url: &str, limit| self.get(url, limit);
            let progress = Progress::new(Mode::None);
            times.snapshot = times.snapshot.or(debian.snapshot.map(|snapshot| snapshot.0));
            let wanted = Wanted {
                architecture: Architecture::Amd64,
                kernel: "linux-image-cloud-amd64",
                compilers: &BTreeSet::new(),
            };
            lock(&debian, wanted, &mirrors, &times, &get, &progress)
        }
    }

    #[test]
    fn a_good_archive_is_locked() {
        let web = Web::good();
        let locked = web.lock(|_| {}).unwrap();
        let signed_by = Signer::new(1).fingerprint();
        let date = "Thu, 19 Nov 2026 02:12:54 UTC".to_owned();
        let suites = ["trixie", "trixie-security"].iter().zip(&locked.releases);
        let suites = suites.map(|(name, release)| Suite {
            name: (*name).to_owned(),
            date: date.clone(),
            signed_by: signed_by.clone(),
            release: Digest(Sha256::of(release)),
        });
        assert_eq!(locked.suites, suites.collect::<Vec<_>>());
        let packages: Vec<_> = locked
            .packages
            .iter()
            .map(|package| (package.name.as_str(), package.version.as_str(), package.role))
            .collect();
        assert_eq!(
            packages,
            [
                ("containerd", "1.7-1", Role::Root),
                ("libc6", "2.41-12", Role::Root),
                ("linux-image-6.12", "6.12-1", Role::Kernel),
                ("runc", "1.1-1+deb13u1", Role::Root),
                ("systemd-boot-efi", "257-1", Role::Tool),
            ]
        );
        let runc = &locked.packages[3];
        assert_eq!((runc.suite.as_str(), runc.blob.size), ("trixie-security", 1000));
        assert_eq!(runc.required_by, BTreeSet::from(["containerd".to_owned()]));
        assert_eq!(locked.warnings, Vec::<String>::new());
        // Names by digest, and nothing twice.
        let asked = web.asked.borrow();
        assert_eq!(asked.len(), 4);
        assert!(asked[1].contains("/by-hash/SHA256/"));
    }

    #[test]
    fn a_package_may_be_at_every_mirror_of_its_suite() {
        let web = Web::good();
        let locked = web.lock(|_| {}).unwrap();
        let mirrors = Mirrors::new([ARCHIVE, "http://two.mirror.example/debian"]).unwrap();
        let urls = |index: usize| blob_urls(&locked.packages[index], &mirrors);
        assert_eq!(
            urls(1),
            [
                "http://mirror.example/debian/pool/libc6_2.41-12.deb",
                "http://two.mirror.example/debian/pool/libc6_2.41-12.deb",
            ]
        );
        assert_eq!(
            urls(3),
            [
                "http://mirror.example/debian-security/pool/runc_1.1-1+deb13u1.deb",
                "http://two.mirror.example/debian-security/pool/runc_1.1-1+deb13u1.deb",
            ]
        );
    }

    #[test]
    fn an_index_that_is_not_there_by_digest_is_taken_by_its_name() {
        let mut web = Web::good();
        web.files.retain(|url, _| !url.contains("by-hash"));
        assert!(web.lock(|_| {}).is_ok());
    }

    #[test]
    fn the_next_mirror_is_asked_when_one_fails() {
        let mut web = Web::good();
        web.put("http://bad.mirror.example/debian/dists/trixie/InRelease", "<html>");
        let locked = web.lock_at(&["http://bad.mirror.example/debian", ARCHIVE], NOW, |_| {});
        assert_eq!(locked.unwrap(), Web::good().lock(|_| {}).unwrap());
    }

    #[test]
    fn every_way_in_which_an_archive_can_be_wrong_has_its_own_error() {
        type Change = fn(&mut Web);
        let table: &[(Change, Id, &str)] = &[
            (
                |web| web.files.clear(),
                Id::MirrorsFailed,
                "`http://mirror.example/debian/dists/trixie/InRelease`: 404 Not Found",
            ),
            (
                |web| web.put(RELEASE, "\n<!DOCTYPE html>"),
                Id::NotRelease,
                "`http://mirror.example/debian/dists/trixie/InRelease` is a web page, not a release file",
            ),
            (
                |web| web.put(RELEASE, "Suite: stable"),
                Id::ReleaseUnsigned,
                "the release file `http://mirror.example/debian/dists/trixie/InRelease` has no signature",
            ),
            (
                |web| web.change(RELEASE, "19 Nov", "20 Nov"),
                Id::BadSignature,
                "the signature of the release file `http://mirror.example/debian/dists/trixie/InRelease` is bad: it does not fit the text",
            ),
            (
                |web| {
                    let other = Signer::new(2).sign("Suite: stable\n");
                    web.put(RELEASE, &other);
                },
                Id::WrongKey,
                "the release file `http://mirror.example/debian/dists/trixie/InRelease` is signed by ",
            ),
            (
                |web| {
                    let signed = Signer::new(1).sign("Suite: stable\n");
                    web.put(RELEASE, &signed);
                },
                Id::BadArchiveData,
                "cannot understand the release file `http://mirror.example/debian/dists/trixie/InRelease`: \
                 field `Date` is missing",
            ),
            (
                |web| {
                    let security = web.files["http://mirror.example/debian-security/dists/trixie-security/InRelease"].clone();
                    web.files.insert(RELEASE.into(), security);
                },
                Id::WrongSuite,
                "the release file `http://mirror.example/debian/dists/trixie/InRelease` is of suite \
                 `trixie-security` (`stable-security`), not of `trixie`",
            ),
            (
                |web| {
                    web.publish(
                        ARCHIVE,
                        "trixie",
                        "",
                        "Valid-Until: Mon, 16 Nov 2026 00:00:00 UTC\n",
                    )
                },
                Id::ReleaseDate,
                "the release file `http://mirror.example/debian/dists/trixie/InRelease` is no longer valid: \
                 it expired 4 days ago, made on Thu, 19 Nov 2026 02:12:54 UTC",
            ),
            (
                |web| {
                    web.files.retain(|url, _| !url.contains("by-hash"));
                    web.change(INDEX, "runc", "evil");
                },
                Id::WrongIndex,
                "`http://mirror.example/debian/dists/trixie/main/binary-amd64/Packages` has ",
            ),
            (
                |web| web.publish(ARCHIVE, "trixie", "Package: a\nArchitecture: all\n", ""),
                Id::BadArchiveData,
                "`http://mirror.example/debian/dists/trixie/main/binary-amd64/by-hash/SHA256/",
            ),
        ];
        for (change, id, message) in table {
            let mut web = Web::good();
            change(&mut web);
            let error = web.lock(|_| {}).unwrap_err();
            assert_eq!(error.id(), *id, "{message}");
            assert!(error.chain().starts_with(message), "{}", error.chain());
        }
    }

    #[test]
    fn a_release_of_the_future_is_not_believed() {
        let made = 1_795_054_374;
        let locked = Web::good().lock_at(&[ARCHIVE], made - signature::CLOCK_SKEW, |_| {});
        assert!(locked.is_ok());
        let locked = Web::good().lock_at(&[ARCHIVE], made - signature::CLOCK_SKEW - 1, |_| {});
        assert_eq!(locked.unwrap_err().id(), Id::ReleaseDate);
    }

    #[test]
    fn what_is_wrong_with_the_recipe_is_said_before_or_after_the_archive_is_read() {
        type Change = fn(&mut Debian);
        let table: &[(Change, Id)] = &[
            (|debian| debian.keys = BTreeSet::from(["AB".repeat(20)]), Id::MissingKey),
            (|debian| debian.keys.clear(), Id::MissingKey),
            (|debian| debian.components = vec!["none".into()], Id::MissingIndex),
            (|debian| debian.packages.extend(["none".into()]), Id::UnknownPackage),
            (|debian| debian.packages.extend(["systemd-boot-efi".into()]), Id::Unsatisfiable),
            (
                |debian| drop(debian.exclude.insert("containerd".into(), "x".into())),
                Id::ExcludedPackage,
            ),
        ];
        for (change, id) in table {
            let web = Web::good();
            assert_eq!(web.lock(change).unwrap_err().id(), *id);
            assert_eq!(web.asked.borrow().is_empty(), *id == Id::MissingKey);
        }
    }

    #[test]
    fn when_all_mirrors_fail_each_is_named_with_its_failure() {
        let mut web = Web::default();
        web.put("http://two.mirror.example/debian/dists/trixie/InRelease", "<html>");
        let mirrors = [ARCHIVE, "http://two.mirror.example/debian"];
        let error = web.lock_at(&mirrors, NOW, |_| {}).unwrap_err();
        assert_eq!(error.id(), Id::MirrorsFailed);
        assert_eq!(
            error.to_string(),
            "no mirror has given suite `trixie`:\n  \
             http://mirror.example/debian: `http://mirror.example/debian/dists/trixie/InRelease`: 404 Not Found\n  \
             http://two.mirror.example/debian: `http://two.mirror.example/debian/dists/trixie/InRelease` \
             is a web page, not a release file"
        );
        web.put(&format!("{ARCHIVE}/dists/trixie/InRelease"), "<html>");
        assert_eq!(web.lock_at(&mirrors, NOW, |_| {}).unwrap_err().id(), Id::NotRelease);
    }
}
