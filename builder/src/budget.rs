//! What an image may have at most: the figures of a build, the limits of its recipe, and whose fault
//! it is if they do not fit. Pure; [`crate::build`] judges by it before anything is published.

use std::collections::BTreeMap;

use crate::build::report::Report;
use crate::contents::{Contents, File, Kind};
use crate::error::{Error, Id, Result};
use crate::lock::Lock;
use crate::lock::model::Role;
use crate::recipe::model::{Budget, Bytes, Count, Percent};

/// So many culprits are named for each limit.
const NAMED: usize = 5;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Item {
    /// Bytes of the root image with its hash tree.
    Root,
    /// Bytes of one slot's root and UKI as `zstd -3` packs them: what a download takes.
    Disk,
    /// Bytes of a UKI before it is padded.
    Uki,
    /// Bytes of PID 1.
    Init,
    /// Debian packages in the root, the kernel's among them.
    Packages,
    /// Files in the root; neither directories nor links.
    Files,
    /// Files of the root that somebody may execute.
    Executables,
    /// Bytes of root and UKI, against those of an earlier build.
    Growth,
}

impl Item {
    /// Its name, which is its key in a recipe.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Disk => "disk",
            Self::Uki => "uki",
            Self::Init => "init",
            Self::Packages => "packages",
            Self::Files => "files",
            Self::Executables => "executables",
            Self::Growth => "max-growth",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Root | Self::Disk | Self::Uki | Self::Init | Self::Growth => " bytes",
            Self::Packages | Self::Files | Self::Executables => "",
        }
    }
}

/// What a build is.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    /// Its report.
    pub report: &'a Report,
    /// What is in it.
    pub contents: &'a Contents,
    /// [`Item::Disk`], if somebody has measured it.
    pub disk: Option<u64>,
}

/// What a build may not outgrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    // Bytes of the root image with its hash tree.
    root: u64,
    // Bytes of the UKI.
    uki: u64,
    // Bytes of what is in the root, by component; of the kernel, whose name has its version in it,
    // by `KERNEL`.
    weights: BTreeMap<String, u64>,
}

/// Stands for the component that brings the kernel: no component is called so.
const KERNEL: &str = "kernel";

/// Where modules are; the next part of the path is the kernel's release.
const MODULES: &str = "/usr/lib/modules/";

/// What has grown beside components of the root.
const UKI: &str = "the UKI";

impl Base {
    /// Another build.
    pub fn of_build(report: &Report, contents: &Contents) -> Self {
        let mut weights = weights(contents, File::bytes);
        let kernel = kernel(contents).and_then(|kernel| weights.remove(kernel));
        weights.extend(kernel.map(|bytes| (KERNEL.to_owned(), bytes)));
        Self { root: report.root.size, uki: report.uki_size, weights }
    }

    /// A version, whose root image and UKI have so many bytes and whose root holds `files`. It does
    /// not say who answers for a file, so that is whoever does now: a file that was moved counts as a
    /// new one. Modules are the kernel's.
    pub fn of_version(root: u64, uki: u64, files: &BTreeMap<String, u64>, now: &Contents) -> Self {
        let owners = in_root(now).filter_map(|file| Some((&file.path, file.component.as_ref()?)));
        let owners: BTreeMap<_, _> = owners.collect();
        let kernel = kernel(now);
        let mut weights = BTreeMap::new();
        for (path, bytes) in files {
            let owner = owners.get(path).map(|owner| owner.as_str());
            let of_kernel = path.starts_with(MODULES) || owner.is_some() && owner == kernel;
            if let Some(owner) = if of_kernel { Some(KERNEL) } else { owner } {
                *weights.entry(owner.to_owned()).or_default() += bytes;
            }
        }
        Self { root, uki, weights }
    }

    fn size(&self) -> u64 {
        self.root.saturating_add(self.uki)
    }
}

/// The component that brings the kernel.
fn kernel(contents: &Contents) -> Option<&str> {
    let mut boot = contents.files.iter().filter(|file| file.place == "boot");
    boot.find(|file| file.path == "/vmlinuz")?.component.as_deref()
}

