//! Who made what differs: the component that a file is from, the step of the build that produced
//! it, and whether it differs only because something before it does.

use std::collections::BTreeMap;

use super::place::{Finding, Part, Place};
use crate::build::artifact::Kind;
use crate::build::output::REPORT;
use crate::contents::Contents;
use crate::image::disk::{Role, Slot, esp};

/// The name of what puts the root together. It is no step of its own: it is done in every build,
/// from what the steps have made, from files beside the recipe, and from the recipe.
pub const TREE: &str = "tree";

/// What the builds say of their files.
#[derive(Debug, Default)]
pub(super) struct Origins<'a> {
    /// Components by place and path, as `contents.json` has them.
    components: BTreeMap<(&'a str, &'a str), &'a str>,
}

impl<'a> Origins<'a> {
    /// What these contents say; the first one counts.
    pub(super) fn new(contents: impl IntoIterator<Item = &'a Contents>) -> Self {
        let mut components = BTreeMap::new();
        for file in contents.into_iter().flat_map(|contents| &contents.files) {
            if let Some(component) = &file.component {
                let path = (file.place.as_str(), file.path.as_str());
                components.entry(path).or_insert(component.as_str());
            }
        }
        Self { components }
    }

    /// Component and step of a place in a file.
    pub(super) fn of(&self, file: &str, place: &Place) -> (Option<String>, Option<String>) {
        match kind(file) {
            Some(Kind::Root) => self.root(&place.0),
            Some(Kind::Initrd) => self.initrd(&place.0),
            Some(Kind::Kernel) => {
                let component = self.known("boot", &format!("/{}", Kind::Kernel.file_name()));
                (component, Some("kernel".into()))
            }
            Some(Kind::Uki) => self.uki(&place.0),
            Some(Kind::Disk) => self.disk(&place.0),
            Some(Kind::Manifest) => (None, Some(TREE.into())),
            _ => (None, Some("image".into())),
        }
    }

    fn known(&self, place: &str, path: &str) -> Option<String> {
        self.components.get(&(place, path)).map(|component| (*component).to_owned())
    }

    fn root(&self, parts: &[Part]) -> (Option<String>, Option<String>) {
        let mut paths = parts.iter().filter_map(|part| match part {
            Part::Path { name } => Some(name.as_str()),
            _ => None,
        });
        let wrong = [Part::Inode, Part::Names, Part::Padding, Part::HashTree];
        let Some(path) = paths.next() else { return (None, Some("image".into())) };
        let mut component = self.known("root", path);
        // What is in a container image has an owner of its own.
        if let (Some(inner), Some(outer)) = (paths.next(), &component) {
            component = self.known(outer, inner).or(component);
        }
        let step = if parts.iter().any(|part| wrong.contains(part)) {
            Some("image".to_owned())
        } else if path.starts_with("/usr/lib/modules/") {
            Some("kernel".to_owned())
        } else {
            component.as_deref().map(step)
        };
        (component, step)
    }

    fn initrd(&self, parts: &[Part]) -> (Option<String>, Option<String>) {
        let path = parts.iter().find_map(|part| match part {
            Part::Path { name } => Some(name.as_str()),
            _ => None,
        });
        let component = path.and_then(|path| self.known("initrd", path));
        let made = |component: &String| match component.split_once('/') {
            Some(("deb", _)) => Some("kernel".to_owned()),
            Some(("made", _)) | None => None,
            Some(_) => Some(step(component)),
        };
        let content = parts.contains(&Part::Content);
        let maker = component.as_ref().filter(|_| content).and_then(made);
        (component, Some(maker.unwrap_or_else(|| "initrd".into())))
    }

    fn uki(&self, parts: &[Part]) -> (Option<String>, Option<String>) {
        let section = match parts.first() {
            Some(Part::Section { name }) => name.as_str(),
            _ => return (None, Some("image".into())),
        };
        match section {
            ".initrd" => self.initrd(&parts[1..]),
            ".linux" => (self.known("boot", "/vmlinuz"), Some("kernel".into())),
            ".osrel" | ".cmdline" | ".uname" | ".pad" => (None, Some("image".into())),
            _ => self.boot_package(),
        }
    }

    /// Whoever brings stub and loader.
    fn boot_package(&self) -> (Option<String>, Option<String>) {
        let boot = self
            .components
            .iter()
            .find(|((place, path), _)| *place == "boot" && *path != "/vmlinuz");
        let component = boot.map(|(_, component)| (*component).to_owned());
        let step = component.as_deref().map(step);
        (component, step)
    }

    fn disk(&self, parts: &[Part]) -> (Option<String>, Option<String>) {
        let partition = |slot: Slot| Part::Partition { name: Role::Root(slot).name().into() };
        match parts {
            [first, inner @ ..] if [Slot::A, Slot::B].map(partition).contains(first) => {
                self.root(inner)
            }
            [_, Part::Path { name }, inner @ ..] => match entry(name) {
                Some(_) => self.uki(inner),
                None if name.ends_with(".EFI") => self.boot_package(),
                None => (None, Some("image".into())),
            },
            _ => (None, Some("image".into())),
        }
    }
}

/// What of our files this is.
pub(super) fn kind(file: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.file_name() == file)
}

/// The UKI that an entry of the EFI system partition is.
fn entry(path: &str) -> Option<Kind> {
    esp::slot(path.strip_prefix('/')?).map(|_| Kind::Uki)
}

/// The step that made a component's files.
fn step(component: &str) -> String {
    let mut parts = component.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("deb"), Some(name), ..) => format!("unpack {name}"),
        (Some("oci"), Some(image), Some(kind @ ("go" | "cargo")), Some(name)) => {
            format!("oci {image} {kind} {name}")
        }
        (Some(kind @ ("go" | "cargo" | "url" | "apparmor" | "oci")), Some(name), ..) => {
            format!("{kind} {name}")
        }
        _ => TREE.to_owned(),
    }
}

