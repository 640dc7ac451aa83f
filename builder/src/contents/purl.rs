//! Package URLs: what a vulnerability scanner knows a package by.
//! <https://github.com/package-url/purl-spec>
//!
//! A purl says more than a name: that it is this very package of that very registry. What cannot be
//! said so has none.

use formats::deb::Version;

use super::{Contents, Deb, Library, State};
use crate::cargo_workspace::{CRATES_IO, index};
use crate::source::deb::contents::Source;

/// The distribution that Debian packages are of.
pub const DEBIAN: &str = "debian";

/// Scanners know a release of it by its number.
const RELEASES: [(&str, &str); 5] =
    [("bullseye", "11"), ("bookworm", "12"), ("trixie", "13"), ("forky", "14"), ("duke", "15")];

/// The number of the release that a package is of, or its name if it has no number yet.
pub fn release(deb: &Deb) -> &str {
    let name = deb.release();
    RELEASES.iter().find(|(known, _)| *known == name).map_or(name, |(_, number)| number)
}

/// The purl of a Debian package. `upstream` is what scanners look for advisories by where the source
/// package has another name or version.
pub fn deb(deb: &Deb) -> String {
    let Deb { name, version, architecture, .. } = deb;
    let (source, source_version) = deb.advised();
    let mut purl = debian(name, Some(version), architecture, release(deb));
    let other = source_version.filter(|of| *of != version.as_str());
    if source != name || other.is_some() {
        let upstream = match other {
            Some(version) => format!("{source}@{version}"),
            None => source.to_owned(),
        };
        purl += &format!("&upstream={}", encoded(&upstream));
    }
    purl
}

/// The purl of a source package, which advisories name. `of` is a package that was built of it.
pub fn source(source: &Source, of: &Deb) -> String {
    debian(&source.name, Some(&source.version), "source", release(of))
}

fn debian(name: &str, version: Option<&str>, architecture: &str, release: &str) -> String {
    let version = version.map_or(String::new(), |version| format!("@{}", encoded(version)));
    format!(
        "pkg:deb/{DEBIAN}/{}{version}?arch={}&distro={}",
        encoded(name),
        encoded(architecture),
        encoded(&format!("{DEBIAN}-{release}"))
    )
}

/// What the national vulnerability database calls a kernel of Debian. Its own names go by upstream's
/// version, which is told only where it has nothing but numbers.
pub fn kernel_cpe(deb: &Deb) -> Option<String> {
    let (source, version) = deb.advised();
    let version: Version = version?.parse().ok()?;
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    let known = source == "linux"
        && deb.name.starts_with("linux-image-")
        && version.upstream().chars().all(plain);
    let cpe = || format!("cpe:2.3:o:linux:linux_kernel:{}:*:*:*:*:*:*:*", version.upstream());
    known.then(cpe)
}

/// The purl of what a program was linked with: none of what the world does not have under that name.
/// What was changed is something else, and so is what only a workspace has.
pub fn library(library: &Library) -> Option<String> {
    Some(match library {
        Library::GoModule { state: State::Changed, .. }
        | Library::Crate { state: State::Changed, .. }
        | Library::Crate { registry: None, git: None, .. } => return None,
        Library::Crate { registry: Some(from), .. } | Library::Crate { git: Some(from), .. }
            if is_here(from) =>
        {
            return None;
        }
        // Of Go, whose names differ by capital letters, purl knows small ones only.
        Library::GoModule { name, version, .. } => {
            let name: Vec<_> = name.split('/').map(|part| encoded(&part.to_lowercase())).collect();
            format!("pkg:golang/{}@{}", name.join("/"), encoded(version))
        }
        Library::GoStandard { version } => format!("pkg:golang/stdlib@{}", encoded(version)),
        Library::Crate { name, version, registry, git, .. } => {
            let purl = format!("pkg:cargo/{}@{}", encoded(name), encoded(version));
            match (registry.as_deref(), git.as_deref()) {
                (Some(CRATES_IO), _) => purl,
                (Some(registry), _) => {
                    let url = index(registry);
                    let url = url.strip_prefix("sparse+").unwrap_or(url);
                    format!("{purl}?repository_url={}", in_qualifier(url))
                }
                (None, git) => {
                    let repository = repository(git.unwrap_or_default());
                    format!("{purl}?vcs_url={}", in_qualifier(&repository))
                }
            }
        }
        Library::RustStandard { version } => format!("pkg:generic/rust-std@{}", encoded(version)),
        Library::Deb(package) => deb(package),
    })
}