fn size(report: &Report) -> u64 {
    report.root.size.saturating_add(report.uki_size)
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What is counted.
    pub item: Item,
    /// How much there is.
    pub figure: u64,
    /// How much there may be.
    pub limit: Option<u64>,
    /// Who has most of it.
    pub heaviest: Vec<(String, u64)>,
}

impl Line {
    /// How much there is too much.
    pub fn over(&self) -> Option<u64> {
        self.figure.checked_sub(self.limit?).filter(|over| *over > 0)
    }
}

/// All figures of a build beside the limits of its recipe.
pub fn lines(budget: &Budget, build: Build<'_>, base: Option<&Base>) -> Vec<Line> {
    let Build { report, contents, disk } = build;
    let by_bytes = weights(contents, File::bytes);
    let one = |file: &File| u64::from(file.is_file());
    let executable = |file: &File| u64::from(file.is_executable());
    let packages: Vec<_> = report.packages.keys().map(|name| format!("deb/{name}")).collect();
    let init = in_root(contents).find(|file| file.path == format!("/{}", crate::build::boot::INIT));
    // The boot loader is beside UKIs, and not in one.
    let loader = contents.architecture.loader().rsplit('/').next().unwrap_or_default();
    let boot = contents.files.iter().filter(|file| match file.place.as_str() {
        "boot" => file.path.trim_start_matches('/') != loader,
        place => place == "initrd",
    });
    let boot =
        boot.map(|file| (format!("{} of {}", file.path, file.place), file.bytes())).collect();
    let bytes = |size: Option<Bytes>| size.map(|size| size.0);
    let weight_of = |id: &String| (id.clone(), by_bytes.get(id).copied().unwrap_or_default());
    let count = |of: &dyn Fn(&File) -> u64| in_root(contents).map(of).sum();
    let mut lines = vec![
        line(Item::Root, report.root.size, bytes(budget.root), by_bytes.clone()),
        line(Item::Uki, report.uki_size, bytes(budget.uki), boot),
        line(Item::Init, init.map_or(0, File::bytes), bytes(budget.init), BTreeMap::new()),
        line(
            Item::Packages,
            packages.len() as u64,
            budget.packages.map(Count::get),
            packages.iter().map(weight_of).collect(),
        ),
        line(Item::Files, count(&one), budget.files.map(Count::get), weights(contents, one)),
        line(
            Item::Executables,
            count(&executable),
            budget.executables.map(Count::get),
            weights(contents, executable),
        ),
    ];
    if let Some(disk) = disk {
        lines.insert(1, line(Item::Disk, disk, bytes(budget.disk), by_bytes.clone()));
    }
    if let Some(base) = base {
        let kernel = kernel(contents);
        let grown = by_bytes.into_iter().filter_map(|(id, now)| {
            let known = if Some(id.as_str()) == kernel { KERNEL } else { &id };
            let before = base.weights.get(known).copied().unwrap_or_default();
            Some((id, now.checked_sub(before)?))
        });
        let uki = report.uki_size.checked_sub(base.uki).map(|grown| (UKI.to_owned(), grown));
        let grown = grown.chain(uki);
        let limit = budget.max_growth.map(|percent| grown_by(base.size(), percent));
        lines.push(line(Item::Growth, size(report), limit, grown.collect()));
    }
    lines
}

fn line(item: Item, figure: u64, limit: Option<u64>, weights: BTreeMap<String, u64>) -> Line {
    let mut heaviest: Vec<_> = weights.into_iter().filter(|(_, weight)| *weight > 0).collect();
    heaviest.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    heaviest.truncate(NAMED);
    Line { item, figure, limit, heaviest }
}

fn grown_by(size: u64, percent: Percent) -> u64 {
    let more = u128::from(size) * u128::from(percent.hundredths()) / 10_000;
    size.saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
}

fn in_root(contents: &Contents) -> impl Iterator<Item = &File> {
    contents.files.iter().filter(|file| file.place == "root")
}

/// How much of what is in the root each component has.
fn weights(contents: &Contents, of: impl Fn(&File) -> u64) -> BTreeMap<String, u64> {
    let mut weights = BTreeMap::new();
    for file in in_root(contents) {
        let owner = file.component.clone().unwrap_or_else(|| "nobody".to_owned());
        *weights.entry(owner).or_default() += of(file);
    }
    weights
}