/// What was found so far, by file.
pub(super) type Found = BTreeMap<String, Vec<Finding>>;

/// The file because of whose difference this one is there, if there is one. Files come in the
/// order in which a build makes them, so the cause has been found before.
pub(super) fn follows(file: &str, finding: &Finding, found: &Found) -> Option<Kind> {
    let differs = |kind: Kind| found.contains_key(kind.file_name()).then_some(kind);
    let parts = &finding.place.0;
    match kind(file)? {
        Kind::CommandLine => root_hash(finding, found),
        Kind::Uki => match parts.first()? {
            Part::Section { name } if name == ".linux" => differs(Kind::Kernel),
            Part::Section { name } if name == ".initrd" => differs(Kind::Initrd),
            Part::Section { name } if name == ".osrel" => differs(Kind::Root),
            Part::Section { name } if name == ".cmdline" => {
                differs(Kind::CommandLine).or_else(|| root_hash(finding, found))
            }
            // It is what the parts leave of the one size.
            Part::Section { name } if name == ".pad" => {
                let parts = [Kind::Kernel, Kind::Initrd, Kind::CommandLine, Kind::Root];
                parts.into_iter().find_map(differs)
            }
            _ => None,
        },
        Kind::Disk => {
            let Part::Partition { name } = parts.first()? else { return None };
            match parts.get(1) {
                Some(Part::Path { name: path }) if name == Role::Esp.name() => {
                    entry(path).and_then(differs)
                }
                _ if name.starts_with("ROOT-") => differs(Kind::Root),
                _ => None,
            }
        }
        Kind::Manifest => {
            let path = parts.first().filter(|part| matches!(part, Part::Path { .. }))?;
            let root = found.get(Kind::Root.file_name())?;
            let same = root.iter().any(|finding| finding.place.0.contains(path));
            same.then_some(Kind::Root)
        }
        Kind::Contents => contents(parts, found),
        Kind::Spdx | Kind::CycloneDx => differs(Kind::Contents).or_else(|| differs(Kind::Root)),
        Kind::Provenance => key(parts)
            .and_then(|key| key.strip_prefix("subject["))
            .and_then(|rest| rest.split_once(']'))
            .and_then(|(name, _)| kind(name))
            .and_then(differs),
        _ => None,
    }
}

/// The component of which a provenance has another digest: what it brings differs, too, and that is
/// told.
pub(super) fn material<'a>(file: &str, finding: &'a Finding) -> Option<&'a str> {
    let key = key(&finding.place.0).filter(|_| kind(file) == Some(Kind::Provenance))?;
    let rest = key.strip_prefix("predicate.buildDefinition.resolvedDependencies[")?;
    rest.split_once(']').map(|(component, _)| component)
}

/// As [`follows`] for the report.
pub(super) fn report_follows(finding: &Finding, found: &Found) -> Option<String> {
    let key = key(&finding.place.0)?;
    let differs =
        |kind: Kind| found.contains_key(kind.file_name()).then(|| kind.file_name().to_owned());
    if let Some((name, _)) = key.strip_prefix("artifacts[").and_then(|rest| rest.split_once(']')) {
        return found.contains_key(name).then(|| name.to_owned());
    }
    match key.split('.').next()? {
        "root" | "components" | "dropped" => differs(Kind::Root),
        "command-line" if finding.root_hash => differs(Kind::Root),
        "command-line" => differs(Kind::CommandLine),
        "uki-size" => differs(Kind::Uki),
        "initrd-size" => differs(Kind::Initrd),
        "disk-size" => differs(Kind::Disk),
        _ => None,
    }
}

/// The root, if that differs and a command line only by its hash.
fn root_hash(finding: &Finding, found: &Found) -> Option<Kind> {
    let root = found.contains_key(Kind::Root.file_name());
    (finding.root_hash && root).then_some(Kind::Root)
}

fn key(parts: &[Part]) -> Option<&str> {
    match parts.first()? {
        Part::Key { name } => Some(name),
        _ => None,
    }
}

fn contents(parts: &[Part], found: &Found) -> Option<Kind> {
    let file = key(parts)?.strip_prefix("files[")?;
    let (place, rest) = file.split_once(' ')?;
    let path = rest.rsplit_once(']').map_or(rest, |(path, _)| path);
    let has = |kind: Kind, path: &Part| {
        let findings = found.get(kind.file_name());
        findings.is_some_and(|all| all.iter().any(|finding| finding.place.0.contains(path)))
    };
    let path = Part::path(path);
    match place {
        "root" => has(Kind::Root, &path).then_some(Kind::Root),
        "initrd" => has(Kind::Initrd, &path).then_some(Kind::Initrd),
        "boot" => found.contains_key(Kind::Kernel.file_name()).then_some(Kind::Kernel),
        // A container image is a file of the root.
        _ => found.contains_key(Kind::Root.file_name()).then_some(Kind::Root),
    }
}

/// Whether a file of a build says of itself what the others are.
pub(super) fn is_report(file: &str) -> bool {
    file == REPORT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_has_the_step_that_made_it() {
        for (component, want) in [
            ("deb/runc", "unpack runc"),
            ("go/kubelet", "go kubelet"),
            ("cargo/init", "cargo init"),
            ("url/files", "url files"),
            ("apparmor/runtime", "apparmor runtime"),
            ("oci/pause", "oci pause"),
            ("oci/pause/cargo/pause", "oci pause cargo pause"),
            ("local/overlay", TREE),
            ("made/system", TREE),
        ] {
            assert_eq!(step(component), want);
        }
    }
}
