//! Package URLs: what a vulnerability scanner knows a package by.
//! <https://github.com/package-url/purl-spec>

use super::{Component, Contents, Deb, Library};

/// The distribution that Debian packages are of.
const DEBIAN: &str = "debian";

/// Scanners know a release of it by its number.
const RELEASES: [(&str, &str); 4] =
    [("bullseye", "11"), ("bookworm", "12"), ("trixie", "13"), ("forky", "14")];

/// The purl of a Debian package. `upstream` is what scanners look for advisories by where the source
/// package has another name or version.
pub fn deb(deb: &Deb) -> String {
    let Deb { name, version, architecture, source, source_version, suite, .. } = deb;
    let release = suite.split('-').next().unwrap_or(suite);
    let number = RELEASES.iter().find(|(name, _)| *name == release).map(|(_, number)| *number);
    let distribution = format!("{DEBIAN}-{}", number.unwrap_or(release));
    let mut purl = format!(
        "pkg:deb/{DEBIAN}/{}@{}?arch={}&distro={}",
        encoded(name),
        encoded(version),
        encoded(architecture),
        encoded(&distribution)
    );
    let other = source_version.as_ref().filter(|of| *of != version);
    if source != name || other.is_some() {
        let upstream = match other {
            Some(version) => format!("{source}@{version}"),
            None => source.clone(),
        };
        purl += &format!("&upstream={}", encoded(&upstream));
    }
    purl
}

/// The purl of what a program was linked with.
pub fn library(library: &Library) -> String {
    match library {
        // Of Go, whose names differ by capital letters, purl knows small ones only.
        Library::GoModule { name, version, .. } => {
            let name: Vec<_> = name.split('/').map(|part| encoded(&part.to_lowercase())).collect();
            format!("pkg:golang/{}@{}", name.join("/"), encoded(version))
        }
        Library::GoStandard { version } => format!("pkg:golang/stdlib@{}", encoded(version)),
        Library::Crate { name, version, .. } => {
            format!("pkg:cargo/{}@{}", encoded(name), encoded(version))
        }
        Library::RustStandard { version } => format!("pkg:generic/rust-std@{}", encoded(version)),
        Library::Deb(package) => deb(package),
    }
}

/// The purl of a component, if it is something that others know.
pub fn component(component: &Component) -> Option<String> {
    match component {
        Component::Deb(package) => Some(deb(package)),
        _ => None,
    }
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
    let mut out = String::new();
    for byte in text.bytes() {
        // The colon of an epoch stands as it is: so the specification has it.
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
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

    #[test]
    fn modules_and_crates_have_the_names_that_advisories_have() {
        let module = Library::GoModule {
            name: "github.com/BurntSushi/toml".into(),
            version: "v2.0.0+incompatible".into(),
            sum: String::new(),
        };
        let purl = "pkg:golang/github.com/burntsushi/toml@v2.0.0%2Bincompatible";
        assert_eq!(library(&module), purl);
        assert_eq!(module.id(), "go/github.com/BurntSushi/toml@v2.0.0+incompatible");
        let standard = Library::GoStandard { version: "1.26.1".into() };
        assert_eq!(library(&standard), "pkg:golang/stdlib@1.26.1");
        let (name, version) = ("serde".into(), "1.0.0".into());
        let one = Library::Crate { name, version, registry: None, sha256: None };
        assert_eq!(library(&one), "pkg:cargo/serde@1.0.0");
    }
}