/// Whether all figures are within their limits.
///
/// # Errors
/// [`Id::OverBudget`] with those that are not.
pub fn check(image: &str, lines: &[Line]) -> Result<()> {
    let over = |line: &Line| {
        let (over, limit, unit) = (line.over()?, line.limit?, line.item.unit());
        let mut text = format!(
            "{}: {}{unit}, and {} may be: {} too many",
            line.item.name(),
            grouped(line.figure),
            grouped(limit),
            grouped(over)
        );
        for (name, weight) in &line.heaviest {
            text += &format!("\n    {:>13}  {name}", grouped(*weight));
        }
        Some(text)
    };
    let over: Vec<_> = lines.iter().filter_map(over).collect();
    if over.is_empty() {
        return Ok(());
    }
    let message = format!("`{image}` is over its budget:\n  {}", over.join("\n  "));
    Err(Error::new(Id::OverBudget, message)
        .hint("make it smaller, or raise the limit in `[budget]`, where the change will be seen"))
}

/// What of the budget the lock alone tells: how many packages there are, by what they weigh packed.
///
/// # Errors
/// [`Id::OverBudget`].
pub fn check_lock(image: &str, budget: &Budget, lock: &Lock) -> Result<()> {
    let packages = lock.packages.iter().filter(|package| package.role != Role::Tool);
    let weights: BTreeMap<_, _> =
        packages.map(|package| (format!("deb/{}", package.name), package.blob.size)).collect();
    let figure = weights.len() as u64;
    let line = line(Item::Packages, figure, budget.packages.map(Count::get), weights);
    check(image, &[line])
}

/// A number with a comma between each three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl File {
    /// Bytes of its content.
    pub fn bytes(&self) -> u64 {
        if let Kind::File { size, .. } = self.kind { size } else { 0 }
    }

    fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }
}

#[cfg(test)]
mod tests {
    use formats::digest::Sha256;

    use super::*;
    use crate::contents::tests::sample;
    use crate::stored::Hex;