/// Where a crate of a git repository is, as SPDX writes it: `git+URL@COMMIT`.
fn repository(git: &str) -> String {
    let (place, commit) = git.rsplit_once('#').unwrap_or((git, ""));
    if commit.is_empty() { place.to_owned() } else { format!("{place}@{commit}") }
}

/// The source of a crate as everybody may see it: without what may be a name and a password, without
/// a query, and of a directory of this host nothing but that it is one. The commit stays.
pub fn public(source: &str) -> String {
    let (place, commit) = match source.rsplit_once('#') {
        Some((place, commit)) => (place, format!("#{commit}")),
        None => (source, String::new()),
    };
    let place = place.split('?').next().unwrap_or_default();
    let Some((scheme, rest)) = place.split_once("://") else { return format!("{place}{commit}") };
    if scheme == "file" || scheme.ends_with("+file") {
        return format!("{scheme}:{commit}");
    }
    let (server, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let server = server.rsplit_once('@').map_or(server, |(_, server)| server);
    format!("{scheme}://{server}{path}{commit}")
}

/// Whether a public source is a directory of the host that built.
fn is_here(public: &str) -> bool {
    let scheme = public.split(':').next().unwrap_or_default();
    scheme == "file" || scheme.ends_with("+file")
}

/// The purl of the whole image.
pub fn image(contents: &Contents) -> String {
    let Contents { image, version, architecture, .. } = contents;
    format!(
        "pkg:generic/{}@{}?arch={}",
        encoded(image),
        encoded(version),
        encoded(&architecture.to_string())
    )
}

fn encoded(text: &str) -> String {
    but(text, b"-._~:")
}

/// As [`encoded`], where slashes may stand.
fn in_qualifier(text: &str) -> String {
    but(text, b"-._~:/")
}

/// In percent and digits all but letters, digits and `plain`.
fn but(text: &str, plain: &[u8]) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        // The colon of an epoch stands as it is: so the specification has it.
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use formats::digest::Sha256;

    use super::*;
    use crate::stored::Hex;

    fn sample(name: &str, version: &str, source: &str, source_version: &str) -> Deb {
        Deb {
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
            source: source.into(),
            source_version: Some(source_version.into()),
            built_using: Vec::new(),
            suite: "trixie-security".into(),
            sha256: Hex(Sha256::of("")),
            licence: None,
        }
    }

    #[test]
    fn a_debian_package_names_its_source_where_that_is_another() {
        for (package, want) in [
            (sample("a", "1-1", "a", "1-1"), "a@1-1?arch=amd64&distro=debian-13"),
            (
                sample("a", "1:2+b1", "a", "1:2"),
                "a@1:2%2Bb1?arch=amd64&distro=debian-13&upstream=a%401:2",
            ),
            (sample("lib++", "1", "b", "1"), "lib%2B%2B@1?arch=amd64&distro=debian-13&upstream=b"),
        ] {
            assert_eq!(deb(&package), format!("pkg:deb/debian/{want}"));
        }
    }

    /// A kernel's package is of a source package of signatures, which no advisory names.
    #[test]
    fn what_was_signed_is_found_by_the_source_that_was_signed() {
        let linux = Source { name: "linux".into(), version: "6.12.100-1".into() };
        let signed = sample("linux-image-6.12", "6.12.100-1", "linux-signed-amd64", "6.12.100+1");
        let signed = Deb { built_using: vec![linux.clone()], ..signed };
        let want = "pkg:deb/debian/linux-image-6.12@6.12.100-1?arch=amd64&distro=debian-13\
                    &upstream=linux";
        assert_eq!(deb(&signed), want);
        assert_eq!(signed.parts().count(), 0);
        let cpe = "cpe:2.3:o:linux:linux_kernel:6.12.100:*:*:*:*:*:*:*";
        assert_eq!(kernel_cpe(&signed).as_deref(), Some(cpe));
        assert_eq!(
            source(&linux, &signed),
            "pkg:deb/debian/linux@6.12.100-1?arch=source&distro=debian-13"
        );
        // Parts of another source are in it, and its advisories are its own all the same.
        let other = sample("a", "1-1", "a", "1-1");
        let other = Deb { built_using: vec![linux], ..other };
        assert_eq!(deb(&other), "pkg:deb/debian/a@1-1?arch=amd64&distro=debian-13");
        assert_eq!(other.parts().count(), 1);
        let next = sample("linux-image-7.0", "7.0~rc7-1~exp1", "linux", "7.0~rc7-1~exp1");
        assert_eq!((kernel_cpe(&other), kernel_cpe(&next)), (None, None));
    }

    #[test]
    fn modules_and_crates_have_the_names_that_advisories_have() {
        let module = Library::GoModule {
            name: "github.com/BurntSushi/toml".into(),
            version: "v2.0.0+incompatible".into(),
            sum: String::new(),
            state: State::Whole,
        };
        let purl = "pkg:golang/github.com/burntsushi/toml@v2.0.0%2Bincompatible";
        assert_eq!(library(&module).as_deref(), Some(purl));
        assert_eq!(module.id(), "go/github.com/BurntSushi/toml@v2.0.0+incompatible");
        let standard = Library::GoStandard { version: "1.26.1".into() };
        assert_eq!(library(&standard).as_deref(), Some("pkg:golang/stdlib@1.26.1"));
    }

    /// `pkg:cargo/NAME@VERSION` is the crate of crates.io and no other.
    #[test]
    fn what_is_not_of_the_public_registry_does_not_pass_for_it() {
        let of = |registry: Option<&str>, git: Option<&str>, state| Library::Crate {
            name: "serde".into(),
            version: "1.0.0".into(),
            registry: registry.map(public),
            git: git.map(public),
            sha256: None,
            state,
        };
        let secret = "sparse+https://user:secret@r.example/index/";
        let repository = "git+https://token@g.example/serde?branch=next#0123abcd";
        let (whole, changed) = (State::Whole, State::Changed);
        let mut ids = std::collections::BTreeSet::new();
        for (one, qualifier) in [
            (of(Some(CRATES_IO), None, whole), Some("")),
            (of(Some(CRATES_IO), None, changed), None),
            (of(Some(secret), None, whole), Some("?repository_url=https://r.example/index/")),
            (
                of(None, Some(repository), whole),
                Some("?vcs_url=git%2Bhttps://g.example/serde%400123abcd"),
            ),
            (of(None, Some(repository), changed), None),
            (of(None, Some("git+file:///home/somebody/serde#0123abcd"), whole), None),
            (of(Some("registry+file:///home/somebody/index"), None, whole), None),
            (of(None, None, whole), None),
        ] {
            let want = qualifier.map(|text| format!("pkg:cargo/serde@1.0.0{text}"));
            assert_eq!(library(&one), want, "{one:?}");
            assert!(ids.insert(one.id()), "{one:?}");
            for secret in ["secret", "token", "somebody", "next"] {
                assert!(!format!("{one:?} {}", one.id()).contains(secret), "{one:?}");
            }
        }
        let module = Library::GoModule {
            name: "a.example/b".into(),
            version: "v1.0.0".into(),
            sum: String::new(),
            state: changed,
        };
        assert_eq!(library(&module), None);
    }
}