    fn report(root: u64) -> Report {
        let text = format!(
            r#"{{ "schema": 3, "image": "tiny", "version": "1", "kernel": "6.0",
                 "root": {{ "hash": "{:064x}", "salt": "", "data-size": 1, "size": {root}, "paths": 1 }},
                 "command-line": "", "components": {{}}, "dropped": {{}},
                 "packages": {{ "crun": "1" }}, "uki-size": 1000, "initrd-size": 1, "disk-size": 1,
                 "artifacts": [] }}"#,
            0
        );
        Report::parse(text.as_bytes()).unwrap()
    }

    fn figures(budget: &Budget, root: u64, base: Option<u64>) -> Vec<Line> {
        let (contents, report, before) = (sample(), report(root), base.map(report));
        let build = Build { report: &report, contents: &contents, disk: Some(77) };
        let base = before.as_ref().map(|report| Base::of_build(report, &contents));
        lines(budget, build, base.as_ref())
    }

    #[test]
    fn every_figure_stands_beside_its_limit() {
        let budget = Budget { files: Count::try_from(9).ok(), ..Budget::default() };
        let lines = figures(&budget, 2000, Some(2000));
        let told: Vec<_> =
            lines.iter().map(|line| (line.item.name(), line.figure, line.limit)).collect();
        assert_eq!(
            told,
            [
                ("root", 2000, None),
                ("disk", 77, None),
                ("uki", 1000, None),
                ("init", 0, None),
                ("packages", 1, None),
                ("files", 3, Some(9)),
                ("executables", 2, None),
                ("max-growth", 3000, None),
            ]
        );
        check("tiny", &lines).unwrap();
    }

    #[test]
    fn what_is_over_is_told_with_figure_limit_and_the_heaviest() {
        let budget = Budget {
            root: Some(Bytes(1999)),
            executables: Count::try_from(1).ok(),
            files: Count::try_from(3).ok(),
            ..Budget::default()
        };
        let error = check("tiny", &figures(&budget, 2000, None)).unwrap_err();
        assert_eq!(error.id(), Id::OverBudget);
        assert_eq!(
            error.to_string(),
            "`tiny` is over its budget:\n  root: 2,000 bytes, and 1,999 may be: 1 too many\n                \
             6  deb/crun\n                3  go/tool\n  executables: 2, and 1 may be: 1 too many\n                \
             1  deb/crun\n                1  go/tool"
        );
    }

    #[test]
    fn growth_is_against_the_base_to_the_byte() {
        let percent = Percent::try_from("0.5%".to_owned()).unwrap();
        let budget = Budget { max_growth: Some(percent), ..Budget::default() };
        // 0.5 % of 9000 and 1000 are 50.
        check("tiny", &figures(&budget, 9050, Some(9000))).unwrap();
        let error = check("tiny", &figures(&budget, 9051, Some(9000))).unwrap_err();
        let said = error.to_string();
        assert!(
            said.ends_with("max-growth: 10,051 bytes, and 10,050 may be: 1 too many"),
            "{said}"
        );
    }

    #[test]
    fn who_has_grown_since_a_version_is_told_by_the_paths_of_its_files() {
        let percent = Percent::try_from("0%".to_owned()).unwrap();
        let budget = Budget { max_growth: Some(percent), ..Budget::default() };
        let (contents, report) = (sample(), report(2000));
        let build = Build { report: &report, contents: &contents, disk: None };
        let crun = contents
            .files
            .iter()
            .find(|file| file.component.as_deref() == Some("deb/crun") && file.bytes() > 0);
        let files = BTreeMap::from([
            (crun.unwrap().path.clone(), crun.unwrap().bytes() - 1),
            ("/gone".to_owned(), 5000),
        ]);
        let lines = lines(&budget, build, Some(&Base::of_version(2000, 900, &files, &contents)));
        let growth = lines.last().unwrap();
        assert_eq!((growth.figure, growth.limit, growth.over()), (3000, Some(2900), Some(100)));
        let grown = [("the UKI", 100), ("deb/crun", 4), ("go/tool", 3)];
        assert_eq!(growth.heaviest, grown.map(|(name, bytes)| (name.to_owned(), bytes)));
    }

    /// Its package has another name at each update, and its modules other paths.
    #[test]
    fn of_another_kernel_only_what_is_larger_has_grown() {
        let with = |release: &str, size: u64| {
            let mut contents = sample();
            let package = format!("deb/linux-image-{release}");
            let kind = Kind::File { size, sha256: Hex(Sha256::of("m")), sha1: String::new() };
            for (place, path) in
                [("boot", "/vmlinuz".to_owned()), ("root", format!("{MODULES}{release}/a.ko"))]
            {
                let component = Some(package.clone());
                let place = place.to_owned();
                let kind = kind.clone();
                let file = contents.files.last().unwrap().clone();
                contents.files.push(File { place, path, component, kind, ..file });
            }
            contents
        };
        let (before, now) = (with("6.12.100", 500), with("6.12.101", 507));
        let report = report(2000);
        let build = Build { report: &report, contents: &now, disk: None };
        let files = in_root(&before).map(|file| (file.path.clone(), file.bytes())).collect();
        for base in [
            Base::of_build(&report, &before),
            Base::of_version(report.root.size, report.uki_size, &files, &now),
        ] {
            let lines = lines(&Budget::default(), build, Some(&base));
            let growth = lines.last().unwrap();
            assert_eq!(growth.heaviest, [("deb/linux-image-6.12.101".to_owned(), 7)], "{base:?}");
        }
    }

    /// It is beside UKIs on the ESP.
    #[test]
    fn the_boot_loader_is_none_of_a_ukis_bytes() {
        let mut contents = sample();
        let file = contents.files.last().unwrap().clone();
        for path in ["/vmlinuz", "/systemd-bootx64.efi"] {
            let (place, path) = ("boot".to_owned(), path.to_owned());
            contents.files.push(File { place, path, ..file.clone() });
        }
        let report = report(2000);
        let build = Build { report: &report, contents: &contents, disk: None };
        let lines = lines(&Budget::default(), build, None);
        let uki = lines.iter().find(|line| line.item == Item::Uki).unwrap();
        let names: Vec<_> = uki.heaviest.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["/init of initrd", "/vmlinuz of boot"]);
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_988_400, "1,988,400")] {
            assert_eq!(grouped(number), text);
        }
    }
}
